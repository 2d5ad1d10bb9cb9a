//! `unit` on a real host with systemd.

use crate::agent::{Agent, Host, host, resource, told};
use converge::resource::{Action, AnyResource, Check};
use serde_json::json;

use crate::table::Table;

/// A unit of the test's own, gone when the test ends.
struct Scratch<'a> {
    host: &'a Host,
    name: &'static str,
}

impl<'a> Scratch<'a> {
    fn new(host: &'a Host, name: &'static str) -> Self {
        let scratch = Scratch { host, name };
        scratch.clear();
        scratch
    }

    fn service(host: &'a Host, name: &'static str, service: &str) -> Self {
        let scratch = Scratch::new(host, name);
        scratch.write(service);
        host.must("systemctl daemon-reload");
        scratch
    }

    fn write(&self, service: &str) {
        let path = format!("/etc/systemd/system/{}.service", self.name);
        self.host
            .put(&path, format!("[Service]\n{service}\n[Install]\nWantedBy=multi-user.target\n").as_bytes());
    }

    fn clear(&self) {
        self.host.sh(&self.clearing());
    }

    fn clearing(&self) -> String {
        let name = self.name;
        format!(
            "systemctl unmask -q {name}; systemctl disable -q --now {name}; systemctl disable -q --runtime {name}; \
             rm -rf /etc/systemd/system/{name}.service* /run/converge/units/{name}.service.json \
             /etc/systemd/system/.{name}.service.converge; systemctl daemon-reload; systemctl reset-failed {name}"
        )
    }

