//! Accounts and what hangs on them, as a whole spec on a bare host: planned without an error, made in one
//! run in the right order, and gone in one run the other way round.

mod support;

use std::fs;

use support::lab::{Lab, Output};
use support::{Ran, has_lab, program, run};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEDqU5BPqNHLNNPvjom2bVX4dejSydH/JDIwBMuwjrPB";
const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBLC9XM97Z46kLD/fT6N1QOKYwuUTq0P40kMafHPkugu";

/// The program on the host itself.
fn on_host(name: &str) -> Lab {
    let lab = Lab::up(name, &["h1"]);
    lab.put_mode("h1", "/usr/local/bin/converge", fs::read(program()).unwrap(), "755");
    lab
}

fn converge(lab: &Lab, verb: &str, spec: &str) -> Ran {
    lab.put("h1", "/root/spec.yaml", spec);
    let Output { status, stdout, stderr } =
        lab.ssh("h1", &format!("cd /root && converge {verb} --format json spec.yaml"));
    Ran { code: status, stdout, stderr }
}

/// In the wrong order, and each with something that hangs on another.
fn spec() -> String {
    format!(
        "
resources:
  - cron: report
    user: app
    schedule: \"@daily\"
    command: /srv/app/report
  - authorized_key: ops
    user: app
    key: {KEY}
    exclusive: true
  - authorized_key: backup
    user: app
    key: {OTHER_KEY}
  - file: /srv/app/config
    owner: app
    group: apps
    mode: 640
    content: x
  - directory: /srv/app
    owner: app
    group: apps
    mode: 750
  - file: /home/app/.profile
    owner: app
    content: y
  - directory: /home/app
    owner: app
    mode: 700
  - user: app
    group: apps
    groups: [logs]
  - group: logs
  - group: apps
  - user: twin
  - group: twin
"
    )
}

#[test]
fn a_hash_comes_from_a_secret_and_is_judged_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let spec = directory.path().join("spec.yaml");
    let text = "secrets:\n  hash: {env: CVG_HASH}\nresources:\n  - user: cvg-secret\n    password_hash: \"{{ secrets.hash }}\"\n";
    fs::write(&spec, text).unwrap();
    let converge = |verb: &str, hash: &str| {
        run(support::converge(directory.path()).arg(verb).arg(&spec).env("CVG_HASH", hash))
    };
    converge("validate", "").expect(0);
    converge("plan", "open-sesame")
        .expect(3)
        .says("looks like a password itself")
        .does_not_say("open-sesame");
    let hash = format!("$5$saltsalt${}", "x".repeat(43));
    converge("plan", &hash).expect(2).says("password_hash the declared one").does_not_say("saltsalt");
}

#[test]
fn a_bare_host_is_planned_without_an_error_and_made_in_one_run() {
    if !has_lab() {
        return;
    }
    let lab = on_host("accounts");
    let plan = converge(&lab, "plan", &spec()).expect(2);
    assert_eq!((plan.summary()["failed"].as_u64(), plan.summary()["changed"].as_u64()), (Some(0), Some(12)));
    // Nothing was touched.
    assert_ne!(lab.ssh("h1", "getent passwd app twin || getent group apps logs twin").status, 0);

    let saved = lab.ssh("h1", "cd /root && converge plan --out saved spec.yaml; converge apply saved");
    assert_eq!(saved.status, 0, "{}{}", saved.stdout, saved.stderr);
    converge(&lab, "apply", &spec()).expect(0);
    let again = converge(&lab, "plan", &spec()).expect(0);
    assert_eq!(again.summary()["changed"], 0);
    assert_eq!(lab.must("h1", "id -nG app; id -nG twin"), "apps logs\ntwin\n");
    assert_eq!(
        lab.must(
            "h1",
            "stat -c '%n %U %G %a' /srv/app /srv/app/config /home/app /home/app/.profile /home/app/.ssh"
        ),
        "/srv/app app apps 750\n/srv/app/config app apps 640\n/home/app app apps 700\n/home/app/.profile app apps 644\n/home/app/.ssh app apps 700\n"
    );
    // The skeleton came before the directory and the file that are declared in its place.
    lab.must("h1", "test -e /home/app/.bashrc");
    assert_eq!(lab.must("h1", "wc -l < /home/app/.ssh/authorized_keys"), "2\n");

    // sshd takes the key, and cron the job.
    lab.put_mode("h1", "/root/key", fs::read(lab.key()).unwrap(), "600");
    let own = lab.must("h1", "ssh-keygen -yf /root/key");
    let with_own = spec().replace(KEY, own.trim());
    converge(&lab, "apply", &with_own).expect(0);
    assert_eq!(lab.must("h1", "wc -l < /home/app/.ssh/authorized_keys"), "2\n");
    assert_eq!(lab.ssh_as("app", "h1", "whoami").stdout, "app\n");
}

