//! Files, safely: the last component of a path is never followed where it is a link, and a link
//! on the way only where root or the running user made it. What is written appears whole, by
//! rename, with its owner and mode already set.

mod candidate;
mod edit;
mod spot;
mod tree;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode as Bits, OFlags, RenameFlags, Stat, linkat, openat, readlinkat, renameat,
    renameat_with, statat, symlinkat,
};
use rustix::io::Errno;

use super::System;
use super::mounts::Mounts;
use crate::attribute::{AbsPath, Mode};
use crate::failure::Failure;
pub use candidate::Candidate;
pub use spot::Spot;
use spot::names_in;
pub use tree::Tree;

/// A log's end, as evidence.
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 20;

/// As many links as the kernel itself follows on the way to a file.
const MOST_LINKS: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    /// A socket, a pipe, a device.
    Special,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::File => "a file",
            Kind::Directory => "a directory",
            Kind::Symlink => "a symlink",
            Kind::Special => "a device, socket or pipe",
        })
    }
}

/// What lies at a path, itself and not what it points to.
#[derive(Clone, Debug)]
pub struct Meta {
    pub kind: Kind,
    pub mode: Mode,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub device: u64,
    pub inode: u64,
    /// It has another name somewhere (a hard link); so has nearly every directory.
    pub has_other_names: bool,
    /// Nanoseconds since 1970.
    pub modified: i128,
}

#[derive(Clone, Debug)]
pub enum Seen {
    There(Meta),
    Absent,
    /// Its directory is not there either; this is the topmost one that is missing, or where a link is on
    /// the way, the one that is needed, by the name that it has there.
    NoParent(AbsPath),
}

/// Owner, group and mode to set; what is None stays (or, on a new file, is the running user's).
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<Mode>,
}

enum Walk<'a> {
    Found(Spot<'a>),
    /// Something on the way is no directory: nothing lies below it.
    Blocked(AbsPath, Kind),
    Missing(AbsPath),
}

impl System {
    pub fn see(&self, path: &AbsPath) -> Result<Seen, Failure> {
        match self.walk(path)? {
            Walk::Blocked(step, kind) => Err(blocked(path, &step, kind)),
            walked => self.see_at(path, walked),
        }
    }

    /// The same for what is to be gone: below a file there is nothing.
    pub fn see_to_remove(&self, path: &AbsPath) -> Result<Seen, Failure> {
        let walked = self.walk(path)?;
        self.see_at(path, walked)
    }

    fn see_at(&self, path: &AbsPath, walked: Walk<'_>) -> Result<Seen, Failure> {
        let spot = match walked {
            Walk::Found(spot) => spot,
            Walk::Missing(parent) => return Ok(Seen::NoParent(parent)),
            Walk::Blocked(..) => return Ok(Seen::Absent),
        };
        let stat = self
            .before("stat")
            .and_then(|()| statat(&spot.directory, &*spot.name, AtFlags::SYMLINK_NOFOLLOW));
        match stat {
            Ok(stat) => Ok(Seen::There(meta(&stat))),
            Err(Errno::NOENT) => Ok(Seen::Absent),
            Err(errno) => Err(failure("reading", path, errno)),
        }
    }

