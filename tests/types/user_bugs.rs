//! Accounts, keys and jobs: the bugs that others carried for years, and what a host may be short of.

use serde_json::json;

use crate::agent::{Host, host, resource};

/// Words before the agent that let it run where these tools are missing.
pub fn without(host: &Host, tools: &str, extra: &str) -> String {
    let place = format!("/run/cvg-without-{}", tools.len());
    host.must(&format!("rm -rf {place}; mkdir -p {place}; cp -a /usr/sbin {place}/sbin; cp -a /usr/bin {place}/bin; cd {place}; rm -f {tools}; {extra}"));
    format!(
        "unshare -m sh -c 'mount --bind {place}/sbin /usr/sbin; mount --bind {place}/bin /usr/bin; exec \"$0\"' "
    )
}

#[test]
fn groups_that_lose_members_when_one_is_added() {
    let Some(host) = host() else { return };
    let clear = "for u in cvg-m1 cvg-m2 cvg-m3; do userdel -f $u; groupdel $u; done; groupdel cvg-mg; groupdel cvg-mh";
    host.sh(clear);
    host.must("groupadd cvg-mg; groupadd cvg-mh; useradd -M -G cvg-mg,cvg-mh cvg-m1; useradd -M -G cvg-mg cvg-m2; useradd -M -G cvg-mh cvg-m3");
    let mut agent = host.agent();
    // One that is added by itself, one by a list that has nothing else, and one that is moved.
    for declared in [
        json!({"user": "cvg-m3", "groups": ["cvg-mg"], "create_home": false}),
        json!({"user": "cvg-m4", "groups": ["cvg-mg"], "create_home": false}),
        json!({"user": "cvg-m2", "groups": ["cvg-mh"], "append": false, "create_home": false}),
    ] {
        let (applied, end) = agent.converge(&resource("user", declared));
        assert!(applied.is_some() && end == Ok(()), "{end:?}");
    }
    let members =
        host.must("getent group cvg-mg cvg-mh | cut -d: -f4; cut -d: -f1,4 /etc/gshadow | grep cvg-m[gh]");
    assert_eq!(
        members,
        "cvg-m1,cvg-m3,cvg-m4\ncvg-m1,cvg-m3,cvg-m2\ncvg-mg:cvg-m1,cvg-m3,cvg-m4\ncvg-mh:cvg-m1,cvg-m3,cvg-m2\n"
    );
    host.sh("userdel -f cvg-m4");
    host.sh(clear);
}

#[test]
fn many_accounts_and_groups_are_made_at_the_same_time_one_after_the_other() {
    let Some(host) = host() else { return };
    let clear = "for n in 0 1 2 3 4 5 6 7 8 9 10 11; do userdel -f cvg-n$n; groupdel cvg-n$n; groupdel cvg-ng$n; done";
    host.sh(clear);
    let groups: Vec<_> = (0..12).map(|n| resource("group", json!({"group": format!("cvg-ng{n}")}))).collect();
    let users: Vec<_> = (0..12)
        .map(|n| {
            resource(
                "user",
                json!({"user": format!("cvg-n{n}"), "groups": [format!("cvg-ng{n}")], "create_home": false}),
            )
        })
        .collect();
    let mut agent = host.agent();
    for all in [groups, users] {
        for ended in agent.converge_all(&all) {
            assert_eq!(ended, Ok(()));
        }
    }
    assert_eq!(host.must("getent group | grep -c '^cvg-ng[0-9]*:.*:cvg-n[0-9]*$'"), "12\n");
    host.sh(clear);
}

#[test]
fn two_hundred_accounts_to_come_cost_one_question_to_other_sources() {
    let Some(host) = host() else { return };
    host.must("mkdir -p /run/cvg-ask; cd /run/cvg-ask; : > log; printf '#!/bin/sh\\necho $# >> /run/cvg-ask/log\\nexec /usr/bin/getent \"$@\"\\n' > getent; chmod +x getent");
    let mut agent = host.agent_with("env PATH=/run/cvg-ask:$PATH");
    let users: Vec<_> = (0..200)
        .map(|n| resource("user", json!({"user": format!("cvg-ask{n}"), "create_home": false})))
        .collect();
    let checked = agent.check_all(&users);
    assert!(checked.iter().all(|check| matches!(check, Ok(converge::resource::Check::Needs(_)))));
    // The database, and two hundred names.
    assert_eq!(host.must("cat /run/cvg-ask/log; rm -r /run/cvg-ask"), "201\n");
}

