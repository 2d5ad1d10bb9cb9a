//! Makes an account what is declared.

use std::collections::BTreeSet;

use super::drift::Memberships;
use super::password::{Deed, Field};
use super::{User, home};
use crate::attribute::AbsPath;
use crate::resource::account_tools::{self, Kit, busybox_cannot, kit_or_failure};
use crate::resource::common::nothing_lacking;
use crate::resource::{Failure, Needed};
use crate::system::System;
use crate::system::accounts::{Accounts, LocalUser};
use crate::system::commands::Invocation;

impl User {
    pub(super) fn make_so(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let kit = kit_or_failure(system)?;
        let _turn = system.turn("accounts")?;
        let system = &system.anew();
        let accounts = system.accounts()?;
        let memberships = self.memberships(system, &accounts)?;
        nothing_lacking(&memberships.lacks)?;
        match accounts.user(self.login()) {
            None => self.create(system, kit, &accounts, &memberships)?,
            Some(there) => {
                // The rest of what it is not is found by the check that follows.
                let is_off = needed.changes.iter().any(|change| change.attribute == "state");
                if !is_off {
                    self.modify(system, kit, &accounts, there, &memberships, needed)?;
                }
            }
        }
        let system = &system.anew();
        let accounts = system.accounts()?;
        let there = accounts.user(self.login()).ok_or_else(|| {
            Failure::new(format!("the user {} was made, and is not in /etc/passwd", self.name))
        })?;
        self.set_password(system, kit, there)?;
        if needed.has("create_home")
            && let Some(home) = self.home.clone().or_else(|| there.home.parse::<AbsPath>().ok())
        {
            home::make(system, there, &home)?;
        }
        Ok(())
    }

    fn create(
        &self,
        system: &System,
        kit: Kit,
        accounts: &Accounts,
        memberships: &Memberships,
    ) -> Result<(), Failure> {
        let name = self.login();
        // Where there is a group of its name, useradd wants to be told that it is meant.
        let own = self.group.as_deref().and_then(|group| accounts.group(group));
        let own =
            own.or_else(|| accounts.groups.iter().find(|group| self.group.is_none() && group.name == name));
        let uid = self.uid.map(|uid| uid.to_string());
        let groups = comma(&memberships.wanted);
        // The home is made afterwards, whole.
        let mut argv = match kit {
            Kit::Shadow => vec!["useradd", "-M"],
            Kit::Busybox => vec!["adduser", "-D", "-H"],
        };
        let option = |argv: &mut Vec<&str>, shadow: &'static str, busybox: &'static str| {
            argv.push(if kit == Kit::Shadow { shadow } else { busybox });
        };
        if self.system {
            option(&mut argv, "-r", "-S");
        }
        if let Some(uid) = &uid {
            argv.extend(["-u", uid]);
        }
        if let Some(own) = own {
            option(&mut argv, "-g", "-G");
            argv.push(&own.name);
        }
        if let Some(home) = &self.home {
            option(&mut argv, "-d", "-h");
            argv.push(home.as_str());
        }
        match &self.shell {
            Some(shell) => argv.extend(["-s", shell.as_str()]),
            // It would take that of whoever runs converge.
            None if kit == Kit::Busybox && !self.system => argv.extend(["-s", "/bin/sh"]),
            None => {}
        }
        if let Some(comment) = &self.comment {
            option(&mut argv, "-c", "-g");
            argv.push(comment);
        }
        if kit == Kit::Shadow && !memberships.wanted.is_empty() {
            argv.extend(["-G", &groups]);
        }
        argv.push(name);
        account_tools::run(system, &Invocation::new(argv))?;
        if kit == Kit::Busybox {
            for group in &memberships.wanted {
                account_tools::run(system, &Invocation::new(["addgroup", name, group]))?;
            }
        }
        Ok(())
    }

