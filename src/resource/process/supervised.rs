//! A process where no systemd runs: a supervisor of converge's own keeps it alive, and cron starts
//! that at every boot.

use std::time::SystemTime;

use super::difference::Declared;
use super::kept::{self, Kept, Places, SUPERVISOR};
use super::standing::{Phase, Standing, State};
use super::{CALM, Process, ProcessState, RESTLESS, one_second, supervisor};
use crate::attribute::{AbsPath, CommandLine, Mode, sha256_hex};
use crate::resource::debt::{self, Ledger, Running};
use crate::resource::{Action, Change, Check, Detail, Failure, Needed, common};
use crate::system::System;
use crate::system::commands::Invocation;
use crate::system::files::{Access, Kind, Meta, Seen, tail};

/// What is to be done about the supervisor and its command.
enum Turn {
    Right,
    Wait(String),
    Change(Change),
}

impl Process {
    pub(super) fn check_supervised(&self, system: &System) -> Result<Check, Failure> {
        Process::must_be_root()?;
        let places = self.places();
        if self.state == ProcessState::Stopped {
            return self.check_none(system, &places);
        }
        let wanted = self.kept().text()?;
        let path = places.kept()?;
        let before = system.read_if_there(&path)?;
        let mut changes = self.kept_changes(before.as_deref(), &wanted);
        let has_environment = changes.iter().any(|change| change.attribute == "environment");
        if before.is_some() && !kept::is_private(system, &path)? && !has_environment {
            changes.push(kept::to_be_private());
        }
        if !supervisor::is_installed(system) {
            changes.push(Change::new("supervisor", None, Some(SUPERVISOR.to_owned())));
        }
        let mut lacks = Vec::new();
        if !self.is_in_cron(system, &places)? {
            changes.push(Change::from_to("enabled", "no", "yes"));
        }
        lacks.extend(supervisor::cron_lack(system));
        match self.turn(system, &places, &wanted)? {
            Turn::Right => {}
            Turn::Change(change) => changes.push(change),
            Turn::Wait(reason) if changes.is_empty() => return Ok(Check::passing(reason)),
            Turn::Wait(_) => {}
        }
        if changes.is_empty() {
            // Nothing of it would come back after a reboot.
            return match lacks.into_iter().next() {
                None => Ok(Check::Holds),
                Some(lack) => Err(Failure::new(lack.what).help(lack.help)),
            };
        }
        if changes.iter().any(|change| change.attribute == "state") {
            lacks.extend(self.lacks(system)?);
            self.must_have_program(system)?;
        }
        let action = match () {
            () if before.is_none() => Action::Create,
            () if changes.len() == 1 && changes[0].attribute == "state" => Action::Restart,
            () => Action::Change,
        };
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    pub(super) fn apply_supervised(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let places = self.places();
        if self.state == ProcessState::Stopped {
            return self.remove_supervised(system, &places);
        }
        common::nothing_lacking(supervisor::cron_lack(system).as_slice())?;
        kept::make_directory(system)?;
        kept::put_private(system, &places.kept()?, &self.kept().text()?)?;
        let starts = needed.has("state");
        if starts || !supervisor::is_installed(system) {
            supervisor::install(system)?;
        }
        if needed.has("enabled") {
            let access = Access { uid: Some(0), gid: Some(0), mode: Some(Mode::from_bits(0o644)) };
            system.put_file(&places.cron()?, self.cron_text(&places)?.as_bytes(), access, |_| Ok(()))?;
        }
        if !starts {
            return Ok(());
        }
        supervisor::end(system, &places)?;
        // From before the start: what changes while it starts is owed.
        let contents = debt::fingerprints(system, &debt::paths(&self.restart_on))?;
        self.start(system, &places)?;
        let after = Standing::look(system, &places)?;
        let identity = after.state.and_then(|state| state.child).map(identity).unwrap_or_default();
        let running = Running { identity, since: SystemTime::now(), reloaded: None };
        self.ledger().write(system, &running, contents)
    }

    pub(super) fn evidence_of_supervised(&self, system: &System) -> Vec<Detail> {
        let places = self.places();
        let Ok(standing) = Standing::look(system, &places) else { return Vec::new() };
        let state = Detail { title: "process state".to_owned(), text: told(system, &standing) };
        let Ok(log) = places.log() else { return vec![state] };
        let text = tail(&system.locate(&log)).unwrap_or_else(|why| format!("(cannot be had: {why})"));
        vec![state, Detail { title: log.to_string(), text }]
    }

    /// What its supervisor is to work by.
    fn kept(&self) -> Kept {
        Kept {
            process: self.name.clone(),
            command: self.command_line(),
            directory: self.directory.clone(),
            user: self.user.clone(),
            environment: self.environment.clone(),
            restart: self.restart,
            delay: self.delay,
        }
    }

    fn cron_text(&self, places: &Places) -> Result<String, Failure> {
        Ok(format!(
            "# Written by converge for process:{}\n@reboot root {}\n",
            self.name,
            CommandLine::Argv(supervisor::start_words(places)?)
        ))
    }

    /// cron reads no entry that somebody else than root might have written.
    fn is_in_cron(&self, system: &System, places: &Places) -> Result<bool, Failure> {
        let (path, wanted) = (places.cron()?, self.cron_text(places)?);
        Ok(match system.see(&path)? {
            Seen::There(Meta { kind: Kind::File, uid: 0, mode, .. }) if mode.bits() & 0o022 == 0 => {
                system.read_file(&path)? == wanted.as_bytes()
            }
            _ => false,
        })
    }

    fn ledger(&self) -> Ledger {
        Ledger::of("processes", &format!("{}.started", self.places().unit()))
    }

    fn kept_changes(&self, before: Option<&[u8]>, wanted: &[u8]) -> Vec<Change> {
        let declared = self.declared();
        let Some(bytes) = before else { return declared.changes(None) };
        // What cannot be read is no declaration.
        let Ok(old) = Kept::read(bytes) else { return declared.changes(None) };
        let old = Declared {
            command: old.command.to_string(),
            directory: old.directory.map(|directory| directory.to_string()),
            user: old.user.unwrap_or_else(|| "root".to_owned()),
            environment: old.environment,
            restart: old.restart.to_string(),
            delay: old.delay.to_string(),
        };
        let mut changes = declared.changes(Some(&old));
        if changes.is_empty() && bytes != wanted {
            changes.push(Change::from_to("description", "edited by hand", "as converge writes it"));
        }
        changes
    }

    fn turn(&self, system: &System, places: &Places, wanted: &[u8]) -> Result<Turn, Failure> {
        let standing = Standing::look(system, places)?;
        let start =
            |from: Option<String>| Turn::Change(Change::new("state", from, Some("running".to_owned())));
        let restart = |from: &str| Turn::Change(Change::from_to("state", from, debt::RENEWED));
        let Some(supervisor) = standing.supervisor else {
            let is_known = standing.state.is_some() || system.read_if_there(&places.kept()?)?.is_some();
            return Ok(start(is_known.then(|| told(system, &standing))));
        };
        let Some(state) = standing.state.as_ref().filter(|state| state.supervisor == supervisor) else {
            return Ok(Turn::Wait("its supervisor has just begun".to_owned()));
        };
        if state.kept != sha256_hex(wanted) {
            return Ok(restart("running with its old declaration"));
        }
        match state.phase {
            Phase::Waiting => return Ok(start(Some(told(system, &standing)))),
            Phase::Ending | Phase::GaveUp | Phase::Done => {
                return Ok(Turn::Wait(format!("the process is {}", told(system, &standing))));
            }
            Phase::Running => {}
        }
        let (Some(pid), Some(child)) = (standing.child(system), state.child) else {
            return Ok(Turn::Wait("its command has just ended".to_owned()));
        };
        let since = system.process_start(pid).unwrap_or_else(SystemTime::now);
        let running = Running { identity: identity(child), since, reloaded: None };
        let owed = self.ledger().owed(system, &running, &debt::paths(&self.restart_on))?;
        if !owed.is_empty() {
            return Ok(restart(&debt::told(&owed)));
        }
        let settle = if state.restarts < RESTLESS { one_second() } else { CALM };
        let age = system.process_age(pid).unwrap_or_default();
        if age < settle.get() {
            let restarted = match state.restarts {
                0 => String::new(),
                count => format!(", started again {count} times"),
            };
            return Ok(Turn::Wait(format!(
                "it runs since {:.1}s only: it must stay so for {settle}{restarted}",
                age.as_secs_f64()
            )));
        }
        Ok(Turn::Right)
    }

    /// The supervisor puts itself into a session of its own: what ends the agent's programs does
    /// not reach it.
    fn start(&self, system: &System, places: &Places) -> Result<(), Failure> {
        let output = system.run(&Invocation::new(supervisor::start_words(places)?))?;
        if output.succeeded() {
            return Ok(());
        }
        let log = places.log()?;
        let end = tail(&system.locate(&log)).unwrap_or_default();
        Err(output.failure(format!("starting the supervisor of {}", self.name)).detail(log.as_str(), end))
    }

    fn check_none(&self, system: &System, places: &Places) -> Result<Check, Failure> {
        let standing = Standing::look(system, places)?;
        let is_alive = standing.supervisor.is_some() || standing.child(system).is_some();
        let mut left = Vec::new();
        for path in leftovers(places)? {
            if matches!(system.see(&path)?, Seen::There(_)) {
                left.push(path.to_string());
            }
        }
        let mut changes = Vec::new();
        if is_alive {
            changes.push(Change::from_to("state", told(system, &standing), "stopped"));
        }
        if !left.is_empty() {
            changes.push(Change::new("files", Some(left.join(", ")), None));
        }
        Ok(Check::of(Action::Remove, changes))
    }

    /// What would start it again goes first.
    fn remove_supervised(&self, system: &System, places: &Places) -> Result<(), Failure> {
        let [cron, others @ ..] = leftovers(places)?;
        let remove = |path: &AbsPath| match system.see(path)? {
            Seen::There(_) => system.remove_file(path),
            Seen::Absent | Seen::NoParent(_) => Ok(()),
        };
        remove(&cron)?;
        supervisor::end(system, places)?;
        others.iter().try_for_each(remove)
    }
}

/// The cron entry, what it says, and what it noted.
fn leftovers(places: &Places) -> Result<[AbsPath; 4], Failure> {
    Ok([places.cron()?, places.kept()?, places.state()?, places.lock()?])
}

fn identity((pid, ticks): (u32, u64)) -> String {
    format!("{pid}@{ticks}")
}

/// `ended (exited with 3), to be started again; started again 4 times`.
fn told(system: &System, standing: &Standing) -> String {
    let child = standing.child(system);
    let Some(state) = &standing.state else {
        return match standing.supervisor {
            Some(pid) => format!("just begun (supervisor {pid})"),
            None => "not running".to_owned(),
        };
    };
    let State { restarts, last, phase, .. } = state;
    let last = last.as_deref().map(|last| format!(": it {last}")).unwrap_or_default();
    let what = match (standing.supervisor, phase, child) {
        (None, _, Some(pid)) => format!("running without its supervisor (pid {pid})"),
        (None, Phase::GaveUp, _) => format!("given up{last}"),
        (None, Phase::Done, _) => format!("ended{last}"),
        (None, ..) => "not running (its supervisor was killed)".to_owned(),
        (Some(_), Phase::Running, Some(pid)) => format!("running (pid {pid})"),
        (Some(_), Phase::Ending, _) => "being ended".to_owned(),
        (Some(_), ..) => format!("ended, to be started again{last}"),
    };
    match restarts {
        0 => what,
        1 => format!("{what}; started again once"),
        count => format!("{what}; started again {count} times"),
    }
}
