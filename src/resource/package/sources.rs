//! How old an index is, from the files that it consists of and those that name its sources.

use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::manager::Index;
use crate::resource::Failure;
use crate::system::System;

fn place(system: &System, path: &str) -> PathBuf {
    system.root().join(path.trim_start_matches('/'))
}

pub fn changed(system: &System, path: &str) -> Option<SystemTime> {
    std::fs::metadata(place(system, path)).and_then(|meta| meta.modified()).ok()
}

/// The names in a directory; none where it cannot be read.
pub fn names_in(system: &System, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(place(system, directory)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// `/etc/apt/sources.list.d`, and what in it ends like this.
pub fn and_in(system: &System, directory: &str, endings: &[&str]) -> Vec<String> {
    let names = names_in(system, directory).into_iter();
    let names = names.filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    // A file says more than its directory.
    names.map(|name| format!("{directory}/{name}")).chain([directory.to_owned()]).collect()
}

/// As it was read last, the newest of these files says when.
pub fn index(system: &System, files: &[String], sources: &[String]) -> Index {
    match files.iter().filter_map(|file| changed(system, file)).max() {
        Some(read) => index_read_at(system, read, sources),
        None => Index::default(),
    }
}

pub fn index_read_at(system: &System, read: SystemTime, sources: &[String]) -> Index {
    let newer = sources.iter().find(|source| changed(system, source).is_some_and(|changed| changed > read));
    Index { read: Some(read), newer_source: newer.cloned() }
}

/// Notes that what is in them is as of now: the managers leave alone what was not newer.
pub fn touch(system: &System, files: &[String]) -> Result<(), Failure> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let now = Timestamps { last_access: now, last_modification: now };
    for file in files {
        utimensat(CWD, place(system, file), &now, AtFlags::empty())
            .map_err(|errno| Failure::io(format!("noting the time in {file}"), &errno.into()))?;
    }
    Ok(())
}
