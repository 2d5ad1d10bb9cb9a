//! Unpacking beside the place, and moving into it: what an archive holds is looked through, written
//! to a directory that nobody else sees, compared with what is there, and only then moved.

use std::collections::BTreeMap;
use std::io::Read;

use super::format::Archive;
use super::member::{Kind as MemberKind, Member, Survey, above};
use super::unpacked::{Entry, State, Unpacked, in_time, is_sum, named, see};
use crate::attribute::{AbsPath, Algorithm, Mode};
use crate::resource::Failure;
use crate::system::System;
use crate::system::files::{Access, Kind, Tree};

/// Directories that the archive does not mention.
const NEW_DIRECTORY: u32 = 0o755;
const NEW_FILE: u32 = 0o644;

/// Where an archive goes.
pub struct Place<'a> {
    pub system: &'a System,
    pub directory: &'a AbsPath,
    pub strip: u32,
    /// Owner and group of all that is unpacked.
    pub access: Access,
    /// What other resources declare below it, sorted.
    pub declared: &'a [AbsPath],
    /// What was unpacked there last.
    pub before: Option<&'a Unpacked>,
}

/// The members of an archive; a failure where one is refused.
pub fn survey(place: &Place<'_>, archive: &mut Archive) -> Result<Vec<Option<Member>>, Failure> {
    let mut survey = Survey::new(place.directory, place.strip);
    archive.each(&mut |raw, _| {
        survey.add(&raw);
        in_time(place.system, place.directory)
    })?;
    survey.finish()
}

/// Writes all of it into the tree.
pub fn write(
    place: &Place<'_>,
    archive: &mut Archive,
    members: &[Option<Member>],
    tree: &mut Tree<'_>,
) -> Result<BTreeMap<String, Entry>, Failure> {
    let mut entries = BTreeMap::new();
    let mut number = 0;
    archive.each(&mut |_, content| {
        in_time(place.system, place.directory)?;
        let member = members.get(number).and_then(Option::as_ref);
        number += 1;
        let Some(member) = member else { return Ok(()) };
        let access = Access { mode: Some(mode_of(member)), ..place.access };
        match &member.kind {
            MemberKind::Directory => tree.directory(&member.path)?,
            MemberKind::HardLink(_) => {}
            MemberKind::Symlink(target) => {
                tree.symlink(&member.path, target, access)?;
                entries.insert(member.path.clone(), Entry::Symlink { target: target.clone() });
            }
            MemberKind::File => {
                let (size, sha256) = write_file(place, member, content, access, tree)?;
                entries.insert(member.path.clone(), Entry::File { size, sha256, modified: 0 });
            }
        }
        Ok(())
    })?;
    for member in members.iter().flatten() {
        if let MemberKind::HardLink(original) = &member.kind {
            tree.hard_link(&member.path, original)?;
            let same = entries.get(original).cloned();
            entries.extend(same.map(|entry| (member.path.clone(), entry)));
        }
    }
    directories(place, members, tree, &mut entries)?;
    tree.sync()?;
    Ok(entries)
}

fn write_file(
    place: &Place<'_>,
    member: &Member,
    content: &mut dyn Read,
    access: Access,
    tree: &mut Tree<'_>,
) -> Result<(u64, String), Failure> {
    let (mut size, mut hasher) = (0, Algorithm::Sha256.hasher());
    tree.file(&member.path, access, member.modified, |candidate| {
        let mut block = vec![0; 64 * 1024];
        loop {
            let count = match content.read(&mut block) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| {
                    Failure::io(format!("the archive is broken within {}", member.path), &error)
                        .help("it may have been cut off on its way: give `checksum`")
                })?,
            };
            if count == 0 {
                return Ok(());
            }
            size += count as u64;
            hasher.update(&block[..count]);
            candidate.write(&block[..count])?;
            in_time(place.system, place.directory)?;
        }
    })?;
    let sum = hasher.finish().to_string();
    Ok((size, sum.trim_start_matches("sha256:").to_owned()))
}

