//! `line` from every start.

use serde_json::{Value, json};

use crate::agent::host;
use crate::table::Table;

const CLEAR: &str = "chattr -i /srv/cvg-line/* 2>/dev/null; rm -rf /srv/cvg-line";
const LOOK: &str = "stat -c '%n %F %i %Y %Z %U %G %a' /srv/cvg-line/* /srv/cvg-line/.[!.]* 2>&1; \
                    test ! -p /srv/cvg-line/f && od -c /srv/cvg-line/f 2>&1; true";

fn declared() -> Value {
    json!({"line": "port", "file": "/srv/cvg-line/f", "text": "Port 2222", "match": r"^#?\s*Port\b"})
}

/// The file is there, with these bytes as printf has them.
fn with(bytes: &str) -> String {
    format!("mkdir -p /srv/cvg-line; printf '{bytes}' > /srv/cvg-line/f")
}

#[test]
fn a_line_from_every_start() {
    let Some(host) = host() else { return };
    let (declared, word) = (declared(), "line");
    let mut table = Table { host: &host, agent: host.agent(), word, declared, clear: CLEAR, look: LOOK };
    table.row("an empty file", &with(""), &["text"]);
    table.row("absent", &with("a\\nb\\n"), &["text"]);
    table.row("right", &with("a\\nPort 2222\\nb\\n"), &[]);
    table.row("right, as the last line without an end", &with("a\\nPort 2222"), &[]);
    table.row("right, among CRLF", &with("a\\r\\nPort 2222\\r\\n"), &[]);
    table.row("another value", &with("a\\nPort 22\\nb\\n"), &["text"]);
    table.row("commented out", &with("a\\n# Port 22\\nb\\n"), &["text"]);
    table.row("another value, among CRLF", &with("Port 22\\r\\nb\\r\\n"), &["text"]);
    table.row("no end of the last line", &with("a\\nb"), &["text"]);
    table.row("bytes that are not UTF-8", &with("\\377\\376\\n\\200Port\\n#Port\\n"), &["text"]);
    table.row(
        "another owner and mode",
        &(with("a\\n") + "; cd /srv/cvg-line; chown 1:2 f; chmod 4751 f"),
        &["text"],
    );
    table.row(
        "what a killed run left",
        &(with("a\\n") + "; echo half > /srv/cvg-line/.f.converge"),
        &["text"],
    );
    table.refused(
        "several that match",
        &with("Port 22\\na\\n#Port 23\\n"),
        "finds 2 lines of /srv/cvg-line/f",
    );
    table.refused(
        "a link",
        "mkdir /srv/cvg-line; cd /srv/cvg-line; echo Port > g; ln -s g f",
        "is a symlink",
    );
    table.refused("a directory", "mkdir -p /srv/cvg-line/f", "is a directory");
    table.refused("a pipe", "mkdir /srv/cvg-line; mkfifo /srv/cvg-line/f", "is a device, socket or pipe");
    table.refused("UTF-16", &with("\\377\\376P\\000o\\000"), "UTF-16");
    table.refused("no file", "mkdir /srv/cvg-line", "the file /srv/cvg-line/f does not exist");
    table.refused("no directory", "true", "the file /srv/cvg-line/f does not exist");
    let full = "mkdir /srv/cvg-line; mount -t tmpfs -o size=4k,nr_inodes=4 tmpfs /srv/cvg-line; \
                head -c 4096 /dev/zero | tr '\\0' x > /srv/cvg-line/f";
    table.clear = "umount /srv/cvg-line 2>/dev/null; rm -rf /srv/cvg-line";
    table.refused("no space", full, "No space left on device");
    let read_only = "mkdir /srv/cvg-line; mount -t tmpfs tmpfs /srv/cvg-line; echo a > /srv/cvg-line/f; \
                     mount -o remount,ro /srv/cvg-line";
    table.refused("a read-only file system", read_only, "Read-only file system");
}

#[test]
fn what_is_around_a_line_stays_to_the_byte() {
    let Some(host) = host() else { return };
    host.sh("rm -rf /srv/cvg-bytes; mkdir /srv/cvg-bytes");
    let mut agent = host.agent();
    for (before, after) in [
        ("\\357\\273\\277a\\r\\n\\377\\r\\n#Port 22", "\\357\\273\\277a\\r\\n\\377\\r\\nPort 2222"),
        ("a\\r\\nb\\nc\\rd\\r\\n", "a\\r\\nb\\nc\\rd\\r\\nPort 2222\\r\\n"),
        ("\\000\\001\\200", "\\000\\001\\200\\nPort 2222"),
        ("\\n\\n\\n", "\\n\\n\\nPort 2222\\n"),
    ] {
        host.must(&format!("cd /srv/cvg-bytes; printf '{before}' > f; printf '{after}' > wanted"));
        let mut declared = declared();
        declared["file"] = "/srv/cvg-bytes/f".into();
        let (_, end) = agent.converge(&crate::agent::resource("line", declared));
        assert_eq!(end, Ok(()));
        host.must("cmp /srv/cvg-bytes/f /srv/cvg-bytes/wanted");
    }
    host.sh("rm -rf /srv/cvg-bytes");
}

