//! `directory`: a directory, its owner, group and mode, what lies in it, and its survival of a
//! reboot.

mod below;
mod tmpfiles;

use serde::{Deserialize, Serialize};

use super::common::{
    HandedDown, Ownership, Presence, Surroundings, in_the_way, is_false, nothing_lacking, only_changed,
};
use super::{Action, Change, Check, Failure, Invalid, Links, Needed, Resource, Thing};
use crate::attribute::{AbsPath, Mode};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};

/// So many entries of a directory that is to go may be declared absent one by one.
const MOST_DECLARED: usize = 1000;

/// A directory.
///
/// Missing parents are made too (0755, owned by root or the running user). Owner, group and
/// mode of a directory that is there stay as they are unless declared; a new one is 0755 unless
/// declared, whatever the umask.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["owner", "group", "mode"])))]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The directory's absolute path. A link in its last place is not followed.
    #[serde(rename = "directory")]
    pub path: AbsPath,

    /// `absent`: it is removed where it is empty; where it is not, only with `force: true`, never
    /// across a mount and never through a link. Its line for systemd-tmpfiles goes too.
    #[serde(default)]
    pub state: Presence,

    /// The user that owns it: a name or a number. Without it, who owns the directory is left alone; a
    /// new one belongs to root, or to the user that converge runs as on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,

    /// Its group: a name or a number. Without it, as for `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,

    /// Its mode, as in `755`, `0755` or `u=rwx,go=rx`: all of it, so a setgid bit that is there
    /// but not written is removed. Without it, the mode is left alone; a new directory is 0755.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// Replace a file or link that is in the directory's place; without it that is a failure. With
    /// `state: absent`: remove whatever lies there, and all that is in the directory.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,

    /// `owner`, `group` and `mode`, as far as they are declared, hold for everything below it too. A
    /// file gets no x from the mode unless it has one. Links, and what is mounted below it, are left
    /// alone. What a resource for something below it says itself goes before; what it leaves open
    /// is as declared here, from its beginning.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recurse: bool,

    /// Remove everything in it that no resource of this spec declares on this host, directories with
    /// all that is in them. What is declared by another name, through a link that is declared too, is
    /// declared; a link that is not declared is not known here. The plan names the first of what would
    /// go, and counts the rest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub purge: bool,

    /// Declare it to systemd-tmpfiles too, so that it is there before any unit starts at the next
    /// boot: for directories under `/run` and `/var/run`, which a reboot clears. It is a line of
    /// its own file, `/etc/tmpfiles.d/converge-….conf`, with the `owner`, `group` and `mode` that are
    /// declared (else root, root, 0755). A host without systemd-tmpfiles is a failure.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tmpfiles: bool,

    /// For `purge`: what the spec declares below it. Filled in by the loader.
    #[serde(default, rename = "_declared", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub declared: Vec<AbsPath>,

    /// For `purge`: what the spec declares absent below it. Filled in by the loader.
    #[serde(default, rename = "_gone", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub gone: Vec<AbsPath>,

    /// Filled in by the loader.
    #[serde(default, rename = "_surroundings", skip_serializing_if = "Surroundings::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub surroundings: Surroundings,
}

impl Directory {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- directory: /srv/www
  mode: 755
";

    /// As declared here, else by a directory with `recurse` above.
    fn ownership(&self) -> Ownership<'_> {
        let handed = self.handed();
        Ownership {
            owner: self.owner.as_deref().or(handed.owner),
            group: self.group.as_deref().or(handed.group),
            mode: self.mode.or(handed.mode),
        }
    }

    /// What holds for the missing parents that are made with it.
    fn handed(&self) -> Ownership<'_> {
        let handed = &self.surroundings.handed;
        Ownership { owner: handed.owner.as_deref(), group: handed.group.as_deref(), mode: handed.mode }
    }
}

impl Resource for Directory {
    fn name(&self) -> String {
        self.path.to_string()
    }

