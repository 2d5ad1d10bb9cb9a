//! A domain under libvirt: what is needed from where it is, and how that is done.

use std::time::{Duration, Instant, SystemTime};

use super::virsh::{Now, Situation, Virsh, name_in};
use super::{Domain, DomainState};
use crate::attribute::AbsPath;
use crate::resource::debt::{note, note_path};
use crate::resource::{Action, Change, Check, Detail, Failure, Needed};
use crate::system::System;

/// One call of `virsh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    StartPaused,
    Resume,
    Suspend,
    Wake,
    /// Asks the guest.
    ShutDown,
    /// Only for what does not run any more.
    Destroy,
    Undefine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Holds,
    /// It is on its way, and no call would help.
    Waits,
    Steps(&'static [Step]),
}

/// From where a defined domain is to where it is to be; one that is absent is defined first.
fn plan(wanted: DomainState, now: Situation) -> Plan {
    use DomainState as Want;
    use Situation as Now;
    use Step::{Destroy, Resume, ShutDown, Start, StartPaused, Suspend, Undefine, Wake};
    match (wanted, now) {
        (_, Now::Starting | Now::Stopping) => Plan::Waits,

        (Want::Running, Now::Running) => Plan::Holds,
        (Want::Running, Now::Absent | Now::ShutOff) => Plan::Steps(&[Start]),
        (Want::Running, Now::Paused) => Plan::Steps(&[Resume]),
        (Want::Running, Now::Asleep) => Plan::Steps(&[Wake]),
        (Want::Running, Now::Crashed) => Plan::Steps(&[Destroy, Start]),

        (Want::Paused, Now::Paused) => Plan::Holds,
        (Want::Paused, Now::Absent | Now::ShutOff) => Plan::Steps(&[StartPaused]),
        (Want::Paused, Now::Running) => Plan::Steps(&[Suspend]),
        (Want::Paused, Now::Asleep) => Plan::Steps(&[Wake, Suspend]),
        (Want::Paused, Now::Crashed) => Plan::Steps(&[Destroy, StartPaused]),

        (Want::Shutdown, Now::Absent | Now::ShutOff | Now::Crashed) => Plan::Holds,
        (Want::Shutdown, Now::Running) => Plan::Steps(&[ShutDown]),
        // A guest that is paused or asleep cannot hear that it is to shut down.
        (Want::Shutdown, Now::Paused) => Plan::Steps(&[Resume, ShutDown]),
        (Want::Shutdown, Now::Asleep) => Plan::Steps(&[Wake, ShutDown]),

        (Want::Absent, Now::Absent) => Plan::Holds,
        (Want::Absent, Now::ShutOff) => Plan::Steps(&[Undefine]),
        (Want::Absent, Now::Running) => Plan::Steps(&[ShutDown, Undefine]),
        (Want::Absent, Now::Paused) => Plan::Steps(&[Resume, ShutDown, Undefine]),
        (Want::Absent, Now::Asleep) => Plan::Steps(&[Wake, ShutDown, Undefine]),
        (Want::Absent, Now::Crashed) => Plan::Steps(&[Destroy, Undefine]),
    }
}

impl Domain {
    pub(super) fn check_libvirt(&self, system: &System) -> Result<Check, Failure> {
        let now = Virsh { system, name: &self.name }.now()?;
        let is_to_be = matches!(self.state, DomainState::Running | DomainState::Paused);
        let mut changes = Vec::new();
        let mut action = Action::Change;
        if now.situation == Situation::Absent && is_to_be {
            self.must_be_definable(system)?;
            action = Action::Create;
        }
        let keeps = self.config.is_some() || self.autostart == Some(true);
        if now.situation != Situation::Absent && !now.persistent && is_to_be && keeps {
            let from = "no: it will be gone when it has shut down";
            changes.push(Change::from_to("defined", from, "yes"));
        }
        match plan(self.state, now.situation) {
            Plan::Holds | Plan::Waits => {}
            Plan::Steps([Step::ShutDown, ..]) if self.asked_lately(system, &now)?.is_some() => {}
            Plan::Steps(_) => {
                if self.state == DomainState::Absent {
                    action = Action::Remove;
                }
                changes.push(Change::from_to("state", self.libvirt_told(system, &now), self.state_word()));
            }
        }
        let may_autostart = now.situation != Situation::Absent || is_to_be;
        match self.autostart {
            Some(wanted) if may_autostart && wanted != now.autostart => {
                let word = |yes: bool| if yes { "yes" } else { "no" };
                changes.push(Change::from_to("autostart", word(now.autostart), word(wanted)));
            }
            _ => {}
        }
        if !changes.is_empty() {
            return Ok(Check::Needs(Needed { action, changes, lacks: Vec::new() }));
        }
        match plan(self.state, now.situation) {
            Plan::Holds => Ok(Check::Holds),
            Plan::Waits => Ok(Check::passing(format!("domain {} is {}", self.name, now.told))),
            Plan::Steps(_) => {
                let since = self.asked_lately(system, &now)?.unwrap_or_default().as_secs();
                Ok(Check::passing(format!(
                    "domain {} was asked to shut down {since}s ago, and may take {}",
                    self.name, self.shutdown_timeout
                )))
            }
        }
    }

