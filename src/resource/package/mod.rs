//! `package`: packages of the system's own package manager.

mod apk;
mod apt;
mod dnf;
mod judge;
mod locked;
mod look;
mod manager;
mod name;
mod near;
mod pacman;
mod rpm;
mod said;
mod sources;
mod zypper;

use serde::{Deserialize, Serialize};

use super::{Action, Change, Check, Failure, Invalid, Lack, Links, Needed, Resource, Thing};
use crate::attribute::Span;
use crate::system::System;
use crate::system::readings::Reading;
use look::Found;
use manager::Work;

pub use manager::Kind;
pub use name::PackageName;

/// `state: present | absent | latest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PackageState {
    #[default]
    Present,
    Absent,
    Latest,
}

/// A package, or several, of the system's package manager.
///
/// Where it is installed already, nothing else is looked at: the package manager's index of what
/// there is to install is read only where something has to be installed, for `latest`, and for a
/// `version` that is not there. The packages of one host are looked up together, however many there are, and
/// installed one resource after the other; the packages of one `names` are installed in one go.
///
/// What the manager would remove along with it is part of the plan: `dependents` with `state:
/// absent`, `conflicts` where something is installed in place of something else. Where more than
/// that would go by the time it is applied, nothing is done. Packages that came only as
/// dependencies stay when what needed them goes.
///
/// A package that was left half-way (a power cut, a killed dpkg, a script of its own that failed) is not
/// present: it is configured or installed again. One that is on hold is left as it is, and where it would have to
/// change that is a failure. What is pinned away from the newest version is `latest` at the version that
/// the pins choose.
///
/// Nobody is asked anything: questions take their defaults, and configuration files that were
/// changed on the host stay as they are. Recommended packages come along where the manager's own
/// configuration says so. Whether a service runs after its installation is for the package to say; declare
/// a `unit`. The packages' scripts run in the locale C.UTF-8.
///
/// Another program that holds the package manager's lock (unattended upgrades, somebody's apt) is
/// named and waited for, as long as `timeout`, which is 10m here.
///
/// Of the managers, apt, dnf (4), zypper and pacman are tested on the real thing; apk was never run: it
/// was written after its documentation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = name::rule))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["version"])))]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The package's name, or a label where `names` has them. With apt, `name:architecture` is a
    /// package of another architecture; a virtual package is present where an installed package provides it.
    #[serde(rename = "package")]
    pub name: String,

    /// The packages' names, where `package` is a label. What is declared holds for each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "controller", schemars(length(min = 1)))]
    pub names: Option<Vec<PackageName>>,

    /// `present`: it is installed, in whatever version. `latest`: it is installed in the newest version
    /// that the manager's index and the machine's pins offer. `absent`: it is removed; with apt and pacman,
    /// configuration files that were changed stay.
    #[serde(default)]
    pub state: PackageState,

    /// The version that is installed, as the package manager writes it (`1.22.1-9`): a newer one
    /// is replaced too. `*` at its end stands for any rest: `1.22.*` is satisfied with each of them,
    /// and takes the newest where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Without it, it is found from the host: the system's own where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<Kind>,

    /// How old the manager's index may be where it has to be looked at. One that is older, that was never
    /// read, or that is older than the list of its sources, is read anew first (`apt-get update`), which is a
    /// change of its own. Without it, converge never reads it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Span>,
}

impl Package {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- package: base-files
- package: what nobody needs here
  names: [telnetd, rsh-server]
  state: absent
";

    /// The packages that it is about.
    fn names(&self) -> Vec<&str> {
        match &self.names {
            None => vec![self.name.trim()],
            Some(names) => names.iter().map(PackageName::as_str).collect(),
        }
    }

    /// With all that it is about, so that many are looked up in one go.
    fn reading(&self) -> Option<Reading> {
        let name = serde_json::to_string(self).ok()?;
        Some(Reading { of: "packages", name })
    }

    /// The differences, one for each attribute; with `names`, one for each package.
    fn changes(&self, found: &Found) -> (Action, Vec<Change>) {
        let mut changes = Vec::new();
        let todo = &found.todo;
        changes.extend(todo.index.as_ref().map(|from| Change::from_to("index", from, "read anew")));
        let starts_with_nothing = todo.steps.iter().all(|step| step.is_new());
        let action = match self.state {
            PackageState::Absent => Action::Remove,
            _ if todo.steps.is_empty() || !starts_with_nothing => Action::Change,
            _ => Action::Create,
        };
        if let Some(step) = todo.steps.iter().find(|step| step.changes_state()) {
            changes.push(Change::from_to("state", step.state_before(), step.state_after()));
        }
        for step in &todo.steps {
            let attribute = if self.names.is_none() { "version" } else { &step.name };
            let (from, to) = step.versions();
            if from != to {
                changes.push(Change::new(attribute, from, to));
            }
        }
        if !found.takes_along.is_empty() {
            let attribute = if self.state == PackageState::Absent { "dependents" } else { "conflicts" };
            changes.push(Change::new(attribute, Some(found.takes_along.join(", ")), None));
        }
        (action, changes)
    }

