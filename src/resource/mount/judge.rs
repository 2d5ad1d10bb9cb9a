//! How a mount is, beside how it is declared: in the kernel, in /etc/fstab, and in what systemd
//! knows of that.

use std::sync::Arc;

use super::device::{self, Device};
use super::fstab::{self, Edit, Entry, Table};
use super::options::{self, Drift, Limits, Options, Seeing};
use super::{Mount, MountState, systemd};
use crate::attribute::AbsPath;
use crate::resource::{Action, Change, Check, Failure, Lack, Needed, Thing, Waiting};
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};
use crate::system::mounts::{Mounted, Mounts};

/// What is to be done to what is mounted.
#[derive(Clone, PartialEq, Debug)]
pub enum Act {
    Nothing,
    Mount,
    /// With these options instead of those that it has.
    Remount(Vec<Drift>),
    /// So many of what is mounted there come off; what is to be seen then is seen then.
    Unmount(usize),
}

/// Everything that is off.
pub struct Judgement {
    pub act: Act,
    pub edit: Option<Edit>,
    /// systemd does not know /etc/fstab as it is.
    pub is_stale: bool,
    /// The path as the kernel has it.
    pub point: String,
    /// What a mount is made with.
    pub line: Option<Entry>,
    changes: Vec<Change>,
    action: Action,
    lacks: Vec<Lack>,
    waits: Option<Waiting>,
}

impl Judgement {
    pub fn into_check(self) -> Check {
        if let (Some(waiting), false) = (self.waits, self.changes.is_empty()) {
            return Check::Waits(waiting);
        }
        match self.changes.is_empty() {
            true => Check::Holds,
            false => Check::Needs(Needed { action: self.action, changes: self.changes, lacks: self.lacks }),
        }
    }

    /// What has to be there first.
    pub fn in_order(&self) -> Result<(), Failure> {
        match (&self.waits, self.lacks.first()) {
            (Some(waiting), _) => Err(waiting.clone().into_failure()),
            (None, Some(lack)) => Err(Failure::new(lack.what.clone()).help(lack.help.clone())),
            (None, None) => Ok(()),
        }
    }
}

/// What was read of the machine.
struct Now<'a> {
    mount: &'a Mount,
    system: &'a System,
    mounts: Arc<Mounts>,
    /// The declared path, and the same without links.
    points: Vec<String>,
    entries: Vec<Entry>,
    /// systemd mounts it when somebody looks at it.
    is_automount: bool,
}

pub fn judge(mount: &Mount, system: &System) -> Result<Judgement, Failure> {
    let point = real_point(mount, system)?;
    let mut points = vec![mount.path.to_string(), point.clone()];
    points.dedup();
    let mounts = system.mounts()?;
    let entries = fstab::read(system)?.entries(&points);
    let is_automount = mounts.stack_at(&point).iter().any(|mounted| mounted.fstype == "autofs");
    let now = Now { mount, system, mounts: Arc::clone(&mounts), points, entries, is_automount };
    let stack: Vec<&Mounted> =
        mounts.stack_at(&point).into_iter().filter(|mounted| mounted.fstype != "autofs").collect();
    let mut judgement = Judgement {
        act: Act::Nothing,
        edit: None,
        is_stale: systemd::stays_stale(system)?,
        point,
        line: now.line(),
        changes: Vec::new(),
        action: Action::Change,
        lacks: Vec::new(),
        waits: None,
    };
    match mount.state {
        MountState::Absent => now.judge_absent(&stack, &mut judgement)?,
        MountState::Unmounted => now.judge_unmounted(&stack, &mut judgement)?,
        MountState::Present => now.judge_line(&mut judgement, Shown::Unasked),
        MountState::Mounted => now.judge_mounted(&stack, &mut judgement)?,
    }
    if judgement.is_stale && judgement.edit.is_none() {
        let seen = "an older /etc/fstab".to_owned();
        judgement.changes.push(Change::new("systemd", Some(seen), Some("reloaded".to_owned())));
    }
    Ok(judgement)
}

/// The declared path as the kernel has it: without links on the way, but not through one in its
/// last place.
fn real_point(mount: &Mount, system: &System) -> Result<String, Failure> {
    let Some(parent) = mount.path.parent() else { return Ok("/".to_owned()) };
    // Links on the way are followed only where they may be.
    match mount.comes_off() {
        true => system.see_to_remove(&parent)?,
        false => system.see(&parent)?,
    };
    let Ok(real) = std::fs::canonicalize(system.locate(&parent)) else { return Ok(mount.path.to_string()) };
    let inner = real.strip_prefix(system.root()).unwrap_or(&real).to_string_lossy().into_owned();
    let parent = format!("/{}", inner.trim_start_matches('/'));
    Ok(format!("{}/{}", parent.trim_end_matches('/'), mount.path.file_name()))
}

