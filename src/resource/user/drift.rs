//! What of an account is not as declared.

use std::collections::BTreeSet;

use super::home::{self, Defaults, Home};
use super::{User, password};
use crate::attribute::AbsPath;
use crate::resource::common::no_parent;
use crate::resource::group::from_elsewhere;
use crate::resource::{Action, Change, Failure, Lack, Needed, Thing};
use crate::system::System;
use crate::system::accounts::{Accounts, LocalUser};

/// What is needed of the groups: those that are declared, by name, and those that do not exist.
pub struct Memberships {
    pub own_gid: Option<u32>,
    pub wanted: BTreeSet<String>,
    pub lacks: Vec<Lack>,
}

impl User {
    pub(super) fn memberships(&self, system: &System, accounts: &Accounts) -> Result<Memberships, Failure> {
        let mut found = Memberships { own_gid: None, wanted: BTreeSet::new(), lacks: Vec::new() };
        for (attribute, name) in self
            .group
            .iter()
            .map(|group| ("group", group))
            .chain(self.groups.iter().flatten().map(|group| ("groups", group)))
        {
            match accounts.group(name) {
                Some(group) if attribute == "group" => found.own_gid = Some(group.gid),
                Some(group) => drop(found.wanted.insert(group.name.clone())),
                None if system.group_from_elsewhere(name)? => return Err(from_elsewhere("group", name)),
                None => found.lacks.push(Lack {
                    thing: Thing::Group(name.clone()),
                    what: format!("there is no group {name}"),
                    help: format!("declare it: `- group: {name}`, or correct `{attribute}`"),
                }),
            }
        }
        Ok(found)
    }

    pub(super) fn creation(&self, system: &System, accounts: &Accounts) -> Result<Needed, Failure> {
        let name = self.login();
        if system.user_from_elsewhere(name)?.is_some() {
            return Err(from_elsewhere("user", name));
        }
        self.free(accounts)?;
        if self.locked == Some(false) && self.password_hash.is_none() {
            return Err(Failure::new(
                "a new account without a password cannot be unlocked: anybody could log in",
            )
            .help("add `password_hash`, or leave `locked` out"));
        }
        let memberships = self.memberships(system, accounts)?;
        let mut changes = vec![Change::from_to("state", "absent", "present")];
        let mut add = |attribute: &str, to: Option<String>| {
            changes.extend(to.map(|to| Change::new(attribute, None, Some(to))));
        };
        add("uid", self.uid.map(|uid| uid.to_string()));
        add("group", self.group.clone());
        let groups = self.groups.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        add("groups", Some(groups).filter(|groups| !groups.is_empty()));
        add("home", self.home.as_ref().map(AbsPath::to_string));
        let mut lacks = memberships.lacks;
        if self.makes_home() {
            let home = match &self.home {
                Some(home) => home.clone(),
                None => Defaults::read(system)?.home_of(name)?,
            };
            match home::look(system, &home)? {
                Home::There => {}
                Home::Absent => add("create_home", Some(home.to_string())),
                Home::NoParent(missing) => {
                    add("create_home", Some(home.to_string()));
                    lacks.push(no_parent(&home, &missing));
                }
            }
        }
        add("shell", self.shell.as_ref().map(AbsPath::to_string));
        add("comment", self.comment.clone());
        add("password_hash", self.password_hash.as_ref().map(|_| password::DECLARED.to_owned()));
        // A new account has no password, and so is locked.
        add("locked", self.locked.filter(|_| self.password_hash.is_some()).map(|locked| locked.to_string()));
        Ok(Needed { action: Action::Create, changes, lacks })
    }

    pub(super) fn drift(
        &self,
        system: &System,
        accounts: &Accounts,
        there: &LocalUser,
    ) -> Result<Needed, Failure> {
        let memberships = self.memberships(system, accounts)?;
        let mut changes = Vec::new();
        if let Some(uid) = self.uid.filter(|uid| *uid != there.uid) {
            self.free(accounts)?;
            changes.push(Change::from_to("uid", there.uid, uid));
        }
        if let Some(group) = &self.group
            && memberships.own_gid != Some(there.gid)
        {
            changes.push(Change::from_to("group", accounts.group_name(there.gid), group));
        }
        changes.extend(self.groups_change(accounts, there, &memberships));
        if let Some(home) = self.home.as_ref().filter(|home| home.as_str() != there.home) {
            changes.push(Change::from_to("home", &there.home, home));
        }
        let mut lacks = memberships.lacks;
        if let Some(home) = self.home_to_be(system, there)? {
            let made = Change::new("create_home", None, Some(home.to_string()));
            match home::look(system, &home)? {
                Home::There => {}
                Home::Absent => changes.push(made),
                Home::NoParent(missing) => {
                    changes.push(made);
                    lacks.push(no_parent(&home, &missing));
                }
            }
        }
        if let Some(shell) = self.shell.as_ref().filter(|shell| shell.as_str() != there.shell) {
            changes.push(Change::from_to("shell", &there.shell, shell));
        }
        if let Some(comment) = self.comment.as_ref().filter(|comment| **comment != there.comment) {
            changes.push(Change::from_to("comment", &there.comment, comment));
        }
        changes.extend(self.password_changes(system, there)?);
        Ok(Needed { action: Action::Change, changes, lacks })
    }

    fn groups_change(
        &self,
        accounts: &Accounts,
        there: &LocalUser,
        memberships: &Memberships,
    ) -> Option<Change> {
        let groups = self.groups.as_ref()?;
        let is_in = accounts.groups_with(there);
        let own = accounts.group_name(memberships.own_gid.unwrap_or(there.gid));
        let mut wanted = memberships.wanted.clone();
        // Those that are not there yet.
        wanted.extend(groups.iter().filter(|group| accounts.group(group).is_none()).cloned());
        wanted.remove(&own);
        if self.append {
            wanted.extend(is_in.iter().cloned());
        }
        let told = |groups: &BTreeSet<String>| match groups.is_empty() {
            true => "none".to_owned(),
            false => groups.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        (wanted != is_in).then(|| Change::from_to("groups", told(&is_in), told(&wanted)))
    }

    /// The home of an account that is there, where it is to be made.
    fn home_to_be(&self, system: &System, there: &LocalUser) -> Result<Option<AbsPath>, Failure> {
        let is_wanted = match self.create_home {
            Some(create) => create,
            None if self.system => false,
            None if self.uid.is_some() || self.home.is_some() => true,
            None => Defaults::read(system)?.is_ordinary(there.uid),
        };
        if !is_wanted {
            return Ok(None);
        }
        if let Some(home) = &self.home {
            return Ok(Some(home.clone()));
        }
        let told = |why: String| {
            Failure::new(format!("its home in /etc/passwd cannot be made: {why}"))
                .help("declare a `home`, or `create_home: false`")
        };
        there.home.parse().map(Some).map_err(told)
    }

    /// Nobody else may have its number.
    fn free(&self, accounts: &Accounts) -> Result<(), Failure> {
        match self.uid.and_then(|uid| accounts.user_of_uid(uid)) {
            Some(other) if other.name != self.login() => {
                Err(Failure::new(format!("the uid {} is that of the user {}", other.uid, other.name)).help(
                    "give it another `uid`; where the other user is to make way, let this one depend on it",
                ))
            }
            _ => Ok(()),
        }
    }
}
