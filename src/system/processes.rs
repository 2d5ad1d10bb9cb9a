//! The processes that run here, and when they began, from proc(5).

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::System;
use crate::attribute::AbsPath;

/// A running process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pub pid: u32,
    pub argv: Vec<String>,
}

/// One process, and no later one of its pid. It is known where a pid means something: in its own
/// boot, and its own pid namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Identity {
    boot: String,
    namespace: String,
    pub pid: u32,
    start: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Runs,
    /// It has ended; or is ending, and runs no code any more.
    Over,
    /// Of another boot, or of another pid namespace: nobody here can see it.
    OutOfSight,
}

impl Identity {
    pub fn of_this() -> Identity {
        Identity::of(std::process::id())
    }

    pub fn of(pid: u32) -> Identity {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Identity {
            boot: boot.trim().to_owned(),
            namespace: namespace.to_string_lossy().into_owned(),
            pid,
            start: System::machine().start_ticks(pid).unwrap_or_default(),
        }
    }

    pub fn life(&self) -> Life {
        let now = Identity::of(self.pid);
        if self.namespace.is_empty() || (&now.boot, &now.namespace) != (&self.boot, &self.namespace) {
            return Life::OutOfSight;
        }
        match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) if now.start == self.start && !is_ending(&stat) => Life::Runs,
            Ok(_) => Life::Over,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Life::Over,
            Err(_) => Life::OutOfSight,
        }
    }

    /// It was seen before a boot of this machine, or of one of its name.
    pub fn is_of_another_boot(&self) -> bool {
        self.boot != Identity::of(self.pid).boot
    }
}

/// A zombie, though a thread of it may hang in a system call and hold on to what it has open.
fn is_ending(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X', 'x']))
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

/// Real, effective, saved and of the file system.
fn uids_in(status: &str) -> impl Iterator<Item = u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|uid| uid.parse().ok())
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
        let ticks = system.start_ticks(own).unwrap();
        assert!(system.is_alive(own, ticks) && !system.is_alive(own, ticks + 1));
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
    fn a_process_is_told_from_one_that_has_ended_and_from_a_later_one_of_its_pid() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let sleeps = Identity::of(child.id());
        assert_eq!((Identity::of_this().life(), sleeps.life()), (Life::Runs, Life::Runs));
        let later = Identity { start: sleeps.start + 1, ..sleeps.clone() };
        assert_eq!(later.life(), Life::Over);
        let elsewhere = Identity { boot: "another".into(), ..sleeps.clone() };
        assert_eq!((elsewhere.life(), elsewhere.is_of_another_boot()), (Life::OutOfSight, true));
        child.kill().unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while sleeps.life() == Life::Runs {
            assert!(std::time::Instant::now() < end, "a zombie runs no code");
        }
        child.wait().unwrap();
        assert_eq!(sleeps.life(), Life::Over);
        assert_eq!(Identity::default().life(), Life::OutOfSight);
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
