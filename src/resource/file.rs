//! `file`: a plain file, its content, owner, group and mode.

use std::io::Read;

use serde::{Deserialize, Serialize};

use super::common::{
    Ownership, Presence, Surroundings, in_place_of, in_the_way, is_false, no_parent, nothing_lacking,
    only_changed,
};
use super::{Action, Change, Check, Failure, Invalid, Links, Needed, Resource, SourceSlot, Thing};
use crate::attribute::{AbsPath, CommandLine, Content, Mode, sha256_hex};
use crate::system::System;
use crate::system::commands::Invocation;
use crate::system::files::{Kind, Meta, Seen};

/// Larger files are compared by their hash only, and shown without a difference.
const SHOWN: u64 = 64 * 1024;

/// The mode of a new file.
const NEW: u32 = 0o644;

/// A plain file.
///
/// New content is written beside the file and put in its place by rename, with owner and mode
/// already set, so that nobody ever reads half of it. Owner, group and mode of a file that is
/// there stay as they are unless declared; a new file is 0644 unless declared, whatever the umask.
/// Without `content`, `source` or `template` the file exists, whatever is in it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::at_most_one(&["content", "source", "template"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["content", "source", "template", "owner", "group", "mode", "validate"])))]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The file's absolute path. Its directory must be there, or be declared.
    #[serde(rename = "file")]
    pub path: AbsPath,

    /// `absent`: it is removed. What is no file in its place is a failure then, unless `force` is on.
    #[serde(default)]
    pub state: Presence,

    /// What is in it, to the byte, after templates are rendered. End it with a newline
    /// (`content: |`) as text files do. One of `content`, `source` and `template` at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,

    /// A file that it is a copy of, to the byte: a path on the machine converge runs on, relative
    /// to the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// A template that it is rendered from: a path on the machine converge runs on, relative to the
    /// spec. It sees the same variables as the spec, and keeps its last newline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,

    /// The user that owns it: a name or a number. Without it, who owns the file is left alone; a new
    /// file belongs to root, or to the user that converge runs as on the host. With another owner or
    /// group a file loses its setuid and setgid bits (the kernel sees to that), unless `mode`
    /// declares them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,

    /// Its group: a name or a number. Without it, as for `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,

    /// Its mode, as in `644`, `0644` or `u=rw,go=r`: all of it, so a setuid bit that is there but
    /// not written is removed. Without it, the mode is left alone; a new file is 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// A command that must exit 0 before new content is put in place; `{}` is the candidate's
    /// path, as in `validate: visudo -cf {}`. Where it does not, the file stays as it is, and this
    /// fails with what the command said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<CommandLine>,

    /// Keep the old file as `NAME.TIME.bak` beside the new one, as in `motd.20260131T120000Z.bak`,
    /// when its content is replaced. Nothing removes these again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backup: bool,

    /// Never show how its content changes: plans and reports have only its length and hash. Where
    /// a secret of the spec is in its content, they have nothing of it in any case.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sensitive: bool,

    /// Replace (or, with `state: absent`, remove) a symlink, a socket or an empty directory that is
    /// in the file's place. Without it that is a failure. A directory that is not empty is never
    /// replaced.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,

    /// Filled in by the loader.
    #[serde(default, rename = "_surroundings", skip_serializing_if = "Surroundings::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub surroundings: Surroundings,
}

impl File {
    pub const SECRETS: &'static [&'static str] = &["content"];

    pub const EXAMPLE: &'static str = "\
- file: /etc/motd
  content: |
    This machine is kept by converge.
  mode: 644
";

    /// As declared here, else by a directory with `recurse` above.
    fn ownership(&self, there: Option<&Meta>) -> Ownership<'_> {
        let handed = &self.surroundings.handed;
        let current = there.map_or(Mode::from_bits(NEW), |there| there.mode);
        Ownership {
            owner: self.owner.as_deref().or(handed.owner.as_deref()),
            group: self.group.as_deref().or(handed.group.as_deref()),
            mode: self.mode.or(handed.mode.map(|mode| mode.for_file_below(current))),
        }
    }
}

impl Resource for File {
    fn name(&self) -> String {
        self.path.to_string()
    }