/// Owner and mode of every directory, of the deepest first: then none is in the way.
fn directories(
    place: &Place<'_>,
    members: &[Option<Member>],
    tree: &mut Tree<'_>,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), Failure> {
    let mut modes: BTreeMap<&str, Mode> = BTreeMap::new();
    for member in members.iter().flatten() {
        for parent in above(&member.path) {
            modes.entry(parent).or_insert(Mode::from_bits(NEW_DIRECTORY));
        }
    }
    for member in members.iter().flatten().filter(|member| member.kind == MemberKind::Directory) {
        modes.insert(&member.path, mode_of(member));
    }
    for (name, mode) in modes.iter().rev() {
        tree.set(name, Access { mode: Some(*mode), ..place.access })?;
        entries.insert((*name).to_owned(), Entry::Directory { made: true });
    }
    tree.set("", Access { mode: Some(Mode::from_bits(NEW_DIRECTORY)), ..place.access })
}

/// As the archive has it, but no archive gives anybody another's rights.
fn mode_of(member: &Member) -> Mode {
    let new = if member.kind == MemberKind::Directory { NEW_DIRECTORY } else { NEW_FILE };
    Mode::from_bits(member.mode.map_or(new, |mode| mode & 0o777))
}

impl Place<'_> {
    fn is_declared(&self, path: &AbsPath) -> bool {
        self.declared.binary_search(path).is_ok()
    }

    /// What lies in the way and may not be replaced: things of another kind, but those of the
    /// archive before that are as they were unpacked.
    pub fn must_be_free(&self, entries: &BTreeMap<String, Entry>) -> Result<(), Failure> {
        let mut blocked = Vec::new();
        for (name, entry) in entries {
            let path = self.directory.join(name);
            if self.is_declared(&path) {
                continue;
            }
            let Some(there) = see(self.system, &path)? else { continue };
            let fits = match (entry, there.kind) {
                (Entry::Directory { .. }, Kind::Directory) => true,
                (Entry::Directory { .. }, Kind::Symlink) => self.leads_to_a_directory(&path)?,
                (Entry::File { .. }, Kind::File) | (Entry::Symlink { .. }, Kind::Symlink) => true,
                _ => false,
            };
            if !fits && !self.is_of_before(name, &path, there.kind)? {
                blocked.push(format!("{path} is {}", there.kind));
            }
        }
        let Some(first) = blocked.first() else { return Ok(()) };
        let count = match blocked.len() {
            1 => String::new(),
            count => format!(" (and {} more are in the way)", count - 1),
        };
        Err(Failure::new(format!("{first}, and something else in the archive{count}: nothing was written"))
            .help("move it away: what is of another kind is never replaced")
            .detail("in the way", blocked.join("\n")))
    }

    /// A link on the way is followed where root or the running user made it, as everywhere.
    fn leads_to_a_directory(&self, link: &AbsPath) -> Result<bool, Failure> {
        // What cannot be walked through says why.
        self.system.spot(&link.join("x")).map(|_| true)
    }

    /// Whether all that lies there was unpacked before, is as it was, and is not in the new archive
    /// by this kind: then it goes.
    fn is_of_before(&self, name: &str, path: &AbsPath, kind: Kind) -> Result<bool, Failure> {
        let Some(entry) = self.before.and_then(|before| before.entries.get(name)) else { return Ok(false) };
        if self.is_declared(path) || entry.state(self.system, path)? != State::AsUnpacked {
            return Ok(false);
        }
        match (entry, kind) {
            (Entry::Directory { made: false }, _) => Ok(false),
            (_, Kind::Directory) => {
                for inner in self.system.list(path)? {
                    let (inner_path, inner_name) = (path.join(&inner), format!("{name}/{inner}"));
                    let Some(there) = see(self.system, &inner_path)? else { continue };
                    if !self.is_of_before(&inner_name, &inner_path, there.kind)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// Removes what the archive before had and this one has not (or as another kind), where it is as
    /// it was unpacked.
    pub fn remove_of_before(&self, entries: &BTreeMap<String, Entry>) -> Result<(), Failure> {
        let Some(before) = self.before else { return Ok(()) };
        // What lies in a directory comes after it.
        for (name, old) in before.entries.iter().rev() {
            let is_kept = match (entries.get(name), old) {
                (Some(Entry::Directory { .. }), Entry::Directory { .. }) => true,
                (Some(Entry::Directory { .. }), _) | (Some(_), Entry::Directory { .. }) => false,
                (Some(_), _) => true,
                (None, _) => false,
            };
            let path = self.directory.join(name);
            if is_kept || self.is_declared(&path) {
                continue;
            }
            let Some(there) = see(self.system, &path)? else { continue };
            let is_directory = there.kind == Kind::Directory;
            match old {
                Entry::Directory { made: true } if is_directory && self.system.list(&path)?.is_empty() => {
                    self.system.remove_directory(&path)?;
                }
                Entry::Directory { .. } => {}
                _ if old.state(self.system, &path)? == State::AsUnpacked => self.system.remove_file(&path)?,
                _ => {}
            }
            in_time(self.system, self.directory)?;
        }
        Ok(())
    }

    /// Moves what is in the tree at `from` to its place, and leaves alone what is there already as it
    /// should be. What was there before is noted with its entry.
    pub fn move_in(
        &self,
        from: &AbsPath,
        prefix: &str,
        entries: &mut BTreeMap<String, Entry>,
    ) -> Result<(), Failure> {
        for last in self.system.list(from)? {
            in_time(self.system, self.directory)?;
            let name = if prefix.is_empty() { last.clone() } else { format!("{prefix}/{last}") };
            let (source, target) = (from.join(&last), self.directory.join(&name));
            let there = see(self.system, &target)?;
            match (entries.get(&name).cloned(), there) {
                (_, Some(_)) if self.is_declared(&target) => {}
                (Some(Entry::Directory { .. }), Some(_)) => {
                    let was_made = self.before.and_then(|before| before.entries.get(&name));
                    let made = matches!(was_made, Some(Entry::Directory { made: true }));
                    entries.insert(name.clone(), Entry::Directory { made });
                    self.move_in(&source, &name, entries)?;
                }
                (Some(Entry::File { sha256, size, .. }), Some(there))
                    if there.kind == Kind::File
                        && there.size == size
                        && is_sum(&self.system.checksum(&target, Algorithm::Sha256)?, &sha256) =>
                {
                    self.own(&target, &there)?;
                }
                (Some(Entry::Symlink { target: wanted }), Some(there))
                    if there.kind == Kind::Symlink && self.system.link_target(&target)? == wanted =>
                {
                    self.own(&target, &there)?;
                }
                _ => self.system.move_to(&source, &target)?,
            }
        }
        Ok(())
    }

    fn own(&self, path: &AbsPath, there: &crate::system::files::Meta) -> Result<(), Failure> {
        let uid = self.access.uid.filter(|uid| *uid != there.uid);
        let gid = self.access.gid.filter(|gid| *gid != there.gid);
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        // chown clears setuid and setgid, which links have none of.
        let mode = Some(there.mode).filter(|_| there.kind != Kind::Symlink);
        self.system.set_access(path, Access { uid, gid, mode })
    }

    /// What was unpacked here and belongs to somebody else.
    pub fn strangers(
        &self,
        unpacked: &Unpacked,
        is_other: impl Fn(&crate::system::files::Meta) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let mut others = Vec::new();
        for (name, entry) in &unpacked.entries {
            let path = self.directory.join(name);
            if matches!(entry, Entry::Directory { made: false }) || self.is_declared(&path) {
                continue;
            }
            if see(self.system, &path)?.is_some_and(|there| is_other(&there)) {
                others.push(name.clone());
            }
        }
        Ok(others)
    }

    /// Gives all that was unpacked here to its owner and group.
    pub fn own_all(&self, unpacked: &Unpacked) -> Result<(), Failure> {
        for (name, entry) in &unpacked.entries {
            let path = self.directory.join(name);
            if matches!(entry, Entry::Directory { made: false }) || self.is_declared(&path) {
                continue;
            }
            if let Some(there) = see(self.system, &path)? {
                self.own(&path, &there)?;
            }
            in_time(self.system, self.directory)?;
        }
        Ok(())
    }

    /// The times of the files as they are now: what shows later that nobody has changed them.
    pub fn note_times(&self, entries: &mut BTreeMap<String, Entry>) -> Result<(), Failure> {
        for (name, entry) in entries.iter_mut() {
            if let Entry::File { modified, .. } = entry
                && let Some(there) = see(self.system, &self.directory.join(name))?
            {
                *modified = there.modified;
            }
        }
        Ok(())
    }
}

/// In a plan: what was changed since it was unpacked, and would be replaced.
pub fn brief(names: &[String]) -> String {
    format!("{} off: {}", names.len(), named(names))
}
