//! Locks: one run at a time for a spec, and for a machine. A lock is a kernel lock on a file, so
//! it ends with its holder, however that ends. Where a thread of a dead holder hangs in the kernel
//! and keeps the file open, the next one puts a new file in its place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::system::System;
use crate::system::processes::{Identity, Life};

/// Who holds a lock, for the one who does not get it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
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
    /// The controller, by its machine-id, and the run's process there.
    #[serde(default)]
    pub machine: String,
    #[serde(default)]
    pub process: Identity,
    /// Who keeps the lock for the run, on the machine that it is about.
    #[serde(default)]
    pub keeper: Identity,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockRefusal {
    Held(Box<Holder>),
    /// The lock file could not be made or read.
    Failed(Failure),
}

/// What the controller of a run knows of another run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Past {
    /// It was one of this controller's, and its process is there no more.
    Over,
    /// It was one of this controller's, before it booted.
    OfAnotherBoot,
    /// It runs, or cannot be seen from here.
    Unknown,
}

impl Holder {
    /// As `ours` sees it, on the controller.
    pub fn past(&self, ours: &Holder) -> Past {
        let is_of_this_machine =
            !self.machine.is_empty() && (&self.machine, &self.host) == (&ours.machine, &ours.host);
        match self.process.life() {
            _ if !is_of_this_machine => Past::Unknown,
            Life::Over => Past::Over,
            Life::OutOfSight if self.process.is_of_another_boot() => Past::OfAnotherBoot,
            Life::OutOfSight | Life::Runs => Past::Unknown,
        }
    }
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
    pub fn is_ending(&mut self) -> io::Result<()> {
        self.holder.is_ending = true;
        write_holder(&mut self.file, &self.holder)
    }
}

