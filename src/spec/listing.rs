//! `converge vars`: which variables there are, what they hold, and who says so.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use minijinja::Value as Jinja;
use minijinja::value::{Object, ObjectRepr};
use serde::Serialize;

use super::at::At;
use super::desk::Desk;
use super::gather::{Gathered, gather};
use super::hosts::{Inventory, Layers};
use super::load::{command_line, look_through_vars};
use super::problem::Problem;
use super::scalar::{Core, core};
use super::scope::{Scope, Vars};
use super::template::Engine;
use super::vault::Vault;
use super::yaml::{Node, Scalar, Style, Value};
use super::{LoadOptions, Problems, near};

/// The variables as one part of the spec sees them.
#[derive(Serialize, Debug)]
pub struct Section {
    /// None: everywhere.
    pub host: Option<String>,
    /// The file, where these are the `vars` that it is included with.
    pub included: Option<String>,
    pub variables: Vec<Variable>,
}

#[derive(Serialize, PartialEq, Debug)]
pub struct Variable {
    pub name: String,
    /// Secrets stand as `«name»`; what is known only later stands as it is written.
    pub value: serde_json::Value,
    pub from: Origin,
    /// The declarations that it wins over, the strongest first.
    pub over: Vec<Origin>,
}

/// Who gives a variable its value.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct Origin {
    pub kind: Kind,
    /// As in `specs/prod.yaml:3`.
    pub location: String,
}

/// The layers, the weakest first.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `vars` of a file; an including file is stronger than what it includes.
    File,
    /// `vars` of an `include`.
    Include,
    /// `vars` of a host.
    Host,
    /// `--var`
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::File => f.write_str(&self.location),
            Kind::Include => write!(f, "{} (include)", self.location),
            Kind::Host => write!(f, "{} (host)", self.location),
            Kind::CommandLine => f.write_str("--var"),
        }
    }
}

pub fn variables(path: &Path, options: &LoadOptions, host: Option<&str>) -> Result<Vec<Section>, Problems> {
    let mut desk = Desk::default();
    let gathered = gather(&mut desk, path);
    let engine = Engine::new(Vault::default());
    let command_line = command_line(&mut desk, &options.vars);
    let layers = Layers { vars: &gathered.vars, overlays: &gathered.overlays, command_line: &command_line };
    let inventory = Inventory::read(&mut desk, &engine, &gathered.hosts, &gathered.groups, &layers);
    look_through_vars(&mut desk, &engine, &inventory, &layers);
    let chosen = host.map(|name| (name, inventory.find(name)));
    if let Some((name, None)) = chosen {
        let names: Vec<_> = inventory.hosts.iter().map(|host| host.host.name.as_str()).collect();
        let help = near::help(name, &names, "the hosts are");
        desk.report(Problem::new(format!("there is no host `{name}`")).help(help));
    }
    if !desk.problems.is_empty() {
        return Err(Problems::new(desk.problems, desk.sources));
    }
    let mut reader = Reader { desk: &mut desk, engine: &engine, gathered: &gathered, layers: &layers };
    let mut sections = Vec::new();
    let first = chosen.and_then(|(_, host)| host);
    let all = reader.section(&inventory, first, 0);
    let hosts =
        (0..inventory.hosts.len()).filter(|host| first.is_none() && !inventory.hosts[*host].vars.is_empty());
    for host in hosts {
        sections.push(reader.section(&inventory, Some(host), 0).but(&all));
    }
    for overlay in 1..gathered.overlays.len() {
        sections.push(reader.section(&inventory, first, overlay).but(&all));
    }
    sections.insert(0, all);
    match desk.problems.is_empty() {
        true => Ok(sections),
        false => Err(Problems::new(desk.problems, desk.sources)),
    }
}

impl Section {
    /// Only what is otherwise than in `all`.
    fn but(mut self, all: &Section) -> Section {
        self.variables.retain(|variable| !all.variables.contains(variable));
        self
    }
}

struct Reader<'a> {
    desk: &'a mut Desk,
    engine: &'a Engine,
    gathered: &'a Gathered,
    layers: &'a Layers<'a>,
}

impl Reader<'_> {
    fn section(&mut self, inventory: &Inventory, host: Option<usize>, overlay: usize) -> Section {
        let draft = host.map(|host| &inventory.hosts[host]);
        let nothing = Vars::new();
        let own = draft.map_or(&nothing, |draft| &draft.vars);
        let given: Vars = self
            .layers
            .command_line
            .iter()
            .map(|(name, node)| (At::new(name.clone(), node.place), node.clone()))
            .collect();
        let layers = [
            (Kind::File, self.layers.vars),
            (Kind::Include, &self.gathered.overlays[overlay]),
            (Kind::Host, own),
            (Kind::CommandLine, &given),
        ];
        let mut scope = Scope::new(self.engine, &layers.map(|(_, vars)| vars));
        if let Some(draft) = draft {
            scope.set("host", draft.seen.clone());
        }
        scope.set_object("secrets", Jinja::from_object(Secrets));
        let mut declared: Vec<(&At<String>, &Node, Vec<Origin>)> = Vec::new();
        for (kind, vars) in layers {
            for (name, node) in vars {
                let origin = Origin { kind, location: self.desk.sources.location(name.place) };
                match declared.iter_mut().find(|(other, ..)| other.value == name.value) {
                    Some((_, winner, origins)) => {
                        *winner = node;
                        origins.insert(0, origin);
                    }
                    None => declared.push((name, node, vec![origin])),
                }
            }
        }
        let variables = declared.into_iter().map(|(name, node, mut over)| {
            let from = over.remove(0);
            Variable { name: name.value.clone(), value: self.value(&mut scope, name, node), from, over }
        });
        let variables = variables.collect();
        let included = (overlay > 0).then(|| self.gathered.overlaid[overlay].display().to_string());
        Section { host: draft.map(|draft| draft.host.name.clone()), included, variables }
    }

    /// Where it cannot be made here (from what only a host, a run or a `for_each` has), as it is
    /// written: half of it could be wrong.
    fn value(&mut self, scope: &mut Scope<'_>, name: &At<String>, node: &Node) -> serde_json::Value {
        let before = self.desk.problems.len();
        match scope.value_of(self.desk, name) {
            Ok(Some(value)) => json(&value),
            Ok(None) | Err(_) => {
                self.desk.problems.truncate(before);
                json(node)
            }
        }
    }
}

/// A number keeps its spelling, as a text, where JSON would write it otherwise (`0755`, `1.10`).
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Sequence(items) => items.iter().map(json).collect(),
        Value::Mapping(entries) => {
            entries.iter().map(|(key, value)| (key.value.clone(), json(value))).collect()
        }
        Value::Scalar(Scalar { text, style: Style::Plain }) => {
            let typed = match core(text) {
                Core::Null => return serde_json::Value::Null,
                Core::Bool(value) => return value.into(),
                Core::Int(value) => serde_json::Value::from(value),
                Core::Float(value) => value.into(),
                Core::Text => return text.as_str().into(),
            };
            let spelled = typed.to_string();
            if spelled == *text { typed } else { text.as_str().into() }
        }
        Value::Scalar(scalar) => scalar.text.as_str().into(),
    }
}

/// Secrets are never shown.
#[derive(Debug)]
struct Secrets;

impl Object for Secrets {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, name: &Jinja) -> Option<Jinja> {
        Some(Jinja::from(format!("«{name}»")))
    }
}
