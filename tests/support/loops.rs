//! Loop devices are the whole machine's, whichever host or lab takes them.

use std::fs::File;
use std::process::Command;

/// Where the hosts have the files behind them: what a killed test left is known by that.
pub const DISKS: &str = "/srv/cvg-disks";

/// Whoever has this is the only test with loop devices, until it is dropped.
pub fn loop_devices() -> File {
    let path = std::env::temp_dir().join("converge-loop-devices.lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.lock().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // Nobody has any now: what there is was left behind. Two disks of one UUID are none.
    let list = Command::new("losetup").args(["--noheadings", "--output", "NAME,BACK-FILE"]).output();
    let list = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let left = list.lines().filter_map(|line| line.split_once(' ')).filter(|(_, file)| file.contains(DISKS));
    for (device, _) in left {
        let detached = Command::new("losetup").args(["--detach", device]).status();
        assert!(detached.is_ok_and(|status| status.success()), "{device} of an earlier test stays");
    }
    file
}