#[test]
fn every_example_is_planned_applied_and_applied_again() {
    if !has_lab() {
        return;
    }
    let lab = on_host("accounts-examples");
    for word in ["user", "group", "authorized_key", "cron"] {
        let example = ::converge::resource::example(word).unwrap();
        let spec =
            format!("resources:\n{}", example.lines().map(|line| format!("  {line}\n")).collect::<String>());
        let plan = converge(&lab, "plan", &spec);
        assert!(plan.code != 1 && plan.summary()["failed"] == 0, "{word}: {}", plan.stdout);
        converge(&lab, "apply", &spec).expect(0);
        assert_eq!(converge(&lab, "apply", &spec).expect(0).summary()["changed"], 0, "{word}");
    }
}

#[test]
fn what_was_made_goes_in_one_run_the_other_way_round() {
    if !has_lab() {
        return;
    }
    let lab = on_host("accounts-gone");
    converge(&lab, "apply", &spec()).expect(0);
    let gone = format!(
        "
resources:
  - group: apps
    state: absent
  - group: logs
    state: absent
  - user: app
    state: absent
    remove_home: true
  - directory: /srv/app
    state: absent
  - file: /srv/app/config
    state: absent
  - file: /home/app/.profile
    state: absent
  - authorized_key: ops
    user: app
    key: {KEY}
    state: absent
  - cron: report
    user: app
    state: absent
  - user: twin
    state: absent
  - group: twin
"
    );
    let plan = converge(&lab, "plan", &gone).expect(2);
    assert_eq!(plan.summary()["failed"], 0, "{}", plan.stdout);
    let twin = lab.must("h1", "getent group twin");
    let applied = converge(&lab, "apply", &gone).expect(0);
    let order = |id: &str| {
        let end = format!("localhost/{id}");
        let at =
            applied.events().iter().position(|event| event["event"] == "resource" && event["id"] == *end);
        at.unwrap_or_else(|| panic!("no event of {id}"))
    };
    for (first, then) in [
        ("file:/home/app/.profile", "user:app"),
        ("authorized_key:ops", "user:app"),
        ("cron:report", "user:app"),
        ("user:app", "group:apps"),
        ("file:/srv/app/config", "directory:/srv/app"),
    ] {
        assert!(order(first) < order(then), "{first} before {then}\n{}", applied.stdout);
    }
    assert_eq!(converge(&lab, "plan", &gone).expect(0).summary()["changed"], 0);
    assert_eq!(lab.ssh("h1", "getent passwd app twin; getent group apps logs; ls -d /home/app /srv/app 2>/dev/null; ls /var/spool/cron/crontabs").stdout, "");
    // The group that is declared stays the one it was.
    assert_eq!(lab.must("h1", "getent group twin"), twin);
}

#[test]
fn a_run_cut_short_at_any_tool_ends_in_the_same_state_with_the_next() {
    if !has_lab() {
        return;
    }
    let lab = on_host("accounts-cut");
    let hash = format!("$5$saltsalt${}", "x".repeat(43));
    let spec = format!(
        "
resources:
  - group: apps
  - user: app
    group: apps
    groups: [users]
    password_hash: \"{hash}\"
    locked: true
  - authorized_key: ops
    user: app
    key: {KEY}
  - cron: report
    user: app
    schedule: \"@daily\"
    command: x
"
    );
    // In place of each tool one that does its work, and the machine loses power in that moment.
    for tool in ["groupadd", "useradd", "chpasswd", "crontab"] {
        for when in ["before", "after"] {
            let (first, then) = if when == "before" {
                ("exit 1", "true")
            } else {
                ("true", "pkill -KILL -x converge; exit 1")
            };
            let cut = format!(
                "#!/bin/sh\n[ \"$1\" = -u ] && [ \"$3\" = -l ] && exec /usr/bin/crontab \"$@\"\n[ {when} = before ] && {{ pkill -KILL -x converge; {first}; }}\n{{ /usr/sbin/{tool} \"$@\" || /usr/bin/{tool} \"$@\"; }} 2>/dev/null\n{then}\n"
            );
            lab.put_mode("h1", &format!("/root/cut/{tool}"), cut, "755");
            lab.put("h1", "/root/spec.yaml", &spec);
            let killed = lab.ssh("h1", "cd /root && PATH=/root/cut:$PATH converge apply spec.yaml");
            assert_ne!(killed.status, 0, "{tool} {when}: {}{}", killed.stdout, killed.stderr);
            lab.must("h1", "rm -r /root/cut");
            converge(&lab, "apply", &spec).expect(0);
            assert_eq!(converge(&lab, "plan", &spec).expect(0).summary()["changed"], 0, "{tool} {when}");
            let state = lab.must("h1", "id -nG app; grep ^app: /etc/shadow | cut -d: -f2; stat -c '%U %G %a' /home/app; ls -A /home /home/app; crontab -u app -l | wc -l");
            assert_eq!(
                state,
                format!(
                    "apps users\n!{hash}\napp apps 755\n/home:\nadmin\napp\n\n/home/app:\n.bash_logout\n.bashrc\n.profile\n.ssh\n2\n"
                ),
                "{tool} {when}"
            );
            lab.must("h1", "crontab -u app -r; userdel -r app 2>/dev/null; groupdel apps");
        }
    }
}
