//! `timezone` from every start, with an /etc of its own.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

const ROOM: &str = "/root/cvg-timezone";

#[test]
fn a_time_zone_from_every_start() {
    let Some(host) = host() else { return };
    host.must(&format!(
        "rm -rf {ROOM}; mkdir {ROOM}; cp -a /etc {ROOM}/etc; \
         setsid -f unshare -m sh -c 'mount --bind {ROOM}/etc /etc; echo $$ >{ROOM}/pid; exec sleep 600' \
         </dev/null >/dev/null 2>&1; until [ -s {ROOM}/pid ]; do sleep 0.1; done"
    ));
    let room = host.inside(&format!("nsenter -m -t $(cat {ROOM}/pid)"));
    let declared = json!({"timezone": "Europe/Berlin"});
    let clear = "rm -rf /etc/localtime /etc/timezone /etc/.localtime.converge";
    let look = "stat -c '%n %F %i %Y %Z' /etc/localtime /etc/timezone 2>&1; readlink /etc/localtime; \
                cat /etc/timezone; date -d @0 +%H; true";
    let mut table = Table { host: &room, agent: room.agent(), word: "timezone", declared, clear, look };
    let (link, note) = ("/etc/localtime", "/etc/timezone");
    let right = "ln -s /usr/share/zoneinfo/Europe/Berlin /etc/localtime";
    table.row("no link", "", &[link]);
    table.row("right", right, &[]);
    table.row("right, as systemd writes it", "ln -s ../usr/share/zoneinfo/Europe/Berlin /etc/localtime", &[]);
    table.row("right, with Debian's note", &format!("{right}; echo Europe/Berlin > {note}"), &[]);
    table.row("another note", &format!("{right}; echo Etc/UTC > {note}"), &[note]);
    table.row(
        "another zone",
        "ln -s /usr/share/zoneinfo/Etc/UTC /etc/localtime; echo Etc/UTC > /etc/timezone",
        &[link, note],
    );
    table.row("dangling", "ln -s /usr/share/zoneinfo/Nowhere /etc/localtime", &[link]);
    table.row("elsewhere", "ln -s /srv/zone /etc/localtime", &[link]);
    table.row("a copy of a zone", "cp /usr/share/zoneinfo/Europe/Berlin /etc/localtime", &[link]);
    table.row("an empty note", &format!("{right}; : > {note}"), &[note]);
    table.row("what a killed run left", "ln -s x /etc/.localtime.converge", &[link]);
    table.refused("a directory", "mkdir /etc/localtime", "is a directory");
    table.refused("a link for a note", &format!("{right}; ln -s /tmp/x {note}"), "is a symlink");
    table.declared = json!({"timezone": "Europe/Berln"});
    table.refused("no such zone", right, "there is no time zone Europe/Berln");
    // The link is right, and nothing is behind it.
    table.declared = json!({"timezone": "Europe/Berlin"});
    table.clear = "umount /usr/share/zoneinfo 2>/dev/null; rm -rf /etc/localtime /etc/timezone";
    table.refused(
        "no zones",
        &format!("mount -t tmpfs tmpfs /usr/share/zoneinfo; {right}"),
        "there are no time zones",
    );
    drop(table);
    host.sh(&format!("kill $(cat {ROOM}/pid); rm -rf {ROOM}"));
}
