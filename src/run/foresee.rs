//! What a plan can foresee: who will make what is missing, what follows from a change, and what
//! cannot be seen yet.

use std::cell::OnceCell;
use std::collections::HashSet;

use super::walk::{Phase, Standing, Walk};
use crate::attribute::{AbsPath, Symlinks};
use crate::graph::{Reason, Vertex};
use crate::resource::{Change, Check, Failure, Lack, Needed, Thing};

impl Walk<'_> {
    /// In a plan: a resource that comes before this one will make the thing.
    pub(super) fn will_be_provided(&self, item: usize, lack: &Lack) -> bool {
        if matches!(lack.thing, Thing::Lock(_)) {
            return true;
        }
        self.pending_before(item, |provider| self.provides(provider, lack)).is_some()
            || self.makers(item, lack).any(|maker| self.items[item].makers.contains(&Vertex::Item(maker)))
    }

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

    /// Packages called like a directory that is missing, as nginx and /etc/nginx/sites-enabled.
    fn namesakes(&self, item: usize, lack: &Lack) -> impl Iterator<Item = usize> {
        let host = self.spec.items[item].host;
        let missing = match &lack.thing {
            Thing::Path(path) => path.as_str().to_owned(),
            _ => String::new(),
        };
        (0..self.spec.items.len()).filter(move |other| {
            let declared = self.item(*other);
            let links = declared.resource.as_resource().links();
            *other != item
                && declared.host == host
                && !links.is_removal
                && links.provides.iter().any(|thing| match thing {
                    Thing::Package(name) => missing.split('/').skip(2).any(|part| is_namesake(name, part)),
                    _ => false,
                })
        })
    }

    /// A directory that nothing declares is made with one below it, a file that nothing declares by a
    /// line in it with `create`, what a link leads to may be declared by its own path, and a group that
    /// is to go is left by a user that is moved, or goes too. There is no order between that one and
    /// what waits for it here (mostly it is there): it is only awaited where that is found missing.
    fn makers(&self, item: usize, lack: &Lack) -> impl Iterator<Item = usize> {
        let host = self.spec.items[item].host;
        let is_removal = self.item(item).resource.as_resource().links().is_removal;
        let left = matches!(lack.thing, Thing::User(_)).then(|| lack.thing.clone()).filter(|_| is_removal);
        // Who makes the directory of a file that is to be there already does not make the file.
        let own = self.path_of(item).filter(|own| lack.thing != Thing::Path(own.clone()));
        let parent = own.and_then(|path| path.parent());
        let wanted = match &lack.thing {
            // A removal lacks that something else is gone.
            Thing::Path(path) if !is_removal => Some(path.clone()),
            _ => None,
        };
        (0..self.spec.items.len()).filter(move |other| {
            let declared = self.item(*other);
            let makes_parents = declared.resource.type_word() == "directory";
            let makes = |made: &AbsPath| {
                let is_for = |path: &AbsPath| made == path || makes_parents && made.is_below(path);
                wanted.as_ref().is_some_and(is_for) || wanted.is_some() && parent.as_ref().is_some_and(is_for)
            };
            let is_it = || {
                let resource = declared.resource.as_resource();
                let links = resource.links();
                if let Some(left) = &left {
                    return links.provides.contains(left);
                }
                // Who declares a part of a file does not make it.
                let made = |thing: &Thing| matches!(thing, Thing::Path(path) if makes(path));
                let is_maker = !links.is_removal && links.provides.iter().any(made);
                // A line with `create` makes its file.
                let makes_file = || wanted.is_some() && resource.makes_file() == wanted;
                is_maker || makes_file()
            };
            *other != item && declared.host == host && is_it()
        })
    }

    /// In a plan: who will make what it was found to lack, whether or not the graph says so.
    pub(super) fn note_makers(&mut self, item: usize, found: &Result<Check, Failure>) {
        let Ok(Check::Needs(needed)) = found else { return };
        let makers = needed.lacks.iter().flat_map(|lack| self.makers(item, lack)).map(Vertex::Item);
        let is_pending = |maker: &Vertex| matches!(self.outcomes.get(maker), Some(Standing::Pending { .. }));
        self.items[item].makers = makers.filter(is_pending).collect();
    }

    /// In a plan: what it lacks is where a link to come will lead, so that what lies there cannot be
    /// seen yet.
    pub(super) fn link_to_come(&self, item: usize) -> Option<String> {
        let is_link = |maker: &Vertex| match maker {
            Vertex::Item(maker) => self.item(*maker).resource.as_resource().leads_elsewhere(None),
            Vertex::Host(_) => false,
        };
        let Vertex::Item(link) = self.items[item].makers.iter().copied().find(is_link)? else { return None };
        Some(format!("{} is in place", self.spec.id(link)))
    }

    /// In a plan: whether who makes what it lacks will do so is not known itself.
    pub(super) fn unknown_maker(&self, item: usize) -> Option<String> {
        let mut makers = self.items[item].makers.iter();
        makers.find_map(|maker| match self.outcomes.get(maker) {
            Some(Standing::Pending { until, certain: false, .. }) => Some(until.clone()),
            _ => None,
        })
    }

    /// One of these that is not settled yet, and does not wait for this one itself, in
    /// the graph or as this one would for it.
    pub(super) fn maker_to_come(&self, item: usize, lack: &Lack) -> Option<usize> {
        let is_open = |maker: &usize| {
            let vertex = Vertex::Item(*maker);
            self.selection.is_involved(vertex) && !self.outcomes.contains_key(&vertex)
        };
        let makers = self.makers(item, lack).chain(self.namesakes(item, lack));
        let mut makers = makers.filter(is_open).filter(|_| !self.awaits_nobody).peekable();
        makers.peek()?;
        let mut behind = HashSet::from([Vertex::Item(item)]);
        let mut open = vec![Vertex::Item(item)];
        while let Some(vertex) = open.pop() {
            let dependents = self.spec.graph.dependents(vertex).map(|(other, _)| other);
            // Two that await each other would do so for ever.
            let awaiting = self.awaiting.iter().filter(|(maker, _)| *maker == vertex);
            let awaiting = awaiting.map(|(_, waits)| Vertex::Item(*waits));
            open.extend(dependents.chain(awaiting).filter(|other| behind.insert(*other)));
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

    fn path_of(&self, item: usize) -> Option<AbsPath> {
        let links = self.item(item).resource.as_resource().links();
        links.provides.into_iter().find_map(|thing| match thing {
            Thing::Path(path) | Thing::Part(path) => Some(path),
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
        let links = resource.as_resource().links();
        // What is removed takes none of its parents along.
        let makes_parents = resource.type_word() == "directory" && !links.is_removal;
        if resource.type_word() == "file" && !links.is_removal {
            // What is missing is a directory.
            return false;
        }
        links.provides.iter().any(|thing| match (thing, &lack.thing) {
            (Thing::Path(made), Thing::Path(missing)) => {
                made == missing || makes_parents && made.is_below(missing)
            }
            // With `create`; without, it would have failed itself. A line that is to go takes no file along.
            (Thing::Part(made), Thing::Path(missing)) => made == missing && !links.is_removal,
            (made, missing) => made == missing,
        })
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

/// `nginx` of the package nginx, and of nginx-light; `php` of php8.2-fpm.
fn is_namesake(package: &str, directory: &str) -> bool {
    package.strip_prefix(directory).is_some_and(|rest| {
        !directory.is_empty() && !rest.starts_with(|next: char| next.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::is_namesake;

    #[test]
    fn a_package_is_known_by_the_directory_that_is_called_like_it() {
        for (package, directory, is) in [
            ("nginx", "nginx", true),
            ("nginx-light", "nginx", true),
            ("php8.2-fpm", "php", true),
            ("postgresql-15", "postgresql", true),
            ("nginxed", "nginx", false),
            ("nginx", "nginx-light", false),
            ("nginx", "", false),
        ] {
            assert_eq!(is_namesake(package, directory), is, "{package} {directory}");
        }
    }
}
