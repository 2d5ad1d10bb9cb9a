//! From what is seen of a unit to what it needs.

use super::manager;
use super::name::UnitName;
use super::show::Phase;
use super::{Seen, Unit, UnitState};
use crate::attribute::AbsPath;
use crate::resource::{Action, Change, Check, Failure, Needed, debt};

impl Unit {
    pub(super) fn judge(&self, seen: &Seen) -> Result<Check, Failure> {
        let shown = &seen.shown;
        let rewrites = seen.file.change.is_some();
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(self.mask_change(seen)?);
        changes.extend(seen.file.change.clone());
        let unmasks = changes.iter().any(|change| change.attribute == "masked");
        if !rewrites && !unmasks {
            self.must_exist(seen)?;
            self.can_be_loaded(seen)?;
        }
        if !(rewrites && shown.load == "not-found") {
            changes.extend(self.enabled_change(seen, rewrites || unmasks)?);
        } else if self.enabled == Some(true) {
            changes.push(Change::from_to("enabled", "no", "yes"));
        }
        let state = self.state_change(seen, rewrites, unmasks)?;
        match state {
            State::Right => {}
            State::Change(change) => changes.push(change),
            // Nothing else to do: then it is waited for. Else the rest is done meanwhile.
            State::Wait(reason) if changes.is_empty() => return Ok(Check::passing(reason)),
            State::Wait(_) => {}
        }
        if changes.is_empty() && shown.needs_reload {
            // It does not run, or is a mount or a target, which is not taken away for this.
            changes.push(Change::from_to("loaded", "its old unit file", "the one on the disk"));
        }
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        let only_restarts =
            changes.iter().all(|change| matches!(change.attribute.as_str(), "restart" | "reload"));
        let action = match () {
            () if only_restarts => Action::Restart,
            () if rewrites && shown.load == "not-found" => Action::Create,
            () => Action::Change,
        };
        let lacks = seen.file.lack.clone().into_iter().collect();
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    fn mask_change(&self, seen: &Seen) -> Result<Option<Change>, Failure> {
        let (shown, state) = (&seen.shown, seen.shown.file_state.as_str());
        let is_masked = state.starts_with("masked") || shown.load == "masked";
        match self.masked {
            Some(true) if state == "masked" || is_masked && !state.starts_with("masked") => Ok(None),
            Some(true) if is_masked => Ok(Some(Change::from_to("masked", "until the next boot", "yes"))),
            Some(true) => Ok(Some(Change::from_to("masked", "no", "yes"))),
            _ if !is_masked || seen.file.change.is_some() && vendor_masked(&shown.fragment) => Ok(None),
            Some(false) if vendor_masked(&shown.fragment) => Err(Failure::new(format!(
                "unit {} is masked by its package: {} is empty or a link to /dev/null",
                self.name, shown.fragment
            ))
            .help("give it a unit file of its own with `content`, which goes before the package's")),
            Some(false) => Ok(Some(Change::from_to("masked", "yes", "no"))),
            None if self.wanted() == UnitState::Active => {
                Err(Failure::new(format!("unit {} is masked: nothing can start it", self.name))
                    .help("say `masked: false` if it is to be unmasked"))
            }
            None if self.enabled == Some(true) => {
                Err(Failure::new(format!("unit {} is masked, and cannot be enabled", self.name))
                    .help("say `masked: false` if it is to be unmasked"))
            }
            None => Ok(None),
        }
    }

    fn can_be_loaded(&self, seen: &Seen) -> Result<(), Failure> {
        let shown = &seen.shown;
        match shown.load.as_str() {
            "bad-setting" | "error" if self.wanted() == UnitState::Active => Err(Failure::new(format!(
                "systemd cannot load unit {}: {}",
                self.name,
                if shown.load_error.is_empty() { &shown.load } else { &shown.load_error }
            ))
            .help(format!(
                "`systemd-analyze verify {}` says what is wrong in {}",
                self.name, shown.fragment
            ))),
            _ => Ok(()),
        }
    }

    fn enabled_change(&self, seen: &Seen, may_become_so: bool) -> Result<Option<Change>, Failure> {
        let state = match (seen.sysv_enabled, seen.shown.file_state.as_str()) {
            (Some(true), _) => "enabled",
            (Some(false), _) => "disabled",
            (None, state) => state,
        };
        let is_instance = self.name.template().is_some();
        match (self.enabled, state) {
            (Some(true), "enabled") => Ok(None),
            (Some(true), "enabled-runtime") => {
                Ok(Some(Change::from_to("enabled", "until the next boot", "yes")))
            }
            (Some(true), "disabled" | "linked" | "linked-runtime" | "") => {
                Ok(Some(Change::from_to("enabled", "no", "yes")))
            }
            // Another instance than the template's default.
            (Some(true), "indirect") if is_instance => Ok(Some(Change::from_to("enabled", "no", "yes"))),
            (Some(true), _) if may_become_so => Ok(Some(Change::from_to("enabled", "no", "yes"))),
            (Some(true), "static") => Err(cannot_be_enabled(&self.name, "has no [Install] section (static)")),
            (Some(true), "generated") => Err(cannot_be_enabled(&self.name, "is generated at each boot")),
            (Some(true), "transient") => {
                Err(cannot_be_enabled(&self.name, "is gone at the next boot (transient)"))
            }
            (Some(true), "indirect") => Err(Failure::new(format!(
                "unit {} is enabled only by way of another unit (indirect)",
                self.name
            ))
            .help("enable the unit that its [Install] section names in Also=")),
            (Some(true), "alias") => {
                Err(Failure::new(format!("{} is only another name of a unit", self.name))
                    .help(format!("declare the unit itself: {}", seen.shown.id)))
            }
            (Some(true), other) => {
                Err(Failure::new(format!("unit {} cannot be enabled: it is {other}", self.name)))
            }
            (Some(false), "enabled" | "enabled-runtime") => Ok(Some(Change::from_to("enabled", "yes", "no"))),
            (Some(false) | None, _) => Ok(None),
        }
    }

    fn state_change(&self, seen: &Seen, rewrites: bool, unmasks: bool) -> Result<State, Failure> {
        let (shown, phase) = (&seen.shown, seen.shown.phase());
        if self.wanted() == UnitState::Inactive {
            return Ok(match phase {
                Phase::Down | Phase::Failed => State::Right,
                Phase::Passing if shown.active == "deactivating" => State::Wait(self.is(&shown.told())),
                _ => State::Change(Change::from_to("state", shown.told(), "inactive")),
            });
        }
        let activate = || State::Change(Change::from_to("state", shown.told(), "active"));
        let is_oneshot = shown.service_type == "oneshot" && !shown.remains;
        match phase {
            _ if is_oneshot && phase != Phase::Up && !rewrites && !unmasks => Err(Failure::new(format!(
                "unit {} cannot stay active: it is a oneshot that does not remain after exit",
                self.name
            ))
            .help("declare the timer that starts it, or give it RemainAfterExit=yes")),
            Phase::Up => Ok(self.running_change(seen, rewrites)),
            // Shown as a start: it is not known yet whether its new unit file comes in time.
            Phase::Exited | Phase::Crashing | Phase::Failed | Phase::Down => Ok(activate()),
            Phase::Passing if shown.active == "inactive" => Ok(State::Wait(self.is("waiting for its job"))),
            Phase::Passing if rewrites => Ok(State::Change(Change::from_to(
                "restart",
                "starting with its old unit file",
                debt::RENEWED,
            ))),
            Phase::Passing => Ok(State::Wait(self.is(&shown.told()))),
        }
    }

    /// It is up: with what is there now, and for long enough?
    fn running_change(&self, seen: &Seen, rewrites: bool) -> State {
        let shown = &seen.shown;
        let restart = |from: String| State::Change(Change::from_to("restart", from, debt::RENEWED));
        let owed = |attribute: &str, paths: &[AbsPath]| {
            let change = Change::from_to(attribute, debt::told(paths), debt::RENEWED);
            State::Change(change.owed_for(paths))
        };
        let restarts = matches!(self.name.kind(), "service" | "timer" | "socket" | "path");
        if rewrites && restarts {
            return restart("running with its old unit file".to_owned());
        }
        if !seen.restart_owed.is_empty() {
            return owed("restart", &seen.restart_owed);
        }
        if shown.needs_reload && restarts {
            return restart("running with its old unit file or drop-ins".to_owned());
        }
        if !seen.reload_owed.is_empty() && shown.can_reload {
            return owed("reload", &seen.reload_owed);
        }
        if !seen.reload_owed.is_empty() {
            return owed("restart", &seen.reload_owed);
        }
        let age = manager::age(shown.active_since);
        if shown.sub == "running" && self.name.kind() == "service" && age < self.settle.get() {
            let restarts = match shown.restarts {
                0 => String::new(),
                count => format!(", restarted {count} times"),
            };
            return State::Wait(format!(
                "the unit is active since {:.1}s only: it must stay so for {}{restarts}",
                age.as_secs_f64(),
                self.settle
            ));
        }
        State::Right
    }

    fn is(&self, what: &str) -> String {
        format!("the unit is {what}")
    }

    /// A failure, and no `Lack`: anything may bring a unit (a package of another name, a file, a
    /// `make install`), so in a plan it is unknown until all that comes before it is done.
    fn must_exist(&self, seen: &Seen) -> Result<(), Failure> {
        let is_needed = self.wanted() == UnitState::Active || self.enabled == Some(true);
        if seen.shown.load != "not-found" || seen.on_disk || !is_needed {
            return Ok(());
        }
        Err(Failure::new(format!("there is no unit {}", self.name)).help(format!(
            "declare what brings it (`- package: {}`, or `depends_on` what does), or give its unit file with \
             `content`",
            self.name.stem()
        )))
    }
}

enum State {
    Right,
    Change(Change),
    Wait(String),
}

pub(super) fn cannot_be_enabled(name: &UnitName, why: &str) -> Failure {
    Failure::new(format!("unit {name} cannot be enabled: it {why}"))
        .help("leave `enabled` out: what needs it starts it")
}

/// The mask is not in /etc or /run, where `systemctl unmask` could take it away.
fn vendor_masked(fragment: &str) -> bool {
    ["/lib/", "/usr/"].iter().any(|place| fragment.starts_with(place))
}