    /// The directory of `path`, held open.
    pub fn spot(&self, path: &AbsPath) -> Result<Spot<'_>, Failure> {
        match self.walk(path)? {
            Walk::Found(spot) => Ok(spot),
            Walk::Blocked(step, kind) => Err(blocked(path, &step, kind)),
            Walk::Missing(parent) => {
                Err(Failure::new(format!("{path}: its directory {parent} does not exist"))
                    .help(format!("declare it: `- directory: {parent}`")))
            }
        }
    }

    fn walk(&self, path: &AbsPath) -> Result<Walk<'_>, Failure> {
        let top = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open_root = || {
            rustix::fs::open(&self.root, top, Bits::empty()).map_err(|errno| failure("opening", path, errno))
        };
        let mut parts: VecDeque<String> =
            path.as_str().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let Some(name) = parts.pop_back() else {
            return Ok(Walk::Found(Spot {
                system: self,
                directory: open_root()?,
                name: ".".to_owned(),
                path: path.clone(),
            }));
        };
        self.before("open").map_err(|errno| failure("opening", path, errno))?;
        let mut directory = open_root()?;
        let mut here: AbsPath = root_path();
        let mut links = 0;
        while let Some(part) = parts.pop_front() {
            let step = here.join(&part);
            match openat(&directory, &*part, top | OFlags::NOFOLLOW, Bits::empty()) {
                Ok(next) => {
                    directory = next;
                    here = step;
                }
                Err(Errno::NOENT) => return Ok(Walk::Missing(missing(step, links, &parts))),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let stat = statat(&directory, &*part, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|errno| failure("reading", &step, errno))?;
                    let there = meta(&stat);
                    if there.kind != Kind::Symlink {
                        return Ok(Walk::Blocked(step, there.kind));
                    }
                    let target = self.trusted_link(&directory, &part, &there, &step, path)?;
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(failure("opening", path, Errno::LOOP));
                    }
                    if target.starts_with('/') {
                        directory = open_root()?;
                        here = root_path();
                    }
                    let target: Vec<_> = target.split('/').filter(|part| !part.is_empty()).collect();
                    for part in target.into_iter().rev() {
                        parts.push_front(part.to_owned());
                    }
                }
                Err(errno) => return Err(failure("opening", &step, errno)),
            }
        }
        Ok(Walk::Found(Spot { system: self, directory, name, path: path.clone() }))
    }

    /// Where a link on the way points to, if whoever made it may be trusted.
    fn trusted_link(
        &self,
        directory: &OwnedFd,
        part: &str,
        there: &Meta,
        step: &AbsPath,
        path: &AbsPath,
    ) -> Result<String, Failure> {
        let trusted = [0, rustix::process::geteuid().as_raw()];
        if !trusted.contains(&there.uid) {
            let owner = self.user_name(there.uid);
            return Err(Failure::new(format!("{path}: {step} is a link that {owner} made, and is not followed"))
                .help("a link on the way to a path is followed only where root or the running user made it: name the real path, or give the link to root with `chown -h`"));
        }
        let target =
            readlinkat(directory, part, Vec::new()).map_err(|errno| failure("reading", step, errno))?;
        target.into_string().map_err(|_| Failure::new(format!("{step}: the link's target is not UTF-8")))
    }

    /// Where the link at `path` points to.
    pub fn link_target(&self, path: &AbsPath) -> Result<String, Failure> {
        let spot = self.spot(path)?;
        let target = self
            .before("readlink")
            .and_then(|()| readlinkat(&spot.directory, &*spot.name, Vec::new()))
            .map_err(|errno| failure("reading", path, errno))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// The plain file at `path`, for reading.
    pub fn open_file(&self, path: &AbsPath) -> Result<File, Failure> {
        let spot = self.spot(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened =
            self.before("open").and_then(|()| openat(&spot.directory, &*spot.name, flags, Bits::empty()));
        opened.map(File::from).map_err(|errno| failure("reading", path, errno))
    }

    /// The whole file; for those that are small by nature.
    pub fn read_file(&self, path: &AbsPath) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let mut file = self.open_file(path)?;
        let read = self.before("read").map_err(Into::into).and_then(|()| file.read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|error| Failure::io(format!("reading {path}"), &error))
    }

    /// The file's bytes, or None where there is no such file.
    pub fn read_if_there(&self, path: &AbsPath) -> Result<Option<Vec<u8>>, Failure> {
        match self.see(path)? {
            Seen::There(_) => self.read_file(path).map(Some),
            Seen::Absent | Seen::NoParent(_) => Ok(None),
        }
    }

    /// Puts a file in place: whole, by rename, with its owner and mode. `approve` sees the
    /// candidate's real path first; what it refuses changes nothing.
    pub fn put_file(
        &self,
        path: &AbsPath,
        bytes: &[u8],
        access: Access,
        approve: impl FnOnce(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.put_streamed(path, access, |candidate| candidate.write(bytes), approve)
    }

    /// The old content stays under another name beside the file; the new one will have an
    /// inode of its own.
    pub fn keep_backup(&self, path: &AbsPath, suffix: &str) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        let backup = format!("{}.{suffix}", spot.name);
        let link = || linkat(&spot.directory, &*spot.name, &spot.directory, &*backup, AtFlags::empty());
        match self.before("link").and_then(|()| link()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failure("keeping a backup of", path, errno)),
        }
    }

    /// Makes it where nothing is, and what is missing above it with the same access. Another one of this
    /// run may do so at the same time.
    pub fn ensure_directory(&self, path: &AbsPath, access: Access) -> Result<(), Failure> {
        loop {
            let missing = match self.see(path)? {
                Seen::There(_) => return Ok(()),
                Seen::Absent => path.clone(),
                Seen::NoParent(missing) => missing,
            };
            match self.make_directory(&missing, access) {
                Err(_) if matches!(self.see(&missing), Ok(Seen::There(_))) => {}
                made => made?,
            }
        }
    }

    pub fn make_directory(&self, path: &AbsPath, access: Access) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        // Two that make the same would do so under the same name.
        let _turn = self.turn(spot.place()?)?;
        let temporary = spot.temporary_name();
        let made = spot.make_temporary_directory(&temporary, access).and_then(|()| {
            let (from, to) = (&*temporary, &*spot.name);
            self.before("rename").map_err(|errno| failure("making", path, errno))?;
            match renameat_with(&spot.directory, from, &spot.directory, to, RenameFlags::NOREPLACE) {
                // A file system that knows no flags. An empty directory in the way is replaced.
                Err(Errno::INVAL | Errno::NOSYS) => renameat(&spot.directory, from, &spot.directory, to),
                renamed => renamed,
            }
            .map_err(|errno| failure("making", path, errno))
        });
        if made.is_err() {
            let _ = spot.unlink(&temporary, AtFlags::REMOVEDIR);
        }
        made
    }

    /// Gives what lies at `from` the name `to`, in the same directory, where nothing has that name. False:
    /// something has.
    pub fn name_anew(&self, from: &AbsPath, to: &AbsPath) -> Result<bool, Failure> {
        let spot = self.spot(to)?;
        let (from, to_name) = (from.file_name(), &*spot.name);
        self.before("rename").map_err(|errno| failure("making", to, errno))?;
        match renameat_with(&spot.directory, from, &spot.directory, to_name, RenameFlags::NOREPLACE) {
            // A file system that knows no flags. An empty directory in the way is replaced.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(&spot.directory, from, &spot.directory, to_name),
            renamed => renamed,
        }
        .map(|()| true)
        .or_else(|errno| match errno {
            Errno::EXIST | Errno::NOTEMPTY => Ok(false),
            errno => Err(failure("making", to, errno)),
        })
    }

    /// Puts a link in place of what is there, in one step.
    pub fn put_link(&self, path: &AbsPath, target: &str) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        let temporary = spot.temporary_name();
        spot.remove_leftover(&temporary);
        self.before("symlink")
            .and_then(|()| symlinkat(target, &spot.directory, &*temporary))
            .and_then(|()| self.before("rename"))
            .and_then(|()| renameat(&spot.directory, &*temporary, &spot.directory, &*spot.name))
            .map_err(|errno| {
                let _ = spot.unlink(&temporary, AtFlags::empty());
                failure("making", path, errno)
            })
    }

    /// Sets owner and group, then the mode (the other way round the kernel would clear setuid
    /// bits), of a file or directory, never of what a link points to.
    pub fn set_access(&self, path: &AbsPath, access: Access) -> Result<(), Failure> {
        self.spot(path)?.set_access(access)
    }

    /// Removes a file, a link, a socket.
    pub fn remove_file(&self, path: &AbsPath) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        spot.unlink(&spot.name, AtFlags::empty()).map_err(|errno| failure("removing", path, errno))
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, path: &AbsPath) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        spot.unlink(&spot.name, AtFlags::REMOVEDIR).map_err(|errno| failure("removing", path, errno))
    }

    /// Removes a directory and all in it; not where something is mounted in it, and never
    /// through a link.
    pub fn remove_tree(&self, path: &AbsPath) -> Result<(), Failure> {
        if let Some(mounted) = self.mount_at_or_below(path)? {
            return Err(Failure::new(format!(
                "{path} is not removed: a file system is mounted on {mounted}"
            ))
            .help(format!("unmount it first: umount {mounted}")));
        }
        let spot = self.spot(path)?;
        spot.remove_tree(&spot.directory, &spot.name, path)
    }

    /// The names in a directory, sorted.
    pub fn list(&self, path: &AbsPath) -> Result<Vec<String>, Failure> {
        let spot = self.spot(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let read = || {
            self.before("list")?;
            let directory = openat(&spot.directory, &*spot.name, flags, Bits::empty())?;
            let names = names_in(&directory)?.into_iter();
            Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
        };
        read().map_err(|errno| failure("reading", path, errno))
    }

    /// A mount point at `path` or below it.
    fn mount_at_or_below(&self, path: &AbsPath) -> Result<Option<AbsPath>, Failure> {
        let real = std::fs::canonicalize(self.locate(path)).unwrap_or_else(|_| self.locate(path));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| Failure::io("reading /proc/self/mountinfo", &error))?;
        let mounts = Mounts::read(&mounts);
        let points = mounts.all().iter().map(|mount| &mount.point);
        Ok(points.filter(|point| Path::new(point).starts_with(&real)).find_map(|point| point.parse().ok()))
    }
}

