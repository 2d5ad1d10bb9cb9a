//! `mount` from every start, and what mounts are known to go wrong with.

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

use converge::resource::Check;
use serde_json::{Value, json};

use crate::agent::{Host, host, resource};
use crate::loops::loop_devices;
use crate::table::Table;

/// There is one /etc/fstab: tests that look at all of it go one after the other.
static FSTAB: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    FSTAB.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unmounts all that is below /srv/cvg-mount, takes its lines out of fstab, and removes it.
const CLEAR: &str = "for i in 1 2 3 4 5 6; do umount -R /srv/cvg-mount/* 2>/dev/null; done; \
     if grep -q /srv/cvg-mount /etc/fstab; then sed -i '\\#/srv/cvg-mount#d' /etc/fstab; systemctl daemon-reload; fi; \
     rm -rf --one-file-system /srv/cvg-mount";

/// With the mounts' ids, which a mount that was made again would not keep.
const LOOK: &str = "grep ' /srv/cvg-mount/' /proc/self/mountinfo; stat -c '%i %Y %Z %a %U' /etc/fstab; \
     cat /etc/fstab; stat -c '%n %F %i %Y %Z' /srv/cvg-mount/* 2>&1; true";

fn table(host: &Host, declared: Value) -> Table<'_> {
    Table { host, agent: host.agent(), word: "mount", declared, clear: CLEAR, look: LOOK }
}

/// A line in fstab that systemd has been told of.
fn in_fstab(line: &str) -> String {
    format!("echo '{line}' >> /etc/fstab; systemctl daemon-reload")
}

#[test]
fn a_tmpfs_from_every_start() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let declared = json!({
        "mount": "/srv/cvg-mount/t", "device": "tmpfs", "fstype": "tmpfs", "options": "size=8m,nosuid,nodev"
    });
    let mut table = table(&host, declared);
    let line = in_fstab("tmpfs /srv/cvg-mount/t tmpfs size=8m,nosuid,nodev 0 0");
    let mounted = "mount -t tmpfs -o size=8m,nosuid,nodev tmpfs /srv/cvg-mount/t";
    let other = |options: &str| format!("mount -t tmpfs -o {options} tmpfs /srv/cvg-mount/t");
    let row = |table: &mut Table<'_>, start, steps: &[&str], off: &[&str]| {
        table.row(start, &format!("mkdir -p /srv/cvg-mount/t; {}", steps.join("; ")), off);
    };
    row(&mut table, "absent", &["true"], &["state", "device", "fstype", "options"]);
    row(&mut table, "right", &[&line, mounted], &[]);
    row(&mut table, "in fstab, and not mounted", &[&line], &["state"]);
    row(&mut table, "mounted, and not in fstab", &[mounted], &["fstab"]);
    row(&mut table, "another size on the mount", &[&line, &other("size=4m,nosuid,nodev")], &["options"]);
    row(&mut table, "no size on the mount", &[&line, &other("nosuid,nodev")], &["options"]);
    row(&mut table, "a flag too many", &[&line, &other("size=8m,nosuid,nodev,noexec")], &["options"]);
    row(&mut table, "a flag too few", &[&line, &other("size=8m,nosuid")], &["options"]);
    row(&mut table, "read-only", &[&line, &other("ro,size=8m,nosuid,nodev")], &["options"]);
    let options = in_fstab("tmpfs /srv/cvg-mount/t tmpfs size=4m 0 0");
    row(&mut table, "other options in fstab", &[&options, mounted], &["options"]);
    let both = other("size=4m");
    row(&mut table, "other options in both", &[&options, &both], &["options"]);
    let order = in_fstab("tmpfs /srv/cvg-mount/t/ tmpfs nodev,nosuid,size=8m 1 2");
    row(&mut table, "what is not declared, and spelling", &[&order, mounted], &[]);
    let word = in_fstab("none /srv/cvg-mount/t ramfs size=8m,nosuid,nodev 0 0");
    row(&mut table, "another device and type in fstab", &[&word, mounted], &["device", "fstype"]);
    row(&mut table, "another type mounted", &[&line, "mount -t ramfs x /srv/cvg-mount/t"], &["fstype"]);
    row(&mut table, "two lines", &[&line, &word, mounted], &["fstab"]);
    row(&mut table, "mounted twice", &[&line, mounted, mounted], &[]);
    let over = "mount --bind /etc /srv/cvg-mount/t";
    row(&mut table, "something mounted over it", &[&line, mounted, over], &["device"]);
    row(&mut table, "something else mounted there", &[&line, over], &["fstype"]);
    let untold = "sleep 0.05; echo 'tmpfs /srv/cvg-mount/t tmpfs size=8m,nosuid,nodev 0 0' >> /etc/fstab";
    row(&mut table, "systemd was not told", &[untold, mounted], &["systemd"]);
    table.refused("no mount point", "true", "its mount point /srv/cvg-mount/t does not exist");
    table.refused("a file", "mkdir -p /srv/cvg-mount; echo x > /srv/cvg-mount/t", "is a file");
    table.refused("a link", "mkdir -p /srv/cvg-mount/x; ln -s x /srv/cvg-mount/t", "is a symlink");
    let full = format!(
        "mkdir -p /srv/cvg-mount/t; {}; mount -t ramfs x /srv/cvg-mount/t; touch /srv/cvg-mount/t/f",
        line
    );
    table.refused("memory that is not empty", &full, "what is in it would be lost");
}

