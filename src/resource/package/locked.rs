//! Who holds a package manager's lock.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::attribute::Span;
use crate::resource::{Failure, Lack, Thing};
use crate::system::System;
use crate::system::processes::Process;

/// A process that holds a lock.
#[derive(Clone, PartialEq, Debug)]
pub struct Holder {
    /// The lock's file.
    path: String,
    /// As in `apt-get`.
    program: String,
    pid: u32,
}

impl Holder {
    /// `/var/lib/dpkg/lock is held by apt-get (process 4711)`.
    pub fn told(&self) -> String {
        format!("{} is held by {} (process {})", self.path, self.program, self.pid)
    }

    pub fn lack(&self) -> Lack {
        Lack {
            thing: Thing::Lock(self.path.clone()),
            what: self.told(),
            help:
                "it ends by itself, or hangs: `ps` on the host shows which; a longer `timeout` waits longer"
                    .to_owned(),
        }
    }
}

/// Of the first of these files (locked with fcntl) that another program holds. Root alone can know.
pub fn by_fcntl(system: &System, paths: &[&str]) -> Option<Holder> {
    paths.iter().find_map(|path| {
        let file = File::open(system.root().join(path.trim_start_matches('/'))).ok()?;
        let asked = Flock::from(FlockType::WriteLock);
        let pid = fcntl_getlk(&file, &asked).ok()??.pid?;
        let pid = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
        holder(system, path, pid)
    })
}

/// Of a file that holds the number of the process that has it.
pub fn by_pid_file(system: &System, path: &str) -> Option<Holder> {
    let text = std::fs::read_to_string(system.root().join(path.trim_start_matches('/'))).ok()?;
    let pid = text.trim().parse().ok()?;
    let is_running = system.root().join(format!("proc/{pid}")).exists();
    is_running.then(|| holder(system, path, pid))?
}

/// Of a file that is a lock while it is there: whoever has it open. Root alone can know.
pub fn by_open_file(system: &System, path: &str) -> Option<Holder> {
    let wanted = system.root().join(path.trim_start_matches('/'));
    if !wanted.exists() {
        return None;
    }
    let has_it = |process: &Process| {
        let open = std::fs::read_dir(system.root().join(format!("proc/{}/fd", process.pid)));
        let mut open = open.into_iter().flatten().flatten();
        open.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == wanted))
    };
    let process = system.processes().into_iter().find(has_it)?;
    holder(system, path, process.pid)
}

/// Waits until nobody holds it, as long as the operation may take.
pub fn wait(system: &System, holder: impl Fn() -> Option<Holder>) -> Result<(), Failure> {
    let begun = Instant::now();
    while let Some(holder) = holder() {
        if system.time_left() < Duration::from_secs(1) {
            let waited = Span::seconds(begun.elapsed().as_secs());
            return Err(Failure::new(format!("{} (waited {waited} for it)", holder.told()))
                .help("give the resource a longer `timeout`, or see on the host whether it hangs"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Unless it is a program that this process has started.
fn holder(system: &System, path: &str, pid: u32) -> Option<Holder> {
    (!system.is_descendant(pid)).then(|| Holder { path: path.to_owned(), program: program(system, pid), pid })
}

/// What a person would call it: a script by its own name.
fn program(system: &System, pid: u32) -> String {
    let read = |file: &str| std::fs::read_to_string(system.root().join(format!("proc/{pid}/{file}")));
    let name = read("comm").unwrap_or_default().trim().to_owned();
    let line = read("cmdline").unwrap_or_default();
    let script = line.split('\0').nth(1).filter(|script| script.starts_with('/'));
    let is_interpreter = ["python", "perl", "sh", "bash", "dash"].iter().any(|one| name.starts_with(one));
    match script.and_then(|script| Path::new(script).file_name()?.to_str()) {
        Some(script) if is_interpreter => script.to_owned(),
        _ if name.is_empty() => "a program that cannot be seen".to_owned(),
        _ => name,
    }
}
