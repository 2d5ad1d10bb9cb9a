//! What a command with `on_change_of` was last run for, kept on the host it ran on. It is written
//! only after the command succeeded, and whole: what a cut run leaves is the record before it.
//!
//! It holds hashes of contents. Where a content is a guessable secret its hash tells of it, so the
//! record is its user's alone, as such a file must be.

use std::collections::BTreeMap;

use crate::attribute::{AbsPath, Mode};
use crate::resource::Failure;
use crate::system::System;
use crate::system::files::{Access, Seen};

type Contents = BTreeMap<AbsPath, String>;

fn path(system: &System, name: &str) -> Result<AbsPath, Failure> {
    Ok(directory(system)?.join(&format!("{name}.json")))
}

/// Of root: /var/lib/converge/commands. Of others: below their home.
fn directory(system: &System) -> Result<AbsPath, Failure> {
    let me = rustix::process::geteuid();
    let state = if me.is_root() {
        "/var/lib/converge".to_owned()
    } else {
        let name = system.user_name(me.as_raw());
        let home = system.account(&name)?.map(|account| account.home);
        let home = home.or_else(|| std::env::var("HOME").ok());
        let home = home.ok_or_else(|| {
            Failure::new(format!("the user {name} has no home to keep the record of commands in"))
        })?;
        format!("{}/.local/state/converge", home.trim_end_matches('/'))
    };
    state.parse().map(|state: AbsPath| state.join("commands")).map_err(Failure::new)
}

/// Empty where it never ran. So is a record that cannot be understood: once more is right then,
/// and writes a good one.
pub fn read(system: &System, name: &str) -> Result<Contents, Failure> {
    let bytes = system.read_if_there(&path(system, name)?)?.unwrap_or_default();
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Adds these to the record. What it knows of other paths stays: another spec may run the same
/// command for them.
pub fn write(system: &System, name: &str, contents: &Contents) -> Result<(), Failure> {
    let mut all = read(system, name)?;
    all.extend(contents.iter().map(|(path, content)| (path.clone(), content.clone())));
    let bytes =
        serde_json::to_vec(&all).map_err(|error| Failure::new(format!("writing the record: {error}")))?;
    make_private(system, &directory(system)?)?;
    let access = Access { mode: Some(Mode::from_bits(0o600)), ..Access::default() };
    system.put_file(&path(system, name)?, &bytes, access, |_| Ok(()))
}

fn make_private(system: &System, directory: &AbsPath) -> Result<(), Failure> {
    if let Some(parent) = directory.parent()
        && matches!(system.see(directory)?, Seen::NoParent(_))
    {
        make_private(system, &parent)?;
    }
    if matches!(system.see(directory)?, Seen::There(_)) {
        return Ok(());
    }
    let access = Access { mode: Some(Mode::from_bits(0o700)), ..Access::default() };
    match system.make_directory(directory, access) {
        // A command beside this one has made it meanwhile.
        Err(_) if matches!(system.see(directory), Ok(Seen::There(_))) => Ok(()),
        made => made,
    }
}
