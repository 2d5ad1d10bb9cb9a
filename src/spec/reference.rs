//! References: `type:name` on the same host, `host/type:name`, `group/type:name`, `host:NAME`.

use std::collections::{HashMap, HashSet};

use super::at::At;
use super::desk::Desk;
use super::entry::{Broken, Draft};
use super::hosts::Inventory;
use super::near;
use super::problem::Problem;
use super::read::Entry;
use super::scope::Reported;
use super::whole::{Entries, read_all};
use super::yaml::{Node, Style, Value};
use crate::attribute::AbsPath;
use crate::graph::Vertex;
use crate::resource::{AnyResource, TYPES};

/// Looking for what was meant among ten thousand names is for the first mistakes, not for all.
const SEARCHES: usize = 50;

/// Every resource by its identity.
pub struct Index {
    /// `type:name` to the items of that identity, with their hosts.
    items: HashMap<String, Vec<(usize, usize)>>,
    /// Items that could not be read, and are not to be missed.
    broken: HashSet<(usize, String)>,
    /// Types with an item whose name could not even be known.
    nameless: HashSet<(usize, String)>,
}

impl Index {
    pub fn new(drafts: &[Draft], broken: &[Broken]) -> Index {
        let mut items: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (item, draft) in drafts.iter().enumerate() {
            items.entry(draft.resource.id()).or_default().push((draft.host, item));
        }
        let (mut known, mut nameless) = (HashSet::new(), HashSet::new());
        for Broken { host, word, name } in broken {
            match name {
                Some(name) => {
                    for name in spellings(word, name) {
                        known.insert((*host, format!("{word}:{name}")));
                    }
                }
                None => drop(nameless.insert((*host, word.clone()))),
            }
        }
        Index { items, broken: known, nameless }
    }

    /// The items that `word:name` means on a host.
    fn on(&self, host: usize, word: &str, names: &[String]) -> Vec<Vertex> {
        for name in names {
            let Some(items) = self.items.get(&format!("{word}:{name}")) else { continue };
            let here: Vec<_> =
                items.iter().filter(|(on, _)| *on == host).map(|(_, item)| Vertex::Item(*item)).collect();
            if !here.is_empty() {
                return here;
            }
        }
        Vec::new()
    }

    fn is_broken(&self, host: usize, word: &str, names: &[String]) -> bool {
        self.nameless.contains(&(host, word.to_owned()))
            || names.iter().any(|name| self.broken.contains(&(host, format!("{word}:{name}"))))
    }

    /// The hosts where `word:name` is declared.
    fn hosts(&self, word: &str, names: &[String]) -> Vec<usize> {
        let items = names.iter().find_map(|name| self.items.get(&format!("{word}:{name}")));
        items.map(|items| items.iter().map(|(host, _)| *host).collect()).unwrap_or_default()
    }
}

/// The ways a name may be written, the literal one first: what the type makes of it, and what
/// it would understand.
fn spellings(word: &str, name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let Ok(path) = name.parse::<AbsPath>() {
        names.push(path.to_string());
    }
    if let Some(normal) = normalised(word, name) {
        names.push(normal);
    }
    if word == "unit" {
        names.push(format!("{name}.service"));
    }
    names.dedup();
    names
}

/// The name as the type itself normalises it, where it can be read without other attributes.
fn normalised(word: &str, name: &str) -> Option<String> {
    let place = super::at::Place { file: 0, start: 0, end: 0 };
    let entry: Entry = (At::new(word.to_owned(), place), Node::scalar(name, Style::Rendered, place));
    let entries = [&entry];
    let read = |entries: Entries<'_, '_>| {
        AnyResource::read(word, entries).unwrap_or_else(|| Err(serde::de::Error::custom("")))
    };
    let resource = read_all(&entries, place, "", &[], &[], &mut Vec::new(), read);
    resource.map(|resource| resource.as_resource().name())
}

pub struct Resolver<'a> {
    pub inventory: &'a Inventory,
    pub drafts: &'a [Draft],
    pub index: Index,
}

