//! What every package manager can do: the seam between what is declared and apt, dnf and the others.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::apk::Apk;
use super::apt::Apt;
use super::dnf::Dnf;
use super::judge::Step;
use super::locked::Holder;
use super::look::Found;
use super::pacman::Pacman;
use super::zypper::Zypper;
use crate::attribute::Span;
use crate::resource::Failure;
use crate::system::System;
use crate::system::facts::package_manager;

/// `manager: apt | dnf | apk | pacman | zypper`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Apt,
    Dnf,
    Apk,
    Pacman,
    Zypper,
}

/// How a package stands on the machine.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Status {
    #[default]
    Absent,
    /// It is not installed, and these are, which provide what it is called.
    Provided(Vec<String>),
    There(String),
    /// Installed half-way, and how, in the manager's word for it. Torn: files of it may be missing.
    Broken {
        version: String,
        how: String,
        torn: bool,
    },
}

/// What the machine has of a package.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Here {
    pub status: Status,
    /// It is to stay as it is.
    pub held: bool,
}

/// What the index has of a package.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Offer {
    /// The version that would be installed; None where pins exclude all of them.
    pub candidate: Option<String>,
    /// Newest first.
    pub versions: Vec<String>,
    /// It is none itself; these provide it.
    pub provided_by: Vec<String>,
}

/// The manager's index of what there is to install.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Index {
    /// When it was last read from its sources; None: there is none.
    pub read: Option<SystemTime>,
    /// A list of sources that has changed since.
    pub newer_source: Option<String>,
}

impl Index {
    /// `apt's index, which was read 3h ago`.
    pub fn told(&self, words: &Words) -> String {
        match self.age() {
            Some(age) => format!("{}'s index, which was read {} ago", words.name, roughly(age)),
            None => format!("{}'s index, which is empty", words.name),
        }
    }

    fn age(&self) -> Option<Duration> {
        self.read.map(|read| read.elapsed().unwrap_or_default())
    }

    /// Why it has to be read anew to be no older than that.
    pub fn is_due(&self, refresh: Option<Span>) -> Option<String> {
        let refresh = refresh?;
        match (self.age(), &self.newer_source) {
            (None, _) => Some("never read".to_owned()),
            (Some(age), _) if age > refresh.get() => Some(format!("older than {refresh}")),
            (_, Some(source)) => Some(format!("older than {source}")),
            _ => None,
        }
    }

    /// What to do about something that is not in it.
    pub fn advice(&self, words: &Words) -> String {
        let refresh = format!("`refresh: 1d` has it read first (`{}`)", words.refresh);
        match (self.age(), &self.newer_source) {
            (None, _) => refresh,
            (_, Some(source)) => format!("{source} has changed since: {refresh}"),
            (Some(age), _) if age > Duration::from_hours(24) => format!("it is old: {refresh}"),
            _ => format!("is its source among those in {}?", words.sources),
        }
    }
}

/// In its largest unit: `3d`, `2h`.
fn roughly(age: Duration) -> Span {
    let seconds = age.as_secs();
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| seconds >= *unit).unwrap_or(1);
    Span::seconds(seconds / unit * unit)
}

/// How a manager's ways are called.
pub struct Words {
    /// `apt`.
    pub name: &'static str,
    /// The command that reads the index anew.
    pub refresh: &'static str,
    /// Where its sources are declared.
    pub sources: &'static str,
    /// What lets a held package change: the name follows.
    pub unhold: &'static str,
    /// What shows why a version is not chosen: the name follows.
    pub pins: &'static str,
}

/// What is to be done in one go.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Work {
    /// Names and versions.
    pub install: Vec<(String, Option<String>)>,
    pub remove: Vec<String>,
    /// Some that are installed already in another version, which may be newer.
    pub replaces: bool,
    /// Files of some may be missing.
    pub reinstalls: bool,
    /// The plan has said that others go.
    pub takes_along: bool,
    /// The version is declared, and not only the one there is.
    pub exact: bool,
}

impl Work {
    pub fn of(found: &Found) -> Work {
        let mut work = Work::default();
        work.add(&found.todo.steps);
        work.takes_along = !found.takes_along.is_empty();
        work
    }

