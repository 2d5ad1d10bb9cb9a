//! `user` from every start.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

/// `openssl passwd -6 -salt saltsalt correct-horse`, and of another password.
const HASH: &str =
    "$6$saltsalt$K7UFl//Wp07xMvFGF5CNr3JVL52HTe9O9C8NXwEvinkuKFSKIlvZQXSwQoNHq5D.BYsXc7IkvOpvWCBRDof1g1";
const OTHER: &str =
    "$6$saltsalt$XvF32Qr5JEOxRpnW3QHeZqVoIS8VXPmJpI.1jl10LjCPcdAEI3Q1kDQ.EKPcBnzfi/2K1K8ahBqYEfivMn76s.";

const CLEAR: &str = "userdel -f cvg-u; for g in cvg-u cvg-ug cvg-ua cvg-ub cvg-uc; do groupdel -f $g; done; rm -rf /srv/cvg-u";

/// All that is said of it, with the times and inodes of its home, and that nobody else was touched.
const LOOK: &str = "grep -h cvg-u /etc/passwd /etc/group /etc/gshadow; grep ^cvg-u: /etc/shadow; \
    find /srv/cvg-u -printf '%p %y %i %T@ %C@ %u %g %m %l\\n' 2>&1; true";

/// The groups, and the account in them as it is declared below, but for what `change` does to it.
fn made(change: &str) -> String {
    format!(
        "set -e; mkdir -p /srv/cvg-u; for g in cvg-ug cvg-ua cvg-ub cvg-uc; do groupadd $g; done; \
         useradd -u 4801 -g cvg-ug -G cvg-ua,cvg-ub -d /srv/cvg-u/home -m -s /bin/sh -c 'Jörg, 3' cvg-u; \
         echo 'cvg-u:{HASH}' | chpasswd -e; {change}"
    )
}

#[test]
fn an_account_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({
        "user": "cvg-u", "uid": 4801, "group": "cvg-ug", "groups": ["cvg-ua", "cvg-ub"], "home": "/srv/cvg-u/home",
        "shell": "/bin/sh", "comment": "Jörg, 3", "password_hash": HASH,
    });
    let mut table =
        Table { host: &host, agent: host.agent(), word: "user", declared, clear: CLEAR, look: LOOK };
    let groups = "mkdir -p /srv/cvg-u; for g in cvg-ug cvg-ua cvg-ub; do groupadd $g; done; ";
    let all = ["state", "uid", "group", "groups", "home", "create_home", "shell", "comment", "password_hash"];
    table.row("absent", groups, &all);
    let with_home: Vec<&str> = all.into_iter().filter(|name| *name != "create_home").collect();
    table.row(
        "absent, with a directory in the home's place",
        &format!("{groups} mkdir /srv/cvg-u/home"),
        &with_home,
    );
    table.row("right", &made(""), &[]);
    table.row("another uid", &made("usermod -u 4790 cvg-u"), &["uid"]);
    table.row("another group", &made("usermod -g cvg-uc cvg-u"), &["group"]);
    table.row("not in one of its groups", &made("usermod -G cvg-ua cvg-u"), &["groups"]);
    table.row("in another group too", &made("usermod -aG cvg-uc cvg-u"), &[]);
    table.row("in its own group's line too", &made("gpasswd -a cvg-u cvg-ug"), &[]);
    table.row(
        "another home, which is there",
        &made("cp -a /srv/cvg-u/home /srv/cvg-u/x; usermod -d /srv/cvg-u/x cvg-u"),
        &["home"],
    );
    table.row(
        "another home, and none in the right place",
        &made("usermod -m -d /srv/cvg-u/x cvg-u"),
        &["home", "create_home"],
    );
    table.row("no home", &made("rm -r /srv/cvg-u/home"), &["create_home"]);
    table.row(
        "what a killed run left of a home",
        &made("mv /srv/cvg-u/home /srv/cvg-u/.home.converge-home"),
        &["create_home"],
    );
    table.row(
        "a link to a directory for a home",
        &made("mv /srv/cvg-u/home /srv/cvg-u/real; ln -s real /srv/cvg-u/home"),
        &[],
    );
    table.row("a home of root's", &made("chown root: /srv/cvg-u/home"), &[]);
    table.row("another shell", &made("usermod -s /bin/bash cvg-u"), &["shell"]);
    table.row("another comment", &made("usermod -c x cvg-u"), &["comment"]);
    table.row("no comment", &made("usermod -c '' cvg-u"), &["comment"]);
    table.row("another password", &made(&format!("echo 'cvg-u:{OTHER}' | chpasswd -e")), &["password_hash"]);
    table.row("an empty password", &made("passwd -d cvg-u"), &["password_hash"]);
    table.row("its password, locked", &made("usermod -L cvg-u"), &[]);
    table.row(
        "killed after useradd",
        &made("echo 'cvg-u:!' | chpasswd -e; rm -r /srv/cvg-u/home"),
        &["create_home", "password_hash"],
    );
    table.refused(
        "a file for a home",
        &made("rm -r /srv/cvg-u/home; touch /srv/cvg-u/home"),
        "/srv/cvg-u/home is a file, and its home is to be there",
    );
    table.refused(
        "its uid is another's",
        &format!("{groups} useradd -M -u 4801 -g cvg-ug cvg-u2"),
        "the uid 4801 is that of the user cvg-u2",
    );
    host.sh("userdel cvg-u2");
}

