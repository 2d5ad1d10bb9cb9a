//! What happens in a run, as it happens. Everything a person or a program sees of it is one of
//! these first; the reporters know nothing else.

use std::time::Duration;

use crate::resource::{Action, Change, Detail};

#[derive(Clone, Debug)]
pub enum Event {
    /// A host did not answer yet, and is tried again.
    HostWaits {
        host: String,
        reason: String,
        left: Duration,
    },
    Host(HostReport),
    /// A request for this resource is on its way.
    Works {
        host: String,
        id: String,
        applying: bool,
    },
    /// It does not hold yet, and is looked at again.
    Waits {
        host: String,
        id: String,
        reason: String,
        left: Duration,
    },
    Resource(ResourceReport),
    /// A signal: nothing new starts.
    Interrupted {
        signal: &'static str,
    },
    /// Time has passed: for what moves on a terminal.
    Tick,
    Summary(Summary),
}

#[derive(Clone, Debug)]
pub struct HostReport {
    pub host: String,
    pub status: HostStatus,
    pub reason: Option<String>,
    pub help: Option<String>,
    pub details: Vec<Detail>,
    /// Where it is declared.
    pub location: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostStatus {
    Reached,
    Local,
    Unreachable,
    /// Not tried: what it depends on does not hold.
    Skipped,
    /// In a plan: what it depends on is not done yet.
    Unknown,
}

/// A resource, settled.
#[derive(Clone, Debug)]
pub struct ResourceReport {
    pub host: String,
    /// `host/type:name`.
    pub id: String,
    /// `specs/prod.yaml:27`.
    pub location: String,
    pub status: Status,
    pub action: Option<Action>,
    /// What was changed or, in a plan, would be.
    pub changes: Vec<Change>,
    pub reason: Option<String>,
    pub help: Option<String>,
    pub details: Vec<Detail>,
    /// In a plan: unknown because it would only be waited for.
    pub would_wait: bool,
    /// In a plan: it stands on something that would be changed first.
    pub is_predicted: bool,
    /// Skipped since something failed or could not be reached: what it is that it misses.
    pub because_of: Option<String>,
    pub seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Ok,
    Changed,
    Failed,
    Skipped,
    Unknown,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Changed => "changed",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
            Status::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Default, PartialEq, Debug)]
pub struct Summary {
    pub ok: usize,
    pub changed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub unknown: usize,
    pub unreachable: usize,
    pub seconds: f64,
    /// It was a plan: `changed` means would change.
    pub is_plan: bool,
    pub interrupted: Option<&'static str>,
    /// Skipped since something they need does not hold.
    pub unmet: usize,
    /// Hosts that another run has locked.
    pub locked: usize,
}
