//! What converge has to remember on a host because nothing there shows it: what a command was last
//! run for, what was unpacked from an archive. Records outlive a boot; they are written whole, and
//! only after what they tell of is done, so that a cut run leaves the one before it.
//!
//! They may hold hashes of contents, and a hash tells of a guessable secret: so a record is its
//! user's alone.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::attribute::{AbsPath, Mode, sha256_hex};
use crate::system::System;
use crate::system::files::{Access, Seen};

/// The record of one thing.
pub struct Record {
    kind: &'static str,
    name: String,
}

impl Record {
    /// `kind` is a directory's name (`commands`), `name` fit for a file's.
    pub fn of(kind: &'static str, name: impl Into<String>) -> Record {
        Record { kind, name: name.into() }
    }

    /// The record of what lies at a path.
    pub fn of_path(kind: &'static str, path: &AbsPath) -> Record {
        Record::of(kind, sha256_hex(path.as_str().as_bytes()))
    }

    /// None where there is none. So it is with one that cannot be understood: what it told of is
    /// then done once more, which writes a good one.
    pub fn read<T: DeserializeOwned>(&self, system: &System) -> Result<Option<T>, Failure> {
        let bytes = system.read_if_there(&self.path(system)?)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub fn write<T: Serialize>(&self, system: &System, value: &T) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Failure::new(format!("writing the record: {error}")))?;
        let private = Access { mode: Some(Mode::from_bits(0o700)), ..Access::default() };
        system.ensure_directory(&directory(system, self.kind)?, private)?;
        let access = Access { mode: Some(Mode::from_bits(0o600)), ..Access::default() };
        system.put_file(&self.path(system)?, &bytes, access, |_| Ok(()))
    }

    pub fn remove(&self, system: &System) -> Result<(), Failure> {
        let path = self.path(system)?;
        match system.see(&path)? {
            Seen::There(_) => system.remove_file(&path),
            Seen::Absent | Seen::NoParent(_) => Ok(()),
        }
    }

    fn path(&self, system: &System) -> Result<AbsPath, Failure> {
        Ok(directory(system, self.kind)?.join(&format!("{}.json", self.name)))
    }
}

/// Of root: below /var/lib/converge. Of others: below their home.
fn directory(system: &System, kind: &str) -> Result<AbsPath, Failure> {
    let me = rustix::process::geteuid();
    let state = if me.is_root() {
        "/var/lib/converge".to_owned()
    } else {
        let name = system.user_name(me.as_raw());
        let home = system.account(&name)?.map(|account| account.home);
        let home = home.or_else(|| std::env::var("HOME").ok());
        let home = home.ok_or_else(|| {
            Failure::new(format!("the user {name} has no home to keep the record of {kind} in"))
        })?;
        format!("{}/.local/state/converge", home.trim_end_matches('/'))
    };
    state.parse().map(|state: AbsPath| state.join(kind)).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_record_is_private_and_one_that_is_broken_is_none() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("var/lib")).unwrap();
        let system = System::under(root.path());
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let record = Record::of_path("archives", &"/opt/app".parse().unwrap());
        assert_eq!(record.read::<u8>(&system), Ok(None));
        record.write(&system, &7).unwrap();
        assert_eq!(record.read::<u8>(&system), Ok(Some(7)));
        let path = system.locate(&record.path(&system).unwrap());
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(record.read::<u8>(&system), Ok(None));
        record.remove(&system).unwrap();
        record.remove(&system).unwrap();
        assert!(!path.exists());
    }
}
