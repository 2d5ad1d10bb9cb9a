//! What stands on facts, resolved for one host when it has told them. Everything else of a spec has
//! been resolved before any host was reached. What is wrong here fails the resource it is wrong
//! with, and nothing else.

use std::collections::{BTreeMap, HashMap};

use super::at::Place;
use super::connect::{self, Web};
use super::desk::Desk;
use super::entry::{self, Again, Draft};
use super::facts::{self, FACTS};
use super::problem::{Problem, Problems};
use super::scope::{Scope, Vars};
use super::template::Engine;
use super::vault::Vault;
use super::yaml::Node;
use super::{Item, Spec};
use crate::resource::{Failure, Thing};
use crate::system::facts::Facts;

/// What it takes to resolve the rest. Empty where nothing in a spec stands on facts.
#[derive(Default, Debug)]
pub struct Unresolved {
    /// With the texts of all files, to point into.
    pub desk: Desk,
    pub vars: Vars,
    pub overlays: Vec<Vars>,
    pub command_line: Vec<(String, Node)>,
    /// What was read of the secrets stays read.
    pub vault: Vault,
    /// By the spec's index of the host.
    pub hosts: HashMap<usize, OnHost>,
}

/// A host with something that stands on facts.
#[derive(Debug)]
pub struct OnHost {
    pub vars: Vars,
    /// What templates see as `host`.
    pub seen: Node,
    /// All its resources, by the spec's index: what is true of one decides what another may be.
    pub drafts: Vec<(usize, Draft)>,
}

type Results = BTreeMap<usize, Result<Item, Failure>>;

impl Spec {
    /// The items of a host that stand on its facts, as they are there: an item that its `when`
    /// skips says so. Err: it cannot be had there, and why.
    pub fn resolve(&self, host: usize, facts: &Facts) -> Vec<(usize, Result<Item, Failure>)> {
        let Some(on_host) = self.unresolved.hosts.get(&host) else { return Vec::new() };
        let mut desk = self.unresolved.desk.clone();
        let mut results = Results::new();
        let mut there = self.read_again(&mut desk, on_host, host, facts, &mut results);
        self.judge(&mut desk, host, &mut there, &mut results);
        for (number, mut draft) in there {
            // What a purged directory keeps, and what is handed down to a path, stands on what else
            // is there.
            let resource = draft.resource.as_resource_mut();
            let has_neighbours = resource.purges().is_some()
                || resource.surroundings().is_some()
                || resource.mount_point().is_some()
                || resource.looks_around();
            if draft.late.is_some() || has_neighbours {
                let item = draft.into_item(host, self.items[number].location.clone());
                results.entry(number).or_insert(Ok(item));
            }
        }
        results.into_iter().collect()
    }

    /// The resources that are there by these facts.
    fn read_again(
        &self,
        desk: &mut Desk,
        on_host: &OnHost,
        host: usize,
        facts: &Facts,
        results: &mut Results,
    ) -> Vec<(usize, Draft)> {
        let Unresolved { vars, overlays, command_line, .. } = &self.unresolved;
        let engine = Engine::new(self.unresolved.vault.clone());
        let seen = facts::as_seen(facts);
        let mut scopes: HashMap<usize, Scope<'_>> = HashMap::new();
        let mut there = Vec::new();
        for (number, draft) in &on_host.drafts {
            let Some(late) = &draft.late else {
                if draft.skipped_by_when.is_none() {
                    there.push((*number, draft.clone()));
                }
                continue;
            };
            let scope = scopes.entry(late.origin.overlay).or_insert_with(|| {
                let mut scope = Scope::new(&engine, &[vars, &overlays[late.origin.overlay], &on_host.vars]);
                scope.set("host", on_host.seen.clone());
                for (name, value) in command_line {
                    scope.set(name, value.clone());
                }
                scope.set(FACTS, seen.clone());
                scope
            });
            let again = entry::again(desk, scope, late);
            let location = self.items[*number].location.clone();
            match (again, std::mem::take(&mut desk.problems)) {
                (Again::Skipped(condition), problems) if problems.is_empty() => {
                    let skipped = Draft { skipped_by_when: Some(condition), ..draft.clone() };
                    results.insert(*number, Ok(skipped.into_item(host, location)));
                }
                (Again::There(mut new), problems) if problems.is_empty() => {
                    match changed_too_much(desk, draft, &new) {
                        Some(problem) => drop(results.insert(*number, Err(failure(desk, vec![problem])))),
                        None => {
                            keep_triggers(draft, &mut new);
                            there.push((*number, Draft { late: draft.late.clone(), ..*new }));
                        }
                    }
                }
                (_, problems) => drop(results.insert(*number, Err(failure(desk, problems)))),
            }
        }
        there
    }

