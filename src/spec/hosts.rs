//! `hosts` and `groups`: who there is, under which names, and how each is reached.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::at::{At, Place};
use super::desk::Desk;
use super::near;
use super::problem::Problem;
use super::read::{Entry, read_all};
use super::scope::{Scope, Vars};
use super::template::Engine;
use super::yaml::{Node, Style, Value};
use crate::inventory::{Connection, Host, Privilege, Wait};

/// A host, and what the loader has yet to do with it.
pub struct HostDraft {
    pub host: Host,
    /// Where its name is declared; None for a `localhost` that is not.
    pub place: Option<Place>,
    pub depends_on: Vec<At<String>>,
    pub vars: Vars,
    /// What templates see as `host`.
    pub facts: Node,
    /// Declared, targeted or referred to: only `localhost` may be none of it.
    pub takes_part: bool,
}

/// The hosts and groups of a spec, by name.
#[derive(Default)]
pub struct Inventory {
    pub hosts: Vec<HostDraft>,
    by_name: HashMap<String, usize>,
    groups: HashMap<String, Group>,
    /// Names that cannot be names: that has been said, and is not to be said again by those who
    /// use them.
    refused: HashSet<String>,
}

struct Group {
    place: Place,
    members: Vec<At<String>>,
}

pub const THIS_MACHINE: &str = "localhost";
const ALL: &str = "all";

/// The attributes of a host that are read by serde.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    address: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    identity_file: Option<String>,
    proxy_jump: Option<String>,
    connection: Option<Connection>,
    r#become: Option<Privilege>,
    become_user: Option<String>,
    wait: Option<Wait>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Those that are not.
const OTHERS: &[&str] = &["vars", "depends_on", "become_password"];

pub struct Layers<'a> {
    pub vars: &'a Vars,
    pub command_line: &'a [(String, Node)],
}

impl Inventory {
    pub fn read(
        desk: &mut Desk,
        engine: &Engine,
        hosts: &[(At<String>, Node)],
        groups: &[(At<String>, Node)],
        layers: &Layers<'_>,
    ) -> Inventory {
        let mut inventory = Inventory::default();
        for (name, node) in hosts {
            inventory.host(desk, engine, name, node, layers);
        }
        if !inventory.by_name.contains_key(THIS_MACHINE) {
            let nowhere = Place { file: 0, start: 0, end: 0 };
            inventory.by_name.insert(THIS_MACHINE.to_owned(), inventory.hosts.len());
            inventory.hosts.push(HostDraft {
                host: Host::this_machine(),
                place: None,
                depends_on: Vec::new(),
                vars: Vars::new(),
                facts: as_seen(&Host::this_machine(), nowhere),
                takes_part: false,
            });
        }
        for (name, node) in groups {
            inventory.group(desk, name, node);
        }
        inventory.check_members(desk);
        inventory
    }

    fn host(
        &mut self,
        desk: &mut Desk,
        engine: &Engine,
        name: &At<String>,
        node: &Node,
        layers: &Layers<'_>,
    ) {
        if !check_name(desk, name, "host") {
            self.refused.insert(name.value.clone());
            return;
        }
        if let Some(first) = self.by_name.get(&name.value).and_then(|host| self.hosts[*host].place) {
            return desk.report(
                Problem::at(name.place, format!("the host `{}` is declared twice", name.value))
                    .label("and here again")
                    .also(first, "first here")
                    .help("keep one of them"),
            );
        }
        let draft = read_host(desk, engine, name, node, layers);
        self.by_name.insert(name.value.clone(), self.hosts.len());
        self.hosts.push(draft);
    }

    fn group(&mut self, desk: &mut Desk, name: &At<String>, node: &Node) {
        if !check_name(desk, name, "group") {
            self.refused.insert(name.value.clone());
            return;
        }
        let first = self.groups.get(&name.value).map(|group| group.place);
        let first = first.or_else(|| self.hosts.get(*self.by_name.get(&name.value)?)?.place);
        if let Some(first) = first {
            return desk.report(
                Problem::at(name.place, format!("the name `{}` is taken", name.value))
                    .label("and here again")
                    .also(first, "first here")
                    .help("hosts and groups share their names: rename one of them"),
            );
        }
        let Value::Sequence(items) = &node.value else {
            return desk.report(
                Problem::at(node.place, format!("the group `{}` must be a list", name.value))
                    .label(format!("this is {}", node.kind()))
                    .help("write the names of its hosts: [web1, web2]"),
            );
        };
        let mut members = Vec::new();
        for item in items {
            match &item.value {
                Value::Scalar(scalar) => members.push(At::new(scalar.text.clone(), item.place)),
                _ => desk.report(
                    Problem::at(item.place, "a group holds names of hosts or groups")
                        .label(format!("this is {}", item.kind()))
                        .help("write the names of its hosts: [web1, web2]"),
                ),
            }
        }
        self.groups.insert(name.value.clone(), Group { place: name.place, members });
    }

