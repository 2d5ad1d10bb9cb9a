//! What comes before what, and why. The graph decides the order, not the list.

use std::fmt;

/// A node of the graph: an index into the spec's hosts or items.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Vertex {
    Host(usize),
    Item(usize),
}

/// Why one comes before the other.
#[derive(Clone, PartialEq, Eq, Debug)]
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
            Reason::Removal(why) => write!(f, "is removed first ({why})"),
            Reason::Host => f.write_str("its host"),
        }
    }
}

/// The order of a spec's hosts and resources.
#[derive(Default, Debug)]
pub struct Graph {
    order: Vec<Vertex>,
    /// For each vertex, hosts first, then items: what it depends on.
    dependencies: Vec<Vec<(Vertex, Reason)>>,
    dependents: Vec<Vec<(Vertex, Reason)>>,
    hosts: usize,
}

impl Graph {
    /// Everything, dependencies first; where the graph leaves a choice, as it was declared.
    pub fn order(&self) -> &[Vertex] {
        &self.order
    }

    /// What `vertex` waits for. One vertex comes up once for each reason.
    pub fn dependencies(&self, vertex: Vertex) -> impl Iterator<Item = (Vertex, &Reason)> {
        self.dependencies[self.index(vertex)].iter().map(|(other, reason)| (*other, reason))
    }

    /// What waits for `vertex`.
    pub fn dependents(&self, vertex: Vertex) -> impl Iterator<Item = (Vertex, &Reason)> {
        self.dependents[self.index(vertex)].iter().map(|(other, reason)| (*other, reason))
    }

    fn index(&self, vertex: Vertex) -> usize {
        match vertex {
            Vertex::Host(host) => host,
            Vertex::Item(item) => self.hosts + item,
        }
    }
}

/// One line a vertex, and one an edge.
pub fn text(_spec: &crate::spec::Spec) -> String {
    String::new()
}

/// For Graphviz.
pub fn dot(_spec: &crate::spec::Spec) -> String {
    String::new()
}

/// For Mermaid.
pub fn mermaid(_spec: &crate::spec::Spec) -> String {
    String::new()
}