/// Behind a link, who makes the topmost one that is missing need not make those below it.
fn missing(topmost: AbsPath, links: usize, rest: &VecDeque<String>) -> AbsPath {
    if links == 0 || rest.iter().any(|part| part == "..") {
        return topmost;
    }
    rest.iter().filter(|part| *part != ".").fold(topmost, |path, part| path.join(part))
}

fn blocked(path: &AbsPath, step: &AbsPath, kind: Kind) -> Failure {
    Failure::new(format!("{path}: {step} is {kind}, and must be a directory"))
}

fn root_path() -> AbsPath {
    "/".parse().expect("`/` is an absolute path")
}

fn meta(stat: &Stat) -> Meta {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    };
    Meta {
        kind,
        mode: Mode::from_bits(stat.st_mode),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        device: stat.st_dev,
        inode: stat.st_ino,
        has_other_names: stat.st_nlink > 1,
        modified: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    }
}

/// The failure of a system call on a path, with the way out where there is a usual one.
pub fn failure(tried: &str, path: &AbsPath, errno: Errno) -> Failure {
    let failure = Failure::io(format!("{tried} {path}"), &errno.into());
    let root = rustix::process::geteuid().is_root();
    match errno {
        Errno::ACCESS | Errno::PERM if !root => {
            failure.help("this user may not: give the host `become: sudo`, or run converge as root")
        }
        Errno::PERM => failure.help(format!(
            "root may not: it may be immutable (`lsattr -d {path}`, `chattr -i {path}`), or on a file system without owners"
        )),
        Errno::ROFS => failure.help("the file system is mounted read-only: `findmnt -T` shows it; after disk errors the kernel does this by itself, see `dmesg`"),
        Errno::NOSPC | Errno::DQUOT => {
            failure.help("the disk (or the quota) is full: `df -h` and `df -i` show it; what was there is untouched")
        }
        Errno::NOTEMPTY | Errno::EXIST => failure.help("something else was put there meanwhile: run it again"),
        Errno::BUSY => failure.help("it is a mount point, or in use: `findmnt` shows it"),
        _ => failure,
    }
}

