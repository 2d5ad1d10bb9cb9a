//! A tree that is built beside the place it is for: private, without following a link, and moved
//! there when it is whole.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, Gid, Mode as Bits, OFlags, Uid, chownat, linkat, mkdirat, openat, renameat, symlinkat, syncfs,
};
use rustix::io::Errno;

use super::{Access, Candidate, Kind, Meta, Seen, System, failure};
use crate::attribute::{AbsPath, Mode};
use crate::failure::Failure;

/// Its names are relative: `bin/app`.
pub struct Tree<'a> {
    system: &'a System,
    path: AbsPath,
    root: OwnedFd,
    /// The directory of the entry before, which mostly is that of the next.
    last: Option<(String, OwnedFd)>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl System {
    /// An empty directory at `path` that nobody else may enter. What a killed run left there goes.
    pub fn begin_tree(&self, path: &AbsPath) -> Result<Tree<'_>, Failure> {
        match self.see(path)? {
            Seen::There(Meta { kind: Kind::Directory, .. }) => self.remove_tree(path)?,
            Seen::There(_) => self.remove_file(path)?,
            Seen::Absent | Seen::NoParent(_) => {}
        }
        self.make_directory(path, Access { mode: Some(Mode::from_bits(0o700)), ..Access::default() })?;
        let spot = self.spot(path)?;
        let root = openat(&spot.directory, &*spot.name, DIRECTORY, Bits::empty())
            .map_err(|errno| failure("opening", path, errno))?;
        Ok(Tree { system: self, path: path.clone(), root, last: None })
    }

    /// What was written on the file system of the directory at `path` is on its disk after this.
    pub fn sync(&self, path: &AbsPath) -> Result<(), Failure> {
        let told = |errno| failure("writing", path, errno);
        let spot = self.spot(path)?;
        let directory = openat(&spot.directory, &*spot.name, DIRECTORY, Bits::empty()).map_err(told)?;
        self.before("sync").and_then(|()| syncfs(&directory)).map_err(told)
    }

    /// Gives what lies at `from` the name `to`, on the same file system. What is there already is
    /// replaced in one step: a file or link by a file or link, an empty directory by a directory.
    pub fn move_to(&self, from: &AbsPath, to: &AbsPath) -> Result<(), Failure> {
        let (old, new) = (self.spot(from)?, self.spot(to)?);
        self.before("rename")
            .and_then(|()| renameat(&old.directory, &*old.name, &new.directory, &*new.name))
            .map_err(|errno| match errno {
                Errno::XDEV => Failure::new(format!("{to} is on another file system than what it lies in"))
                    .help("nothing can be moved there in one step: unmount it, or choose a place on one file system"),
                errno => failure("putting in place", to, errno),
            })
    }
}