    fn modify(
        &self,
        system: &System,
        kit: Kit,
        accounts: &Accounts,
        there: &LocalUser,
        memberships: &Memberships,
        needed: &Needed,
    ) -> Result<(), Failure> {
        let name = self.login();
        let is_in = accounts.groups_with(there);
        let missing: BTreeSet<String> = memberships.wanted.difference(&is_in).cloned().collect();
        let surplus: BTreeSet<String> = is_in.difference(&memberships.wanted).cloned().collect();
        if kit == Kit::Busybox {
            return self.modify_with_busybox(system, &missing, &surplus, needed);
        }
        let uid = self.uid.map(|uid| uid.to_string());
        let mut argv: Vec<&str> = Vec::new();
        if let Some(uid) = uid.as_deref().filter(|_| needed.has("uid")) {
            argv.extend(["-u", uid]);
        }
        let own = self.group.as_deref().and_then(|group| accounts.group(group));
        if let Some(own) = own.filter(|_| needed.has("group")) {
            argv.extend(["-g", &own.name]);
        }
        let groups =
            if self.append { comma(&missing) } else { comma(&self.exactly(accounts, there, memberships)) };
        if needed.has("groups") {
            argv.extend(if self.append { &["-a", "-G"][..] } else { &["-G"] });
            argv.push(&groups);
        }
        if let Some(home) = self.home.as_ref().filter(|_| needed.has("home")) {
            argv.extend(["-d", home.as_str()]);
        }
        if let Some(shell) = self.shell.as_ref().filter(|_| needed.has("shell")) {
            argv.extend(["-s", shell.as_str()]);
        }
        if let Some(comment) = self.comment.as_ref().filter(|_| needed.has("comment")) {
            argv.extend(["-c", comment]);
        }
        if argv.is_empty() {
            return Ok(());
        }
        let whole = std::iter::once("usermod").chain(argv).chain([name]);
        account_tools::run(system, &Invocation::new(whole)).map(drop).map_err(|failure| {
            if failure.reason.contains("is currently used by process") {
                return failure.help(format!("its processes must end first: `loginctl terminate-user {name}` ends its sessions, `pkill -u {name}` the rest"));
            }
            failure
        })
    }

    /// With `-G` a user is in no other: a line of its own group that names it too stays as it is.
    fn exactly(&self, accounts: &Accounts, there: &LocalUser, memberships: &Memberships) -> BTreeSet<String> {
        let own = accounts.group_of_gid(memberships.own_gid.unwrap_or(there.gid));
        let mut exactly = memberships.wanted.clone();
        exactly.extend(own.filter(|own| own.members.contains(&there.name)).map(|own| own.name.clone()));
        exactly
    }

    fn modify_with_busybox(
        &self,
        system: &System,
        missing: &BTreeSet<String>,
        surplus: &BTreeSet<String>,
        needed: &Needed,
    ) -> Result<(), Failure> {
        let name = self.login();
        let cannot = ["uid", "group", "home", "shell", "comment"];
        if let Some(attribute) = cannot.iter().find(|attribute| needed.has(attribute)) {
            return Err(busybox_cannot(system, &format!("change the {attribute} of a user")));
        }
        if needed.has("groups") {
            for group in missing {
                account_tools::run(system, &Invocation::new(["addgroup", name, group]))?;
            }
            for group in surplus.iter().filter(|_| !self.append) {
                account_tools::run(system, &Invocation::new(["delgroup", name, group]))?;
            }
        }
        Ok(())
    }

    /// By standard input: what is on a command line can be read by everybody.
    fn set_password(&self, system: &System, kit: Kit, there: &LocalUser) -> Result<(), Failure> {
        if self.password_hash.is_none() && self.locked.is_none() {
            return Ok(());
        }
        let text = system.password_of(there)?;
        let name = self.login();
        let (lock, unlock) = match kit {
            Kit::Shadow => (["usermod", "-L", name], ["usermod", "-U", name]),
            Kit::Busybox => (["passwd", "-l", name], ["passwd", "-u", name]),
        };
        match self.password_deed(Field::of(&text)) {
            None => Ok(()),
            Some(Deed::Set(field)) => {
                let line = format!("{name}:{field}\n");
                account_tools::run(system, &Invocation::new(["chpasswd", "-e"]).stdin(line)).map(drop)
            }
            Some(Deed::Lock) => account_tools::run(system, &Invocation::new(lock)).map(drop),
            // Each takes one lock away.
            Some(Deed::Unlock(locks)) => {
                (0..locks).try_for_each(|_| account_tools::run(system, &Invocation::new(unlock)).map(drop))
            }
        }
    }
}

fn comma(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(",")
}
