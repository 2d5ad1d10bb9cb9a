//! What is mounted: a device, a directory, an image, a share; and whether a mount that is there
//! shows it.

use std::os::unix::fs::MetadataExt;

use super::options::Options;
use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::Invocation;
use crate::system::mounts::{Mounted, Mounts};

/// File systems whose device is a word for people.
const VIRTUAL: [&str; 24] = [
    "tmpfs",
    "ramfs",
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "mqueue",
    "hugetlbfs",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "cgroup",
    "cgroup2",
    "bpf",
    "pstore",
    "efivarfs",
    "fusectl",
    "binfmt_misc",
    "rpc_pipefs",
    "overlay",
    "aufs",
    "nfsd",
    "selinuxfs",
];

/// Where udev has a name for each device.
const BY_NAME: [(&str, &str); 5] = [
    ("UUID", "by-uuid"),
    ("LABEL", "by-label"),
    ("PARTUUID", "by-partuuid"),
    ("PARTLABEL", "by-partlabel"),
    ("ID", "by-id"),
];

/// What a `device` names on this machine.
#[derive(Clone, PartialEq, Debug)]
pub enum Device {
    /// A block device: its number, and its path without links.
    Block { number: (u32, u32), path: String },
    /// A file with a file system in it, behind a loop device.
    Image { path: String },
    /// Another directory or file, to be seen here too.
    Bound { path: AbsPath },
    /// A word: of a share, a pool, or of nothing.
    Word(String),
    /// There is no such device.
    Missing,
}

/// What of fstab's `NAME=value` the text is.
pub fn tag(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    BY_NAME.iter().any(|(known, _)| *known == name).then_some((name, value))
}

pub fn is_virtual(fstype: &str) -> bool {
    VIRTUAL.contains(&fstype)
}

/// Its content is lost when it is unmounted.
pub fn is_in_memory(fstype: &str) -> bool {
    matches!(fstype, "tmpfs" | "ramfs")
}

impl Device {
    pub fn find(system: &System, text: &str, options: &Options) -> Result<Device, Failure> {
        if options.is_bind() {
            let path = text.parse().map_err(Failure::new)?;
            return Ok(Device::Bound { path });
        }
        let path = match tag(text) {
            Some((name, value)) => match named(system, text, name, value)? {
                Some(path) => path,
                None => return Ok(Device::Missing),
            },
            None if text.starts_with('/') && !text.starts_with("//") => text.to_owned(),
            None => return Ok(Device::Word(text.to_owned())),
        };
        let place = system.root().join(path.trim_start_matches('/'));
        let Ok(real) = std::fs::canonicalize(&place) else { return Ok(Device::Missing) };
        let there = std::fs::metadata(&real)
            .map_err(|error| Failure::io(format!("reading {}", real.display()), &error))?;
        let path = real.to_string_lossy().into_owned();
        Ok(match there.mode() & 0o170_000 {
            0o060_000 => Device::Block { number: number(there.rdev()), path },
            0o100_000 => Device::Image { path },
            _ => Device::Word(text.to_owned()),
        })
    }

    /// Whether `mounted` is this.
    pub fn is_shown(&self, system: &System, mounts: &Mounts, mounted: &Mounted) -> bool {
        match self {
            Device::Missing => false,
            Device::Block { number, path } => {
                *number == mounted.device
                    || real(system, &mounted.source).is_some_and(|source| source == *path)
            }
            Device::Image { path } => {
                let device = mounted.source.strip_prefix("/dev/");
                device.and_then(|device| system.backing_file(device)).is_some_and(|file| file == *path)
            }
            // The same directory of the same file system, whatever that is mounted from.
            Device::Bound { path } => {
                let path = real(system, path.as_str()).unwrap_or_else(|| path.to_string());
                mounts.within(&path) == Some((mounted.device, mounted.root.clone()))
            }
            Device::Word(word) => {
                is_virtual(&mounted.fstype)
                    || word.trim_end_matches('/') == mounted.source.trim_end_matches('/')
            }
        }
    }
}

/// The path without links, as this machine's mounts have it.
fn real(system: &System, path: &str) -> Option<String> {
    let real = std::fs::canonicalize(system.root().join(path.trim_start_matches('/'))).ok()?;
    let inner = real.strip_prefix(system.root()).ok()?;
    Some(format!("/{}", inner.to_string_lossy()))
}

/// The device that `UUID=…` or its kin names: by udev's links, else as mount(8) finds it.
fn named(system: &System, text: &str, name: &str, value: &str) -> Result<Option<String>, Failure> {
    let directory = BY_NAME.iter().find(|(known, _)| *known == name).map_or("", |(_, directory)| *directory);
    let link = format!("/dev/disk/{directory}/{}", as_udev_writes(value));
    if system.root().join(link.trim_start_matches('/')).exists() {
        return Ok(Some(link));
    }
    // Without what an earlier look has left in a cache.
    let found = system.run(&Invocation::new(["findfs", text]).env("BLKID_FILE", "/dev/null"))?;
    let path = found.stdout.trim().to_owned();
    Ok((found.succeeded() && path.starts_with('/')).then_some(path))
}

/// udev(7): what is no plain character of a name is written as `\x20`.
fn as_udev_writes(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii();
    let mut written = String::new();
    for c in value.chars() {
        if plain(c) { written.push(c) } else { written.push_str(&format!("\\x{:02x}", u32::from(c))) }
    }
    written
}

