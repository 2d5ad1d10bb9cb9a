//! An item of `resources`: `- type: name` and its attributes, for one host.

mod late;

use std::path::PathBuf;

use serde::Deserialize;

use super::Item;
use super::at::{At, Place};
use super::beside;
use super::complaint::Complaint;
use super::desk::Desk;
use super::early;
use super::near;
use super::placement;
use super::problem::Problem;
use super::read::Entry;
use super::reference::references;
use super::scope::{NoValue, Reported, Scope};
use super::whole::{Entries, read_all, read_most};
use super::yaml::{Node, Style, Value};
use crate::attribute::Span;
use crate::inventory::Wait;
use crate::resource::{AnyResource, Inside, Invalid, TYPES};
use crate::wire::Evidence;
use late::When;
pub use late::{Again, Late, again};

/// The attributes that every resource takes.
pub const COMMON: &[&str] = &["depends_on", "when", "for_each", "wait", "timeout", "tags", "evidence"];

/// Types with an attribute of their own under a common name.
const CLAIMED: &[(&str, &str)] = &[("http", "timeout")];

/// Types whose words are attributes of others too: of two types in one item, the other is meant.
const ALSO_ATTRIBUTES: &[&str] = &["command", "directory", "group", "user"];

/// A resource on a host, its references not yet resolved.
#[derive(Clone, Debug)]
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
    /// What is to be read again once the host has told its facts.
    pub late: Option<Box<Late>>,
}

/// Where an item comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub host: usize,
    /// The `vars` that `include` gave to its file.
    pub overlay: usize,
    /// Where its `source` paths begin.
    pub directory: PathBuf,
}

/// The common attributes that are read by serde.
#[derive(Clone, Deserialize, Default, Debug, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// How long to keep checking until it holds: after applying, and for what converge can only
    /// wait for (`port`, `http`). `every` says how often to look;
    /// its default is 1s. Without a `wait`, what does not hold has failed; what passes by itself
    /// (a unit that is starting) is waited for as long as `timeout`.
    pub wait: Option<Wait>,

    /// How long any one operation on it may take; the default is 60s. What takes longer is given
    /// up, and holds up nothing else.
    pub timeout: Option<Span>,

    /// Words by which `--only tag:WORD` selects it.
    #[serde(default)]
    pub tags: Vec<String>,

    /// What to collect and show when it fails: the end of a file (`tail: PATH`), what a command
    /// prints (`run: COMMAND`).
    #[serde(default)]
    #[schemars(title = "list of `tail: PATH` or `run: COMMAND`")]
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

