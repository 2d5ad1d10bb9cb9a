//! Where a user's keys are, what there is of it now, and who may read and write it.

use super::AuthorizedKey;
use crate::attribute::{AbsPath, Mode};
use crate::resource::common::no_directory;
use crate::resource::user::label;
use crate::resource::{Change, Failure, Lack};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};
use crate::system::users::Account;

/// Where sshd looks without an `AuthorizedKeysFile` of its own, below ~/.ssh.
pub const FILE: &str = "authorized_keys";

/// It looks here too: what must not be in the one must not be in the other.
pub const SECOND_FILE: &str = "authorized_keys2";

pub const DIRECTORY_MODE: u32 = 0o700;
pub const FILE_MODE: u32 = 0o600;

/// What there is of the user's keys.
pub struct Place {
    pub account: Account,
    pub directory: AbsPath,
    /// None: there is none yet.
    pub directory_meta: Option<Meta>,
    /// Each file that is there; the first is the one to write to.
    pub files: Vec<There>,
    pub file: AbsPath,
}

pub struct There {
    pub path: AbsPath,
    pub meta: Meta,
    pub text: Vec<u8>,
}

impl AuthorizedKey {
    /// What is there. Err within: the home is not.
    pub(super) fn look(&self, system: &System, account: Account) -> Result<Result<Place, Lack>, Failure> {
        let told = |why: String| {
            Failure::new(format!("the home of {} in /etc/passwd cannot hold keys: {why}", self.user))
                .help("give the user another `home`")
        };
        let home: AbsPath = account.home.parse().map_err(told)?;
        let directory = home.join(".ssh");
        let file = directory.join(FILE);
        let directory_meta = match system.see(&directory)? {
            Seen::NoParent(_) => return Ok(Err(no_directory(&home))),
            Seen::Absent => None,
            Seen::There(meta) if meta.kind == Kind::Directory => Some(meta),
            Seen::There(meta) => {
                return Err(Failure::new(format!("{directory} is {}, and must be a directory", meta.kind))
                    .help(format!(
                        "look at it, and move it away: nothing is written through what {} may have put there",
                        self.user
                    )));
            }
        };
        let mut files = Vec::new();
        if directory_meta.is_some() {
            for path in [file.clone(), directory.join(SECOND_FILE)] {
                files.extend(self.read(system, path, account.uid)?);
            }
        }
        Ok(Ok(Place { account, directory, directory_meta, files, file }))
    }

    fn read(&self, system: &System, path: AbsPath, uid: u32) -> Result<Option<There>, Failure> {
        let Seen::There(meta) = system.see(&path)? else { return Ok(None) };
        let strange = |what: String| {
            Failure::new(format!("{path} {what}, and is left alone")).help(format!(
                "look at it, and remove it: {} may have put it there to have something else read or written",
                self.user
            ))
        };
        if meta.kind != Kind::File {
            return Err(strange(format!("is {}", meta.kind)));
        }
        // What root reads here is written where the user can read it.
        if meta.uid != uid && meta.has_other_names {
            return Err(strange("has another name too, and is not the user's".to_owned()));
        }
        let text = system.read_file(&path)?;
        Ok(Some(There { path, meta, text }))
    }

    /// What keeps sshd from taking the key.
    pub(super) fn access_change(&self, system: &System, place: &Place) -> Vec<Change> {
        let mut changes = Vec::new();
        let is = |meta: &Meta| format!("{} {}", meta.mode, system.user_name(meta.uid));
        match &place.directory_meta {
            None => changes.push(Change::new("directory", None, Some(self.wanted_access(DIRECTORY_MODE)))),
            Some(meta)
                if self.has_own_resource(&place.directory) || is_right(meta, place, DIRECTORY_MODE) => {}
            Some(meta) => {
                changes.push(Change::from_to("directory", is(meta), self.wanted_access(DIRECTORY_MODE)))
            }
        }
        let first = place.files.iter().find(|there| there.path == place.file);
        if let Some(there) = first
            && !self.has_own_resource(&there.path)
            && !is_right(&there.meta, place, FILE_MODE)
        {
            changes.push(Change::from_to("file", is(&there.meta), self.wanted_access(FILE_MODE)));
        }
        changes
    }

    pub(super) fn mend_directory(
        &self,
        system: &System,
        place: &Place,
        owner: Access,
    ) -> Result<(), Failure> {
        let access = Access { mode: Some(Mode::from_bits(DIRECTORY_MODE)), ..owner };
        match &place.directory_meta {
            None => {
                system.make_directory(&place.directory, access)?;
                label(system, &place.directory)
            }
            Some(meta)
                if self.has_own_resource(&place.directory) || is_right(meta, place, DIRECTORY_MODE) =>
            {
                Ok(())
            }
            Some(_) => system.set_access(&place.directory, access),
        }
    }

    /// Of a file that is there, when it is written.
    pub(super) fn access_of(&self, there: &There, owner: Access) -> Access {
        let is_kept =
            self.has_own_resource(&there.path) || there.path.file_name() != FILE || !self.is_there();
        match is_kept {
            true => {
                Access { uid: Some(there.meta.uid), gid: Some(there.meta.gid), mode: Some(there.meta.mode) }
            }
            false => Access { mode: Some(Mode::from_bits(FILE_MODE)), ..owner },
        }
    }
}

fn is_right(meta: &Meta, place: &Place, mode: u32) -> bool {
    meta.uid == place.account.uid && meta.mode == Mode::from_bits(mode)
}
