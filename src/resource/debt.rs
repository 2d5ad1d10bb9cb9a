//! Restart debt: whether what runs was started with the files that are there now. It is
//! observed, not remembered by a run: a record lies in /run beside what runs, and where there is
//! none (started by the boot, or by hand) the files' times are compared with its start.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{Change, Failure, io_words};
use crate::attribute::{AbsPath, Mode, Trigger};
use crate::lock;
use crate::system::System;
use crate::system::files::Access;
use crate::system::fingerprint::{is_of_the_checkout, leads_to_nothing};

/// The content of each path, as a hash.
pub type Fingerprints = BTreeMap<AbsPath, String>;

/// What one unit or program was last started, or told to reload, with.
pub struct Ledger {
    kind: &'static str,
    name: String,
}

/// What runs now.
pub struct Running {
    /// Of this one start, and no other: an invocation id; a pid with its start time.
    pub identity: String,
    /// When it began to read its files, by the clock as it goes now.
    pub since: SystemTime,
    /// When its last reload was over, since the boot.
    pub reloaded: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    identity: String,
    contents: Fingerprints,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
}

/// A reload, before it was asked for: nothing of a unit shows afterwards what it has read, and
/// whoever asks may be killed before that is noted.
#[derive(Serialize, Deserialize)]
struct Asked {
    /// In microseconds since the boot.
    at: u64,
    contents: Fingerprints,
}

impl Record {
    /// What it has read, as far as is noted; None where the record is of another start.
    fn read_by(self, running: &Running) -> Option<Fingerprints> {
        if self.identity != running.identity {
            return None;
        }
        let mut contents = self.contents;
        if let (Some(asked), Some(reloaded)) = (self.asked, running.reloaded)
            && reloaded > Duration::from_micros(asked.at)
        {
            contents.extend(asked.contents);
        }
        Some(contents)
    }
}

impl Ledger {
    /// `kind` is a directory's name: `units`, `programs`.
    pub fn of(kind: &'static str, name: &str) -> Ledger {
        Ledger { kind, name: name.to_owned() }
    }

    /// Those paths whose current content it does not run with.
    pub fn owed(
        &self,
        system: &System,
        running: &Running,
        triggers: &[AbsPath],
    ) -> Result<Vec<AbsPath>, Failure> {
        let record = self.read(system).and_then(|record| record.read_by(running));
        let mut owed = Vec::new();
        for path in triggers {
            let is_owed = match record.as_ref().and_then(|contents| contents.get(path)) {
                Some(known) => *known != fingerprint(system, path)?,
                None => changed_after(system, path, running.since)?,
            };
            if is_owed {
                owed.push(path.clone());
            }
        }
        Ok(owed)
    }

    /// Notes what it has read. The contents are those from before the start, so that a change
    /// meanwhile is owed. What the record of the same start says of other paths stays.
    pub fn write(&self, system: &System, running: &Running, contents: Fingerprints) -> Result<(), Failure> {
        self.save(system, running, contents, None)
    }