#[test]
fn a_locked_account_in_exactly_these_groups() {
    let Some(host) = host() else { return };
    let declared = json!({
        "user": "cvg-x", "groups": ["cvg-xa"], "append": false, "create_home": false, "locked": true,
    });
    let clear = "userdel -f cvg-x; userdel -f cvg-xo; for g in cvg-x cvg-xa cvg-xb; do groupdel -f $g; done";
    let look = "grep -h cvg-x /etc/passwd /etc/group /etc/gshadow /etc/shadow; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "user", declared, clear, look };
    let groups = "groupadd cvg-xa; groupadd cvg-xb; useradd -M -G cvg-xa,cvg-xb cvg-xo; ";
    let made = |change: &str| format!("{groups} useradd -M -G cvg-xa cvg-x; {change}");
    table.row("absent", groups, &["state", "groups"]);
    table.row("absent, with a group of its name", &format!("{groups} groupadd cvg-x"), &["state", "groups"]);
    table.row("right", &made(""), &[]);
    table.row("no password at all", &made("echo 'cvg-x:*' | chpasswd -e"), &[]);
    table.row("locked, with a password below", &made(&format!("echo 'cvg-x:!{HASH}' | chpasswd -e")), &[]);
    table.row("not locked", &made(&format!("echo 'cvg-x:{HASH}' | chpasswd -e")), &["locked"]);
    table.row("without a password to ask for", &made("passwd -d cvg-x"), &["locked"]);
    table.row("in another group too", &made("usermod -aG cvg-xb cvg-x"), &["groups"]);
    table.row("in another group only", &made("usermod -G cvg-xb cvg-x"), &["groups"]);
    table.row("in none", &made("usermod -G '' cvg-x"), &["groups"]);
    table.row("in its own group's line too", &made("gpasswd -a cvg-x cvg-x"), &[]);
    table.row(
        "in too many, and in its own group's line",
        &made("gpasswd -a cvg-x cvg-x; gpasswd -a cvg-x cvg-xb"),
        &["groups"],
    );
    // Whoever else is in the groups stays there.
    assert!(host.must("getent group cvg-xb").contains("cvg-xo"));
    let nobody = json!({"user": "cvg-x", "groups": [], "append": false, "create_home": false});
    table.declared = nobody;
    table.row("in none, as declared", &made("usermod -G '' cvg-x"), &[]);
    table.row("in one, and none declared", &made(""), &["groups"]);
}

#[test]
fn an_account_is_unlocked_and_its_hash_stays() {
    let Some(host) = host() else { return };
    let declared = json!({"user": "cvg-l", "locked": false, "create_home": false});
    let (clear, look) = ("userdel -f cvg-l; groupdel cvg-l", "grep -h cvg-l /etc/passwd /etc/shadow; true");
    let mut table = Table { host: &host, agent: host.agent(), word: "user", declared, clear, look };
    let made = |field: &str| format!("useradd -M cvg-l; echo 'cvg-l:{field}' | chpasswd -e");
    table.row("not locked", &made(HASH), &[]);
    table.row("locked", &made(&format!("!{HASH}")), &["locked"]);
    assert!(host.must("grep ^cvg-l: /etc/shadow").contains(&format!("cvg-l:{HASH}:")));
    table.row("locked twice, as passwd does on Fedora", &made(&format!("!!{HASH}")), &["locked"]);
    table.refused("no password", &made("!"), "it has no password that could be unlocked");
    table.refused("none that anybody knows", &made("*"), "it has no password that could be unlocked");
    table.refused("absent", "true", "a new account without a password cannot be unlocked");
    table.declared = json!({"user": "cvg-l", "locked": false, "create_home": false, "password_hash": HASH});
    table.row("locked, another hash", &made(&format!("!{OTHER}")), &["password_hash", "locked"]);
    table.row("new, with nothing set yet", &made("!"), &["password_hash"]);
    table.row("absent, with a password", "", &["state", "password_hash", "locked"]);
    assert!(host.must("grep ^cvg-l: /etc/shadow").contains(&format!("cvg-l:{HASH}:")));
}

