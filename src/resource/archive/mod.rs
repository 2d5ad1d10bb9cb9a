//! `archive`: a directory with what is in an archive.

mod format;
mod member;
mod unpack;
mod unpacked;
mod zip;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::common::{Ownership, Resolved, blocks_the_way, no_parent, nothing_lacking};
use super::download::Address;
use super::fetch::{self, mismatch};
use super::tool::Tool;
use super::{Action, Change, Check, Failure, Invalid, Links, Needed, Resource, SourceSlot, Thing};
#[cfg(feature = "controller")]
use crate::attribute::schema::OneOrMany;
use crate::attribute::{AbsPath, Algorithm, Checksum, Content, Mode, one_or_many};
use crate::system::System;
use crate::system::files::{Access, Kind, Seen};
use unpack::Place;
use unpacked::Unpacked;

/// Deeper than any archive is nested.
const MOST_STRIPPED: u32 = 100;

/// A directory with what is in an archive: tar (plain, or packed with gzip, xz, bzip2 or zstd) or zip.
///
/// What was unpacked is remembered on the host, in /var/lib/converge/archives (of a user other than
/// root, in ~/.local/state/converge/archives), and held true: an entry that is missing, or is no
/// longer as it was unpacked, is unpacked again. (A file whose length and time are as they were is
/// not read for that.) What other resources declare below the directory is theirs: a `file` there
/// goes before the archive's. **Where an application writes into files that the archive brought, give
/// `creates`**: then only these paths are looked at, and the rest is left alone until another archive
/// is declared.
///
/// The archive is looked through first. One with an entry that leads out of the directory (an
/// absolute name, a `..`, a link that points outside or lies on the way to another entry), with a
/// device or a pipe, is refused, and nothing of it is written. Then it is unpacked into a
/// directory beside, which nobody else can enter, and moved into place: at once where nothing is there
/// yet; else file by file, each of them whole, and those that are there as the archive has them stay
/// untouched. What is of another kind in the way is a failure before anything is moved. A run that
/// is cut short is done again by the next. There must be room for all of it beside what is there.
///
/// With another archive (a new `checksum`, another file at `source`, another `url` without a
/// checksum), files that only the old one had are removed where they are as they were unpacked; those
/// that were changed since, and all that came from elsewhere, stay.
///
/// Modes are as the archive has them, but setuid and setgid bits are not taken over (declare a `file`
/// with a `mode` for what needs one); where it has none, files are 0644 and directories 0755.
/// Owners are not as the archive has them: see `owner`. Directories that were there stay as they are.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::one_of(&["source", "url"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::at_most_one(&["source", "url"])))]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The directory to unpack into: an absolute path. It is made where it is missing (0755); the
    /// directory it lies in must be there, or be declared.
    #[serde(rename = "archive")]
    pub path: AbsPath,

    /// The archive: a path on the machine converge runs on, relative to the spec. It is sent to the
    /// host when it is to be unpacked, and may have 64 MB; let the host fetch a larger one with `url`.
    /// One of `source` and `url` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// Where the host fetches the archive: http, https, or `file:///path` on the host itself, as for
    /// `download`. Without a `checksum`, that the URL gives something new is not noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Address>,

    /// What the archive must hash to, as in `sha256:2b1c…` or `sha512:…`. One that does not is
    /// refused, with both sums shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,

    /// A path, or a list of paths, that show that it is unpacked: only they are looked at then, besides
    /// whether another archive was unpacked here last. They must be there afterwards.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(with = "OneOrMany<AbsPath>"))]
    pub creates: Vec<AbsPath>,

    /// How many leading directories to take off the names of all entries: 1 where all lies in one
    /// directory like `app-1.2/`. Entries with no more than these are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(
        feature = "controller",
        schemars(skip_serializing_if = "crate::attribute::schema::never", range(max = 100))
    )]
    pub strip: u32,

    /// The user that owns all that is unpacked: a name or a number. Without it, that is root, or the
    /// user that converge runs as on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,

    /// Its group: a name or a number. Without it, as for `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,

    /// Of `source`. Filled in by the loader.
    #[serde(default, rename = "_content", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub content: Option<Content>,

    /// What the spec declares below it. Filled in by the loader.
    #[serde(default, rename = "_declared", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub declared: Vec<AbsPath>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Archive {
    pub const SECRETS: &'static [&'static str] = &["url"];

    pub const EXAMPLE: &'static str = "\
- archive: /opt/node
  url: https://nodejs.org/dist/v22.11.0/node-v22.11.0-linux-x64.tar.gz
  checksum: sha256:4f862bab52039835efbe613b532238b6e4dde98d139a34e6923193e073438b13
  strip: 1
