//! What a command with `on_change_of` was last run for, kept on the host it ran on.

use std::collections::BTreeMap;

use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::resource::record::Record;
use crate::system::System;

type Contents = BTreeMap<AbsPath, String>;

fn record(name: &str) -> Record {
    Record::of("commands", name)
}

/// Empty where it never ran.
pub fn read(system: &System, name: &str) -> Result<Contents, Failure> {
    Ok(record(name).read(system)?.unwrap_or_default())
}

/// Adds these to the record. What it knows of other paths stays: another spec may run the same
/// command for them.
pub fn write(system: &System, name: &str, contents: &Contents) -> Result<(), Failure> {
    let mut all = read(system, name)?;
    all.extend(contents.iter().map(|(path, content)| (path.clone(), content.clone())));
    record(name).write(system, &all)
}
