//! One walk over the graph, for plan and apply alike. Each host is reached as soon as what it
//! depends on holds; all its resources are checked in one batch; then each resource has its turn
//! when its dependencies are settled. What fails skips what depends on it, and nothing else.

mod decide;
mod foresee;
mod hosts;
mod makers;
mod select;
mod traffic;
mod walk;

use std::sync::Arc;
use std::time::Duration;

pub use hosts::{Reach, Reached};
pub use select::{Selection, Selector};

use crate::event::{Event, Summary};
use crate::lock::Holder;
use crate::plan::SavedPlan;
use crate::redact;
use crate::spec::Spec;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Say what `apply` would do.
    Plan,
    /// Make it so. One run at a time for each machine: this is who we are.
    Apply,
}

pub struct Options {
    pub purpose: Purpose,
    /// Hosts at once.
    pub parallel: usize,
    /// How long to wait for a machine's lock.
    pub wait_lock: Duration,
    pub holder: Holder,
    /// A saved plan: nothing but its changes is made.
    pub plan: Option<SavedPlan>,
}

/// Walks the spec to its end and tells everything through `tell`, without secrets: this is where
/// what hosts say comes in, and nobody behind it has to think of them.
pub fn run(
    spec: &Spec,
    selection: &Selection,
    options: &Options,
    reach: Arc<dyn Reach + Send + Sync>,
    tell: &mut dyn FnMut(Event),
) -> Summary {
    let mut tell = |event| tell(redact::event(event));
    walk::Walk::new(spec, selection, options, &mut tell).finish(reach)
}

impl Summary {
    /// cli.md's exit code. 3 is not for runs: a wrong spec never gets here.
    pub fn exit_code(&self, detailed: bool) -> u8 {
        match self.interrupted {
            Some("SIGINT") => return 130,
            Some(_) => return 143,
            None => {}
        }
        if self.locked > 0 {
            4
        } else if self.failed + self.unreachable + self.unmet > 0 {
            1
        } else if self.is_plan && self.changed + self.unknown > 0 || detailed && self.changed > 0 {
            2
        } else {
            0
        }
    }
}
