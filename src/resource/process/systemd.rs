//! A process as a unit of systemd's: its unit file is written here, all else is what `unit` does.

use super::difference::Declared;
use super::kept::{self, Places};
use super::{CALM, Process, ProcessState, RESTLESS, one_second, unit_file};
use crate::attribute::{AbsPath, Content, Trigger};
use crate::resource::debt::RENEWED;
use crate::resource::unit::{self, Manager, Phase, Scope, Unit, UnitName, UnitState};
use crate::resource::{Action, Change, Check, Detail, Failure, Needed, Resource};
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};
use crate::system::readings::Reading;

/// What lies there of it now.
struct Before {
    /// The unit file, where it is ours.
    unit: Option<String>,
    environment: Option<String>,
    /// Nobody else can read the environment.
    is_private: bool,
}

pub fn reading(process: &Process) -> Option<Reading> {
    Some(unit::reading(&process.places().unit().parse().ok()?, Scope::System))
}

impl Process {
    pub(super) fn check_unit(&self, system: &System) -> Result<Check, Failure> {
        Process::must_be_root()?;
        let places = self.places();
        let before = self.before(system, &places)?;
        if self.state == ProcessState::Stopped {
            return self.check_no_unit(system, &places, &before);
        }
        let unit = self.unit(system, &places)?;
        let (is_new, environment_differs) = (before.unit.is_none(), self.environment_differs(&before));
        let (waits, found) = match unit.check(system)? {
            Check::Holds => (None, None),
            Check::Waits(waiting) => (Some(waiting), None),
            Check::Needs(needed) => (None, Some(needed)),
        };
        let (mut changes, mut restarts) = (self.file_changes(&before, &places)?, false);
        for change in found.iter().flat_map(|needed| &needed.changes) {
            let to = RENEWED.to_owned();
            match change.attribute.as_str() {
                "content" => {}
                "state" if is_new => changes.push(Change::new("state", None, Some("running".to_owned()))),
                "state" => changes.push(Change { to: Some("running".to_owned()), ..change.clone() }),
                "restart" => {
                    restarts = true;
                    changes.push(Change { attribute: "state".to_owned(), to: Some(to), ..change.clone() });
                }
                _ => changes.push(change.clone()),
            }
        }
        let is_started = |changes: &[Change]| changes.iter().any(|change| change.attribute == "state");
        if environment_differs && !is_started(&changes) {
            restarts = true;
            let from = "running with its old environment";
            changes.push(Change::from_to("state", from, RENEWED));
        }
        if changes.is_empty() {
            return Ok(waits.map_or(Check::Holds, Check::Waits));
        }
        let mut lacks = found.map(|needed| needed.lacks).unwrap_or_default();
        if is_started(&changes) {
            lacks.extend(self.lacks(system)?);
            self.must_have_program(system)?;
        }
        let action = match () {
            () if is_new => Action::Create,
            () if restarts && changes.len() == 1 => Action::Restart,
            () => Action::Change,
        };
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    pub(super) fn apply_unit(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let places = self.places();
        if self.state == ProcessState::Stopped {
            return self.remove_unit(system, &places);
        }
        let before = self.before(system, &places)?;
        if !self.environment.is_empty() {
            kept::make_directory(system)?;
            let text = unit_file::environment_text(&self.environment);
            kept::put_private(system, &places.environment()?, text.as_bytes())?;
        }
        let unit = self.unit(system, &places)?;
        let mut changes = Vec::new();
        if before.unit.as_deref() != Some(&self.unit_text(&places)?) {
            changes.push(Change::new("content", None, None));
        }
        let same = |change: &&Change| matches!(change.attribute.as_str(), "enabled" | "state" | "loaded");
        changes.extend(needed.changes.iter().filter(same).cloned());
        unit.apply(system, &Needed { action: needed.action, changes, lacks: Vec::new() })?;
        if self.environment.is_empty() && before.environment.is_some() {
            system.remove_file(&places.environment()?)?;
        }
        Ok(())
    }

    pub(super) fn evidence_of_unit(&self, system: &System) -> Vec<Detail> {
        self.unit(system, &self.places()).map(|unit| unit.evidence(system)).unwrap_or_default()
    }

    /// The unit that it is.
    fn unit(&self, system: &System, places: &Places) -> Result<Unit, Failure> {
        let name: UnitName = places.unit().parse().map_err(Failure::new)?;
        let mut restart_on = self.restart_on.clone();
        if !self.environment.is_empty() {
            restart_on.push(Trigger::Path(places.environment()?));
        }
        let shown = Manager::of(system, Scope::System)?.show_shared(&name)?;
        let settle = if shown.restarts < RESTLESS { one_second() } else { CALM };
        Ok(Unit {
            name,
            state: Some(UnitState::Active),
            enabled: Some(true),
            masked: None,
            content: Some(Content::new(self.unit_text(places)?.into_bytes())),
            source: None,
            template: None,
            restart_on,
            reload_on: Vec::new(),
            scope: Scope::System,
            settle,
        })
    }

    /// Fails where a file that is not of this process lies in its unit file's place.
    fn before(&self, system: &System, places: &Places) -> Result<Before, Failure> {
        let path = places.unit_file()?;
        let unit = match system.see(&path)? {
            Seen::There(Meta { kind: Kind::File, .. }) => {
                Some(String::from_utf8_lossy(&system.read_file(&path)?).into_owned())
            }
            _ => None,
        };
        let owner = unit.as_deref().map(unit_file::whose);
        let is_ours = owner == Some(Some(self.name.as_str()));
        if unit.is_some() && !is_ours && self.state == ProcessState::Running {
            let of = match owner.flatten() {
                Some(other) => format!("the unit file {path} is process:{other}'s"),
                None => format!("the unit file {path} was not written by converge"),
            };
            return Err(Failure::new(format!("{of}, and is not replaced"))
                .help("choose another label, or remove that unit first"));
        }
        let path = places.environment()?;
        let is_there = matches!(system.see(&path)?, Seen::There(_));
        let is_private = !is_there || kept::is_private(system, &path)?;
        let environment = match is_there {
            true => Some(String::from_utf8_lossy(&system.read_file(&path)?).into_owned()),
            false => None,
        };
        Ok(Before { unit: unit.filter(|_| is_ours), environment, is_private })
    }

    fn environment_differs(&self, before: &Before) -> bool {
        match &before.environment {
            None => !self.environment.is_empty(),
            Some(text) => *text != unit_file::environment_text(&self.environment),
        }
    }

    /// What would be written, attribute by attribute.
    fn file_changes(&self, before: &Before, places: &Places) -> Result<Vec<Change>, Failure> {
        let (wanted, text) = (self.declared(), self.unit_text(places)?);
        let Some(old) = &before.unit else { return Ok(wanted.changes(None)) };
        let said = unit_file::read(old);
        let environment = before.environment.as_deref().map(unit_file::read_environment).unwrap_or_default();
        let mut declared =
            Declared { environment, command: unit_file::command_told(&said.command), ..self.declared() };
        let own = self.said();
        if said.directory != own.directory {
            declared.directory = Some(said.directory).filter(|directory| !directory.is_empty());
        }
        // What is as it would be written is as it is declared, however it is spelled.
        if said.command == own.command {
            declared.command.clone_from(&wanted.command);
        }
        for (said, own, to) in [
            (said.user, own.user, &mut declared.user),
            (said.restart, own.restart, &mut declared.restart),
            (said.delay, own.delay, &mut declared.delay),
        ] {
            if said != own {
                *to = said;
            }
        }
        let mut changes = wanted.changes(Some(&declared));
        if !before.is_private && !changes.iter().any(|change| change.attribute == "environment") {
            changes.push(kept::to_be_private());
        }
        let has_file_change = changes.iter().any(|change| change.attribute != "environment");
        let by_environment = before.environment.is_none() != self.environment.is_empty();
        if *old != text && !has_file_change && !by_environment {
            let mut change = Change::from_to("unit file", "edited by hand", "as converge writes it");
            change.old_text = Some(old.clone());
            change.new_text = Some(text);
            changes.push(change);
        }
        Ok(changes)
    }

    fn check_no_unit(&self, system: &System, places: &Places, before: &Before) -> Result<Check, Failure> {
        let name: UnitName = places.unit().parse().map_err(Failure::new)?;
        let shown = Manager::of(system, Scope::System)?.show_shared(&name)?;
        let is_foreign = before.unit.is_none() && !shown.fragment.is_empty();
        let is_down = is_foreign || matches!(shown.phase(), Phase::Down | Phase::Failed);
        let left: Vec<String> = leftovers(system, places, before)?.iter().map(ToString::to_string).collect();
        if !is_down && left.is_empty() && shown.active == "deactivating" {
            return Ok(Check::passing(format!("its unit is {}", shown.told())));
        }
        let mut changes = Vec::new();
        if !is_down || before.unit.is_some() {
            changes.push(Change::from_to("state", shown.told(), "stopped"));
        }
        if !left.is_empty() {
            changes.push(Change::new("files", Some(left.join(", ")), None));
        }
        Ok(Check::of(Action::Remove, changes))
    }

    /// Its unit file goes last but one: without it the rest would not be found to be ours.
    fn remove_unit(&self, system: &System, places: &Places) -> Result<(), Failure> {
        let name: UnitName = places.unit().parse().map_err(Failure::new)?;
        let manager = Manager::of(system, Scope::System)?;
        let before = self.before(system, places)?;
        let shown = manager.show(&name)?;
        let is_foreign = before.unit.is_none() && !shown.fragment.is_empty();
        if !is_foreign && shown.phase() != Phase::Down {
            manager.job("stop", &name)?;
        }
        for path in leftovers(system, places, &before)? {
            system.remove_file(&path)?;
        }
        let _turn = system.turn("systemd")?;
        manager.call(&["daemon-reload"], "daemon-reload")?;
        if manager.show(&name)?.phase() == Phase::Failed && !is_foreign {
            manager.call(&["reset-failed", "--", name.full()], format!("resetting {name}"))?;
        }
        Ok(())
    }
}

/// What converge made for it and is still there.
fn leftovers(system: &System, places: &Places, before: &Before) -> Result<Vec<AbsPath>, Failure> {
    let mut left = Vec::new();
    let (unit_file, link) = (places.unit_file()?, places.wanted_link()?);
    let is_link = |seen| matches!(seen, Seen::There(Meta { kind: Kind::Symlink, .. }));
    let foreign = matches!(system.see(&unit_file)?, Seen::There(_)) && before.unit.is_none();
    if !foreign && is_link(system.see(&link)?) {
        left.push(link);
    }
    if before.environment.is_some() {
        left.push(places.environment()?);
    }
    if before.unit.is_some() {
        left.push(unit_file);
    }
    Ok(left)
}