#[test]
fn a_line_makes_its_file_where_it_may() {
    let Some(host) = host() else { return };
    let declared = json!({"line": "x", "file": "/srv/cvg-made/f", "text": "x", "create": true});
    let (clear, look) =
        ("rm -rf /srv/cvg-made", "stat -c '%n %i %Y %U %a' /srv/cvg-made/f 2>&1; cat /srv/cvg-made/f; true");
    let mut table = Table { host: &host, agent: host.agent(), word: "line", declared, clear, look };
    table.row("no file", "mkdir /srv/cvg-made", &["text"]);
    assert!(host.must("stat -c %a /srv/cvg-made/f").starts_with("644"));
    table.row("umask 077", "umask 077; mkdir /srv/cvg-made", &["text"]);
    table.row("right", "mkdir /srv/cvg-made; echo x > /srv/cvg-made/f", &[]);
    table.row(
        "a private file",
        "mkdir /srv/cvg-made; echo a > /srv/cvg-made/f; chmod 600 /srv/cvg-made/f",
        &["text"],
    );
    assert!(host.must("stat -c %a /srv/cvg-made/f").starts_with("600"));
}

#[test]
fn a_line_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"line": "x", "file": "/srv/cvg-less/f", "match": "^x", "text": "y", "state": "absent",
                          "occurrence": "all"});
    let clear = "rm -rf /srv/cvg-less";
    let look = "stat -c '%n %F %i %Y %Z' /srv/cvg-less/* 2>&1; cat /srv/cvg-less/f 2>&1; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "line", declared, clear, look };
    let with = |bytes: &str| format!("mkdir /srv/cvg-less; printf '{bytes}' > /srv/cvg-less/f");
    table.row("no directory", "", &[]);
    table.row("no file", "mkdir /srv/cvg-less", &[]);
    table.row("a file in the place of the directory", "echo > /srv/cvg-less", &[]);
    table.row("absent", &with("a\\n"), &[]);
    table.row("there", &with("a\\nxyz\\n"), &["text"]);
    table.row("there more than once", &with("x\\na\\nxy\\ny"), &["text"]);
    table.row("all there is", &with("y"), &["text"]);
    table.refused("a directory", "mkdir -p /srv/cvg-less/f", "is a directory");
}

/// ACLs and other attributes are the file's, and nothing declares them.
#[test]
fn attributes_of_a_file_survive_the_edit() {
    let Some(host) = host() else { return };
    // Written as setfacl writes it: user 1 may read.
    let set = "import os; os.setxattr('/srv/cvg-acl/f', 'user.note', b'kept'); \
               os.setxattr('/srv/cvg-acl/f', 'system.posix_acl_access', bytes.fromhex('02000000' \
               '01000600ffffffff' '0200040001000000' '04000400ffffffff' '10000400ffffffff' '20000000ffffffff'))";
    let get = "import os; print([os.getxattr('/srv/cvg-acl/f', name).hex() for name in sorted(os.listxattr('/srv/cvg-acl/f'))])";
    host.must(
        "rm -rf /srv/cvg-acl; mkdir /srv/cvg-acl; mount -t tmpfs tmpfs /srv/cvg-acl; echo a > /srv/cvg-acl/f",
    );
    if host.sh(&format!("python3 -c \"{set}\"")).0 == 0 {
        let before = host.must(&format!("python3 -c \"{get}\"; stat -c %a /srv/cvg-acl/f"));
        let declared = json!({"line": "x", "file": "/srv/cvg-acl/f", "text": "x"});
        let (_, end) = host.agent().converge(&crate::agent::resource("line", declared));
        assert_eq!(end, Ok(()));
        assert_eq!(host.must(&format!("python3 -c \"{get}\"; stat -c %a /srv/cvg-acl/f")), before);
        assert_eq!(host.must("cat /srv/cvg-acl/f"), "a\nx\n");
    }
    host.sh("umount /srv/cvg-acl; rm -rf /srv/cvg-acl");
}