/// Reads one item for one host.
pub fn expand(desk: &mut Desk, scope: &mut Scope<'_>, item: &Node, origin: &Origin, items: &mut Items) {
    let Some(entries) = shape(desk, item) else { return };
    let word = entries[0].0.value.as_str();
    let mut context = Context { word, entries, item, element: None, origin };
    let Some((_, for_each)) = entries.iter().find(|(key, _)| key.value == "for_each") else {
        return context.one(desk, scope, items);
    };
    let Some(elements) = elements(desk, scope, for_each) else {
        items.broken.push(Broken { host: origin.host, word: word.to_owned(), name: None });
        return;
    };
    for element in elements {
        scope.set("item", element.clone());
        context.element = Some(element);
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
    let is_misspelt = near::nearest(&key.value, TYPES.iter().copied()).is_some();
    let mut types =
        entries[1..].iter().filter(|(key, _)| !is_misspelt && TYPES.contains(&key.value.as_str()));
    let only_a_type = |(key, _): &&Entry| !ALSO_ATTRIBUTES.contains(&key.value.as_str());
    let later = types.clone().find(only_a_type).or_else(|| types.next());
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
    let rendered = match scope.render(desk, for_each) {
        Ok(rendered) => rendered,
        Err(NoValue::Broken) => return None,
        Err(NoValue::Late) => {
            desk.report(early::problem("for_each", for_each.place));
            return None;
        }
    };
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
    item: &'a Node,
    element: Option<Node>,
    origin: &'a Origin,
}

impl Context<'_> {
    fn is_common(&self, key: &str) -> bool {
        COMMON.contains(&key) && !CLAIMED.contains(&(self.word, key))
    }

    fn one(&self, desk: &mut Desk, scope: &mut Scope<'_>, items: &mut Items) {
        let name = self.read(desk, scope, items).err();
        if let Some(name) = name {
            items.broken.push(Broken { host: self.origin.host, word: self.word.to_owned(), name });
        }
    }

    /// Err: it is broken, and this is its name as far as that is known.
    fn read(&self, desk: &mut Desk, scope: &mut Scope<'_>, items: &mut Items) -> Result<(), Option<String>> {
        let when = self.when(desk, scope).map_err(|Reported| None)?;
        let before = desk.problems.len();
        let late_when = matches!(when, When::Late(..));
        scope.keep_captured(self.word == "http");
        // What is skipped needs no secret.
        scope.pretend(matches!(when, When::Skips(_)));
        let (mut entries, mut unrendered): (Vec<Entry>, Vec<Place>) = (Vec::new(), Vec::new());
        let mut left_out = false;
        let mut late = Vec::new();
        for (key, value) in self.entries {
            if matches!(key.value.as_str(), "when" | "for_each") {
                continue;
            }
            let known = desk.problems.len();
            let rendered = scope.render(desk, value);
            let is_wrong = desk.problems.len() > known || matches!(rendered, Err(NoValue::Broken));
            let is_early = key == &self.entries[0].0 || early::is_early(&key.value);
            // Without its name or its order, it could not be told later.
            let is_forgiven = is_wrong && !(is_early && late_when) && when.forgives(desk, scope);
            if is_forgiven {
                desk.problems.truncate(known);
            }
            match rendered {
                Ok(value) => entries.push((key.clone(), value)),
                Err(NoValue::Late) if is_early => {
                    desk.report(early::problem(&key.value, value.place));
                    unrendered.push(key.place);
                    entries.push((key.clone(), value.clone()));
                }
                // Should its `when` be true on a host after all, the mistake is told there.
                Err(why) if why == NoValue::Late || is_forgiven && late_when => {
                    late.push(key.value.clone());
                    entries.extend(self.stand_in((key, value)).map(|stand_in| (key.clone(), stand_in)));
                }
                Err(_) if is_forgiven => left_out = true,
                Err(_) => {
                    unrendered.push(key.place);
                    entries.push((key.clone(), value.clone()));
                }
            }
        }
        scope.keep_captured(false);
        scope.pretend(false);
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
        if !placement::is_right(desk, self.word, &entries) {
            return Err(name);
        }
        let draft = self.draft(desk, entries, &unrendered, place);
        if draft.is_none() && left_out {
            desk.problems.truncate(before);
        }
        let mut draft = draft.ok_or_else(|| name.clone())?;
        // What is skipped needs no secret.
        scope.pretend(matches!(when, When::Skips(_)));
        let is_complete = early::check(desk, &mut draft, &late)
            && beside::complete(desk, scope, &mut draft, &self.origin.directory, &mut late);
        scope.pretend(false);
        if !is_complete {
            return Err(name);
        }
        if let When::Skips(condition) = when {
            draft.skipped_by_when = Some(condition);
        } else if late_when || !late.is_empty() {
            let (item, element) = (self.item.clone(), self.element.clone());
            let origin = self.origin.clone();
            draft.late = Some(Box::new(Late { when: late_when, item, element, origin }));
        }
        items.drafts.push(draft);
        Ok(())
    }

    fn resource(&self, entries: Entries<'_, '_>) -> Result<AnyResource, Complaint> {
        // `shape` has found the type.
        AnyResource::read(self.word, entries).unwrap_or_else(|| Err(serde::de::Error::custom("no such type")))
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
        // Those are for the loader itself to fill in.
        for (key, _) in own.iter().filter(|(key, _)| key.value.starts_with('_')) {
            let what = format!("{about} has no `{}`", key.value);
            problems.push(Problem::at(key.place, what).label("unknown").help("remove the line"));
        }
        let read = |entries: Entries<'_, '_>| self.resource(entries);
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
        let host = self.origin.host;
        let entries_hold_secret = entries.iter().any(|(_, node)| node.secret().is_some());
        let mut draft =
            Draft { host, resource, common, depends_on, skipped_by_when: None, place, entries, late: None };
        if !is_whole {
            beside::contradictions(desk, &draft, before);
            return None;
        }
        if entries_hold_secret {
            for content in draft.resource.as_resource_mut().contents() {
                *content = content.clone().with_secret();
            }
        }
        Some(draft)
    }
}

impl Draft {
    /// The item, on the host of this index.
    pub fn into_item(self, host: usize, location: String) -> Item {
        Item {
            host,
            resource: self.resource,
            wait: self.common.wait,
            timeout: self.common.timeout,
            tags: self.common.tags,
            evidence: self.common.evidence,
            skipped_by_when: self.skipped_by_when,
            location,
        }
    }

    /// Whether it is known to be there, as far as `when` goes.
    pub fn is_certain(&self) -> bool {
        self.skipped_by_when.is_none() && !self.may_be_away()
    }

    /// Whether its `when` stands on facts.
    pub fn may_be_away(&self) -> bool {
        self.late.as_ref().is_some_and(|late| late.when)
    }

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

    /// Where what a complaint is about is written.
    pub fn place_of(&self, desk: &Desk, complaint: &Invalid) -> Place {
        let entry = self.entries.iter().find(|(key, _)| key.value == complaint.attribute);
        let Some((_, value)) = entry.filter(|_| !complaint.inside.is_empty()) else {
            return self.attribute(desk, complaint.attribute);
        };
        let (mut place, mut node) = (value.place, value);
        for inside in &complaint.inside {
            let next = match (inside, &node.value) {
                (Inside::Element(at), Value::Sequence(items)) => {
                    items.get(*at).map(|item| (item.place, item))
                }
                (Inside::Key(name), Value::Mapping(entries)) => entries
                    .iter()
                    .find(|(key, _)| key.value == *name)
                    .map(|(key, value)| (key.place.to(value.place), value)),
                _ => None,
            };
            let Some(next) = next else { break };
            (place, node) = next;
        }
        desk.sources.first_line(place)
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