    pub(super) fn apply_libvirt(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let virsh = Virsh { system, name: &self.name };
        let now = virsh.now()?;
        let starts = matches!(self.state, DomainState::Running | DomainState::Paused);
        if now.situation == Situation::Absent && starts && needed.has("state") {
            virsh.define(&self.must_be_definable(system)?)?;
        } else if needed.has("defined") {
            virsh.define_as_it_runs()?;
        }
        if let Some(change) = needed.change("autostart") {
            let options: &[&str] = if change.to.as_deref() == Some("yes") { &[] } else { &["--disable"] };
            virsh.call("autostart", options)?;
        }
        if !needed.has("state") {
            return Ok(());
        }
        let Plan::Steps(steps) = plan(self.state, now.situation) else { return Ok(()) };
        for step in steps {
            self.take_libvirt(system, &virsh, *step)?;
        }
        Ok(())
    }

    pub(super) fn libvirt_evidence(&self, system: &System) -> Vec<Detail> {
        let Ok(now) = (Virsh { system, name: &self.name }).now() else { return Vec::new() };
        let mut details = vec![Detail { title: "domain state".to_owned(), text: now.told }];
        let log = format!("/var/log/libvirt/qemu/{}.log", self.name);
        if let Ok(path) = log.parse()
            && let Ok(text) = crate::system::files::tail(&system.locate(&path))
        {
            details.push(Detail { title: log, text });
        }
        details
    }

    fn take_libvirt(&self, system: &System, virsh: &Virsh, step: Step) -> Result<(), Failure> {
        match step {
            Step::Start => virsh.call("start", &[]),
            Step::StartPaused => virsh.start_paused(),
            Step::Resume => virsh.call("resume", &[]),
            Step::Suspend => virsh.call("suspend", &[]),
            Step::Wake => {
                virsh.call("dompmwakeup", &[])?;
                self.wait_libvirt(virsh, Duration::from_secs(10), |now| now != Situation::Asleep)
            }
            Step::ShutDown => {
                let Some(id) = virsh.now()?.id else { return Ok(()) };
                virsh.call("shutdown", &[])?;
                note(system, "libvirt-domains", &self.name, id.as_bytes())?;
                // A guest is seldom so quick; but what is to be gone is to go in this apply.
                let patience = match self.state {
                    DomainState::Absent => self.shutdown_timeout.get(),
                    _ => Duration::ZERO,
                };
                let has_ended =
                    |now| matches!(now, Situation::Absent | Situation::ShutOff | Situation::Crashed);
                self.wait_libvirt(virsh, patience, has_ended)
            }
            // Looked at again: nothing is taken away from under a guest that runs.
            Step::Destroy => match virsh.now()?.situation {
                Situation::Crashed => virsh.call("destroy", &[]),
                _ => Ok(()),
            },
            Step::Undefine => match virsh.now()?.situation {
                Situation::ShutOff => virsh.undefine(),
                _ => Ok(()),
            },
        }
    }

