//! The supervisor of one `process`, where no systemd runs: found again by its lock, told what to
//! do by a file that root alone reads, and in a session of its own, so that it outlives whoever
//! started it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::child::Job;
use super::policy::{Limit, Policy};
use super::watch::{self, Orders, Witness};
use super::{GRACE, say, supervise};
use crate::attribute::sha256_hex;
use crate::resource::Failure;
use crate::resource::process::kept::{Kept, PATH, Places};
use crate::resource::process::standing::{self, Phase, Standing, State};
use crate::resource::process::{LOOP_RESTARTS, loop_within};
use crate::system::System;

/// Its log is cut when it is longer, and one older piece is kept.
const LOG_CAP: u64 = 10 * 1024 * 1024;

const LOG_LOOK: Duration = Duration::from_secs(30);

/// So long a detached supervisor may take to start its command.
const STARTUP: Duration = Duration::from_secs(10);

/// `--process FILE [--detach]`, and what a detached one is started with.
pub struct Words {
    pub file: PathBuf,
    pub detach: bool,
    /// It is to leave the session that it was started in.
    pub is_session: bool,
}

impl Words {
    /// None: they ask for something else.
    pub fn of(words: &[OsString]) -> Option<Words> {
        let (first, rest) = words.split_first()?;
        let (file, rest) = rest.split_first().filter(|_| first == "--process")?;
        let has = |word: &str| rest.iter().any(|other| other == word);
        Some(Words { file: file.into(), detach: has("--detach"), is_session: has("--session") })
    }

    pub fn run(&self) -> u8 {
        match self.try_run() {
            Ok(code) => code,
            Err(failure) => {
                let _ = writeln!(std::io::stderr(), "error: {}", failure.reason);
                1
            }
        }
    }