#[test]
fn bind_mounts_are_not_mounted_again_at_every_run() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let made = "mkdir -p /srv/cvg-mount/b /srv/cvg-mount/src/in /srv/cvg-mount/tmp; \
                ln -sfn src /srv/cvg-mount/link; touch /srv/cvg-mount/src/file /srv/cvg-mount/onto; \
                mount -t tmpfs x /srv/cvg-mount/tmp; mkdir /srv/cvg-mount/tmp/in";
    let mut agent = host.agent();
    for (device, point, options) in [
        ("/srv/cvg-mount/src", "b", "bind"),
        ("/srv/cvg-mount/src/in", "b", "bind,ro"),
        ("/srv/cvg-mount/link/in", "b", "bind,nosuid,noexec"),
        ("/srv/cvg-mount/tmp", "b", "bind"),
        ("/srv/cvg-mount/tmp/in", "b", "rbind"),
        ("/srv/cvg-mount/b", "b", "bind"),
        ("/etc", "b", "bind,ro"),
        ("/srv/cvg-mount/src/file", "onto", "bind"),
        ("/", "b", "bind"),
    ] {
        host.sh(CLEAR);
        host.must(made);
        let declared =
            json!({"mount": format!("/srv/cvg-mount/{point}"), "device": device, "options": options});
        let declared = resource("mount", declared);
        let (first, end) = agent.converge(&declared);
        assert!(end.is_ok() && first.is_some(), "{device} {options}: {first:?} {end:?}");
        let there = host.must(LOOK);
        let of_it = format!(" /srv/cvg-mount/{point} ");
        let count =
            |look: &str| look.lines().filter(|line| line.contains(&of_it) && line.contains(" - ")).count();
        assert_eq!(count(&there), 1, "{device}: {there}");
        for again in 0..3 {
            assert_eq!(agent.converge(&declared), (None, Ok(())), "{device} {options}: run {again}");
        }
        assert_eq!(host.must(LOOK), there, "{device} {options}");
    }
    host.sh(CLEAR);
}