    /// What can only be said of all that is there: nothing twice, nothing that fights, and what a
    /// purged directory keeps.
    fn judge(&self, desk: &mut Desk, host: usize, there: &mut [(usize, Draft)], results: &mut Results) {
        // With their `when` true, they are as certain as any.
        let certain = |(_, draft): &(usize, Draft)| Draft { late: None, ..draft.clone() };
        let mut drafts: Vec<Draft> = there.iter().map(certain).collect();
        connect::twins(desk, &drafts, |_| self.hosts[host].name.clone());
        for problem in &mut desk.problems {
            problem.help = Some("the `when` of both is true here: make them exclude each other".to_owned());
        }
        let web = Web::new(&drafts);
        web.fights(desk, &drafts);
        for problem in std::mem::take(&mut desk.problems) {
            for index in blamed(&problem, &drafts) {
                results.entry(there[index].0).or_insert_with(|| Err(failure(desk, vec![problem.clone()])));
            }
        }
        web.purges(&mut drafts);
        for ((_, draft), judged) in there.iter_mut().zip(drafts) {
            draft.resource = judged.resource;
        }
    }
}

/// The resources that a problem points at. Elements of one `for_each` are in one place: then its
/// words say which.
fn blamed(problem: &Problem, drafts: &[Draft]) -> Vec<usize> {
    let is_at = |place: &Place| problem.labels.iter().any(|(label, _)| label == place);
    let mut found: Vec<usize> = (0..drafts.len()).filter(|index| is_at(&drafts[*index].place)).collect();
    let is_named = |index: &usize| problem.what.contains(&format!("`{}`", drafts[*index].resource.id()));
    if found.iter().any(is_named) {
        found.retain(is_named);
    }
    found
}

/// The graph was made from what was known: a name that comes out otherwise, or something that is to
/// be gone after all, would have had another place in it.
fn changed_too_much(desk: &Desk, old: &Draft, new: &Draft) -> Option<Problem> {
    let is_removal = |draft: &Draft| {
        let links = draft.resource.as_resource().links();
        links.is_removal || links.provides.iter().any(|thing| matches!(thing, Thing::Uncovered(_)))
    };
    let (attribute, what) = match (old.resource.id(), new.resource.id()) {
        (old, new) if old != new => ("", format!("what it is cannot depend on facts: `{new}` here")),
        _ if is_removal(old) != is_removal(new) => {
            ("state", "whether it is to be gone cannot depend on facts".to_owned())
        }
        _ => return None,
    };
    let problem = Problem::at(new.attribute(desk, attribute), what);
    Some(problem.label("orders the run").help("write two items, each with its own `when`"))
}

/// Triggers do not stand on facts: what they refer to has been found.
fn keep_triggers(old: &Draft, new: &mut Draft) {
    let mut old = old.resource.clone();
    let mut old = old.as_resource_mut().triggers();
    for (name, list) in new.resource.as_resource_mut().triggers() {
        if let Some((_, known)) = old.iter_mut().find(|(other, _)| *other == name) {
            *list = std::mem::take(known);
        }
    }
}

fn failure(desk: &Desk, problems: Vec<Problem>) -> Failure {
    // In the order of the file, as everywhere.
    let problems = Problems::new(problems, desk.sources.clone());
    let Some((first, others)) = problems.list().split_first() else {
        return Failure::new("it cannot be resolved with the facts of this host");
    };
    let more = match others.len() {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    // The first one's way out stands above it.
    let shown = std::iter::once(Problem { help: None, ..first.clone() }).chain(others.iter().cloned());
    let shown = Problems::new(shown.collect(), desk.sources.clone());
    let failure = Failure::new(format!("{}{more}", first.what));
    Failure { help: first.help.clone(), ..failure }.detail("in the spec", shown.render(false, 100))
}
