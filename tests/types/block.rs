//! `block` from every start.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

const CLEAR: &str = "rm -rf /srv/cvg-block";
const LOOK: &str = "stat -c '%n %F %i %Y %Z %U %G %a' /srv/cvg-block/* /srv/cvg-block/.[!.]* 2>&1; \
                    od -c /srv/cvg-block/f 2>&1; true";

/// The file is there, with these bytes as printf has them; <B> and <E> are the markers.
fn with(bytes: &str) -> String {
    let bytes = bytes.replace("<B>", "# BEGIN converge: site").replace("<E>", "# END converge: site");
    format!("mkdir -p /srv/cvg-block; printf '{bytes}' > /srv/cvg-block/f")
}

#[test]
fn a_block_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"block": "site", "file": "/srv/cvg-block/f", "content": "x\ny\n"});
    let mut table =
        Table { host: &host, agent: host.agent(), word: "block", declared, clear: CLEAR, look: LOOK };
    table.row("an empty file", &with(""), &["content"]);
    table.row("absent", &with("a\\nb\\n"), &["content"]);
    table.row("right", &with("a\\n<B>\\nx\\ny\\n<E>\\nb\\n"), &[]);
    table.row("right, moved by hand", &with("<B>\\nx\\ny\\n<E>\\na\\n"), &[]);
    table.row("right, as the end of a file without one", &with("a\\n<B>\\nx\\ny\\n<E>"), &[]);
    table.row("right, in CRLF", &with("a\\r\\n<B>\\r\\nx\\r\\ny\\r\\n<E>\\r\\n"), &[]);
    table.row("edited by hand", &with("<B>\\nx\\nz\\n<E>\\n"), &["content"]);
    table.row("a line taken out by hand", &with("<B>\\nx\\n<E>\\n"), &["content"]);
    table.row("emptied", &with("a\\n<B>\\n<E>\\n"), &["content"]);
    table.row(
        "in another comment",
        &with("; BEGIN converge: site\\nx\\ny\\n; END converge: site\\n"),
        &["comment"],
    );
    table.row("no end of the last line", &with("a\\nb"), &["content"]);
    table.row("CRLF", &with("a\\r\\n"), &["content"]);
    table.row("bytes that are not UTF-8", &with("\\377\\n\\200"), &["content"]);
    table.row("its end is gone, its content is there", &with("a\\n<B>\\nx\\ny\\nb\\n"), &["marker"]);
    table.row("its begin is gone, its content is there", &with("a\\nx\\ny\\n<E>\\nb\\n"), &["marker"]);
    table.row(
        "another owner and mode",
        &(with("a\\n") + "; cd /srv/cvg-block; chown 1:2 f; chmod 600 f"),
        &["content"],
    );
    table.row(
        "what a killed run left",
        &(with("a\\n") + "; echo > /srv/cvg-block/.f.converge"),
        &["content"],
    );
    table.refused(
        "its end is gone, and its content too",
        &with("<B>\\nx\\nb\\n"),
        "line 1 of /srv/cvg-block/f",
    );
    table.refused(
        "its begin is gone, and its content too",
        &with("a\\ny\\n<E>\\n"),
        "line 3 of /srv/cvg-block/f",
    );
    table.refused("twice", &with("<B>\\nx\\ny\\n<E>\\n<B>\\nx\\ny\\n<E>\\n"), "lines 1, 4, 5, 8");
    table.refused("its end first", &with("<E>\\n<B>\\n"), "lines 1, 2");
    table.refused(
        "another block in it",
        &with("<B>\\n# BEGIN converge: b\\n# END converge: b\\n<E>\\n"),
        "line 2",
    );
    table.refused("a link", "mkdir /srv/cvg-block; cd /srv/cvg-block; echo > g; ln -s g f", "is a symlink");
    table.refused("no file", "mkdir /srv/cvg-block", "the file /srv/cvg-block/f does not exist");
}

#[test]
fn a_block_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"block": "site", "file": "/srv/cvg-noblock/f", "state": "absent"});
    let clear = "rm -rf /srv/cvg-noblock";
    let look = "stat -c '%n %F %i %Y %Z' /srv/cvg-noblock/* 2>&1; cat /srv/cvg-noblock/f 2>&1; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "block", declared, clear, look };
    let with = |bytes: &str| with(bytes).replace("cvg-block", "cvg-noblock");
    table.row("no directory", "", &[]);
    table.row("no file", "mkdir /srv/cvg-noblock", &[]);
    table.row("absent", &with("a\\n"), &[]);
    table.row("another one is there", &with("# BEGIN converge: siteB\\n# END converge: siteB\\n"), &[]);
    table.row("there", &with("a\\n<B>\\nx\\n<E>\\nb\\n"), &["content"]);
    table.row("all there is", &with("<B>\\n<E>"), &["content"]);
    table.refused("half of it", &with("a\\n<B>\\nx\\n"), "line 2");
}