#[test]
fn a_bind_mount_from_every_start() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let declared =
        json!({"mount": "/srv/cvg-mount/b", "device": "/srv/cvg-mount/src", "options": ["bind", "nosuid"]});
    let mut table = table(&host, declared);
    let line = in_fstab("/srv/cvg-mount/src /srv/cvg-mount/b none bind,nosuid 0 0");
    let bind = |from: &str, options: &str| format!("mount -o bind,{options} {from} /srv/cvg-mount/b");
    let mounted = bind("/srv/cvg-mount/src", "nosuid");
    let row = |table: &mut Table<'_>, start, steps: &[&str], off: &[&str]| {
        let made = "mkdir -p /srv/cvg-mount/b /srv/cvg-mount/src /srv/cvg-mount/other";
        table.row(start, &format!("{made}; {}", steps.join("; ")), off);
    };
    row(&mut table, "absent", &["true"], &["state", "device", "options"]);
    row(&mut table, "right", &[&line, &mounted], &[]);
    row(&mut table, "in fstab, and not mounted", &[&line], &["state"]);
    row(&mut table, "mounted, and not in fstab", &[&mounted], &["fstab"]);
    row(&mut table, "another directory", &[&line, &bind("/srv/cvg-mount/other", "nosuid")], &["device"]);
    row(&mut table, "another file system", &[&line, "mount -t tmpfs x /srv/cvg-mount/b"], &["device"]);
    row(&mut table, "read-only", &[&line, &bind("/srv/cvg-mount/src", "ro,nosuid")], &["options"]);
    row(&mut table, "without its flag", &[&line, &bind("/srv/cvg-mount/src", "rw")], &["options"]);
    row(&mut table, "bound twice", &[&line, &mounted, &mounted], &[]);
    let hidden = "mount -t tmpfs x /srv/cvg-mount/b";
    row(&mut table, "hidden under another", &[&line, &mounted, hidden], &["device"]);
    let link = in_fstab("/srv/cvg-mount/link /srv/cvg-mount/b none bind,nosuid 0 0");
    let linked = "ln -s src /srv/cvg-mount/link";
    row(&mut table, "by a link in fstab", &[linked, &link, &mounted], &["device"]);
    let replaced = "mv /srv/cvg-mount/src /srv/cvg-mount/gone; mkdir /srv/cvg-mount/src";
    row(&mut table, "its directory was replaced since", &[&line, &mounted, replaced], &["device"]);
    table.refused(
        "no source",
        "mkdir -p /srv/cvg-mount/b",
        "/srv/cvg-mount/src, which is to be seen here too, does not exist",
    );
    table.refused(
        "a file on a directory",
        "mkdir -p /srv/cvg-mount/b; touch /srv/cvg-mount/src",
        "must be a file",
    );
}

/// Two file systems on loop devices of their own; None where this machine gives its hosts none.
struct Disks<'a> {
    host: &'a Host,
    one: String,
    two: String,
    _loops: File,
}

const UUID: &str = "5e0f6a2c-1d6b-4a53-9f0e-2f6c61d7a001";

impl<'a> Disks<'a> {
    fn new(host: &'a Host) -> Option<Disks<'a>> {
        let loops = loop_devices();
        let made = format!(
            "set -e; mkdir -p /srv/cvg-disks; cd /srv/cvg-disks; rm -f one two; truncate -s 16M one two; \
             mkfs.ext4 -q -U {UUID} -L cvg-one one; mkfs.ext4 -q -L cvg-two two; \
             losetup -f --show one; losetup -f --show two"
        );
        let (code, said) = host.sh(&made);
        let devices: Vec<&str> = said.lines().filter(|line| line.starts_with("/dev/")).collect();
        match (code, devices.as_slice()) {
            (0, [one, two]) => {
                Some(Disks { host, one: (*one).to_owned(), two: (*two).to_owned(), _loops: loops })
            }
            _ => {
                eprintln!("left out: no loop devices on this host: {said}");
                host.sh("losetup -D; rm -rf /srv/cvg-disks");
                None
            }
        }
    }
}

impl Drop for Disks<'_> {
    fn drop(&mut self) {
        self.host.sh(CLEAR);
        self.host.sh(&format!("losetup -d {} {}; rm -rf /srv/cvg-disks", self.one, self.two));
    }
}

