//! What a check finds.

use serde::{Deserialize, Serialize};

use crate::attribute::AbsPath;
use crate::failure::{Detail, Failure};

/// What `check` found. The plan prints it, `apply` consumes it, and after every apply it is
/// asked for again: nothing else decides whether a resource holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Everything declared is so.
    Holds,
    /// These changes are needed, and `apply` can make them.
    Needs(Needed),
    /// It does not hold (yet), and nothing can be done but to wait.
    Waits(Waiting),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Needed {
    pub action: Action,
    pub changes: Vec<Change>,
    /// What must be there before the changes can be made and is not there now. The plan looks
    /// for a resource that will provide it; where there is none, that is a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Waiting {
    /// What is seen, as in `the unit is activating (start-pre)`.
    pub reason: String,
    /// It is on its way and ends by itself (a unit that is activating, a domain that is shutting
    /// down), so it is waited for even where the spec says no `wait`, up to `timeout`.
    pub passing: bool,
    /// The way out, where one is known, for when it was waited for in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What else was seen: the beginning of a page that is not the right one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// The kind of difference, as the plan marks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create,
    Change,
    Remove,
    Restart,
}

/// One attribute that is off: from what, to what.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Change {
    pub attribute: String,
    /// None: there is nothing there.
    pub from: Option<String>,
    /// None: it is to be gone.
    pub to: Option<String>,
    /// The old text of a file, so that the controller can show the difference line by line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_text: Option<String>,
    /// The new text; filled in by the controller, which has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_text: Option<String>,
    /// What is owed (a restart) is owed for these paths, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<AbsPath>,
}

/// A thing that must exist on the host before a change can be made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lack {
    pub thing: Thing,
    /// One line, as in `its parent directory /srv/www does not exist`.
    pub what: String,
    /// The way out, as in `declare it: - directory: /srv/www`.
    pub help: String,
}

/// A thing on a host that one resource provides and another stands on. The graph draws its
/// implied edges between equal things, the plan settles a `Lack` with them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// A path. Who needs a path stands on the nearest declared one at or above it.
    Path(AbsPath),
    /// A part of the file at this path, of which several may be declared, each by itself: who needs
    /// the file needs it with them.
    Part(AbsPath),
    User(String),
    Group(String),
    /// A directory that is made with the user who lives in it.
    Home(AbsPath),
    Package(String),
    /// With its suffix, as in `nginx.service`.
    Unit(String),
    /// A supervisord program.
    Program(String),
    Domain(String),
    /// A lock that another program holds now. Nobody provides it: it comes free by itself.
    Lock(String),
    /// A path from which something mounted is to come off: whoever is about the path itself comes
    /// after that.
    Uncovered(AbsPath),
}

impl Thing {
    /// It runs or does not, and may be on its way: the others are there or are not.
    pub fn may_come_up(&self) -> bool {
        matches!(self, Thing::Unit(_) | Thing::Program(_) | Thing::Domain(_))
    }
}

impl Lack {
    /// Nobody provides it.
    pub fn into_failure(self) -> Failure {
        Failure::new(self.what).help(self.help)
    }
}

impl Check {
    pub fn needs(action: Action, changes: Vec<Change>) -> Check {
        Check::Needs(Needed { action, changes, lacks: Vec::new() })
    }

    /// `Holds` where nothing is off, else `Needs` these.
    pub fn of(action: Action, changes: Vec<Change>) -> Check {
        if changes.is_empty() { Check::Holds } else { Check::needs(action, changes) }
    }

    /// It ends by itself, and is waited for.
    pub fn passing(reason: impl Into<String>) -> Check {
        Check::Waits(Waiting { passing: true, ..Waiting::new(reason) })
    }

    /// It is waited for as long as the spec's `wait` says, and not at all without one.
    pub fn waits(reason: impl Into<String>) -> Check {
        Check::Waits(Waiting::new(reason))
    }
}

impl Waiting {
    /// Not passing, and no more to say.
    pub fn new(reason: impl Into<String>) -> Self {
        Waiting { reason: reason.into(), passing: false, help: None, details: Vec::new() }
    }

    /// It was waited for in vain, or is not waited for.
    pub fn into_failure(self) -> Failure {
        Failure { reason: self.reason, help: self.help, details: self.details }
    }
}

impl Needed {
    pub fn change(&self, attribute: &str) -> Option<&Change> {
        self.changes.iter().find(|change| change.attribute == attribute)
    }

    pub fn has(&self, attribute: &str) -> bool {
        self.change(attribute).is_some()
    }
}

impl Change {
    pub fn new(attribute: &str, from: Option<String>, to: Option<String>) -> Self {
        Change { attribute: attribute.to_owned(), from, to, old_text: None, new_text: None, owed: Vec::new() }
    }

    /// The same change, owed for what these paths hold now.
    #[must_use]
    pub fn owed_for(self, paths: &[AbsPath]) -> Self {
        Change { owed: paths.to_vec(), ..self }
    }

    /// From one value to another.
    pub fn from_to(attribute: &str, from: impl ToString, to: impl ToString) -> Self {
        Change::new(attribute, Some(from.to_string()), Some(to.to_string()))
    }
}

/// Changes in one line, as in `mode 0600 → 0644, owner root → www-data`.
pub fn told(changes: &[Change]) -> String {
    let one = |change: &Change| match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{} {from} → {to}", change.attribute),
        (None, Some(to)) => format!("{} {to}", change.attribute),
        (Some(from), None) => format!("{} {from} → nothing", change.attribute),
        (None, None) => change.attribute.clone(),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}
