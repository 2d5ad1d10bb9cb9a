//! What was unpacked, as the record has it, and what has become of it since.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attribute::{AbsPath, Algorithm, Checksum};
use crate::resource::Failure;
use crate::resource::record::Record;
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};

/// So many are named; the rest is counted.
const NAMED: usize = 5;

/// What was unpacked into a directory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Unpacked {
    /// Which archive it was: its checksum, or the mark of its URL.
    pub archive: String,
    pub strip: u32,
    /// By their paths in the directory.
    pub entries: BTreeMap<String, Entry>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// `made`: it was not there before.
    Directory {
        made: bool,
    },
    Symlink {
        target: String,
    },
    File {
        size: u64,
        sha256: String,
        modified: i128,
    },
}

/// What an entry is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    AsUnpacked,
    Missing,
    Changed,
}

impl Unpacked {
    pub fn record(directory: &AbsPath) -> Record {
        Record::of_path("archives", directory)
    }

    /// What is no longer as it was unpacked, with a word on each; what the spec declares itself is not
    /// looked at.
    pub fn drift(
        &self,
        system: &System,
        directory: &AbsPath,
        declared: &[AbsPath],
    ) -> Result<Vec<String>, Failure> {
        let mut off = Vec::new();
        for (name, entry) in &self.entries {
            let path = directory.join(name);
            if declared.binary_search(&path).is_ok() {
                continue;
            }
            match entry.state(system, &path)? {
                State::AsUnpacked => {}
                State::Missing => off.push(format!("{name} (missing)")),
                State::Changed => off.push(format!("{name} (changed)")),
            }
            in_time(system, directory)?;
        }
        Ok(off)
    }
}

impl Entry {
    /// Compared with what is there: of a file whose length and time are as they were, the content
    /// is taken to be so too.
    pub fn state(&self, system: &System, path: &AbsPath) -> Result<State, Failure> {
        let Some(there) = see(system, path)? else { return Ok(State::Missing) };
        let is_same = match (self, there.kind) {
            (Entry::Directory { .. }, Kind::Directory) => true,
            // Reached through it is what was unpacked.
            (Entry::Directory { made: false }, Kind::Symlink) => true,
            (Entry::Symlink { target }, Kind::Symlink) => system.link_target(path)? == *target,
            (Entry::File { size, sha256, modified }, Kind::File) if *size == there.size => {
                there.modified == *modified || is_sum(&system.checksum(path, Algorithm::Sha256)?, sha256)
            }
            _ => false,
        };
        Ok(if is_same { State::AsUnpacked } else { State::Changed })
    }
}

pub fn is_sum(found: &Checksum, sha256: &str) -> bool {
    found.to_string().strip_prefix("sha256:") == Some(sha256)
}

/// What lies there; below a file there is nothing.
pub fn see(system: &System, path: &AbsPath) -> Result<Option<Meta>, Failure> {
    match system.see_to_remove(path)? {
        Seen::There(there) => Ok(Some(there)),
        Seen::Absent | Seen::NoParent(_) => Ok(None),
    }
}

pub fn in_time(system: &System, directory: &AbsPath) -> Result<(), Failure> {
    match system.time_left().is_zero() {
        false => Ok(()),
        true => Err(Failure::new(format!("{directory}: its archive was not done within the timeout"))
            .help("if it may take longer, give the resource a longer `timeout`")),
    }
}

/// `3 off: bin/app (missing), …`.
pub fn named(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}