    fn property(&self, property: &str) -> String {
        self.host.must(&format!("systemctl show --value -p {property} {}", self.name)).trim().to_owned()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

fn holds(agent: &mut Agent, unit: &AnyResource) {
    assert_eq!(agent.check(unit), Ok(Check::Holds));
}

fn needs(agent: &mut Agent, unit: &AnyResource) -> converge::resource::Needed {
    match agent.check(unit) {
        Ok(Check::Needs(needed)) => needed,
        other => panic!("it should need a change: {other:?}"),
    }
}

/// All that a unit is: which process runs, and what lies in its place.
const LOOK: &str = "systemctl show -p InvocationID,ActiveState,SubState,UnitFileState,NeedDaemonReload,LoadState NAME; \
    stat -c '%n %F %i %Y %Z %a' /etc/systemd/system/NAME.service* /etc/systemd/system/*.wants/NAME.service 2>&1; true";
const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

#[test]
fn a_unit_with_its_file_from_every_start() {
    let Some(host) = host() else { return };
    let name = "cvg-starts";
    let scratch = Scratch::new(&host, name);
    let declared = json!({"unit": name, "enabled": true, "masked": false, "content": SLEEPS});
    let (clear, look) = (scratch.clearing(), LOOK.replace("NAME", name));
    let mut table =
        Table { host: &host, agent: host.agent(), word: "unit", declared, clear: &clear, look: &look };
    let file = "/etc/systemd/system/cvg-starts.service";
    let write = |content: &str| {
        format!("printf '%b' '{}' > {file}; systemctl daemon-reload", content.replace('\n', "\\n"))
    };
    // A while after its start: before that it has not settled.
    let right = format!("{}; systemctl enable -q --now {name}; sleep 1.2", write(SLEEPS));
    let at = |line: &str| format!("{right}; {line}");
    let new = ["content", "enabled", "state"];
    table.row("absent", "true", &new);
    assert_eq!(host.must(&format!("stat -c '%U %a' {file}")), "root 644\n");
    table.row("right", &right, &[]);
    table.row("right, but stopped", &at("systemctl stop cvg-starts"), &["state"]);
    table.row("right, but not enabled", &at("systemctl disable -q cvg-starts"), &["enabled"]);
    table.row(
        "enabled until the next boot",
        &at("systemctl disable -q cvg-starts; systemctl enable -q --runtime cvg-starts"),
        &["enabled"],
    );
    table.row(
        "failed",
        &at("systemctl kill -s KILL cvg-starts; until systemctl is-failed -q cvg-starts; do sleep 0.1; done"),
        &["state"],
    );
    table.row(
        "only its file, which nobody has read",
        &format!("printf '%b' '{}' > {file}", SLEEPS.replace('\n', "\\n")),
        &new[1..],
    );
    let other = SLEEPS.replace("infinity", "100000");
    table.row(
        "another file, which runs",
        &format!("{}; systemctl enable -q --now {name}; sleep 1.2", write(&other)),
        &["content", "restart"],
    );
    table.row("another file, which rests", &write(&other), &new);
    table.row("half a file", &write("[Service]\nExecSta"), &new);
    table.row(
        "an empty file, which is a mask",
        &format!(": > {file}; systemctl daemon-reload"),
        &["masked", "content", "enabled", "state"],
    );
    table.row("masked", &format!("systemctl mask -q {name}"), &["masked", "content", "enabled", "state"]);
    table.row(
        "right, and it runs with another",
        &format!(
            "{}; systemctl enable -q --now {name}; sleep 1.2; printf '%b' '{}' > {file}",
            write(&other),
            SLEEPS.replace('\n', "\\n")
        ),
        &["restart"],
    );
    table.row("right, and it runs without a drop-in", &at("mkdir cvg-starts.service.d; printf '[Service]\\nEnvironment=A=1\\n' > cvg-starts.service.d/a.conf").replace("mkdir cvg", "cd /etc/systemd/system; mkdir cvg"), &["restart"]);
    table.row("a crash loop", &format!("{}; systemctl enable -q {name}; systemctl start {name}; sleep 0.5", write("[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=50\n[Install]\nWantedBy=multi-user.target\n")), &["content", "state"]);
    table.row(
        "active (exited), and no oneshot",
        &format!(
            "{}; systemctl enable -q --now {name}; until systemctl show -P SubState {name} | grep -qx exited; do sleep 0.1; done",
            write("[Service]\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")
        ),
        &["content", "state"],
    );
    table.row("what a killed run left", "echo half > /etc/systemd/system/.cvg-starts.service.converge", &new);
    table.refused("a directory in the file's place", &format!("mkdir {file}"), "is a directory");
    // Somebody's own choice of mode stays.
    table.row("private", &at(&format!("chmod 600 {file}")), &[]);
}

#[test]
fn a_unit_comes_to_rest_from_every_start() {
    let Some(host) = host() else { return };
    let name = "cvg-rests";
    let scratch = Scratch::new(&host, name);
    let declared = json!({"unit": name, "state": "inactive", "enabled": false});
    let (clear, look) = (scratch.clearing(), LOOK.replace("NAME", name));
    let mut table =
        Table { host: &host, agent: host.agent(), word: "unit", declared, clear: &clear, look: &look };
    let with = |service: &str, line: &str| {
        format!(
            "printf '[Service]\\n{service}\\n[Install]\\nWantedBy=multi-user.target\\n' \
             > /etc/systemd/system/cvg-rests.service; systemctl daemon-reload; {line}"
        )
    };
    let sleeps = "ExecStart=/bin/sleep infinity";
    table.row("there is no such unit", "true", &[]);
    table.row("it rests", &with(sleeps, ":"), &[]);
    table.row("it runs", &with(sleeps, "systemctl start cvg-rests"), &["state"]);
    table.row("it is enabled", &with(sleeps, "systemctl enable -q cvg-rests"), &["enabled"]);
    table.row(
        "it is enabled, and runs",
        &with(sleeps, "systemctl enable -q --now cvg-rests"),
        &["enabled", "state"],
    );
    table.row("masked", "systemctl mask -q cvg-rests", &[]);
    table.row(
        "failed",
        &with("ExecStart=/bin/false", "systemctl start cvg-rests; sleep 0.5; systemctl is-failed cvg-rests"),
        &[],
    );
    table.row(
        "active (exited)",
        &with("ExecStart=/bin/true\\nRemainAfterExit=yes", "systemctl start cvg-rests; sleep 0.5"),
        &["state"],
    );
    table.row(
        "a crash loop",
        &with(
            "ExecStart=/bin/false\\nRestart=always\\nRestartSec=50",
            "systemctl start cvg-rests; sleep 0.5",
        ),
        &["state"],
    );
    table.row(
        "a start that hangs",
        &with(
            "ExecStartPre=/bin/sleep 1000\\nExecStart=/bin/true",
            "systemctl start --no-block cvg-rests; sleep 0.5",
        ),
        &["state"],
    );
    table.row("it cannot be loaded", &with("Type=simple", ":"), &[]);
}

#[test]
fn a_crash_loop_is_never_active_and_is_restarted() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let line = "ExecStart=/bin/sh -c 'test -e /run/cvg-loop.ok && exec sleep infinity; exit 3'\nRestart=always\nRestartSec=50";
    let scratch = Scratch::service(&host, "cvg-loop", line);
    host.must("rm -f /run/cvg-loop.ok; systemctl start cvg-loop; sleep 0.5");
    assert_eq!(scratch.property("SubState"), "auto-restart");
    let unit = resource("unit", json!({"unit": "cvg-loop"}));
    let needed = needs(&mut agent, &unit);
    assert_eq!(
        told(&needed),
        "state: activating (auto-restart), exit status 3, tried again every 50s → active"
    );
    // It still fails: said at once, and not after a minute.
    let begun = std::time::Instant::now();
    let (_, end) = agent.converge(&unit);
    let said = end.unwrap_err();
    assert!(said.contains("exit status 3"), "{said}");
    assert!(begun.elapsed().as_secs() < 45);
    let details = agent.explain(&unit);
    assert!(
        details[0]
            .text
            .contains("ActiveState=activating SubState=auto-restart Result=exit-code ExecMainStatus=3"),
        "{details:?}"
    );
    assert!(details[1].text.contains("cvg-loop"), "{details:?}");
    // Its cause is mended: one restart, without waiting for systemd's 50 s.
    host.must("touch /run/cvg-loop.ok");
    assert_eq!(agent.converge(&unit).1, Ok(()));
    host.must("rm /run/cvg-loop.ok");
}

#[test]
fn a_unit_that_flaps_does_not_count_within_its_settle_time() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let line = "ExecStart=/bin/sh -c 'sleep 4; exit 1'\nRestart=always\nRestartSec=30";
    let _scratch = Scratch::service(&host, "cvg-flap", line);
    let unit = resource("unit", json!({"unit": "cvg-flap", "settle": "10s"}));
    let Check::Needs(needed) = agent.check(&unit).unwrap() else { panic!("it is down") };
    let after = agent.apply(&unit, &needed).unwrap();
    let Check::Waits(waiting) = after else { panic!("{after:?}") };
    assert!(waiting.passing && waiting.reason.contains("must stay so for 10s"), "{}", waiting.reason);
    let (_, end) = agent.converge(&unit);
    assert!(end.unwrap_err().contains("auto-restart"));
}

