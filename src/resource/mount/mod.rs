//! `mount`: a file system, on a directory, now and at the next boot.

mod act;
mod device;
mod fstab;
mod judge;
mod options;
mod systemd;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::{Check, Detail, Failure, Invalid, Links, Needed, Resource, Thing};
use crate::attribute::AbsPath;
use crate::system::System;
use judge::{Act, judge};
pub use options::Options;

/// `state: mounted | unmounted | present | absent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MountState {
    #[default]
    Mounted,
    Unmounted,
    Present,
    Absent,
}

/// A file system that is mounted on a directory, now and at each boot.
///
/// It is one line of `/etc/fstab`, whose other lines keep their order, their comments and every
/// byte, and a mount in the kernel. Both are judged: what somebody unmounted, mounted over
/// it, or changed in one place only, is drift. systemd is told when the file has changed.
///
/// The mount point must be there, or be declared: `- directory: PATH`, which comes first. The
/// attributes of that directory are about what is visible there, so about the root of what is
/// mounted, which gets them with the mount (but for `purge`, which only removes what a plan has
/// shown). Everything that lies below comes after the mount; in a plan, what lies below a mount
/// that is yet to be made is not known until it is made. What is unmounted goes before its mount
/// point, and before what lies hidden below it is looked at.
///
/// Nothing is unmounted lazily or by force: where it is busy, the failure names who holds it. A
/// `tmpfs` that is not empty is not replaced by something else.
///
/// File systems that mount(8) has a helper for (`nfs`, `cifs`, `sshfs`, …) need its package on
/// the host; a missing one is named. Passwords belong into a file that an option names, as in
/// `credentials=/etc/share.cred`: options are seen by every user of the host. Swap is no mount.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(
    transform = super::rules::needed_unless("device", &["absent", "unmounted"]),
    transform = super::rules::excludes("state", "absent", &["device", "fstype", "options", "dump", "pass"]),
    transform = super::rules::excludes("fstype", "swap", &["mount"])
))]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The mount point's absolute path. A link in its last place is not followed.
    #[serde(rename = "mount")]
    pub path: AbsPath,

    /// `mounted`: it is in `/etc/fstab`, and mounted now. `present`: it is in `/etc/fstab`; whether it is
    /// mounted is not looked at. `unmounted`: it is not mounted now; its line in `/etc/fstab` is
    /// left alone, or is as declared where there is a `device`. `absent`: it is neither mounted nor
    /// in `/etc/fstab`; the directory stays.
    #[serde(default)]
    pub state: MountState,

    /// What is mounted, as `/etc/fstab` has it: `UUID=…`, `LABEL=…`, `PARTUUID=…`, a device
    /// (`/dev/vg/data`), an image (a file), a share (`server:/export`, `//server/share`), with the option `bind` a
    /// directory or file, or a word (`tmpfs`). Compared by the device that it comes to, so another
    /// name for the same one only changes the line. One that is not there is waited for as `wait`
    /// says. Needed, unless it is to be `unmounted` or `absent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,

    /// The type of file system, as in `ext4`. Without it, what is in `/etc/fstab` stays; a new line
    /// has `auto`, which lets mount find out, or `none` for a bind mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fstype: Option<String>,

    /// The options, as in `noatime,nofail`, or a list of them: all of them, in whatever order. On
    /// the mount itself these are judged: ro, nosuid, nodev, noexec, noatime, sync, dirsync,
    /// lazytime and their opposites, the size and nr_inodes of a tmpfs, commit, errors and data of ext4,
    /// subvol of btrfs, and the directories of an overlay. What the kernel adds or does not
    /// show is no drift. A change is made while it stays mounted (`remount`); where the kernel cannot
    /// do that, it is unmounted and mounted again. Without it, what is in `/etc/fstab` stays; a
    /// new line has `defaults`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,

    /// The fifth field, for dump(8). Without it, what is there stays; a new line has 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<u8>,

    /// The sixth field: when it is checked at boot (1 for the root, 2 for others, 0 never). Without
    /// it, what is there stays; a new line has 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u8>,

    /// The `directory` of the same path. Filled in by the loader.
    #[serde(default, rename = "_point", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub point: Option<Box<Directory>>,
}

