//! `authorized_key` from every start.

use serde_json::json;

use crate::agent::{host, resource};
use crate::table::Table;

const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEDqU5BPqNHLNNPvjom2bVX4dejSydH/JDIwBMuwjrPB";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBLC9XM97Z46kLD/fT6N1QOKYwuUTq0P40kMafHPkugu";
const C: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKC62oyaJGnyepZlIGUxJk6lylOHXrzG3mWXt4e4B2ye";

/// Of the user whose name is at `{}`.
fn clear(user: &str) -> String {
    format!("userdel -f {user}; groupdel {user}; rm -rf /srv/{user}")
}

fn look(user: &str) -> String {
    format!(
        "find /srv/{user} -printf '%p %y %i %T@ %C@ %u %g %m %l\\n' 2>&1; cat /srv/{user}/home/.ssh/authorized_keys* 2>&1; true"
    )
}

/// The user with a home, and its keys as these lines; `change` is done to it then.
fn made(user: &str, lines: &str, change: &str) -> String {
    format!(
        "set -e; mkdir -p /srv/{user}; useradd -m -d /srv/{user}/home {user}; cd /srv/{user}/home; \
         install -d -m 700 -o {user} -g {user} .ssh; printf '%b' '{lines}' > .ssh/authorized_keys; \
         chmod 600 .ssh/authorized_keys; chown {user}:{user} .ssh/authorized_keys; {change}"
    )
}

#[test]
fn a_key_from_every_start() {
    let Some(host) = host() else { return };
    let user = "cvg-k";
    let declared = json!({"authorized_key": "ops", "user": user, "key": format!("{A} ops@home"), "options": "restrict,command=\"/bin/a b\""});
    let (clear, look) = (clear(user), look(user));
    let mut table = Table {
        host: &host,
        agent: host.agent(),
        word: "authorized_key",
        declared,
        clear: &clear,
        look: &look,
    };
    let right = format!("restrict,command=\"/bin/a b\" {A} ops@home");
    let made = |lines: &str, change: &str| made(user, lines, change);
    let others = format!("# mine\\r\\n\\nno-pty,from=\"10.0.0.0/8\" {B} b at work\\n");
    table.row("no .ssh", &made("", "rm -r .ssh"), &["directory", "key", "options"]);
    assert_eq!(
        host.must("stat -c '%a %U %G' /srv/cvg-k/home/.ssh /srv/cvg-k/home/.ssh/*"),
        "700 cvg-k cvg-k\n600 cvg-k cvg-k\n"
    );
    table.row("no file", &made("", "rm .ssh/*"), &["key", "options"]);
    table.row("an empty file", &made("", ""), &["key", "options"]);
    table.row("right", &made(&format!("{right}\\n"), ""), &[]);
    table.row("right, under another comment", &made(&right.replace("ops@home", "root@elsewhere"), ""), &[]);
    table.row("right, among others", &made(&format!("{others}{right}\\n{C}\\n"), ""), &[]);
    table.row("others, and no line end", &made(&format!("{others}{C} c"), ""), &["key", "options"]);
    assert_eq!(
        host.must("cat /srv/cvg-k/home/.ssh/authorized_keys"),
        format!("# mine\r\n\nno-pty,from=\"10.0.0.0/8\" {B} b at work\n{C} c\n{right}\n")
    );
    table.row("without options", &made(&format!("{others}{A} x\\n"), ""), &["options"]);
    table.row("other options", &made(&format!("no-pty {A} x\\n{others}"), ""), &["options"]);
    table.row("a second line without options", &made(&format!("{right}\\n{A}\\n"), ""), &["options"]);
    table.row(
        "one without options in the second file",
        &made(&right, &format!("echo '{A}' > .ssh/authorized_keys2")),
        &["options"],
    );
    table.row(".ssh open to others", &made(&right, "chmod 775 .ssh"), &["directory"]);
    table.row(".ssh of root's", &made(&right, "chown root .ssh"), &["directory"]);
    table.row("the file open to others", &made(&right, "chmod 664 .ssh/*"), &["file"]);
    table.row(
        "the file of root's, without the key",
        &made(&others, "chown root: .ssh/*"),
        &["file", "key", "options"],
    );
    table.row(
        "what a killed run left",
        &made("", "echo x > .ssh/.authorized_keys.converge"),
        &["key", "options"],
    );
    table.row("no key in it at all", &made("nonsense\\n\\0377\\n", ""), &["key", "options"]);
    let victim = "mkdir -p /srv/cvg-k/victim; ";
    table.refused(
        ".ssh is a link that the user made",
        &made("", &format!("{victim} mv .ssh x; ln -s /srv/cvg-k/victim .ssh; chown -h cvg-k .ssh")),
        ".ssh is a symlink, and must be a directory",
    );
    table.refused(
        ".ssh is a file",
        &made("", "rm -r .ssh; touch .ssh"),
        ".ssh is a file, and must be a directory",
    );
    table.refused(
        "the file is a link",
        &made("", &format!("{victim} rm .ssh/*; ln -s /srv/cvg-k/victim/f .ssh/authorized_keys")),
        "authorized_keys is a symlink, and is left alone",
    );
    table.refused(
        "the file is a directory",
        &made("", "rm .ssh/*; mkdir .ssh/authorized_keys"),
        "authorized_keys is a directory, and is left alone",
    );
    table.refused("the file is another name of one of root's", &made("", &format!("{victim} echo secret > ../victim/f; chmod 600 ../victim/f; rm .ssh/*; ln ../victim/f .ssh/authorized_keys")), "has another name too, and is not the user's");
    table.refused(
        "its home is a link that the user made",
        &made("", &format!("{victim} cd ..; mv home victim/h; ln -s victim/h home; chown -h cvg-k home")),
        "is a link that cvg-k made, and is not followed",
    );
    table.refused("no home", &made("", "rm -r ../home"), "its directory /srv/cvg-k/home does not exist");
    table.refused("no user", "true", "there is no user cvg-k");
}