#[test]
fn active_exited_counts_for_a_oneshot_that_remains_and_for_no_other() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let unit = |name: &str| resource("unit", json!({"unit": name}));
    let remains =
        Scratch::service(&host, "cvg-remains", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true");
    assert_eq!(agent.converge(&unit("cvg-remains")).1, Ok(()));
    assert_eq!(remains.property("SubState"), "exited");
    let _simple = Scratch::service(&host, "cvg-exited", "RemainAfterExit=yes\nExecStart=/bin/true");
    host.must("systemctl start cvg-exited; sleep 0.3");
    let needed = needs(&mut agent, &unit("cvg-exited"));
    assert_eq!(told(&needed), "state: active (exited) → active");
    let _once = Scratch::service(&host, "cvg-once", "Type=oneshot\nExecStart=/bin/true");
    let failure = agent.check(&unit("cvg-once")).unwrap_err();
    assert!(failure.reason.contains("oneshot that does not remain"), "{}", failure.reason);
}

#[test]
fn a_restart_is_owed_until_it_is_made_also_across_a_killed_run() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let scratch = Scratch::service(&host, "cvg-debt", "ExecStart=/bin/sleep infinity");
    host.put("/etc/cvg-debt.conf", b"one\n");
    host.must("rm -f /etc/cvg-other.conf");
    let unit = resource(
        "unit",
        json!({"unit": "cvg-debt", "restart_on": ["/etc/cvg-debt.conf", "/etc/cvg-other.conf"]}),
    );
    assert_eq!(agent.converge(&unit).1, Ok(()));
    holds(&mut agent, &unit);
    let invocation = scratch.property("InvocationID");
    // The run that changed the file dies; the next one sees the debt.
    host.put("/etc/cvg-debt.conf", b"two\n");
    drop(agent);
    let mut agent = host.agent();
    let needed = needs(&mut agent, &unit);
    assert_eq!(needed.action, Action::Restart);
    assert_eq!(
        told(&needed),
        "restart: running with the old /etc/cvg-debt.conf → running with what is there now"
    );
    assert_eq!(scratch.property("InvocationID"), invocation);
    assert_eq!(agent.converge(&unit).1, Ok(()));
    assert_ne!(scratch.property("InvocationID"), invocation);
    holds(&mut agent, &unit);
    // A file that appears, and one that goes.
    host.put("/etc/cvg-other.conf", b"x\n");
    assert!(told(&needs(&mut agent, &unit)).contains("/etc/cvg-other.conf"));
    host.must("rm /etc/cvg-other.conf");
    holds(&mut agent, &unit);
    // Somebody else's restart pays it too.
    host.put("/etc/cvg-debt.conf", b"three\n");
    needs(&mut agent, &unit);
    host.must("systemctl restart cvg-debt; sleep 1.1");
    holds(&mut agent, &unit);
    host.put("/etc/cvg-debt.conf", b"four\n");
    needs(&mut agent, &unit);
    // The record lost: the file's times still know.
    host.must("rm /run/converge/units/cvg-debt.service.json");
    needs(&mut agent, &unit);
    host.must("rm /etc/cvg-debt.conf");
}