#[test]
fn the_lock_of_another_program_is_waited_for_and_named_when_it_stays() {
    let Some(host) = host() else { return };
    host.sh("userdel -f cvg-w; groupdel cvg-w");
    let declared = resource("user", json!({"user": "cvg-w", "create_home": false}));
    let mut agent = host.agent();
    // A lock is a file with the pid of who holds it; tests beside this one take it and give it back.
    let hold = |seconds: u32| {
        host.must(&format!(
            "rm -f /run/cvg-w.held; setsid sh -c 'until (set -C; echo -n $$ > /etc/passwd.lock); do sleep 0.05; done; \
             touch /run/cvg-w.held; sleep {seconds}; rm /etc/passwd.lock' >/dev/null 2>&1 </dev/null & \
             until test -e /run/cvg-w.held; do sleep 0.05; done"
        ));
    };
    hold(2);
    let (_, end) = agent.converge(&declared);
    assert_eq!(end, Ok(()));
    host.must("until userdel cvg-w; do sleep 0.1; done");
    hold(60);
    agent.timeout = std::time::Duration::from_secs(2);
    let (_, end) = agent.converge(&declared);
    host.must("kill $(cat /etc/passwd.lock); rm -f /etc/passwd.lock");
    assert_eq!(
        end,
        Err("/etc/passwd is locked by another program, and stayed so for all of its timeout".to_owned())
    );
}

#[test]
fn a_locale_other_than_c_changes_nothing() {
    let Some(host) = host() else { return };
    let clear = "userdel -f cvg-lc; groupdel cvg-lc; rm -rf /run/cvg-lc";
    host.sh(clear);
    // Tools as they are in German, where nobody asks for C.
    host.must("mkdir -p /run/cvg-lc; cd /run/cvg-lc; for t in useradd usermod chpasswd crontab; do
        printf '#!/bin/sh\\n[ \"$LC_ALL\" = C ] && [ -z \"$LANGUAGE\" ] || { echo \"Fehler: nicht gefunden\" >&2; exit 1; }\\nexec %s \"$@\"\\n' \"$(command -v $t)\" > $t; chmod +x $t; done");
    let mut agent =
        host.agent_with("env LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8 LANGUAGE=de PATH=/run/cvg-lc:$PATH");
    let user = resource(
        "user",
        json!({"user": "cvg-lc", "comment": "Jörg Müller", "create_home": false, "password_hash": "*"}),
    );
    let again = resource("user", json!({"user": "cvg-lc", "comment": "Jürgen", "create_home": false}));
    let job = resource(
        "cron",
        json!({"cron": "täglich", "user": "cvg-lc", "schedule": "@daily", "command": "echo ü"}),
    );
    let gone = resource("cron", json!({"cron": "täglich", "user": "cvg-lc", "state": "absent"}));
    for declared in [&user, &again, &job, &gone] {
        let (applied, end) = agent.converge(declared);
        assert!(applied.is_some() && end == Ok(()), "{end:?}");
        assert_eq!(agent.converge(declared), (None, Ok(())));
    }
    host.sh(clear);
}

/// With the busybox of Alpine, which `CONVERGE_TEST_BUSYBOX` names: a static one with adduser and its
/// kin.
#[test]
fn where_there_is_only_busybox_accounts_are_made_and_removed_and_the_rest_is_refused() {
    let (Some(host), Ok(busybox)) = (host(), std::env::var("CONVERGE_TEST_BUSYBOX")) else {
        eprintln!("skipped: CONVERGE_TEST_BUSYBOX names no busybox");
        return;
    };
    host.put("/run/cvg-busybox", &std::fs::read(busybox).unwrap());
    let clear = "userdel -f cvg-bb; groupdel cvg-bb; groupdel cvg-bg; groupdel cvg-bh; rm -rf /home/cvg-bb; crontab -u cvg-bb -r";
    host.sh(clear);
    let how = without(
        &host,
        "sbin/user* sbin/group* sbin/chpasswd sbin/adduser sbin/addgroup sbin/deluser sbin/delgroup bin/passwd bin/crontab bin/getent",
        "chmod +x /run/cvg-busybox; cp /run/cvg-busybox sbin/busybox; for a in adduser addgroup deluser delgroup chpasswd passwd crontab; do ln -s busybox sbin/$a; done",
    );
    let mut agent = host.agent_with(&how);
    let mut make = |word: &str, declared: serde_json::Value| {
        let declared = resource(word, declared);
        let (applied, end) = agent.converge(&declared);
        if end == Ok(()) {
            assert_eq!(agent.converge(&declared), (None, Ok(())), "the second run");
        }
        (applied.is_some(), end)
    };
    let made = (true, Ok(()));
    let hash =
        "$6$saltsalt$K7UFl//Wp07xMvFGF5CNr3JVL52HTe9O9C8NXwEvinkuKFSKIlvZQXSwQoNHq5D.BYsXc7IkvOpvWCBRDof1g1";
    assert_eq!(make("group", json!({"group": "cvg-bg", "gid": 4451})), made);
    assert_eq!(make("group", json!({"group": "cvg-bh", "system": true})), made);
    assert_eq!(
        make(
            "user",
            json!({"user": "cvg-bb", "uid": 4452, "groups": ["cvg-bg"], "comment": "b, b", "password_hash": hash})
        ),
        made
    );
    assert_eq!(
        host.must("getent passwd cvg-bb; id -Gn cvg-bb; stat -c %U /home/cvg-bb"),
        format!(
            "cvg-bb:x:4452:{}:b, b:/home/cvg-bb:/bin/sh\ncvg-bb cvg-bg\ncvg-bb\n",
            host.must("id -g cvg-bb").trim()
        )
    );
    assert_eq!(
        make("user", json!({"user": "cvg-bb", "groups": ["cvg-bh"], "append": false, "locked": true})),
        made
    );
    assert_eq!(
        host.must("id -Gn cvg-bb; grep ^cvg-bb: /etc/shadow | cut -d: -f2"),
        format!("cvg-bb cvg-bh\n!{hash}\n")
    );
    assert_eq!(make("user", json!({"user": "cvg-bb", "locked": false})), made);
    let (_, refused) = make("user", json!({"user": "cvg-bb", "shell": "/bin/false"}));
    assert_eq!(
        refused,
        Err("busybox cannot change the shell of a user, and there is no `usermod` here".to_owned())
    );
    let (_, refused) = make("group", json!({"group": "cvg-bg", "gid": 4453}));
    assert_eq!(
        refused,
        Err("busybox cannot change the number of a group, and there is no `usermod` here".to_owned())
    );
    assert_eq!(
        make("cron", json!({"cron": "x", "user": "cvg-bb", "schedule": "@daily", "command": "date +%F"})),
        made
    );
    assert!(host.must("cat /var/spool/cron/crontabs/cvg-bb").ends_with("\n@daily date +%F\n"));
    let (_, refused) =
        make("cron", json!({"cron": "x", "file": "cvg-bb", "schedule": "@daily", "command": "x"}));
    assert_eq!(refused, Err("busybox's cron does not read /etc/cron.d".to_owned()));
    assert_eq!(make("cron", json!({"cron": "x", "user": "cvg-bb", "state": "absent"})), made);
    assert_eq!(make("user", json!({"user": "cvg-bb", "state": "absent", "remove_home": true})), made);
    assert_eq!(make("group", json!({"group": "cvg-bg", "state": "absent"})), made);
    assert_ne!(host.sh("getent passwd cvg-bb || ls /home/cvg-bb").0, 0);
    host.sh(&format!("{clear}; rm -f /var/spool/cron/crontabs/cron.update"));
}

