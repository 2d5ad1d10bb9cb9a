//! What a plan can foresee: who will make what is missing, what follows from a change, and what
//! cannot be seen yet.

use std::cell::OnceCell;
use std::collections::HashSet;

use super::walk::{Standing, Walk};
use crate::attribute::{AbsPath, Symlinks};
use crate::graph::{Reason, Vertex};
use crate::resource::{Change, Lack, Needed, Thing};

impl Walk<'_> {
    /// In a plan: something that it stands on, or a package that is called like the directory it
    /// lacks, is yet to be done, and brings more than it can say. Whether that is among it is seen then.
    pub(super) fn may_be_brought(&self, item: usize, lack: &Lack) -> Option<String> {
        let brings = |other: usize| self.item(other).resource.as_resource().brings_more();
        if let Some(Standing::Pending { until, .. }) =
            self.pending_before(item, brings).and_then(|other| self.outcomes.get(&Vertex::Item(other)))
        {
            return Some(until.clone());
        }
        self.namesakes(item, lack).find_map(|package| match self.outcomes.get(&Vertex::Item(package)) {
            Some(Standing::Pending { until, .. }) => Some(until.clone()),
            _ => None,
        })
    }

    /// In a plan: what is seen at its path now is something else: it lies below a link that does not
    /// point yet where it will, below what is yet to be mounted, or under what is yet to come off.
    pub(super) fn hidden_until(&self, item: usize) -> Option<String> {
        // Its own paths, and where they lead: only asked for where something hides at all.
        let seen = OnceCell::new();
        let look = || {
            let mut seen = self.item(item).resource.as_resource().looks_at();
            seen.extend(self.path_of(item));
            let links = self.links_on(self.spec.items[item].host);
            seen.iter().flat_map(|path| path.led_by(&links)).collect::<Vec<_>>()
        };
        let hiding = self.pending_before(item, |other| {
            let standing = self.outcomes.get(&Vertex::Item(other));
            let hides = |other: AbsPath| {
                seen.get_or_init(look).iter().any(|own: &AbsPath| *own == other || own.is_below(&other))
            };
            matches!(standing, Some(Standing::Pending { hides: true, .. }))
                && self.path_of(other).is_some_and(hides)
        })?;
        let id = self.spec.id(hiding);
        let links = self.item(hiding).resource.as_resource().links();
        let comes_off = links.provides.iter().any(|thing| matches!(thing, Thing::Uncovered(_)));
        Some(format!("{id} is {}", if comes_off { "unmounted" } else { "in place" }))
    }

    /// In a plan: it is to be gone, and may go with what it lies in before it has its turn.
    pub(super) fn may_be_taken_along(&self, item: usize) -> Option<String> {
        let path = self.path_of(item)?;
        let clearing =
            self.pending_before(item, |other| self.item(other).resource.as_resource().takes_along(&path))?;
        Some(format!("{} is done", self.spec.id(clearing)))
    }

    /// What it lacks is the directory that a link on its way points to. Whether something before it
    /// makes that by the link's name cannot be seen here.
    pub(super) fn lies_behind_a_link(&self, item: usize, lack: &Lack) -> bool {
        let Thing::Path(missing) = &lack.thing else { return false };
        self.path_of(item).is_some_and(|own| own != *missing && !own.is_below(missing))
    }

    /// In a plan: something before it is to be done of which nobody knows what it will make.
    pub(super) fn comes_after_the_unforeseen(&self, item: usize) -> bool {
        let is_unforeseen = |other| !self.item(other).resource.as_resource().makes_only_what_it_provides();
        self.pending_before(item, is_unforeseen).is_some()
    }

    pub(super) fn path_of(&self, item: usize) -> Option<AbsPath> {
        let links = self.item(item).resource.as_resource().links();
        links.provides.into_iter().find_map(|thing| match thing {
            Thing::Path(path) | Thing::Part(path) => Some(path),
            _ => None,
        })
    }

    /// In a plan: what comes before this one on the same host, is yet to be done, and is so.
    pub(super) fn pending_before(&self, item: usize, is_so: impl Fn(usize) -> bool) -> Option<usize> {
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

    /// In a plan: what it owes for is to become something else, and may become what it was started
    /// with: somebody changed a file, and the run changes it back.
    pub(super) fn may_be_paid(&self, item: usize, needed: &Needed) -> Option<String> {
        let owed: Vec<&AbsPath> = needed.changes.iter().flat_map(|change| &change.owed).collect();
        let is_certain = |change: &Change| {
            change.owed.is_empty() && ["state", "creates", "removes"].contains(&&*change.attribute)
        };
        if owed.is_empty() || needed.changes.iter().any(is_certain) {
            return None;
        }
        let touches =
            |made: &AbsPath, path: &AbsPath| made == path || made.is_below(path) || path.is_below(made);
        let links = self.links_on(self.spec.items[item].host);
        let led: Vec<_> = owed.iter().map(|path| (*path, path.led_by(&links))).collect();
        let (mut touched, mut first) = (Vec::new(), None);
        for (before, _) in self.spec.graph.dependencies(Vertex::Item(item)) {
            let (Vertex::Item(cause), Some(Standing::Pending { until, content, .. })) =
                (before, self.outcomes.get(&before))
            else {
                continue;
            };
            let cause = self.item(cause).resource.as_resource();
            let made = cause.content_paths();
            let made: Vec<AbsPath> = made.iter().flat_map(|path| cause.names(path, &links)).collect();
            let is_of_it = |path: &AbsPath| made.iter().any(|made| touches(made, path));
            let of_it = led.iter().filter(|(_, places)| places.iter().any(is_of_it));
            let of_it: Vec<&AbsPath> = of_it.map(|(path, _)| *path).collect();
            match content {
                Some(false) => {}
                // Another one that it watches, and does not owe for yet: it will.
                Some(true) if of_it.is_empty() && self.is_watched(item, before) => return None,
                _ if of_it.is_empty() => {}
                _ => {
                    touched.extend(of_it);
                    first.get_or_insert_with(|| until.clone());
                }
            }
        }
        first.filter(|_| owed.iter().all(|path| touched.contains(path)))
    }

    /// The links that are declared on a host.
    fn links_on(&self, host: usize) -> Symlinks {
        let items = (0..self.spec.items.len()).filter(|item| self.spec.items[*item].host == host);
        items.filter_map(|item| self.item(item).resource.as_resource().link()).collect()
    }

    fn is_watched(&self, item: usize, before: Vertex) -> bool {
        let Vertex::Item(cause) = before else { return false };
        let (resource, id) = (self.item(item).resource.as_resource(), self.spec.items[cause].resource.id());
        self.spec.graph.dependencies(Vertex::Item(item)).filter(|(other, _)| *other == before).any(
            |(_, reason)| match reason {
                Reason::Declared { attribute, .. } => resource.foreseen(attribute, &id).is_some(),
                Reason::Implied(why) => resource.foreseen(why, &id).is_some(),
                _ => false,
            },
        )
    }

    /// What an apply will name where it owes for that one: the paths that it stands for.
    fn told_as(&self, cause: usize) -> Vec<String> {
        let paths = self.item(cause).resource.as_resource().content_paths();
        match paths.is_empty() {
            true => vec![self.spec.items[cause].resource.id()],
            false => paths.iter().map(AbsPath::to_string).collect(),
        }
    }

    /// In a plan: what follows for a resource from changes of what it watches.
    pub(super) fn consequences(&self, item: usize) -> Consequences {
        let resource = self.item(item).resource.as_resource();
        // By what is watched, and in the order of declaration.
        let mut causes: Vec<(&str, Vec<String>)> = Vec::new();
        let mut open = None;
        for (before, reason) in self.spec.graph.dependencies(Vertex::Item(item)) {
            let watched = match reason {
                Reason::Declared { attribute, .. } => attribute,
                Reason::Implied(why) => why,
                _ => continue,
            };
            let (Vertex::Item(cause), Some(Standing::Pending { until, content, .. })) =
                (before, self.outcomes.get(&before))
            else {
                continue;
            };
            if resource.foreseen(watched, "").is_none() {
                continue;
            }
            match content {
                Some(false) => {}
                None => open = open.or(Some(until.clone())),
                Some(true) => {
                    let names = self.told_as(cause);
                    match causes.iter_mut().find(|(there, _)| *there == *watched) {
                        Some((_, all)) => all.extend(names),
                        None => causes.push((watched, names)),
                    }
                }
            }
        }
        let foreseen = causes.into_iter().filter_map(|(watched, mut names)| {
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            resource.foreseen(watched, &all_of(&names))
        });
        let needed = foreseen.map(|(action, changes)| Needed { action, changes, lacks: Vec::new() });
        match (needed.reduce(both), open) {
            (Some(needed), _) => Consequences::Certain(needed),
            (None, Some(until)) => Consequences::Open(until),
            (None, None) => Consequences::None,
        }
    }
}

/// What changes of what a resource watches mean for it.
pub(super) enum Consequences {
    None,
    Certain(Needed),
    /// Whether anything follows cannot be known until then.
    Open(String),
}

/// One change of each attribute. What is started or restarted needs neither once more, nor a reload.
pub(super) fn both(mut first: Needed, second: Needed) -> Needed {
    for change in second.changes {
        let is_new = !first.has(&change.attribute);
        let is_started = first.has("state") && ["restart", "reload"].contains(&&*change.attribute);
        if is_new && !is_started {
            first.changes.push(change);
        }
    }
    if first.has("restart") {
        first.changes.retain(|change| change.attribute != "reload");
    }
    first
}

/// `a, b and c`.
fn all_of(ids: &[String]) -> String {
    match ids.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
