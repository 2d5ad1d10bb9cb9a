//! An item of `resources`: `- type: name` and its attributes, for one host.

use std::path::Path;

use serde::Deserialize;

use super::at::{At, Place};
use super::beside;
use super::desk::Desk;
use super::near;
use super::problem::Problem;
use super::read::Entry;
use super::reference::references;
use super::scope::{Reported, Scope};
use super::template;
use super::whole::{Entries, read_all, read_most};
use super::yaml::{Node, Style, Value};
use crate::attribute::Span;
use crate::inventory::Wait;
use crate::resource::{AnyResource, TYPES};
use crate::wire::Evidence;

/// The attributes that every resource takes.
const COMMON: &[&str] = &["depends_on", "when", "for_each", "wait", "timeout", "tags", "evidence"];

/// Types with an attribute of their own under a common name.
const CLAIMED: &[(&str, &str)] = &[("http", "timeout")];

/// A resource on a host, its references not yet resolved.
#[derive(Debug)]
pub struct Draft {
    pub host: usize,
    pub resource: AnyResource,
    pub common: Common,
    pub depends_on: Vec<At<String>>,
    /// The `when` that is false.
    pub skipped_by_when: Option<String>,
    /// Its first line: `- type: name`.
    pub place: Place,
    /// Its attributes as they are written, templates rendered.
    pub entries: Vec<Entry>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields)]
pub struct Common {
    pub wait: Option<Wait>,
    pub timeout: Option<Span>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// An item that could not be read: references to it are not wrong for that.
pub struct Broken {
    pub host: usize,
    pub word: String,
    /// As it is written; None where even that is unknown.
    pub name: Option<String>,
}

/// What became of an item on a host.
#[derive(Default)]
pub struct Items {
    pub drafts: Vec<Draft>,
    pub broken: Vec<Broken>,
}

/// Reads one item for one host. `directory` is where its `source` paths begin.
pub fn expand(
    desk: &mut Desk,
    scope: &mut Scope<'_>,
    item: &Node,
    host: usize,
    directory: &Path,
    items: &mut Items,
) {
    let Some(entries) = shape(desk, item) else { return };
    let word = entries[0].0.value.as_str();
    let context = Context { word, entries, host, directory };
    let Some((_, for_each)) = entries.iter().find(|(key, _)| key.value == "for_each") else {
        return context.one(desk, scope, items);
    };
    let Some(elements) = elements(desk, scope, for_each) else {
        items.broken.push(Broken { host, word: word.to_owned(), name: None });
        return;
    };
    for element in elements {
        scope.set("item", element);
        context.one(desk, scope, items);
    }
    scope.unset("item");
}

/// The item's entries, where it has the shape of an item and names a type.
fn shape<'a>(desk: &mut Desk, item: &'a Node) -> Option<&'a [Entry]> {
    let entries = match &item.value {
        Value::Mapping(entries) if !entries.is_empty() => entries,
        _ => {
            let problem = Problem::at(item.place, "a resource is a mapping that begins with its type")
                .label(format!("this is {}", item.kind()));
            let help = match &item.value {
                Value::Scalar(scalar) => match scalar.text.split_once(':') {
                    Some((word, name)) if TYPES.contains(&word) => {
                        format!("put a space after the colon: - {word}: {}", name.trim())
                    }
                    _ => "write it as `- type: name`, as in `- file: /etc/motd`".to_owned(),
                },
                _ => "write it as `- type: name`, as in `- file: /etc/motd`".to_owned(),
            };
            desk.report(problem.help(help));
            return None;
        }
    };
    let (key, _) = &entries[0];
    if TYPES.contains(&key.value.as_str()) {
        return Some(entries);
    }
    let later = entries[1..].iter().find(|(key, _)| TYPES.contains(&key.value.as_str()));
    let problem = match later {
        Some((later, value)) => {
            let name = match &value.value {
                Value::Scalar(scalar) => scalar.text.as_str(),
                _ => "…",
            };
            Problem::at(key.place, "a resource begins with its type")
                .label(format!("`{}` is no type", key.value))
                .also(later.place, "this is the type")
                .help(format!("move it up: - {}: {name}", later.value))
        }
        None => Problem::at(key.place, format!("there is no type `{}`", key.value))
            .label("unknown type")
            .help(near::help(&key.value, TYPES, "the types are")),
    };
    desk.report(problem);
    None
}

fn elements(desk: &mut Desk, scope: &mut Scope<'_>, for_each: &Node) -> Option<Vec<Node>> {
    let rendered = scope.render(desk, for_each).ok()?;
    let place = rendered.place;
    match rendered.value {
        Value::Sequence(elements) => Some(elements),
        Value::Mapping(entries) => {
            let element = |(key, value): Entry| {
                let name = Node::scalar(key.value, Style::Quoted, key.place);
                let pair = vec![
                    (At::new("key".to_owned(), key.place), name),
                    (At::new("value".to_owned(), key.place), value),
                ];
                Node { value: Value::Mapping(pair), place }
            };
            Some(entries.into_iter().map(element).collect())
        }
        Value::Scalar(_) => {
            desk.report(
                Problem::at(place, "`for_each` takes a list or a mapping")
                    .label(format!("this is {}", rendered.kind()))
                    .help("write [a, b], or name a variable that holds a list: \"{{ sites }}\""),
            );
            None
        }
    }
}

struct Context<'a> {
    word: &'a str,
    entries: &'a [Entry],
    host: usize,
    directory: &'a Path,
}

