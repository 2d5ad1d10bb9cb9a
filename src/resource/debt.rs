//! Restart debt: whether what runs was started with the files that are there now. It is
//! observed, not remembered by a run: a record lies in /run beside what runs, and where there is
//! none (started by the boot, or by hand) the files' times are compared with its start.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Change, Failure, io_words};
use crate::attribute::{AbsPath, Mode, Trigger, hex};
use crate::lock;
use crate::system::System;
use crate::system::files::Access;

/// The content of each path, as a hash.
pub type Fingerprints = BTreeMap<AbsPath, String>;

/// What stands for a path that is not there.
const ABSENT: &str = "absent";

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
}

#[derive(Serialize, Deserialize)]
struct Record {
    identity: String,
    contents: Fingerprints,
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
        let record = self.read(system).filter(|record| record.identity == running.identity);
        let mut owed = Vec::new();
        for path in triggers {
            let known = record.as_ref().and_then(|record| record.contents.get(path));
            let is_owed = match known {
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
    pub fn write(&self, system: &System, identity: &str, contents: Fingerprints) -> Result<(), Failure> {
        if contents.is_empty() || identity.is_empty() {
            return Ok(());
        }
        let before = self.read(system).filter(|record| record.identity == identity);
        let mut all = before.map(|record| record.contents).unwrap_or_default();
        all.extend(contents);
        let record = Record { identity: identity.to_owned(), contents: all };
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

/// In a plan: the debt that a change of `cause` will make.
pub fn follows(attribute: &str, cause: &str) -> Change {
    Change::from_to(attribute, format!("running with the old {cause}"), "running with the new one")
}

/// A path's content: a file's bytes, a directory's whole tree. A link is followed, since its
/// reader follows it; links within a directory count by where they point.
fn fingerprint(system: &System, path: &AbsPath) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let there = walk(&system.locate(path), &mut |entry, name| {
        hash.update(name.as_encoded_bytes());
        hash.update([0]);
        match entry {
            Entry::File(file) => {
                let mut block = [0; 16 * 1024];
                loop {
                    match file.read(&mut block)? {
                        0 => break,
                        count => hash.update(&block[..count]),
                    }
                }
            }
            Entry::Link(target) => hash.update(target.as_os_str().as_encoded_bytes()),
            Entry::Directory | Entry::Other => {}
        }
        hash.update([0]);
        Ok(())
    });
    match there {
        Ok(true) => Ok(hex(&hash.finalize())),
        Ok(false) => Ok(ABSENT.to_owned()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Whether anything at or below `path` was written or put there after `since`. The kernel's file
/// times lag a few milliseconds behind, never ahead, so what was written before is never later.
fn changed_after(system: &System, path: &AbsPath, since: SystemTime) -> Result<bool, Failure> {
    fn latest(path: &Path, top: bool) -> std::io::Result<SystemTime> {
        let meta = if top { std::fs::metadata(path)? } else { std::fs::symlink_metadata(path)? };
        // A file that was copied with its old mtime was born later. Not every file system knows.
        let mut own = meta.modified()?.max(meta.created().unwrap_or(SystemTime::UNIX_EPOCH));
        if top {
            // A link that was made to point to an old file since leads to other content.
            own = own.max(std::fs::symlink_metadata(path)?.modified()?);
        }
        if !meta.is_dir() {
            return Ok(own);
        }
        let mut newest = own;
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name() != GIT {
                newest = newest.max(latest(&entry.path(), false)?);
            }
        }
        Ok(newest)
    }
    match latest(&system.locate(path), true) {
        Ok(newest) => Ok(newest > since),
        // When it went cannot be known.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &AbsPath, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot read {path}, which a restart depends on: {}", io_words(error)))
}

/// A checkout's content is its files: what git keeps beside them changes with every fetch.
const GIT: &str = ".git";

enum Entry<'a> {
    File(&'a mut std::fs::File),
    Link(std::path::PathBuf),
    Directory,
    Other,
}

type Visit<'a> = dyn FnMut(Entry<'_>, &std::ffi::OsStr) -> std::io::Result<()> + 'a;

/// Everything at and below `path`, in the order of names. False: there is nothing.
fn walk(path: &Path, visit: &mut Visit<'_>) -> std::io::Result<bool> {
    let meta = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        meta => meta?,
    };
    // The top's own name does not matter: only what it holds.
    walk_entry(path, std::ffi::OsStr::new(""), &meta, visit)?;
    Ok(true)
}

fn walk_entry(
    path: &Path,
    name: &std::ffi::OsStr,
    meta: &std::fs::Metadata,
    visit: &mut Visit<'_>,
) -> std::io::Result<()> {
    if meta.is_symlink() {
        return visit(Entry::Link(std::fs::read_link(path)?), name);
    }
    if meta.is_file() {
        // Should a pipe have taken its place, opening must not wait for its other end.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let mut file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
        return visit(Entry::File(&mut file), name);
    }
    if !meta.is_dir() {
        return visit(Entry::Other, name);
    }
    visit(Entry::Directory, name)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(entry?.file_name());
    }
    names.sort();
    for name in names.iter().filter(|name| *name != GIT) {
        let below = path.join(name);
        walk_entry(&below, name, &std::fs::symlink_metadata(&below)?, visit)?;
    }
    // Its end, so that a/b c is not a c/b.
    visit(Entry::Other, std::ffi::OsStr::new(".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
        Running { identity: identity.into(), since }
    }

    #[test]
    fn a_change_is_owed_until_a_start_that_read_it_is_noted() {
        let (root, system) = machine();
        let (ledger, conf) = (Ledger::of("units", "app.service"), vec![path("/etc/app.conf")]);
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        ledger.write(&system, "a1", fingerprints(&system, &conf).unwrap()).unwrap();
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
        ledger.write(&system, "a1", fingerprints(&system, &conf).unwrap()).unwrap();
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
        ledger.write(&system, "a1", fingerprints(&system, &both).unwrap()).unwrap();
        std::fs::write(root.path().join("etc/app.conf"), "two\n").unwrap();
        std::fs::write(root.path().join("etc/other.conf"), "two\n").unwrap();
        ledger.write(&system, "a1", fingerprints(&system, &both[..1]).unwrap()).unwrap();
        let owed = ledger.owed(&system, &running("a1", SystemTime::now()), &both).unwrap();
        assert_eq!(owed, both[1..]);
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
    fn a_record_that_cannot_be_read_is_none() {
        let (root, system) = machine();
        let (ledger, conf) = (Ledger::of("units", "app.service"), vec![path("/etc/app.conf")]);
        ledger.write(&system, "a1", fingerprints(&system, &conf).unwrap()).unwrap();
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