impl Tree<'_> {
    /// The directory that `name` lies in, and its last part. Missing directories are made.
    fn parent(&mut self, name: &str) -> Result<String, Failure> {
        let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
        if self.last.as_ref().is_none_or(|(known, _)| known != parent) {
            let open = |at: &OwnedFd, part: &str| openat(at, part, DIRECTORY, Bits::empty());
            let walk = || {
                let mut directory = open(&self.root, ".")?;
                for part in parent.split('/').filter(|part| !part.is_empty()) {
                    directory = match open(&directory, part) {
                        Err(Errno::NOENT) => {
                            self.system.before("mkdir")?;
                            mkdirat(&directory, part, Bits::RWXU)?;
                            open(&directory, part)?
                        }
                        opened => opened?,
                    };
                }
                Ok(directory)
            };
            let directory = walk().map_err(|errno| failure("making", &self.path.join(parent), errno))?;
            self.last = Some((parent.to_owned(), directory));
        }
        Ok(last.to_owned())
    }

    fn opened(&self) -> &OwnedFd {
        self.last.as_ref().map_or(&self.root, |(_, directory)| directory)
    }

    pub fn directory(&mut self, name: &str) -> Result<(), Failure> {
        // As if something lay in it.
        self.parent(&format!("{name}/x")).map(drop)
    }

    /// A file with what `fill` writes. A mode that lets nobody but root write, even its owner, is
    /// no hindrance.
    pub fn file(
        &mut self,
        name: &str,
        access: Access,
        modified: Option<u64>,
        fill: impl FnOnce(&mut Candidate<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let last = self.parent(name)?;
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let told = |errno| failure("writing", &path, errno);
        self.system.before("create").map_err(told)?;
        let file = openat(self.opened(), &*last, flags, Bits::RUSR | Bits::WUSR).map_err(told)?;
        let mut candidate = Candidate { system: self.system, file: File::from(file), path: &path };
        fill(&mut candidate)?;
        self.set_on(&candidate.file, &path, access)?;
        if let Some(modified) = modified {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
            let set = candidate.file.set_modified(time);
            set.map_err(|error| Failure::io(format!("setting the time of {path}"), &error))?;
        }
        Ok(())
    }

    pub fn symlink(&mut self, name: &str, target: &str, access: Access) -> Result<(), Failure> {
        let last = self.parent(name)?;
        let path = self.path.join(name);
        let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
        self.system
            .before("symlink")
            .and_then(|()| symlinkat(target, self.opened(), &*last))
            .and_then(|()| chownat(self.opened(), &*last, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|errno| failure("making", &path, errno))
    }

    /// Another name for a file of the tree.
    pub fn hard_link(&mut self, name: &str, original: &str) -> Result<(), Failure> {
        let first = self.parent(original)?;
        let Some((_, from)) = self.last.take() else {
            return Err(Failure::new(format!("{original} lies nowhere")));
        };
        let last = self.parent(name)?;
        self.system
            .before("link")
            .and_then(|()| linkat(&from, &*first, self.opened(), &*last, AtFlags::empty()))
            .map_err(|errno| failure("making", &self.path.join(name), errno))
    }

    /// Owner and mode of a directory of the tree; of itself by an empty name. To be set last: it may
    /// let nobody write in it.
    pub fn set(&mut self, name: &str, access: Access) -> Result<(), Failure> {
        self.parent(&format!("{name}/x"))?;
        let path = self.path.join(name);
        self.set_on(self.opened(), &path, access)
    }

    fn set_on(&self, file: &impl AsFd, path: &AbsPath, access: Access) -> Result<(), Failure> {
        let told = |errno| failure("setting owner and mode of", path, errno);
        if access.uid.is_some() || access.gid.is_some() {
            self.system.before("chown").map_err(told)?;
            let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
            rustix::fs::fchown(file, uid, gid).map_err(told)?;
        }
        let Some(mode) = access.mode else { return Ok(()) };
        self.system.before("chmod").map_err(told)?;
        rustix::fs::fchmod(file, Bits::from_bits_truncate(mode.bits())).map_err(told)
    }

    /// After a power cut no name of it must stand for an empty file.
    pub fn sync(&self) -> Result<(), Failure> {
        let synced = self.system.before("sync").and_then(|()| syncfs(&self.root));
        synced.map_err(|errno| failure("writing", &self.path, errno))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn path(text: &str) -> AbsPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_tree_is_private_until_it_is_moved_into_place() {
        let root = tempfile::tempdir().unwrap();
        let system = System::under(root.path());
        std::fs::create_dir_all(root.path().join("t/left/over")).unwrap();
        let mut tree = system.begin_tree(&path("/t")).unwrap();
        let access = Access { mode: Some(Mode::from_bits(0o444)), ..Access::default() };
        tree.file("a/b/f", access, Some(86_400), |candidate| candidate.write(b"text")).unwrap();
        tree.directory("empty").unwrap();
        tree.symlink("l", "a/b", Access::default()).unwrap();
        tree.hard_link("a/h", "a/b/f").unwrap();
        tree.set("a", Access { mode: Some(Mode::from_bits(0o555)), ..Access::default() }).unwrap();
        tree.sync().unwrap();
        let meta = |name: &str| std::fs::symlink_metadata(root.path().join(name)).unwrap();
        assert_eq!(meta("t").mode() & 0o777, 0o700);
        assert_eq!((meta("t/a/b/f").mode() & 0o777, meta("t/a/b/f").mtime()), (0o444, 86_400));
        assert_eq!(meta("t/a/h").ino(), meta("t/a/b/f").ino());
        assert_eq!(meta("t/a").mode() & 0o777, 0o555);
        system.move_to(&path("/t"), &path("/done")).unwrap();
        assert_eq!(system.list(&path("/done")).unwrap(), ["a", "empty", "l"]);
    }

    #[test]
    fn nothing_is_written_through_a_link_of_the_tree() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("outside")).unwrap();
        let system = System::under(root.path());
        let mut tree = system.begin_tree(&path("/t")).unwrap();
        symlink(root.path().join("outside"), root.path().join("t/l")).unwrap();
        assert!(tree.file("l/f", Access::default(), None, |_| Ok(())).is_err());
        assert!(tree.symlink("l/g", "x", Access::default()).is_err());
        assert!(tree.directory("l/d").is_err());
        assert_eq!(system.list(&path("/outside")).unwrap(), [""; 0]);
    }
}
