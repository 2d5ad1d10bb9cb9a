//! Mounts among what else a spec declares: order, what a plan can know, one run, and a reboot.

mod support;

use std::path::Path;

use support::lab::Lab;
use support::loops::{DISKS, loop_devices};
use support::{Ran, has_lab, program};

/// A host with converge on it, and the file systems that the specs mount.
struct Machine {
    lab: Lab,
    _loops: std::fs::File,
}

impl Machine {
    fn up(name: &str) -> Option<Machine> {
        if !has_lab() {
            return None;
        }
        let lab = Lab::up(name, &["h"]);
        let converge = std::fs::read(Path::new(program())).expect("the program is built");
        lab.put_mode("h", "/usr/local/bin/converge", converge, "755");
        Some(Machine { lab, _loops: loop_devices() })
    }

    fn converge(&self, verb: &str, spec: &str) -> Ran {
        self.lab.put("h", "/root/spec.yaml", spec);
        let out = self.lab.ssh("h", &format!("converge {verb} --format json spec.yaml"));
        Ran { code: out.status, stdout: out.stdout, stderr: out.stderr }
    }

    /// One run makes it so, and a second has nothing to do.
    #[track_caller]
    fn one_run(&self, spec: &str) -> Ran {
        let first = self.converge("apply", spec).expect(0);
        let second = self.converge("apply", spec).expect(0);
        assert_eq!(second.summary()["changed"], 0, "{}", second.stdout);
        first
    }

    /// A loop device with a file system whose root belongs to somebody else; None where this machine
    /// gives its hosts none.
    fn disk(&self) -> Option<String> {
        let made = format!(
            "set -e; mkdir -p {DISKS}; truncate -s 16M {DISKS}/disk; mkfs.ext4 -q -L data {DISKS}/disk; \
                    l=$(losetup -f --show {DISKS}/disk); mount $l /mnt; chown 1000:1000 /mnt; chmod 700 /mnt; \
                    echo inside > /mnt/there; umount /mnt; echo $l"
        );
        let out = self.lab.ssh("h", &made);
        if !out.ok() {
            eprintln!("left out: no loop devices on this host: {}{}", out.stdout, out.stderr);
        }
        out.ok().then(|| out.stdout.trim().to_owned())
    }
}

#[test]
fn what_lies_under_a_mount_that_is_yet_to_be_made_is_not_known_in_a_plan_and_right_after_one_run() {
    let Some(machine) = Machine::up("mounts") else { return };
    let Some(disk) = machine.disk() else { return };
    // A file of the same name is there now, and will be hidden.
    machine.lab.must("h", "mkdir -p /srv/data; echo outside > /srv/data/there");
    let spec = format!(
        "resources:
  - file: /srv/data/there
    content: \"new\\n\"
  - file: /srv/data/sub/new
    content: \"new\\n\"
  - directory: /srv/data/sub
  - mount: /srv/data
    device: {disk}
    fstype: ext4
    options: noatime
  - directory: /srv/data
    owner: root
    group: root
    mode: 751
"
    );
    let plan = machine.converge("plan", &spec).expect(2);
    assert_eq!(plan.status("localhost/mount:/srv/data"), "changed");
    assert_eq!(plan.status("localhost/directory:/srv/data"), "changed");
    for id in ["file:/srv/data/there", "directory:/srv/data/sub", "file:/srv/data/sub/new"] {
        let event = plan.resource(&format!("localhost/{id}"));
        assert_eq!(event["status"], "unknown", "{event}");
        assert_eq!(event["reason"], "not known until localhost/mount:/srv/data is in place", "{event}");
    }
    let ran = machine.one_run(&spec);
    assert_eq!(ran.summary()["changed"], 5, "{}", ran.stdout);
    let there = machine.lab.must("h", "stat -c '%U %G %a' /srv/data; cat /srv/data/there /srv/data/sub/new");
    assert_eq!(there, "root root 751\nnew\nnew\n", "the directory is about what is visible there");
    // Only its options are off: what lies below can be seen, and is judged.
    machine.lab.must("h", "mount -o remount,atime,ro /srv/data");
    let plan = machine.converge("plan", &spec).expect(2);
    assert_eq!(
        (&plan.summary()["unknown"], &plan.summary()["changed"]),
        (&0.into(), &1.into()),
        "{}",
        plan.stdout
    );
    machine.one_run(&spec);

    // It comes off: what it hid is seen again, and judged then.
    let gone = "resources:
  - directory: /srv/data
    mode: 750
  - file: /srv/data/there
    content: \"outside\\n\"
  - mount: /srv/data
    state: absent
";
    let plan = machine.converge("plan", gone).expect(2);
    for id in ["directory:/srv/data", "file:/srv/data/there"] {
        let event = plan.resource(&format!("localhost/{id}"));
        assert_eq!(event["reason"], "not known until localhost/mount:/srv/data is unmounted", "{event}");
    }
    machine.one_run(gone);
    assert_eq!(machine.lab.must("h", "stat -c %a /srv/data; cat /srv/data/there"), "750\noutside\n");
    assert!(!machine.lab.must("h", "cat /etc/fstab /proc/mounts").contains("/srv/data"));
}

#[test]
fn mounts_go_with_their_mount_points_in_one_run_the_inner_one_first() {
    let Some(machine) = Machine::up("mounts-gone") else { return };
    let made = "resources:
  - directory: /srv/outer
  - mount: /srv/outer
    device: tmpfs
    fstype: tmpfs
  - directory: /srv/outer/inner
  - mount: /srv/outer/inner
    device: tmpfs
    fstype: tmpfs
    options: size=1m
  - file: /srv/outer/inner/f
";
    machine.one_run(made);
    let mut gone = String::from("resources:\n");
    for id in ["directory: /srv/outer", "mount: /srv/outer", "mount: /srv/outer/inner"] {
        gone.push_str(&format!("  - {id}\n    state: absent\n"));
    }
    let ran = machine.one_run(&gone);
    assert_eq!(ran.summary()["changed"], 3, "{}", ran.stdout);
    assert_eq!(machine.lab.ssh("h", "ls -d /srv/outer; grep outer /proc/mounts /etc/fstab").stdout, "");
}

#[test]
fn what_is_declared_is_mounted_again_by_a_reboot_and_holds() {
    let Some(machine) = Machine::up("mounts-boot") else { return };
    let spec = "resources:
  - directory: /srv/scratch
    mode: 1777
  - mount: /srv/scratch
    device: tmpfs
    fstype: tmpfs
    options: [size=8m, nosuid, nodev, mode=1777]
  - directory: /srv/my docs
  - mount: /srv/my docs
    device: /usr/share
    options: bind,ro
";
    // Many side by side: the line of one must not make systemd's knowledge of another's an old one.
    let mut spec = spec.to_owned();
    for number in 0..12 {
        let point = format!("/srv/many/{number}");
        spec.push_str(&format!(
            "  - directory: {point}\n  - mount: {point}\n    device: tmpfs\n    fstype: tmpfs\n"
        ));
    }
    let spec = &spec;
    machine.one_run(spec);
    machine.lab.power_cut("h");
    machine.lab.boot("h");
    let plan = machine.converge("plan", spec).expect(0);
    assert_eq!(plan.summary()["ok"], 4 + 2 * 12, "{}", plan.stdout);
    let mounted =
        machine.lab.must("h", "findmnt -rno TARGET,OPTIONS /srv/scratch; findmnt -rno TARGET '/srv/my docs'");
    assert!(
        mounted.contains("/srv/scratch rw,nosuid,nodev") && mounted.contains("/srv/my\\x20docs"),
        "{mounted}"
    );
}