    fn check_members(&self, desk: &mut Desk) {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| (group.place.file, group.place.start));
        for (name, group) in groups {
            for member in &group.members {
                if self.members(&member.value).is_none() {
                    desk.report(self.unknown(member));
                } else if self.leads_to(&member.value, name, &mut HashSet::new()) {
                    desk.report(
                        Problem::at(member.place, format!("the group `{name}` is part of itself"))
                            .label(format!("`{}` leads back to `{name}`", member.value))
                            .also(group.place, "the group")
                            .help("remove this member"),
                    );
                }
            }
        }
    }

    fn leads_to(&self, from: &str, group: &str, seen: &mut HashSet<String>) -> bool {
        if from == group {
            return true;
        }
        if !seen.insert(from.to_owned()) {
            return false;
        }
        self.groups
            .get(from)
            .is_some_and(|inner| inner.members.iter().any(|member| self.leads_to(&member.value, group, seen)))
    }

    /// No host or group has this name.
    pub fn unknown(&self, name: &At<String>) -> Problem {
        let known = self.names();
        let problem =
            Problem::at(name.place, format!("there is no host or group `{}`", name.value)).label("unknown");
        match near::nearest(&name.value, known.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("declare it under `hosts`: {}: {{address: …}}", name.value)),
        }
    }

    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.by_name.keys().chain(self.groups.keys()).map(String::as_str).collect();
        names.push(ALL);
        names.sort_unstable();
        names
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The hosts that a name stands for, in the order of their declaration; None for an unknown
    /// name.
    pub fn members(&self, name: &str) -> Option<Vec<usize>> {
        let declared = |host: &usize| self.hosts[*host].place.is_some();
        if let Some(host) = self.find(name) {
            return Some(vec![host]);
        }
        if name == ALL {
            return Some((0..self.hosts.len()).filter(declared).collect());
        }
        if self.refused.contains(name) {
            return Some(Vec::new());
        }
        self.groups.get(name)?;
        let (mut hosts, mut seen, mut left) = (Vec::new(), HashSet::new(), vec![name]);
        while let Some(name) = left.pop() {
            if !seen.insert(name) {
                continue;
            }
            match (self.find(name), self.groups.get(name)) {
                (Some(host), _) => hosts.push(host),
                (_, Some(group)) => left.extend(group.members.iter().map(|member| member.value.as_str())),
                _ if name == ALL => hosts.extend((0..self.hosts.len()).filter(declared)),
                _ => {}
            }
        }
        hosts.sort_unstable();
        hosts.dedup();
        Some(hosts)
    }
}

fn read_host(
    desk: &mut Desk,
    engine: &Engine,
    name: &At<String>,
    node: &Node,
    layers: &Layers<'_>,
) -> HostDraft {
    let is_this_machine = name.value == THIS_MACHINE;
    let bare = if is_this_machine { Host::this_machine() } else { Host::ssh(&name.value) };
    let mut draft = HostDraft {
        facts: as_seen(&bare, name.place),
        host: Host { location: Some(desk.sources.location(name.place)), ..bare },
        place: Some(name.place),
        depends_on: Vec::new(),
        vars: Vars::new(),
        takes_part: true,
    };
    let entries = match &node.value {
        Value::Mapping(entries) => entries.as_slice(),
        _ if node.is_null() => &[],
        _ => {
            desk.report(
                Problem::at(node.place, format!("the host `{}` must be a mapping", name.value))
                    .label(format!("this is {}", node.kind()))
                    .help("write how it is reached: {address: …, user: …}, or nothing at all"),
            );
            &[]
        }
    };
    if let Some(vars) = node.get("vars").and_then(Node::as_mapping) {
        draft.vars = vars.to_vec();
    }
    let mut scope = Scope::new(engine, &[layers.vars, &draft.vars]);
    for (name, value) in layers.command_line {
        scope.set(name, value.clone());
    }
    scope.set("host", draft.facts.clone());
    let mut rendered: Vec<Entry> = Vec::new();
    for (key, value) in entries {
        match key.value.as_str() {
            "vars" if value.as_mapping().is_none() && !value.is_null() => desk.report(
                Problem::at(value.place, "`vars` must be a mapping")
                    .label(format!("this is {}", value.kind()))
                    .help("write `name: value` below it, one on each line"),
            ),
            "vars" => {}
            "become_password" => desk.report(
                Problem::at(key.place, "`become_password` is not available yet")
                    .label("this version of converge does not have it")
                    .help("let the user become root without a password, in sudoers or doas.conf"),
            ),
            "depends_on" => {
                if let Ok(value) = scope.render(desk, value) {
                    draft.depends_on = references(desk, &value);
                }
            }
            _ => {
                if let Ok(value) = scope.render(desk, value) {
                    rendered.push((key.clone(), value));
                }
            }
        }
    }
    let entries: Vec<&Entry> = rendered.iter().collect();
    let about = format!("the host `{}`", name.value);
    let read = read_all(&entries, name.place, &about, OTHERS, &mut desk.problems, |entries| {
        Attributes::deserialize(entries)
    });
    if let Some(read) = read {
        fill(&mut draft.host, read);
        check_words(desk, &draft.host, &entries);
        draft.facts = as_seen(&draft.host, name.place);
    }
    draft
}