";

    fn ownership(&self) -> Ownership<'_> {
        Ownership { owner: self.owner.as_deref(), group: self.group.as_deref(), mode: None }
    }

    /// What a record knows the archive by.
    fn mark(&self) -> String {
        match (&self.checksum, &self.content, &self.url) {
            (_, Some(content), _) => format!("sha256:{}", content.sha256()),
            (Some(checksum), None, _) => checksum.to_string(),
            (None, None, Some(url)) => format!("url:{}", url.mark()),
            (None, None, None) => String::new(),
        }
    }

    /// The archive in a few words: where it comes from, and its sum.
    fn told(&self) -> Result<String, Failure> {
        let from = match (&self.source, &self.url) {
            (Some(source), _) => source.clone(),
            (None, Some(url)) => url.read()?.to_string(),
            (None, None) => String::new(),
        };
        let sum = self.content.as_ref().map(|content| format!(", {}", content.summary()));
        let sum = sum.or_else(|| self.checksum.as_ref().map(|sum| format!(", {}", sum.brief())));
        Ok(from + &sum.unwrap_or_default())
    }

    /// The program it will take, as far as its name tells.
    fn tool(&self) -> Option<Tool> {
        let name = match (&self.source, &self.url) {
            (Some(source), _) => source.clone(),
            (None, url) => url.as_ref()?.read().ok()?.to_string(),
        };
        format::tool_for(&name)
    }

    /// Of a source the sum is known from the beginning.
    fn must_fit(&self) -> Result<(), Failure> {
        let (Some(wanted), Some(content)) = (&self.checksum, &self.content) else { return Ok(()) };
        let found = match (wanted.algorithm, content.bytes()) {
            (Algorithm::Sha256, _) => format!("sha256:{}", content.sha256()).parse().ok(),
            (algorithm, bytes) => bytes.map(|bytes| algorithm.of(bytes)),
        };
        match found {
            Some(found) if found != *wanted => Err(mismatch(&"the archive at `source`", &found, wanted)),
            _ => Ok(()),
        }
    }

    fn place<'a>(&'a self, system: &'a System, access: Access, before: Option<&'a Unpacked>) -> Place<'a> {
        let (directory, strip, declared) = (&self.path, self.strip, self.declared.as_slice());
        Place { system, directory, strip, access, declared, before }
    }

    /// What is off about what was unpacked.
    fn content_changes(&self, system: &System, before: Option<&Unpacked>) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        for path in &self.creates {
            if unpacked::see(system, path)?.is_none() {
                changes.push(Change::new("creates", None, Some(path.to_string())));
            }
        }
        let Some(before) = before else {
            // Somebody else has unpacked it.
            if self.creates.is_empty() || !changes.is_empty() {
                changes.insert(0, Change::new("archive", None, Some(self.told()?)));
            }
            return Ok(changes);
        };
        if before.archive != self.mark() {
            changes.insert(0, Change::from_to("archive", "another one", self.told()?));
        }
        if before.strip != self.strip {
            changes.push(Change::from_to("strip", before.strip, self.strip));
        }
        // With another archive it is told too: what was changed since would be replaced.
        if self.creates.is_empty() {
            let off = before.drift(system, &self.path, &self.declared)?;
            if !off.is_empty() {
                changes.push(Change::from_to("entries", unpack::brief(&off), "as in the archive"));
            }
        }
        Ok(changes)
    }

    /// What was unpacked and belongs to others.
    fn owner_changes(
        &self,
        system: &System,
        resolved: &Resolved,
        before: Option<&Unpacked>,
    ) -> Result<Vec<Change>, Failure> {
        let (access, ownership) = (resolved.access, self.ownership());
        let Some(before) = before else { return Ok(ownership.changes(system, resolved, None)) };
        let place = self.place(system, access, Some(before));
        let mut changes = Vec::new();
        if let Some(owner) = &self.owner {
            let others = place.strangers(before, |there| Some(there.uid) != access.uid)?;
            if !others.is_empty() {
                changes.push(Change::from_to(
                    "owner",
                    format!("another of {}", unpack::brief(&others)),
                    owner,
                ));
            }
        }
        if let Some(group) = &self.group {
            let others = place.strangers(before, |there| Some(there.gid) != access.gid)?;
            if !others.is_empty() {
                changes.push(Change::from_to(
                    "group",
                    format!("another of {}", unpack::brief(&others)),
                    group,
                ));
            }
        }
        Ok(changes)
    }

    /// Brings the archive to `path`.
    fn bring(&self, system: &System, path: &AbsPath) -> Result<(), Failure> {
        let access = Access { mode: Some(Mode::from_bits(0o600)), ..Access::default() };
        match (&self.content, &self.url) {
            (Some(content), _) => {
                self.must_fit()?;
                let bytes = content.bytes();
                let bytes =
                    bytes.ok_or_else(|| Failure::new("the archive did not arrive with the request"))?;
                system.put_file(path, bytes, access, |_| Ok(()))
            }
            (None, Some(url)) => {
                let url = url.read()?;
                let fill = |candidate: &mut crate::system::files::Candidate<'_>| {
                    url.fetch_checked(system, self.checksum.as_ref(), &mut |bytes| candidate.write(bytes))
                };
                system.put_streamed(path, access, fill, |_| Ok(()))
            }
            (None, None) => Err(Failure::new("nothing says which archive: give `source` or `url`")),
        }
    }

    /// Where it is unpacked first: on the file system that it will be moved on.
    fn beside(&self, is_there: bool) -> AbsPath {
        match self.path.parent() {
            Some(parent) if !is_there => parent.join(&format!(".{}.converge", self.path.file_name())),
            _ => self.path.join(".archive.converge"),
        }
    }

    fn clear(&self, system: &System) -> Result<(), Failure> {
        for stage in [self.beside(true), self.beside(false)] {
            if unpacked::see(system, &stage)?.is_some() {
                system.remove_tree(&stage)?;
            }
        }
        Ok(())
    }

    fn unpack(
        &self,
        system: &System,
        place: &Place<'_>,
        stage: &AbsPath,
        is_there: bool,
    ) -> Result<Unpacked, Failure> {
        drop(system.begin_tree(stage)?);
        let file = stage.join("archive");
        self.bring(system, &file)?;
        let mut archive = format::open(system, &file, &stage.join("archive.tar"))?;
        let members = unpack::survey(place, &mut archive)?;
        let whole = stage.join("tree");
        let mut tree = system.begin_tree(&whole)?;
        let mut entries = unpack::write(place, &mut archive, &members, &mut tree)?;
        drop(tree);
        if is_there {
            place.must_be_free(&entries)?;
            place.remove_of_before(&entries)?;
            place.move_in(&whole, "", &mut entries)?;
        } else {
            system.move_to(&whole, &self.path)?;
        }
        place.note_times(&mut entries)?;
        Ok(Unpacked { archive: self.mark(), strip: self.strip, entries })
    }
}

