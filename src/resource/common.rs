//! What several types share: their `state`, and owner, group and mode.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::text::Siblings;
use super::{Change, Failure, Lack, Links, Thing};
use crate::attribute::{AbsPath, Mode};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta};

/// `state: present | absent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    #[default]
    Present,
    Absent,
}

/// What the spec declares around a path. Filled in by the loader.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Surroundings {
    /// The nearest declared path above it: what is missing below that is made with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<AbsPath>,
    #[serde(default)]
    pub handed: HandedDown,
    /// For `recurse`: what has a resource of its own below it; true: with all that is in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub below: BTreeMap<AbsPath, bool>,
    /// For a part of a file: the others that go to the same place in it.
    #[serde(default, skip_serializing_if = "Siblings::is_empty")]
    pub siblings: Siblings,
}

/// What directories with `recurse` say of all that lies below them: it holds for what a resource
/// there does not say itself, so that a new file is right at once.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct HandedDown {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

impl Surroundings {
    pub fn is_empty(&self) -> bool {
        *self == Surroundings::default()
    }
}

pub fn yes() -> bool {
    true
}

pub fn is_false(value: &bool) -> bool {
    !value
}

/// Owner, group and mode as declared: what is None is left alone.
#[derive(Clone, Copy)]
pub struct Ownership<'a> {
    pub owner: Option<&'a str>,
    pub group: Option<&'a str>,
    pub mode: Option<Mode>,
}

/// What is declared, in numbers, and what of it the machine does not know yet.
pub struct Resolved {
    pub access: Access,
    pub lacks: Vec<Lack>,
}

impl Ownership<'_> {
    pub fn resolve(&self, system: &System) -> Result<Resolved, Failure> {
        let mut lacks = Vec::new();
        let uid = match self.owner {
            None => None,
            Some(owner) => system.uid(owner)?.or_else(|| {
                lacks.push(Lack {
                    thing: Thing::User(owner.to_owned()),
                    what: format!("there is no user {owner}"),
                    help: format!("declare it: `- user: {owner}`, or correct `owner`"),
                });
                None
            }),
        };
        let gid = match self.group {
            None => None,
            Some(group) => system.gid(group)?.or_else(|| {
                lacks.push(Lack {
                    thing: Thing::Group(group.to_owned()),
                    what: format!("there is no group {group}"),
                    help: format!("declare it: `- group: {group}`, or correct `group`"),
                });
                None
            }),
        };
        Ok(Resolved { access: Access { uid, gid, mode: self.mode }, lacks })
    }

    /// The differences to what is there; all that is declared where nothing is.
    pub fn changes(&self, system: &System, resolved: &Resolved, there: Option<&Meta>) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(owner) = self.owner {
            let known = resolved.access.uid;
            if known.is_none() || there.is_none_or(|there| Some(there.uid) != known) {
                let from = there.map(|there| system.user_name(there.uid));
                changes.push(Change::new("owner", from, Some(owner.to_owned())));
            }
        }
        if let Some(group) = self.group {
            let known = resolved.access.gid;
            if known.is_none() || there.is_none_or(|there| Some(there.gid) != known) {
                let from = there.map(|there| system.group_name(there.gid));
                changes.push(Change::new("group", from, Some(group.to_owned())));
            }
        }
        if let Some(mode) = self.mode
            && there.is_none_or(|there| there.mode != mode)
        {
            let from = there.map(|there| there.mode.to_string());
            changes.push(Change::new("mode", from, Some(mode.to_string())));
        }
        changes
    }

    /// Who owns it comes before it.
    pub fn link(&self, mut links: Links) -> Links {
        if let Some(owner) = self.owner {
            links = links.stands_on(Thing::User(owner.to_owned()), "its owner");
        }
        if let Some(group) = self.group {
            links = links.stands_on(Thing::Group(group.to_owned()), "its group");
        }
        links
    }
}

/// Only what `changes` names is set: what is right already stays untouched.
pub fn only_changed(access: Access, changes: &[Change]) -> Access {
    let has = |attribute: &str| changes.iter().any(|change| change.attribute == attribute);
    let (owner, group) = (has("owner"), has("group"));
    Access {
        uid: access.uid.filter(|_| owner),
        gid: access.gid.filter(|_| group),
        // chown clears setuid and setgid: the mode is set again after it.
        mode: access.mode.filter(|_| owner || group || has("mode")),
    }
}

/// For a file that takes the place of `old`: what is not declared is as it was there. As where only the
/// owner or the group changes, nobody else is given setuid and setgid bits that are not declared.
pub fn in_place_of(declared: Access, old: Option<&Meta>) -> Access {
    let Some(old) = old else { return declared };
    let (uid, gid) = (declared.uid.unwrap_or(old.uid), declared.gid.unwrap_or(old.gid));
    let is_anothers = (uid, gid) != (old.uid, old.gid);
    let bits = if is_anothers { old.mode.bits() & !0o6000 } else { old.mode.bits() };
    Access { uid: Some(uid), gid: Some(gid), mode: declared.mode.or(Some(Mode::from_bits(bits))) }
}

/// Something of another kind lies at `path`.
pub fn in_the_way(path: &AbsPath, there: Kind, wanted: &str) -> Failure {
    Failure::new(format!("{path} is {there}, and {wanted} is declared"))
        .help("move it away, or let converge replace it with `force: true`")
}

/// The same for a type that never replaces it.
pub fn blocks_the_way(path: &AbsPath, there: Kind, wanted: &str) -> Failure {
    Failure::new(format!("{path} is {there}, and {wanted} is declared"))
        .help(format!("move it away, or remove it: {path} is never replaced by another kind"))
}

/// The directory that `path` would be made in is not there; `missing` is the topmost one of
/// those on the way that are not, and all of them have to be.
pub fn no_parent(path: &AbsPath, missing: &AbsPath) -> Lack {
    // Behind a link on the way it has another name.
    let wanted = path.parent().filter(|_| path.is_below(missing)).unwrap_or_else(|| missing.clone());
    Lack { what: format!("its directory {missing} does not exist"), ..no_directory(&wanted) }
}

/// A directory that something stands on is not there.
pub fn no_directory(path: &AbsPath) -> Lack {
    Lack {
        thing: Thing::Path(path.clone()),
        what: format!("its directory {path} does not exist"),
        help: format!("declare it: `- directory: {path}`"),
    }
}

/// A user or group that is still missing when the changes are to be made.
pub fn nothing_lacking(lacks: &[Lack]) -> Result<(), Failure> {
    match lacks.first() {
        None => Ok(()),
        Some(lack) => Err(Failure::new(lack.what.clone()).help(lack.help.clone())),
    }
}
