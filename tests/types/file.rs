//! `file` from every start.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

const CLEAR: &str = "chattr -i /srv/cvg-file/f 2>/dev/null; rm -rf /srv/cvg-file";
const LOOK: &str = "find /srv/cvg-file -printf '%p %y %i %T@ %C@ %U %G %m %l\\n' 2>&1 | sort; \
                    [ ! -f /srv/cvg-file/f ] || od -c /srv/cvg-file/f";

#[test]
fn a_file_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"file": "/srv/cvg-file/f", "content": "one\ntwo\n", "owner": "www-data",
        "group": "www-data", "mode": "4640", "force": true});
    let mut table =
        Table { host: &host, agent: host.agent(), word: "file", declared, clear: CLEAR, look: LOOK };
    let new = ["state", "content", "owner", "group", "mode"];
    let right = "mkdir -p /srv/cvg-file; cd /srv/cvg-file; printf 'one\\ntwo\\n' > f; \
                 chown www-data:www-data f; chmod 4640 f";
    let at = |line: &str| format!("{right}; {line}");
    table.row("absent", &at("rm f"), &new);
    table.row("right", right, &[]);
    table.row("right, one of two names", &at("ln f g"), &[]);
    table.row("another content", &at("echo other > f; chmod 4640 f"), &["content"]);
    table.row("empty", &at(": > f; chmod 4640 f"), &["content"]);
    table.row("half of it", &at("printf one > f; chmod 4640 f"), &["content"]);
    table.row("in CRLF", &at("printf 'one\\r\\ntwo\\r\\n' > f; chmod 4640 f"), &["content"]);
    table.row("without its last newline", &at("printf 'one\\ntwo' > f; chmod 4640 f"), &["content"]);
    table.row("bytes that are not UTF-8", &at("printf '\\377\\200\\000' > f; chmod 4640 f"), &["content"]);
    table.row("of the same length", &at("printf 'One\\ntwo\\n' > f; chmod 4640 f"), &["content"]);
    table.row("another owner", &at("chown root f; chmod 4640 f"), &["owner"]);
    assert_eq!(host.must("stat -c %a /srv/cvg-file/f"), "4640\n", "setuid bits lost by chown after chmod");
    table.row("another group", &at("chgrp root f; chmod 4640 f"), &["group"]);
    assert_eq!(host.must("stat -c %a /srv/cvg-file/f"), "4640\n", "setuid bits lost by chgrp after chmod");
    table.row("another mode", &at("chmod 4666 f"), &["mode"]);
    table.row("its setuid bit gone", &at("chmod 640 f"), &["mode"]);
    table.row("all of it wrong", &at("echo > f; chown root:root f; chmod 777 f"), &new[1..]);
    table.row("a link to what is right", &at("mv f g; ln -s g f"), &new);
    assert_eq!(host.must("stat -c '%F %a' /srv/cvg-file/g"), "regular file 4640\n");
    table.row("a dangling link", &at("rm f; ln -s nowhere f"), &new);
    table.row("an empty directory", &at("rm f; mkdir f"), &new);
    table.row("a fifo", &at("rm f; mkfifo f"), &new);
    table.row("what a killed run left", &at("rm f; echo on > .f.converge"), &new);
    table.row("what a killed run left beside it", &at("echo on > .f.converge"), &[]);
    table.refused(
        "a directory that is not empty",
        &at("rm f; mkdir -p f/full"),
        "a directory that is not empty",
    );
    table.refused("its parent is a file", "echo x > /srv/cvg-file", "/srv/cvg-file");
    table.refused("no parent", "", "/srv/cvg-file");
    table.declared = json!({"file": "/srv/cvg-file/f"});
    table.row("of any content, owner and mode", &at("echo any > f; chown daemon f; chmod 4711 f"), &[]);
    table.row("absent, and nothing said of it", "mkdir /srv/cvg-file", &["state"]);
    assert_eq!(host.must("stat -c '%s %U %a' /srv/cvg-file/f"), "0 root 644\n");
    table.refused("a directory, without force", "mkdir -p /srv/cvg-file/f", "is a directory");
    table.refused("a link, without force", &at("mv f g; ln -s g f"), "is a symlink");
}

#[test]
fn a_file_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"file": "/srv/cvg-nofile/f", "state": "absent"});
    let (clear, look) = (CLEAR.replace("cvg-file", "cvg-nofile"), LOOK.replace("cvg-file", "cvg-nofile"));
    let mut table =
        Table { host: &host, agent: host.agent(), word: "file", declared, clear: &clear, look: &look };
    let at = |line: &str| format!("mkdir -p /srv/cvg-nofile; cd /srv/cvg-nofile; {line}");
    table.row("no directory", "", &[]);
    table.row("gone", &at(":"), &[]);
    table.row("there", &at("echo x > f"), &["state"]);
    table.row("there, with what a killed run left", &at("echo x > f; echo y > .f.converge"), &["state"]);
    table.refused("a link, without force", &at("ln -s /etc/debian_version f"), "is a symlink");
    table.refused("a directory, without force", &at("mkdir f"), "is a directory");
    table.declared = json!({"file": "/srv/cvg-nofile/f", "state": "absent", "force": true});
    table.row("a link, by force", &at("echo > g; ln -s g f"), &["state"]);
    assert_eq!(host.must("ls /srv/cvg-nofile"), "g\n");
    table.row("an empty directory, by force", &at("mkdir f"), &["state"]);
    table.refused("a full directory, by force", &at("mkdir -p f/full"), "a directory that is not empty");
}
