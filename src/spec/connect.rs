//! From resources to a graph: what is declared (`depends_on`, `restart_on`), what follows from
//! what the resources are (a file lies in a directory).

use std::collections::{HashMap, HashSet};

use super::at::{At, Place};
use super::desk::Desk;
use super::entry::Draft;
use super::parts;
use super::problem::Problem;
use super::reference::Resolver;
use super::surround::surround;
use crate::attribute::{AbsPath, ByPath, Symlinks};
use crate::graph::{Edge, Reason, Vertex};
use crate::resource::{AnyResource, BOOT_FILES, Links, Thing};

/// What the resources of a spec provide and stand on.
pub struct Web {
    pub(super) links: Vec<Links>,
    providers: HashMap<(usize, Thing), Vec<usize>>,
    /// Of each host, the same for paths and for parts of files.
    paths: HashMap<usize, ByPath>,
}

/// Where a unit's drop-ins lie: not only that directory comes first, but every file in it.
const DROP_INS: &str = "its drop-ins";

/// What a user's home may be on: a link or a mount comes first, and a directory after the user.
const PLACE_OF_HOME: &str = "the place of its home";
const MOUNTED_BELOW: &str = "what is mounted below it";

impl Web {
    pub fn new(drafts: &[Draft]) -> Web {
        let links = drafts.iter().map(|draft| (draft.host, draft.resource.as_resource().links()));
        Web::of(links.collect())
    }

    /// Of the resources' hosts and links.
    pub(super) fn of(all: Vec<(usize, Links)>) -> Web {
        let mut providers: HashMap<(usize, Thing), Vec<usize>> = HashMap::new();
        let mut paths: HashMap<usize, ByPath> = HashMap::new();
        for (item, (host, links)) in all.iter().enumerate() {
            for thing in &links.provides {
                providers.entry((*host, thing.clone())).or_default().push(item);
                if let Thing::Path(path) | Thing::Part(path) = thing {
                    paths.entry(*host).or_default().add(path.clone(), item);
                }
            }
        }
        let links = all.into_iter().map(|(_, links)| links).collect();
        Web { links, providers, paths }
    }

    /// Who else provides exactly this.
    pub(super) fn others(&self, host: usize, thing: Thing, but: usize) -> Vec<usize> {
        let providers = self.providers.get(&(host, thing));
        providers.into_iter().flatten().copied().filter(|item| *item != but).collect()
    }