#[test]
fn options_that_are_not_declared_stay_and_the_label_is_the_comment_of_a_new_line() {
    let Some(host) = host() else { return };
    let user = "cvg-k3";
    let declared = json!({"authorized_key": "alice's laptop", "user": user, "key": A});
    let (clear, look) = (clear(user), look(user));
    let mut table = Table {
        host: &host,
        agent: host.agent(),
        word: "authorized_key",
        declared,
        clear: &clear,
        look: &look,
    };
    table.row("restricted by hand", &made(user, &format!("restrict {A} x"), ""), &[]);
    table.row("there twice", &made(user, &format!("restrict {A} x\\n{A}\\n"), ""), &[]);
    table.row("absent", &made(user, "", ""), &["key"]);
    assert_eq!(host.must("cat /srv/cvg-k3/home/.ssh/authorized_keys"), format!("{A} alice's laptop\n"));
    table.declared = json!({"authorized_key": "x", "user": user, "key": A, "options": []});
    table.row("restricted, and none declared", &made(user, &format!("restrict {A} x"), ""), &["options"]);
    // Another resource says who owns these.
    table.declared = json!({"authorized_key": "x", "user": user, "key": A,
        "_declared_paths": ["/srv/cvg-k3/home/.ssh", "/srv/cvg-k3/home/.ssh/authorized_keys"]});
    table.row(
        "kept by root on purpose",
        &made(user, &format!("{A}\\n"), "chown -R root:cvg-k3 .ssh; chmod 750 .ssh; chmod 640 .ssh/*"),
        &[],
    );
    table.row(
        "kept by root, without the key",
        &made(user, "", "chown -R root:cvg-k3 .ssh; chmod 750 .ssh; chmod 640 .ssh/*"),
        &["key"],
    );
    assert_eq!(host.must("stat -c '%a %U %G' /srv/cvg-k3/home/.ssh/*"), "640 root cvg-k3\n");
}