    /// Looks again and again, as long as this operation may take.
    fn wait_libvirt(
        &self,
        virsh: &Virsh,
        patience: Duration,
        is_so: impl Fn(Situation) -> bool,
    ) -> Result<(), Failure> {
        let patience = patience.min(virsh.system.time_left().saturating_sub(Duration::from_secs(2)));
        let begun = Instant::now();
        while !is_so(virsh.now()?.situation) && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// How long ago this very start of it was asked to shut down.
    fn asked_ago(&self, system: &System, now: &Now) -> Result<Option<Duration>, Failure> {
        let path = note_path(system, "libvirt-domains", &self.name)?;
        let noted = system.read_if_there(&path).ok().flatten();
        if noted.is_none() || noted.as_deref() != now.id.as_deref().map(str::as_bytes) {
            return Ok(None);
        }
        let meta = std::fs::metadata(system.locate(&path));
        let asked = meta.and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(SystemTime::now().duration_since(asked).ok())
    }

    /// The same, while it may still be shutting down.
    fn asked_lately(&self, system: &System, now: &Now) -> Result<Option<Duration>, Failure> {
        let ago = self.asked_ago(system, now)?;
        Ok(ago.filter(|ago| now.situation == Situation::Running && *ago < self.shutdown_timeout.get()))
    }

    fn libvirt_told(&self, system: &System, now: &Now) -> String {
        let is_to_go = matches!(self.state, DomainState::Shutdown | DomainState::Absent);
        match self.asked_ago(system, now).ok().flatten() {
            Some(ago) if is_to_go && now.situation == Situation::Running => format!(
                "{} (it was asked to shut down {}s ago, and has not within its shutdown_timeout of {})",
                now.told,
                ago.as_secs(),
                self.shutdown_timeout
            ),
            _ => now.told.clone(),
        }
    }

    /// What it is to be defined from. A failure, and no `Lack`: in a plan it is unknown until what
    /// comes before the domain is done.
    fn must_be_definable(&self, system: &System) -> Result<AbsPath, Failure> {
        let name = &self.name;
        let Some(path) = &self.config else {
            return Err(Failure::new(format!("libvirt knows no domain {name}"))
                .help("say with `config` what it is to be defined from: a file of XML"));
        };
        let text = match std::fs::read(system.locate(path)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::new(format!(
                    "domain {name} cannot be defined: its configuration {path} does not exist"
                ))
                .help(format!("declare it: `- file: {path}`, or correct `config`")));
            }
            Err(error) => return Err(Failure::io(format!("reading {path}"), &error)),
        };
        match name_in(&text) {
            Some(own) if own == *name => Ok(path.clone()),
            Some(other) => Err(Failure::new(format!(
                "{path} is the configuration of the domain {other}, and not of {name}"
            ))
            .help(format!("correct `config`, or write <name>{name}</name> in it"))),
            None => Err(Failure::new(format!("{path} is no libvirt domain with a name"))
                .help(format!("write XML in it, as `virsh dumpxml` shows it, with <name>{name}</name>"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [DomainState; 4] =
        [DomainState::Running, DomainState::Paused, DomainState::Shutdown, DomainState::Absent];
    const SITUATIONS: [Situation; 8] = [
        Situation::Absent,
        Situation::ShutOff,
        Situation::Starting,
        Situation::Running,
        Situation::Paused,
        Situation::Asleep,
        Situation::Stopping,
        Situation::Crashed,
    ];

    /// What one step makes of a domain.
    fn after(step: Step, now: Situation) -> Situation {
        match (step, now) {
            // It has been defined before the first step.
            (Step::Start, Situation::Absent | Situation::ShutOff) => Situation::Running,
            (Step::StartPaused, Situation::Absent | Situation::ShutOff) => Situation::Paused,
            (Step::Resume, Situation::Paused) | (Step::Wake, Situation::Asleep) => Situation::Running,
            (Step::Suspend, Situation::Running) => Situation::Paused,
            (Step::ShutDown, Situation::Running) | (Step::Destroy, Situation::Crashed) => Situation::ShutOff,
            (Step::Undefine, Situation::ShutOff) => Situation::Absent,
            (step, now) => panic!("{step:?} must not be done to a domain that is {now:?}"),
        }
    }

    #[test]
    fn the_steps_from_every_situation_lead_to_every_state_and_destroy_nothing_that_runs() {
        for wanted in WANTED {
            for now in SITUATIONS {
                match plan(wanted, now) {
                    Plan::Waits => assert!(matches!(now, Situation::Starting | Situation::Stopping)),
                    Plan::Holds => {}
                    Plan::Steps(steps) => {
                        let end = steps.iter().fold(now, |now, step| after(*step, now));
                        assert_eq!(plan(wanted, end), Plan::Holds, "{wanted:?} from {now:?}");
                    }
                }
            }
        }
    }
}