    fn find(&self, system: &System) -> Result<Found, Failure> {
        let Some(reading) = self.reading() else { return look::one(system, self) };
        let found = system.shared_of(&reading, |asked| Ok(look::all(system, asked)))?;
        found.unwrap_or_else(|| look::one(system, self))
    }
}

impl Resource for Package {
    fn name(&self) -> String {
        self.name.trim().to_owned()
    }

    fn links(&self) -> Links {
        let links = Links::default().removal(self.state == PackageState::Absent);
        let bare = |name: &&str| name.split(':').next().unwrap_or(name).to_owned();
        self.names().iter().map(bare).fold(links, |links, name| links.provides(Thing::Package(name)))
    }

    fn brings_more(&self) -> bool {
        self.state != PackageState::Absent
    }

    fn timeout(&self) -> std::time::Duration {
        std::time::Duration::from_mins(10)
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        if self.names.is_none()
            && let Err(wrong) = self.name.trim().parse::<PackageName>()
        {
            invalid.push(Invalid::new("package", wrong, "where it is a label, add `names: […]`"));
        }
        let names = self.names.as_deref().unwrap_or_default();
        if self.names.is_some() && names.is_empty() {
            let what = "`names` names no package";
            invalid.push(Invalid::new("names", what, "name some, or leave it out: `package` is a name then"));
        }
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                let what = format!("`{name}` is named twice");
                invalid.push(Invalid::new("names", what, "name it once"));
            }
        }
        if let Some(version) = &self.version {
            invalid.extend(self.invalid_version(version));
        }
        invalid
    }

    fn reads(&self) -> Option<Reading> {
        self.reading()
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let found = self.find(system)?;
        if found.todo.is_empty() {
            return Ok(Check::Holds);
        }
        let (action, changes) = self.changes(&found);
        let lacks: Vec<Lack> = found.locked.iter().map(locked::Holder::lack).collect();
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let manager = manager::of(system, self.manager)?;
        let _turn = system.turn("packages")?;
        manager::may_change(system)?;
        if needed.has("index") && look::index_is_due(self, manager.as_ref()).is_some() {
            look::refresh(manager.as_ref())?;
        }
        manager.mend()?;
        // Others had their turn before, and the index may be another.
        let mut found = look::one(&system.anew(), self)?;
        if found.todo.index.is_some() {
            look::refresh(manager.as_ref())?;
            found = look::one(&system.anew(), self)?;
        }
        if found.todo.index.is_some() {
            return Err(Failure::new(format!(
                "{} has no index of packages, though it has just been read: it has no sources",
                manager.words().name
            ))
            .help(format!("its sources are declared in {}", manager.words().sources)));
        }
        if found.todo.steps.is_empty() {
            return Ok(());
        }
        let told = needed.change("dependents").or(needed.change("conflicts"));
        let told = told.and_then(|change| change.from.as_deref()).unwrap_or_default();
        let told: Vec<&str> = told.split(", ").collect();
        let more: Vec<String> =
            found.takes_along.iter().filter(|gone| !told.contains(&gone.as_str())).cloned().collect();
        if !more.is_empty() {
            return Err(Failure::new(format!(
                "it would take away more than was planned: {}",
                more.join(", ")
            ))
            .help("the next plan shows it"));
        }
        let work = Work { exact: self.version.is_some(), ..Work::of(&found) };
        match manager.carry_out(&work) {
            Ok(()) => Ok(()),
            // The trouble may be another package's. (And what was not done is told by the check.)
            Err(failure) => match look::one(&system.anew(), self) {
                Ok(found) if found.todo.is_empty() => Ok(()),
                _ => Err(failure),
            },
        }
    }
}

impl Package {
    fn invalid_version(&self, version: &str) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let stem = version.strip_suffix('*').unwrap_or(version);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+.:~-_^".contains(c);
        if let Some(bad) = stem.chars().find(|c| !allowed(*c)) {
            let what = match bad {
                '*' => "`*` stands only at the end of a version".to_owned(),
                '<' | '>' | '=' => "a version is one version, and no range".to_owned(),
                _ => format!("`{version}` is no version: it holds `{bad}`"),
            };
            invalid.push(Invalid::new(
                "version",
                what,
                "write it as in 1.22.1-9, or 1.22.* for any of these",
            ));
        } else if stem.is_empty() || stem.starts_with('-') {
            let what = format!("`{version}` is no version");
            invalid.push(Invalid::new("version", what, "write it as in 1.22.1-9, or leave it out for any"));
        }
        match self.state {
            PackageState::Absent => invalid.push(Invalid::new(
                "version",
                "`version` says which is installed, and `state: absent` that none is",
                "leave one of them out",
            )),
            PackageState::Latest if !version.ends_with('*') => invalid.push(Invalid::new(
                "version",
                "`version` says which is installed, and `state: latest` that it is the newest",
                "leave one of them out, or give the newest of some: `version: \"1.22.*\"`",
            )),
            _ => {}
        }
        invalid
    }
}
