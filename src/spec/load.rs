//! The way from a path to a spec: gather the files, name the hosts, read the items, resolve the
//! references, order it all. Each step goes on past problems as far as they do not make it guess.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::at::{At, Place};
use super::connect::{self, Web};
use super::desk::Desk;
use super::entry::{self, Draft, Items, Origin};
use super::gather::{Block, Gathered, Target, check_names, gather};
use super::hosts::{Inventory, Layers, THIS_MACHINE};
use super::lint;
use super::problem::Problem;
use super::reference::{Index, Resolver};
use super::resolve::{OnHost, Unresolved};
use super::scope::{Scope, Vars};
use super::template::Engine;
use super::triggers;
use super::vault::Vault;
use super::yaml::{self, Node, Style};
use super::{Item, LoadOptions, Problems, Spec};
use crate::graph::{Edge, Graph, Reason, Vertex};

pub fn load(path: &Path, options: &LoadOptions) -> Result<Spec, Problems> {
    let mut desk = Desk::default();
    let spec = read(&mut desk, path, options);
    match spec {
        Some(spec) if desk.problems.is_empty() => Ok(spec),
        _ => Err(Problems::new(desk.problems, desk.sources)),
    }
}

fn read(desk: &mut Desk, path: &Path, options: &LoadOptions) -> Option<Spec> {
    let gathered = gather(desk, path);
    if desk.is_incomplete {
        return None;
    }
    let vault = Vault::new(desk, &gathered.secrets, options.reads_secrets);
    let engine = Engine::new(vault);
    let command_line = command_line(desk, &options.vars);
    let layers = Layers { vars: &gathered.vars, overlays: &gathered.overlays, command_line: &command_line };
    let mut inventory = Inventory::read(desk, &engine, &gathered.hosts, &gathered.groups, &layers);
    let Items { mut drafts, broken } = items(desk, &engine, &gathered, &inventory, &layers);
    look_through_vars(desk, &engine, &inventory, &layers);
    let written = triggers::written(&mut drafts);
    let web = Web::new(&drafts);
    web.purges(&mut drafts);
    let mut edges = Vec::new();
    let resolver = Resolver { inventory: &inventory, drafts: &drafts, index: Index::new(&drafts, &broken) };
    connect::declared(desk, &resolver, &mut edges);
    let resolved = triggers::resolve(desk, &resolver, &web, written, &mut edges);
    connect::twins(desk, &drafts, |host| inventory.hosts[host].host.name.clone());
    web.fights(desk, &drafts);
    web.implied(&drafts, &mut edges);
    for (item, attribute, paths) in resolved {
        let lists = drafts[item].resource.as_resource_mut().triggers();
        for (_, list) in lists.into_iter().filter(|(name, _)| *name == attribute) {
            list.clone_from(&paths);
        }
    }
    let used =
        |edge: &Edge<Place>, host| edge.before == Vertex::Host(host) || edge.after == Vertex::Host(host);
    if let Some(this_machine) = inventory.find(THIS_MACHINE)
        && edges.iter().any(|edge| used(edge, this_machine))
    {
        inventory.hosts[this_machine].takes_part = true;
    }
    let warnings = match desk.problems.is_empty() {
        true => lint::warnings(desk, &inventory, &drafts, &edges),
        false => Vec::new(),
    };
    let lacks_secrets = engine.vault.lacks_secrets();
    let given =
        Given { vars: gathered.vars, overlays: gathered.overlays, command_line, vault: engine.vault.clone() };
    let spec = finish(desk, path, given, inventory, drafts, edges)?;
    Some(Spec { lacks_secrets, warnings: Problems::new(warnings, desk.sources.clone()), ..spec })
}

