//! What goes to the hosts and what comes back: requests, replies, the machine's lock, and the
//! loss of a host.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::walk::{HostState, InFlight, Phase, Standing, Timer, Walk};
use crate::event::{Event, HostStatus};
use crate::graph::Vertex;
use crate::inventory::EVERY;
use crate::lock::{LockRefusal, Past};
use crate::resource::{AnyResource, Check, Failure, Needed, TIMEOUT};
use crate::wire::{Evidence, Operation, Outcome, Reply, Request};

/// Content up to this size goes along with every check; larger content only when it is written.
const SMALL_CONTENT: u64 = 4 * 1024;

/// How long an agent whose controller has gone may take to finish what is under way.
const ENDING: Duration = Duration::from_secs(15);

/// And to notice it, where nothing tells it so.
const NOTICING: Duration = Duration::from_secs(60);

/// What ends by itself is looked at more often than what may take minutes.
const SOON: Duration = Duration::from_millis(300);

/// A host that says nothing for so long beyond its longest operation is lost.
const SILENCE: Duration = Duration::from_secs(20);

impl Walk<'_> {
    pub(super) fn request(&mut self, host: usize, item: Option<usize>, operation: Operation) -> Request {
        let id = self.next_id;
        self.next_id += 1;
        let timeout = item.map_or(TIMEOUT, |item| self.timeout(item));
        self.longest[host] = self.longest[host].max(timeout);
        self.in_flight.insert(id, InFlight { host, item });
        Request::new(id, operation, timeout)
    }

    pub(super) fn timeout(&self, item: usize) -> Duration {
        let declared = self.item(item);
        declared.timeout.map_or_else(|| declared.resource.as_resource().timeout(), |timeout| timeout.get())
    }

    /// Hands requests to a host, or queues them where enough hosts are at work.
    pub(super) fn send(&mut self, host: usize, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let at_work = self.busy.iter().filter(|count| **count > 0).count();
        if self.busy[host] == 0 && at_work >= self.options.parallel.max(1) {
            self.outbox.push_back((host, requests));
            return;
        }
        self.send_now(host, requests);
    }

    fn send_now(&mut self, host: usize, requests: Vec<Request>) {
        if let HostState::Up(node) = &mut self.hosts[host] {
            if self.busy[host] == 0 {
                self.heard[host] = Instant::now();
            }
            self.busy[host] += requests.len();
            node.send(requests);
        }
    }

    pub(super) fn request_check(&mut self, item: usize) {
        self.items[item].phase = Phase::Checking;
        let operation = Operation::Check(for_check(&self.item(item).resource));
        self.ask(item, operation);
    }

    pub(super) fn request_apply(&mut self, item: usize, needed: Needed) {
        self.items[item].phase = Phase::Applying;
        let operation = Operation::Apply(self.item(item).resource.clone(), without_texts(needed));
        self.ask(item, operation);
    }

    /// What there is to show about a failure. A plan runs nothing for it but what the type itself
    /// reads.
    pub(super) fn request_explanation(&mut self, item: usize) {
        self.items[item].phase = Phase::Explaining;
        let declared = self.item(item);
        let evidence: Vec<Evidence> = if self.is_plan() { Vec::new() } else { declared.evidence.clone() };
        let operation = Operation::Explain(for_check(&declared.resource), evidence);
        self.ask(item, operation);
    }

    fn ask(&mut self, item: usize, operation: Operation) {
        let host = self.spec.items[item].host;
        let applying = matches!(operation, Operation::Apply(..));
        let event =
            Event::Works { host: self.spec.hosts[host].name.clone(), id: self.spec.id(item), applying };
        self.tell(event);
        let request = self.request(host, Some(item), operation);
        self.send(host, vec![request]);
    }

    pub(super) fn request_lock(&mut self, host: usize) {
        if matches!(self.hosts[host], HostState::Up(_)) {
            let request = self.request(host, None, Operation::Lock(self.options.holder.clone()));
            self.send(host, vec![request]);
        }
    }

    /// Looks at an item again after a while.
    pub(super) fn look_later(&mut self, item: usize, passing: bool, left: Duration, reason: &str) {
        let every = self.item(item).wait.map_or(EVERY, |wait| wait.every).get();
        let every = if passing { every.min(SOON) } else { every };
        self.items[item].phase = Phase::Sleeping;
        let pause = every.min(left).max(Duration::from_millis(50));
        self.timers.push(Reverse((Instant::now() + pause, Timer::Look(item))));
        let host = self.spec.hosts[self.spec.items[item].host].name.clone();
        let event = Event::Waits { host, id: self.spec.id(item), reason: reason.to_owned(), left };
        self.tell(event);
    }

    pub(super) fn reply(&mut self, host: usize, reply: Reply) {
        let Some(asked) = self.in_flight.remove(&reply.id) else { return };
        self.heard[host] = Instant::now();
        self.busy[host] = self.busy[host].saturating_sub(1);
        if self.busy[host] == 0
            && let Some((next, requests)) = self.outbox.pop_front()
        {
            self.send_now(next, requests);
        }
        match (asked.item, reply.outcome) {
            (Some(item), Outcome::Checked(found)) => self.checked(item, found),
            (Some(item), Outcome::Explained(details)) => self.explained(item, details),
            (None, Outcome::Locked(taken)) => self.lock_answered(host, taken),
            (None, Outcome::Checked(Err(failure))) => {
                self.lock_answered(host, Err(LockRefusal::Failed(failure)))
            }
            _ => {}
        }
    }

    fn checked(&mut self, item: usize, found: Result<Check, Failure>) {
        let state = &mut self.items[item];
        match state.phase {
            Phase::FirstCheck if !state.has_turn => {
                state.found = Some(found);
                state.phase = Phase::Idle;
            }
            Phase::FirstCheck if state.is_stale => self.request_check(item),
            // The explanation could not be had in time: the failure stands without it.
            Phase::Explaining => self.explained(item, Vec::new()),
            Phase::Settled => {}
            _ => self.judge(item, found),
        }
    }

    fn lock_answered(&mut self, host: usize, taken: Result<(), LockRefusal>) {
        match taken {
            // What was seen before another run was over need not be so any more.
            Ok(()) => self.settle(Vertex::Host(host), Standing::Holds { fresh: self.waited_for_lock[host] }),
            Err(LockRefusal::Failed(failure)) => self.host_is_gone(host, failure),
            Err(LockRefusal::Held(holder)) => {
                self.waited_for_lock[host] = true;
                let past = holder.past(&self.options.holder);
                // A dead run's agent ends within this, and its lock with it.
                let patience = match past {
                    _ if holder.is_ending => Some(ENDING),
                    Past::Over => Some(ENDING),
                    Past::OfAnotherBoot => Some(NOTICING + ENDING),
                    Past::Unknown => None,
                };
                if let Some(patience) = patience.filter(|_| !self.awaits_ending[host]) {
                    self.awaits_ending[host] = true;
                    self.lock_until[host] = self.lock_until[host].max(Some(Instant::now() + patience));
                    if past == Past::Over && !holder.is_ending {
                        let request = self.request(host, None, Operation::EndLock(*holder));
                        return self.send(host, vec![request]);
                    }
                }
                let left = self.lock_until[host]
                    .map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
                if left.is_zero() || self.summary.interrupted.is_some() {
                    self.summary.locked += 1;
                    let failure = Failure::new(format!("another run holds this machine's lock: {holder}"))
                        .help("wait for it to end, or give this run `--wait-lock 5m`");
                    self.host_is_gone(host, failure);
                } else {
                    let event = Event::HostWaits {
                        host: self.spec.hosts[host].name.clone(),
                        reason: format!("another run holds its lock: {holder}"),
                        left,
                    };
                    self.tell(event);
                    let pause = left.min(Duration::from_millis(200));
                    self.timers.push(Reverse((Instant::now() + pause, Timer::Lock(host))));
                }
            }
        }
    }

    /// The connection to a host ended under us.
    pub(super) fn lost(&mut self, host: usize, failure: Failure) {
        if let HostState::Up(node) = &mut self.hosts[host] {
            node.close();
        }
        self.in_flight.retain(|_, asked| asked.host != host);
        self.busy[host] = 0;
        self.outbox.retain(|(queued, _)| *queued != host);
        let settled = self.outcomes.contains_key(&Vertex::Host(host));
        if !settled {
            return self.host_is_gone(host, failure);
        }
        self.hosts[host] = HostState::Gone;
        self.summary.unreachable += 1;
        self.host_report(host, HostStatus::Unreachable, Some(failure.reason.clone()), Some(&failure));
        self.outcomes.insert(
            Vertex::Host(host),
            Standing::Missed { root: format!("host:{}", self.spec.hosts[host].name) },
        );
        for item in 0..self.items.len() {
            let state = &mut self.items[item];
            if self.spec.items[item].host != host || !state.has_turn || state.phase == Phase::Settled {
                continue;
            }
            let cut = match state.phase {
                Phase::Applying => {
                    "its host was lost while it was being changed: the next run finds out how far it came"
                }
                _ => "its host was lost",
            };
            let told = state.failure.take().unwrap_or_else(|| Failure::new(cut));
            self.fail_now(item, told);
        }
    }

    /// The host cannot be worked on: its branch is skipped.
    pub(super) fn host_is_gone(&mut self, host: usize, failure: Failure) {
        if let HostState::Up(node) = &mut self.hosts[host] {
            node.close();
        }
        self.hosts[host] = HostState::Gone;
        self.in_flight.retain(|_, asked| asked.host != host);
        self.busy[host] = 0;
        if !self.outcomes.contains_key(&Vertex::Host(host)) {
            self.summary.unreachable += 1;
            self.host_report(host, HostStatus::Unreachable, Some(failure.reason.clone()), Some(&failure));
            let root = format!("host:{}", self.spec.hosts[host].name);
            self.settle(Vertex::Host(host), Standing::Missed { root });
        }
    }

    pub(super) fn look_for_silence(&mut self) {
        for host in 0..self.hosts.len() {
            if self.busy[host] > 0 && self.heard[host].elapsed() > self.longest[host] + SILENCE {
                let failure = Failure::new("it stopped answering in the middle of the run")
                    .help("the host may be out of memory, or its disk may hang: look at its console");
                self.lost(host, failure);
            }
        }
    }
}

/// A check needs to know large contents only by their hash.
pub(super) fn for_check(resource: &AnyResource) -> AnyResource {
    let mut resource = resource.clone();
    if resource.as_resource().needs_whole_content() {
        return resource;
    }
    for content in resource.as_resource_mut().contents() {
        if content.length() > SMALL_CONTENT {
            *content = content.hash_only();
        }
    }
    resource
}

/// The texts of a difference are for people.
fn without_texts(mut needed: Needed) -> Needed {
    for change in &mut needed.changes {
        change.old_text = None;
        change.new_text = None;
    }
    needed
}