    fn links(&self) -> Links {
        let links = Links::default().provides(Thing::Path(self.path.clone()));
        let links = self.ownership(None).link(links.removal(self.state == Presence::Absent));
        let links = links.stands_on(Thing::Uncovered(self.path.clone()), "what was mounted on it");
        match self.path.parent() {
            Some(parent) => links.stands_on(Thing::Path(parent), "its parent directory"),
            None => links,
        }
    }

    fn can_wait() -> bool {
        false
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let contents = [
            ("content", self.content.is_some()),
            ("source", self.source.is_some()),
            ("template", self.template.is_some()),
        ];
        let given: Vec<_> = contents.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if let [first, second, ..] = given[..] {
            invalid.push(Invalid::new(
                second,
                format!("`{first}` and `{second}` both say what is in the file"),
                "keep one of them",
            ));
        }
        if self.state == Presence::Absent {
            let more = [
                ("owner", self.owner.is_some()),
                ("group", self.group.is_some()),
                ("mode", self.mode.is_some()),
                ("validate", self.validate.is_some()),
            ];
            for (name, _) in contents.iter().chain(&more).filter(|(_, given)| *given) {
                invalid.push(Invalid::new(
                    name,
                    format!("`{name}` says something of a file that `state: absent` says is gone"),
                    "leave one of them out",
                ));
            }
        }
        if let Some(command) = &self.validate {
            if !command.mentions_placeholder() {
                invalid.push(Invalid::new(
                    "validate",
                    "the command does not name the candidate file",
                    "write {} where its path belongs, as in `visudo -cf {}`",
                ));
            }
            if given.is_empty() && self.state == Presence::Present {
                invalid.push(Invalid::lack(
                    "validate",
                    "there is no content to validate",
                    "add `content`, `source` or `template`, or leave `validate` out",
                ));
            }
        }
        if self.path.as_str() == "/" {
            invalid.push(Invalid::new("file", "/ is a directory", "name a file"));
        }
        invalid
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.path.clone()]
    }

    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        Some(&mut self.surroundings)
    }

    fn sources(&mut self) -> Vec<SourceSlot<'_>> {
        // One of them at most, so that they share the slot for what is read.
        if self.source.is_some() {
            let (path, content) = (&mut self.source, &mut self.content);
            vec![SourceSlot { attribute: "source", is_template: false, path, content }]
        } else {
            let (path, content) = (&mut self.template, &mut self.content);
            vec![SourceSlot { attribute: "template", is_template: true, path, content }]
        }
    }

    fn contents(&mut self) -> Vec<&mut Content> {
        self.content.iter_mut().collect()
    }

    fn shows_diff(&self) -> bool {
        !self.sensitive
    }

    fn makes_only_what_it_provides(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        if self.state == Presence::Absent {
            return self.check_absent(system, &system.see_to_remove(&self.path)?);
        }
        let seen = system.see(&self.path)?;
        let there = match seen {
            Seen::There(there) => there,
            Seen::Absent => return self.creation(system, None, None),
            Seen::NoParent(parent) => return self.creation(system, Some(&parent), None),
        };
        match there.kind {
            Kind::File => {}
            kind if !self.force => return Err(in_the_way(&self.path, kind, "a file")),
            Kind::Directory if !system.list(&self.path)?.is_empty() => return Err(self.full_directory()),
            kind => return self.creation(system, None, Some(kind)),
        }
        let ownership = self.ownership(Some(&there));
        let resolved = ownership.resolve(system)?;
        let mut changes: Vec<Change> = self.content_change(system, &there)?.into_iter().collect();
        changes.extend(ownership.changes(system, &resolved, Some(&there)));
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        Ok(Check::Needs(Needed { action: Action::Change, changes, lacks: resolved.lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let there = match system.see(&self.path)? {
            Seen::There(there) => Some(there),
            _ => None,
        };
        if needed.action == Action::Remove {
            return match there {
                Some(Meta { kind: Kind::Directory, .. }) => system.remove_directory(&self.path),
                _ => system.remove_file(&self.path),
            };
        }
        let old = there.filter(|there| there.kind == Kind::File);
        let resolved = self.ownership(old.as_ref()).resolve(system)?;
        nothing_lacking(&resolved.lacks)?;
        if needed.action == Action::Change && !needed.has("content") && !needed.has("state") {
            return system.set_access(&self.path, only_changed(resolved.access, &needed.changes));
        }
        let access = in_place_of(resolved.access, old.as_ref());
        let bytes = match &self.content {
            None => &[][..],
            Some(content) => content
                .bytes()
                .ok_or_else(|| Failure::new("the file's content did not arrive with the request"))?,
        };
        if old.is_some() && self.backup {
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            system.keep_backup(&self.path, &format!("{now}.bak"))?;
        }
        if let Seen::There(Meta { kind: Kind::Directory, .. }) = system.see(&self.path)? {
            system.remove_directory(&self.path)?;
        }
        system.put_file(&self.path, bytes, access, |candidate| self.approve(system, candidate))
    }
}

impl File {
    fn check_absent(&self, system: &System, seen: &Seen) -> Result<Check, Failure> {
        let Seen::There(there) = seen else { return Ok(Check::Holds) };
        match there.kind {
            Kind::File => {}
            Kind::Directory if self.force && !system.list(&self.path)?.is_empty() => {
                return Err(self.full_directory());
            }
            _ if self.force => {}
            kind => {
                return Err(Failure::new(format!("{} is {kind}, and a file is declared absent", self.path))
                    .help("declare the thing that it is as absent, or remove it with `force: true`"));
            }
        }
        Ok(Check::needs(Action::Remove, vec![Change::from_to("state", "present", "absent")]))
    }

    fn full_directory(&self) -> Failure {
        Failure::new(format!("{} is a directory that is not empty, and is never replaced", self.path))
            .help(format!("move it away, or declare it: `- directory: {}` with `state: absent`", self.path))
    }

    fn creation(
        &self,
        system: &System,
        missing: Option<&AbsPath>,
        in_place_of: Option<Kind>,
    ) -> Result<Check, Failure> {
        let ownership = self.ownership(None);
        let mut resolved = ownership.resolve(system)?;
        let was = in_place_of.map_or_else(|| "absent".to_owned(), |kind| kind.to_string());
        let mut changes = vec![Change::from_to("state", was, "present")];
        if let Some(content) = &self.content {
            changes.push(Change::new("content", None, Some(content.summary())));
        }
        changes.extend(ownership.changes(system, &resolved, None));
        resolved.lacks.extend(missing.map(|missing| no_parent(&self.path, missing)));
        let action = if in_place_of.is_some() { Action::Change } else { Action::Create };
        Ok(Check::Needs(Needed { action, changes, lacks: resolved.lacks }))
    }

    fn content_change(&self, system: &System, there: &Meta) -> Result<Option<Change>, Failure> {
        let Some(wanted) = &self.content else { return Ok(None) };
        let read = || {
            let mut file = system.open_file(&self.path)?;
            let told = |error| Failure::io(format!("reading {}", self.path), &error);
            system.before("read").map_err(|errno| told(errno.into()))?;
            if there.size <= SHOWN {
                let mut bytes = Vec::with_capacity(usize::try_from(there.size).unwrap_or(0));
                file.read_to_end(&mut bytes).map_err(told)?;
                Ok((sha256_hex(&bytes), Some(bytes)))
            } else if there.size == wanted.length() {
                Ok((hash_of(&mut file).map_err(told)?, None))
            } else {
                // Another length is another content: a large file need not be read for that.
                Ok((String::from("other"), None))
            }
        };
        let (sha256, bytes) = read()?;
        if sha256 == wanted.sha256() {
            return Ok(None);
        }
        let mut change =
            Change::from_to("content", wanted.summary_of_old(&sha256, there.size), wanted.summary());
        if self.shows_diff() && !wanted.has_secret() {
            change.old_text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        }
        Ok(Some(change))
    }

    fn approve(&self, system: &System, candidate: &str) -> Result<(), Failure> {
        let Some(command) = &self.validate else { return Ok(()) };
        let command = command.with(candidate);
        let output = system.run(&Invocation::of(&command))?;
        if output.succeeded() {
            return Ok(());
        }
        let failure = output.failure(format!("the new content was refused by `{command}`"));
        Err(failure.help(format!("{} is unchanged: correct its declared content", self.path)))
    }
}

fn hash_of(file: &mut std::fs::File) -> std::io::Result<String> {
    use sha2::{Digest, Sha256};
    let (mut digest, mut block) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(crate::attribute::hex(&digest.finalize())),
            count => digest.update(&block[..count]),
        }
    }
}
