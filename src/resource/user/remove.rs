//! Takes an account away, and its home where that is declared.

use super::User;
use super::home::Defaults;
use crate::attribute::AbsPath;
use crate::resource::account_tools::{self, Kit, kit, kit_or_failure};
use crate::resource::{Action, Change, Check, Failure, Needed};
use crate::system::System;
use crate::system::accounts::{Accounts, LocalUser};
use crate::system::commands::Invocation;
use crate::system::files::{Kind, Meta, Seen};

/// Directories that belong to no user, whatever /etc/passwd says.
const SYSTEM: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/mail",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// So many of a user's processes are named.
const NAMED: usize = 5;

impl User {
    pub(super) fn check_absent(
        &self,
        system: &System,
        accounts: &Accounts,
        there: &LocalUser,
    ) -> Result<Check, Failure> {
        let mut changes = vec![Change::from_to("state", "present", "absent")];
        if self.remove_home
            && let Some(home) = removable_home(system, accounts, there)?
        {
            changes.push(Change::new("remove_home", Some(home.to_string()), None));
        }
        let lacks = kit(system).err().into_iter().collect();
        Ok(Check::Needs(Needed { action: Action::Remove, changes, lacks }))
    }

    pub(super) fn remove(&self, system: &System) -> Result<(), Failure> {
        let kit = kit_or_failure(system)?;
        let _turn = system.turn("accounts")?;
        let system = &system.anew();
        let accounts = system.accounts()?;
        let name = self.login();
        let Some(there) = accounts.user(name) else { return Ok(()) };
        self.nothing_running(system, there)?;
        // Before the account: with it gone, nobody would know whose home that was.
        if self.remove_home {
            if let Some(home) = removable_home(system, &accounts, there)? {
                system.remove_tree(&home)?;
            }
            remove_mail(system, there)?;
        }
        let tool = if kit == Kit::Shadow { "userdel" } else { "deluser" };
        account_tools::run(system, &Invocation::new([tool, name]))?;
        self.keep_group(system, kit, &accounts)
    }

    fn nothing_running(&self, system: &System, there: &LocalUser) -> Result<(), Failure> {
        let running = system.processes_of(there.uid);
        if running.is_empty() {
            return Ok(());
        }
        let mut named: Vec<String> = running
            .iter()
            .take(NAMED)
            .map(|process| format!("{} ({})", process.pid, process.argv.join(" ")))
            .collect();
        if running.len() > NAMED {
            named.push(format!("and {} more", running.len() - NAMED));
        }
        let name = self.login();
        Err(Failure::new(format!("the user {name} still has processes, and is not removed: {}", named.join(", ")))
            .help(format!(
                "stop them first: a service with `- unit: …` and `state: inactive`, on which this depends; `loginctl terminate-user {name}` ends its sessions, `pkill -u {name}` the rest"
            )))
    }

    /// userdel takes the group of a user's name along. One that is declared stays, with its number.
    fn keep_group(&self, system: &System, kit: Kit, before: &Accounts) -> Result<(), Failure> {
        let name = self.login();
        let Some(group) = before.groups.iter().find(|group| self.keeps_group && group.name == name) else {
            return Ok(());
        };
        if system.anew().accounts()?.groups.iter().any(|group| group.name == name) {
            return Ok(());
        }
        let tool = if kit == Kit::Shadow { "groupadd" } else { "addgroup" };
        let gid = group.gid.to_string();
        account_tools::run(system, &Invocation::new([tool, "-g", &gid, name])).map(drop)
    }
}

/// The home to remove; None where there is none. Err: it is none that may be removed.
fn removable_home(
    system: &System,
    accounts: &Accounts,
    there: &LocalUser,
) -> Result<Option<AbsPath>, Failure> {
    let kept = |why: String| {
        Failure::new(format!("the home of {} is not removed: {why}", there.name)).help(
            "leave `remove_home` out; what is to go is declared as a `directory` with `state: absent` and `force: true`",
        )
    };
    let home: AbsPath = match there.home.parse() {
        Ok(home) => home,
        Err(_) if there.home.is_empty() => return Ok(None),
        Err(why) => return Err(kept(why)),
    };
    let meta = match system.see_to_remove(&home)? {
        Seen::There(meta) => meta,
        Seen::Absent | Seen::NoParent(_) => return Ok(None),
    };
    if SYSTEM.contains(&home.as_str()) {
        return Err(kept(format!("{home} is the system's")));
    }
    if meta.kind != Kind::Directory {
        return Err(kept(format!("{home} is {}", meta.kind)));
    }
    if meta.uid != there.uid {
        return Err(kept(format!("{home} belongs to {}", system.user_name(meta.uid))));
    }
    let lives_there = |other: &&LocalUser| {
        let other_home = other.home.parse::<AbsPath>();
        other.name != there.name && other_home.is_ok_and(|other| other == home || other.is_below(&home))
    };
    match accounts.users.iter().find(lives_there) {
        Some(other) => Err(kept(format!("{} lives in {} too", other.name, other.home))),
        None => Ok(Some(home)),
    }
}

fn remove_mail(system: &System, there: &LocalUser) -> Result<(), Failure> {
    let Ok(mail) = format!("{}/{}", Defaults::read(system)?.mail, there.name).parse::<AbsPath>() else {
        return Ok(());
    };
    match system.see_to_remove(&mail)? {
        Seen::There(Meta { kind: Kind::File, uid, .. }) if uid == there.uid => system.remove_file(&mail),
        _ => Ok(()),
    }
}
