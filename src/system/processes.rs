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

    /// Whether the process was started by this one, or by one that it started.
    pub fn is_descendant(&self, pid: u32) -> bool {
        let mut pid = pid;
        while pid > 1 {
            let stat = std::fs::read_to_string(self.root().join(format!("proc/{pid}/stat")));
            match stat.ok().as_deref().and_then(parent_in) {
                Some(parent) if parent == std::process::id() => return true,
                Some(parent) if parent != pid => pid = parent,
                _ => return false,
            }
        }
        false
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

/// Field 4.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
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
    fn what_this_process_has_started_is_told_from_what_others_have() {
        let mut shell = std::process::Command::new("sh");
        let shell = shell.args(["-c", "sleep 60 & echo $!; wait"]);
        let mut shell = shell.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.as_mut().unwrap()), &mut line)
            .unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let system = System::machine();
        assert!(system.is_descendant(shell.id()) && system.is_descendant(grandchild));
        assert!(!system.is_descendant(1) && !system.is_descendant(std::process::id()));
        shell.kill().unwrap();
        shell.wait().unwrap();
        std::process::Command::new("kill").arg(grandchild.to_string()).status().unwrap();
    }

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2 3";
        assert_eq!(start_ticks_in(stat), Some(4711));
    }
}
