//! Reaching hosts: a thread for each, which tries until the host answers or its `wait` is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::inventory::{Connection, EVERY, Host};
use crate::node::{Node, Unreachable};
use crate::resource::Failure;

/// How a run reaches machines: by SSH, and in tests otherwise.
pub trait Reach {
    /// One attempt, which ends within about `patience`.
    fn reach(&self, host: &Host, patience: Duration) -> Result<Box<dyn Node>, Unreachable>;
}

/// One attempt may take so long.
const ATTEMPT: Duration = Duration::from_secs(10);

const LAST_ATTEMPT: Duration = Duration::from_secs(3);

/// What a host's thread tells the walk.
pub enum Reached {
    Trying { host: usize, reason: String, left: Duration },
    Up { host: usize, node: Box<dyn Node> },
    Down { host: usize, failure: Failure },
}

/// So many at once; the others queue.
pub struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    pub fn new(places: usize) -> Arc<Gate> {
        Arc::new(Gate { free: Mutex::new(places.max(1)), changed: Condvar::new() })
    }

    fn pass<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        drop(free);
        let result = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_one();
        result
    }
}

/// What all the threads of one run share.
pub struct Shared {
    pub reach: Arc<dyn Reach + Send + Sync>,
    pub gate: Arc<Gate>,
    /// The run is over or interrupted: no further attempts.
    pub stop: Arc<AtomicBool>,
}

/// Tries to reach a host. `patience` is None for its own `wait`; a plan gives a host that may
/// well be off one short attempt.
pub fn reach<M: From<Reached> + Send + 'static>(
    shared: &Arc<Shared>,
    index: usize,
    host: Host,
    patience: Option<Duration>,
    tell: Sender<M>,
) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let wait = host.wait.map(|wait| wait.timeout.get());
        let every = host.wait.map_or(EVERY, |wait| wait.every).get();
        let end = Instant::now() + patience.or(wait).unwrap_or_default();
        let (attempt, retries) = match patience {
            Some(patience) => (patience, false),
            None => (ATTEMPT, wait.is_some()),
        };
        loop {
            let begun = Instant::now();
            // The last attempt gets a fair chance, even where it begins just before the end.
            let left = end.saturating_duration_since(begun).max(LAST_ATTEMPT);
            let attempt = if retries { attempt.min(left) } else { attempt };
            let reached = match host.connection {
                Connection::Local => shared.reach.reach(&host, attempt),
                Connection::Ssh => shared.gate.pass(|| shared.reach.reach(&host, attempt)),
            };
            let Unreachable { failure, retry } = match reached {
                // The walk has ended where nobody listens; then the node is closed by its drop.
                Ok(node) => return drop(tell.send(Reached::Up { host: index, node }.into())),
                Err(unreachable) => unreachable,
            };
            let left = end.saturating_duration_since(Instant::now());
            if !retries || !retry || left.is_zero() || shared.stop.load(Ordering::Relaxed) {
                let failure = match wait {
                    Some(wait) if retries && retry => {
                        let wait = crate::attribute::Span::from(wait);
                        Failure { reason: format!("{} (tried for {wait})", failure.reason), ..failure }
                    }
                    _ => failure,
                };
                return drop(tell.send(Reached::Down { host: index, failure }.into()));
            }
            drop(tell.send(Reached::Trying { host: index, reason: failure.reason, left }.into()));
            let pause = every.saturating_sub(begun.elapsed()).min(left);
            sleep_unless(&shared.stop, pause);
        }
    });
}

fn sleep_unless(stop: &AtomicBool, pause: Duration) {
    let end = Instant::now() + pause;
    while !stop.load(Ordering::Relaxed) && Instant::now() < end {
        thread::sleep(Duration::from_millis(50).min(end.saturating_duration_since(Instant::now())));
    }
}