#[test]
fn an_account_of_the_system_that_is_there_gets_no_home_by_the_way() {
    let Some(host) = host() else { return };
    let declared = json!({"user": "cvg-s", "shell": "/bin/false"});
    let clear = "userdel -f cvg-s; groupdel cvg-s; rm -rf /home/cvg-s";
    let look = "grep -h cvg-s /etc/passwd; stat -c '%n %i %Z %a %U' /home/cvg-s 2>&1; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "user", declared, clear, look };
    table.row("of the system, without a home", "useradd -r -M -s /bin/false cvg-s", &[]);
    table.row("ordinary, without a home", "useradd -M -s /bin/false cvg-s", &["create_home"]);
    table.row("absent", "", &["state", "create_home", "shell"]);
    assert!(
        host.must("ls -A /home/cvg-s; stat -c %U:%G:%a /home/cvg-s").ends_with(".profile\ncvg-s:cvg-s:755\n")
    );
    table.declared = json!({"user": "cvg-s", "system": true});
    table.row("absent, of the system", "", &["state"]);
    assert!(host.must("id -u cvg-s").trim().parse::<u32>().unwrap() < 1000);
    table.declared = json!({"user": "cvg-s", "create_home": true});
    table.row("of the system, and a home is asked for", "useradd -r -M cvg-s", &["create_home"]);
}

#[test]
fn an_account_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"user": "cvg-r", "state": "absent", "remove_home": true});
    let clear = "pkill -KILL -u cvg-r; userdel -f cvg-r; userdel -f cvg-r2; groupdel cvg-r; groupdel cvg-rg; umount /srv/cvg-r/home/m; rm -rf /srv/cvg-r /var/mail/cvg-r";
    let look = "grep -h cvg-r /etc/passwd /etc/group /etc/shadow; find /srv/cvg-r /var/mail/cvg-r -printf '%p %i\\n' 2>&1; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "user", declared, clear, look };
    let made = |change: &str| {
        format!(
            "mkdir -p /srv/cvg-r; groupadd cvg-rg; useradd -m -d /srv/cvg-r/home -G cvg-rg cvg-r; {change}"
        )
    };
    table.row("absent", "", &[]);
    table.row("absent, its home is there", "mkdir -p /srv/cvg-r/home", &[]);
    table.row(
        "there",
        &made("touch /srv/cvg-r/home/x; install -o cvg-r /dev/null /var/mail/cvg-r"),
        &["state", "remove_home"],
    );
    assert_eq!(host.must("ls -A /srv/cvg-r; getent group cvg-rg"), host.must("getent group cvg-rg"));
    assert_ne!(host.sh("getent group cvg-r").0, 0, "its own group went with it");
    table.row("without its home", &made("rm -r /srv/cvg-r/home"), &["state"]);
    table.row(
        "links in its home that lead out of it",
        &made("mkdir /srv/cvg-r/keep; touch /srv/cvg-r/keep/x; ln -s ../keep /srv/cvg-r/home/l"),
        &["state", "remove_home"],
    );
    host.must("test -f /srv/cvg-r/keep/x");
    table.refused(
        "a home that is a link",
        &made("mv /srv/cvg-r/home /srv/cvg-r/real; ln -s real /srv/cvg-r/home"),
        "/srv/cvg-r/home is a symlink",
    );
    table.refused("a home of root's", &made("chown root /srv/cvg-r/home"), "/srv/cvg-r/home belongs to root");
    table.refused("a home of the system's", &made("usermod -d / cvg-r"), "/ is the system's");
    table.refused(
        "another lives there",
        &made("useradd -M -d /srv/cvg-r/home/sub cvg-r2"),
        "cvg-r2 lives in /srv/cvg-r/home/sub too",
    );
    table.refused(
        "something is mounted in it",
        &made("mkdir /srv/cvg-r/home/m; mount -t tmpfs x /srv/cvg-r/home/m"),
        "a file system is mounted on /srv/cvg-r/home/m",
    );
    table.refused(
        "it has processes",
        &made(
            "setsid su cvg-r -s /bin/sh -c 'exec sleep 4801' >/dev/null 2>&1 </dev/null & \
               until pgrep -u cvg-r -x sleep >/dev/null; do sleep 0.05; done",
        ),
        "still has processes, and is not removed",
    );
    table.declared = json!({"user": "cvg-r", "state": "absent"});
    table.row("and its home is to stay", &made(""), &["state"]);
    host.must("test -f /srv/cvg-r/home/.profile");
}
