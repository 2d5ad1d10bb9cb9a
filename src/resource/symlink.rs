//! `symlink`: a symbolic link and where it points.

use serde::{Deserialize, Serialize};

use super::common::{Presence, Surroundings, in_the_way, is_false, no_parent};
use super::{Action, Change, Check, Failure, Invalid, Links, Needed, Resource, Thing};
use crate::attribute::AbsPath;
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};

/// A symbolic link.
///
/// The link itself is what is held true; whether its target exists is not looked at. It is
/// replaced in one step, so that at no moment it is missing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless_absent("target")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["target"])))]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    /// Where the link lies: an absolute path. Its directory must be there, or be declared.
    #[serde(rename = "symlink")]
    pub path: AbsPath,

    /// `absent`: the link is removed, and what it leads to is left alone. Anything else in its place
    /// is a failure, unless `force` is on.
    #[serde(default)]
    pub state: Presence,

    /// Where it points: an absolute path, or one relative to the link's directory. Compared as
    /// it is written, not by what it leads to. Needed, unless the link is to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,

    /// Replace a file or an empty directory that is in the link's place; with `state: absent`,
    /// remove a file there. Without it that is a failure. A directory that is not empty is never
    /// replaced.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,

    /// Filled in by the loader.
    #[serde(default, rename = "_surroundings", skip_serializing_if = "Surroundings::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub surroundings: Surroundings,
}

impl Symlink {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- symlink: /etc/localtime
  target: /usr/share/zoneinfo/UTC
";
}

impl Resource for Symlink {
    fn name(&self) -> String {
        self.path.to_string()
    }

    fn links(&self) -> Links {
        let links = Links::default().provides(Thing::Path(self.path.clone()));
        let links = links.removal(self.state == Presence::Absent);
        match self.path.parent() {
            Some(parent) => links.stands_on(Thing::Path(parent), "its parent directory"),
            None => links,
        }
    }

    fn can_wait() -> bool {
        false
    }

    fn validate(&self) -> Vec<Invalid> {
        match (&self.target, self.state) {
            (None, Presence::Present) => vec![Invalid::lack(
                "symlink",
                "`target` is missing: where is the link to point?",
                "add `target: PATH`, or `state: absent` if the link is to go",
            )],
            (Some(target), Presence::Present) if target.is_empty() || target.contains('\0') => {
                vec![Invalid::new("target", "no link can point to this", "write a path")]
            }
            (Some(_), Presence::Absent) => vec![Invalid::new(
                "target",
                "`target` says where the link points, and `state: absent` that there is none",
                "leave one of them out",
            )],
            _ => Vec::new(),
        }
    }

    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        Some(&mut self.surroundings)
    }

    fn link(&self) -> Option<(AbsPath, AbsPath)> {
        let target = self.target.as_deref().filter(|_| self.state == Presence::Present)?;
        let from = if target.starts_with('/') { String::new() } else { self.path.parent()?.to_string() };
        let mut parts: Vec<&str> = Vec::new();
        for part in from.split('/').chain(target.split('/')) {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        Some((self.path.clone(), format!("/{}", parts.join("/")).parse().ok()?))
    }

    fn leads_elsewhere(&self, _: Option<&Needed>) -> bool {
        true
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.path.clone()]
    }

    fn makes_only_what_it_provides(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        if self.state == Presence::Absent {
            return match system.see_to_remove(&self.path)? {
                Seen::There(Meta { kind: Kind::Symlink, .. }) => {
                    let target = system.link_target(&self.path)?;
                    Ok(Check::needs(Action::Remove, vec![Change::new("target", Some(target), None)]))
                }
                Seen::There(there) if self.force && there.kind != Kind::Directory => {
                    let from = Some(there.kind.to_string());
                    Ok(Check::needs(Action::Remove, vec![Change::new("state", from, Some("absent".into()))]))
                }
                Seen::There(there) => Err(Failure::new(format!(
                    "{} is {}, and a symlink is declared absent",
                    self.path, there.kind
                ))
                .help("converge removes only the link: declare the thing that it is as absent")),
                Seen::Absent | Seen::NoParent(_) => Ok(Check::Holds),
            };
        }
        let wanted = self.target.clone().unwrap_or_default();
        match system.see(&self.path)? {
            Seen::There(Meta { kind: Kind::Symlink, .. }) => {
                let target = system.link_target(&self.path)?;
                let changed = target != wanted;
                let changes = changed.then(|| Change::from_to("target", target, wanted));
                Ok(Check::of(Action::Change, changes.into_iter().collect()))
            }
            Seen::There(there) if self.force => {
                if there.kind == Kind::Directory && !system.list(&self.path)?.is_empty() {
                    return Err(Failure::new(format!(
                        "{} is a directory that is not empty, and is never replaced",
                        self.path
                    ))
                    .help("move it away, or declare it absent first"));
                }
                let change = Change::from_to("state", there.kind, "a symlink");
                Ok(Check::needs(Action::Change, vec![change, Change::new("target", None, Some(wanted))]))
            }
            Seen::There(there) => Err(in_the_way(&self.path, there.kind, "a symlink")),
            Seen::Absent => Ok(self.creation(wanted, None)),
            Seen::NoParent(parent) => Ok(self.creation(wanted, Some(&parent))),
        }
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        if needed.action == Action::Remove {
            return system.remove_file(&self.path);
        }
        if let Seen::There(Meta { kind: Kind::Directory, .. }) = system.see(&self.path)? {
            system.remove_directory(&self.path)?;
        }
        system.put_link(&self.path, self.target.as_deref().unwrap_or_default())
    }
}

impl Symlink {
    fn creation(&self, target: String, missing: Option<&AbsPath>) -> Check {
        let changes =
            vec![Change::from_to("state", "absent", "present"), Change::new("target", None, Some(target))];
        let lacks = missing.map(|missing| no_parent(&self.path, missing)).into_iter().collect();
        Check::Needs(Needed { action: Action::Create, changes, lacks })
    }
}