#[test]
fn a_disk_by_its_uuid_from_every_start() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let Some(disks) = Disks::new(&host) else { return };
    let (one, two) = (&disks.one, &disks.two);
    let device = format!("UUID={UUID}");
    let declared = json!({
        "mount": "/srv/cvg-mount/e", "device": device, "fstype": "ext4", "options": "noatime,commit=30", "pass": 2
    });
    let mut table = table(&host, declared);
    let line_of = |device: &str, fstype: &str, options: &str, rest: &str| {
        in_fstab(&format!("{device} /srv/cvg-mount/e {fstype} {options} {rest}"))
    };
    let line = line_of(&device, "ext4", "noatime,commit=30", "0 2");
    let mount = |device: &str, options: &str| format!("mount -o {options} {device} /srv/cvg-mount/e");
    let mounted = mount(one, "noatime,commit=30");
    let row = |table: &mut Table<'_>, start, steps: &[&str], off: &[&str]| {
        table.row(start, &format!("mkdir -p /srv/cvg-mount/e; {}", steps.join("; ")), off);
    };
    row(&mut table, "absent", &["true"], &["state", "device", "fstype", "options", "pass"]);
    row(&mut table, "right", &[&line, &mounted], &[]);
    row(&mut table, "in fstab, and not mounted", &[&line], &["state"]);
    row(&mut table, "mounted, and not in fstab", &[&mounted], &["fstab"]);
    let label = line_of("LABEL=cvg-one", "ext4", "noatime,commit=30", "0 2");
    row(&mut table, "by its label in fstab", &[&label, &mounted], &["device"]);
    let path = line_of(one, "ext4", "noatime,commit=30", "0 2");
    row(&mut table, "by its path in fstab", &[&path, &mounted], &["device"]);
    row(&mut table, "another disk", &[&line, &mount(two, "noatime,commit=30")], &["device"]);
    row(&mut table, "with atime", &[&line, &mount(one, "commit=30")], &["options"]);
    row(&mut table, "with another commit", &[&line, &mount(one, "noatime")], &["options"]);
    row(&mut table, "read-only", &[&line, &mount(one, "ro,noatime,commit=30")], &["options"]);
    let auto = line_of(&device, "auto", "noatime,commit=30", "0 2");
    row(&mut table, "another type in fstab", &[&auto, &mounted], &["fstype"]);
    let unchecked = line_of(&device, "ext4", "noatime,commit=30", "");
    row(&mut table, "not checked at boot", &[&unchecked, &mounted], &["pass"]);
    let left = line_of(&device, "ext4", "noatime,commit=30", "1 2");
    row(&mut table, "a dump that is not declared", &[&left, &mounted], &[]);
    row(
        &mut table,
        "under a memory file system",
        &[&line, &mounted, "mount -t tmpfs x /srv/cvg-mount/e"],
        &["device"],
    );
    let other = json!({"mount": "/srv/cvg-mount/e", "device": "UUID=00000000-0000-4000-8000-000000000000"});
    let mut agent = host.agent();
    host.sh(CLEAR);
    host.must("mkdir -p /srv/cvg-mount/e");
    let (_, end) = agent.converge(&resource("mount", other));
    assert_eq!(end, Err("waits: there is no device UUID=00000000-0000-4000-8000-000000000000".to_owned()));
    assert!(!host.must("cat /etc/fstab").contains("cvg-mount"), "no line that would hold up a boot");
}

#[test]
fn what_cannot_be_changed_while_it_is_mounted_is_mounted_again() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let Some(disks) = Disks::new(&host) else { return };
    let one = &disks.one;
    let declared =
        json!({"mount": "/srv/cvg-mount/e", "device": one, "fstype": "ext4", "options": "data=journal"});
    let mut table = table(&host, declared);
    let line = in_fstab(&format!("{one} /srv/cvg-mount/e ext4 data=journal 0 0"));
    let start = format!("mkdir -p /srv/cvg-mount/e; {line}; mount -o data=writeback {one} /srv/cvg-mount/e");
    table.row("another journal", &start, &["options"]);
}

