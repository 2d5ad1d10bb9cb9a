//! All of a machine that a resource may touch: files, commands, users. Everything lies under
//! a root, so that tests can move it.

pub mod accounts;
pub mod commands;
pub mod facts;
pub mod faults;
pub mod files;
pub mod fingerprint;
pub mod kernel;
pub mod leftovers;
pub mod mounts;
pub mod processes;
pub mod readings;
pub mod tools;
pub mod users;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::attribute::AbsPath;

/// The machine as one operation sees it.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
    deadline: Instant,
    faults: faults::Hook,
    readings: readings::Readings,
    programs: leftovers::Programs,
    /// When this operation was asked for; None: it shares no reading with others.
    asked: Option<Instant>,
}

impl System {
    /// This machine.
    pub fn machine() -> System {
        System::under("/")
    }

    /// A machine whose files lie below `root`: for tests.
    pub fn under(root: impl Into<PathBuf>) -> System {
        let deadline = Instant::now() + Duration::from_secs(60);
        System {
            root: root.into(),
            deadline,
            faults: faults::Hook::default(),
            readings: readings::Readings::default(),
            programs: leftovers::Programs::default(),
            asked: None,
        }
    }

    /// The same machine for one operation that must end within `timeout`.
    pub fn within(&self, timeout: Duration) -> System {
        System { deadline: Instant::now() + timeout, ..self.clone() }
    }

    /// What is left for this operation.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub fn is_whole_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `path` really lies. Not for a path that will be written: see `files`.
    pub fn locate(&self, path: &AbsPath) -> PathBuf {
        self.root.join(path.as_str().trim_start_matches('/'))
    }
}
