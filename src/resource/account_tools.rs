//! The programs that change users and groups: those of the shadow suite, or busybox's where there
//! are no others. They take turns, and wait for whoever else holds the lock of /etc/passwd.

use std::time::Duration;

use super::{Failure, Lack, Thing};
use crate::system::System;
use crate::system::commands::{Invocation, Output};

/// How often a lock that another program holds is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// Whose tools there are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kit {
    Shadow,
    /// They make and remove accounts and memberships, and change nothing else.
    Busybox,
}

/// The kit of this machine; Err: what is missing.
pub fn kit(system: &System) -> Result<Kit, Lack> {
    if system.find_tool("useradd").is_some() {
        return Ok(Kit::Shadow);
    }
    if system.is_busybox("adduser") {
        return Ok(Kit::Busybox);
    }
    Err(missing(system, "useradd"))
}

/// A tool that is not there, as a lack: the package may come first.
pub fn missing(system: &System, tool: &str) -> Lack {
    let what = format!("`{tool}` is not installed here");
    match system.package_of(tool) {
        Some(package) => Lack {
            thing: Thing::Package(package.to_owned()),
            what,
            help: format!("declare it: `- package: {package}`"),
        },
        None => Lack { thing: Thing::Package(tool.to_owned()), what, help: system.way_to(tool) },
    }
}

pub fn kit_or_failure(system: &System) -> Result<Kit, Failure> {
    if system.is_whole_machine() && !rustix::process::geteuid().is_root() {
        return Err(Failure::new("only root can change users and groups")
            .help("give the host `become: sudo`, or run converge as root"));
    }
    kit(system).map_err(|lack| Failure::new(lack.what).help(system.way_to("useradd")))
}

/// What busybox has no tool for.
pub fn busybox_cannot(system: &System, what: &str) -> Failure {
    let package = system.package_of("usermod").unwrap_or("shadow");
    Failure::new(format!("busybox cannot {what}, and there is no `usermod` here"))
        .help(format!("install it: the package {package} has it"))
}

/// Runs a tool that must succeed; while another program holds its locks, again and again. Without
/// its locks it has changed nothing.
pub fn run(system: &System, invocation: &Invocation) -> Result<Output, Failure> {
    loop {
        let output = system.run(invocation)?;
        if output.succeeded() {
            return Ok(output);
        }
        let Some(file) = locked_file(&output.stderr) else {
            return Err(output.failure(format!("`{}`", invocation.shown())));
        };
        if system.time_left() < PAUSE * 2 {
            return Err(Failure::new(format!(
                "{file} is locked by another program, and stayed so for all of its timeout"
            ))
            .help(format!(
                "{file}.lock holds the pid of who has it: wait for that (vipw, another useradd), or remove the lock where no such process is left"
            ))
            .detail("stderr", output.stderr.trim_end()));
        }
        std::thread::sleep(PAUSE);
    }
}

/// `useradd: cannot lock /etc/passwd; try again later.`
fn locked_file(stderr: &str) -> Option<&str> {
    let (_, rest) = stderr.split_once("cannot lock ")?;
    rest.split([';', '\n']).next().map(str::trim).filter(|file| !file.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As useradd, groupadd and chpasswd of shadow 4.13 say it.
    #[test]
    fn a_lock_that_another_holds_is_told_from_other_failures() {
        for (stderr, file) in [
            (
                "useradd: existing lock file /etc/passwd.lock without a PID\nuseradd: cannot lock /etc/passwd; try again later.\n",
                Some("/etc/passwd"),
            ),
            ("groupadd: cannot lock /etc/group; try again later.", Some("/etc/group")),
            ("chpasswd: cannot lock /etc/shadow; try again later.", Some("/etc/shadow")),
            ("useradd: user 'app' already exists\n", None),
            ("", None),
        ] {
            assert_eq!(locked_file(stderr), file, "{stderr}");
        }
    }
}
