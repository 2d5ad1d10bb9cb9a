//! The walk itself: who has its turn, what is under way, what came back.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::hosts::{self, Gate, Reach, Reached};
use super::makers::Places;
use super::{Options, Purpose, Selection};
use crate::event::{Event, HostReport, HostStatus, Status, Summary};
use crate::graph::Vertex;
use crate::inventory::Connection;
use crate::node::{FromNode, Node};
use crate::resource::{Check, Failure, Needed, TIMEOUT, Thing};
use crate::spec::{Item, Spec};
use crate::system::facts::Facts;
use crate::wire::{Operation, Request};

/// In a plan, a host whose VM may not be running gets one attempt of this length.
const ONE_SHORT_ATTEMPT: Duration = Duration::from_secs(3);

/// What those that did not get their turn stand on.
pub(super) const INTERRUPTED: &str = "the interrupted run";

/// What reaches the walk from its threads.
pub(super) enum Message {
    Host(Reached),
    Node(usize, FromNode),
    Signal(&'static str),
}

impl From<Reached> for Message {
    fn from(reached: Reached) -> Self {
        Message::Host(reached)
    }
}

/// How a vertex stands for those that depend on it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Standing {
    /// It holds. `fresh`: something below it was changed by this run, so what stands on it is to
    /// be looked at again.
    Holds { fresh: bool },
    /// In a plan: it would be changed, or cannot be known yet (then it is not certain). What it will be
    /// then; whether its content will be another one, where that can be known; whether it comes into
    /// being (or up) by that, and whether something else is seen in its place until then.
    Pending { until: String, certain: bool, content: Option<bool>, begins: bool, hides: bool },
    /// It failed, was skipped, or is out of reach. The one that began it.
    Missed { root: String },
}

impl Standing {
    /// In a plan: nothing can be known of it until then.
    pub(super) fn unknown(until: String, hides: bool) -> Standing {
        Standing::Pending { until, certain: false, content: None, begins: false, hides }
    }
}

pub(super) enum HostState {
    Idle,
    Reaching,
    Up(Box<dyn Node>),
    /// In a plan: not reachable until something is done.
    Unknown {
        until: String,
    },
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Idle,
    /// Its check is one of the host's first batch.
    FirstCheck,
    Checking,
    Applying,
    Explaining,
    Sleeping,
    Settled,
}

pub(super) struct ItemState {
    /// As it is by the facts of its host, where it stands on them.
    pub resolved: Option<Box<Item>>,
    /// Why it cannot be had by these facts.
    pub unresolved: Option<Failure>,
    pub phase: Phase,
    /// Its dependencies are settled.
    pub has_turn: bool,
    /// Something it stands on changed after its first check was asked for.
    pub is_stale: bool,
    pub found: Option<Result<Check, Failure>>,
    pub began: Instant,
    pub applied: Option<Needed>,
    pub failure: Option<Failure>,
    /// In a plan: who will make what it was found to lack, whether or not the graph says so.
    pub makers: Vec<usize>,
    /// Since when it is only waited for.
    pub waiting_since: Option<Instant>,
}

pub(super) struct InFlight {
    pub host: usize,
    /// None: the machine's lock.
    pub item: Option<usize>,
}

pub struct Walk<'a> {
    pub(super) spec: &'a Spec,
    pub(super) selection: &'a Selection,
    pub(super) options: &'a Options,
    tell: &'a mut dyn FnMut(Event),
    begun: Instant,
    blockers: HashMap<Vertex, usize>,
    pub(super) outcomes: HashMap<Vertex, Standing>,
    pub(super) hosts: Vec<HostState>,
    pub(super) heard: Vec<Instant>,
    pub(super) longest: Vec<Duration>,
    pub(super) lock_until: Vec<Option<Instant>>,
    pub(super) awaits_ending: Vec<bool>,
    pub(super) waited_for_lock: Vec<bool>,
    pub(super) items: Vec<ItemState>,
    ready: VecDeque<Vertex>,
    /// Items that have their turn again when another one is settled.
    pub(super) awaiting: Vec<(Vertex, usize)>,
    pub(super) awaits_nobody: bool,
    /// Of each host, when it is first asked for.
    pub(super) places: Vec<OnceCell<Places>>,
    pub(super) timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    pub(super) in_flight: HashMap<u64, InFlight>,
    pub(super) busy: Vec<usize>,
    pub(super) outbox: VecDeque<(usize, Vec<Request>)>,
    pub(super) next_id: u64,
    open: usize,
    pub(super) summary: Summary,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Look(usize),
    Lock(usize),
}

