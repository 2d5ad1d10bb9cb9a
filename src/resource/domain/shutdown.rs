//! Asking a guest to shut down: it may be late, deaf, or not answer at all.

use std::time::{Duration, Instant, SystemTime};

use super::Domain;
use super::listed::Situation;
use super::xl::{Now, Xl};
use crate::resource::Failure;
use crate::resource::debt::{note, note_path};
use crate::system::System;

/// A guest whose kernel is up and whose init is not takes a request to shut down and does nothing
/// (seen on Xen 4.17 with Linux 6.1), so it is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl Domain {
    /// Asks the guest, notes when that was, and stays until it goes or its time is over.
    pub(super) fn shut_down(&self, system: &System, xl: &Xl) -> Result<(), Failure> {
        let Some(row) = xl.now()?.row else { return Ok(()) };
        let (begun, patience) = (Instant::now(), self.shutdown_timeout.get());
        let left = || patience.saturating_sub(begun.elapsed());
        let mut took_notice = xl.ask_to_go(left())?;
        note(system, "domains", &self.name, row.id.to_string().as_bytes())?;
        loop {
            let now = xl.wait_for(|situation| situation != Situation::Running, left().min(ASK_AGAIN))?;
            // What runs under another id is a life of it that was not asked.
            if now.situation != Situation::Running || now.row.is_none_or(|now| now.id != row.id) {
                return Ok(());
            }
            if left().is_zero() {
                return Err(self.stays(took_notice));
            }
            if xl.time_left().is_zero() {
                return Ok(());
            }
            took_notice |= xl.ask_to_go(left())?;
        }
    }

    fn stays(&self, took_notice: bool) -> Failure {
        let (name, timeout) = (&self.name, &self.shutdown_timeout);
        let (what, help) = match took_notice {
            true => ("has not", "the guest's own log says what holds it up"),
            false => ("has not even taken notice", "its kernel does not answer"),
        };
        Failure::new(format!(
            "domain {name} was asked to shut down, and {what} within its shutdown_timeout of {timeout}"
        ))
        .help(format!(
            "{help}; `xl console {name}` leads into it, and `xl destroy {name}` ends it at once, as a power cut would"
        ))
    }

    /// How long ago this very domain was asked to shut down; None: not, or too long ago.
    pub(super) fn was_asked(&self, system: &System, now: &Now) -> Result<Option<Duration>, Failure> {
        let asked = self.asked(system, now)?;
        Ok(asked.filter(|ago| now.situation == Situation::Running && *ago < self.shutdown_timeout.get()))
    }

    pub(super) fn asked(&self, system: &System, now: &Now) -> Result<Option<Duration>, Failure> {
        let path = note_path(system, "domains", &self.name)?;
        let id = system.read_if_there(&path).ok().flatten();
        let (Some(id), Some(row)) = (id, &now.row) else { return Ok(None) };
        if id != row.id.to_string().as_bytes() {
            return Ok(None);
        }
        let meta = std::fs::metadata(system.locate(&path));
        let asked = meta.and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(SystemTime::now().duration_since(asked).ok())
    }
}