    /// Who provides what `item` stands on: of a path, what is nearest at or above it.
    pub(super) fn below(&self, host: usize, thing: &Thing, item: usize) -> Vec<usize> {
        let found = self.others(host, thing.clone(), item);
        let Thing::Path(path) = thing else { return found };
        if !found.is_empty() {
            return found;
        }
        let above = path.ancestors().map(|above| self.others(host, Thing::Path(above), item));
        above.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Who writes a part of the file at this path: none, for those that do so themselves.
    pub(super) fn editors(&self, host: usize, thing: &Thing, item: usize) -> Vec<usize> {
        let Thing::Path(path) = thing else { return Vec::new() };
        let part = Thing::Part(path.clone());
        if self.links[item].provides.contains(&part) {
            return Vec::new();
        }
        self.others(host, part, item)
    }

    /// Who provides what lies below a path, or a part of it.
    fn inside(&self, host: usize, path: &AbsPath) -> Vec<usize> {
        self.paths.get(&host).into_iter().flat_map(|paths| paths.below(path)).collect()
    }

    /// Where something mounted is to come off: what is mounted below it and comes off too.
    fn off_first(&self, host: usize, item: usize) -> Vec<usize> {
        let uncovered = |thing: &Thing| match thing {
            Thing::Uncovered(path) => Some(path.clone()),
            _ => None,
        };
        let comes_off =
            |other: &usize| self.links[*other].provides.iter().any(|thing| uncovered(thing).is_some());
        let paths = self.links[item].provides.iter().filter_map(uncovered);
        paths.flat_map(|path| self.inside(host, &path)).filter(comes_off).collect()
    }

    /// Of what goes together with the directory it lies in: what is nearest above and stays. Where
    /// that is a link yet, and is to be a directory, nothing is removed through the link.
    fn kept_above(&self, host: usize, thing: &Thing, item: usize) -> Vec<usize> {
        let stays = |found: &Vec<usize>| found.iter().any(|other| !self.links[*other].is_removal);
        let Thing::Path(path) = thing else { return Vec::new() };
        if !self.links[item].is_removal || stays(&self.below(host, thing, item)) {
            return Vec::new();
        }
        let above = path.ancestors().map(|above| self.others(host, Thing::Path(above), item));
        let mut found = above.into_iter().find(stays).unwrap_or_default();
        found.retain(|other| !self.links[*other].is_removal);
        found
    }

    /// Below a declared link lies what the link leads to: who provides that, by its own path, and
    /// behind as many links as there are.
    fn behind_links(&self, drafts: &[Draft], item: usize, thing: &Thing, providers: &[usize]) -> Vec<usize> {
        let Thing::Path(path) = thing else { return Vec::new() };
        let mut open: Vec<(AbsPath, usize)> = providers.iter().map(|link| (path.clone(), *link)).collect();
        let mut behind = Vec::new();
        let mut seen: HashSet<usize> = providers.iter().copied().chain([item]).collect();
        while let Some((path, link)) = open.pop() {
            let Some((own, target)) = drafts[link].resource.as_resource().link() else { continue };
            let Some(led) = path.behind(&own, &target) else { continue };
            for other in self.below(drafts[item].host, &Thing::Path(led.clone()), item) {
                if seen.insert(other) {
                    behind.push(other);
                    open.push((led.clone(), other));
                }
            }
        }
        behind
    }

    /// The edges that follow from what resources are. A pair that a trigger has joined already
    /// needs no second reason.
    pub fn implied(&self, drafts: &[Draft], edges: &mut Vec<Edge<Place>>) {
        let triggered: HashSet<(Vertex, Vertex)> = edges
            .iter()
            .filter(
                |edge| matches!(edge.reason, Reason::Declared { attribute, .. } if attribute != "depends_on"),
            )
            .map(|edge| (edge.before, edge.after))
            .collect();
        parts::anchored(drafts, edges);
        for (item, draft) in drafts.iter().enumerate() {
            let vertex = Vertex::Item(item);
            edges.push(Edge::new(Vertex::Host(draft.host), vertex, Reason::Host, draft.place));
            for other in self.off_first(draft.host, item) {
                edges.push(Edge::new(
                    Vertex::Item(other),
                    vertex,
                    Reason::Implied(MOUNTED_BELOW),
                    draft.place,
                ));
            }
            for (thing, why) in &self.links[item].stands_on {
                let mut providers = self.below(draft.host, thing, item);
                providers.extend(self.editors(draft.host, thing, item));
                let behind = self.behind_links(drafts, item, thing, &providers);
                providers.extend(behind);
                if let (Thing::Path(path), &(DROP_INS | BOOT_FILES)) = (thing, why) {
                    // But not those that stand on it in the same way.
                    let is_alike =
                        |other: &usize| self.links[*other].stands_on.contains(&(thing.clone(), *why));
                    providers.extend(self.inside(draft.host, path).into_iter().filter(|it| !is_alike(it)));
                }
                if *why == PLACE_OF_HOME {
                    let is_under_it = |word: &str| matches!(word, "symlink" | "mount");
                    providers.retain(|provider| is_under_it(drafts[*provider].resource.type_word()));
                }
                for provider in providers {
                    let below = Vertex::Item(provider);
                    // Of two variants of one thing a host has one.
                    let is_variant = draft.resource.id() == drafts[provider].resource.id();
                    if triggered.contains(&(below, vertex)) || is_variant {
                        continue;
                    }
                    let goes_first = self.links[item].is_removal || self.links[item].yields;
                    // What is mounted comes off before its mount point goes, too.
                    let is_turned = goes_first
                        && self.links[provider].is_removal
                        && !matches!(thing, Thing::Uncovered(_));
                    edges.push(match is_turned {
                        true => Edge::new(vertex, below, Reason::Removal(why), drafts[provider].place),
                        false => Edge::new(below, vertex, Reason::Implied(why), draft.place),
                    });
                }
                for provider in self.kept_above(draft.host, thing, item) {
                    edges.push(Edge::new(Vertex::Item(provider), vertex, Reason::Implied(why), draft.place));
                }
            }
        }
    }

    /// Tells each directory that is purged what the spec declares below it, everything what is
    /// declared around it, and who has to know of it what else there is.
    pub fn purges(&self, drafts: &mut [Draft]) {
        let purging: Vec<(usize, AbsPath)> = (0..drafts.len())
            .filter_map(|item| Some((item, drafts[item].resource.as_resource_mut().purges()?.0)))
            .collect();
        let links_on = if purging.is_empty() { HashMap::new() } else { symlinks(drafts) };
        for (item, directory) in purging {
            let host = drafts[item].host;
            let (mut kept, mut gone): (Vec<AbsPath>, Vec<AbsPath>) = Default::default();
            // By whatever names both have; it is told by the one that the directory is declared with.
            let names = drafts[item].resource.as_resource().names(&directory, &links_on[&host]);
            for (other, links) in self.links.iter().enumerate() {
                if drafts[other].host != host || drafts[other].skipped_by_when.is_some() {
                    continue;
                }
                let resource = drafts[other].resource.as_resource();
                let mut note = |path: &AbsPath, is_kept: bool| {
                    let list = if is_kept { &mut kept } else { &mut gone };
                    for path in resource.names(path, &links_on[&host]) {
                        let below = names.iter().filter(|name| path.is_below(name));
                        list.extend(below.filter_map(|name| path.behind(name, &directory)));
                    }
                };
                for thing in &links.provides {
                    match thing {
                        Thing::Path(path) => note(path, !links.is_removal),
                        // A file of which a part is declared is declared, also where that part is to go.
                        Thing::Part(path) => note(path, true),
                        _ => {}
                    }
                }
                // What a command creates is declared by it, though it provides no such thing.
                if !links.is_removal {
                    resource.content_paths().iter().for_each(|path| note(path, true));
                }
            }
            for list in [&mut kept, &mut gone] {
                list.sort();
                list.dedup();
            }
            let resource = drafts[item].resource.as_resource_mut();
            if let Some((_, paths)) = resource.purges() {
                *paths = kept;
            }
            if let Some(paths) = resource.leaves() {
                *paths = gone;
            }
        }
        surround(drafts);
        look_around(drafts);
    }
}

/// Each host's declared links.
pub(super) fn symlinks(drafts: &[Draft]) -> HashMap<usize, Symlinks> {
    let mut pairs: HashMap<usize, Vec<(AbsPath, AbsPath)>> = HashMap::new();
    for draft in drafts {
        pairs.entry(draft.host).or_default().extend(draft.resource.as_resource().link());
    }
    pairs.into_iter().map(|(host, pairs)| (host, pairs.into_iter().collect())).collect()
}

/// Shows what has to know of its neighbours what else is declared on its host.
fn look_around(drafts: &mut [Draft]) {
    for item in 0..drafts.len() {
        let Draft { host, ref resource, .. } = drafts[item];
        if !resource.as_resource().looks_around() {
            continue;
        }
        let mut own = resource.clone();
        let is_there = |(other, draft): &(usize, &Draft)| {
            *other != item && draft.host == host && draft.skipped_by_when.is_none()
        };
        let others: Vec<&AnyResource> =
            drafts.iter().enumerate().filter(is_there).map(|(_, draft)| &draft.resource).collect();
        own.as_resource_mut().look_around(&others);
        drafts[item].resource = own;
    }
}

/// The edges that the spec declares: `depends_on` of resources and hosts.
pub fn declared(desk: &mut Desk, resolver: &Resolver<'_>, edges: &mut Vec<Edge<Place>>) {
    for (host, draft) in resolver.inventory.hosts.iter().enumerate() {
        depends_on(desk, resolver, &draft.depends_on, Vertex::Host(host), None, edges);
    }
    for (item, draft) in resolver.drafts.iter().enumerate() {
        depends_on(desk, resolver, &draft.depends_on, Vertex::Item(item), Some(draft.host), edges);
    }
}

fn depends_on(
    desk: &mut Desk,
    resolver: &Resolver<'_>,
    references: &[At<String>],
    vertex: Vertex,
    host: Option<usize>,
    edges: &mut Vec<Edge<Place>>,
) {
    for reference in references {
        let Ok(found) = resolver.resolve(desk, reference, host) else { continue };
        for below in found {
            let location = desk.sources.location(reference.place);
            let reason = Reason::Declared { attribute: "depends_on", location };
            edges.push(Edge::new(below, vertex, reason, reference.place));
        }
    }
}

/// The same identity twice on a host, `when` considered.
pub fn twins(desk: &mut Desk, drafts: &[Draft], host_name: impl Fn(usize) -> String) {
    let mut seen: HashMap<(usize, String), &Draft> = HashMap::new();
    for draft in drafts.iter().filter(|draft| draft.skipped_by_when.is_none()) {
        let id = draft.resource.id();
        let Some(first) = seen.insert((draft.host, id.clone()), draft) else { continue };
        // Two variants, of which a host has one: see `resolve`.
        if first.may_be_away() && draft.may_be_away() {
            continue;
        }
        let is_variant = first.may_be_away() || draft.may_be_away();
        let first = first.place;
        let problem =
            Problem::at(draft.place, format!("`{id}` is declared twice on {}", host_name(draft.host)));
        desk.report(if first == draft.place {
            problem
                .label("`for_each` gives it more than once, or this list reaches the host in two ways")
                .help("put {{ item }} into its name, or look at groups that overlap")
        } else {
            problem.label("and here again").also(first, "first here").help(match is_variant {
                true => "give each of them a `when` that depends on facts",
                false => "keep one of them, with all attributes",
            })
        });
    }
}