fn fill(host: &mut Host, read: Attributes) {
    host.address = read.address;
    host.port = read.port;
    host.user = read.user;
    host.identity_file = read.identity_file;
    host.proxy_jump = read.proxy_jump;
    host.connection = read.connection.unwrap_or(host.connection);
    host.privilege = read.r#become.unwrap_or(Privilege::None);
    host.become_user = read.become_user.unwrap_or_else(|| "root".to_owned());
    host.wait = read.wait;
    host.tags = read.tags;
}

/// Words that travel on command lines: none may look like an option, or be empty.
fn check_words(desk: &mut Desk, host: &Host, entries: &[&Entry]) {
    let words = [
        ("address", host.address.as_deref()),
        ("user", host.user.as_deref()),
        ("proxy_jump", host.proxy_jump.as_deref()),
        ("become_user", Some(host.become_user.as_str())),
    ];
    for (key, word) in words {
        let Some(word) = word else { continue };
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if !word.is_empty() && !word.starts_with('-') && !word.contains(bad) {
            continue;
        }
        if let Some((_, node)) = entries.iter().find(|(name, _)| name.value == key) {
            desk.report(
                Problem::at(node.place, format!("`{word}` cannot be a host's `{key}`"))
                    .label("empty, begins with `-`, or has a space in it")
                    .help("write it as `ssh` takes it; leave the line out for what ~/.ssh/config says"),
            );
        }
    }
    if host.port == Some(0)
        && let Some((_, node)) = entries.iter().find(|(name, _)| name.value == "port")
    {
        desk.report(Problem::at(node.place, "no one listens on port 0").help("write a port from 1 to 65535"));
    }
}

/// What templates see as `host`.
fn as_seen(host: &Host, place: Place) -> Node {
    let mut entries = Vec::new();
    let mut add = |key: &str, value: Option<&str>, style| {
        if let Some(value) = value {
            entries.push((At::new(key.to_owned(), place), Node::scalar(value, style, place)));
        }
    };
    add("name", Some(&host.name), Style::Quoted);
    add("address", Some(host.address.as_deref().unwrap_or(&host.name)), Style::Quoted);
    add("user", host.user.as_deref(), Style::Quoted);
    add("port", host.port.map(|port| port.to_string()).as_deref(), Style::Plain);
    let tags = host.tags.iter().map(|tag| Node::scalar(tag, Style::Quoted, place)).collect();
    entries.push((At::new("tags".to_owned(), place), Node { value: Value::Sequence(tags), place }));
    Node { value: Value::Mapping(entries), place }
}

fn check_name(desk: &mut Desk, name: &At<String>, what: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let help = match name.value.as_str() {
        ALL => "`all` is every declared host already",
        THIS_MACHINE if what == "group" => "`localhost` is the machine converge runs on",
        "" => "give it a name",
        value if value.chars().all(good) && !value.starts_with('-') => return true,
        _ => {
            "names are made of letters, digits, `.`, `_` and `-`; the rest goes into `address`, `user`, `port`"
        }
    };
    desk.report(
        Problem::at(name.place, format!("`{}` cannot be the name of a {what}", name.value))
            .label("not a name")
            .help(help),
    );
    false
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
