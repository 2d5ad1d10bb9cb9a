//! Loop devices are the whole machine's, whichever host or lab takes them.

use std::fs::File;

/// Whoever has this is the only test with loop devices, until it is dropped.
pub fn loop_devices() -> File {
    let path = std::env::temp_dir().join("converge-loop-devices.lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.lock().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file
}
