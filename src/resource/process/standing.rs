//! How a supervised process stands: whether its supervisor runs is told by the kernel, by a lock
//! that it holds for as long as it lives; the rest by what the supervisor notes, checked against
//! the processes that are really there.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{
    Flock, FlockType, Pid, Signal, fcntl_getlk, kill_process_group, test_kill_process_group,
};
use serde::{Deserialize, Serialize};

use super::kept::Places;
use crate::attribute::Mode;
use crate::lock;
use crate::resource::Failure;
use crate::system::System;
use crate::system::files::Access;

/// How far the command is, in the supervisor's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Running,
    /// It ended, and is started again in a moment.
    Waiting,
    Ending,
    GaveUp,
    Done,
}

/// What a supervisor notes at each turn.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    pub supervisor: u32,
    /// Pids and ticks are this boot's.
    pub boot: String,
    /// The SHA-256 of the description that it works by.
    pub kept: String,
    pub phase: Phase,
    /// The command's process and its start time, and so this very process.
    pub child: Option<(u32, u64)>,
    pub restarts: u32,
    /// How the command ended last, as in `exited with 3`.
    pub last: Option<String>,
}

/// What is seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// None: no supervisor runs.
    pub supervisor: Option<u32>,
    /// Of this boot.
    pub state: Option<State>,
}

/// The lock, for as long as this lives.
pub struct Held {
    _file: File,
}

/// Which boot this is.
pub fn boot(system: &System) -> String {
    let path = system.root().join("proc/sys/kernel/random/boot_id");
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Standing {
    pub fn look(system: &System, places: &Places) -> Result<Standing, Failure> {
        Ok(Standing { supervisor: holder(system, places)?, ..Standing::left(system, places)? })
    }

    /// What an earlier supervisor left, for one that holds the lock: it must not look at that, for
    /// a process that closes a file has no lock on it any more.
    pub fn left(system: &System, places: &Places) -> Result<Standing, Failure> {
        let bytes = system.read_if_there(&places.state()?)?;
        let state: Option<State> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Standing { supervisor: None, state: state.filter(|state| state.boot == boot(system)) })
    }

    /// The command's process, where it really is alive.
    pub fn child(&self, system: &System) -> Option<u32> {
        let (pid, ticks) = self.state.as_ref()?.child?;
        system.is_alive(pid, ticks).then_some(pid)
    }

    /// Ends a command whose supervisor was killed, with all of its group. Nobody else will.
    pub fn end_orphan(&self, system: &System, grace: Duration) {
        let pid = self.child(system).and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let Some(group) = pid else { return };
        for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, Duration::from_secs(2))] {
            // It may end by itself in this moment.
            let _ = kill_process_group(group, signal);
            let end = Instant::now() + patience;
            while test_kill_process_group(group).is_ok() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Who holds the lock, from the kernel. Asking does not touch it.
fn holder(system: &System, places: &Places) -> Result<Option<u32>, Failure> {
    use crate::system::files::Seen;
    let path = places.lock()?;
    let Seen::There(_) = system.see(&path)? else { return Ok(None) };
    let file = system.open_file(&path)?;
    let lock = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))
        .map_err(|errno| Failure::io(format!("asking for the lock {path}"), &errno.into()))?;
    Ok(lock.map(|lock| lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())))
}

/// Takes the lock. None: somebody else has it. (A lock of fcntl(2) and not of flock(2): the kernel
/// names its holder, and what the holder starts does not inherit it.)
pub fn take(system: &System, places: &Places) -> Result<Option<Held>, Failure> {
    let path = places.lock()?;
    let tried = || format!("taking the lock {path}");
    let own = system.root().join("run/converge");
    for directory in [own.clone(), own.join("processes")] {
        lock::private_directory(&directory).map_err(|error| Failure::io(tried(), &error))?;
    }
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(system.locate(&path));
    let file = open.map_err(|error| Failure::io(tried(), &error))?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Held { _file: file })),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
        Err(errno) => Err(Failure::io(tried(), &errno.into())),
    }
}

/// Notes how it stands, for whoever looks.
pub fn note(system: &System, places: &Places, state: &State) -> Result<(), Failure> {
    let bytes =
        serde_json::to_vec(state).map_err(|error| Failure::new(format!("noting the state: {error}")))?;
    let access = Access { mode: Some(Mode::from_bits(0o600)), ..Access::default() };
    system.put_file(&places.state()?, &bytes, access, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run")).unwrap();
        std::fs::create_dir_all(root.path().join("proc/sys/kernel/random")).unwrap();
        std::fs::write(root.path().join("proc/sys/kernel/random/boot_id"), "this-one\n").unwrap();
        let system = System::under(root.path());
        (root, system)
    }

    fn state(boot: &str) -> State {
        let phase = Phase::Running;
        State {
            supervisor: 7,
            boot: boot.into(),
            kept: String::new(),
            phase,
            child: Some((u32::MAX, 1)),
            restarts: 0,
            last: None,
        }
    }

    #[test]
    fn where_nobody_holds_the_lock_no_supervisor_runs_whatever_is_noted() {
        let (_root, system) = machine();
        let places = Places::of("x");
        assert_eq!(Standing::look(&system, &places).unwrap(), Standing { supervisor: None, state: None });
        drop(take(&system, &places).unwrap().unwrap());
        note(&system, &places, &state("this-one")).unwrap();
        let standing = Standing::look(&system, &places).unwrap();
        assert_eq!((standing.supervisor, standing.state.is_some()), (None, true));
        assert_eq!(standing.child(&system), None, "a pid that nobody has");
    }

    #[test]
    fn what_was_noted_before_the_boot_is_forgotten() {
        let (_root, system) = machine();
        let places = Places::of("x");
        drop(take(&system, &places).unwrap());
        note(&system, &places, &state("another-one")).unwrap();
        assert_eq!(Standing::look(&system, &places).unwrap().state, None);
    }

    #[test]
    fn the_kernel_names_the_holder_of_the_lock() {
        let (root, system) = machine();
        let places = Places::of("x");
        drop(take(&system, &places).unwrap());
        let path = root.path().join("run/converge/processes/x.lock");
        let held = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX); print(flush=True); input()";
        let mut child = std::process::Command::new("python3")
            .args(["-c", held])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
            .unwrap();
        assert_eq!(Standing::look(&system, &places).unwrap().supervisor, Some(child.id()));
        assert!(take(&system, &places).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Standing::look(&system, &places).unwrap().supervisor, None);
    }
}
