//! `group`: a group of this machine.

use serde::{Deserialize, Serialize};

use super::account_tools::{self, Kit, kit, kit_or_failure};
use super::common::{Presence, is_false, nothing_lacking};
use super::{Action, Change, Check, Failure, Invalid, Lack, Links, Needed, Resource, Thing};
use crate::attribute::AccountName;
use crate::system::System;
use crate::system::accounts::{Accounts, LocalGroup};
use crate::system::commands::Invocation;

/// A group of this machine, in /etc/group.
///
/// Who is in it is said by `groups` of each `user`, and whoever else is in it stays. A group comes
/// before the users in it and before what it owns; where it is to be gone, after the users whose
/// own group it is.
///
/// It takes root, and the tools of the shadow suite (`groupadd`; the package passwd on Debian,
/// shadow-utils on Fedora, shadow elsewhere), or else busybox's, which cannot change a `gid`. Where
/// another program has locked /etc/group, it is waited for as long as `timeout`. A group that comes
/// from elsewhere (LDAP, sssd) cannot be changed here, and is a failure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["gid", "system"])))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group's name.
    #[serde(rename = "group")]
    pub name: AccountName,

    /// `absent`: it is removed. A group that is a user's own (its primary group) cannot be, and that is
    /// a failure, unless that user goes too.
    #[serde(default)]
    pub state: Presence,

    /// Its number. Without it, a new group gets the next one that is free, and that of a group that is
    /// there stays. With another number, files keep the old one: give them their group anew
    /// with `group` of a `file` or `directory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,

    /// A new group gets its number from those of the system (below 1000). Of a group that is there it
    /// says nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub system: bool,
}

impl Group {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- group: app
- user: app
  group: app
";
}

impl Resource for Group {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn links(&self) -> Links {
        let links = Links::default().provides(Thing::Group(self.name.to_string()));
        links.removal(self.state == Presence::Absent)
    }

    fn can_wait() -> bool {
        false
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        if self.state == Presence::Absent {
            for (name, _) in
                [("gid", self.gid.is_some()), ("system", self.system)].iter().filter(|(_, given)| *given)
            {
                invalid.push(Invalid::new(
                    name,
                    format!("`{name}` says something of a group that `state: absent` says is gone"),
                    "leave one of them out",
                ));
            }
            if self.name.as_str() == "root" {
                let help = "leave it alone: the system does not work without it";
                invalid.push(Invalid::new("state", "the group root cannot be absent", help));
            }
        }
        invalid.extend(no_number("gid", self.gid));
        invalid
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let accounts = system.accounts()?;
        let there = accounts.groups.iter().find(|group| group.name == self.name.as_str());
        let mut needed = match (self.state, there) {
            (Presence::Absent, None) => return Ok(Check::Holds),
            (Presence::Absent, Some(there)) => self.removal(&accounts, there),
            (Presence::Present, Some(there)) => {
                let Some(gid) = self.gid.filter(|gid| *gid != there.gid) else { return Ok(Check::Holds) };
                self.free(&accounts)?;
                let changes = vec![Change::from_to("gid", there.gid, gid)];
                Needed { action: Action::Change, changes, lacks: Vec::new() }
            }
            (Presence::Present, None) => {
                if system.group_from_elsewhere(self.name.as_str())? {
                    return Err(from_elsewhere("group", self.name.as_str()));
                }
                self.free(&accounts)?;
                let mut changes = vec![Change::from_to("state", "absent", "present")];
                changes.extend(self.gid.map(|gid| Change::new("gid", None, Some(gid.to_string()))));
                Needed { action: Action::Create, changes, lacks: Vec::new() }
            }
        };
        needed.lacks.extend(kit(system).err());
        Ok(Check::Needs(needed))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let kit = kit_or_failure(system)?;
        let _turn = system.turn("accounts")?;
        let name = self.name.as_str();
        if needed.action == Action::Remove {
            let accounts = system.anew().accounts()?;
            let Some(there) = accounts.groups.iter().find(|group| group.name == name) else { return Ok(()) };
            nothing_lacking(&self.removal(&accounts, there).lacks)?;
            let tool = if kit == Kit::Shadow { "groupdel" } else { "delgroup" };
            return account_tools::run(system, &Invocation::new([tool, name])).map(drop);
        }
        let gid = self.gid.map(|gid| gid.to_string());
        let mut argv: Vec<&str> = match (kit, needed.action) {
            (Kit::Shadow, Action::Create) => vec!["groupadd"],
            (Kit::Busybox, Action::Create) => vec!["addgroup"],
            (Kit::Shadow, _) => vec!["groupmod"],
            (Kit::Busybox, _) => {
                return Err(account_tools::busybox_cannot(system, "change the number of a group"));
            }
        };
        argv.extend(gid.iter().flat_map(|gid| ["-g", gid]));
        if self.system && needed.action == Action::Create {
            argv.push(if kit == Kit::Shadow { "-r" } else { "-S" });
        }
        argv.push(name);
        account_tools::run(system, &Invocation::new(argv)).map(drop)
    }
}

impl Group {
    /// Nobody else may have its number.
    fn free(&self, accounts: &Accounts) -> Result<(), Failure> {
        match self.gid.and_then(|gid| accounts.group_of_gid(gid)) {
            Some(other) if other.name != self.name.as_str() => {
                Err(Failure::new(format!("the gid {} is that of the group {}", other.gid, other.name)).help(
                    "give it another `gid`; where the other group is to make way, let this one depend on it",
                ))
            }
            _ => Ok(()),
        }
    }

    fn removal(&self, accounts: &Accounts, there: &LocalGroup) -> Needed {
        let lack = |user: &str| Lack {
            thing: Thing::User(user.to_owned()),
            what: format!("{} is the own group of the user {user}, and cannot be removed", self.name),
            help: format!(
                "give {user} another one (`- user: {user}` with `group`, on which this depends), or declare that user absent too"
            ),
        };
        let lacks = accounts.whose_own(there).iter().map(|user| lack(&user.name)).collect();
        let changes = vec![Change::from_to("state", "present", "absent")];
        Needed { action: Action::Remove, changes, lacks }
    }
}

/// The number that means "none" to the system calls.
pub fn no_number(attribute: &'static str, number: Option<u32>) -> Option<Invalid> {
    let what = format!("{} stands for no {attribute} at all", u32::MAX);
    number.filter(|number| *number == u32::MAX).map(|_| Invalid::new(attribute, what, "write another number"))
}

pub fn from_elsewhere(word: &str, name: &str) -> Failure {
    Failure::new(format!("the {word} {name} is not in /etc: it comes from elsewhere (LDAP, sssd), and converge cannot change it"))
        .help(format!("change it where it comes from, and leave this {word} out; /etc/nsswitch.conf says where that is"))
}
