//! The guards of a command: what is to come of it, and what is asked before it runs.

use std::collections::BTreeMap;

use super::{Command, record};
use crate::attribute::{AbsPath, CommandLine, Trigger};
use crate::resource::{Change, Failure};
use crate::system::System;
use crate::system::commands::{Invocation, Output};
use crate::system::fingerprint::leads_to_nothing;

/// What `unless` says.
pub enum Unless {
    NotAsked,
    NothingToDo,
    /// How it ended, as in `exit 1`.
    Exited(String),
}

impl Command {
    /// What `creates`, `removes` and `on_change_of` declare and is not so yet.
    pub fn missing_outcomes(&self, system: &System) -> Result<Vec<Change>, Failure> {
        let mut missing = Vec::new();
        for path in &self.creates {
            if !is_there(system, path)? {
                missing.push(Change::new("creates", None, Some(path.to_string())));
            }
        }
        for path in &self.removes {
            if !is_gone(system, path)? {
                missing.push(Change::new("removes", Some(path.to_string()), None));
            }
        }
        let contents = self.contents_now(system)?;
        if !contents.is_empty() {
            let last = record::read(system, &self.record_name())?;
            for (path, content) in &contents {
                let before = last.get(path);
                if before != Some(content) {
                    // Without their hashes: of a file with a secret in it, one is worth guessing at.
                    let was = before.map(|_| format!("{path} as it was"));
                    let due = Change::new("on_change_of", was, Some(format!("{path} as it is now")));
                    missing.push(due.owed_for(std::slice::from_ref(path)));
                }
            }
        }
        Ok(missing)
    }

    /// Each trigger's path and the fingerprint of what it holds.
    pub fn contents_now(&self, system: &System) -> Result<BTreeMap<AbsPath, String>, Failure> {
        let mut contents = BTreeMap::new();
        for trigger in &self.on_change_of {
            match trigger {
                Trigger::Path(path) => contents.insert(path.clone(), system.fingerprint(path)?),
                Trigger::Reference(reference) => {
                    return Err(Failure::new(format!("`on_change_of`: {reference} stands for no path")));
                }
            };
        }
        Ok(contents)
    }

    /// Whether `only_if` lets it run.
    pub fn is_called_for(&self, system: &System) -> Result<bool, Failure> {
        match &self.only_if {
            Some(guard) => Ok(self.ask(system, "only_if", guard)?.succeeded()),
            None => Ok(true),
        }
    }

    pub fn unless_refuses(&self, system: &System) -> Result<Unless, Failure> {
        let Some(guard) = &self.unless else { return Ok(Unless::NotAsked) };
        let output = self.ask(system, "unless", guard)?;
        Ok(if output.succeeded() { Unless::NothingToDo } else { Unless::Exited(output.ending()) })
    }

    fn ask(&self, system: &System, word: &str, guard: &CommandLine) -> Result<Output, Failure> {
        let invocation = match guard {
            CommandLine::Shell(_) => Invocation::of(guard),
            // Through a shell, so that a program that is not installed (yet) is exit 127, as in a
            // string: an answer, and no failure of the plan.
            CommandLine::Argv(argv) => {
                let through = ["/bin/sh", "-c", "exec \"$@\"", "sh"].map(str::to_owned);
                Invocation::of(&CommandLine::Argv([&through[..], argv].concat()))
            }
        };
        let shown = invocation.shown();
        system.run(&self.invocation(system, invocation)?).map_err(|mut failure| {
            failure.reason = format!("{word}: {}", failure.reason.replace(&shown, &guard.to_string()));
            failure
        })
    }

    /// The record's name: the command as it would be executed, so that a changed one is another.
    pub fn record_name(&self) -> String {
        let parts = (&self.name, &self.run, &self.directory, &self.user);
        crate::attribute::sha256_hex(format!("{parts:?}").as_bytes())
    }
}

/// Links are followed: a dangling one leads to nothing.
pub fn is_there(system: &System, path: &AbsPath) -> Result<bool, Failure> {
    found(path, look(system).and_then(|()| std::fs::metadata(system.locate(path)).map(drop)))
}

/// Not even a dangling link is left.
fn is_gone(system: &System, path: &AbsPath) -> Result<bool, Failure> {
    let looked = look(system).and_then(|()| std::fs::symlink_metadata(system.locate(path)).map(drop));
    found(path, looked).map(|there| !there)
}

fn look(system: &System) -> std::io::Result<()> {
    Ok(system.before("stat")?)
}

fn found(path: &AbsPath, looked: std::io::Result<()>) -> Result<bool, Failure> {
    match looked {
        Ok(()) => Ok(true),
        Err(error) if leads_to_nothing(&error) => Ok(false),
        Err(error) => Err(Failure::io(format!("reading {path}"), &error)),
    }
}
