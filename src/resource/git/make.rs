//! A run in a checkout: making it, bringing it along, and clearing up after one that was cut off.

use std::time::Duration;

use super::bring::{Bringing, Refused};
use super::judge::in_the_way_of_git;
use super::look;
use super::repository::Repository;
use super::run::Git as Runner;
use super::{Git, UnderWay};
use crate::attribute::{AbsPath, Mode};
use crate::resource::Failure;
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};
use crate::system::users::Account;

impl Git {
    /// Makes a new one beside the place, and moves it there.
    pub(super) fn create(
        &self,
        system: &System,
        repository: &Repository,
        old: Option<&Meta>,
    ) -> Result<(), Failure> {
        let stage = self.beside().ok_or_else(|| Failure::new("/ cannot be a checkout"))?;
        clear(system, &stage)?;
        let was_directory = old.filter(|old| old.kind == Kind::Directory);
        let account = self.account(system, was_directory)?;
        let runner = Runner::new(system, account.clone(), repository)?;
        let wanted = look::wanted(&runner, self.version.as_deref())?;
        let is_root = rustix::process::geteuid().is_root();
        let access = Access {
            uid: Some(account.uid).filter(|_| is_root),
            gid: Some(was_directory.map_or(account.gid, |old| old.gid)).filter(|_| is_root),
            mode: Some(was_directory.map_or(Mode::from_bits(0o755), |old| old.mode)),
        };
        system.make_directory(&stage, access)?;
        let bringing = Bringing {
            git: &runner,
            at: &stage,
            depth: self.depth,
            is_shallow: false,
            is_new: true,
            force: false,
        };
        let make = || {
            bringing.begin()?;
            let commit = bringing.fetch(&wanted)?;
            if let Err(Refused(names)) = bringing.check_out(&commit)? {
                return Err(in_the_way_of_git(&stage, &names));
            }
            bringing.submodules()?;
            system.sync(&stage)?;
            if old.is_some_and(|old| old.kind != Kind::Directory) {
                system.remove_file(&self.path)?;
            }
            system.move_to(&stage, &self.path)
        };
        let made = make();
        if made.is_err() {
            // What failed is told; a half checkout is no use to anybody, and goes with the next run.
            let _ = clear(system, &stage);
        }
        made?;
        self.record().remove(system)
    }

    /// Brings the checkout that is there to where it should be.
    pub(super) fn update(
        &self,
        system: &System,
        repository: &Repository,
        there: &Meta,
    ) -> Result<(), Failure> {
        let account = self.account(system, Some(there))?;
        let record = self.record();
        let cut = self.cut_off(system)?;
        let own = self.path.join(".git");
        if let Some(cut) = &cut {
            remove_leftovers(system, &own, cut.since)?;
        }
        let was_switching = cut.is_some_and(|cut| cut.switching);
        let inode = self.of_git(system)?.inode;
        let since = now();
        record.write(system, &UnderWay { switching: was_switching, since, inode })?;
        if self.user.is_some() {
            own_all(system, &self.path, &account, there.device)?;
        }
        let runner = Runner::new(system, account, repository)?;
        let checkout = look::checkout(&runner, &self.path)?.ok_or_else(|| self.no_checkout())?;
        let force = self.force || was_switching;
        let is_shallow = checkout.is_shallow;
        let bringing =
            Bringing { git: &runner, at: &self.path, depth: self.depth, is_shallow, is_new: false, force };
        let fetch = || {
            // Somebody may have changed them since the check.
            if !force {
                self.nothing_changed(&checkout)?;
            }
            if checkout.origin.as_deref() != Some(&repository.address) {
                bringing.name_origin()?;
            }
            let wanted = look::wanted(&runner, self.version.as_deref())?;
            bringing.fetch(&wanted)
        };
        let fetched = fetch();
        if fetched.is_err() && !was_switching {
            remove_leftovers(system, &own, since)?;
            record.remove(system)?;
        }
        let commit = fetched?;
        record.write(system, &UnderWay { switching: true, since, inode })?;
        if let Err(Refused(names)) = bringing.check_out(&commit)? {
            record.remove(system)?;
            return Err(in_the_way_of_git(&self.path, &names));
        }
        bringing.submodules()?;
        system.sync(&self.path)?;
        record.remove(system)
    }
}

fn clear(system: &System, path: &AbsPath) -> Result<(), Failure> {
    match system.see_to_remove(path)? {
        Seen::There(Meta { kind: Kind::Directory, .. }) => system.remove_tree(path),
        Seen::There(_) => system.remove_file(path),
        Seen::Absent | Seen::NoParent(_) => Ok(()),
    }
}

/// What a git leaves behind that was killed, or had no room: locks, and objects that came in half.
/// Only what is no older than the run it was in: another may be at work there.
fn remove_leftovers(system: &System, at: &AbsPath, since: i128) -> Result<(), Failure> {
    let Seen::There(Meta { kind: Kind::Directory, .. }) = system.see(at)? else { return Ok(()) };
    // Single objects lie in directories of two digits, and are many.
    let is_of_objects = at.file_name().len() == 2;
    for name in system.list(at)? {
        let is_leftover = name.ends_with(".lock") || name.starts_with("tmp_");
        if is_of_objects && !is_leftover {
            continue;
        }
        let inner = at.join(&name);
        let Seen::There(there) = system.see(&inner)? else { continue };
        match there.kind {
            Kind::Directory => remove_leftovers(system, &inner, since)?,
            Kind::File if is_leftover && there.modified >= since => system.remove_file(&inner)?,
            _ => {}
        }
    }
    Ok(())
}

/// Now, as a file's time: that lags a little behind the clock.
fn now() -> i128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(now.saturating_sub(Duration::from_secs(1)).as_nanos()).unwrap_or_default()
}

/// Gives what belongs to others to the user, on the same file system, links themselves.
fn own_all(system: &System, path: &AbsPath, account: &Account, device: u64) -> Result<(), Failure> {
    let Seen::There(there) = system.see(path)? else { return Ok(()) };
    if there.device != device {
        return Ok(());
    }
    if there.kind == Kind::Directory {
        for name in system.list(path)? {
            own_all(system, &path.join(&name), account, device)?;
        }
    }
    if there.uid == account.uid {
        return Ok(());
    }
    let mode = Some(there.mode).filter(|_| there.kind != Kind::Symlink);
    system.set_access(path, Access { uid: Some(account.uid), gid: Some(account.gid), mode })
}