impl Mount {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- directory: /srv/scratch
  mode: 755
- mount: /srv/scratch
  device: tmpfs
  fstype: tmpfs
  options: size=64m,nosuid,nodev
";

    /// It comes off, and what was hidden below it is seen again.
    fn comes_off(&self) -> bool {
        matches!(self.state, MountState::Unmounted | MountState::Absent)
    }

    /// Paths that it needs beside its mount point.
    fn needed_paths(&self) -> Vec<(AbsPath, &'static str)> {
        let path =
            |text: &str| text.parse::<AbsPath>().ok().filter(|path| !path.as_str().starts_with("/dev/"));
        let device = self.device.as_deref().filter(|device| !device.starts_with("//")).and_then(path);
        let mut needed: Vec<_> = device.into_iter().map(|path| (path, "what it mounts")).collect();
        let Some(options) = &self.options else { return needed };
        for (key, why) in [("credentials", "its credentials"), ("cred", "its credentials")] {
            needed.extend(options.value(key).and_then(path).map(|path| (path, why)));
        }
        for key in ["lowerdir", "upperdir", "workdir"] {
            let all = options.value(key).into_iter().flat_map(|value| value.split(':'));
            needed.extend(all.filter_map(path).map(|path| (path, "a layer of it")));
        }
        needed
    }

    /// What the directory of the same path declares holds for the root of what is mounted.
    fn settle_root(&self, system: &System) -> Result<(), Failure> {
        let Some(point) = &self.point else { return Ok(()) };
        // What nobody has been shown is not removed.
        let root = Directory { purge: false, force: false, ..(**point).clone() };
        match root.check(&system.anew())? {
            Check::Needs(needed) if needed.lacks.is_empty() => root.apply(&system.anew(), &needed),
            _ => Ok(()),
        }
    }
}

impl Resource for Mount {
    fn name(&self) -> String {
        self.path.to_string()
    }

