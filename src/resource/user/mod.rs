//! `user`: an account of this machine, its groups, its home and its password.

mod change;
mod drift;
mod home;
mod password;
mod remove;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::account_tools::kit;
use super::common::{Presence, is_false, yes};
use super::group::no_number;
use super::{Action, AnyResource, Check, Failure, Invalid, Links, Needed, Resource, Thing};
use crate::attribute::{AbsPath, AccountName};
use crate::system::System;
use crate::system::readings::Reading;
pub use home::label;

/// An account of this machine, in /etc/passwd.
///
/// What is not declared is left alone: of an account that is there, and of a new one as `useradd`
/// makes it on that system. Its groups come before it, where they are declared, and what it owns,
/// its authorized keys and its crontab come after it; where it is to be gone, the other way round.
///
/// It takes root, and the tools of the shadow suite (`useradd`; the package passwd on Debian,
/// shadow-utils on Fedora, shadow elsewhere), or else busybox's (Alpine): these make and remove
/// accounts, memberships and passwords, and cannot change anything else. Accounts are changed one
/// after the other; where another program has locked /etc/passwd, it is waited for as long as
/// `timeout`. An account that comes from elsewhere (LDAP, sssd) cannot be changed here, and is a
/// failure.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["uid", "group", "groups", "home", "create_home", "shell", "comment", "system", "password_hash", "locked"])))]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its login name.
    #[serde(rename = "user")]
    pub name: AccountName,

    /// `absent`: the account is removed, out of all groups, and with the group of its name where
    /// that is its own, nobody else is in it and no resource declares it. A user that still has
    /// processes (a session, a service) is a failure that names them. What the user owns stays, its
    /// home too without `remove_home`.
    #[serde(default)]
    pub state: Presence,

    /// Its number. Without it, a new account gets the next one that is free. When it changes, what
    /// the user owns in its home goes along; files elsewhere keep the old number, and belong to
    /// nobody then. It cannot change while the user has processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,

    /// Its own (primary) group: a name or a number. Without it, a new account gets the group of
    /// its own name, which is made with it where it is not there and the system does so (else `users`).
    /// When it changes, what belongs to the old group in the user's home goes along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,

    /// Other groups that it is in. With `append: true` (the default) it is added to those that it
    /// is not in yet, and stays in all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,

    /// `false`: it is in `groups`, in its own group and in no other. The other members of a group
    /// stay in any case.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    #[cfg_attr(feature = "controller", schemars(skip_serializing_if = "crate::attribute::schema::never"))]
    pub append: bool,

    /// Its home directory. Without it, that of an account that is there stays, and a new one gets
    /// /home/NAME (what /etc/default/useradd says). When it changes, nothing is moved: the new one
    /// is made as for a new account where it is not there, and the old one is left with all that is
    /// in it. It cannot change while the user has processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<AbsPath>,

    /// Make the home where it is not there: a copy of /etc/skel, which the user owns, with the mode
    /// that /etc/login.defs says (`HOME_MODE`, `UMASK`). It appears whole. A directory that is
    /// there is left as it is, whoever owns it: declare it as a `directory` too where that is to be
    /// held, which comes after the user. Its parent directory must be there, or be declared. The
    /// default is true unless `system`; an account of the system that is there already (its uid is
    /// outside `UID_MIN` to `UID_MAX` of /etc/login.defs) gets none either, unless this, `home` or
    /// `uid` is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_home: Option<bool>,

    /// Its login shell: a path, which need not exist yet. /usr/sbin/nologin keeps it from
    /// logging in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<AbsPath>,

    /// What the account is for, or the person's name (the GECOS field).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,

    /// A new account gets its uid from those of the system (below 1000), and no home unless
    /// `create_home`. Of an account that is there it says nothing else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub system: bool,

    /// The hash of its password, as `openssl passwd -6` or `mkpasswd` print it, or `*` for none, so
    /// that it can log in with a key alone. It is on no command line and is never shown. Without
    /// it, the password stays as it is, and a new account has none. A password that is locked stays
    /// locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "controller", schemars(with = "Option<password::Spelling>"))]
    pub password_hash: Option<String>,

    /// Whether its password is locked (`usermod -L`): then no password is right. Keys still let it
    /// in where sshd has `UsePAM yes`, as distributions do. Without it, that stays as it is; a new
    /// account has no password, and counts as locked, until it gets a `password_hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,

    /// With `state: absent`: remove its home with all that is in it, and its mail, before the
    /// account. Only where the user owns that directory; never through a link, nothing that the
    /// system or another user lives in, and not where something is mounted in it: these are
    /// failures, and nothing is touched.
    #[serde(default, skip_serializing_if = "is_false")]
    pub remove_home: bool,

    /// A resource declares the group of its name, which is not to go with it. Filled in by the loader.
    #[serde(default, rename = "_keeps_group", skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub keeps_group: bool,
}

fn is_true(value: &bool) -> bool {
    *value
}

/// Without the hash of its password.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("state", &self.state).finish_non_exhaustive()
    }
}

impl User {
    pub const SECRETS: &'static [&'static str] = &["password_hash"];

    pub const EXAMPLE: &'static str = "\
- user: app
  system: true
  home: /srv/app
  shell: /usr/sbin/nologin