/// `--var name=value`, each as if it were a file of its own.
pub(super) fn command_line(desk: &mut Desk, vars: &[(String, String)]) -> Vec<(String, Node)> {
    let mut values = Vec::new();
    for (name, text) in vars {
        let place = desk.sources.add(Path::new(&format!("--var {name}")), text.clone());
        let node = match text.starts_with(['"', '\'']) {
            true => {
                yaml::parse(text, place).map(|node| node.unwrap_or(Node::scalar("", Style::Quoted, place)))
            }
            false => Ok(Node::scalar(text, Style::Plain, place)),
        };
        match node {
            Ok(node) => values.push((name.clone(), node)),
            Err(problem) => desk.report(problem),
        }
    }
    let named: Vec<_> =
        values.iter().map(|(name, node)| (At::new(name.clone(), node.place), node.clone())).collect();
    check_names(desk, &named);
    values
}

fn items(
    desk: &mut Desk,
    engine: &Engine,
    gathered: &Gathered,
    inventory: &Inventory,
    layers: &Layers<'_>,
) -> Items {
    let mut items = Items::default();
    let mut scopes: HashMap<(usize, usize), Scope<'_>> = HashMap::new();
    for block in &gathered.blocks {
        for host in targets(desk, gathered, inventory, block) {
            let origin = Origin { host, overlay: block.overlay, directory: block.directory.clone() };
            let scope = scopes.entry((host, block.overlay)).or_insert_with(|| {
                let draft = &inventory.hosts[host];
                let overlay = &gathered.overlays[block.overlay];
                let mut scope = Scope::new(engine, &[layers.vars, overlay, &draft.vars]);
                scope.set("host", draft.seen.clone());
                for (name, value) in layers.command_line {
                    scope.set(name, value.clone());
                }
                scope
            });
            for item in &block.items {
                entry::expand(desk, scope, item, &origin, &mut items);
            }
        }
    }
    items
}

/// The hosts that a list of resources is for.
fn targets(desk: &mut Desk, gathered: &Gathered, inventory: &Inventory, block: &Block) -> Vec<usize> {
    match &block.target {
        Target::ThisMachine(place) => {
            if let Some(first) = gathered.hosts.first().map(|host| &host.name) {
                desk.report(
                    Problem::at(*place, "these resources do not say for which host they are")
                        .label("a plain list means this machine")
                        .also(first.place, "and here hosts are declared")
                        .help(format!(
                            "put the list below a name: resources: {{{}: […]}}, or {{localhost: […]}} for this machine",
                            first.value
                        )),
                );
            }
            inventory.find(THIS_MACHINE).into_iter().collect()
        }
        Target::Named(name) => match inventory.members(&name.value) {
            Some(hosts) => {
                if hosts.is_empty() && name.value == "all" {
                    desk.report(
                        Problem::at(name.place, "`all` is every declared host, and there is none")
                            .label("no hosts")
                            .help("declare them under `hosts`, or write localhost for this machine"),
                    );
                }
                hosts
            }
            None => {
                desk.report(inventory.unknown(name));
                Vec::new()
            }
        },
    }
}

/// Mistakes in variables that nothing uses are mistakes too.
pub(super) fn look_through_vars(
    desk: &mut Desk,
    engine: &Engine,
    inventory: &Inventory,
    layers: &Layers<'_>,
) {
    let all_hosts: Vec<_> = inventory.hosts.iter().flat_map(|host| host.vars.iter().cloned()).collect();
    let given: Vec<_> = layers.overlays.iter().flatten().cloned().collect();
    let mut scope = Scope::new(engine, &[&all_hosts, &given, layers.vars]);
    scope.set_anything("host");
    scope.set_anything("item");
    scope.keep_captured(true);
    for (name, value) in layers.command_line {
        scope.set(name, value.clone());
    }
    // A secret that only an unused variable speaks of is not needed.
    engine.vault.pretend(true);
    scope.resolve_all(desk);
    engine.vault.pretend(false);
}

/// The variables, as the files and the command line give them.
struct Given {
    vars: Vars,
    overlays: Vec<Vars>,
    command_line: Vec<(String, Node)>,
    vault: Vault,
}

