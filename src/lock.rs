//! Locks: one run at a time for a spec, and for a machine. A lock is a kernel lock on a file, so
//! it ends with its holder, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::system::System;

/// Who holds a lock, for the one who does not get it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// Of the run: a run never blocks itself.
    pub run: String,
    pub user: String,
    /// The controller's name.
    pub host: String,
    pub pid: u32,
    /// When the run began: RFC 3339.
    pub since: String,
    pub spec: String,
    /// Its controller has gone, and only what was under way is being finished.
    #[serde(default)]
    pub is_ending: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockRefusal {
    Held(Holder),
    /// The lock file could not be made or read.
    Failed(Failure),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Holder { user, host, pid, since, spec, .. } = self;
        write!(f, "{user}@{host}, pid {pid}, since {since}, with {spec}")
    }
}

/// The lock is held as long as this lives.
#[derive(Debug)]
pub struct MachineLock {
    file: File,
    holder: Holder,
}

impl MachineLock {
    /// Tells whoever asks that it will be free in a moment.
    pub fn is_ending(&mut self) -> std::io::Result<()> {
        self.holder.is_ending = true;
        write_holder(&mut self.file, &self.holder)
    }
}

/// Where this user's locks lie: on a file system that a reboot clears, or where
/// `CONVERGE_RUNTIME_DIR` says.
pub fn directory(system: &System) -> PathBuf {
    if let Some(directory) = std::env::var_os("CONVERGE_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        return PathBuf::from(directory);
    }
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return system.root().join("run/converge");
    }
    let runtime = system.root().join(format!("run/user/{uid}"));
    if runtime.is_dir() {
        runtime.join("converge")
    } else {
        system.root().join(format!("tmp/converge-{uid}"))
    }
}

/// Takes the machine's lock. None: this run holds it already, by another name of this machine.
pub fn machine(system: &System, holder: &Holder) -> Result<Option<MachineLock>, LockRefusal> {
    take(&directory(system).join("lock"), holder)
}

/// Takes the lock that is the file at `path`.
pub fn take(path: &Path, holder: &Holder) -> Result<Option<MachineLock>, LockRefusal> {
    let failed = |tried: &str, error: std::io::Error| {
        LockRefusal::Failed(Failure::io(format!("{tried} the lock {}", path.display()), &error))
    };
    if let Some(parent) = path.parent() {
        private_directory(parent).map_err(|error| failed("making the directory of", error))?;
    }
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(|error| failed("opening", error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return match read_holder(&mut file) {
                Some(other) if other.run == holder.run => Ok(None),
                Some(other) => Err(LockRefusal::Held(other)),
                None => Err(LockRefusal::Held(Holder {
                    run: String::new(),
                    user: "somebody".into(),
                    host: "this machine".into(),
                    pid: 0,
                    since: "just now".into(),
                    spec: "a spec".into(),
                    is_ending: false,
                })),
            };
        }
        Err(TryLockError::Error(error)) => return Err(failed("locking", error)),
    }
    write_holder(&mut file, holder).map_err(|error| failed("writing", error))?;
    Ok(Some(MachineLock { file, holder: holder.clone() }))
}

fn write_holder(file: &mut File, holder: &Holder) -> std::io::Result<()> {
    let text = serde_json::to_string(holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// Nobody else may put a lock, or a link, in our way.
pub fn private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap_or(path))?;
            return private_directory(path);
        }
        made => return made,
    }
    let there = std::fs::symlink_metadata(path)?;
    if !there.is_dir() || there.uid() != rustix::process::geteuid().as_raw() {
        return Err(std::io::Error::other("it is there, but is not a directory of this user's"));
    }
    Ok(())
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(run: &str) -> Holder {
        Holder {
            run: run.into(),
            user: "root".into(),
            host: "ctl".into(),
            pid: 42,
            since: "2026-01-01T00:00:00Z".into(),
            spec: "prod.yaml".into(),
            is_ending: false,
        }
    }

    #[test]
    fn a_second_run_is_refused_by_name_and_the_same_run_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks/lock");
        let held = take(&path, &holder("one")).unwrap();
        assert!(held.is_some());
        assert_eq!(take(&path, &holder("two")).unwrap_err(), LockRefusal::Held(holder("one")));
        assert!(take(&path, &holder("one")).unwrap().is_none());
        drop(held);
        // A test beside this one may have forked meanwhile: its child holds the file until it execs.
        let free = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            take(&path, &holder("two")).is_ok()
        });
        assert!(free);
    }
}