impl Drop for MachineLock {
    /// Said to the kernel: a thread that hangs in a system call, or a program that could not be
    /// started yet, still has the file open.
    fn drop(&mut self) {
        // An unlocked file fails at nothing else.
        let _ = self.file.unlock();
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
    let failed = |tried: &str, error: io::Error| {
        LockRefusal::Failed(Failure::io(format!("{tried} the lock {}", path.display()), &error))
    };
    if let Some(parent) = path.parent() {
        private_directory(parent).map_err(|error| failed("making the directory of", error))?;
    }
    match try_to_take(path, holder) {
        Ok(Attempt::Taken(lock)) => Ok(Some(*lock)),
        Ok(Attempt::Ours) => Ok(None),
        Ok(Attempt::Held(other)) if other.keeper.life() == Life::Over => {
            // One at a time: nobody may take away the new file of another.
            let _gate = gate(path).map_err(|error| failed("replacing", error))?;
            match try_to_take(path, holder) {
                Ok(Attempt::Held(still)) if still.keeper == other.keeper => {
                    std::fs::remove_file(path).map_err(|error| failed("replacing", error))?;
                }
                Ok(Attempt::Held(another)) => return Err(LockRefusal::Held(another)),
                Ok(Attempt::Taken(lock)) => return Ok(Some(*lock)),
                Ok(Attempt::Ours) => return Ok(None),
                Err(error) => return Err(failed("taking", error)),
            }
            match try_to_take(path, holder).map_err(|error| failed("taking", error))? {
                Attempt::Taken(lock) => Ok(Some(*lock)),
                Attempt::Ours => Ok(None),
                Attempt::Held(another) => Err(LockRefusal::Held(another)),
            }
        }
        Ok(Attempt::Held(other)) => Err(LockRefusal::Held(other)),
        Err(error) => Err(failed("taking", error)),
    }
}

enum Attempt {
    Taken(Box<MachineLock>),
    /// This run holds it already.
    Ours,
    Held(Box<Holder>),
}

fn try_to_take(path: &Path, holder: &Holder) -> io::Result<Attempt> {
    loop {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(match read_holder(&mut file) {
                    Some(other) if other.run == holder.run => Attempt::Ours,
                    Some(other) => Attempt::Held(Box::new(other)),
                    None => Attempt::Held(Box::new(somebody())),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Somebody may have put a new file in its place meanwhile.
        match std::fs::symlink_metadata(path) {
            Ok(there) if there.ino() == file.metadata()?.ino() => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => continue,
        }
        let holder = Holder { keeper: Identity::of_this(), ..holder.clone() };
        write_holder(&mut file, &holder)?;
        return Ok(Attempt::Taken(Box::new(MachineLock { file, holder })));
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Who has not said yet who it is.
fn somebody() -> Holder {
    Holder {
        user: "somebody".into(),
        host: "this machine".into(),
        since: "just now".into(),
        spec: "a spec".into(),
        ..Holder::default()
    }
}

fn gate(path: &Path) -> io::Result<File> {
    let file = open(&path.with_extension("gate"))?;
    file.lock()?;
    Ok(file)
}

/// Asks the keeper of the machine's lock to end, where it still keeps it for this run, which is over:
/// it finishes what is under way, and gives the lock back.
pub fn end(system: &System, over: &Holder) {
    let path = directory(system).join("lock");
    let there = File::open(path).ok().and_then(|mut file| read_holder(&mut file));
    if let Some(there) = there.filter(|there| there.run == over.run && there.keeper.life() == Life::Runs)
        && let Some(pid) = i32::try_from(there.keeper.pid).ok().and_then(Pid::from_raw)
        && there.keeper != Identity::of_this()
    {
        // It may have ended in this moment: that is what is asked for.
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let text = serde_json::to_string(holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// Nobody else may put a lock, or a link, in our way.
pub fn private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap_or(path))?;
            return private_directory(path);
        }
        made => return made,
    }
    let there = std::fs::symlink_metadata(path)?;
    if !there.is_dir() || there.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it is there, but is not a directory of this user's"));
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
            ..Holder::default()
        }
    }

    fn is_held_by(refused: Result<Option<MachineLock>, LockRefusal>, run: &str) -> bool {
        matches!(refused, Err(LockRefusal::Held(other)) if other.run == run && other.pid == 42)
    }

    #[test]
    fn a_second_run_is_refused_by_name_and_the_same_run_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks/lock");
        let held = take(&path, &holder("one")).unwrap();
        assert!(held.is_some());
        assert!(is_held_by(take(&path, &holder("two")), "one"));
        assert!(take(&path, &holder("one")).unwrap().is_none());
        drop(held);
        // A test beside this one may have forked meanwhile: its child holds the file until it execs.
        let free = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            take(&path, &holder("two")).is_ok()
        });
        assert!(free);
    }

    /// A file that is locked, by whomever, and says that it is kept by this process.
    fn kept_by(path: &Path, keeper: Identity) -> File {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.lock().unwrap();
        write_holder(&mut file, &Holder { keeper, ..holder("one") }).unwrap();
        file
    }

    #[test]
    fn a_lock_whose_keeper_is_dead_is_taken_though_something_has_its_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = Identity::of(child.id());
        child.wait().unwrap();
        let stuck = kept_by(&path, dead);
        let taken = take(&path, &holder("two")).unwrap().expect("its keeper has ended");
        assert!(is_held_by(take(&path, &holder("three")), "two"), "the new file is the lock");
        drop((stuck, taken));
    }

    #[test]
    fn a_lock_is_left_to_a_keeper_that_cannot_be_seen_from_here() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _held = kept_by(&path, Identity::default());
        assert!(is_held_by(take(&path, &holder("two")), "one"));
    }

    #[test]
    fn a_run_is_over_where_its_controller_sees_its_process_no_more() {
        let ours = Holder { machine: "m1".into(), process: Identity::of_this(), ..holder("now") };
        let of = |process: Identity| Holder { process, ..ours.clone() };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = of(Identity::of(child.id()));
        child.wait().unwrap();
        assert_eq!(ended.past(&ours), Past::Over);
        assert_eq!(of(Identity::of_this()).past(&ours), Past::Unknown, "it runs");
        assert_eq!(of(Identity::default()).past(&ours), Past::OfAnotherBoot);
        let elsewhere = Holder { machine: "m2".into(), ..ended.clone() };
        assert_eq!(elsewhere.past(&ours), Past::Unknown, "a run of another controller");
        assert_eq!(Holder { host: "twin".into(), ..ended }.past(&ours), Past::Unknown);
    }
}
