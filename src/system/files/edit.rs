//! Editing a file of which only a part is declared: the rest stays as it is, and so do its owner,
//! its mode and what else the file system keeps of it.

use std::fs::File;
use std::io::Read;

use rustix::fs::{
    AtFlags, Mode as Bits, OFlags, Stat, XattrFlags, fgetxattr, flistxattr, fsetxattr, fstat, openat, statat,
};
use rustix::io::Errno;

use super::{Access, Kind, Spot, System, failure, meta};
use crate::attribute::AbsPath;
use crate::failure::Failure;

/// So often a file is edited anew that somebody else writes at the same moment.
const TRIES: usize = 5;

/// Longer files are none that people write settings into.
const MOST: u64 = 64 * 1024 * 1024;

/// What the file system keeps of a file beside owner and mode, and a new file has to have too.
/// Others (security.ima, trusted.*) are the kernel's own, and of the old content.
const KEPT: &[&str] = &["system.posix_acl_access", "security.selinux", "security.SMACK64"];

/// The file as it was read.
struct Old {
    file: File,
    stat: Stat,
    bytes: Vec<u8>,
}

impl System {
    /// Replaces the file by what `edit` makes of its bytes (None: they are right as they are). `edit`
    /// sees no bytes where there is no file; a new one gets `new`. Edits of one file take turns, and
    /// one that finds that somebody else has written the file meanwhile begins again, so that no
    /// edit is lost.
    pub fn edit_file(
        &self,
        path: &AbsPath,
        new: Access,
        edit: impl Fn(Option<&[u8]>) -> Result<Option<Vec<u8>>, Failure>,
    ) -> Result<(), Failure> {
        let spot = self.spot(path)?;
        let _turn = self.turn(spot.place()?)?;
        for _ in 0..TRIES {
            let old = spot.read()?;
            let Some(bytes) = edit(old.as_ref().map(|old| old.bytes.as_slice()))? else { return Ok(()) };
            let access = match &old {
                None => new,
                Some(Old { stat, .. }) => {
                    let there = meta(stat);
                    Access { uid: Some(there.uid), gid: Some(there.gid), mode: Some(there.mode) }
                }
            };
            let is_right = |candidate: &str| {
                if let Some(old) = &old {
                    spot.keep_attributes(old, candidate)?;
                }
                spot.is_still(old.as_ref())
            };
            if spot.replace(access, |candidate| candidate.write(&bytes), is_right)? {
                return Ok(());
            }
        }
        Err(Failure::new(format!("{path} was written by something else each time it was to be edited"))
            .help(format!("find out what writes it (`fuser -v {path}`), and stop that or leave it to it")))
    }

    /// The bytes of a file that is to be edited; None where there is none.
    pub fn read_to_edit(&self, path: &AbsPath) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.spot(path)?.read()?.map(|old| old.bytes))
    }
}

