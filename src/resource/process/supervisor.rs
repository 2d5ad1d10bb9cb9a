//! The supervisor of a process as a program on its host: put there, started, ended; and the cron
//! that starts it at boot.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::GRACE;
use super::kept::{Places, SUPERVISOR};
use super::standing::Standing;
use crate::attribute::{AbsPath, Mode};
use crate::resource::{Failure, Lack, Thing};
use crate::system::System;
use crate::system::files::Access;

/// Beyond the grace, before a supervisor that does not end is killed.
const BEYOND: Duration = Duration::from_secs(4);

const CRON_DIRECTORY: &str = "/etc/cron.d";

/// What starts it: converge, and cron at every boot.
pub fn start_words(places: &Places) -> Result<Vec<String>, Failure> {
    let kept = places.kept()?;
    Ok([SUPERVISOR, "supervise", "--process", kept.as_str(), "--detach"].map(str::to_owned).to_vec())
}

/// Whether the program that supervises is there and root's.
pub fn is_installed(system: &System) -> bool {
    let Ok(path) = SUPERVISOR.parse() else { return false };
    let Ok(meta) = std::fs::metadata(system.locate(&path)) else { return false };
    meta.is_file()
        && meta.uid() == 0
        && meta.permissions().mode() & 0o022 == 0
        && meta.permissions().mode() & 0o111 != 0
}

/// Puts a copy of this very program where it stays: the agent itself lies in a cache. A running
/// supervisor keeps the one that it was started from.
pub fn install(system: &System) -> Result<(), Failure> {
    let _turn = system.turn("processes")?;
    let tried = "copying this program for a supervisor";
    let own = std::fs::read("/proc/self/exe").map_err(|error| Failure::io(tried, &error))?;
    let path: AbsPath = SUPERVISOR.parse().map_err(Failure::new)?;
    if is_installed(system) && std::fs::read(system.locate(&path)).is_ok_and(|there| there == own) {
        return Ok(());
    }
    let access = Access { uid: Some(0), gid: Some(0), mode: Some(Mode::from_bits(0o755)) };
    if let Some(directory) = path.parent() {
        system.ensure_directory(&directory, access)?;
    }
    system.put_file(&path, &own, access, |_| Ok(()))
}

/// Nothing else would start it after a reboot: a failure where no cron is there that could.
pub fn cron_lack(system: &System) -> Option<Lack> {
    let lack = |package: &str, what: &str| Lack {
        thing: Thing::Package(package.to_owned()),
        what: format!("{what}, and without systemd nothing else starts a process at boot"),
        help: format!("install cron and start it (`- package: {package}`)"),
    };
    if !Path::new(&system.root().join(CRON_DIRECTORY.trim_start_matches('/'))).is_dir() {
        return Some(lack("cron", "there is no /etc/cron.d"));
    }
    let name = |word: &String| Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned());
    let is_cron = |name: &String| matches!(name.as_str(), "cron" | "crond");
    let runs = system.processes().into_iter().find(|process| {
        process.argv.first().and_then(name).as_ref().is_some_and(is_cron)
            || process.argv.get(1).and_then(name).as_ref().is_some_and(|second| second == "crond")
    });
    let Some(cron) = runs else { return Some(lack("cron", "no cron runs here")) };
    let program = std::fs::read_link(system.root().join(format!("proc/{}/exe", cron.pid)));
    let is_busybox = program.is_ok_and(|path| path.file_name().is_some_and(|name| name == "busybox"));
    is_busybox.then(|| {
        lack("cronie", "the cron of busybox, which runs here, knows neither @reboot nor /etc/cron.d")
    })
}

/// Asks the supervisor to end, with its command; and a command without a supervisor too.
pub fn end(system: &System, places: &Places) -> Result<(), Failure> {
    let standing = Standing::look(system, places)?;
    let Some(supervisor) = standing.supervisor else {
        standing.end_orphan(system, GRACE.get());
        return Ok(());
    };
    let pid = i32::try_from(supervisor).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::new("its supervisor runs in another container"))?;
    for (signal, patience) in [(Signal::TERM, GRACE.get() + BEYOND), (Signal::KILL, BEYOND)] {
        // It may end by itself in this moment.
        let _ = kill_process(pid, signal);
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let now = Standing::look(system, places)?;
            if now.supervisor != Some(supervisor) {
                now.end_orphan(system, GRACE.get());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Err(Failure::new(format!("its supervisor (pid {supervisor}) does not end, not even by SIGKILL"))
        .help("it hangs in the kernel: a dead mount or device is likely, see `dmesg`"))
}
