//! What a plan can foresee: who will make what is missing, what follows from a change, and what
//! cannot be seen yet.

use std::collections::HashSet;

use super::walk::{Phase, Standing, Walk};
use crate::attribute::AbsPath;
use crate::graph::{Reason, Vertex};
use crate::resource::{Check, Failure, Lack, Needed, Thing};

impl Walk<'_> {
    /// In a plan: a resource that comes before this one will make the thing.
    pub(super) fn will_be_provided(&self, item: usize, lack: &Lack) -> bool {
        self.pending_before(item, |provider| self.provides(provider, lack)).is_some()
            || self.makers(item, lack).any(|maker| {
                matches!(self.outcomes.get(&Vertex::Item(maker)), Some(Standing::Pending { .. }))
            })
    }

    /// A directory that nothing declares is made with one below it. There is no order between that
    /// one and what else lies in the directory (mostly it is there): it is only awaited where the
    /// directory is found missing.
    fn makers(&self, item: usize, lack: &Lack) -> impl Iterator<Item = usize> {
        let host = self.spec.items[item].host;
        let is_removal = self.item(item).resource.as_resource().links().is_removal;
        let parent = self.path_of(item).and_then(|path| path.parent());
        let wanted = match &lack.thing {
            // A removal lacks that something else is gone.
            Thing::Path(path) if !is_removal => Some(path.clone()),
            _ => None,
        };
        (0..self.spec.items.len()).filter(move |other| {
            let declared = self.item(*other);
            let makes = |made: &AbsPath| {
                let is_for = |path: &AbsPath| made == path || made.is_below(path);
                wanted.as_ref().is_some_and(is_for) || wanted.is_some() && parent.as_ref().is_some_and(is_for)
            };
            *other != item
                && declared.host == host
                && declared.resource.type_word() == "directory"
                && !declared.resource.as_resource().links().is_removal
                && self.path_of(*other).is_some_and(|made| makes(&made))
        })
    }

    /// One of these that is not settled yet, and does not wait for this one itself.
    pub(super) fn maker_to_come(&self, item: usize, lack: &Lack) -> Option<usize> {
        let is_open = |maker: &usize| {
            let vertex = Vertex::Item(*maker);
            self.selection.is_involved(vertex) && !self.outcomes.contains_key(&vertex)
        };
        let mut makers = self.makers(item, lack).filter(is_open).peekable();
        makers.peek()?;
        let mut behind = HashSet::from([Vertex::Item(item)]);
        let mut open = vec![Vertex::Item(item)];
        while let Some(vertex) = open.pop() {
            let dependents = self.spec.graph.dependents(vertex).map(|(other, _)| other);
            open.extend(dependents.filter(|other| behind.insert(*other)));
        }
        makers.find(|maker| !behind.contains(&Vertex::Item(*maker)))
    }

    /// It has its turn again when that one is settled.
    pub(super) fn await_maker(&mut self, item: usize, maker: usize, found: Option<Result<Check, Failure>>) {
        self.items[item].phase = Phase::Idle;
        self.items[item].found = found;
        self.awaiting.push((Vertex::Item(maker), item));
    }

    /// In a plan: what is seen at its path now is something else: it lies below a link that does not
    /// point yet where it will, below what is yet to be mounted, or under what is yet to come off.
    pub(super) fn hidden_until(&self, item: usize) -> Option<String> {
        let hiding = self.pending_before(item, |other| {
            let standing = self.outcomes.get(&Vertex::Item(other));
            matches!(standing, Some(Standing::Pending { hides: true, .. }))
                && self
                    .path_of(other)
                    .zip(self.path_of(item))
                    .is_some_and(|(other, own)| own == other || own.is_below(&other))
        })?;
        let id = self.spec.id(hiding);
        let links = self.item(hiding).resource.as_resource().links();
        let comes_off = links.provides.iter().any(|thing| matches!(thing, Thing::Uncovered(_)));
        Some(format!("{id} is {}", if comes_off { "unmounted" } else { "in place" }))
    }

    /// What it lacks is the directory that a link on its way points to. Whether something before it
    /// makes that by the link's name cannot be seen here.
    pub(super) fn lies_behind_a_link(&self, item: usize, lack: &Lack) -> bool {
        let Thing::Path(missing) = &lack.thing else { return false };
        self.path_of(item).is_some_and(|own| !own.is_below(missing))
    }

    fn path_of(&self, item: usize) -> Option<AbsPath> {
        let links = self.item(item).resource.as_resource().links();
        links.provides.into_iter().find_map(|thing| match thing {
            Thing::Path(path) => Some(path),
            _ => None,
        })
    }

    /// In a plan: what comes before this one on the same host, is yet to be done, and is so.
    fn pending_before(&self, item: usize, is_so: impl Fn(usize) -> bool) -> Option<usize> {
        self.pending_on(Vertex::Item(item))?;
        let host = self.spec.items[item].host;
        let mut open = vec![Vertex::Item(item)];
        let mut seen = HashSet::new();
        while let Some(vertex) = open.pop() {
            for (before, _) in self.spec.graph.dependencies(vertex) {
                if !seen.insert(before) {
                    continue;
                }
                open.push(before);
                let Vertex::Item(other) = before else { continue };
                let is_pending = matches!(self.outcomes.get(&before), Some(Standing::Pending { .. }));
                if is_pending && self.spec.items[other].host == host && is_so(other) {
                    return Some(other);
                }
            }
        }
        None
    }

    fn provides(&self, provider: usize, lack: &Lack) -> bool {
        let resource = &self.item(provider).resource;
        let makes_parents = resource.type_word() == "directory";
        resource.as_resource().links().provides.iter().any(|thing| match (thing, &lack.thing) {
            (Thing::Path(made), Thing::Path(missing)) => {
                made == missing || makes_parents && made.is_below(missing)
            }
            (made, missing) => made == missing,
        })
    }

    /// In a plan: what follows for a resource in state from changes that come before it.
    pub(super) fn consequences(&self, item: usize) -> Option<Needed> {
        let resource = self.item(item).resource.as_resource();
        let mut follows = self.spec.graph.dependencies(Vertex::Item(item)).filter_map(|(other, reason)| {
            let Reason::Declared { attribute, .. } = reason else { return None };
            let Some(Standing::Pending { changed: true, .. }) = self.outcomes.get(&other) else {
                return None;
            };
            let Vertex::Item(cause) = other else { return None };
            resource.follows(attribute, &self.spec.items[cause].resource.id())
        });
        let (action, first) = follows.next()?;
        let changes = std::iter::once(first).chain(follows.map(|(_, change)| change)).collect();
        Some(Needed { action, changes, lacks: Vec::new() })
    }
}
