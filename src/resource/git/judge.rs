//! What a checkout, or what is in its place, has to become.

use super::look::{self, Checkout};
use super::run::Git as Runner;
use super::{Git, NAMED};
use crate::attribute::AbsPath;
use crate::resource::common::no_parent;
use crate::resource::{Action, Change, Check, Failure, Needed};
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};
use crate::system::users::Account;

impl Git {
    pub(super) fn creation(
        &self,
        system: &System,
        was: &str,
        missing: Option<&AbsPath>,
        there: Option<&Meta>,
    ) -> Result<Check, Failure> {
        let repository = self.repository()?;
        let mut lacks = self.lacks(system)?;
        let version = match lacks.is_empty() {
            false => self.version.clone(),
            true => {
                let runner = Runner::new(system, self.account(system, there)?, &repository)?;
                Some(look::wanted(&runner, self.version.as_deref())?.told())
            }
        };
        lacks.extend(missing.map(|missing| no_parent(&self.path, missing)));
        let changes = vec![
            Change::from_to("state", was, "present"),
            Change::new("repository", None, Some(repository.address)),
            Change::new("version", None, version),
        ];
        let is_new = matches!(was, "absent" | EMPTY);
        let action = if is_new { Action::Create } else { Action::Change };
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    /// What is off about the checkout that is there.
    pub(super) fn check_there(&self, system: &System, there: &Meta) -> Result<Check, Failure> {
        let repository = self.repository()?;
        let lacks = self.lacks(system)?;
        if !lacks.is_empty() {
            let change = Change::new("version", None, self.version.clone());
            return Ok(Check::Needs(Needed { action: Action::Change, changes: vec![change], lacks }));
        }
        let account = self.account(system, Some(there))?;
        let of_git = self.of_git(system)?.uid;
        let mut changes = Vec::new();
        if let Some(user) = &self.user
            && let Some(other) = [there.uid, of_git].into_iter().find(|uid| *uid != account.uid)
        {
            changes.push(Change::from_to("user", system.user_name(other), user));
        }
        if there.uid != of_git {
            // git would trust none of the two.
            return match changes.is_empty() {
                false => Ok(Check::of(Action::Change, changes)),
                true => Err(Failure::new(format!("{} and its .git belong to different users", self.path))
                    .help("name the one that both are to belong to with `user`")),
            };
        }
        // As long as it belongs to another, git is that one's.
        let looker = if changes.is_empty() { account } else { self.owner(system, there)? };
        let runner = Runner::new(system, looker, &repository)?;
        let Some(checkout) = look::checkout(&runner, &self.path)? else { return Err(self.no_checkout()) };
        let is_cut = self.cut_off(system)?.is_some_and(|under_way| under_way.switching);
        if !is_cut && !self.force {
            self.nothing_changed(&checkout)?;
        }
        let wanted = look::wanted(&runner, self.version.as_deref())?;
        let is_off = checkout.head.as_deref() != Some(&wanted.commit);
        if checkout.origin.as_deref() != Some(&repository.address) {
            changes.push(Change::new("repository", checkout.origin, Some(repository.address.clone())));
        }
        if is_off {
            let from = checkout.head.as_deref().map(|head| look::brief(head).to_owned());
            changes.push(Change::new("version", from, Some(wanted.told())));
        }
        if self.depth.is_none() && checkout.is_shallow {
            changes.push(Change::from_to("depth", "a part of the history", "all of it"));
        }
        if is_cut {
            changes.push(Change::from_to(
                "files",
                "left half done by a run that was cut off",
                "as committed",
            ));
        } else if !checkout.changes.is_empty() {
            changes.push(Change::from_to("files", changed(&checkout.changes), "as committed"));
        }
        if is_off && !is_cut && checkout.head.is_some() {
            changes.extend(self.own_commits(&runner)?);
        }
        if !checkout.submodules.is_empty() {
            changes.push(Change::from_to("submodules", named(&checkout.submodules), "as the commit says"));
        }
        Ok(Check::of(Action::Change, changes))
    }

    pub(super) fn owner(&self, system: &System, there: &Meta) -> Result<Account, Failure> {
        let name = system.user_name(there.uid);
        system.account(&name)?.ok_or_else(|| {
            Failure::new(format!("{} belongs to {name}, and there is no such user", self.path)).help(format!(
                "give it to its user first: `chown -R {} {}`",
                self.user.as_deref().unwrap_or("USER"),
                self.path
            ))
        })
    }

    pub(super) fn of_git(&self, system: &System) -> Result<Meta, Failure> {
        match system.see(&self.path.join(".git"))? {
            Seen::There(there) => Ok(there),
            _ => Err(self.no_checkout()),
        }
    }

    pub(super) fn nothing_changed(&self, checkout: &Checkout) -> Result<(), Failure> {
        if checkout.changes.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("{} has local changes: {}", self.path, changed(&checkout.changes)))
            .help(format!("look at them (`git -C {} diff`), then commit and push or undo them; or let converge discard them with `force: true`", self.path))
            .detail("changed", checkout.changes.join("\n")))
    }

    /// With `force`, what will be left behind; else it is a failure.
    pub(super) fn own_commits(&self, runner: &Runner<'_>) -> Result<Option<Change>, Failure> {
        let own = look::own_commits(runner, &self.path)?;
        if own.is_empty() {
            return Ok(None);
        }
        let count = if own.len() == 1 {
            "a commit that is".to_owned()
        } else {
            format!("{} commits that are", own.len())
        };
        if self.force {
            return Ok(Some(Change::new("commits", Some(format!("{count} nowhere else")), None)));
        }
        Err(Failure::new(format!("{} has {count} nowhere else: {}", self.path, named(&own)))
            .help("push them, or let converge leave them behind with `force: true` (git keeps them in its reflog for some weeks)")
            .detail("commits", own.join("\n")))
    }

    pub(super) fn no_checkout(&self) -> Failure {
        Failure::new(format!("{} is a directory that is not empty, and no checkout of git", self.path))
            .help("move it away, or empty it: it is never replaced")
    }

    pub(super) fn check_absent(&self, system: &System, seen: &Seen) -> Result<Check, Failure> {
        let Seen::There(there) = seen else { return Ok(Check::Holds) };
        let is_checkout =
            there.kind == Kind::Directory && matches!(system.see(&self.path.join(".git"))?, Seen::There(_));
        if !is_checkout {
            let what = if there.kind == Kind::Directory {
                "a directory that is no checkout".to_owned()
            } else {
                there.kind.to_string()
            };
            return Err(Failure::new(format!("{} is {what}, and a checkout is declared absent", self.path))
                .help("declare the thing that it is as absent"));
        }
        if !self.force {
            return Err(Failure::new(format!("{} is a checkout, with all that is in it", self.path))
                .help("remove it with `force: true`"));
        }
        Ok(Check::needs(Action::Remove, vec![Change::from_to("state", "present", "absent")]))
    }
}

/// What was there is an empty directory.
pub(super) const EMPTY: &str = "an empty directory";

pub(super) fn in_the_way_of_git(path: &AbsPath, names: &[String]) -> Failure {
    Failure::new(format!(
        "files that git does not know are in the way in {path}: {}; nothing was changed",
        named(names)
    ))
    .help("move them away, or let converge overwrite them with `force: true`")
    .detail("in the way", names.join("\n"))
}

/// `2 files: a, b`.
fn changed(names: &[String]) -> String {
    let unit = if names.len() == 1 { "file" } else { "files" };
    format!("{} {unit}: {}", names.len(), named(names))
}

fn named(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}
