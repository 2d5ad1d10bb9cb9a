//! Carries out requests on the machine it runs on: the inside of the agent, and of the node
//! for this machine. Requests run beside each other; each has its hard limit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Detail, Failure};
use crate::lock::{self, MachineLock};
use crate::lock::{Holder, LockRefusal};
use crate::resource::{AnyResource, Check, Needed};
use crate::system::System;
use crate::system::commands::Invocation;
use crate::system::files;
use crate::wire::{Evidence, Operation, Outcome, Reply, Request};

/// How many requests run at once: checks wait for the disk and for tools more than for the CPU.
const THREADS: usize = 8;

/// A request's own limit is the operation's; the watchdog ends what cannot end itself (a system
/// call on a dead mount) a little later.
const GRACE: Duration = Duration::from_secs(2);

/// A pool of threads for requests. A thread that hangs is given up and replaced.
pub struct Workers {
    shared: Arc<Shared>,
    queue: Sender<Asked>,
}

/// A request, and the machine as of when it came.
struct Asked {
    request: Request,
    system: System,
}

struct Shared {
    system: System,
    incoming: Mutex<Receiver<Asked>>,
    replies: Sender<Reply>,
    running: Mutex<HashMap<u64, Instant>>,
    unanswered: Mutex<usize>,
    all_answered: Condvar,
    /// The machine's lock, held until this process ends.
    lock: Mutex<Option<MachineLock>>,
}

fn guard<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    pub fn start(system: System, replies: Sender<Reply>) -> Workers {
        let (queue, incoming) = channel();
        let shared = Arc::new(Shared {
            system,
            incoming: Mutex::new(incoming),
            replies,
            running: Mutex::default(),
            unanswered: Mutex::new(0),
            all_answered: Condvar::new(),
            lock: Mutex::default(),
        });
        for _ in 0..THREADS {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&shared));
        }
        let watched = Arc::downgrade(&shared);
        thread::spawn(move || {
            while let Some(shared) = watched.upgrade() {
                give_up_overdue(&shared);
                drop(shared);
                thread::sleep(Duration::from_millis(250));
            }
        });
        Workers { shared, queue }
    }

    /// Takes on requests that came together: what several of them read is read once.
    pub fn submit(&self, requests: Vec<Request>) {
        *guard(&self.shared.unanswered) += requests.len();
        for request in &requests {
            if let Operation::Check(resource) = &request.operation
                && let Some(reading) = resource.as_resource().reads()
            {
                self.shared.system.expect(reading);
            }
        }
        let system = self.shared.system.asked_now();
        for request in requests {
            // What is asked after it is seen with the lock, and not while another run ends.
            if matches!(request.operation, Operation::Lock(_)) {
                let outcome = carry_out(&self.shared, &system, &request.operation);
                answer(&self.shared, Reply { id: request.id, outcome });
                continue;
            }
            // The receiver lives in `shared`, which this holds.
            drop(self.queue.send(Asked { request, system: system.clone() }));
        }
    }

    /// The controller has gone: what is under way is finished, and whoever waits for the machine's
    /// lock is told so.
    pub fn is_ending(&self) {
        if let Some(lock) = guard(&self.shared.lock).as_mut() {
            // It is a courtesy: the lock itself is the kernel's.
            let _ = lock.is_ending();
        }
    }

    /// Waits until every request is answered; false where `patience` was over first.
    pub fn finish(&self, patience: Duration) -> bool {
        let mut unanswered = guard(&self.shared.unanswered);
        let end = Instant::now() + patience;
        while *unanswered > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.all_answered.wait_timeout(unanswered, left);
            unanswered = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Workers {
    /// A thread that hangs keeps `Shared`, and must not keep the lock.
    fn drop(&mut self) {
        drop(guard(&self.shared.lock).take());
    }
}

fn work(shared: &Arc<Shared>) {
    loop {
        let Ok(Asked { request, system }) = guard(&shared.incoming).recv() else { return };
        let (id, timeout) = (request.id, request.timeout.get());
        guard(&shared.running).insert(id, Instant::now() + timeout + GRACE);
        let system = system.within(timeout);
        let outcome = carry_out(shared, &system, &request.operation);
        if guard(&shared.running).remove(&id).is_none() {
            // The watchdog has answered in our place and has started another thread.
            return;
        }
        answer(shared, Reply { id, outcome });
    }
}

fn carry_out(shared: &Shared, system: &System, operation: &Operation) -> Outcome {
    operate(system, operation, |holder| take_lock(shared, holder))
}

fn answer(shared: &Shared, reply: Reply) {
    // Nobody listens any more: the run is over.
    drop(shared.replies.send(reply));
    let mut unanswered = guard(&shared.unanswered);
    *unanswered = unanswered.saturating_sub(1);
    shared.all_answered.notify_all();
}

fn give_up_overdue(shared: &Arc<Shared>) {
    let now = Instant::now();
    let mut running = guard(&shared.running);
    let overdue: Vec<u64> = running.iter().filter(|(_, end)| **end < now).map(|(id, _)| *id).collect();
    for id in overdue {
        running.remove(&id);
        let shared_again = Arc::clone(shared);
        thread::spawn(move || work(&shared_again));
        let failure = Failure::new(
            "the operation did not end within its timeout: the system does not answer",
        )
        .help("a hung mount or device is likely: `dmesg` and `cat /proc/mounts` on the host say more");
        answer(shared, Reply { id, outcome: Outcome::Checked(Err(failure)) });
    }
}

/// Carries out one operation, to its end, on this thread.
pub fn operate(
    system: &System,
    operation: &Operation,
    take_lock: impl FnOnce(&Holder) -> Result<(), LockRefusal>,
) -> Outcome {
    let operation = AssertUnwindSafe(|| match operation {
        Operation::Check(resource) => Outcome::Checked(resource.as_resource().check(system)),
        Operation::Apply(resource, needed) => Outcome::Checked(apply(system, resource, needed)),
        Operation::Explain(resource, evidence) => Outcome::Explained(explain(system, resource, evidence)),
        Operation::Lock(holder) => Outcome::Locked(take_lock(holder)),
        Operation::EndLock(over) => {
            lock::end(system, over);
            Outcome::Locked(Err(LockRefusal::Held(Box::new(Holder { is_ending: true, ..over.clone() }))))
        }
    });
    catch_unwind(operation).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Outcome::Checked(Err(Failure::new(format!("converge itself failed here: {said}"))
            .help("this is a bug in converge: please report it with this line")))
    })
}