/// What is needed of a spec once hosts tell their facts: nothing where it does not speak of them.
fn unresolved(desk: &Desk, given: Given, seen: Vec<(Vars, Node)>, drafts: &[(usize, Draft)]) -> Unresolved {
    let waiting: HashSet<usize> =
        drafts.iter().filter(|(_, draft)| draft.late.is_some()).map(|(host, _)| *host).collect();
    if waiting.is_empty() {
        return Unresolved::default();
    }
    let seen = seen.into_iter().enumerate().filter(|(host, _)| waiting.contains(host));
    let mut hosts: HashMap<usize, OnHost> =
        seen.map(|(host, (vars, seen))| (host, OnHost { vars, seen, drafts: Vec::new() })).collect();
    for (item, (host, draft)) in drafts.iter().enumerate() {
        if let Some(on_host) = hosts.get_mut(host) {
            on_host.drafts.push((item, draft.clone()));
        }
    }
    let Given { vars, overlays, command_line, vault } = given;
    Unresolved { desk: desk.clone(), vars, overlays, command_line, vault, hosts }
}

/// Leaves out a `localhost` that nothing uses, and orders what is left.
fn finish(
    desk: &mut Desk,
    path: &Path,
    given: Given,
    inventory: Inventory,
    drafts: Vec<Draft>,
    edges: Vec<Edge<Place>>,
) -> Option<Spec> {
    let mut numbers = HashMap::new();
    let (mut hosts, mut seen) = (Vec::new(), Vec::new());
    for (number, draft) in inventory.hosts.into_iter().enumerate() {
        if draft.takes_part {
            numbers.insert(number, hosts.len());
            hosts.push(draft.host);
            seen.push((draft.vars, draft.seen));
        }
    }
    let drafts: Vec<(usize, Draft)> =
        drafts.into_iter().filter_map(|draft| Some((*numbers.get(&draft.host)?, draft))).collect();
    let unresolved = unresolved(desk, given, seen, &drafts);
    let items: Vec<Item> = drafts
        .into_iter()
        .map(|(host, draft)| {
            let location = desk.sources.location(draft.place);
            draft.into_item(host, location)
        })
        .collect();
    let renumbered = |vertex| match vertex {
        Vertex::Host(host) => Vertex::Host(numbers.get(&host).copied().unwrap_or(0)),
        item => item,
    };
    let edges: Vec<_> = edges
        .into_iter()
        .map(|edge| Edge { before: renumbered(edge.before), after: renumbered(edge.after), ..edge })
        .collect();
    let graph = Graph::build(hosts.len(), items.len(), edges);
    let mut spec = Spec {
        path: path.to_owned(),
        files: desk.files.clone(),
        hosts,
        items,
        graph: Graph::default(),
        warnings: Problems::default(),
        unresolved,
        lacks_secrets: false,
    };
    match graph {
        Ok(graph) => spec.graph = graph,
        Err(cycles) => {
            for cycle in cycles {
                desk.report(circle(&spec, &cycle));
            }
            return None;
        }
    }
    Some(spec)
}

/// A cycle, with each of its edges where it is written.
fn circle(spec: &Spec, cycle: &[Edge<Place>]) -> Problem {
    let name = |vertex| match vertex {
        Vertex::Host(host) => format!("host:{}", spec.hosts[host].name),
        Vertex::Item(item) if spec.hosts.len() == 1 => spec.items[item].resource.id(),
        Vertex::Item(item) => spec.id(item),
    };
    let mut names: Vec<String> = cycle.iter().map(|edge| name(edge.before)).collect();
    names.extend(names.first().cloned());
    let what = match cycle {
        [only] => format!("`{}` depends on itself", name(only.before)),
        _ => format!("these wait for each other: {}", names.join(" → ")),
    };
    let mut problem = Problem::new(what);
    for edge in cycle {
        let (before, after) = (name(edge.before), name(edge.after));
        let label = match &edge.reason {
            Reason::Declared { attribute, .. } => format!("`{attribute}`: `{after}` after `{before}`"),
            reason => format!("`{after}` after `{before}`: {reason}"),
        };
        problem.labels.push((edge.place, label));
    }
    problem.help(
        "remove one of these dependencies; those that are not written follow from what the resources are",
    )
}