#[test]
fn a_password_is_on_no_command_line() {
    let Some(host) = host() else { return };
    let clear = "userdel -f cvg-p; groupdel cvg-p; rm -rf /run/cvg-p";
    host.sh(clear);
    host.must("mkdir -p /run/cvg-p; cd /run/cvg-p; for t in useradd usermod chpasswd; do
        printf '#!/bin/sh\\necho \"$0 $*\" >> /run/cvg-p/log\\nexec %s \"$@\"\\n' \"$(command -v $t)\" > $t; chmod +x $t; done");
    let mut agent = host.agent_with("env PATH=/run/cvg-p:$PATH");
    let hash = format!("$5$saltsalt${}", "x".repeat(43));
    let declared = json!({"user": "cvg-p", "create_home": false, "password_hash": hash, "locked": true});
    assert_eq!(agent.converge(&resource("user", declared)).1, Ok(()));
    let log = host.must("cat /run/cvg-p/log");
    assert_eq!(log, "/run/cvg-p/useradd -M cvg-p\n/run/cvg-p/chpasswd -e\n");
    assert!(host.must("grep ^cvg-p: /etc/shadow").starts_with(&format!("cvg-p:!{hash}:")));
    host.sh(clear);
}

#[test]
fn a_declared_group_outlives_the_user_whose_own_it_was() {
    let Some(host) = host() else { return };
    let clear = "userdel -f cvg-q; groupdel cvg-q";
    host.sh(clear);
    host.must("groupadd -g 4791 cvg-q; useradd -M -g cvg-q cvg-q");
    let declared = json!({"user": "cvg-q", "state": "absent", "_keeps_group": true});
    assert_eq!(host.agent().converge(&resource("user", declared)).1, Ok(()));
    assert_eq!(host.must("getent group cvg-q"), "cvg-q:x:4791:\n");
    host.sh(clear);
}

#[test]
fn jobs_of_one_crontab_are_written_at_the_same_time_and_none_is_lost() {
    let Some(host) = host() else { return };
    let clear = "crontab -u cvg-j -r; userdel -f cvg-j; groupdel cvg-j";
    host.sh(clear);
    host.must("useradd -M cvg-j; echo '# mine' | crontab -u cvg-j -");
    let jobs: Vec<_> = (0..12)
        .map(|n| resource("cron", json!({"cron": format!("job {n}"), "user": "cvg-j", "schedule": "@daily", "command": format!("echo {n}")})))
        .collect();
    let mut agent = host.agent();
    for ended in agent.converge_all(&jobs) {
        assert_eq!(ended, Ok(()));
    }
    let crontab = host.must("crontab -u cvg-j -l");
    assert!(crontab.starts_with("# mine\n") && crontab.lines().count() == 25, "{crontab}");
    host.sh(clear);
}
