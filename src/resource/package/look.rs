//! Looks at all packages of a run together: what is installed is read once, and the index once.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use super::judge::{self, Todo, Trouble, View};
use super::locked::Holder;
use super::manager::{self, Index, Kind, Manager, Offer, Work};
use super::{Package, near};
use crate::resource::Failure;
use crate::system::System;

/// What has to be done for a resource, and what that comes with.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    pub todo: Todo,
    /// What else would be removed, each with its version.
    pub takes_along: Vec<String>,
    /// Who keeps it from being done now.
    pub locked: Option<Holder>,
}

/// For resources as `Package::reading` names them.
pub fn all(system: &System, asked: &[String]) -> HashMap<String, Result<Found, Failure>> {
    let mut by_manager: BTreeMap<Option<Kind>, Vec<(&String, Package)>> = BTreeMap::new();
    for text in asked {
        if let Ok(package) = serde_json::from_str::<Package>(text) {
            by_manager.entry(package.manager).or_default().push((text, package));
        }
    }
    let mut found = HashMap::new();
    for (kind, asked) in by_manager {
        let packages: Vec<&Package> = asked.iter().map(|(_, package)| package).collect();
        let answers = several(system, kind, &packages);
        for (index, (text, _)) in asked.iter().enumerate() {
            let answer = match &answers {
                Ok(answers) => answers[index].clone(),
                Err(failure) => Err(failure.clone()),
            };
            found.insert((*text).clone(), answer);
        }
    }
    found
}

/// For one alone.
pub fn one(system: &System, package: &Package) -> Result<Found, Failure> {
    several(system, package.manager, &[package])?
        .pop()
        .unwrap_or_else(|| Err(Failure::new("nothing was found out about it")))
}

/// Reads the index anew; fails where that leaves none.
pub fn refresh(manager: &dyn Manager) -> Result<(), Failure> {
    manager.refresh()
}

/// Why the index has to be read anew for this one.
pub fn index_is_due(package: &Package, manager: &dyn Manager) -> Option<String> {
    manager.index().is_due(package.refresh)
}

/// An answer for each.
fn several(
    system: &System,
    kind: Option<Kind>,
    packages: &[&Package],
) -> Result<Vec<Result<Found, Failure>>, Failure> {
    let manager = manager::of(system, kind)?;
    let manager = manager.as_ref();
    let all_names: Vec<&str> = packages.iter().flat_map(|package| package.names()).collect();
    let here = manager.here(&all_names)?;
    let mut asks: Vec<&str> = Vec::new();
    for package in packages {
        let names = package.names().into_iter();
        asks.extend(names.filter(|name| {
            here.get(*name).map_or_else(
                || judge::asks_the_index(package, &manager::Here::default()),
                |here| judge::asks_the_index(package, here),
            )
        }));
    }
    asks.sort_unstable();
    asks.dedup();
    let (offers, index) = match asks.is_empty() {
        true => (HashMap::<String, Offer>::new(), Index::default()),
        false => (manager.offers(&asks)?, manager.index()),
    };
    let view = View { here: &here, offers: &offers, index: &index, words: manager.words() };
    let todos: Vec<Result<Todo, Failure>> = packages
        .iter()
        .map(|package| {
            judge::todo(package, &view).map_err(|trouble| match trouble {
                Trouble::Told(failure) => failure,
                Trouble::Unknown(name) => unknown(manager, &index, &name),
            })
        })
        .collect();
    Ok(ahead(manager, todos))
}

/// Asks the manager what each of them would take away with it: all together first, and where they
/// take nothing, that is all there is to ask.
fn ahead(manager: &dyn Manager, todos: Vec<Result<Todo, Failure>>) -> Vec<Result<Found, Failure>> {
    // What is not in the index yet is not known.
    let is_known =
        |todo: &Todo| !todo.steps.is_empty() && todo.steps.iter().all(|step| step.to != Some(None));
    let known = || todos.iter().flatten().filter(|todo| is_known(todo));
    let (mut installs, mut removes) = (Work::default(), Work::default());
    for todo in known() {
        let is_removal = todo.steps.iter().any(|step| step.to.is_none());
        if is_removal { &mut removes } else { &mut installs }.add(&todo.steps);
    }
    let together = known().count() > 1
        && [&installs, &removes].into_iter().all(|work| {
            *work == Work::default() || matches!(manager.takes_along(work), Ok(gone) if gone.is_empty())
        });
    let locked = OnceLock::new();
    todos
        .into_iter()
        .map(|todo| {
            let todo = todo?;
            if todo.is_empty() {
                return Ok(Found::default());
            }
            let mut takes_along = Vec::new();
            if !together && is_known(&todo) {
                let mut work = Work::default();
                work.add(&todo.steps);
                takes_along = manager
                    .takes_along(&work)?
                    .into_iter()
                    .map(|(name, version)| format!("{name} {version}"))
                    .collect();
            }
            let locked = locked.get_or_init(|| manager.locked()).clone();
            Ok(Found { todo, takes_along, locked })
        })
        .collect()
}

fn unknown(manager: &dyn Manager, index: &Index, name: &str) -> Failure {
    let words = manager.words();
    if index.read.is_none() {
        return Failure::new(format!("there is no package {name}: {} has no index yet", words.name))
            .help(index.advice(words));
    }
    let failure = Failure::new(format!("there is no package {name} in {}", index.told(words)));
    let known = manager.known_names();
    match near::nearest(name, known.iter().map(String::as_str)).as_slice() {
        [] => failure.help(index.advice(words)),
        near => failure.help(format!("did you mean {}? If not, {}", near.join(" or "), index.advice(words))),
    }
}