impl Resource for Archive {
    fn name(&self) -> String {
        self.path.to_string()
    }

    fn links(&self) -> Links {
        let mut links = self.ownership().link(Links::default().provides(Thing::Path(self.path.clone())));
        // Where a directory of the same path is declared too, that comes first.
        links = links.stands_on(Thing::Path(self.path.clone()), "the directory it is unpacked into");
        if let Some(tool) = self.tool() {
            links = tool.link(links);
        }
        let url = self.url.as_ref().and_then(|url| url.read().ok());
        match url.and_then(|url| url.thing()) {
            Some(thing) => links.stands_on(thing, "the archive it is unpacked from"),
            None => links,
        }
    }

    fn can_wait() -> bool {
        false
    }

    fn timeout(&self) -> Duration {
        fetch::TIMEOUT
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        match (&self.source, &self.url) {
            (Some(_), Some(_)) => invalid.push(Invalid::new(
                "url",
                "`source` and `url` both say where the archive is",
                "keep one of them",
            )),
            (None, None) => invalid.push(Invalid::lack(
                "archive",
                "nothing says which archive",
                "add `source: FILE` (beside the spec) or `url: URL`",
            )),
            _ => {}
        }
        invalid.extend(self.url.iter().filter_map(Address::complaint));
        if self.strip > MOST_STRIPPED {
            let what = format!("no archive has {} directories in one another", self.strip);
            invalid.push(Invalid::new(
                "strip",
                what,
                "write how many leading directories to take off, as in 1",
            ));
        }
        invalid
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.path.clone()]
    }

    fn sources(&mut self) -> Vec<SourceSlot<'_>> {
        let (path, content) = (&mut self.source, &mut self.content);
        vec![SourceSlot { attribute: "source", is_template: false, path, content }]
    }

    fn contents(&mut self) -> Vec<&mut Content> {
        self.content.iter_mut().collect()
    }

    fn purges(&mut self) -> Option<(AbsPath, &mut Vec<AbsPath>)> {
        Some((self.path.clone(), &mut self.declared))
    }

    fn shows_diff(&self) -> bool {
        false
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        self.must_fit()?;
        let (is_there, missing) = match system.see(&self.path)? {
            Seen::There(there) if there.kind == Kind::Directory => (true, None),
            Seen::There(there) => return Err(blocks_the_way(&self.path, there.kind, "a directory")),
            Seen::Absent => (false, None),
            Seen::NoParent(missing) => (false, Some(missing)),
        };
        let before: Option<Unpacked> = Unpacked::record(&self.path).read(system)?;
        let before = before.filter(|_| is_there);
        let mut resolved = self.ownership().resolve(system)?;
        let mut changes = self.content_changes(system, before.as_ref())?;
        let (action, is_held) = match is_there {
            // With `creates` elsewhere, what was unpacked may have been moved away.
            false if changes.is_empty() => (Action::Change, true),
            false => {
                changes.insert(0, Change::from_to("state", "absent", "present"));
                (Action::Create, false)
            }
            true => (Action::Change, changes.is_empty()),
        };
        if !is_held {
            resolved.lacks.extend(self.tool().and_then(|tool| tool.lack(system)));
            if let Some(url) = &self.url {
                resolved.lacks.extend(url.read()?.lack(system)?);
            }
        }
        if !is_held || before.is_some() {
            changes.extend(self.owner_changes(system, &resolved, before.as_ref())?);
        }
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        resolved.lacks.extend(missing.map(|missing| no_parent(&self.path, &missing)));
        Ok(Check::Needs(Needed { action, changes, lacks: resolved.lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let resolved = self.ownership().resolve(system)?;
        nothing_lacking(&resolved.lacks)?;
        let record = Unpacked::record(&self.path);
        let before: Option<Unpacked> = record.read(system)?;
        let place = self.place(system, resolved.access, before.as_ref());
        let is_only_owner =
            needed.changes.iter().all(|change| matches!(&*change.attribute, "owner" | "group"));
        if let Some(before) = before.as_ref().filter(|_| is_only_owner) {
            return place.own_all(before);
        }
        let is_there = match system.see(&self.path)? {
            Seen::There(there) if there.kind != Kind::Directory => {
                return Err(blocks_the_way(&self.path, there.kind, "a directory"));
            }
            seen => matches!(seen, Seen::There(_)),
        };
        // What a killed run left: where the directory was missing then, in the other place.
        self.clear(system)?;
        let unpacked = self.unpack(system, &place, &self.beside(is_there), is_there);
        // Whatever came of it: nothing is left beside.
        let cleared = self.clear(system);
        let unpacked = unpacked?;
        cleared?;
        record.write(system, &unpacked)
    }
}
