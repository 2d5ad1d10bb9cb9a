//! Restart debt on a real host: a unit, a program and a command that watch a file, and what becomes of
//! their debt when a run dies, the host loses power, or somebody works there by hand.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::lab::Lab;
use support::{Ran, converge_in, has_lab, run};

const WATCHERS: [&str; 3] = ["h1/unit:debt", "h1/program:debt", "h1/command:debt"];

/// `gate`: a command between the change and those that watch it, which takes its time.
fn spec(lab: &Lab, version: &str, gate: bool) -> PathBuf {
    let unit = "[Service]\\nExecStart=/bin/sh -c 'cat /etc/debt/conf >> /srv/unit; exec sleep infinity'\\n\
                [Install]\\nWantedBy=multi-user.target\\n";
    let program = "[program:debt]\\ncommand=/bin/sh -c 'cat /etc/debt/conf >> /srv/program; exec sleep infinity'\\n\
                   startsecs=0\\n";
    let watches = "[\"file:/etc/debt/conf\", /etc/debt/hand]";
    let (gate, after) = match gate {
        true => (
            "    - command: gate\n      run: touch /srv/gate; sleep 600\n      creates: /srv/never\n      timeout: 20m\n      \
             depends_on: file:/etc/debt/conf\n",
            "\n      depends_on: command:gate",
        ),
        false => ("", ""),
    };
    let text = format!(
        "hosts:\n  h1:\n    address: {}\n    user: root\nresources:\n  h1:\n    - directory: /etc/debt\n    \
         - file: /etc/debt/conf\n      content: \"{version}\\n\"\n{gate}    \
         - unit: debt\n      enabled: true\n      settle: 100ms\n      content: \"{unit}\"\n      restart_on: {watches}{after}\n    \
         - unit: supervisor\n      enabled: true\n    \
         - program: debt\n      settle: 100ms\n      content: \"{program}\"\n      restart_on: {watches}{after}\n    \
         - command: debt\n      run: cat /etc/debt/conf >> /srv/command\n      on_change_of: {watches}{after}\n",
        lab.ip("h1")
    );
    let path = lab.dir().join("debt.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn go(lab: &Lab, verb: &str, version: &str) -> Ran {
    run(converge_in(lab).args([verb, "--format", "json"]).arg(spec(lab, version, false)))
}

/// A run that has made the change, and none of what follows from it.
fn begin(lab: &Lab, version: &str) -> Child {
    lab.must("h1", "rm -f /srv/gate");
    let mut command = converge_in(lab);
    command.arg("apply").arg(spec(lab, version, true)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !lab.ssh("h1", "test -e /srv/gate").ok() {
        assert!(Instant::now() < end, "it does not come to the gate");
    }
    assert_eq!(lab.must("h1", "cat /etc/debt/conf").trim(), version);
    child
}

/// What each was started with, or run for, one after the other.
#[track_caller]
fn told(lab: &Lab, wanted: [&str; 3]) {
    let told = lab.must("h1", "for of in unit program command; do echo $(cat /srv/$of); done");
    assert_eq!(told.lines().collect::<Vec<_>>(), wanted);
}

#[track_caller]
fn statuses(ran: &Ran, wanted: [&str; 3]) {
    assert_eq!(WATCHERS.map(|id| ran.status(id)), wanted, "{}", ran.stdout);
}

/// All are paid at once, as the plan says, and stay paid.
#[track_caller]
fn is_paid(lab: &Lab, version: &str, owed: [&str; 3], all: [&str; 3]) {
    statuses(&go(lab, "plan", version), owed);
    statuses(&go(lab, "apply", version).expect(0), owed);
    told(lab, all);
    let again = go(lab, "apply", version).expect(0);
    assert_eq!(again.summary()["changed"], 0, "{}", again.stdout);
    told(lab, all);
}

fn up(name: &str) -> Lab {
    let lab = Lab::up(name, &["h1"]);
    lab.put("h1", "/etc/debt/hand", "one\n");
    go(&lab, "apply", "v1").expect(0);
    told(&lab, ["v1", "v1", "v1"]);
    lab
}

#[test]
fn a_run_killed_between_the_change_and_the_restart_leaves_the_debt_to_the_next() {
    if !has_lab() {
        return;
    }
    let lab = up("debt-killed");
    let mut child = begin(&lab, "v2");
    lab.must("h1", "pkill -KILL -f [c]onverge-agent-");
    assert_ne!(child.wait().unwrap().code(), Some(0));
    told(&lab, ["v1", "v1", "v1"]);
    is_paid(&lab, "v2", ["changed"; 3], ["v1 v2"; 3]);
    assert!(!lab.ssh("h1", "pgrep -f 'sleep 60[0]'").ok(), "what the killed agent ran has ended");

    let mut child = begin(&lab, "v3");
    let pattern = format!("^{} apply {}", support::program(), lab.dir().display());
    assert!(Command::new("pkill").args(["-KILL", "-f", &pattern]).status().unwrap().success());
    child.wait().unwrap();
    is_paid(&lab, "v3", ["changed"; 3], ["v1 v2 v3"; 3]);
}

#[test]
fn a_reboot_pays_what_a_restart_would_and_not_what_a_command_would() {
    if !has_lab() {
        return;
    }
    let lab = up("debt-reboot");
    let mut child = begin(&lab, "v2");
    lab.power_cut("h1");
    lab.boot("h1");
    child.wait().unwrap();
    lab.must("h1", "until grep -q v2 /srv/unit && grep -q v2 /srv/program; do sleep 0.1; done; sleep 1");
    is_paid(&lab, "v2", ["ok", "ok", "changed"], ["v1 v2"; 3]);
    // The record went with the boot: what changes from now on is owed all the same.
    is_paid(&lab, "v3", ["changed"; 3], ["v1 v2 v3"; 3]);
}

#[test]
fn a_file_changed_by_hand_owes_and_a_restart_by_hand_pays() {
    if !has_lab() {
        return;
    }
    let lab = up("debt-hand");
    lab.put("h1", "/etc/debt/hand", "two\n");
    is_paid(&lab, "v1", ["changed"; 3], ["v1 v1"; 3]);
    lab.put("h1", "/etc/debt/hand", "three\n");
    lab.must("h1", "systemctl restart debt && supervisorctl restart debt");
    lab.must(
        "h1",
        "until [ $(wc -l < /srv/unit) = 3 ] && [ $(wc -l < /srv/program) = 3 ]; do sleep 0.1; done",
    );
    is_paid(&lab, "v1", ["ok", "ok", "changed"], ["v1 v1 v1"; 3]);
}

#[test]
fn a_touched_file_and_a_new_mode_are_no_cause_and_the_plan_says_so() {
    if !has_lab() {
        return;
    }
    let lab = up("debt-touched");
    go(&lab, "apply", "v2").expect(0);
    let before = lab.must("h1", "cat /srv/unit /srv/program /srv/command");
    lab.must("h1", "touch /etc/debt/hand /etc/debt/conf");
    let again = go(&lab, "apply", "v2").expect(0);
    assert_eq!(again.summary()["changed"], 0, "{}", again.stdout);
    lab.must("h1", "chmod 600 /etc/debt/conf");
    let spec = spec(&lab, "v2", false);
    let text = std::fs::read_to_string(&spec).unwrap();
    std::fs::write(&spec, text.replace("content: \"v2\\n\"", "content: \"v2\\n\"\n      mode: 644")).unwrap();
    for verb in ["plan", "apply"] {
        let ran = run(converge_in(&lab).args([verb, "--format", "json"]).arg(&spec));
        assert_eq!(ran.status("h1/file:/etc/debt/conf"), "changed");
        statuses(&ran, ["ok"; 3]);
    }
    assert_eq!(lab.must("h1", "cat /srv/unit /srv/program /srv/command"), before);
}
