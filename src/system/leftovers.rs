//! Programs of a run that was killed. An agent that ends by itself ends its programs; one that is
//! killed cannot. So each program that runs under the machine's lock is noted beside it, and who has the lock next
//! ends what is left: else both would work on the same thing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::System;
use super::processes::{Identity, Life};
use crate::failure::Failure;
use crate::lock;

/// Beside the lock, in a place of its own: restart debts lie there too, by their types (`programs`).
const DIRECTORY: &str = "running";

/// As long as the agent gives its programs when it has to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where they are noted: nowhere before the lock is held.
#[derive(Clone, Default, Debug)]
pub(super) struct Programs(Arc<Mutex<Option<PathBuf>>>);

impl Programs {
    fn directory(&self) -> std::sync::MutexGuard<'_, Option<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the leader of a process group, for as long as the note lives.
    pub(super) fn note(&self, pid: u32) -> Note {
        let path = self.directory().as_ref().map(|directory| directory.join(pid.to_string()));
        // It is for the case that this process is killed: where it cannot be written, the program
        // is as well run without.
        let written = path.filter(|path| {
            let identity = serde_json::to_vec(&Identity::of(pid)).unwrap_or_default();
            std::fs::write(path, identity).is_ok()
        });
        Note(written)
    }
}

pub(super) struct Note(Option<PathBuf>);

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl System {
    /// For whoever has just got the machine's lock: ends the programs that the run before it left
    /// behind, each with its process group, and notes its own from now on.
    pub fn end_what_is_left(&self) -> Result<(), Failure> {
        let directory = lock::directory(self).join(DIRECTORY);
        let tried = format!("looking for what a killed run left, in {}", directory.display());
        lock::private_directory(&directory).map_err(|error| Failure::io(&tried, &error))?;
        for entry in std::fs::read_dir(&directory).map_err(|error| Failure::io(&tried, &error))? {
            let path = entry.map_err(|error| Failure::io(&tried, &error))?.path();
            end_noted(&path);
            std::fs::remove_file(&path).map_err(|error| Failure::io(&tried, &error))?;
        }
        *self.programs.directory() = Some(directory);
        Ok(())
    }
}

/// A note that cannot be read was cut in the middle: its program has just begun then.
fn end_noted(note: &Path) {
    let Some(program) =
        std::fs::read(note).ok().and_then(|bytes| serde_json::from_slice::<Identity>(&bytes).ok())
    else {
        return;
    };
    let group = i32::try_from(program.pid).ok().and_then(Pid::from_raw);
    for signal in [Signal::TERM, Signal::KILL] {
        if program.life() != Life::Runs {
            return;
        }
        // It may have ended in this moment.
        group.map(|group| kill_process_group(group, signal));
        let end = Instant::now() + PATIENCE;
        while program.life() == Life::Runs && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    fn machine() -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run")).unwrap();
        let system = System::under(root.path());
        (root, system)
    }

    fn notes(system: &System) -> usize {
        std::fs::read_dir(lock::directory(system).join(DIRECTORY)).unwrap().count()
    }

    #[test]
    fn the_program_of_a_killed_run_is_ended_with_its_children_by_the_next_one() {
        let (_root, system) = machine();
        system.end_what_is_left().unwrap();
        let mark = format!("8{}", std::process::id());
        let line = format!("trap '' TERM; sleep {mark} & wait; sleep {mark}");
        let mut left = Command::new("/bin/sh").args(["-c", &line]).process_group(0).spawn().unwrap();
        // As by a process that is killed: nothing takes the note away.
        std::mem::forget(system.programs.note(left.id()));
        assert_eq!(notes(&system), 1);
        let next = System::under(system.root());
        let ending = std::thread::spawn(move || next.end_what_is_left());
        // Its new parent, init, takes it away.
        left.wait().unwrap();
        ending.join().unwrap().unwrap();
        let still = Command::new("pgrep").args(["-xf", &format!("sleep {mark}")]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&still.stdout), "");
        assert_eq!(notes(&system), 0);
    }

    #[test]
    fn programs_are_noted_while_they_run_and_only_under_the_lock() {
        let (root, system) = machine();
        // The note is written just after the start of the program.
        let list = format!(
            "cd {} || exit 1; i=0; until [ \"$(ls)\" ] || [ $i -gt 300 ]; do sleep 0.1; i=$((i + 1)); done; ls",
            lock::directory(&system).join(DIRECTORY).display()
        );
        let run = || system.run(&crate::system::commands::Invocation::new(["/bin/sh", "-c", &list])).unwrap();
        assert!(!run().succeeded(), "without the lock there is no such place");
        system.end_what_is_left().unwrap();
        assert_eq!(run().stdout.lines().count(), 1);
        assert_eq!(notes(&system), 0);
        drop(root);
    }

    #[test]
    fn another_process_of_that_pid_is_left_alone() {
        let (_root, system) = machine();
        system.end_what_is_left().unwrap();
        let mut bystander = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let identity = serde_json::to_string(&Identity::of(bystander.id())).unwrap();
        let (head, _) = identity.rsplit_once("\"start\":").unwrap();
        let note = lock::directory(&system).join(DIRECTORY).join(bystander.id().to_string());
        std::fs::write(&note, format!("{head}\"start\":1}}")).unwrap();
        std::fs::write(note.with_extension("cut"), "{\"boot\"").unwrap();
        system.end_what_is_left().unwrap();
        assert!(bystander.try_wait().unwrap().is_none());
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }
}
