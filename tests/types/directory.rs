//! `directory` from every start.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

const CLEAR: &str = "rm -rf /srv/cvg-dir; umask 022";
const LOOK: &str = "find /srv/cvg-dir -printf '%p %y %i %T@ %C@ %U %G %m %l\\n' 2>&1 | sort; true";

#[test]
fn a_directory_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"directory": "/srv/cvg-dir/a/d", "owner": "www-data", "group": "www-data",
        "mode": "2750", "force": true});
    let mut table =
        Table { host: &host, agent: host.agent(), word: "directory", declared, clear: CLEAR, look: LOOK };
    let access = ["owner", "group", "mode"];
    let new = ["state", "owner", "group", "mode"];
    let with_parents = ["state", "parents", "owner", "group", "mode"];
    let right = "install -d -o www-data -g www-data -m 2750 /srv/cvg-dir/a/d; cd /srv/cvg-dir/a";
    let at = |line: &str| format!("{right}; {line}");
    table.row("absent, its parents too", "", &with_parents);
    assert_eq!(host.must("stat -c '%U %a' /srv/cvg-dir /srv/cvg-dir/a"), "root 755\nroot 755\n");
    table.row("absent, one parent too", "mkdir /srv/cvg-dir", &with_parents);
    table.row("absent", &at("rmdir d"), &new);
    table.row("right", right, &[]);
    table.row("right, with much in it", &at("touch d/x d/y; mkdir -p d/z; chmod 600 d/x"), &[]);
    table.row("another owner", &at("chown root d; chmod 2750 d"), &["owner"]);
    table.row("an owner that nobody has", &at("chown 47110 d; chmod 2750 d"), &["owner"]);
    table.row("another group", &at("chgrp root d; chmod 2750 d"), &["group"]);
    table.row("another mode", &at("chmod 2777 d"), &["mode"]);
    table.row("its setgid bit gone", &at("chmod g-s d"), &["mode"]);
    table.row("a setuid and a sticky bit too many", &at("chmod u+s,+t d"), &["mode"]);
    table.row("made, and nothing more", &at("rmdir d; mkdir d"), &access);
    table.row("a file", &at("rmdir d; echo x > d"), &new);
    table.row("a fifo", &at("rmdir d; mkfifo d"), &new);
    table.row("a link to a directory that is right", &at("mv d e; ln -s e d"), &new);
    assert_eq!(host.must("stat -c '%F %a' /srv/cvg-dir/a/e"), "directory 2750\n", "the link's end is left");
    table.row("a dangling link", &at("rmdir d; ln -s nowhere d"), &new);
    table.declared = json!({"directory": "/srv/cvg-dir/a/d"});
    table.row("of any owner and mode", &at("chown daemon d; chmod 1711 d"), &[]);
    table.refused("a file, without force", "mkdir -p /srv/cvg-dir/a; echo x > /srv/cvg-dir/a/d", "is a file");
    table.refused("a link, without force", &at("mv d e; ln -s e d"), "is a symlink");
    table.refused("its parent is a file", "mkdir /srv/cvg-dir; echo x > /srv/cvg-dir/a", "/srv/cvg-dir/a");
}

#[test]
fn what_lies_in_a_directory_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"directory": "/srv/cvg-dir-in", "owner": "daemon", "mode": "750", "recurse": true});
    let (clear, look) = (CLEAR.replace("cvg-dir", "cvg-dir-in"), LOOK.replace("cvg-dir", "cvg-dir-in"));
    let mut table =
        Table { host: &host, agent: host.agent(), word: "directory", declared, clear: &clear, look: &look };
    let right = "mkdir -p /srv/cvg-dir-in/s; cd /srv/cvg-dir-in; echo > f; echo > x; chmod 640 f; \
                 chmod 750 . s x; chown -R daemon .";
    let at = |line: &str| format!("{right}; {line}");
    table.row("right below it", right, &[]);
    table.row("another owner below it", &at("chown root s"), &["recurse"]);
    table.row("another mode below it", &at("chmod 600 f"), &["recurse"]);
    table.row("another mode of it and below it", &at("chmod 700 . s"), &["mode", "recurse"]);
    table.row("a link below it", &at("ln -s /etc/debian_version l; chown -h root l"), &[]);
    table.row("a new file below it", &at("echo > s/new"), &["recurse"]);
    assert_eq!(host.must("stat -c '%U %a' /srv/cvg-dir-in/s/new"), "daemon 640\n");
    table.declared = json!({"directory": "/srv/cvg-dir-in", "purge": true});
    table.row("nothing in it to purge", "mkdir /srv/cvg-dir-in", &[]);
    table.row("much in it to purge", &at("mkdir -p s/t; ln -s /etc e; mkfifo p; echo > .hidden"), &["purge"]);
    assert_eq!(host.must("ls -A /srv/cvg-dir-in; ls -d /etc"), "/etc\n", "what a link leads to is left");
}

#[test]
fn a_directory_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"directory": "/srv/cvg-nodir/d", "state": "absent"});
    let (clear, look) = (CLEAR.replace("cvg-dir", "cvg-nodir"), LOOK.replace("cvg-dir", "cvg-nodir"));
    let mut table =
        Table { host: &host, agent: host.agent(), word: "directory", declared, clear: &clear, look: &look };
    let at = |line: &str| format!("mkdir -p /srv/cvg-nodir/d; cd /srv/cvg-nodir; {line}");
    table.row("no parent", "", &[]);
    table.row("gone", "mkdir /srv/cvg-nodir", &[]);
    table.row("empty", &at(":"), &["state"]);
    table.refused("not empty", &at("echo > d/x"), "d is not empty: 1 entries, the first is x");
    table.refused("a file in its place", &at("rmdir d; echo > d"), "is a file");
    table.refused("a link in its place", &at("mv d e; ln -s e d"), "is a symlink");
    table.declared = json!({"directory": "/srv/cvg-nodir/d", "state": "absent", "force": true});
    table.row("not empty, by force", &at("mkdir -p d/a/b; ln -s /etc d/a/etc; echo > d/a/.x"), &["state"]);
    assert_eq!(host.must("ls -A /srv/cvg-nodir; ls -d /etc"), "/etc\n");
    table.row("a link, by force", &at("mv d e; ln -s e d"), &["state"]);
    assert_eq!(host.must("ls -A /srv/cvg-nodir"), "e\n", "only the link went");
    table.refused(
        "something is mounted in it",
        &at("mkdir d/m; mount -t tmpfs tmpfs d/m; echo > d/m/x; echo > d/y"),
        "/srv/cvg-nodir/d/m",
    );
    host.must("umount /srv/cvg-nodir/d/m");
}