#[test]
fn with_exclusive_only_the_declared_keys_stay() {
    let Some(host) = host() else { return };
    let user = "cvg-k4";
    let declared =
        json!({"authorized_key": "ops", "user": user, "key": A, "exclusive": true, "_declared_keys": [B]});
    let (clear, look) = (clear(user), look(user));
    let mut table = Table {
        host: &host,
        agent: host.agent(),
        word: "authorized_key",
        declared,
        clear: &clear,
        look: &look,
    };
    table.row("only these", &made(user, &format!("# mine\\n{A}\\n{B} b\\n"), ""), &[]);
    table.row("this one alone", &made(user, &format!("{A}\\n"), ""), &[]);
    table.row(
        "one more",
        &made(user, &format!("# mine\\n{A}\\nno-pty {C} c\\n{B} b\\n"), ""),
        &["exclusive"],
    );
    assert_eq!(host.must("cat /srv/cvg-k4/home/.ssh/authorized_keys"), format!("# mine\n{A}\n{B} b\n"));
    table.row("another in its place", &made(user, &format!("{C} c\\n"), ""), &["key", "exclusive"]);
    table.row(
        "one more in the second file",
        &made(user, &format!("{A}\\n"), &format!("echo '{C}' > .ssh/authorized_keys2")),
        &["exclusive"],
    );
    assert_eq!(host.must("cat /srv/cvg-k4/home/.ssh/authorized_keys2"), "");
    table.row(
        "what is no key that we know",
        &made(user, &format!("{A}\\nsk-new@openssh.com AAAA= x\\n"), ""),
        &["exclusive"],
    );
}

#[test]
fn a_key_goes_from_every_start() {
    let Some(host) = host() else { return };
    let user = "cvg-k2";
    let declared = json!({"authorized_key": "ops", "user": user, "key": A, "state": "absent"});
    let (clear, look) = (clear(user), look(user));
    let mut table = Table {
        host: &host,
        agent: host.agent(),
        word: "authorized_key",
        declared,
        clear: &clear,
        look: &look,
    };
    table.row("no user", "", &[]);
    table.row("no home", &made(user, "", "rm -r ../home"), &[]);
    table.row("no .ssh", &made(user, "", "rm -r .ssh"), &[]);
    table.row("not there", &made(user, &format!("{B}\\n"), ""), &[]);
    table.row("there", &made(user, &format!("# x\\n{A}\\n{B}"), ""), &["key"]);
    table.row(
        "there, with options and twice",
        &made(user, &format!("no-pty {A}\\n{B}\\n{A} x"), ""),
        &["key"],
    );
    assert_eq!(host.must("cat /srv/cvg-k2/home/.ssh/authorized_keys"), format!("{B}\n"));
    table.row(
        "in the second file",
        &made(user, &format!("{B}\\n"), &format!("echo '{A}' > .ssh/authorized_keys2")),
        &["key"],
    );
    table.row("the file is open to others", &made(user, &format!("{A}\\n"), "chmod 664 .ssh/*"), &["key"]);
}

#[test]
fn many_keys_of_one_user_are_written_at_the_same_time_and_none_is_lost() {
    let Some(host) = host() else { return };
    let user = "cvg-k5";
    host.sh(&clear(user));
    host.must(&made(user, "", "rm -r .ssh"));
    let mut agent = host.agent();
    let keys = [A, B, C].map(|key| {
        resource("authorized_key", json!({"authorized_key": key[60..], "user": user, "key": key}))
    });
    for ended in agent.converge_all(&keys) {
        assert_eq!(ended, Ok(()));
    }
    assert_eq!(host.must("cut -d' ' -f1,2 /srv/cvg-k5/home/.ssh/authorized_keys | sort"), {
        let mut all = [A, B, C].map(|key| format!("{key}\n"));
        all.sort();
        all.concat()
    });
    host.sh(&clear(user));
}