#[test]
fn a_new_unit_file_and_new_contents_at_once_are_one_restart() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let _scratch = Scratch::new(&host, "cvg-twice");
    host.must("rm -f /run/cvg-twice.begun");
    host.put("/etc/cvg-twice.conf", b"one\n");
    let with = |seconds: u32| {
        let line = format!("ExecStart=/bin/sh -c 'echo x >> /run/cvg-twice.begun; exec sleep {seconds}'");
        resource(
            "unit",
            json!({"unit": "cvg-twice", "content": format!("[Service]\n{line}\n"), "restart_on": ["/etc/cvg-twice.conf"]}),
        )
    };
    assert_eq!(agent.converge(&with(100_000)).1, Ok(()));
    assert_eq!(host.must("cat /run/cvg-twice.begun"), "x\n", "started once when it was new");
    host.put("/etc/cvg-twice.conf", b"two\n");
    assert_eq!(agent.converge(&with(200_000)).1, Ok(()));
    assert_eq!(host.must("cat /run/cvg-twice.begun"), "x\nx\n");
    assert_eq!(agent.converge(&with(200_000)), (None, Ok(())));
    assert_eq!(host.must("cat /run/cvg-twice.begun; rm /run/cvg-twice.begun /etc/cvg-twice.conf"), "x\nx\n");
}

#[test]
fn a_reload_is_made_where_it_is_enough_and_is_counted() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let line = "ExecStart=/bin/sleep infinity\nExecReload=/bin/sh -c 'echo x >> /run/cvg-reloads'";
    let scratch = Scratch::service(&host, "cvg-reload", line);
    host.must("rm -f /run/cvg-reloads");
    host.put("/etc/cvg-reload.conf", b"one\n");
    let unit = resource("unit", json!({"unit": "cvg-reload", "reload_on": ["/etc/cvg-reload.conf"]}));
    // Started by hand: no record yet.
    host.must("systemctl start cvg-reload; sleep 1.1");
    holds(&mut agent, &unit);
    let invocation = scratch.property("InvocationID");
    host.put("/etc/cvg-reload.conf", b"two\n");
    assert!(told(&needs(&mut agent, &unit)).starts_with("reload: running with the old /etc/cvg-reload.conf"));
    assert_eq!(agent.converge(&unit).1, Ok(()));
    holds(&mut agent, &unit);
    assert_eq!(host.must("cat /run/cvg-reloads"), "x\n");
    assert_eq!(scratch.property("InvocationID"), invocation);
    host.must("rm /etc/cvg-reload.conf");
}

#[test]
fn somebody_elses_change_of_the_unit_file_is_a_daemon_reload_and_a_restart() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let scratch = Scratch::service(&host, "cvg-drop", "ExecStart=/bin/sleep infinity");
    let unit = resource("unit", json!({"unit": "cvg-drop"}));
    assert_eq!(agent.converge(&unit).1, Ok(()));
    host.put("/etc/systemd/system/cvg-drop.service.d/more.conf", b"[Service]\nEnvironment=A=1\n");
    assert!(told(&needs(&mut agent, &unit)).starts_with("restart: "));
    // They reload, and do not restart: the process still runs without it.
    host.must("systemctl daemon-reload");
    assert!(told(&needs(&mut agent, &unit)).contains("more.conf"));
    assert_eq!(agent.converge(&unit).1, Ok(()));
    assert_eq!(scratch.property("Environment"), "A=1");
    holds(&mut agent, &unit);
}