#[test]
fn an_image_is_mounted_once_and_not_with_a_new_loop_device_at_each_run() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let Some(_disks) = Disks::new(&host) else { return };
    let declared = json!({
        "mount": "/srv/cvg-mount/i", "device": "/srv/cvg-disks/image", "fstype": "ext4", "options": "loop,ro"
    });
    host.must("cp /srv/cvg-disks/two /srv/cvg-disks/image");
    let mut table = table(&host, declared);
    let made = "mkdir -p /srv/cvg-mount/i";
    table.row("absent", made, &["state", "device", "fstype", "options"]);
    let line = in_fstab("/srv/cvg-disks/image /srv/cvg-mount/i ext4 loop,ro 0 0");
    table.row(
        "right",
        &format!("{made}; {line}; mount -o loop,ro /srv/cvg-disks/image /srv/cvg-mount/i"),
        &[],
    );
    table.row(
        "writable",
        &format!("{made}; {line}; mount -o loop /srv/cvg-disks/image /srv/cvg-mount/i"),
        &["options"],
    );
    table.row("another image", &format!("{made}; {line}; cp /srv/cvg-disks/two /srv/cvg-disks/three; mount -o loop,ro /srv/cvg-disks/three /srv/cvg-mount/i"), &["device"]);
    assert_eq!(host.must("losetup -a | grep -c image").trim(), "1");
}

#[test]
fn a_mount_comes_off_from_every_start() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let made = "mkdir -p /srv/cvg-mount/t";
    let line = in_fstab("tmpfs /srv/cvg-mount/t tmpfs size=8m 0 0");
    let mounted = "mount -t tmpfs x /srv/cvg-mount/t";
    let starts: [(&str, &[&str], bool, bool); 8] = [
        ("no mount point", &["true"], false, false),
        ("a file", &["mkdir -p /srv/cvg-mount; touch /srv/cvg-mount/t"], false, false),
        ("absent", &[made], false, false),
        ("in fstab", &[made, &line], false, true),
        ("mounted", &[made, mounted], true, false),
        ("both", &[made, &line, mounted], true, true),
        ("mounted three times", &[made, mounted, mounted, "mount --bind /etc /srv/cvg-mount/t"], true, false),
        ("by a link on the way", &[made, mounted, "ln -sfn cvg-mount /srv/cvg-way"], true, false),
    ];
    let mut absent = table(&host, json!({"mount": "/srv/cvg-mount/t", "state": "absent"}));
    for (start, steps, is_mounted, is_in_fstab) in &starts {
        let off: &[&str] = if *is_mounted || *is_in_fstab { &["state"] } else { &[] };
        absent.row(start, &steps.join("; "), off);
        assert_eq!(host.sh("grep -q /srv/cvg-mount /proc/self/mountinfo /etc/fstab").0, 1, "{start}");
    }
    let mut unmounted = table(&host, json!({"mount": "/srv/cvg-mount/t", "state": "unmounted"}));
    for (start, steps, is_mounted, is_in_fstab) in &starts {
        unmounted.row(start, &steps.join("; "), if *is_mounted { &["state"] } else { &[] });
        assert_eq!(
            host.sh("grep -q /srv/cvg-mount/t /etc/fstab").0 == 0,
            *is_in_fstab,
            "{start}: fstab is left alone"
        );
    }
    let link = json!({"mount": "/srv/cvg-way/t", "state": "absent"});
    absent.declared = link;
    absent.row(
        "by a link on the way",
        &format!("{made}; {mounted}; ln -sfn cvg-mount /srv/cvg-way"),
        &["state"],
    );
    host.must("rm /srv/cvg-way");
}