    /// Notes what a reload will read, before it is asked for. `write` follows, with nothing where
    /// the reload failed.
    pub fn intend(&self, system: &System, running: &Running, contents: Fingerprints) -> Result<(), Failure> {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
        let at = u64::try_from(tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(tv_nsec).unwrap_or(0) / 1000;
        self.save(system, running, Fingerprints::new(), Some(Asked { at, contents }))
    }

    fn save(
        &self,
        system: &System,
        running: &Running,
        contents: Fingerprints,
        asked: Option<Asked>,
    ) -> Result<(), Failure> {
        let before = self.read(system);
        let is_known = before.as_ref().is_some_and(|record| record.identity == running.identity);
        if running.identity.is_empty() || !is_known && contents.is_empty() && asked.is_none() {
            return Ok(());
        }
        let mut all = before.and_then(|record| record.read_by(running)).unwrap_or_default();
        all.extend(contents);
        let record = Record { identity: running.identity.clone(), contents: all, asked };
        let tried = format!("noting what {} was started with", self.name);
        let bytes = serde_json::to_vec(&record).map_err(|error| Failure::new(format!("{tried}: {error}")))?;
        note(system, self.kind, &self.name, &bytes)
    }

    /// A record that is not there, or cannot be read, is none: then times decide.
    fn read(&self, system: &System) -> Option<Record> {
        let bytes = system.read_if_there(&note_path(system, self.kind, &self.name).ok()?).ok()??;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Where a note of converge's own lies, which the next boot clears away.
pub fn note_path(system: &System, kind: &str, name: &str) -> Result<AbsPath, Failure> {
    let own = lock::directory(system);
    let own = own.strip_prefix(system.root()).unwrap_or(&own).display();
    format!("/{own}/{kind}/{}.json", name.replace('/', "-")).parse().map_err(Failure::new)
}

/// Writes one, in directories that are this user's alone.
pub fn note(system: &System, kind: &str, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let own = lock::directory(system);
    for directory in [own.clone(), own.join(kind)] {
        let tried = format!("making {}", directory.display());
        lock::private_directory(&directory).map_err(|error| Failure::io(tried, &error))?;
    }
    let access = Access { mode: Some(Mode::from_bits(0o600)), ..Access::default() };
    system.put_file(&note_path(system, kind, name)?, bytes, access, |_| Ok(()))
}

/// The paths of resolved triggers.
pub fn paths(triggers: &[Trigger]) -> Vec<AbsPath> {
    let path = |trigger: &Trigger| match trigger {
        Trigger::Path(path) => Some(path.clone()),
        Trigger::Reference(_) => None,
    };
    triggers.iter().filter_map(path).collect()
}

/// The contents as they are now.
pub fn fingerprints(system: &System, paths: &[AbsPath]) -> Result<Fingerprints, Failure> {
    paths.iter().map(|path| Ok((path.clone(), fingerprint(system, path)?))).collect()
}

/// `running with the old /etc/a.conf and /etc/b.conf`.
pub fn told(owed: &[AbsPath]) -> String {
    let names: Vec<&str> = owed.iter().map(AbsPath::as_str).collect();
    match names.split_last() {
        Some((last, [])) => format!("running with the old {last}"),
        Some((last, others)) => format!("running with the old {} and {last}", others.join(", ")),
        None => "running".to_owned(),
    }
}

/// What a restart or reload comes to.
pub const RENEWED: &str = "running with what is there now";

/// In a plan: the debt that a change of `cause` will make.
pub fn follows(attribute: &str, cause: &str) -> Change {
    Change::from_to(attribute, format!("running with the old {cause}"), RENEWED)
}

fn fingerprint(system: &System, path: &AbsPath) -> Result<String, Failure> {
    system.fingerprint(path).map_err(|failure| unreadable(path, &failure.reason))
}

/// Whether anything at or below `path` was written or put there after `since`. The kernel's file
/// times lag a few milliseconds behind, never ahead, so what was written before is never later.
fn changed_after(system: &System, path: &AbsPath, since: SystemTime) -> Result<bool, Failure> {
    fn latest(path: &Path, top: bool) -> std::io::Result<SystemTime> {
        let itself = std::fs::symlink_metadata(path)?;
        // A file that was copied with its old mtime was born later. Not every file system knows.
        let time = |meta: &std::fs::Metadata| {
            Ok::<_, std::io::Error>(meta.modified()?.max(meta.created().unwrap_or(SystemTime::UNIX_EPOCH)))
        };
        // As `fingerprint` does: a link stands for what it leads to, but a directory in a directory.
        let there = match std::fs::metadata(path) {
            Ok(there) if itself.is_symlink() && (top || !there.is_dir()) => Some(there),
            Err(error) if top => return Err(error),
            _ => None,
        };
        let mut newest = time(&itself)?;
        if let Some(there) = &there {
            newest = newest.max(time(there)?);
        }
        if there.unwrap_or(itself).is_dir() {
            for entry in std::fs::read_dir(path)? {
                let entry = entry?;
                if !is_of_the_checkout(&entry.file_name()) {
                    newest = newest.max(latest(&entry.path(), false)?);
                }
            }
        }
        Ok(newest)
    }
    match latest(&system.locate(path), true) {
        Ok(newest) => Ok(newest > since),
        // When it went cannot be known.
        Err(error) if leads_to_nothing(&error) => Ok(false),
        Err(error) => Err(unreadable(path, &io_words(&error))),
    }
}

fn unreadable(path: &AbsPath, why: &str) -> Failure {
    Failure::new(format!("cannot see whether {path} has changed, which a restart depends on: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/app.d/sub")).unwrap();
        std::fs::create_dir_all(root.path().join("run")).unwrap();
        std::fs::write(root.path().join("etc/app.conf"), "one\n").unwrap();
        let system = System::under(root.path());
        (root, system)
    }

    fn path(text: &str) -> AbsPath {
        text.parse().unwrap()
    }

    fn running(identity: &str, since: SystemTime) -> Running {
        Running { identity: identity.into(), since, reloaded: None }
    }

    fn noted(ledger: &Ledger, system: &System, identity: &str, paths: &[AbsPath]) {
        let contents = fingerprints(system, paths).unwrap();
        ledger.write(system, &running(identity, SystemTime::now()), contents).unwrap();
    }

    #[test]
    fn a_change_is_owed_until_a_start_that_read_it_is_noted() {
        let (root, system) = machine();
        let (ledger, conf) = (Ledger::of("units", "app.service"), vec![path("/etc/app.conf")]);
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        noted(&ledger, &system, "a1", &conf);
        // Times say nothing where the record knows this start.
        assert_eq!(ledger.owed(&system, &running("a1", long_ago), &conf).unwrap(), []);
        std::fs::write(root.path().join("etc/app.conf"), "two\n").unwrap();
        assert_eq!(ledger.owed(&system, &running("a1", long_ago), &conf).unwrap(), conf);
        std::fs::write(root.path().join("etc/app.conf"), "one\n").unwrap();
        assert_eq!(ledger.owed(&system, &running("a1", long_ago), &conf).unwrap(), []);
        std::fs::remove_file(root.path().join("etc/app.conf")).unwrap();
        assert_eq!(ledger.owed(&system, &running("a1", long_ago), &conf).unwrap(), conf);
    }

    #[test]
    fn without_a_record_of_this_start_times_decide() {
        let (_root, system) = machine();
        let (ledger, conf) = (Ledger::of("units", "app.service"), vec![path("/etc/app.conf")]);
        noted(&ledger, &system, "a1", &conf);
        let (before, after) =
            (SystemTime::now() - Duration::from_secs(60), SystemTime::now() + Duration::from_secs(1));
        assert_eq!(ledger.owed(&system, &running("b2", before), &conf).unwrap(), conf);
        assert_eq!(ledger.owed(&system, &running("b2", after), &conf).unwrap(), []);
    }

    #[test]
    fn a_file_put_there_with_an_old_mtime_is_newer_by_its_birth() {
        let (root, system) = machine();
        let file = std::fs::File::options().write(true).open(root.path().join("etc/app.conf")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        let before = SystemTime::now() - Duration::from_secs(60);
        assert!(changed_after(&system, &path("/etc/app.conf"), before).unwrap());
    }

    #[test]
    fn a_link_that_leads_elsewhere_since_counts_as_changed() {
        let (root, system) = machine();
        let a_moment = || std::thread::sleep(Duration::from_millis(30));
        a_moment();
        let since = SystemTime::now();
        a_moment();
        std::os::unix::fs::symlink("app.conf", root.path().join("etc/link")).unwrap();
        assert!(changed_after(&system, &path("/etc/link"), since).unwrap());
        assert!(!changed_after(&system, &path("/etc/app.conf"), since).unwrap());
    }

    #[test]
    fn a_reload_is_noted_beside_the_start() {
        let (root, system) = machine();
        std::fs::write(root.path().join("etc/other.conf"), "").unwrap();
        let ledger = Ledger::of("units", "app.service");
        let both = vec![path("/etc/app.conf"), path("/etc/other.conf")];
        noted(&ledger, &system, "a1", &both);
        std::fs::write(root.path().join("etc/app.conf"), "two\n").unwrap();
        std::fs::write(root.path().join("etc/other.conf"), "two\n").unwrap();
        noted(&ledger, &system, "a1", &both[..1]);
        let owed = ledger.owed(&system, &running("a1", SystemTime::now()), &both).unwrap();
        assert_eq!(owed, both[1..]);
    }

    #[test]
    fn a_reload_whose_run_died_before_it_was_noted_is_known_by_when_it_was_over() {
        let (root, system) = machine();
        let (ledger, conf) = (Ledger::of("units", "app.service"), vec![path("/etc/app.conf")]);
        let at = |reloaded: Option<Duration>| Running { reloaded, ..running("a1", SystemTime::now()) };
        noted(&ledger, &system, "a1", &conf);
        std::fs::write(root.path().join("etc/app.conf"), "two\n").unwrap();
        ledger.intend(&system, &at(None), fingerprints(&system, &conf).unwrap()).unwrap();
        let (before, after) = (Some(Duration::from_micros(1)), Some(Duration::from_secs(1 << 40)));
        assert_eq!(ledger.owed(&system, &at(before), &conf).unwrap(), conf, "it was not made");
        assert_eq!(ledger.owed(&system, &at(after), &conf).unwrap(), [], "it was made");
        std::fs::write(root.path().join("etc/app.conf"), "three\n").unwrap();
        assert_eq!(ledger.owed(&system, &at(after), &conf).unwrap(), conf, "with what was there then");
        // The next one, and one that failed.
        ledger.intend(&system, &at(after), fingerprints(&system, &conf).unwrap()).unwrap();
        ledger.write(&system, &at(before), Fingerprints::new()).unwrap();
        assert_eq!(ledger.owed(&system, &at(after), &conf).unwrap(), conf);
    }

    #[test]
    fn a_directory_counts_with_all_that_is_in_it() {
        let (root, system) = machine();
        let directory = path("/etc/app.d");
        let mut seen = vec![fingerprint(&system, &directory).unwrap()];
        let sub = root.path().join("etc/app.d/sub");
        std::fs::write(sub.join("x"), "1").unwrap();
        seen.push(fingerprint(&system, &directory).unwrap());
        std::fs::rename(sub.join("x"), sub.join("y")).unwrap();
        seen.push(fingerprint(&system, &directory).unwrap());
        std::os::unix::fs::symlink("y", sub.join("z")).unwrap();
        seen.push(fingerprint(&system, &directory).unwrap());
        seen.push(fingerprint(&system, &path("/etc/nothing")).unwrap());
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
        std::fs::create_dir_all(root.path().join("etc/app.d/.git")).unwrap();
        assert_eq!(fingerprint(&system, &directory).unwrap(), seen[3]);
    }

    #[test]
    fn what_a_link_in_a_directory_leads_to_counts_and_a_ring_of_links_is_nothing() {
        let (root, system) = machine();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir(at("etc/available")).unwrap();
        std::fs::write(at("etc/available/site"), "one").unwrap();
        std::os::unix::fs::symlink("../available/site", at("etc/app.d/site")).unwrap();
        std::os::unix::fs::symlink("ring", at("etc/ring")).unwrap();
        let directory = path("/etc/app.d");
        let before = fingerprint(&system, &directory).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let since = SystemTime::now();
        assert!(!changed_after(&system, &directory, since).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(at("etc/available/site"), "two").unwrap();
        assert!(changed_after(&system, &directory, since).unwrap());
        assert_ne!(fingerprint(&system, &directory).unwrap(), before);
        assert!(!changed_after(&system, &path("/etc/ring"), SystemTime::UNIX_EPOCH).unwrap());
        assert!(fingerprint(&system, &path("/etc/ring")).unwrap().starts_with("link:"));
        assert_eq!(fingerprint(&system, &path("/etc/app.conf/below")).unwrap(), "absent");
        assert!(!changed_after(&system, &path("/etc/app.conf/below"), SystemTime::UNIX_EPOCH).unwrap());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_none() {
        let (root, system) = machine();
        let (ledger, conf) = (Ledger::of("units", "app.service"), vec![path("/etc/app.conf")]);
        noted(&ledger, &system, "a1", &conf);
        let record = root
            .path()
            .join(note_path(&system, ledger.kind, &ledger.name).unwrap().as_str().trim_start_matches('/'));
        std::fs::write(&record, "{\"identity\"").unwrap();
        let later = SystemTime::now() + Duration::from_secs(1);
        assert_eq!(ledger.owed(&system, &running("a1", later), &conf).unwrap(), []);
    }

    #[test]
    fn what_is_owed_is_told_in_a_sentence() {
        assert_eq!(told(&[path("/a")]), "running with the old /a");
        assert_eq!(told(&[path("/a"), path("/b"), path("/c")]), "running with the old /a, /b and /c");
    }
}
