//! What the kernel shows as files and takes as writes (/proc/sys), and the name it goes by. These
//! are no files that could be replaced: a value is written in place, in one go.

use std::fs::File;
use std::io::{Read, Write};

use rustix::fs::{Mode as Bits, OFlags, openat};
use rustix::io::Errno;

use super::System;
use super::files::Seen;
use crate::attribute::AbsPath;
use crate::failure::Failure;

/// The name that the kernel goes by.
const NODE_NAME: &str = "/proc/sys/kernel/hostname";

impl System {
    /// The text of a value, without the line's end. Err is the kernel's answer.
    pub fn kernel_value(&self, path: &AbsPath) -> Result<Result<String, Errno>, Failure> {
        if let Seen::Absent | Seen::NoParent(_) = self.see_to_remove(path)? {
            return Ok(Err(Errno::NOENT));
        }
        let spot = self.spot(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let read = || {
            self.before("open")?;
            let mut file = File::from(openat(spot.directory(), spot.name(), flags, Bits::empty())?);
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(errno)?;
            Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
        };
        Ok(read())
    }

    /// Writes a value. Err is the kernel's answer.
    pub fn set_kernel_value(&self, path: &AbsPath, value: &str) -> Result<Result<(), Errno>, Failure> {
        let spot = self.spot(path)?;
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = || {
            self.before("open")?;
            let mut file = File::from(openat(spot.directory(), spot.name(), flags, Bits::empty())?);
            self.before("write")?;
            file.write_all(format!("{value}\n").as_bytes()).map_err(errno)
        };
        Ok(write())
    }

    /// The name that the kernel goes by, as `hostname` prints it.
    pub fn node_name(&self) -> Result<String, Failure> {
        if self.is_whole_machine() {
            return Ok(rustix::system::uname().nodename().to_string_lossy().into_owned());
        }
        let name = self.kernel_value(&node_name_path())?;
        name.map_err(|errno| Failure::io(format!("reading {NODE_NAME}"), &errno.into()))
    }

    /// Err is the kernel's answer.
    pub fn set_node_name(&self, name: &str) -> Result<Result<(), Errno>, Failure> {
        if !self.is_whole_machine() {
            return self.set_kernel_value(&node_name_path(), name);
        }
        Ok(self.before("sethostname").and_then(|()| rustix::system::sethostname(name.as_bytes())))
    }
}

fn node_name_path() -> AbsPath {
    NODE_NAME.parse().expect("it is an absolute path")
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
