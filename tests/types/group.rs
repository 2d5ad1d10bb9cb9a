//! `group` from every start.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

const CLEAR: &str = "userdel -f cvg-gu; for g in cvg-g cvg-g2 cvg-gu; do groupdel -f $g; done";
const LOOK: &str = "grep -h cvg-g /etc/passwd /etc/group /etc/gshadow; true";

#[test]
fn a_group_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"group": "cvg-g", "gid": 4701});
    let mut table =
        Table { host: &host, agent: host.agent(), word: "group", declared, clear: CLEAR, look: LOOK };
    table.row("absent", "", &["state", "gid"]);
    table.row("right", "groupadd -g 4701 cvg-g", &[]);
    table.row("right, with a member", "groupadd -g 4701 cvg-g; useradd -M -G cvg-g cvg-gu", &[]);
    table.row("another gid", "groupadd -g 4690 cvg-g", &["gid"]);
    table.row(
        "another gid, and it is a user's own",
        "groupadd -g 4690 cvg-g; useradd -M -g cvg-g cvg-gu",
        &["gid"],
    );
    assert_eq!(host.must("id -gn cvg-gu"), "cvg-g\n");
    table.row("another gid, with a member", "groupadd -g 4690 cvg-g; useradd -M -G cvg-g cvg-gu", &["gid"]);
    assert!(host.must("getent group cvg-g").ends_with(":cvg-gu\n"));
    // Under the lock of groupadd and its kin: another test's may be writing the file anew.
    let by_hand = "until (set -C; echo -n $$ > /etc/group.lock) 2>/dev/null; do sleep 0.05; done; \
                   echo 'cvg-g:x:4701:' >> /etc/group; rm /etc/group.lock";
    table.row("only in /etc/group", by_hand, &[]);
    table.row("a group of a longer name", "groupadd cvg-g2", &["state", "gid"]);
    table.refused(
        "its gid is another's",
        "groupadd -g 4701 cvg-g2",
        "the gid 4701 is that of the group cvg-g2",
    );
    let both = "groupadd -g 4701 cvg-g2; groupadd -g 4690 cvg-g";
    table.refused("there, and its gid is another's", both, "the gid 4701 is that of the group cvg-g2");
    table.declared = json!({"group": "cvg-g", "system": true});
    table.row("absent, of the system", "", &["state"]);
    assert!(host.must("getent group cvg-g | cut -d: -f3").trim().parse::<u32>().unwrap() < 1000);
    table.row("there, and not of the system", "groupadd cvg-g", &[]);
}

#[test]
fn a_group_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"group": "cvg-h", "state": "absent"});
    let clear = "userdel -f cvg-hu; for g in cvg-h cvg-hu; do groupdel -f $g; done";
    let look = "grep -h cvg-h /etc/passwd /etc/group /etc/gshadow; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "group", declared, clear, look };
    table.row("absent", "", &[]);
    table.row("there", "groupadd cvg-h", &["state"]);
    table.row("there, with members", "groupadd cvg-h; useradd -M -G cvg-h cvg-hu", &["state"]);
    let own = "groupadd cvg-h; useradd -M -g cvg-h cvg-hu";
    table.refused("a user's own", own, "cvg-h is the own group of the user cvg-hu, and cannot be removed");
}