fn apply(system: &System, resource: &AnyResource, needed: &Needed) -> Result<Check, Failure> {
    resource.as_resource().apply(&system.anew(), needed)?;
    if resource.as_resource().is_proved_by_apply() {
        return Ok(Check::Holds);
    }
    resource.as_resource().check(&system.anew())
}

fn take_lock(shared: &Shared, holder: &Holder) -> Result<(), LockRefusal> {
    let mut lock = guard(&shared.lock);
    if lock.is_none() {
        *lock = lock::machine(&shared.system, holder)?;
        if lock.is_some() {
            shared.system.end_what_is_left().map_err(LockRefusal::Failed)?;
        }
    }
    Ok(())
}

fn explain(system: &System, resource: &AnyResource, evidence: &[Evidence]) -> Vec<Detail> {
    let mut details = resource.as_resource().evidence(system);
    for item in evidence {
        let (title, text) = match item {
            Evidence::Tail(path) => (format!("tail {path}"), files::tail(&system.locate(path))),
            Evidence::Run(command) => (
                format!("run {command}"),
                match system.run(&Invocation::of(command)) {
                    Ok(output) if output.succeeded() => Ok(output.stdout + &output.stderr),
                    Ok(output) => Ok(format!("[{}]\n{}{}", output.ending(), output.stdout, output.stderr)),
                    Err(failure) => Err(failure.reason),
                },
            ),
        };
        let text = match text {
            Ok(text) if text.trim().is_empty() => "(empty)".to_owned(),
            Ok(text) => text.trim_end().to_owned(),
            Err(reason) => format!("(cannot be had: {reason})"),
        };
        details.push(Detail { title, text });
    }
    details
}
