//! Who makes what a resource was found to lack: by the graph, or by what only comes before it in time.

use std::collections::HashSet;

use super::walk::{Phase, Standing, Walk};
use crate::attribute::{AbsPath, ByPath};
use crate::graph::Vertex;
use crate::resource::{Check, Failure, Lack, Thing};

/// Who makes what on a host.
#[derive(Default)]
pub(super) struct Places {
    paths: ByPath,
    /// The same of directories alone, which make their parents too.
    directories: ByPath,
    /// The files that a part of them makes, as a line with `create` does.
    files: ByPath,
    packages: Vec<(String, usize)>,
}

impl Places {
    fn making(&self, path: &AbsPath) -> impl Iterator<Item = usize> {
        self.paths.at(path).chain(self.directories.below(path))
    }
}

impl Walk<'_> {
    /// In a plan: a resource that comes before this one will make the thing.
    pub(super) fn will_be_provided(&self, item: usize, lack: &Lack) -> bool {
        if matches!(lack.thing, Thing::Lock(_)) {
            return true;
        }
        self.pending_before(item, |provider| self.provides(provider, lack)).is_some()
            || self.makers(item, lack).into_iter().any(|maker| self.is_pending(maker))
    }

    fn is_pending(&self, item: usize) -> bool {
        matches!(self.outcomes.get(&Vertex::Item(item)), Some(Standing::Pending { .. }))
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

    /// Packages called like a directory that is missing, as nginx and /etc/nginx/sites-enabled.
    pub(super) fn namesakes(&self, item: usize, lack: &Lack) -> impl Iterator<Item = usize> {
        let missing = match &lack.thing {
            Thing::Path(path) => path.as_str().to_owned(),
            _ => String::new(),
        };
        let places = self.places(self.spec.items[item].host);
        let is_it = move |name: &str| missing.split('/').skip(2).any(|part| is_namesake(name, part));
        let alike = places.packages.iter().filter(move |(name, other)| *other != item && is_it(name));
        alike.map(|(_, other)| *other)
    }

    /// A directory that nothing declares is made with one below it, a file that nothing declares by a
    /// line in it with `create`, what a link leads to may be declared by its own path, and a group that
    /// is to go is left by a user that is moved, or goes too. There is no order between that one and
    /// what waits for it here (mostly it is there): it is only awaited where that is found missing.
    fn makers(&self, item: usize, lack: &Lack) -> Vec<usize> {
        let host = self.spec.items[item].host;
        let is_removal = self.item(item).resource.as_resource().links().is_removal;
        let mut makers: Vec<usize> = match &lack.thing {
            Thing::User(_) if is_removal => self.providers(host, &lack.thing),
            // A removal lacks that something else is gone.
            Thing::Path(path) if !is_removal => {
                // Who makes the directory of a file that is to be there already does not make the file.
                let own = self.path_of(item).filter(|own| own != path);
                let places = self.places(host);
                let parent = own.and_then(|own| own.parent());
                let of_parent = parent.iter().flat_map(|parent| places.making(parent));
                places.making(path).chain(of_parent).chain(places.files.at(path)).collect()
            }
            _ => Vec::new(),
        };
        makers.retain(|maker| *maker != item);
        makers.sort_unstable();
        makers.dedup();
        makers
    }

    fn providers(&self, host: usize, thing: &Thing) -> Vec<usize> {
        let on_host = (0..self.spec.items.len()).filter(|item| self.spec.items[*item].host == host);
        on_host
            .filter(|item| self.item(*item).resource.as_resource().links().provides.contains(thing))
            .collect()
    }

    /// Read once, when the host's facts are known.
    fn places(&self, host: usize) -> &Places {
        self.places[host].get_or_init(|| self.read_places(host))
    }

    fn read_places(&self, host: usize) -> Places {
        let mut places = Places::default();
        for item in (0..self.spec.items.len()).filter(|item| self.spec.items[*item].host == host) {
            let declared = &self.item(item).resource;
            let (resource, is_directory) = (declared.as_resource(), declared.type_word() == "directory");
            let links = resource.links();
            // Who declares a part of a file does not make it.
            for thing in links.provides.into_iter().filter(|_| !links.is_removal) {
                match thing {
                    Thing::Path(path) => {
                        if is_directory {
                            places.directories.add(path.clone(), item);
                        }
                        places.paths.add(path, item);
                    }
                    Thing::Package(name) => places.packages.push((name, item)),
                    _ => {}
                }
            }
            if let Some(file) = resource.makes_file() {
                places.files.add(file, item);
            }
        }
        places
    }

    /// In a plan: who will make what it was found to lack, whether or not the graph says so.
    pub(super) fn note_makers(&mut self, item: usize, found: &Result<Check, Failure>) {
        let Ok(Check::Needs(needed)) = found else { return };
        let makers = needed.lacks.iter().flat_map(|lack| self.makers(item, lack));
        self.items[item].makers = makers.filter(|maker| self.is_pending(*maker)).collect();
    }

    /// In a plan: what it lacks is where a link to come will lead, so that what lies there cannot be
    /// seen yet.
    pub(super) fn link_to_come(&self, item: usize) -> Option<String> {
        let is_link = |maker: &&usize| self.item(**maker).resource.as_resource().leads_elsewhere(None);
        let link = self.items[item].makers.iter().find(is_link)?;
        Some(format!("{} is in place", self.spec.id(*link)))
    }

    /// In a plan: whether who makes what it lacks will do so is not known itself.
    pub(super) fn unknown_maker(&self, item: usize) -> Option<String> {
        self.outcomes_of_makers(Vertex::Item(item)).find_map(|outcome| match outcome {
            Standing::Pending { until, certain: false, .. } => Some(until.clone()),
            _ => None,
        })
    }

    /// Of those who will make what it lacks.
    pub(super) fn outcomes_of_makers(&self, vertex: Vertex) -> impl Iterator<Item = &Standing> {
        let makers = match vertex {
            Vertex::Item(item) => &self.items[item].makers[..],
            Vertex::Host(_) => &[],
        };
        makers.iter().filter_map(|maker| self.outcomes.get(&Vertex::Item(*maker)))
    }

    /// One of these that is not settled yet, and does not wait for this one itself, in
    /// the graph or as this one would for it.
    pub(super) fn maker_to_come(&self, item: usize, lack: &Lack) -> Option<usize> {
        let is_open = |maker: &usize| {
            let vertex = Vertex::Item(*maker);
            self.selection.is_involved(vertex) && !self.outcomes.contains_key(&vertex)
        };
        let makers = self.makers(item, lack).into_iter().chain(self.namesakes(item, lack));
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
