//! `hostname` from every start, in namespaces of its own, so that the host keeps its name.

use serde_json::json;

use crate::agent::{Host, host};
use crate::table::Table;

/// A copy of /etc and a name, for as long as nobody ends it.
const ROOM: &str = "/root/cvg-hostname";

fn room(host: &Host) -> Host {
    host.must(&format!(
        "rm -rf {ROOM}; mkdir {ROOM}; cp -a /etc {ROOM}/etc; \
         setsid -f unshare -um sh -c 'mount --bind {ROOM}/etc /etc; echo $$ >{ROOM}/pid; exec sleep 600' \
         </dev/null >/dev/null 2>&1; until [ -s {ROOM}/pid ]; do sleep 0.1; done"
    ));
    host.inside(&format!("nsenter -u -m -t $(cat {ROOM}/pid)"))
}

#[test]
fn a_name_from_every_start() {
    let Some(host) = host() else { return };
    let before = host.must("hostname; cat /etc/hostname");
    let room = room(&host);
    let declared = json!({"hostname": "cvg-web1"});
    let clear = "rm -rf /etc/hostname /etc/.hostname.converge; hostname other";
    let look =
        "hostname; stat -c '%n %F %i %Y %Z %U %a' /etc/hostname /etc/hosts 2>&1; cat /etc/hostname; true";
    let mut table = Table { host: &room, agent: room.agent(), word: "hostname", declared, clear, look };
    let set = "hostname cvg-web1";
    table.row("neither", "", &["static", "running"]);
    table.row("right", &format!("echo cvg-web1 > /etc/hostname; {set}"), &[]);
    table.row("right, after a comment", &format!("printf '# x\\n\\ncvg-web1' > /etc/hostname; {set}"), &[]);
    table.row("it runs, and is not written", set, &["static"]);
    table.row("it is written, and does not run", "echo cvg-web1 > /etc/hostname", &["running"]);
    table.row("another one is written", &format!("echo db > /etc/hostname; {set}"), &["static"]);
    table.row("another one runs", "echo cvg-web1 > /etc/hostname; hostname db", &["running"]);
    table.row("an empty file", &format!(": > /etc/hostname; {set}"), &["static"]);
    table.row(
        "a private file",
        &format!("echo a > /etc/hostname; chmod 600 /etc/hostname; {set}"),
        &["static"],
    );
    assert!(room.must("stat -c %a /etc/hostname").starts_with("600"));
    table.row("in other letters", "echo CVG-web1 > /etc/hostname; hostname CVG-web1", &["static", "running"]);
    table.row("what a killed run left", "echo > /etc/.hostname.converge", &["static", "running"]);
    table.refused("a link", "ln -s /tmp/x /etc/hostname", "is a symlink");
    table.refused("a directory", "mkdir /etc/hostname", "is a directory");
    drop(table);
    host.sh(&format!("kill $(cat {ROOM}/pid); rm -rf {ROOM}"));
    assert_eq!(host.must("hostname; cat /etc/hostname"), before, "the host keeps its own");
}