fn number(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

/// Whether what is mounted is of the declared type, under the names that the kernel has for it.
pub fn is_of_type(declared: &str, seen: &str) -> bool {
    declared == seen
        || matches!(
            (declared, seen),
            ("auto" | "none", _)
                | ("nfs", "nfs4")
                | ("smb3" | "smbfs", "cifs")
                | ("ntfs" | "ntfs-3g" | "exfat", "fuseblk" | "ntfs3")
                | ("msdos", "vfat")
        )
        || seen.strip_prefix("fuse.").is_some_and(|seen| seen == declared || declared == "fuse")
        || declared.strip_prefix("fuse.").is_some_and(|_| seen == "fuse" || seen == "fuseblk")
}

/// A program that mount(8) needs for a type, and the packages that have it, as systems call them.
pub struct Helper {
    pub program: &'static str,
    pub packages: &'static [&'static str],
}

/// Type, program, packages: Debian's first.
const HELPERS: [(&str, Helper); 14] = [
    ("nfs", Helper { program: "mount.nfs", packages: &["nfs-common", "nfs-utils", "nfs-client"] }),
    ("nfs4", Helper { program: "mount.nfs4", packages: &["nfs-common", "nfs-utils", "nfs-client"] }),
    ("cifs", Helper { program: "mount.cifs", packages: &["cifs-utils"] }),
    ("smb3", Helper { program: "mount.smb3", packages: &["cifs-utils"] }),
    ("ntfs-3g", Helper { program: "mount.ntfs-3g", packages: &["ntfs-3g"] }),
    ("fuse.sshfs", Helper { program: "mount.fuse.sshfs", packages: &["sshfs", "fuse-sshfs"] }),
    ("sshfs", Helper { program: "mount.sshfs", packages: &["sshfs", "fuse-sshfs"] }),
    ("glusterfs", Helper { program: "mount.glusterfs", packages: &["glusterfs-client", "glusterfs-fuse"] }),
    ("ceph", Helper { program: "mount.ceph", packages: &["ceph-common"] }),
    ("davfs", Helper { program: "mount.davfs", packages: &["davfs2"] }),
    ("ecryptfs", Helper { program: "mount.ecryptfs", packages: &["ecryptfs-utils"] }),
    ("zfs", Helper { program: "mount.zfs", packages: &["zfsutils-linux", "zfs"] }),
    ("ocfs2", Helper { program: "mount.ocfs2", packages: &["ocfs2-tools"] }),
    ("lustre", Helper { program: "mount.lustre", packages: &["lustre-client-utils", "lustre-client"] }),
];

pub fn helper(fstype: &str) -> Option<&'static Helper> {
    HELPERS.iter().find(|(name, _)| *name == fstype).map(|(_, helper)| helper)
}

/// Whether there is a program `mount.TYPE`.
pub fn has_helper(system: &System, fstype: &str) -> bool {
    is_program(system, &format!("mount.{fstype}"))
}

fn is_program(system: &System, name: &str) -> bool {
    let places = ["sbin", "usr/sbin", "usr/local/sbin"];
    places.iter().any(|place| system.root().join(place).join(name).exists())
}

impl Helper {
    pub fn is_there(&self, system: &System) -> bool {
        // `mount.fuse.sshfs` may be served by `mount.fuse`, which finds sshfs by itself.
        let names = [self.program, "mount.fuse3", "mount.fuse"];
        let names = if self.program.contains("sshfs") { &names[..] } else { &names[..1] };
        names.iter().any(|name| is_program(system, name))
    }

    /// The package's name here.
    pub fn package(&self, system: &System) -> &'static str {
        let is_debian = system.root().join("var/lib/dpkg/status").exists();
        let others = self.packages.get(1).filter(|_| !is_debian);
        others.unwrap_or(&self.packages[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_other_names_in_the_kernel() {
        for (declared, seen) in [
            ("ext4", "ext4"),
            ("auto", "xfs"),
            ("nfs", "nfs4"),
            ("sshfs", "fuse.sshfs"),
            ("fuse.sshfs", "fuse.sshfs"),
            ("ntfs-3g", "fuseblk"),
        ] {
            assert!(is_of_type(declared, seen), "{declared} {seen}");
        }
        for (declared, seen) in [("ext4", "ext3"), ("nfs4", "nfs"), ("xfs", "ext4"), ("tmpfs", "ramfs")] {
            assert!(!is_of_type(declared, seen), "{declared} {seen}");
        }
    }

    #[test]
    fn names_of_devices_are_told_from_words() {
        assert_eq!(tag("UUID=1-2"), Some(("UUID", "1-2")));
        assert_eq!(tag("LABEL=my disk"), Some(("LABEL", "my disk")));
        for word in ["tmpfs", "server:/export", "/dev/sda1", "overlay=x", "a=b"] {
            assert_eq!(tag(word), None, "{word}");
        }
        assert_eq!(as_udev_writes("my disk/1"), r"my\x20disk\x2f1");
    }

    #[test]
    fn a_bound_directory_is_told_by_its_place_on_its_file_system() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("srv/data")).unwrap();
        std::os::unix::fs::symlink("srv/data", root.path().join("link")).unwrap();
        let system = System::under(root.path().canonicalize().unwrap());
        let mounts = Mounts::read(
            "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /srv rw - ext4 /dev/b rw\n3 1 8:2 /data /x rw - ext4 /dev/b rw\n4 1 8:1 /srv/data /y rw - ext4 /dev/a rw\n",
        );
        let bound = |path: &str| Device::Bound { path: path.parse().unwrap() };
        let shows =
            |path: &str, point: &str| bound(path).is_shown(&system, &mounts, mounts.stack_at(point)[0]);
        assert!(shows("/srv/data", "/x") && shows("/link", "/x"), "by whatever way");
        assert!(!shows("/srv/data", "/y"), "that is what lies hidden below /srv");
        assert!(!shows("/srv", "/x") && !shows("/srv/data", "/srv"));
    }
}
