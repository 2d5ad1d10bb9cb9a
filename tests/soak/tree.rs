//! A machine's files: made from lines of text, and looked at to the last timestamp.
//!
//! One entry a line: `d MODE UID:GID PATH`, `f MODE UID:GID PATH|CONTENT`, `l - UID:GID PATH|TARGET`,
//! `p MODE UID:GID PATH` (a pipe). `\xNN` in a content is a byte. Parents come first.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use crate::rng::Rng;

/// What is always there: /etc for names of users and tmpfiles, and a place nothing is declared in.
pub const GROUND: &[&str] = &[
    "d 0755 0:0 /etc",
    "d 0755 0:0 /etc/tmpfiles.d",
    "f 0644 0:0 /etc/passwd|root:x:0:0::/root:/bin/sh\nweb:x:1001:1001::/:/bin/sh\ndb:x:1002:1002::/:/bin/sh\n",
    "f 0644 0:0 /etc/group|root:x:0:\nweb:x:1001:\ndb:x:1002:\n",
    "d 0755 0:0 /keep",
    "d 2775 1001:1001 /keep/d",
    "f 4755 1002:1002 /keep/d/a|kept \\xff\\x00 as it is",
    "f 0640 0:0 /keep/f|kept",
    "d 0755 0:0 /t",
];

/// Everything about one path.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// `d`, `f`, `l`, `p`.
    pub kind: char,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The file's bytes, or the link's target.
    pub content: Vec<u8>,
    pub inode: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

pub type Snapshot = BTreeMap<String, Entry>;

impl Entry {
    /// What an end state is compared by.
    pub fn lasting(&self) -> (char, u32, u32, u32, &[u8]) {
        (self.kind, if self.kind == 'l' { 0 } else { self.mode }, self.uid, self.gid, &self.content)
    }
}

/// Clears the root and makes these entries in it.
pub fn build<S: AsRef<str>>(root: &Path, lines: &[S]) {
    clear(root);
    fs::create_dir_all(root).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for line in GROUND.iter().copied().chain(lines.iter().map(AsRef::as_ref)) {
        make(root, line);
    }
}

pub fn clear(root: &Path) {
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
}

fn make(root: &Path, line: &str) {
    let mut words = line.splitn(4, ' ');
    let [kind, mode, owner, rest] = std::array::from_fn(|_| words.next().unwrap_or_else(|| panic!("{line}")));
    let (path, content) = rest.split_once('|').unwrap_or((rest, ""));
    let real = root.join(path.trim_start_matches('/'));
    match kind {
        "d" => fs::create_dir(&real).unwrap(),
        "f" => fs::write(&real, unescaped(content)).unwrap(),
        "l" => symlink(content, &real).unwrap(),
        "p" => {
            let path = std::ffi::CString::new(real.to_str().unwrap()).unwrap();
            // SAFETY: a system call on a string that lives.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        }
        other => panic!("{other} is no kind: {line}"),
    }
    let (uid, gid) = owner.split_once(':').unwrap();
    lchown(&real, Some(uid.parse().unwrap()), Some(gid.parse().unwrap())).unwrap();
    if kind != "l" {
        let mode = u32::from_str_radix(mode, 8).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

/// Everything below the root, by the path that the machine sees.
pub fn look(root: &Path) -> Snapshot {
    let mut snapshot = Snapshot::new();
    look_into(root, "", &mut snapshot);
    snapshot
}

fn look_into(directory: &Path, prefix: &str, snapshot: &mut Snapshot) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let there = entry.metadata().unwrap();
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if path == "/run" {
            // The machine's lock.
            continue;
        }
        let kind = match there.file_type() {
            kind if kind.is_dir() => 'd',
            kind if kind.is_file() => 'f',
            kind if kind.is_symlink() => 'l',
            _ => 'p',
        };
        let content = match kind {
            'f' => fs::read(entry.path()).unwrap(),
            'l' => fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes(),
            _ => Vec::new(),
        };
        if kind == 'd' {
            look_into(&entry.path(), &path, snapshot);
        }
        let entry = Entry {
            kind,
            mode: there.mode() & 0o7777,
            uid: there.uid(),
            gid: there.gid(),
            content,
            inode: there.ino(),
            modified: (there.mtime(), there.mtime_nsec()),
            changed: (there.ctime(), there.ctime_nsec()),
        };
        snapshot.insert(path, entry);
    }
}

/// Somebody changes one thing by hand, below /t. False: there is nothing.
pub fn drift(root: &Path, snapshot: &Snapshot, rng: &mut Rng) -> bool {
    let paths: Vec<_> = snapshot.iter().filter(|(path, _)| path.starts_with("/t/")).collect();
    if paths.is_empty() {
        return false;
    }
    let (path, there) = paths[rng.below(paths.len())];
    let real = root.join(path.trim_start_matches('/'));
    match (there.kind, rng.below(3)) {
        ('d', _) | ('f', 0) => {
            fs::set_permissions(&real, fs::Permissions::from_mode(there.mode ^ 0o051)).unwrap();
        }
        ('f', 1) => fs::write(&real, "by hand").unwrap(),
        ('l', 1) => {
            fs::remove_file(&real).unwrap();
            symlink("by-hand", &real).unwrap();
        }
        _ => fs::remove_file(&real).unwrap(),
    }
    true
}

/// The first difference, told.
pub fn difference(
    before: &Snapshot,
    after: &Snapshot,
    same: impl Fn(&Entry, &Entry) -> bool,
) -> Option<String> {
    let gone = before.iter().find(|(path, _)| !after.contains_key(*path));
    if let Some((path, _)) = gone {
        return Some(format!("{path} is gone"));
    }
    after.iter().find_map(|(path, there)| match before.get(path) {
        None => Some(format!("{path} is new: {there:?}")),
        Some(was) if !same(was, there) => Some(format!("{path} was {was:?} and is {there:?}")),
        Some(_) => None,
    })
}

/// Where a path leads, links on the way followed as the system follows them.
pub fn real(snapshot: &Snapshot, path: &str) -> String {
    way(snapshot, path).0
}

/// Where a path leads, and the links that are on the way.
pub fn way(snapshot: &Snapshot, path: &str) -> (String, Vec<String>) {
    let mut parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).rev().map(str::to_owned).collect();
    let mut here = String::new();
    let mut links = Vec::new();
    while let Some(part) = parts.pop() {
        let step = match part.as_str() {
            "." => continue,
            ".." => {
                here.truncate(here.rfind('/').unwrap_or(0));
                continue;
            }
            part => format!("{here}/{part}"),
        };
        match snapshot.get(&step) {
            Some(link) if link.kind == 'l' && !parts.is_empty() && links.len() < 40 => {
                links.push(step);
                let target = String::from_utf8_lossy(&link.content).into_owned();
                if target.starts_with('/') {
                    here.clear();
                }
                parts.extend(target.split('/').filter(|p| !p.is_empty()).rev().map(str::to_owned));
            }
            _ => here = step,
        }
    }
    (here, links)
}