impl Spot<'_> {
    fn read(&self) -> Result<Option<Old>, Failure> {
        let told = |errno| failure("reading", &self.path, errno);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.system.before("open").map_err(told)?;
        let file = match openat(&self.directory, &*self.name, flags, Bits::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(not_a_file(&self.path, Kind::Symlink)),
            Err(errno) => return Err(told(errno)),
        };
        let stat = fstat(&file).map_err(told)?;
        let there = meta(&stat);
        if there.kind != Kind::File {
            return Err(not_a_file(&self.path, there.kind));
        }
        if there.size > MOST {
            let reason = format!("{} has {} bytes: too many to be edited", self.path, there.size);
            return Err(Failure::new(reason).help("is it a log? name the file that holds the settings"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(there.size).unwrap_or(0));
        let read = (&file).take(MOST).read_to_end(&mut bytes);
        read.map_err(|error| Failure::io(format!("reading {}", self.path), &error))?;
        Ok(Some(Old { file, stat, bytes }))
    }

    /// Nobody has written or replaced it since it was read.
    fn is_still(&self, old: Option<&Old>) -> Result<bool, Failure> {
        let told = |errno| failure("reading", &self.path, errno);
        self.system.before("stat").map_err(told)?;
        match (statat(&self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW), old) {
            (Err(Errno::NOENT), old) => Ok(old.is_none()),
            (Err(errno), _) => Err(told(errno)),
            (Ok(_), None) => Ok(false),
            (Ok(now), Some(Old { stat, .. })) => Ok(is_same(&now, stat)),
        }
    }

    fn keep_attributes(&self, old: &Old, candidate: &str) -> Result<(), Failure> {
        let told = |errno| failure("keeping the attributes of", &self.path, errno);
        self.system.before("attributes").map_err(told)?;
        let mut names: Vec<u8> = vec![0; 64 * 1024];
        let length = match flistxattr(&old.file, &mut names[..]) {
            Ok(length) => length,
            // A file system without such attributes.
            Err(Errno::NOTSUP) => return Ok(()),
            Err(errno) => return Err(told(errno)),
        };
        let names =
            names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
        let kept: Vec<&str> = names.filter(|name| KEPT.contains(name) || name.starts_with("user.")).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = openat(&self.directory, candidate, flags, Bits::empty()).map_err(told)?;
        for name in kept {
            let mut value: Vec<u8> = vec![0; 64 * 1024];
            let length = fgetxattr(&old.file, name, &mut value[..]).map_err(told)?;
            fsetxattr(&new, name, &value[..length], XattrFlags::empty()).map_err(told)?;
        }
        Ok(())
    }
}

fn not_a_file(path: &AbsPath, kind: Kind) -> Failure {
    let failure = Failure::new(format!("{path} is {kind}, and only a file can be edited"));
    match kind {
        Kind::Symlink => failure.help(format!(
            "a link is not followed: name the file that it leads to (`readlink -f {path}` shows it)"
        )),
        _ => failure.help("name a file"),
    }
}

/// Every write makes another time or length of it, and a rename another inode.
fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino, one.st_size) == (other.st_dev, other.st_ino, other.st_size)
        && (one.st_mtime, one.st_mtime_nsec) == (other.st_mtime, other.st_mtime_nsec)
        && (one.st_ctime, one.st_ctime_nsec) == (other.st_ctime, other.st_ctime_nsec)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    fn path() -> AbsPath {
        "/etc/f".parse().unwrap()
    }

    fn machine(content: &str) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/f"), content).unwrap();
        let system = System::under(root.path());
        (root, system)
    }

    fn append(system: &System, path: &AbsPath, text: &str) {
        let edit = |bytes: Option<&[u8]>| Ok(Some([bytes.unwrap_or_default(), text.as_bytes()].concat()));
        system.edit_file(path, Access::default(), edit).unwrap();
    }

    #[test]
    fn edits_of_one_file_at_the_same_time_do_not_lose_each_other() {
        let (root, system) = machine("");
        // By another path it is the same file.
        symlink("etc", root.path().join("also")).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let system = system.clone();
                scope.spawn(move || {
                    let path = if number % 2 == 0 { path() } else { "/also/f".parse().unwrap() };
                    for round in 0..10 {
                        append(&system, &path, &format!("{number} {round}\n"));
                    }
                });
            }
        });
        let text = std::fs::read_to_string(root.path().join("etc/f")).unwrap();
        assert_eq!(text.lines().count(), 80);
        assert_eq!(system.list(&"/etc".parse().unwrap()).unwrap(), ["f"]);
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_not_lost() {
        let (root, system) = machine("old\n");
        let file = root.path().join("etc/f");
        let count = Cell::new(0);
        let edit = |bytes: Option<&[u8]>| {
            count.set(count.get() + 1);
            if count.get() == 1 {
                std::fs::write(&file, "old\ntheirs\n").unwrap();
            }
            Ok(Some([bytes.unwrap_or_default(), b"ours\n"].concat()))
        };
        system.edit_file(&path(), Access::default(), edit).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old\ntheirs\nours\n");
        let stubborn = |bytes: Option<&[u8]>| {
            std::fs::write(&file, format!("theirs {}\n", bytes.map_or(0, <[u8]>::len))).unwrap();
            Ok(Some(b"ours\n".to_vec()))
        };
        let failure = system.edit_file(&path(), Access::default(), stubborn).unwrap_err();
        assert!(failure.reason.contains("by something else"), "{}", failure.reason);
        assert_eq!(system.list(&"/etc".parse().unwrap()).unwrap(), ["f"]);
    }

    #[test]
    fn owner_mode_and_attributes_are_kept() {
        let (root, system) = machine("old\n");
        let file = root.path().join("etc/f");
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(1234), Some(2345)).unwrap();
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o6751)).unwrap();
        let open = File::open(&file).unwrap();
        let has_attributes = fsetxattr(&open, "user.note", b"kept \0 \xff", XattrFlags::empty()).is_ok();
        let before = std::fs::metadata(&file).unwrap();
        append(&system, &path(), "new\n");
        let after = std::fs::metadata(&file).unwrap();
        assert_ne!(after.ino(), before.ino());
        assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
        if has_attributes {
            let mut value = [0; 32];
            let length = fgetxattr(File::open(&file).unwrap(), "user.note", &mut value).unwrap();
            assert_eq!(&value[..length], b"kept \0 \xff");
        }
    }

    #[test]
    fn what_is_right_is_not_touched_and_a_link_is_not_followed() {
        let (root, system) = machine("old\n");
        let file = root.path().join("etc/f");
        let before = std::fs::metadata(&file).unwrap();
        system.edit_file(&path(), Access::default(), |_| Ok(None)).unwrap();
        let after = std::fs::metadata(&file).unwrap();
        assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
        symlink("f", root.path().join("etc/l")).unwrap();
        let link: AbsPath = "/etc/l".parse().unwrap();
        let failure = system.edit_file(&link, Access::default(), |_| Ok(Some(Vec::new()))).unwrap_err();
        assert_eq!(failure.reason, "/etc/l is a symlink, and only a file can be edited");
        let directory: AbsPath = "/etc".parse().unwrap();
        let failure = system.edit_file(&directory, Access::default(), |_| Ok(None)).unwrap_err();
        assert_eq!(failure.reason, "/etc is a directory, and only a file can be edited");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old\n");
    }

    #[test]
    fn a_new_file_appears_whole_and_only_where_nobody_else_made_one() {
        let (root, system) = machine("");
        let new: AbsPath = "/etc/new".parse().unwrap();
        let count = Cell::new(0);
        let edit = |bytes: Option<&[u8]>| {
            count.set(count.get() + 1);
            if count.get() == 1 {
                assert_eq!(bytes, None);
                std::fs::write(root.path().join("etc/new"), "theirs\n").unwrap();
            }
            Ok(Some([bytes.unwrap_or_default(), b"ours\n"].concat()))
        };
        system.edit_file(&new, Access::default(), edit).unwrap();
        assert_eq!(system.read_file(&new).unwrap(), b"theirs\nours\n");
    }
}