impl<'a> Walk<'a> {
    pub fn new(
        spec: &'a Spec,
        selection: &'a Selection,
        options: &'a Options,
        tell: &'a mut dyn FnMut(Event),
    ) -> Self {
        let begun = Instant::now();
        let mut blockers = HashMap::new();
        let involved = || spec.graph.order().iter().copied().filter(|v| selection.is_involved(*v));
        for vertex in involved() {
            let mut before: Vec<Vertex> = spec.graph.dependencies(vertex).map(|(other, _)| other).collect();
            before.sort_unstable();
            before.dedup();
            blockers.insert(vertex, before.len());
        }
        let ready = involved().filter(|vertex| blockers[vertex] == 0).collect();
        let hosts = spec.hosts.len();
        let item = || ItemState {
            resolved: None,
            unresolved: None,
            phase: Phase::Idle,
            has_turn: false,
            is_stale: false,
            found: None,
            began: begun,
            applied: None,
            failure: None,
            makers: Vec::new(),
            waiting_since: None,
        };
        Walk {
            spec,
            selection,
            options,
            tell,
            begun,
            open: blockers.len(),
            blockers,
            outcomes: HashMap::new(),
            hosts: (0..hosts).map(|_| HostState::Idle).collect(),
            heard: vec![begun; hosts],
            longest: vec![TIMEOUT; hosts],
            lock_until: vec![None; hosts],
            awaits_ending: vec![false; hosts],
            waited_for_lock: vec![false; hosts],
            items: spec.items.iter().map(|_| item()).collect(),
            ready,
            awaiting: Vec::new(),
            awaits_nobody: false,
            places: (0..hosts).map(|_| OnceCell::new()).collect(),
            timers: BinaryHeap::new(),
            in_flight: HashMap::new(),
            busy: vec![0; hosts],
            outbox: VecDeque::new(),
            next_id: 1,
            summary: Summary { is_plan: options.purpose == Purpose::Plan, ..Summary::default() },
        }
    }

    pub fn finish(mut self, reach: Arc<dyn Reach + Send + Sync>) -> Summary {
        let (sender, receiver) = channel();
        signals(&sender);
        let stop = Arc::new(AtomicBool::new(false));
        let gate = Gate::new(self.options.parallel);
        let shared = Arc::new(hosts::Shared { reach, gate, stop: Arc::clone(&stop) });
        while self.open > 0 {
            while let Some(vertex) = self.ready.pop_front() {
                match vertex {
                    Vertex::Host(host) => {
                        if let Some(patience) = self.host_turn(host) {
                            self.hosts[host] = HostState::Reaching;
                            let declared = self.spec.hosts[host].clone();
                            hosts::reach(&shared, host, declared, patience, sender.clone());
                        }
                    }
                    Vertex::Item(item) => self.item_turn(item),
                }
            }
            if self.open > 0 && self.is_stuck() {
                self.await_no_more();
            } else if self.open > 0 {
                self.listen(&receiver, &sender, &stop);
            }
        }
        stop.store(true, Ordering::Relaxed);
        close_all(&mut self.hosts);
        self.summary.seconds = self.begun.elapsed().as_secs_f64();
        let summary = self.summary.clone();
        (self.tell)(Event::Summary(summary.clone()));
        summary
    }

    /// Nothing is under way and nothing is to come, though not all is settled.
    fn is_stuck(&self) -> bool {
        let is_quiet = self.ready.is_empty() && self.in_flight.is_empty() && self.timers.is_empty();
        is_quiet
            && self.outbox.is_empty()
            && !self.hosts.iter().any(|host| matches!(host, HostState::Reaching))
    }

    /// Whoever awaits somebody has its turn without; and where that is not it, what is left ends
    /// here: a run always ends.
    fn await_no_more(&mut self) {
        self.awaits_nobody = true;
        let waiting: Vec<Vertex> = self.awaiting.drain(..).map(|(_, item)| Vertex::Item(item)).collect();
        if !waiting.is_empty() {
            return self.ready.extend(waiting);
        }
        for item in 0..self.items.len() {
            if self.items[item].phase != Phase::Settled && self.selection.is_involved(Vertex::Item(item)) {
                let stuck = Failure::new("converge itself does not get any further here");
                self.fail_now(item, stuck.help("this is a bug in converge: please report it with this spec"));
            }
        }
        for host in 0..self.hosts.len() {
            self.settle(Vertex::Host(host), Standing::Missed { root: "a bug in converge".to_owned() });
        }
        self.open = 0;
    }

