//! What is watched: `restart_on` and its kin, from what is written to the paths that are compared, and
//! after whom the watching resource comes.

use std::collections::{HashMap, HashSet};

use super::at::{At, Place};
use super::connect::{Web, symlinks};
use super::desk::Desk;
use super::entry::Draft;
use super::problem::Problem;
use super::reference::Resolver;
use crate::attribute::{AbsPath, ByPath, Symlinks, Trigger};
use crate::graph::{Edge, Reason, Vertex};
use crate::resource::Thing;

/// An item's lists of triggers, references resolved to paths.
pub type Resolved = Vec<(usize, &'static str, Vec<Trigger>)>;

/// A trigger as it is written.
pub struct Written {
    pub item: usize,
    pub attribute: &'static str,
    pub triggers: Vec<Trigger>,
}

pub fn written(drafts: &mut [Draft]) -> Vec<Written> {
    let mut written = Vec::new();
    for (item, draft) in drafts.iter_mut().enumerate() {
        for (attribute, triggers) in draft.resource.as_resource_mut().triggers() {
            if !triggers.is_empty() {
                written.push(Written { item, attribute, triggers: triggers.clone() });
            }
        }
    }
    written
}

/// Resolves what `restart_on` and its kin name to paths, and adds their edges.
pub fn resolve(
    desk: &mut Desk,
    resolver: &Resolver<'_>,
    web: &Web,
    written: Vec<Written>,
    edges: &mut Vec<Edge<Place>>,
) -> Resolved {
    let mut resolved = Vec::new();
    let mut makers = None;
    for Written { item, attribute, triggers } in written {
        let draft = &resolver.drafts[item];
        let places = draft.elements(attribute);
        let mut paths = Vec::new();
        for (index, trigger) in triggers.into_iter().enumerate() {
            let place = places.get(index).or(places.first()).copied().unwrap_or(draft.place);
            let known = paths.len();
            let mut providers = match trigger {
                Trigger::Path(path) => {
                    let thing = Thing::Path(path.clone());
                    let mut providers = web.others(draft.host, thing.clone(), item);
                    providers.extend(web.editors(draft.host, &thing, item));
                    paths.push(Trigger::Path(path));
                    providers
                }
                Trigger::Reference(text) => {
                    let reference = At::new(text, place);
                    let Ok(found) = resolver.resolve(desk, &reference, Some(draft.host)) else { continue };
                    match contents_of(desk, resolver, &reference, attribute, draft.host, &found) {
                        Some((items, contents)) => {
                            paths.extend(contents.into_iter().map(Trigger::Path));
                            items
                        }
                        None => continue,
                    }
                }
            };
            for path in &paths[known..] {
                let Trigger::Path(path) = path else { continue };
                let makers = makers.get_or_insert_with(|| Makers::of(web, resolver.drafts));
                let found = makers.of_path(draft.host, path);
                providers.extend(found.into_iter().filter(|other| *other != item));
            }
            providers.sort_unstable();
            providers.dedup();
            for provider in providers {
                let location = desk.sources.location(place);
                let reason = Reason::Declared { attribute, location };
                edges.push(Edge::new(Vertex::Item(provider), Vertex::Item(item), reason, place));
            }
        }
        // Two variants of a file are one path.
        let mut seen = HashSet::new();
        paths.retain(|path| seen.insert(path.to_string()));
        resolved.push((item, attribute, paths));
    }
    resolved
}

/// Who makes what lies at a path or below it, by whatever name: a directory's content is all that lies
/// in it, what commands create among it; and a link's is what it leads to.
struct Makers<'a> {
    drafts: &'a [Draft],
    links: HashMap<usize, Symlinks>,
    /// Of each host, who makes what; behind links, by each name.
    names: HashMap<usize, ByPath>,
}

impl Makers<'_> {
    fn of<'a>(web: &Web, drafts: &'a [Draft]) -> Makers<'a> {
        let links = symlinks(drafts);
        let mut names: HashMap<usize, ByPath> = HashMap::new();
        for (item, draft) in drafts.iter().enumerate() {
            let provided = web.links[item].provides.iter().filter_map(|thing| match thing {
                Thing::Path(path) | Thing::Part(path) => Some(path.clone()),
                _ => None,
            });
            let resource = draft.resource.as_resource();
            let own = provided.chain(resource.content_paths());
            let named = own.flat_map(|path| resource.names(&path, &links[&draft.host]));
            let names = names.entry(draft.host).or_default();
            named.for_each(|path| names.add(path, item));
        }
        Makers { drafts, links, names }
    }

    fn of_path(&self, host: usize, path: &AbsPath) -> Vec<usize> {
        let mut makers = Vec::new();
        let (links, names) = (&self.links[&host], &self.names[&host]);
        let (mut open, mut seen) = (path.led_by(links), HashSet::new());
        while let Some(path) = open.pop() {
            if !seen.insert(path.clone()) {
                continue;
            }
            for item in names.at(&path).chain(names.below(&path)) {
                makers.push(item);
                let link = self.drafts[item].resource.as_resource().link();
                open.extend(link.into_iter().flat_map(|(_, target)| target.led_by(links)));
            }
        }
        makers
    }
}

/// The items that a trigger names, and the paths whose content they stand for.
fn contents_of(
    desk: &mut Desk,
    resolver: &Resolver<'_>,
    reference: &At<String>,
    attribute: &str,
    host: usize,
    found: &[Vertex],
) -> Option<(Vec<usize>, Vec<AbsPath>)> {
    let (mut items, mut paths) = (Vec::new(), Vec::new());
    let text = &reference.value;
    for vertex in found {
        let Vertex::Item(item) = vertex else {
            desk.report(
                Problem::at(reference.place, format!("`{attribute}` cannot watch the host `{text}`"))
                    .label("has no content")
                    .help("name a path, or a resource that has content (a file)"),
            );
            return None;
        };
        let other = &resolver.drafts[*item];
        if other.host != host {
            desk.report(
                Problem::at(
                    reference.place,
                    format!("`{attribute}` cannot see `{text}`, which is on another host"),
                )
                .label("on another host")
                .help("name a resource or a path on the same host; order between hosts is `depends_on`"),
            );
            return None;
        }
        let contents = other.resource.as_resource().content_paths();
        if contents.is_empty() {
            let word = other.resource.type_word();
            desk.report(
                Problem::at(
                    reference.place,
                    format!("a `{word}` has no content that `{attribute}` could compare"),
                )
                .label("has no content")
                .also(other.place, "this is what it names")
                .help("name a path, or a resource that has content (a file); order alone is `depends_on`"),
            );
            return None;
        }
        items.push(*item);
        paths.extend(contents);
    }
    Some((items, paths))
}
