//! A file that is being written beside the one it is to replace: in pieces, so that none has to be
//! held in memory whole.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{Mode as Bits, OFlags, fdatasync, openat};
use rustix::io::Errno;

use super::{Access, Spot, System, failure};
use crate::attribute::{AbsPath, Mode};
use crate::failure::Failure;

/// What is written to it goes to a name that nobody knows yet.
pub struct Candidate<'a> {
    pub(super) system: &'a System,
    pub(super) file: File,
    pub(super) path: &'a AbsPath,
}

impl Candidate<'_> {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.system.write(&mut self.file, bytes).map_err(|error| match error.raw_os_error() {
            Some(code) => failure("writing", self.path, Errno::from_raw_os_error(code)),
            None => Failure::io(format!("writing {}", self.path), &error),
        })
    }
}

impl System {
    /// Puts in place what `fill` writes: whole, by rename, with its owner and mode. `approve` sees
    /// the candidate's real path first. Where one of them fails, nothing has changed.
    pub fn put_streamed(
        &self,
        path: &AbsPath,
        access: Access,
        fill: impl FnOnce(&mut Candidate<'_>) -> Result<(), Failure>,
        approve: impl FnOnce(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        let approve = |candidate: &str| approve(&spot.path_of(candidate)).map(|()| true);
        spot.replace(access, fill, approve).map(drop)
    }
}

impl Spot<'_> {
    pub(super) fn write_temporary(
        &self,
        temporary: &str,
        access: Access,
        fill: impl FnOnce(&mut Candidate<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.remove_leftover(temporary);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let writing = |errno| failure("writing", &self.path, errno);
        self.system.before("create").map_err(writing)?;
        let file = openat(&self.directory, temporary, flags, Bits::RUSR | Bits::WUSR).map_err(writing)?;
        let mut candidate = Candidate { system: self.system, file: File::from(file), path: &self.path };
        fill(&mut candidate)?;
        self.set_on(candidate.file.as_fd(), access, Mode::from_bits(0o644))?;
        // After a power cut the name must not stand for an empty file.
        self.system.before("sync").and_then(|()| fdatasync(&candidate.file)).map_err(writing)
    }
}
