//! From what is there, and what there is to install, to what has to be done.

use std::collections::HashMap;

use super::manager::{Here, Index, Offer, Status, Words};
use super::{Package, PackageState};
use crate::resource::Failure;

/// What has to be done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Todo {
    /// Why the index has to be read anew first: what else there is to do is known after that.
    pub index: Option<String>,
    pub steps: Vec<Step>,
}

/// One package's part of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    pub name: String,
    pub from: Status,
    /// None: away with it. Some(None): in the version that the index will have.
    pub to: Option<Option<String>>,
}

/// Why it cannot be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Trouble {
    /// Nothing is called so, or provides it.
    Unknown(String),
    Told(Failure),
}

impl Todo {
    pub fn is_empty(&self) -> bool {
        self.index.is_none() && self.steps.is_empty()
    }
}

impl Step {
    pub fn is_new(&self) -> bool {
        matches!(self.from, Status::Absent)
    }

    pub fn changes_state(&self) -> bool {
        !matches!((&self.from, &self.to), (Status::There(_), Some(_)))
    }

    pub fn state_before(&self) -> &str {
        match &self.from {
            Status::Absent | Status::Provided(_) => "absent",
            Status::There(_) => "present",
            Status::Broken { how, .. } => how,
        }
    }

    pub fn state_after(&self) -> &'static str {
        if self.to.is_some() { "present" } else { "absent" }
    }

    /// The version that is there, and the one that will be, as far as they are known.
    pub fn versions(&self) -> (Option<String>, Option<String>) {
        let from = match &self.from {
            Status::There(version) => Some(version.clone()),
            Status::Broken { version, .. } => Some(version.clone()).filter(|version| !version.is_empty()),
            Status::Absent | Status::Provided(_) => None,
        };
        (from, self.to.clone().flatten())
    }
}

/// Whether the index has to be asked what it has of a package that stands so.
pub fn asks_the_index(package: &Package, here: &Here) -> bool {
    match (package.state, &here.status) {
        (PackageState::Latest, _) | (PackageState::Absent, Status::Provided(_)) => true,
        (PackageState::Absent, _) => false,
        (PackageState::Present, Status::There(version) | Status::Broken { version, .. }) => {
            package.version.as_ref().is_some_and(|wanted| !is_like(wanted, version))
        }
        (PackageState::Present, _) => true,
    }
}

/// Whether a version is the one that is wanted, or one of those.
fn is_like(wanted: &str, version: &str) -> bool {
    // The epoch 0 is the same as none.
    let [wanted, version] = [wanted, version].map(|version| version.strip_prefix("0:").unwrap_or(version));
    match wanted.strip_suffix('*') {
        Some(beginning) => version.starts_with(beginning),
        None => version == wanted,
    }
}

/// What one looks at.
pub struct View<'a> {
    pub here: &'a HashMap<String, Here>,
    pub offers: &'a HashMap<String, Offer>,
    pub index: &'a Index,
    pub words: &'a Words,
}

/// What has to be done for all of its packages.
pub fn todo(package: &Package, view: &View<'_>) -> Result<Todo, Trouble> {
    let mut todo = Todo::default();
    for name in package.names() {
        let here = view.here.get(name).cloned().unwrap_or_default();
        if package.state == PackageState::Absent {
            todo.steps.extend(removal(name, &here, view)?);
            continue;
        }
        // The index matters to it, and may not be what it is now.
        let due = view.index.is_due(package.refresh).filter(|_| asks_the_index(package, &here));
        let step = match installation(package, name, &here, view) {
            Ok(step) => step,
            // What is not there yet may be there then.
            Err(_) if due.is_some() => {
                let to = package.version.clone().filter(|version| !version.ends_with('*'));
                Some(Step { name: name.to_owned(), from: here.status.clone(), to: Some(to) })
            }
            Err(trouble) => return Err(trouble),
        };
        if step.is_some() || package.state == PackageState::Latest {
            todo.index = todo.index.or(due);
        }
        // Whether there is a newer one is not known before.
        todo.steps.extend(step.filter(|step| step.changes_state() || step.to != Some(None)));
    }
    if let Some(held) = todo.steps.iter().find(|step| holds(step, view)) {
        return Err(Trouble::Told(on_hold(held, view.words)));
    }
    Ok(todo)
}

fn removal(name: &str, here: &Here, view: &View<'_>) -> Result<Option<Step>, Trouble> {
    match &here.status {
        Status::Absent => Ok(None),
        Status::Provided(by) if is_virtual(view.offers.get(name)) => Err(Trouble::Told(
            Failure::new(format!("{name} is a virtual package, which {} provides", by.join(" and ")))
                .help(format!("declare what is to go: `- package: {}`", by.join("`, `- package: "))),
        )),
        Status::Provided(_) => Ok(None),
        from => Ok(Some(Step { name: name.to_owned(), from: from.clone(), to: None })),
    }
}

fn is_virtual(offer: Option<&Offer>) -> bool {
    offer.is_none_or(|offer| offer.versions.is_empty())
}

