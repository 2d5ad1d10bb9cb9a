//! What needs no real mount: tables of mounts as kernels have them. From every start on a real
//! host: tests/types/mount.rs.

use serde_json::{Value, json};

use super::*;
use crate::resource::Change;

const ROOT: &str = "1 0 8:1 / / rw - ext4 /dev/root rw\n";

struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new(mounts: &str, fstab: &str) -> Machine {
        let root = tempfile::tempdir().unwrap();
        for directory in ["proc/self", "etc", "srv/x", "var", "run/x"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        std::os::unix::fs::symlink("/run", root.path().join("var/run")).unwrap();
        std::fs::write(root.path().join("proc/self/mountinfo"), format!("{ROOT}{mounts}")).unwrap();
        std::fs::write(root.path().join("etc/fstab"), fstab).unwrap();
        Machine { root }
    }

    fn check(&self, declared: Value) -> Result<Check, Failure> {
        mount(declared).check(&System::under(self.root.path().canonicalize().unwrap()))
    }
}

fn mount(declared: Value) -> Mount {
    let mount: Mount = serde_json::from_value(declared).unwrap();
    assert_eq!(mount, serde_json::from_str(&serde_json::to_string(&mount).unwrap()).unwrap());
    mount
}

fn off(check: Check) -> Vec<String> {
    match check {
        Check::Holds => Vec::new(),
        Check::Needs(needed) => {
            needed.changes.into_iter().map(|Change { attribute, .. }| attribute).collect()
        }
        Check::Waits(waiting) => vec![waiting.reason],
    }
}

#[test]
fn shares_and_pools_are_compared_as_they_are_written() {
    let nfs = "2 1 0:50 / /srv/x rw,relatime - nfs4 server:/export rw,vers=4.2,rsize=1048576,addr=10.0.0.1\n";
    let cifs = "2 1 0:50 / /srv/x rw - cifs //server/share rw,vers=3.1.1,username=a\n";
    let zfs = "2 1 0:50 / /srv/x rw - zfs tank/data rw,xattr\n";
    let sshfs = "2 1 0:50 / /srv/x rw,nosuid,nodev - fuse.sshfs a@server:/b rw,user_id=0\n";
    let table = [
        (nfs, "server:/export", "nfs", "vers=4,rsize=65536,_netdev", vec![]),
        (nfs, "server:/export/", "nfs4", "defaults", vec![]),
        (nfs, "other:/export", "nfs", "defaults", vec!["device"]),
        (nfs, "server:/export", "nfs", "ro", vec!["options"]),
        (cifs, "//server/share", "cifs", "credentials=/etc/c", vec![]),
        (cifs, "//server/other", "cifs", "credentials=/etc/c", vec!["device"]),
        (zfs, "tank/data", "zfs", "defaults", vec![]),
        (sshfs, "a@server:/b", "fuse.sshfs", "allow_other", vec![]),
        (sshfs, "a@server:/b", "sshfs", "allow_other", vec![]),
    ];
    for (mounts, device, fstype, options, wanted) in table {
        let line = format!("{device} /srv/x {fstype} {options} 0 0\n");
        let declared = json!({"mount": "/srv/x", "device": device, "fstype": fstype, "options": options});
        // Another one needs its helper, which only looks at what is there once it is off.
        let found = off(Machine::new(mounts, &line).check(declared).unwrap());
        assert_eq!(found, wanted, "{device} {fstype} {options}");
    }
}

#[test]
fn an_automount_that_waits_is_mounted_for_whoever_looks_and_cannot_be_kept_off() {
    let waits = "2 1 0:40 / /srv/x rw - autofs systemd-1 rw,fd=1,pgrp=1\n";
    let line = "server:/export /srv/x nfs noauto,x-systemd.automount 0 0\n";
    let declared = json!({"mount": "/srv/x", "device": "server:/export", "fstype": "nfs"});
    let machine = Machine::new(waits, line);
    assert_eq!(machine.check(declared.clone()), Ok(Check::Holds));
    let both = format!("{waits}3 2 0:50 / /srv/x rw - nfs4 server:/export rw\n");
    assert_eq!(Machine::new(&both, line).check(declared), Ok(Check::Holds));
    for state in ["absent", "unmounted"] {
        let refused = machine.check(json!({"mount": "/srv/x", "state": state})).unwrap_err();
        assert!(
            refused.reason.contains("is an automount") && refused.help.unwrap().contains("systemctl stop")
        );
    }
}