impl Context<'_> {
    fn is_common(&self, key: &str) -> bool {
        COMMON.contains(&key) && !CLAIMED.contains(&(self.word, key))
    }

    fn one(&self, desk: &mut Desk, scope: &mut Scope<'_>, items: &mut Items) {
        let name = self.read(desk, scope, items).err();
        if let Some(name) = name {
            items.broken.push(Broken { host: self.host, word: self.word.to_owned(), name });
        }
    }

    /// Err: it is broken, and this is its name as far as that is known.
    fn read(&self, desk: &mut Desk, scope: &mut Scope<'_>, items: &mut Items) -> Result<(), Option<String>> {
        let skipped_by_when = self.when(desk, scope).map_err(|Reported| None)?;
        let before = desk.problems.len();
        scope.keep_captured(self.word == "http");
        let (mut entries, mut unrendered): (Vec<Entry>, Vec<Place>) = (Vec::new(), Vec::new());
        let mut left_out = false;
        for (key, value) in self.entries {
            if matches!(key.value.as_str(), "when" | "for_each") {
                continue;
            }
            match scope.render(desk, value) {
                Ok(value) => entries.push((key.clone(), value)),
                // `when: proxy is defined` is there for attributes that speak of `proxy`.
                Err(Reported) if skipped_by_when.is_some() => {
                    left_out = true;
                    desk.problems.truncate(before);
                }
                Err(Reported) => {
                    unrendered.push(key.place);
                    entries.push((key.clone(), value.clone()));
                }
            }
        }
        scope.keep_captured(false);
        let (key, value) = &self.entries[0];
        let name = match entries.first() {
            Some((first, Node { value: Value::Scalar(scalar), .. }))
                if first == key && !unrendered.contains(&key.place) =>
            {
                Some(scalar.text.clone())
            }
            _ => None,
        };
        let place = match value.place.start >= key.place.start {
            true => desk.sources.first_line(key.place.to(value.place)),
            false => key.place,
        };
        let draft = self.draft(desk, entries, &unrendered, place);
        if draft.is_none() && left_out {
            desk.problems.truncate(before);
        }
        let mut draft = draft.ok_or_else(|| name.clone())?;
        draft.skipped_by_when = skipped_by_when;
        if !beside::complete(desk, scope, &mut draft, self.directory) {
            return Err(name);
        }
        items.drafts.push(draft);
        Ok(())
    }

    /// The `when` that is false, as it is written.
    fn when(&self, desk: &mut Desk, scope: &mut Scope<'_>) -> Result<Option<String>, Reported> {
        let Some((_, node)) = self.entries.iter().find(|(key, _)| key.value == "when") else {
            return Ok(None);
        };
        let Value::Scalar(scalar) = &node.value else {
            desk.report(
                Problem::at(node.place, "`when` takes an expression")
                    .label(format!("this is {}", node.kind()))
                    .help("write it as a text: when: name == \"value\""),
            );
            return Err(Reported);
        };
        let text = template::inside_braces(&scalar.text).unwrap_or(&scalar.text);
        if text.trim().is_empty() {
            desk.report(
                Problem::at(node.place, "`when` is empty")
                    .label("no expression")
                    .help("write an expression, or remove the line"),
            );
            return Err(Reported);
        }
        Ok((!scope.holds(desk, text, node.place)?).then(|| text.trim().to_owned()))
    }

    fn draft(
        &self,
        desk: &mut Desk,
        entries: Vec<Entry>,
        unrendered: &[Place],
        place: Place,
    ) -> Option<Draft> {
        let problems = &mut desk.problems;
        let article =
            if self.word == "http" || self.word.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
        let about = format!("{article} `{}`", self.word);
        let (common, own): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|(key, _)| self.is_common(&key.value));
        let before = problems.len();
        let read = |entries: Entries<'_, '_>| {
            // `shape` has found the type.
            AnyResource::read(self.word, entries)
                .unwrap_or_else(|| Err(serde::de::Error::custom("no such type")))
        };
        let (resource, is_whole) = read_most(&own, place, &about, COMMON, unrendered, problems, read);
        let (references_of, common): (Vec<&Entry>, Vec<&Entry>) =
            common.into_iter().partition(|(key, _)| key.value == "depends_on");
        let common = read_all(&common, place, &about, &[], unrendered, problems, |entries| {
            Common::deserialize(entries)
        });
        let references_of = references_of.first().filter(|(key, _)| !unrendered.contains(&key.place));
        let depends_on = references_of.map(|(_, node)| references(desk, node)).unwrap_or_default();
        let is_whole = is_whole && common.is_some() && desk.problems.len() == before;
        let (resource, common) = (resource?, common.unwrap_or_default());
        let draft =
            Draft { host: self.host, resource, common, depends_on, skipped_by_when: None, place, entries };
        if !is_whole {
            beside::contradictions(desk, &draft, before);
            return None;
        }
        Some(draft)
    }
}

impl Draft {
    /// Where an attribute is written: the item where it is not.
    pub fn attribute(&self, desk: &Desk, attribute: &str) -> Place {
        let entry = self.entries.iter().find(|(key, _)| key.value == attribute);
        entry.map_or(self.place, |(key, value)| {
            let whole = match value.place.file == key.place.file && value.place.start >= key.place.start {
                true => key.place.to(value.place),
                false => key.place,
            };
            desk.sources.first_line(whole)
        })
    }

    /// Where the elements of a list are written; the attribute itself where that is not known.
    pub fn elements(&self, attribute: &str) -> Vec<Place> {
        let entry = self.entries.iter().find(|(key, _)| key.value == attribute);
        match entry.map(|(_, node)| (&node.value, node.place)) {
            Some((Value::Sequence(items), _)) => items.iter().map(|item| item.place).collect(),
            Some((_, place)) => vec![place],
            None => vec![self.place],
        }
    }
}
