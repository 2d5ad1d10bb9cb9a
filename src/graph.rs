//! What comes before what, and why. The graph decides the order, not the list.

mod show;

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::fmt;

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

pub use show::{dot, mermaid, text};

/// A node of the graph: an index into the spec's hosts or items.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Vertex {
    Host(usize),
    Item(usize),
}

/// Why one comes before the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The spec says so: the attribute, and where, as in `specs/prod.yaml:27`.
    Declared { attribute: &'static str, location: String },
    /// What they are says so, as in `its parent directory`.
    Implied(&'static str),
    /// Both are to be gone, and what stands on the other goes first. Holds the reason why it
    /// stands on it.
    Removal(&'static str),
    /// The host has to be reached before anything on it.
    Host,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Declared { attribute, location } => write!(f, "{attribute}, {location}"),
            Reason::Implied(why) => f.write_str(why),
            Reason::Removal(why) => write!(f, "goes first: this is {why}"),
            Reason::Host => f.write_str("its host"),
        }
    }
}

/// An edge to be: `before` comes before `after`. `P` says where that is written.
#[derive(Clone, Debug)]
pub struct Edge<P> {
    pub before: Vertex,
    pub after: Vertex,
    pub reason: Reason,
    pub place: P,
}

impl<P> Edge<P> {
    pub fn new(before: Vertex, after: Vertex, reason: Reason, place: P) -> Self {
        Edge { before, after, reason, place }
    }
}

/// The order of a spec's hosts and resources.
#[derive(Default, Debug)]
pub struct Graph {
    /// Hosts first, then items, each at its own index; edges point from before to after.
    graph: DiGraph<Vertex, Reason>,
    order: Vec<Vertex>,
    hosts: usize,
}

impl Graph {
    /// Err: the edges of one cycle for each knot, each edge leading to the next.
    pub fn build<P: Clone>(
        hosts: usize,
        items: usize,
        edges: Vec<Edge<P>>,
    ) -> Result<Graph, Vec<Vec<Edge<P>>>> {
        let mut graph = DiGraph::with_capacity(hosts + items, edges.len());
        for vertex in (0..hosts).map(Vertex::Host).chain((0..items).map(Vertex::Item)) {
            graph.add_node(vertex);
        }
        let mut built = Graph { graph, order: Vec::with_capacity(hosts + items), hosts };
        let mut seen = HashSet::new();
        for edge in &edges {
            if seen.insert((edge.before, edge.after, &edge.reason)) {
                let (before, after) = (built.index(edge.before), built.index(edge.after));
                built.graph.add_edge(before, after, edge.reason.clone());
            }
        }
        built.sort();
        if built.order.len() == built.graph.node_count() {
            return Ok(built);
        }
        Err(built.cycles(&edges))
    }

    /// Everything, dependencies first; where the graph leaves a choice, as it was declared.
    pub fn order(&self) -> &[Vertex] {
        &self.order
    }

    /// What `vertex` waits for, in the order of declaration. One vertex comes up once for each
    /// reason.
    pub fn dependencies(&self, vertex: Vertex) -> impl Iterator<Item = (Vertex, &Reason)> {
        self.neighbours(vertex, Direction::Incoming)
    }

    /// What waits for `vertex`.
    pub fn dependents(&self, vertex: Vertex) -> impl Iterator<Item = (Vertex, &Reason)> {
        self.neighbours(vertex, Direction::Outgoing)
    }

    fn neighbours(&self, vertex: Vertex, direction: Direction) -> impl Iterator<Item = (Vertex, &Reason)> {
        let edges = self.graph.edges_directed(self.index(vertex), direction);
        let other = move |edge: petgraph::graph::EdgeReference<'_, Reason>| match direction {
            Direction::Incoming => edge.source(),
            Direction::Outgoing => edge.target(),
        };
        // petgraph gives the newest edge first.
        let mut found: Vec<_> = edges.map(|edge| (self.graph[other(edge)], edge.weight())).collect();
        found.reverse();
        found.into_iter()
    }

    fn index(&self, vertex: Vertex) -> NodeIndex {
        NodeIndex::new(match vertex {
            Vertex::Host(host) => host,
            Vertex::Item(item) => self.hosts + item,
        })
    }

    /// Kahn's algorithm; of what is ready, the first declared goes first. What is on a cycle, or
    /// behind one, stays out.
    fn sort(&mut self) {
        let graph = &self.graph;
        let mut missing: Vec<usize> = graph
            .node_indices()
            .map(|node| graph.edges_directed(node, Direction::Incoming).count())
            .collect();
        let ready = graph.node_indices().filter(|node| missing[node.index()] == 0);
        let mut ready: BinaryHeap<_> = ready.map(Reverse).collect();
        while let Some(Reverse(node)) = ready.pop() {
            self.order.push(graph[node]);
            for after in graph.neighbors(node) {
                missing[after.index()] -= 1;
                if missing[after.index()] == 0 {
                    ready.push(Reverse(after));
                }
            }
        }
    }

    fn cycles<P: Clone>(&self, edges: &[Edge<P>]) -> Vec<Vec<Edge<P>>> {
        let mut by_ends: HashMap<(Vertex, Vertex), &Edge<P>> = HashMap::new();
        for edge in edges {
            by_ends.entry((edge.before, edge.after)).or_insert(edge);
        }
        let mut cycles = Vec::new();
        for mut knot in tarjan_scc(&self.graph) {
            knot.sort();
            let Some(start) = knot.first().copied() else { continue };
            if knot.len() == 1 && !self.graph.contains_edge(start, start) {
                continue;
            }
            let path = self.shortest_cycle(start, &knot.iter().copied().collect());
            let pairs = path.iter().zip(path.iter().cycle().skip(1));
            let cycle = pairs.filter_map(|(before, after)| {
                by_ends.get(&(self.graph[*before], self.graph[*after])).map(|edge| (*edge).clone())
            });
            cycles.push(cycle.collect());
        }
        cycles.reverse();
        cycles
    }

    /// The nodes of a shortest cycle through `start`, which lies within `knot`.
    fn shortest_cycle(&self, start: NodeIndex, knot: &HashSet<NodeIndex>) -> Vec<NodeIndex> {
        let mut from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            let mut after: Vec<_> = self.graph.neighbors(node).filter(|next| knot.contains(next)).collect();
            after.sort();
            for next in after {
                if next == start {
                    let mut path: Vec<_> =
                        std::iter::successors(Some(node), |node| from.get(node).copied()).collect();
                    path.reverse();
                    return path;
                }
                if let Entry::Vacant(entry) = from.entry(next) {
                    entry.insert(node);
                    queue.push_back(next);
                }
            }
        }
        vec![start]
    }
}