    /// An item as it is known by now: what stands on facts is resolved when its host is reached.
    pub(super) fn item(&self, item: usize) -> &Item {
        self.items[item].resolved.as_deref().unwrap_or(&self.spec.items[item])
    }

    /// The host has told its facts.
    fn resolve(&mut self, host: usize, facts: &Facts) {
        for (item, resolved) in self.spec.resolve(host, facts) {
            match resolved {
                Ok(resolved) => self.items[item].resolved = Some(Box::new(resolved)),
                Err(failure) => self.items[item].unresolved = Some(failure),
            }
        }
    }

    pub(super) fn is_plan(&self) -> bool {
        self.options.purpose == Purpose::Plan
    }

    pub(super) fn tell(&mut self, event: Event) {
        (self.tell)(event);
    }

    /// Waits for the next message or timer, and deals with it.
    fn listen(&mut self, receiver: &Receiver<Message>, sender: &Sender<Message>, stop: &AtomicBool) {
        let now = Instant::now();
        let next =
            self.timers.peek().map_or(Duration::MAX, |Reverse((at, _))| at.saturating_duration_since(now));
        match receiver.recv_timeout(next.min(Duration::from_millis(200))) {
            Ok(Message::Host(reached)) => self.host_answered(reached, sender),
            Ok(Message::Node(host, FromNode::Reply(reply))) => self.reply(host, reply),
            Ok(Message::Node(host, FromNode::Lost(failure))) => self.lost(host, failure),
            Ok(Message::Signal(signal)) => self.interrupt(signal, stop),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.tell(Event::Tick);
                self.look_for_silence();
            }
        }
        let now = Instant::now();
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Look(item) if self.items[item].phase == Phase::Sleeping => self.request_check(item),
                Timer::Look(_) => {}
                Timer::Lock(host) => self.request_lock(host),
            }
        }
    }

    /// The host's dependencies are settled: the patience to reach it with, or None where it is
    /// not to be tried.
    fn host_turn(&mut self, host: usize) -> Option<Option<Duration>> {
        let vertex = Vertex::Host(host);
        if let Some(root) = self.missed_by(vertex) {
            self.host_report(host, HostStatus::Skipped, Some(format!("it needs {root}")), None);
            self.settle(vertex, Standing::Missed { root });
            return None;
        }
        if self.summary.interrupted.is_some() {
            self.settle(vertex, Standing::Missed { root: INTERRUPTED.to_owned() });
            return None;
        }
        let Some(until) = self.pending_on(vertex) else { return Some(None) };
        if self.awaits_its_domain(vertex) {
            self.host_is_unknown(host, until);
            return None;
        }
        Some(Some(ONE_SHORT_ATTEMPT))
    }

    /// In a plan: whether the host is a VM whose domain is yet to be started. Then it is off for
    /// certain, and not worth an attempt.
    fn awaits_its_domain(&self, host: Vertex) -> bool {
        self.spec.graph.dependencies(host).any(|(before, _)| {
            let Vertex::Item(item) = before else { return false };
            let links = self.item(item).resource.as_resource().links();
            let is_domain = links.provides.iter().any(|thing| matches!(thing, Thing::Domain(_)));
            is_domain && matches!(self.outcomes.get(&before), Some(Standing::Pending { begins: true, .. }))
        })
    }

    fn host_is_unknown(&mut self, host: usize, until: String) {
        self.hosts[host] = HostState::Unknown { until: until.clone() };
        let reason = format!("not known until {until}");
        self.host_report(host, HostStatus::Unknown, Some(reason), None);
        let standing = Standing::unknown(until, false);
        self.settle(Vertex::Host(host), standing);
    }

    fn host_answered(&mut self, reached: Reached, sender: &Sender<Message>) {
        match reached {
            Reached::Trying { host, reason, left } => {
                let host = self.spec.hosts[host].name.clone();
                self.tell(Event::HostWaits { host, reason, left });
            }
            Reached::Up { host, mut node } => {
                self.resolve(host, &node.hello().facts);
                let to = sender.clone();
                node.listen(Box::new(move |said| drop(to.send(Message::Node(host, said)))));
                self.hosts[host] = HostState::Up(node);
                self.heard[host] = Instant::now();
                let local = self.spec.hosts[host].connection == Connection::Local;
                self.host_report(
                    host,
                    if local { HostStatus::Local } else { HostStatus::Reached },
                    None,
                    None,
                );
                if !self.is_plan() {
                    self.lock_until[host] = Some(Instant::now() + self.options.wait_lock);
                    self.request_lock(host);
                }
                self.first_checks(host);
                if self.is_plan() {
                    self.settle(Vertex::Host(host), Standing::Holds { fresh: false });
                }
            }
            Reached::Down { .. } if self.summary.interrupted.is_some() => {}
            Reached::Down { host, failure } => {
                if let Some(until) = self.pending_on(Vertex::Host(host)) {
                    self.host_is_unknown(host, until);
                } else {
                    self.host_is_gone(host, failure);
                }
            }
        }
    }

    /// Every resource of the host that can be checked now is checked in one batch.
    fn first_checks(&mut self, host: usize) {
        let mut batch = Vec::new();
        for index in 0..self.items.len() {
            let item = self.item(index);
            let vertex = Vertex::Item(index);
            if item.host != host || !self.selection.is_involved(vertex) || item.skipped_by_when.is_some() {
                continue;
            }
            let state = &self.items[index];
            if item.resource.as_resource().is_probe()
                || state.phase != Phase::Idle
                || state.unresolved.is_some()
            {
                continue;
            }
            let check = Operation::Check(super::traffic::for_check(&item.resource));
            self.items[index].phase = Phase::FirstCheck;
            batch.push(self.request(host, Some(index), check));
        }
        self.send(host, batch);
    }

    pub(super) fn host_report(
        &mut self,
        host: usize,
        status: HostStatus,
        reason: Option<String>,
        failure: Option<&Failure>,
    ) {
        let report = HostReport {
            host: self.spec.hosts[host].name.clone(),
            status,
            reason,
            help: failure.and_then(|failure| failure.help.clone()),
            details: failure.map(|failure| failure.details.clone()).unwrap_or_default(),
            location: None,
        };
        self.tell(Event::Host(report));
    }

    fn interrupt(&mut self, signal: &'static str, stop: &AtomicBool) {
        if self.summary.interrupted.is_some() {
            return;
        }
        self.summary.interrupted = Some(signal);
        stop.store(true, Ordering::Relaxed);
        self.tell(Event::Interrupted { signal });
        for host in 0..self.hosts.len() {
            if matches!(self.hosts[host], HostState::Reaching) {
                self.settle(Vertex::Host(host), Standing::Missed { root: INTERRUPTED.to_owned() });
            }
        }
        for item in 0..self.items.len() {
            match self.items[item].phase {
                // Waiting is nothing that has to be finished.
                Phase::Sleeping => self.settle_interrupted(item),
                Phase::Checking | Phase::FirstCheck if self.items[item].has_turn => {
                    self.settle_interrupted(item);
                }
                _ => {}
            }
        }
    }

    /// What comes first is done with: those that waited for it alone have their turn.
    pub(super) fn settle(&mut self, vertex: Vertex, outcome: Standing) {
        if self.outcomes.insert(vertex, outcome).is_some() {
            return;
        }
        self.open -= 1;
        let again = self.awaiting.extract_if(.., |(maker, _)| *maker == vertex);
        self.ready.extend(again.map(|(_, item)| Vertex::Item(item)));
        let mut after: Vec<Vertex> = self.spec.graph.dependents(vertex).map(|(other, _)| other).collect();
        after.sort_unstable();
        after.dedup();
        for dependent in after {
            if let Some(count) = self.blockers.get_mut(&dependent) {
                *count -= 1;
                if *count == 0 {
                    self.ready.push_back(dependent);
                }
            }
        }
    }

    pub(super) fn count(&mut self, status: Status) {
        let summary = &mut self.summary;
        match status {
            Status::Ok => summary.ok += 1,
            Status::Changed => summary.changed += 1,
            Status::Failed => summary.failed += 1,
            Status::Skipped => summary.skipped += 1,
            Status::Unknown => summary.unknown += 1,
        }
    }
}

/// All hosts at once: each may have something to finish.
fn close_all(hosts: &mut [HostState]) {
    thread::scope(|scope| {
        for host in hosts {
            if let HostState::Up(node) = host {
                scope.spawn(|| node.close());
            }
        }
    });
}

/// The first signal ends the run in order; the second ends the process.
fn signals(to: &Sender<Message>) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let to = to.clone();
    // One run a process but in tests, where the first registration serves.
    INSTALLED.get_or_init(|| {
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        thread::spawn(move || {
            let mut seen = 0;
            for signal in signals.forever() {
                seen += 1;
                let (name, code) = if signal == SIGINT { ("SIGINT", 130) } else { ("SIGTERM", 143) };
                // Or nothing is under way any more.
                if seen > 1 || to.send(Message::Signal(name)).is_err() {
                    // What it runs on this machine ends with it.
                    crate::system::commands::signal_all(rustix::process::Signal::KILL);
                    std::process::exit(code);
                }
            }
        });
    });
}
