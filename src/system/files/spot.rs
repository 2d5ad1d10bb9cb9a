//! A place in an open directory: what is done there reaches that directory, whatever is put on the
//! way to it meanwhile.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode as Bits, OFlags, Uid, chownat, fchmod, fchown, fstat, mkdirat, openat, renameat,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::{Access, Candidate, Kind, System, failure, meta};
use crate::attribute::{AbsPath, Mode};
use crate::failure::Failure;

/// An open directory, and a name in it.
pub struct Spot<'a> {
    pub(super) system: &'a System,
    pub(super) directory: OwnedFd,
    pub(super) name: String,
    pub(super) path: AbsPath,
}

/// All but `.` and `..`, sorted.
pub(super) fn names_in(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

impl Spot<'_> {
    /// From one open directory to the next: whoever puts a link in place of one that is on its way out
    /// leads nowhere.
    pub(super) fn remove_tree<N: rustix::path::Arg + Copy>(
        &self,
        above: &OwnedFd,
        name: N,
        path: &AbsPath,
    ) -> Result<(), Failure> {
        let removing = |errno| failure("removing", path, errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.system.before("list").map_err(removing)?;
        let directory = openat(above, name, flags, Bits::empty()).map_err(removing)?;
        for inner in names_in(&directory).map_err(removing)? {
            let inner_path = path.join(&inner.to_string_lossy());
            let removing = |errno| failure("removing", &inner_path, errno);
            self.system.before("stat").map_err(removing)?;
            match statat(&directory, &*inner, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if meta(&stat).kind == Kind::Directory => {
                    self.remove_tree(&directory, &*inner, &inner_path)?;
                }
                Ok(_) => {
                    self.system.before("unlink").map_err(removing)?;
                    unlinkat(&directory, &*inner, AtFlags::empty()).map_err(removing)?;
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(removing(errno)),
            }
        }
        self.system.before("unlink").map_err(removing)?;
        unlinkat(above, name, AtFlags::REMOVEDIR).map_err(removing)
    }

    /// One name for it, by whatever path it is reached.
    pub(super) fn place(&self) -> Result<String, Failure> {
        let told = |errno| failure("reading", &self.path, errno);
        let directory = fstat(&self.directory).map_err(told)?;
        Ok(format!("{} (device {}, directory {})", self.name, directory.st_dev, directory.st_ino))
    }

    pub(in crate::system) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(in crate::system) fn name(&self) -> &str {
        &self.name
    }

    /// Writes a candidate, which has the file's name when `is_right` says so of it; whether it has.
    pub(super) fn replace(
        &self,
        access: Access,
        fill: impl FnOnce(&mut Candidate<'_>) -> Result<(), Failure>,
        is_right: impl FnOnce(&str) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let temporary = self.temporary_name();
        let placed = self.write_temporary(&temporary, access, fill).and_then(|()| {
            if !is_right(&temporary)? {
                return Ok(false);
            }
            self.system
                .before("rename")
                .and_then(|()| renameat(&self.directory, &*temporary, &self.directory, &*self.name))
                .map_err(|errno| failure("replacing", &self.path, errno))?;
            Ok(true)
        });
        if placed != Ok(true) {
            // What failed is told; the candidate is no use to anybody.
            let _ = self.unlink(&temporary, AtFlags::empty());
        }
        placed
    }

    pub(super) fn unlink(&self, name: &str, flags: AtFlags) -> Result<(), Errno> {
        self.system.before("unlink")?;
        unlinkat(&self.directory, name, flags)
    }

    /// One name a file, so that what a killed run left is replaced by the next. Its dots keep
    /// it out of what reads whole directories (cron.d, sudoers.d, `conf.d/*.conf`).
    pub(super) fn temporary_name(&self) -> String {
        if self.name.len() <= 240 {
            format!(".{}.converge", self.name)
        } else {
            let hash = crate::attribute::sha256_hex(self.name.as_bytes());
            format!(".{}.converge", &hash[..16])
        }
    }

    /// The path of a name in this directory, through the directory that is open here.
    pub(super) fn path_of(&self, name: &str) -> String {
        let open = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        let directory = std::fs::read_link(open).map(|path| path.to_string_lossy().into_owned());
        format!("{}/{name}", directory.unwrap_or_default().trim_end_matches('/'))
    }

    pub(super) fn remove_leftover(&self, temporary: &str) {
        // Mostly there is none. Where it cannot be removed, making the new one says why.
        if self.unlink(temporary, AtFlags::empty()) == Err(Errno::ISDIR) {
            let _ = self.unlink(temporary, AtFlags::REMOVEDIR);
        }
    }

    pub(super) fn make_temporary_directory(&self, temporary: &str, access: Access) -> Result<(), Failure> {
        self.remove_leftover(temporary);
        let making = |errno| failure("making", &self.path, errno);
        self.system.before("mkdir").map_err(making)?;
        mkdirat(&self.directory, temporary, Bits::RWXU).map_err(making)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.directory, temporary, flags, Bits::empty()).map_err(making)?;
        self.set_on(directory.as_fd(), access, Mode::from_bits(0o755))
    }

    pub(super) fn set_access(&self, access: Access) -> Result<(), Failure> {
        let told = |errno| failure("setting owner and mode of", &self.path, errno);
        if access.uid.is_some() || access.gid.is_some() {
            let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
            self.system.before("chown").map_err(told)?;
            chownat(&self.directory, &*self.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(told)?;
        }
        let Some(mode) = access.mode else { return Ok(()) };
        self.system.before("chmod").map_err(told)?;
        // The file itself, whatever may be put under its name meanwhile; chmod of a handle
        // that was not opened for reading goes through /proc.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, &*self.name, flags, Bits::empty()).map_err(told)?;
        let stat = fstat(&file).map_err(told)?;
        if meta(&stat).kind == Kind::Symlink {
            return Err(Failure::new(format!("{}: a symlink has no mode of its own", self.path)));
        }
        let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::chmod(handle, Bits::from_bits_truncate(mode.bits())).map_err(told)
    }

    /// Owner, group and mode of what is new and has no name that anybody knows yet.
    pub(super) fn set_on(&self, file: BorrowedFd<'_>, access: Access, default: Mode) -> Result<(), Failure> {
        let told = |errno| failure("setting owner and mode of", &self.path, errno);
        if access.uid.is_some() || access.gid.is_some() {
            self.system.before("chown").map_err(told)?;
            fchown(file, access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw)).map_err(told)?;
        }
        self.system.before("chmod").map_err(told)?;
        fchmod(file, Bits::from_bits_truncate(access.mode.unwrap_or(default).bits())).map_err(told)
    }
}
