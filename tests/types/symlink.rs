//! `symlink` from every start.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

const CLEAR: &str = "rm -rf /srv/cvg-link";
const LOOK: &str = "stat -c '%n %F %i %Y %Z %U %a' /srv/cvg-link/* 2>&1; readlink /srv/cvg-link/l; true";

#[test]
fn a_link_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"symlink": "/srv/cvg-link/l", "target": "/etc/hostname", "force": true});
    let mut table =
        Table { host: &host, agent: host.agent(), word: "symlink", declared, clear: CLEAR, look: LOOK };
    let made = "mkdir -p /srv/cvg-link; ";
    let row =
        |table: &mut Table, start, arrange: &str, off| table.row(start, &format!("{made}{arrange}"), off);
    row(&mut table, "absent", "", &["state", "target"]);
    row(&mut table, "right", "ln -s /etc/hostname /srv/cvg-link/l", &[]);
    row(&mut table, "another target", "ln -s /etc/debian_version /srv/cvg-link/l", &["target"]);
    row(&mut table, "the same by another way", "ln -s ../../etc/hostname /srv/cvg-link/l", &["target"]);
    row(&mut table, "dangling", "ln -s nowhere /srv/cvg-link/l", &["target"]);
    row(&mut table, "to itself", "ln -s l /srv/cvg-link/l", &["target"]);
    row(&mut table, "a file", "echo x > /srv/cvg-link/l", &["state", "target"]);
    row(&mut table, "an empty directory", "mkdir /srv/cvg-link/l", &["state", "target"]);
    row(&mut table, "a fifo", "mkfifo /srv/cvg-link/l", &["state", "target"]);
    row(&mut table, "what a killed run left", "ln -s x /srv/cvg-link/.l.converge", &["state", "target"]);
    let full = "mkdir -p /srv/cvg-link/l/full";
    table.refused("a directory that is not empty", full, "a directory that is not empty");
}

#[test]
fn a_link_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"symlink": "/srv/cvg-gone/l", "state": "absent"});
    let (clear, look) = ("rm -rf /srv/cvg-gone", "stat -c '%n %F %i %Y %Z' /srv/cvg-gone/* 2>&1; true");
    let mut table = Table { host: &host, agent: host.agent(), word: "symlink", declared, clear, look };
    table.row("no directory", "", &[]);
    table.row("absent", "mkdir -p /srv/cvg-gone", &[]);
    table.row("there", "mkdir -p /srv/cvg-gone; ln -s /etc/debian_version /srv/cvg-gone/l", &["target"]);
    table.refused("a file", "mkdir -p /srv/cvg-gone; echo x > /srv/cvg-gone/l", "is a file");
}
