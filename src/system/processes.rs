//! The processes that run here, and when they began, from proc(5).

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use super::System;
use crate::attribute::AbsPath;

/// A running process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pub pid: u32,
    pub argv: Vec<String>,
}

impl System {
    /// Every process with a command line (so no kernel threads, and no zombies).
    pub fn processes(&self) -> Vec<Process> {
        let Ok(entries) = std::fs::read_dir(self.root().join("proc")) else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| {
            let bytes = std::fs::read(self.root().join(format!("proc/{pid}/cmdline"))).ok()?;
            let text = String::from_utf8_lossy(&bytes);
            let argv: Vec<String> = text.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
            (!text.is_empty()).then_some(Process { pid, argv })
        })
        .collect()
    }

    /// Those that run as this user, by any of its four uids.
    pub fn processes_of(&self, uid: u32) -> Vec<Process> {
        let runs_as = |process: &Process| {
            let status = std::fs::read_to_string(self.root().join(format!("proc/{}/status", process.pid)));
            status.is_ok_and(|status| uids_in(&status).any(|one| one == uid))
        };
        self.processes().into_iter().filter(runs_as).collect()
    }

    /// Since the boot, in hundredths of a second: with the pid, it tells a process from a later
    /// one of the same pid. None: it has ended.
    pub fn start_ticks(&self, pid: u32) -> Option<u64> {
        let path: AbsPath = format!("/proc/{pid}/stat").parse().ok()?;
        start_ticks_in(&std::fs::read_to_string(self.locate(&path)).ok()?)
    }

    /// How long the process has been running.
    pub fn process_age(&self, pid: u32) -> Option<Duration> {
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?);
        // The tick is cut off: a process is at most so old.
        Some(now.saturating_sub(Duration::from_millis((self.start_ticks(pid)? + 1) * 10)))
    }

    /// When the process began, by the clock as it goes now; at the latest, to the tick.
    pub fn process_start(&self, pid: u32) -> Option<SystemTime> {
        SystemTime::now().checked_sub(self.process_age(pid)?)
    }
}

/// Real, effective, saved and of the file system.
fn uids_in(status: &str) -> impl Iterator<Item = u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|uid| uid.parse().ok())
}

/// Field 22; the second, the program's name, may hold spaces and parentheses.
fn start_ticks_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_with_its_command_line_and_age() {
        let system = System::machine();
        let own = std::process::id();
        let found = system.processes().into_iter().find(|process| process.pid == own).unwrap();
        assert!(!found.argv[0].is_empty());
        assert!(system.process_age(own).unwrap() < Duration::from_secs(3600));
        assert_eq!(system.start_ticks(u32::MAX), None);
    }

    #[test]
    fn a_process_is_known_by_whom_it_runs_as() {
        let uid = rustix::process::geteuid().as_raw();
        let own = std::process::id();
        assert!(System::machine().processes_of(uid).iter().any(|process| process.pid == own));
        assert!(System::machine().processes_of(u32::MAX - 1).is_empty());
        let status = "Name:\tx\nUid:\t1000\t0\t1000\t1001\nGid:\t5\t5\t5\t5\n";
        assert_eq!(uids_in(status).collect::<Vec<_>>(), [1000, 0, 1000, 1001]);
    }

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2 3";
        assert_eq!(start_ticks_in(stat), Some(4711));
    }
}