#[test]
fn a_line_alone_is_held_without_looking_at_the_mount() {
    let Some(host) = host() else { return };
    let _alone = alone();
    let declared = json!({
        "mount": "/srv/cvg-mount/usb disk", "state": "present", "device": "LABEL=no such disk",
        "fstype": "vfat", "options": "noauto,user,uid=1000"
    });
    let mut table = table(&host, declared);
    let line = "LABEL=no\\040such\\040disk /srv/cvg-mount/usb\\040disk vfat noauto,user,uid=1000 0 0";
    let put = |line: &str| format!("printf '%s\\n' '{line}' >> /etc/fstab; systemctl daemon-reload");
    table.row("absent", "true", &["state", "device", "fstype", "options"]);
    table.row("right", &put(line), &[]);
    table.row("other options", &put(&line.replace("noauto,", "")), &["options"]);
    let mounted = format!(
        "{}; mkdir -p '/srv/cvg-mount/usb disk'; mount -t tmpfs x '/srv/cvg-mount/usb disk'",
        put(line)
    );
    table.row("mounted as something else", &mounted, &[]);
}

#[test]
fn fstab_lines_keep_order_and_comments() {
    let Some(host) = host() else { return };
    let _alone = alone();
    host.sh(CLEAR);
    let fstab = "# the head\n#<file system> <mount point>\n\n# Ada's disk; do not touch\n\
                 /dev/nowhere\t/srv/cvg-mount/ada/x   ext4\tnoauto,noatime 0\t2\n\
                 # a share\n   server:/x /srv/cvg-mount/share nfs noauto 0 0\n# the end, without a newline";
    let old = host.must("cat /etc/fstab; stat -c %a /etc/fstab");
    host.put("/srv/cvg-fstab", fstab.as_bytes());
    host.must("mkdir -p /srv/cvg-mount/t; cp -p /etc/fstab /srv/cvg-fstab.old; cat /srv/cvg-fstab > /etc/fstab; chmod 640 /etc/fstab");
    let mut agent = host.agent();
    let mut go = |declared: Value| {
        let (_, end) = agent.converge(&resource("mount", declared));
        let now = host.must("cat /etc/fstab");
        assert_eq!(host.must("stat -c %a /etc/fstab").trim(), "640");
        (end, now)
    };
    let tmpfs = json!({"mount": "/srv/cvg-mount/t", "device": "tmpfs", "fstype": "tmpfs"});
    let new = "tmpfs /srv/cvg-mount/t tmpfs defaults 0 0\n";
    assert_eq!(go(tmpfs), (Ok(()), format!("{fstab}\n{new}")));
    let share = json!({"mount": "/srv/cvg-mount/share", "device": "server:/y", "state": "present"});
    let wanted = format!("{fstab}\n{new}").replace("server:/x", "server:/y");
    assert_eq!(go(share), (Ok(()), wanted.clone()));
    let above = json!({"mount": "/srv/cvg-mount/ada", "device": "/dev/sdz9", "state": "present"});
    let comment = "# Ada's disk; do not touch\n";
    let wanted_too =
        wanted.replace(comment, &format!("/dev/sdz9 /srv/cvg-mount/ada auto defaults 0 0\n{comment}"));
    assert_eq!(go(above), (Ok(()), wanted_too));
    for gone in ["/srv/cvg-mount/ada", "/srv/cvg-mount/t"] {
        assert_eq!(go(json!({"mount": gone, "state": "absent"})).0, Ok(()));
    }
    let (_, end) = go(json!({"mount": "/srv/cvg-mount/share", "device": "server:/x", "state": "present"}));
    assert_eq!(end, format!("{fstab}\n"));
    host.must("mv /srv/cvg-fstab.old /etc/fstab; rm /srv/cvg-fstab; systemctl daemon-reload");
    assert_eq!(host.must("cat /etc/fstab; stat -c %a /etc/fstab"), old);
    host.sh(CLEAR);
}