impl Resolver<'_> {
    /// What a reference names, seen from `host` (None: from a host's own `depends_on`).
    pub fn resolve(
        &self,
        desk: &mut Desk,
        reference: &At<String>,
        host: Option<usize>,
    ) -> Result<Vec<Vertex>, Reported> {
        self.find(desk, reference, host).map_err(|problem| {
            if let Some(problem) = problem {
                desk.report(problem);
            }
            Reported
        })
    }

    /// Err(None): what it names is broken, which has been reported.
    fn find(
        &self,
        desk: &Desk,
        reference: &At<String>,
        host: Option<usize>,
    ) -> Result<Vec<Vertex>, Option<Problem>> {
        let text = reference.value.as_str();
        let Some((before, name)) =
            text.split_once(':').filter(|(before, name)| !before.is_empty() && !name.is_empty())
        else {
            return Err(Some(self.no_reference(reference, host)));
        };
        let (on, word) = match before.split_once('/') {
            Some((on, word)) => (Some(on), word),
            None => (None, before),
        };
        if on.is_none() && word == "host" {
            let name = At::new(name.to_owned(), reference.place);
            let hosts = self.inventory.members(&name.value);
            let hosts = hosts.ok_or_else(|| Some(self.inventory.unknown(&name)))?;
            return Ok(hosts.into_iter().map(Vertex::Host).collect());
        }
        if !TYPES.contains(&word) {
            let mut known = TYPES.to_vec();
            known.push("host");
            return Err(Some(
                Problem::at(reference.place, format!("there is no type `{word}`"))
                    .label("unknown type")
                    .help(near::help(word, &known, "the types are")),
            ));
        }
        let hosts = match (on, host) {
            (Some(on), _) => {
                let on = At::new(on.to_owned(), reference.place);
                self.inventory.members(&on.value).ok_or_else(|| Some(self.inventory.unknown(&on)))?
            }
            (None, Some(host)) => vec![host],
            (None, None) => return Err(Some(self.which_host(reference, word, name))),
        };
        let names = spellings(word, name);
        let found: Vec<Vertex> = hosts.iter().flat_map(|host| self.index.on(*host, word, &names)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        if hosts.iter().any(|host| self.index.is_broken(*host, word, &names)) {
            return Err(None);
        }
        Err(Some(self.unknown(desk, reference, word, &names, &hosts)))
    }

    fn host_names(&self, hosts: &[usize]) -> Vec<&str> {
        let mut names: Vec<_> =
            hosts.iter().map(|host| self.inventory.hosts[*host].host.name.as_str()).collect();
        names.dedup();
        names
    }

    fn no_reference(&self, reference: &At<String>, host: Option<usize>) -> Problem {
        let text = &reference.value;
        let problem =
            Problem::at(reference.place, format!("`{text}` is no reference")).label("no `type:name`");
        let by_name = self
            .drafts
            .iter()
            .find(|draft| Some(draft.host) == host && (draft.resource.as_resource().name() == *text));
        match by_name {
            Some(draft) => problem.help(format!("write {}", draft.resource.id())),
            None if self.inventory.find(text).is_some() => problem.help(format!("write host:{text}")),
            None => problem.help("write type:name, HOST/type:name or host:NAME"),
        }
    }

    fn which_host(&self, reference: &At<String>, word: &str, name: &str) -> Problem {
        let hosts = self.index.hosts(word, &spellings(word, name));
        let hosts = self.host_names(&hosts);
        let text = &reference.value;
        let help = match hosts.as_slice() {
            [] => format!("write HOST/{text}"),
            hosts => {
                let ways: Vec<_> = hosts.iter().take(5).map(|host| format!("{host}/{text}")).collect();
                format!("write {}", ways.join(" or "))
            }
        };
        Problem::at(reference.place, format!("a host cannot depend on `{text}`, which does not say where"))
            .label("on which host?")
            .help(help)
    }

    fn unknown(
        &self,
        desk: &Desk,
        reference: &At<String>,
        word: &str,
        names: &[String],
        hosts: &[usize],
    ) -> Problem {
        let id = format!("{word}:{}", names[0]);
        let on = self.host_names(hosts);
        let what = match on.as_slice() {
            [] => format!("there is no `{id}`: `{}` has no hosts", reference.value),
            [host] => format!("there is no `{id}` on {host}"),
            _ => format!("there is no `{id}` on any of {}", on.join(", ")),
        };
        let problem = Problem::at(reference.place, what).label("names nothing");
        let elsewhere = self.index.hosts(word, names);
        let elsewhere = self.host_names(&elsewhere);
        if let Some(first) = elsewhere.first() {
            let all = elsewhere.iter().take(5).map(|host| format!("{host}/{id}")).collect::<Vec<_>>();
            return problem.help(match elsewhere.len() {
                1 => format!("it is on {first}: write {first}/{id}"),
                _ => format!("it is on other hosts: write {}", all.join(" or ")),
            });
        }
        if desk.problems.len() > SEARCHES {
            return problem.help("check the type and the name");
        }
        let here = self.drafts.iter().filter(|draft| hosts.contains(&draft.host));
        let ids: Vec<String> = here.map(|draft| draft.resource.id()).collect();
        let prefix = reference.value.split_once(':').and_then(|(before, _)| before.rsplit_once('/'));
        let prefix = prefix.map_or(String::new(), |(host, _)| format!("{host}/"));
        // The same name under another type is nearer than any spelling.
        let same_name =
            ids.iter().find(|id| id.split_once(':').is_some_and(|(_, name)| names.iter().any(|n| n == name)));
        match same_name.map(String::as_str).or_else(|| near::nearest(&id, ids.iter().map(String::as_str))) {
            Some(near) => problem.help(format!("did you mean `{prefix}{near}`?")),
            None => problem.help(format!("declare it: - {word}: {}", names[0])),
        }
    }
}

/// `depends_on`: one reference, or a list.
pub fn references(desk: &mut Desk, node: &Node) -> Vec<At<String>> {
    let one = std::slice::from_ref(node);
    let items = match &node.value {
        Value::Sequence(items) => items.as_slice(),
        _ => one,
    };
    let mut references = Vec::new();
    for item in items {
        match &item.value {
            Value::Scalar(scalar) if !item.is_null() => {
                references.push(At::new(scalar.text.clone(), item.place));
            }
            _ => {
                let help = match item.as_mapping() {
                    Some([(key, value)]) => match &value.value {
                        Value::Scalar(scalar) => {
                            format!("no space after the colon: {}:{}", key.value, scalar.text)
                        }
                        _ => "write it as type:name".to_owned(),
                    },
                    _ => "write it as type:name, or a list of them".to_owned(),
                };
                desk.report(
                    Problem::at(item.place, "`depends_on` names resources")
                        .label(format!("this is {}", item.kind()))
                        .help(help),
                );
            }
        }
    }
    references
}