#[test]
fn a_mount_is_found_by_links_on_its_way_and_not_where_another_hides_it() {
    let there = "2 1 0:50 / /run/x rw - tmpfs tmpfs rw\n";
    let declared = |path: &str| json!({"mount": path, "device": "tmpfs", "fstype": "tmpfs"});
    for (path, line) in [("/var/run/x", "/run/x"), ("/run/x", "/run/x"), ("/var/run/x", "/var/run/x")] {
        let machine = Machine::new(there, &format!("tmpfs {line} tmpfs defaults 0 0\n"));
        assert_eq!(machine.check(declared(path)), Ok(Check::Holds), "{path} {line}");
    }
    let hidden = format!("{there}3 1 0:51 / /run rw - tmpfs tmpfs rw\n");
    let machine = Machine::new(&hidden, "tmpfs /run/x tmpfs defaults 0 0\n");
    assert_eq!(off(machine.check(declared("/run/x")).unwrap()), ["state"]);
}

#[test]
fn a_helper_that_is_missing_is_a_package_that_is_lacking() {
    let machine = Machine::new("", "");
    for (fstype, device, package) in [
        ("nfs", "server:/x", "nfs-utils"),
        ("cifs", "//server/x", "cifs-utils"),
        ("sshfs", "server:", "fuse-sshfs"),
    ] {
        let declared = json!({"mount": "/srv/x", "device": device, "fstype": fstype});
        let links = mount(declared.clone()).links();
        let Ok(Check::Needs(needed)) = machine.check(declared) else { panic!("{fstype}") };
        assert_eq!(needed.lacks.len(), 1);
        let thing = Thing::Package(package.to_owned());
        assert_eq!((&needed.lacks[0].thing, needed.lacks[0].help.contains(package)), (&thing, true));
        assert!(links.stands_on.iter().any(|(on, why)| *on == thing && *why == "has its mount helper"));
    }
    std::fs::create_dir_all(machine.root.path().join("sbin")).unwrap();
    std::fs::write(machine.root.path().join("sbin/mount.nfs"), "").unwrap();
    let declared = json!({"mount": "/srv/x", "device": "server:/x", "fstype": "nfs"});
    let Ok(Check::Needs(needed)) = machine.check(declared) else { panic!() };
    assert_eq!(needed.lacks, []);
}

#[test]
fn what_an_unmounted_mount_says_of_its_line_is_held_and_without_a_device_nothing_is() {
    let line = "LABEL=usb /srv/x vfat noauto 0 0\n";
    let table = [
        (json!({"state": "unmounted"}), vec![]),
        (json!({"state": "unmounted", "device": "LABEL=usb", "options": "noauto"}), vec![]),
        (json!({"state": "unmounted", "device": "LABEL=usb", "options": "noauto,user"}), vec!["options"]),
        (json!({"state": "present", "device": "LABEL=other"}), vec!["device"]),
        (
            json!({"state": "present", "device": "LABEL=usb", "fstype": "ext4", "pass": 2}),
            vec!["fstype", "pass"],
        ),
    ];
    for (attributes, wanted) in table {
        let mut declared = attributes;
        declared["mount"] = json!("/srv/x");
        let found = off(Machine::new("", line).check(declared.clone()).unwrap());
        assert_eq!(found, wanted, "{declared}");
    }
}

#[test]
fn in_a_plan_only_what_moves_hides_what_lies_below() {
    let needed = |changes: &[(&str, Option<&str>)]| Needed {
        action: crate::resource::Action::Change,
        changes: changes
            .iter()
            .map(|(name, from)| Change::new(name, from.map(str::to_owned), None))
            .collect(),
        lacks: Vec::new(),
    };
    let table = [
        ("mounted", needed(&[("state", Some("absent"))]), true),
        ("mounted", needed(&[("device", Some("x")), ("fstype", None)]), true),
        ("mounted", needed(&[("options", Some("ro"))]), false),
        ("mounted", needed(&[("fstab", None)]), false),
        ("present", needed(&[("state", Some("absent"))]), false),
        ("absent", needed(&[("state", Some("mounted"))]), true),
        ("absent", needed(&[("state", Some("present"))]), false),
    ];
    for (state, needed, hides) in table {
        let declared = match state {
            "absent" => json!({"mount": "/srv/x", "state": state}),
            _ => json!({"mount": "/srv/x", "state": state, "device": "/dev/a"}),
        };
        assert_eq!(mount(declared).leads_elsewhere(Some(&needed)), hides, "{state} {needed:?}");
    }
    assert!(mount(json!({"mount": "/srv/x", "state": "absent"})).leads_elsewhere(None));
}