#[test]
fn who_keeps_a_mount_busy_is_named_and_it_is_not_detached() {
    let Some(host) = host() else { return };
    let _alone = alone();
    host.sh(CLEAR);
    host.must("mkdir -p /srv/cvg-mount/t; mount -t tmpfs x /srv/cvg-mount/t; touch /srv/cvg-mount/t/f");
    let declared = resource("mount", json!({"mount": "/srv/cvg-mount/t", "state": "absent"}));
    let mut agent = host.agent();
    let before = host.must("grep ' /srv/cvg-mount/' /proc/self/mountinfo");
    for (hold, how) in [
        ("cd /srv/cvg-mount/t && exec sleep 60", "is in /srv/cvg-mount/t"),
        ("exec sleep 60 < /srv/cvg-mount/t/f", "has /srv/cvg-mount/t/f open"),
        (
            "cp /bin/sleep /srv/cvg-mount/t/nap && exec /srv/cvg-mount/t/nap 60",
            "runs from /srv/cvg-mount/t/nap",
        ),
    ] {
        host.must(&format!("systemd-run -q --unit=cvg-holder --collect sh -c '{hold}'; sleep 0.3"));
        let pid = host.must("systemctl show -P MainPID cvg-holder").trim().to_owned();
        let end = agent.converge(&declared).1.unwrap_err();
        assert!(end.starts_with("/srv/cvg-mount/t is busy: "), "{end}");
        assert!(end.contains(&format!("(pid {pid}) {how}")), "{how}: {end}");
        host.must("systemctl stop cvg-holder");
    }
    host.must("mkdir /srv/cvg-mount/t/sub; mount -t tmpfs y /srv/cvg-mount/t/sub");
    let end = agent.converge(&declared).1.unwrap_err();
    assert_eq!(end, "/srv/cvg-mount/t is busy: something is mounted below it, on /srv/cvg-mount/t/sub");
    host.must("umount /srv/cvg-mount/t/sub");
    assert_eq!(
        host.must("grep ' /srv/cvg-mount/' /proc/self/mountinfo"),
        before,
        "it was mounted all the time"
    );
    assert_eq!(agent.converge(&declared).1, Ok(()));
    host.sh(CLEAR);
}

#[test]
fn what_mount_refuses_is_told_with_the_way_out_and_leaves_no_line() {
    let Some(host) = host() else { return };
    let _alone = alone();
    host.sh(CLEAR);
    host.must("mkdir -p /srv/cvg-mount/t /srv/cvg-disks; truncate -s 4M /srv/cvg-mount/blank");
    let mut agent = host.agent();
    let _loops = loop_devices();
    let has_loops = host.sh("losetup -f").0 == 0;
    let mut table = vec![
        (json!({"device": "sdz9", "fstype": "ext4"}), "special device sdz9 does not exist", "/dev/sdz9"),
        (
            json!({"device": "tmpfs", "fstype": "tmpfs", "options": "size=lots"}),
            "mounting tmpfs on /srv/cvg-mount/t: mount: /srv/cvg-mount/t: ",
            "correct `options`",
        ),
        (
            json!({"device": "server:/x", "fstype": "nfs"}),
            "mounting it takes `mount.nfs`",
            "- package: nfs-common",
        ),
    ];
    if has_loops {
        let device = "/srv/cvg-mount/blank";
        let unknown = json!({"device": device, "fstype": "nosuchfs"});
        table.push((
            unknown,
            "mounting /srv/cvg-mount/blank on /srv/cvg-mount/t: ",
            "the kernel knows no `nosuchfs`",
        ));
        table.push((
            json!({"device": device, "fstype": "ext4", "options": "loop"}),
            "wrong fs type",
            "blkid /srv/cvg-mount/blank",
        ));
    }
    for (attributes, reason, help) in table {
        let mut declared = attributes;
        declared["mount"] = json!("/srv/cvg-mount/t");
        let declared = resource("mount", declared);
        let told = match agent.check(&declared) {
            Ok(Check::Needs(needed)) if needed.lacks.is_empty() => {
                let failure = agent.apply(&declared, &needed).unwrap_err();
                format!("{} {}", failure.reason, failure.help.unwrap_or_default())
            }
            Ok(Check::Needs(needed)) => format!("{} {}", needed.lacks[0].what, needed.lacks[0].help),
            other => panic!("{other:?}"),
        };
        assert!(told.contains(reason) && told.contains(help), "{told}");
    }
    assert!(!host.must("cat /etc/fstab").contains("cvg-mount"));
    host.sh(CLEAR);
}
