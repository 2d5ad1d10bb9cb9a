//! `hosts` and `groups`: who there is, under which names, and how each is reached.

use std::collections::{HashMap, HashSet, VecDeque};

use super::at::{At, Place};
use super::desk::Desk;
use super::gather::DeclaredHost;
use super::host::{as_seen, read_host};
use super::near;
use super::problem::Problem;
use super::scope::Vars;
use super::template::Engine;
use super::yaml::{Node, Value};
use crate::inventory::Host;

/// A host, and what the loader has yet to do with it.
pub struct HostDraft {
    pub host: Host,
    /// Where its name is declared; None for a `localhost` that is not.
    pub place: Option<Place>,
    pub depends_on: Vec<At<String>>,
    pub vars: Vars,
    /// What templates see as `host`.
    pub seen: Node,
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

pub struct Layers<'a> {
    pub vars: &'a Vars,
    /// What files were included with.
    pub overlays: &'a [Vars],
    pub command_line: &'a [(String, Node)],
}

impl Inventory {
    pub fn read(
        desk: &mut Desk,
        engine: &Engine,
        hosts: &[DeclaredHost],
        groups: &[(At<String>, Node)],
        layers: &Layers<'_>,
    ) -> Inventory {
        let mut inventory = Inventory::default();
        for host in hosts {
            inventory.host(desk, engine, host, layers);
        }
        if !inventory.by_name.contains_key(THIS_MACHINE) {
            let nowhere = Place { file: 0, start: 0, end: 0 };
            inventory.by_name.insert(THIS_MACHINE.to_owned(), inventory.hosts.len());
            inventory.hosts.push(HostDraft {
                host: Host::this_machine(),
                place: None,
                depends_on: Vec::new(),
                vars: Vars::new(),
                seen: as_seen(&Host::this_machine(), nowhere),
                takes_part: false,
            });
        }
        for (name, node) in groups {
            inventory.group(desk, name, node);
        }
        inventory.check_members(desk);
        inventory
    }

    fn host(&mut self, desk: &mut Desk, engine: &Engine, declared: &DeclaredHost, layers: &Layers<'_>) {
        let name = &declared.name;
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
        let draft = read_host(desk, engine, declared, layers);
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
        // A circle is told once, from the first of its groups.
        let mut told: HashSet<&str> = HashSet::new();
        for (name, group) in groups {
            for member in &group.members {
                if self.members(&member.value).is_none() {
                    desk.report(self.unknown(member));
                } else if !told.contains(name.as_str())
                    && let Some(way) = self.way(&member.value, name)
                {
                    told.extend(way.iter().map(|(step, _)| *step));
                    told.insert(name);
                    desk.report(part_of_itself(name, member, &way));
                }
            }
        }
    }

    /// The groups from `from` to `group`, each with the member that leads on from it.
    fn way<'a>(&'a self, from: &'a str, group: &str) -> Option<Vec<(&'a str, &'a At<String>)>> {
        let mut came_from: HashMap<&str, Option<(&str, &At<String>)>> = HashMap::from([(from, None)]);
        let mut left = VecDeque::from([from]);
        while let Some(name) = left.pop_front() {
            if name == group {
                let steps = std::iter::successors(came_from[name], |(step, _)| came_from[step]);
                let mut way: Vec<_> = steps.collect();
                way.reverse();
                return Some(way);
            }
            for member in self.groups.get(name).into_iter().flat_map(|inner| &inner.members) {
                if !came_from.contains_key(member.value.as_str()) {
                    came_from.insert(&member.value, Some((name, member)));
                    left.push_back(&member.value);
                }
            }
        }
        None
    }

    /// No host or group has this name.
    pub fn unknown(&self, name: &At<String>) -> Problem {
        let known = self.names();
        let problem =
            Problem::at(name.place, format!("there is no host or group `{}`", name.value)).label("unknown");
        let bare = name.value.strip_prefix("host:").unwrap_or(&name.value);
        match near::nearest(bare, known.iter().copied()) {
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

fn part_of_itself(name: &str, member: &At<String>, way: &[(&str, &At<String>)]) -> Problem {
    let what = match way {
        [] => format!("the group `{name}` is part of itself"),
        way => {
            let names: Vec<_> = way.iter().map(|(step, _)| *step).collect();
            format!("these groups are part of each other: {name} → {} → {name}", names.join(" → "))
        }
    };
    let label = |of: &str, member: &At<String>| format!("`{}` is part of `{of}`", member.value);
    let mut problem = Problem::at(member.place, what).label(label(name, member));
    for (step, member) in way {
        problem = problem.also(member.place, label(step, member));
    }
    problem.help("remove one of these members")
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