    fn links(&self) -> Links {
        let links = Links::default().provides(Thing::Path(self.path.clone()));
        let links = links.removal(self.state == MountState::Absent);
        if self.comes_off() {
            // Its mount point, and all that it hides, comes after it.
            return links.provides(Thing::Uncovered(self.path.clone()));
        }
        let mut links = links.stands_on(Thing::Path(self.path.clone()), "its mount point");
        for (path, why) in self.needed_paths() {
            links = links.stands_on(Thing::Path(path), why);
        }
        let helper = self.fstype.as_deref().and_then(device::helper);
        for package in helper.into_iter().flat_map(|helper| helper.packages) {
            links = links.stands_on(Thing::Package((*package).to_owned()), "has its mount helper");
        }
        links
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let mut wrong = |attribute: &'static str, what: &str, help: &str| {
            invalid.push(Invalid::new(attribute, what, help));
        };
        if self.comes_off() && self.path.as_str() == "/" {
            wrong("mount", "/ cannot be unmounted", "name another mount point");
        }
        if self.state == MountState::Absent {
            let said = [
                ("device", self.device.is_some()),
                ("fstype", self.fstype.is_some()),
                ("options", self.options.is_some()),
                ("dump", self.dump.is_some()),
                ("pass", self.pass.is_some()),
            ];
            for (attribute, _) in said.iter().filter(|(_, given)| *given) {
                let what =
                    format!("`{attribute}` says something of a mount that `state: absent` says is gone");
                wrong(attribute, &what, "leave it out, or say `state: unmounted`");
            }
            return invalid;
        }
        let Some(device) = &self.device else {
            if !self.comes_off() || self.fstype.is_some() || self.options.is_some() {
                let help = "add `device: UUID=…`; `lsblk -f` shows those of a host";
                invalid.push(Invalid::lack("mount", "`device` is missing: what is to be mounted?", help));
            }
            return invalid;
        };
        if device.is_empty() || device.starts_with('-') || device.contains(['\n', '\r', '\0']) {
            wrong(
                "device",
                "no device has such a name",
                "write it as in UUID=…, /dev/sdb1 or server:/export",
            );
        }
        let is_bind = self.options.as_ref().is_some_and(Options::is_bind);
        if is_bind && device.parse::<AbsPath>().is_err() {
            let what = format!("`{device}` is no path, and `bind` shows a path in another place");
            wrong("device", &what, "write the absolute path of the directory or file");
        }
        let is_word = !device.contains(['/', ':', '=']);
        if is_word && self.fstype.is_none() {
            wrong(
                "device",
                &format!("`{device}` does not say what is mounted"),
                "add `fstype: tmpfs`, or whichever it is",
            );
        }
        match self.fstype.as_deref() {
            Some("swap") => wrong(
                "fstype",
                "swap is not mounted on anything",
                "there is no type for swap yet: a `line` in /etc/fstab, and a `command` with `swapon`",
            ),
            Some(fstype)
                if fstype.is_empty() || fstype.starts_with('-') || fstype.contains(char::is_whitespace) =>
            {
                wrong("fstype", "no file system has such a name", "write it as in ext4");
            }
            _ => {}
        }
        if let Some(broken) = self.options.as_ref().and_then(Options::broken) {
            let what = format!("`{broken}` is no mount option");
            wrong("options", &what, "write them as in noatime,nofail");
        }
        invalid
    }

    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        let is_noauto = self.options.as_ref().is_some_and(|options| options.has("noauto"));
        if self.state != MountState::Mounted || !is_noauto {
            return Vec::new();
        }
        vec![Invalid::new(
            "options",
            "with `noauto` it is not mounted at boot, only by the next run",
            "leave `noauto` out, or say `state: present` if it is mounted by hand",
        )]
    }

    fn leads_elsewhere(&self, by: Option<&Needed>) -> bool {
        let Some(needed) = by else { return self.state != MountState::Present };
        match self.state {
            MountState::Present => false,
            MountState::Mounted => needed.has("state") || needed.has("device") || needed.has("fstype"),
            _ => needed.change("state").is_some_and(|change| change.from.as_deref() == Some("mounted")),
        }
    }

    fn mount_point(&mut self) -> Option<(AbsPath, &mut Option<Box<Directory>>)> {
        (!self.comes_off()).then_some((self.path.clone(), &mut self.point))
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        Ok(judge(self, system)?.into_check())
    }

    fn apply(&self, system: &System, _: &Needed) -> Result<(), Failure> {
        let mut now = judge(self, system)?;
        now.in_order()?;
        if let Act::Unmount(count) = now.act {
            for _ in 0..count {
                act::unmount(system, &now.point)?;
            }
            if self.state == MountState::Mounted {
                now = judge(self, &system.anew())?;
                now.in_order()?;
            }
        }
        match (&now.line, &now.act) {
            (Some(line), Act::Mount) => {
                act::mount(system, line, &now.point)?;
                self.settle_root(system)?;
            }
            (Some(line), Act::Remount(drift)) => match act::remount(system, line, drift, &now.point) {
                Err(failure) if act::needs_a_new_mount(&failure, line) => {
                    act::unmount(system, &now.point)?;
                    act::mount(system, line, &now.point)?;
                }
                done => done?,
            },
            _ => {}
        }
        // The mount first: a line that cannot be mounted would hold up the next boot.
        let _turn = system.turn(fstab::TURN)?;
        if let Some(edit) = &now.edit {
            fstab::edit(system, edit)?;
        }
        systemd::reload(system)
    }

    fn evidence(&self, system: &System) -> Vec<Detail> {
        let mut details = Vec::new();
        let mut add = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                details.push(Detail { title: title.to_owned(), text: lines.join("\n") });
            }
        };
        if let Ok(mounts) = system.anew().mounts() {
            let stack = mounts.stack_at(self.path.as_str());
            let told = stack
                .iter()
                .map(|mounted| format!("{} {} {}", mounted.source, mounted.fstype, mounted.flags.join(",")));
            add("mounted there", told.collect());
        }
        if let Ok(table) = fstab::read(&system.anew()) {
            let entries = table.entries(&[self.path.to_string()]);
            add("in /etc/fstab", entries.iter().map(ToString::to_string).collect());
        }
        details
    }
}
