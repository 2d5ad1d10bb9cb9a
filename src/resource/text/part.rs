//! What `line`, `block` and their kin do alike: see the file, say what would change, change it.

use super::Text;
use crate::attribute::{AbsPath, Mode};
use crate::resource::common::{Ownership, Presence, Surroundings, no_parent, nothing_lacking};
use crate::resource::{Action, Change, Check, Failure, Lack, Links, Needed, Thing};
use crate::system::System;
use crate::system::files::Seen;

/// The mode of a new file.
const NEW: u32 = 0o644;

/// A part of a file.
pub struct Part<'a> {
    pub file: &'a AbsPath,
    pub state: Presence,
    /// A file that is not there is made.
    pub create: bool,
    pub surroundings: &'a Surroundings,
}

/// What it takes to make a text as it is declared.
pub struct Verdict {
    pub action: Action,
    pub changes: Vec<Change>,
    /// What it is then.
    pub text: Text,
}

impl Verdict {
    pub fn new(action: Action, change: Change, text: Text) -> Verdict {
        Verdict { action, changes: vec![change], text }
    }
}

impl Part<'_> {
    pub fn links(&self) -> Links {
        let links = Links::default()
            .provides(Thing::Part(self.file.clone()))
            .stands_on(Thing::Path(self.file.clone()), "the file it is in")
            .removal(self.state == Presence::Absent);
        if self.create { self.ownership().link(links) } else { links }
    }

    /// `judge` sees the text (None: there is no file yet) and says what is off about it.
    pub fn check(
        &self,
        system: &System,
        judge: impl Fn(Option<Text>) -> Result<Option<Verdict>, Failure>,
    ) -> Result<Check, Failure> {
        let seen = match self.state {
            Presence::Present => system.see(self.file)?,
            Presence::Absent => system.see_to_remove(self.file)?,
        };
        let (bytes, missing) = match seen {
            Seen::There(_) => (system.read_to_edit(self.file)?, None),
            Seen::Absent => (None, None),
            Seen::NoParent(missing) => (None, Some(missing)),
        };
        let Some(bytes) = bytes else {
            if self.state == Presence::Absent {
                return Ok(Check::Holds);
            }
            let Some(verdict) = judge(None)? else { return Ok(Check::Holds) };
            let lacks = self.lacks(system, missing.as_ref())?;
            return Ok(Check::Needs(Needed { action: verdict.action, changes: verdict.changes, lacks }));
        };
        Ok(match judge(Some(self.parsed(&bytes)?))? {
            None => Check::Holds,
            Some(verdict) => Check::needs(verdict.action, verdict.changes),
        })
    }

    pub fn apply(
        &self,
        system: &System,
        judge: impl Fn(Option<Text>) -> Result<Option<Verdict>, Failure>,
    ) -> Result<(), Failure> {
        let resolved = self.ownership().resolve(system)?;
        system.edit_file(self.file, resolved.access, |bytes| {
            // Others may have edited it since the check: what counts is what is there now.
            let text = match bytes {
                Some(bytes) => Some(self.parsed(bytes)?),
                None if self.state == Presence::Absent => return Ok(None),
                None if !self.create => return Err(no_file(self.file).into_failure()),
                None => {
                    nothing_lacking(&resolved.lacks)?;
                    None
                }
            };
            Ok(judge(text)?.map(|verdict| verdict.text.bytes()))
        })
    }

    fn parsed(&self, bytes: &[u8]) -> Result<Text, Failure> {
        if matches!(bytes, [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff, 0, ..]) {
            return Err(Failure::new(format!("{} is UTF-16 text, which is not edited", self.file))
                .help("declare the whole file: `- file: …` with `source`"));
        }
        Ok(Text::parse(bytes))
    }

    /// What a new file gets from a directory with `recurse` above it.
    fn ownership(&self) -> Ownership<'_> {
        let handed = &self.surroundings.handed;
        Ownership {
            owner: handed.owner.as_deref(),
            group: handed.group.as_deref(),
            mode: handed.mode.map(|mode| mode.for_file_below(Mode::from_bits(NEW))),
        }
    }

    /// What is missing before the file can be edited that is not there.
    fn lacks(&self, system: &System, missing: Option<&AbsPath>) -> Result<Vec<Lack>, Failure> {
        if !self.create {
            return Ok(vec![no_file(self.file)]);
        }
        let mut lacks = self.ownership().resolve(system)?.lacks;
        lacks.extend(missing.map(|missing| no_parent(self.file, missing)));
        Ok(lacks)
    }
}

fn no_file(path: &AbsPath) -> Lack {
    Lack {
        thing: Thing::Path(path.clone()),
        what: format!("the file {path} does not exist"),
        help: format!("declare it: `- file: {path}`, or let this one make it with `create: true`"),
    }
}