";

    fn login(&self) -> &str {
        self.name.as_str()
    }

    /// As far as the spec alone says it: what useradd makes of it on nearly every system.
    fn usual_home(&self) -> Option<AbsPath> {
        let usual = || match self.login() {
            "root" => "/root".parse().ok(),
            name => format!("/home/{name}").parse().ok(),
        };
        self.home.clone().or_else(usual)
    }

    fn makes_home(&self) -> bool {
        self.create_home.unwrap_or(!self.system)
    }
}

impl Resource for User {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn links(&self) -> Links {
        let mut links = Links::default().provides(Thing::User(self.name.to_string()));
        let is_removal = self.state == Presence::Absent;
        links = links.removal(is_removal);
        // Without a `group` it is the one of its name, where there is one.
        let own = self.group.clone().unwrap_or_else(|| self.name.to_string());
        links = links.stands_on(Thing::Group(own), "its group");
        for group in self.groups.iter().flatten() {
            links = links.stands_on(Thing::Group(group.clone()), "a group it is in");
        }
        if let Some(home) =
            self.usual_home().filter(|_| if is_removal { self.remove_home } else { self.makes_home() })
        {
            links = links.provides(Thing::Path(home.clone())).provides(Thing::Home(home.clone()));
            if !is_removal {
                links = links.stands_on(Thing::Path(home.clone()), "the place of its home");
            }
            if let Some(parent) = home.parent().filter(|_| !is_removal) {
                links = links.stands_on(Thing::Path(parent), "the directory of its home");
            }
        }
        links
    }

    fn reads(&self) -> Option<Reading> {
        Some(System::elsewhere(self.login()))
    }

    fn can_wait() -> bool {
        false
    }

    fn looks_around(&self) -> bool {
        self.state == Presence::Absent
    }

    fn look_around(&mut self, others: &[&AnyResource]) {
        self.keeps_group = others.iter().any(|other| {
            matches!(other, AnyResource::Group(group) if group.name == self.name && group.state == Presence::Present)
        });
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        if self.state == Presence::Absent {
            let said = [
                ("uid", self.uid.is_some()),
                ("group", self.group.is_some()),
                ("groups", self.groups.is_some()),
                ("home", self.home.is_some()),
                ("create_home", self.create_home.is_some()),
                ("shell", self.shell.is_some()),
                ("comment", self.comment.is_some()),
                ("system", self.system),
                ("password_hash", self.password_hash.is_some()),
                ("locked", self.locked.is_some()),
            ];
            for (name, _) in said.iter().filter(|(_, given)| *given) {
                invalid.push(Invalid::new(
                    name,
                    format!("`{name}` says something of a user that `state: absent` says is gone"),
                    "leave one of them out",
                ));
            }
            if self.login() == "root" {
                let help = "lock it where nobody is to log in as root: `locked: true`";
                invalid.push(Invalid::new("state", "the user root cannot be absent", help));
            }
        } else if self.remove_home {
            let what =
                "`remove_home` says what becomes of the home of a user that is gone, and this one is not";
            invalid.push(Invalid::new("remove_home", what, "add `state: absent`, or leave it out"));
        }
        if !self.append && self.groups.is_none() {
            invalid.push(Invalid::lack(
                "append",
                "`append: false` says that it is in `groups` and no other, and there are none",
                "add `groups` (`groups: []` for none at all), or leave `append` out",
            ));
        }
        invalid.extend(no_number("uid", self.uid));
        for (name, groups) in
            [("group", self.group.as_slice()), ("groups", self.groups.as_deref().unwrap_or_default())]
        {
            for group in groups.iter().filter(|group| group.parse::<u32>().is_err()) {
                if let Err(why) = group.parse::<AccountName>() {
                    let (what, help) = why.rsplit_once(": ").unwrap_or((&why, "write its name"));
                    invalid.push(Invalid::new(name, what, help));
                }
            }
        }
        if let Some(comment) = &self.comment
            && comment.contains([':', '\n', '\r', '\0'])
        {
            let what = "no comment can hold `:` or a line break, which end it in /etc/passwd";
            invalid.push(Invalid::new("comment", what, "write it on one line without `:`"));
        }
        for (name, path) in [("home", &self.home), ("shell", &self.shell)] {
            if path.as_ref().is_some_and(|path| path.as_str().contains([':', '\n'])) {
                let what = format!("no `{name}` can hold `:` or a line break, which end it in /etc/passwd");
                invalid.push(Invalid::new(name, what, "choose another path"));
            }
        }
        invalid.extend(self.password_hash.as_deref().and_then(password::judge));
        if self.locked == Some(false) && self.password_hash.as_deref() == Some("*") {
            let what = "`locked: false` says that its password lets somebody in, and `*` is a password that nobody knows";
            invalid.push(Invalid::new("locked", what, "leave `locked` out"));
        }
        invalid
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let accounts = system.accounts()?;
        let there = accounts.user(self.login());
        if self.state == Presence::Absent {
            return there.map_or(Ok(Check::Holds), |there| self.check_absent(system, &accounts, there));
        }
        let mut needed = match there {
            Some(there) => self.drift(system, &accounts, there)?,
            None => self.creation(system, &accounts)?,
        };
        if needed.changes.is_empty() {
            return Ok(Check::Holds);
        }
        needed.lacks.extend(kit(system).err());
        Ok(Check::Needs(needed))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        match needed.action {
            Action::Remove => self.remove(system),
            _ => self.make_so(system, needed),
        }
    }
}