/// The last lines of a file.
pub fn tail(path: &Path) -> Result<String, String> {
    let read = || {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a plain file"));
        }
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| crate::failure::io_words(&error))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn root() -> (tempfile::TempDir, System) {
        let directory = tempfile::tempdir().unwrap();
        let system = System::under(directory.path());
        (directory, system)
    }

    fn path(text: &str) -> AbsPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_file_appears_with_its_mode_whatever_the_umask() {
        let (directory, system) = root();
        let access = Access { mode: Some(Mode::from_bits(0o4750)), ..Access::default() };
        system.put_file(&path("/a"), b"text", access, |_| Ok(())).unwrap();
        let there = std::fs::metadata(directory.path().join("a")).unwrap();
        assert_eq!(there.mode() & 0o7777, 0o4750);
        assert_eq!(system.list(&path("/")).unwrap(), ["a"]);
    }

    #[test]
    fn a_refused_candidate_leaves_the_old_file_and_nothing_else() {
        let (_directory, system) = root();
        system.put_file(&path("/a"), b"old", Access::default(), |_| Ok(())).unwrap();
        let refuse = |candidate: &str| {
            assert_eq!(std::fs::read(candidate).unwrap(), b"new");
            Err(Failure::new("no"))
        };
        assert!(system.put_file(&path("/a"), b"new", Access::default(), refuse).is_err());
        assert_eq!(system.read_file(&path("/a")).unwrap(), b"old");
        assert_eq!(system.list(&path("/")).unwrap(), ["a"]);
    }

    #[test]
    fn a_directory_that_many_need_at_once_is_made_once() {
        for _ in 0..50 {
            let (root, system) = root();
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let system = system.clone();
                    scope.spawn(move || {
                        system.ensure_directory(&path("/a/b/c"), Access::default()).unwrap();
                        system
                            .put_file(&path(&format!("/a/b/c/{number}")), b"", Access::default(), |_| Ok(()))
                            .unwrap();
                    });
                }
            });
            assert_eq!(std::fs::read_dir(root.path().join("a/b/c")).unwrap().count(), 4);
            assert_eq!(system.list(&path("/a")).unwrap(), ["b"], "nothing is left over");
        }
    }

    #[test]
    fn a_link_in_the_last_place_is_replaced_and_not_followed() {
        let (directory, system) = root();
        std::fs::write(directory.path().join("victim"), "old").unwrap();
        symlink("victim", directory.path().join("a")).unwrap();
        assert!(
            system
                .set_access(&path("/a"), Access { mode: Some(Mode::from_bits(0o777)), ..Access::default() })
                .is_err()
        );
        system.put_file(&path("/a"), b"new", Access::default(), |_| Ok(())).unwrap();
        assert_eq!(std::fs::read(directory.path().join("victim")).unwrap(), b"old");
        assert_eq!(system.read_file(&path("/a")).unwrap(), b"new");
    }

    #[test]
    fn a_link_on_the_way_is_followed_only_where_root_or_this_user_made_it() {
        let (directory, system) = root();
        std::fs::create_dir(directory.path().join("run")).unwrap();
        symlink("/run", directory.path().join("var")).unwrap();
        system.put_file(&path("/var/a"), b"x", Access::default(), |_| Ok(())).unwrap();
        assert!(directory.path().join("run/a").exists());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(directory.path().join("var"), Some(65534), None).unwrap();
            let refused = system.see(&path("/var/a")).unwrap_err();
            assert!(refused.reason.contains("is a link that"), "{}", refused.reason);
        }
    }

    #[test]
    fn the_nearest_missing_directory_is_named() {
        let (_directory, system) = root();
        let Seen::NoParent(missing) = system.see(&path("/a/b/c")).unwrap() else { panic!() };
        assert_eq!(missing, path("/a"));
        std::os::unix::fs::symlink("a/./b", system.locate(&path("/l"))).unwrap();
        let Seen::NoParent(missing) = system.see(&path("/l/c/d")).unwrap() else { panic!() };
        assert_eq!(missing, path("/a/b/c"));
        std::fs::write(system.locate(&path("/f")), "").unwrap();
        assert!(system.see(&path("/f/x")).unwrap_err().reason.contains("/f is a file"));
    }

    #[test]
    fn a_leftover_of_a_killed_run_is_replaced() {
        let (directory, system) = root();
        std::fs::write(directory.path().join(".a.converge"), "half").unwrap();
        system.put_file(&path("/a"), b"whole", Access::default(), |_| Ok(())).unwrap();
        assert_eq!(system.list(&path("/")).unwrap(), ["a"]);
        system.make_directory(&path("/d"), Access::default()).unwrap();
        let mode = std::fs::metadata(directory.path().join("d")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }

    #[test]
    fn a_tree_is_removed_without_following_links() {
        let (directory, system) = root();
        std::fs::create_dir_all(directory.path().join("t/u")).unwrap();
        std::fs::write(directory.path().join("keep"), "").unwrap();
        symlink("../keep", directory.path().join("t/link")).unwrap();
        symlink("../..", directory.path().join("t/u/up")).unwrap();
        let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"t/caf\xe9");
        std::fs::write(directory.path().join::<&std::ffi::OsStr>(odd), "").unwrap();
        system.remove_tree(&path("/t")).unwrap();
        assert_eq!(system.list(&path("/")).unwrap(), ["keep"]);
    }
}
