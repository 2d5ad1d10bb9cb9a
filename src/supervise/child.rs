//! The supervised command as a process: started in a process group of its own, signalled with all
//! that is in it, and reaped.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, wait};

use super::policy::Ending;
use crate::failure::io_words;
use crate::system::System;
use crate::system::users::Account;

/// What is started, again and again.
#[derive(Default)]
pub struct Job {
    pub argv: Vec<OsString>,
    pub directory: Option<PathBuf>,
    /// None: as the supervisor's own. It is looked up at each start, for it may come later.
    pub user: Option<String>,
    /// None: the supervisor's own. Else these variables and no others.
    pub environment: Option<Vec<(String, String)>>,
}

/// A started command: its process, which is also the number of its group.
#[derive(Clone, Copy)]
pub struct Child(Pid);

impl Job {
    pub fn start(&self) -> Result<Child, Ending> {
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(not_started("there is no command".to_owned(), 127));
        };
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        // In a group of its own it may not read from a terminal: it would be stopped.
        if rustix::termios::isatty(io::stdin()) {
            command.stdin(Stdio::null());
        }
        if self.environment.is_some() {
            command.env_clear();
        }
        if let Some(user) = &self.user {
            self.account(user)?.put_on(&mut command);
        }
        command.envs(self.environment.iter().flatten().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            if !directory.is_dir() {
                return Err(not_started(
                    format!("its directory {} does not exist", directory.display()),
                    127,
                ));
            }
            command.current_dir(directory);
        }
        let child = command.spawn().map_err(|error| {
            let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            not_started(format!("{}: {}", program.display(), io_words(&error)), code)
        })?;
        // It is reaped below, with everything else that may become a child of this process.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        pid.map(Child).ok_or_else(|| not_started("it has no process id".to_owned(), 126))
    }

    fn account(&self, user: &str) -> Result<Account, Ending> {
        match System::machine().account(user) {
            Ok(Some(account)) => Ok(account),
            Ok(None) => Err(not_started(format!("there is no user {user}"), 126)),
            Err(failure) => Err(not_started(failure.reason, 126)),
        }
    }
}

fn not_started(why: String, code: u8) -> Ending {
    Ending::NotStarted { why, code }
}

impl Child {
    pub fn pid(self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }

    /// To it and to all that it started, unless that left its group.
    pub fn signal(self, signal: Signal) {
        // It may have ended in this moment.
        let _ = kill_process_group(self.0, signal);
    }

    /// Whether anything of its group is left.
    pub fn has_group(self) -> bool {
        test_kill_process_group(self.0).is_ok()
    }

    /// Takes the exit status of every child that has ended (as process 1 of a container, those of
    /// strangers too); how this one ended, where it is among them.
    pub fn reap(self) -> Option<Ending> {
        let mut own = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let ending = status.exit_status().map(Ending::Exited);
            let ending = ending.or_else(|| status.terminating_signal().map(Ending::Killed));
            if pid == self.0 {
                own = ending;
            }
        }
        own
    }
}
