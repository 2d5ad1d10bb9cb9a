//! systemd makes units of /etc/fstab when it is loaded, and has to be told of a change.

use std::path::PathBuf;
use std::time::SystemTime;

use super::fstab;
use crate::resource::Failure;
use crate::system::System;

/// Touched by systemd at each load of its units; mount(8) goes by it too.
const LOADED: &str = "run/systemd/systemd-units-load";

/// Whether systemd runs this machine, and /etc/fstab was changed since it read it.
fn is_stale(system: &System) -> bool {
    let changed = |path: PathBuf| std::fs::metadata(path).and_then(|there| there.modified()).ok();
    let table = changed(system.root().join(fstab::PATH.trim_start_matches('/')));
    let loaded = changed(system.root().join(LOADED));
    // A time that is still to come says nothing, and would say so for ever.
    table.zip(loaded).is_some_and(|(table, loaded)| table > loaded && table <= SystemTime::now())
}

/// The same, where it is not just another mount of this run that has put its line in, and is about to
/// tell systemd.
pub fn stays_stale(system: &System) -> Result<bool, Failure> {
    if !is_stale(system) {
        return Ok(false);
    }
    let _turn = system.turn(fstab::TURN)?;
    Ok(is_stale(system))
}

/// Tells it, unless somebody else has done so by now.
pub fn reload(system: &System) -> Result<(), Failure> {
    if !is_stale(system) {
        return Ok(());
    }
    let _turn = system.turn("systemd")?;
    if !is_stale(system) {
        return Ok(());
    }
    let output = system.tool(["systemctl", "daemon-reload"])?;
    if output.succeeded() { Ok(()) } else { Err(output.failure("telling systemd of /etc/fstab")) }
}