/// How what is declared is there, for what is told of its line.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Mounted,
    Unmounted,
    /// Only the line is declared.
    Unasked,
}

impl Now<'_> {
    fn judge_absent(&self, stack: &[&Mounted], judgement: &mut Judgement) -> Result<(), Failure> {
        self.no_automount()?;
        judgement.action = Action::Remove;
        let was = match (stack.is_empty(), self.entries.is_empty()) {
            (true, true) => return Ok(()),
            (false, _) => "mounted",
            (true, false) => "present",
        };
        judgement.changes.push(Change::from_to("state", was, "absent"));
        judgement.act = if stack.is_empty() { Act::Nothing } else { Act::Unmount(stack.len()) };
        if !self.entries.is_empty() {
            judgement.edit = Some(Edit { points: self.points.clone(), line: None });
        }
        Ok(())
    }

    fn judge_unmounted(&self, stack: &[&Mounted], judgement: &mut Judgement) -> Result<(), Failure> {
        self.no_automount()?;
        if !stack.is_empty() {
            judgement.changes.push(Change::from_to("state", "mounted", "unmounted"));
            judgement.act = Act::Unmount(stack.len());
        }
        if self.mount.device.is_some() {
            self.judge_line(judgement, Shown::Unasked);
        }
        Ok(())
    }

    fn no_automount(&self) -> Result<(), Failure> {
        if !self.is_automount {
            return Ok(());
        }
        let path = &self.mount.path;
        Err(Failure::new(format!(
            "{path} is an automount: it is mounted again whenever somebody looks at it"
        ))
        .help(format!(
            "stop that first: systemctl stop \"$(systemd-escape --path --suffix=automount {path})\""
        )))
    }

    fn judge_mounted(&self, stack: &[&Mounted], judgement: &mut Judgement) -> Result<(), Failure> {
        let device = self.mount.device.as_deref().unwrap_or_default();
        let options = self.options();
        let found = Device::find(self.system, device, &options)?;
        let shown = stack.iter().rposition(|mounted| self.is_declared(&found, mounted));
        let shown = match shown {
            // Somebody mounted something over it.
            Some(at) if at + 1 < stack.len() => {
                let top = stack[stack.len() - 1];
                let over = format!("{} over it", top.source);
                judgement.changes.push(Change::new("device", Some(over), Some(device.to_owned())));
                judgement.act = Act::Unmount(stack.len() - 1 - at);
                Shown::Mounted
            }
            Some(at) => {
                self.judge_options(stack[at], &options, judgement);
                Shown::Mounted
            }
            None => match stack.last() {
                Some(top) => {
                    self.replaced(stack, top, &found, judgement)?;
                    Shown::Mounted
                }
                None if self.is_automount => Shown::Mounted,
                None => {
                    let was = if self.entries.is_empty() { "absent" } else { "unmounted" };
                    judgement.changes.push(Change::from_to("state", was, "mounted"));
                    judgement.action = Action::Create;
                    judgement.act = Act::Mount;
                    Shown::Unmounted
                }
            },
        };
        if judgement.act == Act::Mount || matches!(judgement.act, Act::Unmount(_)) {
            self.look_for_what_it_takes(&found, stack.is_empty(), judgement)?;
        }
        self.judge_line(judgement, shown);
        Ok(())
    }

    fn is_declared(&self, device: &Device, mounted: &Mounted) -> bool {
        let fstype = self.mount.fstype.as_deref().unwrap_or("auto");
        let is_bound = matches!(device, Device::Bound { .. });
        device.is_shown(self.system, &self.mounts, mounted)
            && (is_bound || device::is_of_type(fstype, &mounted.fstype))
    }

    /// Something else is mounted there.
    fn replaced(
        &self,
        stack: &[&Mounted],
        top: &Mounted,
        found: &Device,
        judgement: &mut Judgement,
    ) -> Result<(), Failure> {
        let path = &self.mount.path;
        for mounted in stack.iter().filter(|mounted| device::is_in_memory(&mounted.fstype)) {
            if top.id == mounted.id && !self.system.list(path)?.is_empty() {
                let what = format!(
                    "{path} has a {} mounted that is not empty: what is in it would be lost",
                    mounted.fstype
                );
                return Err(
                    Failure::new(what).help(format!("move away what is in it, and then `umount {path}`"))
                );
            }
        }
        let device = self.mount.device.clone();
        if !found.is_shown(self.system, &self.mounts, top) {
            judgement.changes.push(Change::new("device", Some(top.source.clone()), device));
        }
        let fstype = self.mount.fstype.as_deref().unwrap_or("auto");
        if !device::is_of_type(fstype, &top.fstype) && !matches!(found, Device::Bound { .. }) {
            judgement.changes.push(Change::from_to("fstype", &top.fstype, fstype));
        }
        judgement.act = Act::Unmount(stack.len());
        Ok(())
    }

    fn judge_options(&self, mounted: &Mounted, options: &Options, judgement: &mut Judgement) {
        // Only what is declared is judged.
        let Some(declared) = &self.mount.options else { return };
        let number = format!("{}:{}", mounted.device.0, mounted.device.1);
        let protected = self.system.root().join(format!("sys/dev/block/{number}/ro"));
        let seeing = Seeing {
            mounted,
            is_bind: options.is_bind(),
            is_write_protected: std::fs::read_to_string(protected).is_ok_and(|text| text.trim() == "1"),
            limits: self.limits(mounted),
        };
        let drift = options::drift(declared, &seeing);
        if drift.is_empty() {
            return;
        }
        let told = |side: fn(&Drift) -> &str| drift.iter().map(side).collect::<Vec<_>>().join(",");
        judgement.changes.push(Change::from_to("options", told(|one| &one.seen), told(|one| &one.wanted)));
        judgement.act = match drift.iter().any(|one| one.is_elsewhere) {
            true => Act::Unmount(1),
            false => Act::Remount(drift),
        };
    }

    fn limits(&self, mounted: &Mounted) -> Option<Limits> {
        if mounted.fstype != "tmpfs" {
            return None;
        }
        let there = rustix::fs::statvfs(self.system.locate(&self.mount.path)).ok()?;
        Some(Limits { bytes: there.f_blocks * there.f_frsize, inodes: there.f_files, block: there.f_frsize })
    }

    /// Device, mount point, and the program that mount(8) needs for the type.
    fn look_for_what_it_takes(
        &self,
        found: &Device,
        has_nothing_mounted: bool,
        judgement: &mut Judgement,
    ) -> Result<(), Failure> {
        let device = self.mount.device.as_deref().unwrap_or_default();
        let mut wanted = Kind::Directory;
        let lack = |path: AbsPath, what: String| Lack {
            help: format!("declare it: `- directory: {path}`"),
            thing: Thing::Path(path),
            what,
        };
        match found {
            Device::Missing => match device.parse::<AbsPath>() {
                Ok(path) if !path.as_str().starts_with("/dev/") => {
                    let help = "correct `device`, or declare what makes it".to_owned();
                    let what = format!("its device {path} does not exist");
                    judgement.lacks.push(Lack { thing: Thing::Path(path), what, help });
                }
                // It may come up: a disk that is attached, or that has no file system yet.
                _ => {
                    let mut waiting = Waiting::new(format!("there is no device {device}"));
                    waiting.help = Some(
                        "`lsblk -f` shows the devices of the host, with their UUIDs and labels".to_owned(),
                    );
                    judgement.waits = Some(waiting);
                }
            },
            Device::Bound { path } => match std::fs::metadata(self.system.locate(path)) {
                Ok(there) if !there.is_dir() => wanted = Kind::File,
                Ok(_) => {}
                Err(_) => {
                    let what = format!("{path}, which is to be seen here too, does not exist");
                    judgement.lacks.push(lack(path.clone(), what));
                }
            },
            _ => {}
        }
        if has_nothing_mounted {
            self.look_at_point(wanted, judgement)?;
        }
        let helper = self.mount.fstype.as_deref().and_then(device::helper);
        if let Some(helper) = helper.filter(|helper| !helper.is_there(self.system)) {
            let package = helper.package(self.system);
            judgement.lacks.push(Lack {
                thing: Thing::Package(package.to_owned()),
                what: format!("mounting it takes `{}`, which is not installed here", helper.program),
                help: format!("declare its package: `- package: {package}`"),
            });
        }
        Ok(())
    }

    fn look_at_point(&self, wanted: Kind, judgement: &mut Judgement) -> Result<(), Failure> {
        let path = &self.mount.path;
        let type_word = if wanted == Kind::Directory { "directory" } else { "file" };
        match self.system.see(path)? {
            Seen::There(Meta { kind, .. }) if kind == wanted => Ok(()),
            Seen::There(Meta { kind: Kind::Symlink, .. }) => {
                Err(Failure::new(format!("{path} is a symlink, and a mount point must be a {type_word}"))
                    .help("name the path that it leads to"))
            }
            Seen::There(Meta { kind, .. }) => {
                Err(Failure::new(format!("{path} is {kind}, and a mount point must be a {type_word}"))
                    .help("move it away, or name another mount point"))
            }
            Seen::Absent | Seen::NoParent(_) => {
                judgement.lacks.push(Lack {
                    thing: Thing::Path(path.clone()),
                    what: format!("its mount point {path} does not exist"),
                    help: format!("declare it: `- {type_word}: {path}`"),
                });
                Ok(())
            }
        }
    }

    fn options(&self) -> Options {
        let line = self.line().map(|line| Options::of(&line.options));
        line.unwrap_or_else(|| Options::of(""))
    }

    /// The line as it is to be: what is not declared stays as it is.
    fn line(&self) -> Option<Entry> {
        let mount = self.mount;
        let device = mount.device.clone()?;
        let old = Table::chosen(&self.entries, &device);
        let is_bind = mount.options.as_ref().is_some_and(Options::is_bind);
        let field = |declared: Option<String>, old: Option<&String>, new: &str| {
            declared.or(old.cloned()).unwrap_or_else(|| new.to_owned())
        };
        let options = mount.options.as_ref().map(|declared| match old {
            Some(old) if declared.same_as(&old.options) => old.options.clone(),
            _ => declared.to_string(),
        });
        Some(Entry {
            device,
            point: mount.path.to_string(),
            fstype: field(
                mount.fstype.clone(),
                old.map(|old| &old.fstype),
                if is_bind { "none" } else { "auto" },
            ),
            options: field(options, old.map(|old| &old.options), "defaults"),
            dump: field(mount.dump.map(|n| n.to_string()), old.map(|old| &old.dump), "0"),
            pass: field(mount.pass.map(|n| n.to_string()), old.map(|old| &old.pass), "0"),
        })
    }

    /// The line in /etc/fstab, and what of it is off.
    fn judge_line(&self, judgement: &mut Judgement, shown: Shown) {
        let Some(mut line) = self.line() else { return };
        let old = Table::chosen(&self.entries, &line.device);
        let old_fields = old.map(|old| {
            // By whatever way it names the mount point.
            line.point.clone_from(&old.point);
            old.clone()
        });
        if old_fields.as_ref() == Some(&line) && self.entries.len() == 1 {
            return;
        }
        judgement.edit = Some(Edit { points: self.points.clone(), line: Some(line.clone()) });
        let mut add = |attribute: &str, from: Option<String>, to: String| {
            if !judgement.changes.iter().any(|change| change.attribute == attribute) {
                judgement.changes.push(Change::new(attribute, from, Some(to)));
            }
        };
        match old_fields {
            None if shown == Shown::Mounted => add("fstab", None, line.to_string()),
            None => {
                if shown == Shown::Unasked {
                    add("state", Some("absent".to_owned()), "present".to_owned());
                    judgement.action = Action::Create;
                }
                self.declared_fields(&line).into_iter().for_each(|(name, value)| {
                    judgement.changes.push(Change::new(name, None, Some(value)));
                });
            }
            Some(old) => {
                let fields = [
                    ("device", &old.device, &line.device),
                    ("fstype", &old.fstype, &line.fstype),
                    ("options", &old.options, &line.options),
                    ("dump", &old.dump, &line.dump),
                    ("pass", &old.pass, &line.pass),
                ];
                for (name, from, to) in fields.into_iter().filter(|(_, from, to)| from != to) {
                    add(name, Some(from.clone()), to.clone());
                }
                if self.entries.len() > 1 {
                    add("fstab", Some(format!("{} lines", self.entries.len())), "1 line".to_owned());
                }
            }
        }
    }

    fn declared_fields(&self, line: &Entry) -> Vec<(&'static str, String)> {
        let mount = self.mount;
        let fields = [
            ("device", true, &line.device),
            ("fstype", mount.fstype.is_some(), &line.fstype),
            ("options", mount.options.is_some(), &line.options),
            ("dump", mount.dump.is_some(), &line.dump),
            ("pass", mount.pass.is_some(), &line.pass),
        ];
        let declared = fields.into_iter().filter(|(_, is_declared, _)| *is_declared);
        declared.map(|(name, _, value)| (name, value.clone())).collect()
    }
}