    fn links(&self) -> Links {
        let links = Links::default().provides(Thing::Path(self.path.clone()));
        let links = self.ownership().link(links.removal(self.state == Presence::Absent));
        let links = links.stands_on(Thing::Home(self.path.clone()), "the user whose home it is");
        let links = links.stands_on(Thing::Uncovered(self.path.clone()), "what was mounted on it");
        match self.path.parent() {
            Some(parent) => links.stands_on(Thing::Path(parent), "its parent directory"),
            None => links,
        }
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        if self.state == Presence::Absent {
            let said = [
                ("owner", self.owner.is_some()),
                ("group", self.group.is_some()),
                ("mode", self.mode.is_some()),
                ("recurse", self.recurse),
                ("purge", self.purge),
                ("tmpfiles", self.tmpfiles),
            ];
            for (name, _) in said.iter().filter(|(_, given)| *given) {
                invalid.push(Invalid::new(
                    name,
                    format!("`{name}` says something of a directory that `state: absent` says is gone"),
                    "leave one of them out",
                ));
            }
            if self.path.as_str() == "/" {
                invalid.push(Invalid::new("directory", "/ cannot be absent", "name another directory"));
            }
        } else if self.recurse && self.owner.is_none() && self.group.is_none() && self.mode.is_none() {
            invalid.push(Invalid::lack(
                "recurse",
                "there is nothing to hold true below it",
                "add `owner`, `group` or `mode`, or leave `recurse` out",
            ));
        }
        invalid
    }

    fn warnings(&self, is_needed: bool) -> Vec<Invalid> {
        let path = &self.path;
        match (tmpfiles::is_volatile(path), self.tmpfiles) {
            _ if self.state == Presence::Absent => Vec::new(),
            (true, false) if is_needed => vec![Invalid::new(
                "directory",
                format!("{path} is gone after a reboot, and something depends on it"),
                "add `tmpfiles: true`: systemd makes it then before any unit starts",
            )],
            (false, true) => vec![Invalid::new(
                "tmpfiles",
                format!("{path} survives a reboot, so `tmpfiles` adds nothing"),
                "leave it out: it is for directories under /run",
            )],
            _ => Vec::new(),
        }
    }