#[test]
fn what_cannot_be_enabled_is_told_and_is_no_endless_change() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let unit = resource("unit", json!({"unit": "systemd-tmpfiles-clean.timer", "enabled": true}));
    let failure = agent.check(&unit).unwrap_err();
    assert!(failure.reason.contains("cannot be enabled") && failure.reason.contains("static"), "{failure:?}");
    let unit = resource("unit", json!({"unit": "systemd-tmpfiles-clean.timer"}));
    holds(&mut agent, &unit);
    let unit = resource("unit", json!({"unit": "dbus.socket", "state": "active"}));
    holds(&mut agent, &unit);
    let unit = resource("unit", json!({"unit": "basic.target"}));
    holds(&mut agent, &unit);
}

#[test]
fn an_instance_of_a_template_is_enabled_for_itself() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    host.put(
        "/etc/systemd/system/cvg-t@.service",
        b"[Service]\nExecStart=/bin/sleep %i\n[Install]\nWantedBy=multi-user.target\nDefaultInstance=77\n",
    );
    let unit = resource("unit", json!({"unit": "cvg-t@1000", "enabled": true}));
    assert_eq!(agent.converge(&unit).1, Ok(()));
    assert_eq!(host.must("systemctl is-enabled cvg-t@1000").trim(), "enabled");
    holds(&mut agent, &unit);
    let unit = resource("unit", json!({"unit": "cvg-t@1000", "enabled": false, "state": "inactive"}));
    assert_eq!(agent.converge(&unit).1, Ok(()));
    host.must("rm /etc/systemd/system/cvg-t@.service; systemctl daemon-reload");
}

#[test]
fn masks_are_set_taken_away_and_told_apart() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    // A package's unit: a mask cannot lie over a unit file of one's own.
    host.must("systemctl start cron");
    let masked = resource("unit", json!({"unit": "cron", "masked": true}));
    assert_eq!(agent.converge(&masked).1, Ok(()));
    assert_eq!(host.sh("systemctl is-active cron").1.trim(), "inactive");
    holds(&mut agent, &masked);
    let failure = agent.check(&resource("unit", json!({"unit": "cron"}))).unwrap_err();
    assert!(failure.reason.contains("masked") && failure.help.unwrap().contains("masked: false"));
    let unmasked = resource("unit", json!({"unit": "cron", "masked": false}));
    assert_eq!(agent.converge(&unmasked).1, Ok(()));
    holds(&mut agent, &unmasked);
    let vendor = resource("unit", json!({"unit": "hwclock", "masked": false}));
    let failure = agent.check(&vendor).unwrap_err();
    assert!(failure.reason.contains("masked by its package"), "{}", failure.reason);
}

#[test]
fn a_unit_that_is_not_there_is_a_failure_that_says_what_would_bring_it() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let failure = agent.check(&resource("unit", json!({"unit": "cvg-nothing"}))).unwrap_err();
    assert_eq!(failure.reason, "there is no unit cvg-nothing");
    assert!(failure.help.unwrap().contains("- package: cvg-nothing"));
    holds(
        &mut agent,
        &resource("unit", json!({"unit": "cvg-nothing", "state": "inactive", "enabled": false})),
    );
}

#[test]
fn a_start_that_fails_says_how() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let unit = |name: &str| resource("unit", json!({"unit": name}));
    let _exec = Scratch::service(&host, "cvg-exec", "Type=exec\nExecStart=/no/such/program");
    let (_, end) = agent.converge(&unit("cvg-exec"));
    assert!(end.unwrap_err().contains("203/EXEC: its program could not be executed"));
    let _pre = Scratch::service(&host, "cvg-pre", "ExecStartPre=/bin/false\nExecStart=/bin/sleep infinity");
    let (_, end) = agent.converge(&unit("cvg-pre"));
    assert!(end.unwrap_err().contains("failed (exit-code)"));
    // Again and again: the start limit never stands in the way.
    for _ in 0..7 {
        let said = agent.converge(&unit("cvg-pre")).1.unwrap_err();
        assert!(!said.contains("start-limit"), "{said}");
    }
    let _bad = Scratch::service(&host, "cvg-bad", "Type=simple");
    let failure = agent.check(&unit("cvg-bad")).unwrap_err();
    assert!(failure.reason.contains("bad unit file setting"), "{}", failure.reason);
}

#[test]
fn a_start_that_hangs_is_waited_for_and_named() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    agent.timeout = std::time::Duration::from_secs(6);
    let _scratch =
        Scratch::service(&host, "cvg-hang", "ExecStartPre=/bin/sleep 1000\nExecStart=/bin/sleep infinity");
    let (_, end) = agent.converge(&resource("unit", json!({"unit": "cvg-hang"})));
    assert_eq!(end, Err("waits: the unit is activating (start-pre)".to_owned()));
}
