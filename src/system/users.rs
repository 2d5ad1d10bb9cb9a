//! Users and groups: from /etc/passwd and /etc/group, then from `getent`, which knows the other
//! sources (LDAP, sssd) that a static program cannot load.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::System;
use super::commands::Invocation;
use crate::failure::Failure;

/// An entry of passwd(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
    /// Every group it is in, its own among them.
    pub groups: Vec<u32>,
}

impl System {
    /// The uid of a user name, or of a number written as one. None: there is no such user.
    pub fn uid(&self, owner: &str) -> Result<Option<u32>, Failure> {
        id(self.entry("passwd", owner)?, owner)
    }

    pub fn gid(&self, group: &str) -> Result<Option<u32>, Failure> {
        id(self.entry("group", group)?, group)
    }

    /// The user's name, or its number where it has none.
    pub fn user_name(&self, uid: u32) -> String {
        self.name_of("passwd", uid)
    }

    pub fn group_name(&self, gid: u32) -> String {
        self.name_of("group", gid)
    }

    pub fn account(&self, name: &str) -> Result<Option<Account>, Failure> {
        let Some(line) = self.entry("passwd", name)? else { return Ok(None) };
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell, ..] = fields[..] else { return Ok(None) };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { return Ok(None) };
        let mut groups = vec![gid];
        for line in self.lines_of("group")?.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, number, members] = fields[..]
                && members.split(',').any(|member| member == name)
                && let Ok(number) = number.parse()
                && !groups.contains(&number)
            {
                groups.push(number);
            }
        }
        let [name, home, shell] = [name, home, shell].map(str::to_owned);
        Ok(Some(Account { name, uid, gid, home, shell, groups }))
    }

    /// The lines of a file in /etc; none where it is not there.
    pub(super) fn lines_of(&self, database: &'static str) -> Result<Arc<str>, Failure> {
        self.shared(database, || {
            let path = self.root().join("etc").join(database);
            match self.before("read").map_err(Into::into).and_then(|()| std::fs::read(path)) {
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("".into()),
                Err(error) => Err(Failure::io(format!("reading /etc/{database}"), &error)),
            }
        })
    }

    /// The line of `name`, from the file or else from getent.
    fn entry(&self, database: &'static str, name: &str) -> Result<Option<String>, Failure> {
        let lines = self.lines_of(database)?;
        if let Some(line) = lines.lines().find(|line| line.split(':').next() == Some(name)) {
            return Ok(Some(line.to_owned()));
        }
        if name.parse::<u32>().is_ok() {
            return Ok(None);
        }
        Ok(self.getent(database, name))
    }

    fn getent(&self, database: &str, key: &str) -> Option<String> {
        // busybox systems have no getent, and then no other sources either.
        if !self.is_whole_machine() {
            return None;
        }
        let output = self.run(&Invocation::new(["getent", database, key])).ok()?;
        output.succeeded().then(|| output.stdout.lines().next().map(str::to_owned))?
    }

    fn name_of(&self, database: &'static str, number: u32) -> String {
        let number = number.to_string();
        // What cannot be read names nobody.
        let lines = self.lines_of(database).unwrap_or_else(|_| "".into());
        let found = lines.lines().find(|line| line.split(':').nth(2) == Some(&number));
        let found = found.map(str::to_owned).or_else(|| self.getent(database, &number));
        found.and_then(|line| line.split(':').next().map(str::to_owned)).unwrap_or(number)
    }
}

fn id(line: Option<String>, name: &str) -> Result<Option<u32>, Failure> {
    match line {
        Some(line) => {
            let number = line.split(':').nth(2).unwrap_or_default();
            number
                .parse()
                .map(Some)
                .map_err(|_| Failure::new(format!("the entry of {name} has no number: `{line}`")))
        }
        None => Ok(name.parse().ok()),
    }
}

impl Account {
    /// Makes `command` run as this user, with its environment.
    pub fn put_on(&self, command: &mut Command) {
        use rustix::process::{Gid, Uid, geteuid};
        use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        if geteuid() != uid {
            let become_it = move || {
                set_thread_groups(&groups)?;
                set_thread_gid(gid)?;
                set_thread_uid(uid)?;
                Ok(())
            };
            // SAFETY: between fork and exec only three system calls are made, on a vector that
            // was allocated before the fork. `Command::uid` would drop the other groups.
            unsafe { command.pre_exec(become_it) };
        }
        command.env("HOME", &self.home).env("USER", &self.name).env("LOGNAME", &self.name);
        command.env("SHELL", &self.shell);
    }
}