    fn can_wait() -> bool {
        false
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.path.clone()]
    }

    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        Some(&mut self.surroundings)
    }

    fn hands_down(&self) -> Option<HandedDown> {
        let (owner, group, mode) = (self.owner.clone(), self.group.clone(), self.mode);
        self.recurse.then_some(HandedDown { owner, group, mode })
    }

    fn purges(&mut self) -> Option<(AbsPath, &mut Vec<AbsPath>)> {
        self.purge.then(|| (self.path.clone(), &mut self.declared))
    }

    fn leaves(&mut self) -> Option<&mut Vec<AbsPath>> {
        self.purge.then_some(&mut self.gone)
    }

    fn takes_along(&self, path: &AbsPath) -> bool {
        self.purge && below::takes_along(self, path)
    }

    fn makes_only_what_it_provides(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        if self.state == Presence::Absent {
            return self.check_absent(system, &system.see_to_remove(&self.path)?);
        }
        let seen = system.see(&self.path)?;
        let resolved = self.ownership().resolve(system)?;
        let (action, mut changes) = match &seen {
            Seen::There(there) if there.kind == Kind::Directory => {
                let mut changes = self.ownership().changes(system, &resolved, Some(there));
                if self.recurse {
                    changes.extend(below::drift(system, self, &resolved.access, there.device)?);
                }
                if self.purge {
                    changes.extend(below::undeclared(system, self)?);
                }
                (Action::Change, changes)
            }
            Seen::There(there) if !self.force => {
                return Err(in_the_way(&self.path, there.kind, "a directory"));
            }
            seen => {
                let was = match seen {
                    Seen::There(there) => there.kind.to_string(),
                    _ => "absent".to_owned(),
                };
                let action = if was == "absent" { Action::Create } else { Action::Change };
                let mut changes = vec![Change::from_to("state", was, "present")];
                if let Seen::NoParent(missing) = seen {
                    let parents = self.missing_parents(missing);
                    if !parents.is_empty() {
                        changes.push(Change::new("parents", None, Some(parents.join(", "))));
                    }
                }
                changes.extend(self.ownership().changes(system, &resolved, None));
                (action, changes)
            }
        };
        if self.tmpfiles {
            changes.extend(tmpfiles::drift(system, self)?);
        }
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        Ok(Check::Needs(Needed { action, changes, lacks: resolved.lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        if needed.action == Action::Remove {
            if needed.has("tmpfiles") {
                tmpfiles::remove(system, self)?;
            }
            return match system.see(&self.path)? {
                Seen::There(Meta { kind: Kind::Directory, .. }) if self.force => {
                    system.remove_tree(&self.path)
                }
                Seen::There(Meta { kind: Kind::Directory, .. }) => system.remove_directory(&self.path),
                Seen::There(_) => system.remove_file(&self.path),
                _ => Ok(()),
            };
        }
        let resolved = self.ownership().resolve(system)?;
        nothing_lacking(&resolved.lacks)?;
        if needed.has("state") {
            self.make(system, resolved.access)?;
        } else {
            system.set_access(&self.path, only_changed(resolved.access, &needed.changes))?;
        }
        if needed.has(below::RECURSE) {
            below::mend(system, self, &resolved.access)?;
        }
        if needed.has(below::PURGE) {
            below::purge(system, self)?;
        }
        if needed.has(tmpfiles::ATTRIBUTE) {
            tmpfiles::declare(system, self)?;
        }
        Ok(())
    }
}

impl Directory {
    fn check_absent(&self, system: &System, seen: &Seen) -> Result<Check, Failure> {
        let mut changes = Vec::new();
        if let Seen::There(there) = seen {
            if there.kind != Kind::Directory && !self.force {
                return Err(Failure::new(format!(
                    "{} is {}, and a directory is declared absent",
                    self.path, there.kind
                ))
                .help("declare the thing that it is as absent, or remove it with `force: true`"));
            }
            let mut was = "present".to_owned();
            if there.kind == Kind::Directory {
                let entries = system.list(&self.path)?;
                if !entries.is_empty() && !self.force {
                    // What the spec declares absent below it goes first: then it is empty.
                    let (count, first) = (entries.len(), &entries[0]);
                    let what = format!("{} is not empty: {count} entries, the first is {first}", self.path);
                    changes.push(Change::from_to("state", "present", "absent"));
                    let help = "remove what is in it with `force: true`, or declare it absent too";
                    let gone = entries.iter().take(MOST_DECLARED).map(|entry| super::Lack {
                        thing: Thing::Path(self.path.join(entry)),
                        what: what.clone(),
                        help: help.to_owned(),
                    });
                    let lacks = gone.collect();
                    return Ok(Check::Needs(Needed { action: Action::Remove, changes, lacks }));
                }
                if !entries.is_empty() {
                    was = format!("present, with {} entries", entries.len());
                }
            }
            changes.push(Change::from_to("state", was, "absent"));
        }
        changes.extend(tmpfiles::leftover(system, self)?);
        Ok(Check::of(Action::Remove, changes))
    }

    /// From the topmost missing one down to the parent.
    fn missing_parents(&self, topmost: &AbsPath) -> Vec<String> {
        let nearest = self.surroundings.nearest.as_ref();
        if !self.path.is_below(topmost) && nearest.is_none() {
            // Behind a link on the way, where it has another name.
            return vec![topmost.to_string()];
        }
        let mut parents: Vec<String> = self
            .path
            .ancestors()
            .take_while(|parent| {
                parent == topmost || parent.is_below(topmost) || !self.path.is_below(topmost)
            })
            // From there on another resource makes them, which comes first.
            .take_while(|parent| nearest != Some(parent))
            .map(|parent| parent.to_string())
            .collect();
        parents.reverse();
        parents
    }

    fn make(&self, system: &System, access: Access) -> Result<(), Failure> {
        loop {
            match system.see(&self.path)? {
                Seen::NoParent(missing) => {
                    let access = self.handed().resolve(system)?.access;
                    system.ensure_directory(&missing, access)?;
                }
                Seen::There(Meta { kind: Kind::Directory, .. }) => {
                    return system.set_access(&self.path, access);
                }
                Seen::There(_) => system.remove_file(&self.path)?,
                Seen::Absent => match system.make_directory(&self.path, access) {
                    // As a parent of another one, meanwhile.
                    Err(_) if matches!(system.see(&self.path), Ok(Seen::There(_))) => {}
                    made => return made,
                },
            }
        }
    }
}
