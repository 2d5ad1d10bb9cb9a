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

    /// Since the boot, in hundredths of a second: with the pid, it tells a process from a later
    /// one of the same pid. None: it has ended.
    pub fn start_ticks(&self, pid: u32) -> Option<u64> {
        let path: AbsPath = format!("/proc/{pid}/stat").parse().ok()?;
        start_ticks_in(&std::fs::read_to_string(self.locate(&path)).ok()?)
    }

    /// Whether this very process still runs, and is no zombie.
    pub fn is_alive(&self, pid: u32, ticks: u64) -> bool {
        let path = self.root().join(format!("proc/{pid}/stat"));
        let Ok(stat) = std::fs::read_to_string(path) else { return false };
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        start_ticks_in(&stat) == Some(ticks) && !matches!(state, Some("Z" | "X"))
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
        let ticks = system.start_ticks(own).unwrap();
        assert!(system.is_alive(own, ticks) && !system.is_alive(own, ticks + 1));
    }

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2 3";
        assert_eq!(start_ticks_in(stat), Some(4711));
    }
}
