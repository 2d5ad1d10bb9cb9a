//! Where a test can let an operation fail. On a real machine there is nobody to ask, and each
//! operation costs one look at an Option.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use rustix::io::Errno;

use super::System;

/// Is asked before every operation on files, and around every command.
pub trait Faults: Send + Sync {
    /// An error fails the operation, which is not tried then. A panic stands for the end of the
    /// process (whoever panics here has to go on doing so).
    fn before(&self, operation: &'static str) -> Result<(), Errno>;
}

#[derive(Clone, Default)]
pub(super) struct Hook(Option<Arc<dyn Faults>>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "faults" } else { "none" })
    }
}

impl System {
    /// The same machine, on which these faults happen: for tests.
    pub fn with_faults(self, faults: Arc<dyn Faults>) -> System {
        System { faults: Hook(Some(faults)), ..self }
    }

    /// Every operation on the machine that may fail asks this first.
    pub(crate) fn before(&self, operation: &'static str) -> Result<(), Errno> {
        match &self.faults.0 {
            None => Ok(()),
            Some(faults) => faults.before(operation),
        }
    }

    /// Writes all; where faults may happen, in two steps, so that one can cut it in the middle.
    pub(super) fn write(&self, file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        if self.faults.0.is_none() {
            return file.write_all(bytes);
        }
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.before("write")?;
        file.write_all(first)?;
        self.before("write on")?;
        file.write_all(rest)
    }
}