fn is_provided(here: &Here, offer: Option<&Offer>) -> bool {
    matches!(here.status, Status::Provided(_)) && is_virtual(offer)
}

fn installation(
    package: &Package,
    name: &str,
    here: &Here,
    view: &View<'_>,
) -> Result<Option<Step>, Trouble> {
    let step = |version: Option<String>| {
        Ok(Some(Step { name: name.to_owned(), from: here.status.clone(), to: Some(version) }))
    };
    let offer = view.offers.get(name);
    let there = match &here.status {
        Status::There(version) | Status::Broken { version, .. } => Some(version),
        Status::Absent | Status::Provided(_) => None,
    };
    let is_whole = matches!(here.status, Status::There(_));
    if package.state == PackageState::Present
        && let Some(version) = there
        && package.version.as_ref().is_none_or(|wanted| is_like(wanted, version))
    {
        return if is_whole { Ok(None) } else { step(Some(version.clone())) };
    }
    if package.version.is_none() && is_provided(here, offer) {
        return Ok(None);
    }
    let wanted = match &package.version {
        Some(wanted) => wanted_version(name, wanted, offer, there, view)?,
        None => candidate(name, offer, there, view)?,
    };
    match there {
        Some(version) if is_whole && *version == wanted => Ok(None),
        _ => step(Some(wanted)),
    }
}

/// The newest of those that are wanted.
fn wanted_version(
    name: &str,
    wanted: &str,
    offer: Option<&Offer>,
    there: Option<&String>,
    view: &View<'_>,
) -> Result<String, Trouble> {
    let versions = offer.map(|offer| offer.versions.as_slice()).unwrap_or_default();
    if let Some(found) = versions.iter().find(|version| is_like(wanted, version)) {
        return Ok(found.clone());
    }
    if versions.is_empty() && there.is_none() {
        return Err(unknown(name, offer));
    }
    let some: Vec<&str> = versions.iter().take(8).map(String::as_str).collect();
    let more = if versions.len() > some.len() { ", …" } else { "" };
    let told = match some.as_slice() {
        [] => "none".to_owned(),
        some => some.join(", ") + more,
    };
    let what = if wanted.ends_with('*') { format!("no {wanted}") } else { format!("no version {wanted}") };
    let failure =
        Failure::new(format!("there is {what} of {name}: {} has {told}", view.index.told(view.words)));
    // 1.22.1 for 1.22.1-9.
    let begins = |version: &&&str| {
        version.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(['-', '+', '~', '.']))
    };
    Err(Trouble::Told(match some.iter().find(begins) {
        Some(_) => failure.help(format!("`version: \"{wanted}*\"` takes any that begins so")),
        None => failure.help(view.index.advice(view.words)),
    }))
}

/// The version that the machine's pins choose.
fn candidate(
    name: &str,
    offer: Option<&Offer>,
    there: Option<&String>,
    view: &View<'_>,
) -> Result<String, Trouble> {
    match (offer, there) {
        (Some(Offer { candidate: Some(candidate), .. }), _) => Ok(candidate.clone()),
        // It came from elsewhere, and there is none newer.
        (_, Some(version)) => Ok(version.clone()),
        (Some(offer), None) if !offer.versions.is_empty() => Err(Trouble::Told(
            Failure::new(format!(
                "this machine's pins keep {name} away: {} has {}, and none of them may be installed",
                view.index.told(view.words),
                offer.versions.join(", ")
            ))
            .help(format!("{} {name}` shows them; `version` goes before them", view.words.pins)),
        )),
        (offer, None) => Err(unknown(name, offer)),
    }
}

fn unknown(name: &str, offer: Option<&Offer>) -> Trouble {
    match offer.map(|offer| offer.provided_by.as_slice()) {
        Some([first, rest @ ..]) => Trouble::Told(
            Failure::new(match rest {
                [] => format!("{name} is a virtual package, which {first} provides"),
                rest => format!("{name} is a virtual package: {first}, {} provide it", rest.join(", ")),
            })
            .help(format!("say which it is to be: `- package: {first}`")),
        ),
        _ => Trouble::Unknown(name.to_owned()),
    }
}

/// Repairing it changes nothing that is on hold.
fn holds(step: &Step, view: &View<'_>) -> bool {
    let is_held = view.here.get(&step.name).is_some_and(|here| here.held);
    let is_repair = matches!((&step.from, &step.to), (Status::Broken { version, .. }, Some(to))
        if to.as_ref().is_none_or(|to| to == version));
    is_held && !is_repair
}

fn on_hold(step: &Step, words: &Words) -> Failure {
    let (from, to) = step.versions();
    let from = from.map(|version| format!(" at {version}")).unwrap_or_default();
    let to = match (&step.to, to) {
        (None, _) => "`state: absent`".to_owned(),
        (Some(_), Some(version)) => version,
        (Some(_), None) => "another version".to_owned(),
    };
    Failure::new(format!("{} is on hold{from}, and {to} is declared", step.name))
        .help(format!("`{} {}` lets it change", words.unhold, step.name))
}
