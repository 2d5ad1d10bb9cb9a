//! The real loader, the real walk, the real resources, on a root of ours. In order, one request
//! after the other, so that a seed repeats a round; or on the agent's threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use converge::event::{Event, ResourceReport, Status, Summary};
use converge::graph::{Edge, Graph, Reason, Vertex};
use converge::inventory::Host;
use converge::lock::Holder;
use converge::node::{FromNode, LocalNode, Node, Unreachable};
use converge::run::{Options, Purpose, Reach, Selection};
use converge::spec::{LoadOptions, Spec};
use converge::system::System;
use converge::system::faults::Faults;
use converge::wire::{Hello, Operation, Outcome, Reply, Request};
use converge::worker;

use crate::rng::Rng;

/// How a walk's requests are carried out.
#[derive(Clone)]
pub enum Way {
    /// One after the other; of those that are asked for together, in an order of this seed.
    InTurn(u64),
    /// As the agent does it, beside each other.
    Threads,
}

/// What a run said.
#[derive(Debug)]
pub struct Told {
    pub resources: BTreeMap<String, ResourceReport>,
    pub summary: Summary,
}

impl Told {
    pub fn all_hold(&self) -> bool {
        self.summary.failed + self.summary.skipped + self.summary.unreachable == 0
    }

    pub fn shown(&self) -> String {
        let one = |report: &ResourceReport| {
            let reason = report.reason.as_deref().unwrap_or_default();
            format!(
                "{} {}: {}{reason}",
                report.status.word(),
                report.id,
                converge::resource::told(&report.changes)
            )
        };
        self.resources.values().map(one).collect::<Vec<_>>().join("\n")
    }
}

/// Facts are nothing that these specs ask for: gathered once.
fn hello() -> &'static Hello {
    static HELLO: OnceLock<Hello> = OnceLock::new();
    HELLO.get_or_init(Hello::of_this_machine)
}

struct InTurn {
    system: System,
    rng: Rng,
    to: Option<Box<dyn Fn(FromNode) + Send>>,
}

impl Node for InTurn {
    fn send(&mut self, mut requests: Vec<Request>) {
        self.rng.shuffle(&mut requests);
        let Some(to) = &self.to else { return };
        for request in requests {
            let outcome = match &request.operation {
                Operation::Lock(_) | Operation::EndLock(_) => Outcome::Locked(Ok(())),
                operation => {
                    // As on the wire.
                    let system = self.system.within(Duration::from_secs(20));
                    worker::operate(&system, operation, |_| Ok(()))
                }
            };
            to(FromNode::Reply(Reply { id: request.id, outcome }));
        }
    }

    fn listen(&mut self, to: Box<dyn Fn(FromNode) + Send>) {
        self.to = Some(to);
    }

    fn close(&mut self) {
        self.to = None;
    }

    fn hello(&self) -> &Hello {
        hello()
    }
}

struct ToRoot {
    system: System,
    way: Way,
}

impl Reach for ToRoot {
    fn reach(&self, _: &Host, _: Duration) -> Result<Box<dyn Node>, Unreachable> {
        Ok(match self.way {
            Way::InTurn(seed) => {
                Box::new(InTurn { system: self.system.clone(), rng: Rng::new(seed), to: None })
            }
            Way::Threads => Box::new(LocalNode::on(self.system.clone(), hello().clone())),
        })
    }
}

/// Reads a spec as a user's file is read. Err: what the loader says against it.
pub fn load(beside: &Path, text: &str) -> Result<Spec, String> {
    let path: PathBuf = beside.join("spec.yaml");
    std::fs::write(&path, text).unwrap();
    converge::spec::load(&path, &LoadOptions::default()).map_err(|problems| problems.to_string())
}

pub fn run(spec: &Spec, root: &Path, purpose: Purpose, way: Way, faults: Option<Arc<dyn Faults>>) -> Told {
    let system = System::under(root);
    let system = match faults {
        Some(faults) => system.with_faults(faults),
        None => system,
    };
    let holder = Holder {
        run: "soak".into(),
        user: "root".into(),
        host: "here".into(),
        pid: 1,
        since: "now".into(),
        spec: "soak".into(),
        ..Holder::default()
    };
    let options = Options { purpose, parallel: 1, wait_lock: Duration::ZERO, holder, plan: None };
    let reports = Mutex::new(BTreeMap::new());
    let summary = converge::run::run(
        spec,
        &Selection::everything(spec),
        &options,
        Arc::new(ToRoot { system, way }),
        &mut |event| {
            if let Event::Resource(report) = event {
                let twice = reports.lock().unwrap().insert(report.id.clone(), report);
                assert!(twice.is_none(), "told twice: {twice:?}");
            }
        },
    );
    let resources = reports.into_inner().unwrap();
    assert_eq!(resources.len(), spec.items.len(), "every resource is told of");
    Told { resources, summary }
}

/// The same spec with one total order that its graph allows: each after the one before.
pub fn in_one_order(spec: &mut Spec, rng: &mut Rng) {
    let items = spec.items.len();
    let mut edges: Vec<Edge<()>> = Vec::new();
    for vertex in spec.graph.order() {
        for (before, reason) in spec.graph.dependencies(*vertex) {
            edges.push(Edge::new(before, *vertex, reason.clone(), ()));
        }
    }
    let mut open: Vec<Vertex> = (0..items).map(Vertex::Item).collect();
    let mut last: Option<Vertex> = None;
    let mut chain = Vec::new();
    while !open.is_empty() {
        let free: Vec<usize> = (0..open.len())
            .filter(|index| {
                let mut before = spec.graph.dependencies(open[*index]);
                !before.any(|(other, _)| open.contains(&other))
            })
            .collect();
        let next = open.remove(free[rng.below(free.len())]);
        if let Some(last) = last {
            chain.push(Edge::new(last, next, Reason::Implied("the order of this round"), ()));
        }
        last = Some(next);
    }
    edges.extend(chain);
    spec.graph = Graph::build(spec.hosts.len(), items, edges).expect("an order the graph allows");
}

/// Whether every single resource holds, asked by itself.
pub fn off(spec: &Spec, root: &Path) -> Option<String> {
    let system = System::under(root);
    spec.items.iter().find_map(|item| match item.resource.as_resource().check(&system) {
        Ok(converge::resource::Check::Holds) => None,
        other => Some(format!("{} does not hold: {other:?}", item.resource.id())),
    })
}

pub fn is_settled(status: Status) -> bool {
    matches!(status, Status::Ok | Status::Changed)
}