    fn try_run(&self) -> Result<u8, Failure> {
        let system = System::machine();
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::new("the supervisor of a process runs as root"));
        }
        // Left behind by another init: systemd keeps the process alive, and once is enough.
        if system.root().join("run/systemd/system").is_dir() {
            return Err(Failure::new("this machine is run by systemd, which keeps its processes alive"));
        }
        let tried = || format!("reading {}", self.file.display());
        let bytes = std::fs::read(&self.file).map_err(|error| Failure::io(tried(), &error))?;
        let kept = Kept::read(&bytes).map_err(|error| Failure::new(format!("{}: {error}", tried())))?;
        let places = Places::of(&kept.process);
        if self.detach {
            return self.start_detached(&system, &places);
        }
        if self.is_session {
            rustix::process::setsid()
                .map_err(|errno| Failure::io("beginning a session of its own", &errno.into()))?;
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        std::env::set_current_dir("/").map_err(|error| Failure::io("going to /", &error))?;
        let Some(_held) = standing::take(&system, &places)? else {
            say(&kept.process, "its supervisor runs already");
            return Ok(0);
        };
        // One whose supervisor was killed runs alone, and would run beside the new one.
        Standing::left(&system, &places)?.end_orphan(&system, GRACE.get());
        let mut notes =
            Notes { system, places, label: kept.process.clone(), kept: sha256_hex(&bytes), last: None };
        Ok(supervise(orders(&kept), &mut notes))
    }

    /// Starts the supervisor with its log for an output, and waits until it has begun.
    fn start_detached(&self, system: &System, places: &Places) -> Result<u8, Failure> {
        let path = places.log()?;
        let log = open_log(&system.locate(&path))
            .map_err(|error| Failure::io(format!("opening the log {path}"), &error))?;
        let own = std::env::current_exe().map_err(|error| Failure::io("finding this program", &error))?;
        let (out, err) = (log.try_clone(), log.try_clone());
        let both = out.and_then(|out| err.map(|err| (out, err)));
        let (out, err) = both.map_err(|error| Failure::io(format!("opening the log {path}"), &error))?;
        let mut child = Command::new(own)
            .args(["supervise", "--process"])
            .arg(&self.file)
            .arg("--session")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| Failure::io("starting the supervisor", &error))?;
        let end = Instant::now() + STARTUP;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return match status.success() {
                    // The command needed nobody to keep it alive, or somebody else does.
                    true => Ok(0),
                    false => Err(Failure::new(format!("the supervisor ended at once: see {path}"))),
                };
            }
            let standing = Standing::look(system, places)?;
            let begun = |state: &State| state.supervisor == child.id();
            if standing.supervisor == Some(child.id()) && standing.state.as_ref().is_some_and(begun) {
                return Ok(0);
            }
            if Instant::now() >= end {
                return Err(Failure::new(format!("the supervisor has not begun: see {path}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn orders(kept: &Kept) -> Orders {
    let within = loop_within(kept.delay.get());
    let mut environment = vec![("PATH".to_owned(), PATH.to_owned())];
    environment.extend(kept.environment.clone());
    Orders {
        job: Job {
            argv: kept.command.argv().into_iter().map(OsString::from).collect(),
            directory: kept.directory.as_ref().map(|directory| PathBuf::from(directory.as_str())),
            user: Some(kept.user.clone().unwrap_or_else(|| "root".to_owned())),
            environment: Some(environment),
        },
        policy: Policy {
            restart: kept.restart,
            delay: kept.delay.get(),
            max_delay: None,
            limit: Some(Limit { restarts: LOOP_RESTARTS, within: Some(within) }),
        },
        grace: GRACE.get(),
        probe: None,
        must_start: false,
    }
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Tells its log, and notes for others how the process stands.
struct Notes {
    system: System,
    places: Places,
    label: String,
    /// The hash of what it works by.
    kept: String,
    last: Option<String>,
}

impl Witness for Notes {
    fn say(&mut self, what: &str) {
        say(&self.label, what);
    }

    fn phase(&mut self, phase: &watch::Phase, restarts: u32) {
        let mut child = None;
        let word = match phase {
            watch::Phase::Running { pid } => {
                child = self.system.start_ticks(*pid).map(|ticks| (*pid, ticks));
                Phase::Running
            }
            watch::Phase::Waiting { ending, .. } => {
                self.last = Some(ending.to_string());
                Phase::Waiting
            }
            watch::Phase::Ending { pid } => {
                child = self.system.start_ticks(*pid).map(|ticks| (*pid, ticks));
                Phase::Ending
            }
            watch::Phase::GaveUp { ending } => {
                self.last = Some(ending.to_string());
                Phase::GaveUp
            }
            watch::Phase::Done { ending } => {
                self.last = ending.as_ref().map(ToString::to_string);
                Phase::Done
            }
        };
        let state = State {
            supervisor: std::process::id(),
            boot: standing::boot(&self.system),
            kept: self.kept.clone(),
            phase: word,
            child,
            restarts,
            last: self.last.clone(),
        };
        if let Err(failure) = standing::note(&self.system, &self.places, &state) {
            // It keeps the command alive all the same; the next check sees that nothing is known.
            say(&self.label, &failure.reason);
        }
    }

    fn tick(&mut self) {
        if let Ok(path) = self.places.log()
            && let Err(error) = cut(&self.system.locate(&path), LOG_CAP)
        {
            say(&self.label, &format!("its log could not be cut: {error}"));
        }
    }

    fn tick_every(&self) -> Option<Duration> {
        Some(LOG_LOOK)
    }
}

/// Copies a log that has grown too long to `….1` and empties it: the command goes on writing at
/// its end, wherever that is.
fn cut(log: &Path, cap: u64) -> std::io::Result<()> {
    if std::fs::metadata(log)?.len() <= cap {
        return Ok(());
    }
    let mut old = log.as_os_str().to_owned();
    old.push(".1");
    std::fs::copy(log, old)?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_too_long_is_cut_and_its_writer_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/x.log");
        let mut log = open_log(&path).unwrap();
        log.write_all(b"0123456789").unwrap();
        cut(&path, 10).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
        log.write_all(b"!").unwrap();
        cut(&path, 10).unwrap();
        log.write_all(b"on\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"on\n");
        assert_eq!(std::fs::read(directory.path().join("sub/x.log.1")).unwrap(), b"0123456789!");
    }
}
