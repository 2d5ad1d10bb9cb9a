//! Bugs that others carried for years and that are no single type's: what is not declared and gets
//! lost on the way, where a link or a disk comes in between, and what a host's language, umask and
//! missing tools must not change.

use serde_json::{Value, json};

use crate::agent::{Agent, Host, host, resource, told};
use crate::user_bugs::without;
use crate::web::Web;
use converge::resource::{AnyResource, Check};

/// A directory of a test's own, gone when the test ends.
struct Place<'a> {
    host: &'a Host,
    path: String,
}

impl<'a> Place<'a> {
    fn new(host: &'a Host, name: &str) -> Place<'a> {
        let place = Place { host, path: format!("/srv/cvg-bug-{name}") };
        place.clear();
        host.must(&format!("mkdir {}", place.path));
        place
    }

    fn at(&self, line: &str) -> String {
        self.host.must(&format!("cd {}; {line}", self.path))
    }

    fn clear(&self) {
        let path = &self.path;
        self.host.sh(&format!("umount {path} 2>/dev/null; chattr -R -i {path} 2>/dev/null; rm -rf {path}"));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[track_caller]
fn converges(agent: &mut Agent, declared: &AnyResource) {
    let (applied, end) = agent.converge(declared);
    assert!(applied.is_some() && end == Ok(()), "{}: {end:?}", declared.id());
    assert_eq!(agent.converge(declared), (None, Ok(())), "{}: the second run", declared.id());
}

#[test]
fn setuid_bits_are_not_lost_by_chown_after_chmod() {
    let Some(host) = host() else { return };
    let place = Place::new(&host, "setuid");
    let mut agent = host.agent();
    let seen = |name: &str| place.at(&format!("stat -c '%U:%G %a' {name}"));
    for (kind, mode) in [("file", "4755"), ("file", "6750"), ("directory", "2775"), ("directory", "3777")] {
        let make = if kind == "file" { "touch" } else { "mkdir" };
        place.at(&format!("rm -rf x; {make} x; chmod {mode} x"));
        // Declared, and to be made with its owner.
        let x = format!("{}/x", place.path);
        let all = json!({kind: x, "owner": "www-data", "group": "daemon", "mode": mode});
        converges(&mut agent, &resource(kind, all.clone()));
        assert_eq!(seen("x"), format!("www-data:daemon {mode}\n"), "{kind}");
        place.at("rm -rf x");
        converges(&mut agent, &resource(kind, all));
        assert_eq!(seen("x"), format!("www-data:daemon {mode}\n"), "{kind}, new");
        // Where no mode is declared, the kernel sees to it that a file of another owner is none of his.
        place.at(&format!("rm -rf x; {make} x; chmod {mode} x"));
        converges(&mut agent, &resource(kind, json!({kind: x, "owner": "daemon"})));
        let left = if kind == "file" { &mode[1..] } else { mode };
        assert_eq!(seen("x").trim().rsplit(' ').next(), Some(left), "{kind} with its owner");
    }
    // And where new content comes with the new owner.
    let x = format!("{}/x", place.path);
    place.at("echo new > from");
    for (word, declared) in [
        ("file", json!({"file": x, "owner": "daemon", "content": "new\n"})),
        ("download", json!({"download": x, "owner": "daemon", "url": format!("file://{}/from", place.path)})),
    ] {
        place.at("rm -rf x; touch x; chmod 6755 x");
        converges(&mut agent, &resource(word, declared));
        assert_eq!(seen("x"), "daemon:root 755\n", "{word}");
    }
    // New content, and a part of it.
    place.at("echo old > f; chown www-data: f; chmod 4755 f");
    let f = format!("{}/f", place.path);
    converges(&mut agent, &resource("file", json!({"file": f, "content": "new\n"})));
    assert_eq!(seen("f"), "www-data:www-data 4755\n");
    converges(&mut agent, &resource("line", json!({"line": "x", "file": f, "text": "x"})));
    converges(&mut agent, &resource("block", json!({"block": "x", "file": f, "content": "y\n"})));
    assert_eq!(seen("f"), "www-data:www-data 4755\n");
    // Below a directory.
    place.at("mkdir d; touch d/s; chmod 4755 d/s");
    let d = format!("{}/d", place.path);
    converges(
        &mut agent,
        &resource("directory", json!({"directory": d, "owner": "daemon", "recurse": true})),
    );
    assert_eq!(seen("d/s"), "daemon:root 755\n");
    let all = json!({"directory": d, "owner": "www-data", "mode": "4755", "recurse": true});
    converges(&mut agent, &resource("directory", all));
    assert_eq!(
        (seen("d"), seen("d/s")),
        ("www-data:root 4755\n".to_owned(), "www-data:root 4755\n".to_owned())
    );
}

#[test]
fn mode_and_owner_on_a_symlink_never_reach_what_it_points_to() {
    let Some(host) = host() else { return };
    let place = Place::new(&host, "link");
    let mut agent = host.agent();
    let victim = || place.at("stat -c '%U %a %F %Z' victim dir; cat victim");
    place.at("echo secret > victim; chmod 600 victim; mkdir -m 700 dir");
    let was = victim();
    for (word, target) in
        [("file", "victim"), ("directory", "dir"), ("file", "nowhere"), ("directory", "nowhere")]
    {
        place.at(&format!("rm -rf l; ln -s {target} l"));
        let declared = json!({word: format!("{}/l", place.path), "owner": "daemon", "mode": "777"});
        let said = agent.converge(&resource(word, declared.clone())).1.unwrap_err();
        assert!(said.contains("is a symlink"), "{word} at a link to {target}: {said}");
        assert_eq!(place.at("readlink l"), format!("{target}\n"));
        let mut forced = declared;
        forced["force"] = json!(true);
        converges(&mut agent, &resource(word, forced));
        assert_eq!(place.at("stat -c '%U %a' l"), "daemon 777\n");
        assert_eq!(victim(), was, "{word} at a link to {target}");
    }
    // Below a directory: a link has an owner, and no mode.
    place.at("mkdir tree; ln -s ../victim tree/f; ln -s ../dir tree/d; ln -s nowhere tree/n");
    let tree = json!({"directory": format!("{}/tree", place.path), "owner": "daemon", "mode": "777", "recurse": true});
    converges(&mut agent, &resource("directory", tree));
    assert_eq!(victim(), was);
    // A symlink has none to declare.
    let declared = json!({"symlink": "/srv/l", "target": "/etc", "mode": "777"});
    let refused = AnyResource::read("symlink", declared).expect("a known type").unwrap_err().to_string();
    assert!(refused.contains("mode"), "{refused}");
}

#[test]
fn a_full_disk_leaves_the_old_file_whole_and_nothing_beside_it() {
    let Some(host) = host() else { return };
    let place = Place::new(&host, "full");
    place.at("mount -t tmpfs -o size=64k tmpfs .");
    let path = |name: &str| format!("{}/{name}", place.path);
    let long = "0123456789abcde\n".repeat(8 * 1024);
    let declared = [
        resource("file", json!({"file": path("f"), "content": long})),
        resource("block", json!({"block": "x", "file": path("f"), "content": long})),
        resource("line", json!({"line": "x", "file": path("f"), "text": "x".repeat(120_000)})),
        resource("file", json!({"file": path("new"), "content": long})),
    ];
    place.at("echo old > f; chown www-data f; chmod 4750 f");
    // A candidate that did not fit leaves no trace but the time of the directory.
    let look = || place.at("find . -mindepth 1 -printf '%p %y %i %T@ %C@ %U %m\\n' | sort; cat f");
    let was = look();
    let mut agent = host.agent();
    for declared in &declared {
        let Ok(Check::Needs(needed)) = agent.check(declared) else { panic!("{} needs room", declared.id()) };
        let failure = agent.apply(declared, &needed).unwrap_err();
        assert!(failure.reason.contains("No space left on device"), "{}: {failure:?}", declared.id());
        assert!(failure.help.is_some_and(|help| help.contains("df -h")), "{}", declared.id());
        assert_eq!(look(), was, "{}", declared.id());
    }
}

#[test]
fn immutable_and_read_only_targets_are_told_with_the_way_out_and_nothing_is_left_beside_them() {
    let Some(host) = host() else { return };
    let place = Place::new(&host, "fixed");
    let path = |name: &str| format!("{}/{name}", place.path);
    let declared = || {
        [
            resource("file", json!({"file": path("f"), "content": "new\n"})),
            resource("file", json!({"file": path("f"), "mode": "600"})),
            resource("file", json!({"file": path("f"), "owner": "daemon"})),
            resource("file", json!({"file": path("f"), "state": "absent"})),
            resource("line", json!({"line": "x", "file": path("f"), "text": "x"})),
            resource("block", json!({"block": "x", "file": path("f"), "content": "x\n"})),
        ]
    };
    let mut agent = host.agent();
    let mut all_fail = |all: &[AnyResource], reason: &str, help: &str| {
        let look = || place.at("find . -mindepth 1 -printf '%p %y %i %T@ %C@ %U %m %l\\n' | sort; cat f");
        let was = look();
        for declared in all {
            let Ok(Check::Needs(needed)) = agent.check(declared) else { panic!("{}", declared.id()) };
            let failure = agent.apply(declared, &needed).unwrap_err();
            assert!(failure.reason.contains(reason), "{}: {failure:?}", told(&needed));
            assert!(
                failure.help.as_ref().is_some_and(|it| it.contains(help)),
                "{}: {failure:?}",
                told(&needed)
            );
            assert_eq!(look(), was, "{}", told(&needed));
        }
    };
    let more = [
        resource("file", json!({"file": path("new"), "content": "new\n"})),
        resource("directory", json!({"directory": path("new")})),
        resource("directory", json!({"directory": path("d"), "state": "absent"})),
        resource("symlink", json!({"symlink": path("l"), "target": "/etc"})),
    ];
    place.at("mount -t tmpfs tmpfs .");
    place.at("echo old > f; mkdir d; ln -s /srv l; mount -o remount,ro .");
    all_fail(&[declared().as_slice(), more.as_slice()].concat(), "Read-only file system", "findmnt -T");
    host.must(&format!("umount {}", place.path));
    place.at("echo old > f; mkdir d; ln -s /srv l; chattr +i f");
    all_fail(&declared(), "Operation not permitted", "chattr -i");
    place.at("chattr -i f; chattr +i .");
    all_fail(
        &[&declared()[..1], &declared()[3..], more.as_slice()].concat(),
        "Operation not permitted",
        "chattr -i",
    );
    place.at("chattr -i .");
}

#[test]
fn umask_077_and_000_change_nothing() {
    let Some(host) = host() else { return };
    let place = Place::new(&host, "umask");
    let web = Web::start(&host, 7760);
    web.serve("f", b"content\n");
    place.at("mkdir from; echo x > from/f; mkdir from/d; echo x > from/d/x; chmod 644 from/f; chmod 755 from/d; tar czf from.tgz from; \
              git init -q -b main repo; cd repo; git config user.name t; git config user.email t@t; mkdir d; echo x > f; echo y > d/y; git add .; git commit -qm x");
    let clear = || {
        host.must("rm -f /etc/cron.d/cvg-bug-umask /etc/sysctl.d/50-cvg-bug-umask.conf /etc/systemd/system/cvg-bug-umask.service; \
                   systemctl daemon-reload; ! id cvg-umask >/dev/null 2>&1 || userdel -rf cvg-umask");
    };
    let mut seen: Vec<(&str, String)> = Vec::new();
    for umask in ["022", "077", "000"] {
        place.at("rm -rf made; mkdir made; chmod 755 made");
        clear();
        let made = |name: &str| format!("{}/made/{name}", place.path);
        let all: Vec<(&str, Value)> = vec![
            ("file", json!({"file": made("file"), "content": "x"})),
            ("file", json!({"file": made("empty")})),
            ("directory", json!({"directory": made("a/b/c")})),
            ("line", json!({"line": "x", "file": made("line"), "text": "x", "create": true})),
            ("block", json!({"block": "x", "file": made("block"), "content": "x\n", "create": true})),
            ("download", json!({"download": made("download"), "url": web.url("plain/f")})),
            (
                "archive",
                json!({"archive": made("archive"), "url": format!("file://{}/from.tgz", place.path)}),
            ),
            ("git", json!({"git": made("git"), "repository": format!("{}/repo", place.path)})),
            (
                "command",
                json!({"command": format!("mkdir {0}; touch {0}/f", made("command")), "creates": made("command")}),
            ),
            ("cron", json!({"cron": "x", "file": "cvg-bug-umask", "schedule": "@daily", "command": "true"})),
            (
                "sysctl",
                json!({"sysctl": "net.ipv4.tcp_syn_retries", "value": "6", "file": "/etc/sysctl.d/50-cvg-bug-umask.conf"}),
            ),
            (
                "unit",
                json!({"unit": "cvg-bug-umask", "state": "inactive", "content": "[Service]\nExecStart=/bin/true\n"}),
            ),
            ("user", json!({"user": "cvg-umask"})),
            (
                "authorized_key",
                json!({"authorized_key": "x", "user": "cvg-umask",
                "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6MDEyMzQ1"}),
            ),
        ];
        let mut agent = host.agent_with(&format!("umask {umask};"));
        for (word, declared) in all {
            converges(&mut agent, &resource(word, declared));
        }
        let look = "find made /home/cvg-umask /etc/cron.d/cvg-bug-umask /etc/sysctl.d/50-cvg-bug-umask.conf /etc/systemd/system/cvg-bug-umask.service \
                    -path '*/.git/*' -prune -o -printf '%p %y %m\\n' | sort";
        seen.push((umask, place.at(look)));
    }
    clear();
    let usual = &seen[0].1;
    for line in [
        "made/file f 644\n",
        "made/a/b d 755\n",
        "made/download f 644\n",
        "made/git/d/y f 644\n",
        "made/command/f f 644\n",
    ] {
        assert!(usual.contains(line), "{line}{usual}");
    }
    for (umask, made) in &seen[1..] {
        assert_eq!(made, usual, "under umask {umask}");
    }
}

/// In front of a tool: notes that it was called, and where it was not told to speak English.
const SPEAKS: &str = r#"#!/bin/sh
tool=${0##*/}
echo $tool >> /run/cvg-speaks/called
case "$LC_ALL" in C | C.UTF-8) [ -z "$LANGUAGE" ] || echo "$tool: $LANGUAGE" >> /run/cvg-speaks/foreign ;;
    *) echo "$tool: $LC_ALL" >> /run/cvg-speaks/foreign ;;
esac
PATH=/usr/sbin:/usr/bin:/sbin:/bin exec $tool "$@"
"#;

#[test]
fn a_locale_other_than_c_is_hidden_from_every_tool_and_left_to_commands() {
    let Some(host) = host() else { return };
    let place = Place::new(&host, "speaks");
    let tools = [
        "systemctl",
        "supervisorctl",
        "git",
        "mount",
        "findmnt",
        "blkid",
        "useradd",
        "usermod",
        "userdel",
        "chpasswd",
        "groupadd",
        "groupdel",
        "getent",
        "crontab",
        "sqlite3",
        "xz",
        "dpkg-query",
        "apt-get",
        "apt-cache",
        "virsh",
    ];
    host.put("/run/cvg-speaks/tool", SPEAKS.as_bytes());
    host.must(&format!(
        "cd /run/cvg-speaks; rm -f called foreign; chmod +x tool; for t in {}; do cp tool $t; done",
        tools.join(" ")
    ));
    let path = |name: &str| format!("{}/{name}", place.path);
    let clear = "userdel -f cvg-speaks; groupdel cvg-speaks; systemctl disable -q --now cvg-speaks; \
                 rm -f /etc/systemd/system/cvg-speaks.service; systemctl daemon-reload; true";
    host.sh(clear);
    place.at("sqlite3 a.db 'create table t (a)'; echo x > x; tar cJf x.tar.xz x; git init -q -b main repo; \
              cd repo; git -c user.name=t -c user.email=t@t commit -qm x --allow-empty");
    let mut agent =
        host.agent_with("env LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8 LANGUAGE=de PATH=/run/cvg-speaks:$PATH");
    for (word, declared) in [
        (
            "unit",
            json!({"unit": "cvg-speaks", "enabled": true, "content": "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"}),
        ),
        ("git", json!({"git": path("git"), "repository": path("repo")})),
        ("archive", json!({"archive": path("archive"), "url": format!("file://{}", path("x.tar.xz"))})),
        (
            "user",
            json!({"user": "cvg-speaks", "create_home": false, "comment": "Jörg", "password_hash": "*"}),
        ),
        ("cron", json!({"cron": "täglich", "user": "cvg-speaks", "schedule": "@daily", "command": "true"})),
        ("cron", json!({"cron": "täglich", "user": "cvg-speaks", "state": "absent"})),
        ("user", json!({"user": "cvg-speaks", "state": "absent"})),
        (
            "command",
            json!({"command": format!("echo \"$LC_ALL $LANG\" > {}", path("said")), "creates": path("said")}),
        ),
    ] {
        converges(&mut agent, &resource(word, declared));
    }
    assert_eq!(place.at("cat said"), "de_DE.UTF-8 de_DE.UTF-8\n", "a person's command is theirs");
    // What these find is the host's; in which words they ask is the point.
    for (word, declared) in [
        ("database", json!({"database": "x", "engine": "sqlite", "connection": path("a.db")})),
        ("package", json!({"package": "bash"})),
        ("package", json!({"package": "cvg-no-such-package"})),
        ("program", json!({"program": "cvg-no-such-program"})),
        ("domain", json!({"domain": "cvg-none", "hypervisor": "libvirt", "state": "absent"})),
        ("mount", json!({"mount": path("m"), "device": "UUID=0000-0000", "fstype": "vfat"})),
    ] {
        let _ = agent.check(&resource(word, declared));
    }
    assert_eq!(host.sh("cat /run/cvg-speaks/foreign 2>/dev/null").1, "");
    let called = host.must("sort -u /run/cvg-speaks/called; rm -r /run/cvg-speaks");
    for tool in [
        "systemctl",
        "git",
        "xz",
        "useradd",
        "userdel",
        "crontab",
        "sqlite3",
        "dpkg-query",
        "apt-cache",
        "supervisorctl",
        "virsh",
    ] {
        assert!(called.lines().any(|one| one == tool), "{tool} was not called:\n{called}");
    }
    host.sh(clear);
}

#[test]
fn tools_missing_from_the_host_are_named_with_the_package_that_has_them() {
    let Some(host) = host() else { return };
    let tools = "{bin,sbin}/{useradd,usermod,userdel,groupadd,crontab,git,psql,mysql,mariadb,sqlite3,xz,bzip2,zstd,\
                 supervisorctl,xl,virsh,systemctl}";
    let tools = host.must(&format!("bash -c 'cd /usr; ls {tools} 2>/dev/null || true'")).replace('\n', " ");
    let mut agent = host.agent_with(&without(&host, &tools, ""));
    let archive =
        |name: &str| json!({"archive": "/srv/cvg-tools", "url": format!("file:///srv/cvg-tools-{name}")});
    host.must("cd /srv; echo x > cvg-tools-x; for z in 'xz xz' 'bzip2 bz2' 'zstd zst'; do set -- $z; tar c cvg-tools-x | $1 -c > cvg-tools-x.tar.$2; done");
    for (word, declared, tool, package) in [
        ("user", json!({"user": "cvg-tools"}), "useradd", "passwd"),
        ("group", json!({"group": "cvg-tools"}), "useradd", "passwd"),
        ("cron", json!({"cron": "x", "schedule": "@daily", "command": "x"}), "crontab", "cron"),
        ("git", json!({"git": "/srv/cvg-tools", "repository": "/srv/none"}), "git", "git"),
        (
            "database",
            json!({"database": "x", "engine": "postgres", "connection": "postgres:///a"}),
            "psql",
            "postgresql-client",
        ),
        (
            "database",
            json!({"database": "x", "engine": "mysql", "connection": "mysql:///a"}),
            "mysql",
            "mariadb-client",
        ),
        (
            "database",
            json!({"database": "x", "engine": "sqlite", "connection": "/a.db"}),
            "sqlite3",
            "sqlite3",
        ),
        ("archive", archive("x.tar.xz"), "xz", "xz-utils"),
        ("archive", archive("x.tar.bz2"), "bzip2", "bzip2"),
        ("archive", archive("x.tar.zst"), "zstd", "zstd"),
        ("program", json!({"program": "x"}), "supervisorctl", "supervisor"),
        ("domain", json!({"domain": "x", "hypervisor": "xen"}), "xl", "xen-utils"),
        ("domain", json!({"domain": "x", "hypervisor": "libvirt"}), "virsh", "libvirt-clients"),
        // Where there is none, no package alone brings it.
        ("unit", json!({"unit": "x"}), "systemctl", "install it"),
    ] {
        let resource = resource(word, declared);
        let said = match agent.check(&resource) {
            Ok(Check::Needs(needed)) => {
                let lack = needed
                    .lacks
                    .last()
                    .cloned()
                    .unwrap_or_else(|| panic!("{word}: it lacks {tool}: {needed:?}"));
                format!("{} / {}", lack.what, lack.help)
            }
            Err(failure) => format!("{} / {}", failure.reason, failure.help.unwrap_or_default()),
            other => panic!("{word}: {other:?}"),
        };
        assert!(said.contains(&format!("`{tool}`")), "{word}: {said}");
        assert!(said.split(" / ").nth(1).is_some_and(|help| help.contains(package)), "{word}: {said}");
    }
    host.sh("rm -rf /srv/cvg-tools*");
}