    pub fn add(&mut self, steps: &[Step]) {
        for step in steps {
            match &step.to {
                None => self.remove.push(step.name.clone()),
                Some(version) => self.install.push((step.name.clone(), version.clone())),
            }
            self.reinstalls |= matches!(step.from, Status::Broken { torn: true, .. });
            self.replaces |= matches!(step.from, Status::There(_) | Status::Broken { .. });
        }
    }
}

/// A package manager of the machine.
pub trait Manager {
    fn words(&self) -> &'static Words;

    /// How each of these stands, from one look at all that is installed.
    fn here(&self, names: &[&str]) -> Result<HashMap<String, Here>, Failure>;

    /// What the index has of these; nothing of what it does not know. Reads no source anew.
    fn offers(&self, names: &[&str]) -> Result<HashMap<String, Offer>, Failure>;

    fn index(&self) -> Index;

    /// All names in the index, to find one that may have been meant.
    fn known_names(&self) -> Vec<String>;

    /// What would be removed by this, besides what is to be: names and versions. Fails where it
    /// cannot be done.
    fn takes_along(&self, work: &Work) -> Result<Vec<(String, String)>, Failure>;

    /// Who keeps it from changing anything now.
    fn locked(&self) -> Option<Holder>;

    /// Reads the index anew.
    fn refresh(&self) -> Result<(), Failure>;

    /// Brings to an end what was interrupted, as far as that goes.
    fn mend(&self) -> Result<(), Failure>;

    fn carry_out(&self, work: &Work) -> Result<(), Failure>;
}

/// The manager that is declared, or else the machine's own.
pub fn of<'a>(system: &'a System, declared: Option<Kind>) -> Result<Box<dyn Manager + 'a>, Failure> {
    let kind = match declared {
        Some(kind) => kind,
        None => match package_manager(system).as_str() {
            "apt" => Kind::Apt,
            "dnf" => Kind::Dnf,
            "apk" => Kind::Apk,
            "pacman" => Kind::Pacman,
            "zypper" => Kind::Zypper,
            _ => {
                return Err(Failure::new("no package manager was found here that converge knows").help(
                    "it knows apt, dnf, apk, pacman and zypper, and looks for them in the usual places",
                ));
            }
        },
    };
    Ok(match kind {
        Kind::Apt => Box::new(Apt::of(system)),
        Kind::Dnf => Box::new(Dnf::of(system)),
        Kind::Apk => Box::new(Apk::of(system)),
        Kind::Pacman => Box::new(Pacman::of(system)),
        Kind::Zypper => Box::new(Zypper::of(system)),
    })
}

/// Fails where this user may not change anything.
pub fn may_change(system: &System) -> Result<(), Failure> {
    let me = rustix::process::geteuid();
    if me.is_root() {
        return Ok(());
    }
    let me = system.user_name(me.as_raw());
    Err(Failure::new(format!("only root can install and remove packages, and this is {me}"))
        .help("give the host `become: sudo`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_due_by_its_age_its_sources_and_where_there_is_none() {
        let ago = |hours| SystemTime::now().checked_sub(Duration::from_hours(hours));
        let day = Some(Span::seconds(86_400));
        let index = |read, source: Option<&str>| Index { read, newer_source: source.map(str::to_owned) };
        for (index, refresh, due) in [
            (index(None, None), None, None),
            (index(None, None), day, Some("never read")),
            (index(ago(2), None), day, None),
            (index(ago(25), None), day, Some("older than 1d")),
            (index(ago(2), Some("/etc/apt/sources.list")), day, Some("older than /etc/apt/sources.list")),
            (index(ago(2), Some("/etc/apt/sources.list")), None, None),
            // A clock that was set back.
            (index(SystemTime::now().checked_add(Duration::from_hours(1)), None), day, None),
        ] {
            assert_eq!(index.is_due(refresh).as_deref(), due, "{index:?} {refresh:?}");
        }
    }

    #[test]
    fn ages_are_told_roughly() {
        for (seconds, told) in [(0, "0s"), (59, "59s"), (61, "1m"), (7_300, "2h"), (200_000, "2d")] {
            assert_eq!(roughly(Duration::from_secs(seconds)).to_string(), told);
        }
    }
}
