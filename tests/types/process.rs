//! `process` from every start, kept alive by systemd on one host and by converge on another.

use converge::resource::AnyResource;
use serde_json::{Value, json};

use crate::agent::{Host, host, named_host, resource};
use crate::table::Table;

/// The two hosts, where they are: with systemd, and with a shell script for process 1.
pub fn hosts() -> [Option<Host>; 2] {
    [host(), named_host("CONVERGE_TEST_PLAIN_HOST")]
}

pub fn process(label: &str, more: &Value) -> AnyResource {
    let mut all = json!({"process": label});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource("process", all)
}

/// Without converge: whatever it may have made.
pub fn clear(label: &str) -> String {
    format!(
        "if test -d /run/systemd/system; then
            systemctl disable -q --now converge-{label} 2>/dev/null; systemctl kill -s KILL converge-{label} 2>/dev/null
            rm -rf /etc/systemd/system/converge-{label}.service /etc/systemd/system/*.wants/converge-{label}.service
            systemctl daemon-reload; systemctl reset-failed converge-{label} 2>/dev/null
         fi
         rm -f /etc/cron.d/converge-{label}
         pkill -KILL -f 'process[ ]/etc/converge/processes/{label}.json'; pkill -KILL -f '[#] of-{label}'
         rm -f /etc/converge/processes/{label}.* /run/converge/processes/{label}.* \
            /run/converge/processes/converge-{label}.* /run/converge/units/converge-{label}.* /var/log/converge/{label}.log"
    )
}

const DECLARED: &str = r#"{"command": "while sleep 1000; do :; done # of-LABEL", "directory": "/srv", "user": "daemon",
    "environment": {"A": "1", "B": "two \"words\" $HOME"}, "delay": "20s"}"#;

fn declared(label: &str) -> Value {
    serde_json::from_str(&DECLARED.replace("LABEL", label)).unwrap()
}

/// Converges it once and keeps what that made, to be put back as a start.
fn right_start(host: &Host, label: &str, files: &str) {
    host.sh(&clear(label));
    assert_eq!(host.agent().converge(&process(label, &declared(label))).1, Ok(()));
    host.must(&format!("tar -cPf /root/{label}.right {files}"));
}

#[test]
fn a_process_under_systemd_from_every_start() {
    let Some(host) = host() else { return };
    let label = "cvg-proc";
    let (unit, env) =
        ("/etc/systemd/system/converge-cvg-proc.service", "/etc/converge/processes/cvg-proc.env");
    right_start(&host, label, &format!("{unit} {env}"));
    let clear = clear(label);
    let mut declared = declared(label);
    declared.as_object_mut().unwrap().insert("process".into(), json!(label));
    let look = "for f in /etc/systemd/system/converge-cvg-proc.service /etc/converge/processes/cvg-proc.env \
        /etc/systemd/system/multi-user.target.wants/converge-cvg-proc.service; do stat -c '%n %F %i %Y %Z %U %a' $f 2>&1; done; \
        systemctl show converge-cvg-proc -p InvocationID,ActiveState,SubState,UnitFileState";
    let clear: &'static str = clear.leak();
    let mut table = Table { host: &host, agent: host.agent(), word: "process", declared, clear, look };
    let row = |table: &mut Table, start: &str, arrange: &str, off: &[&str]| {
        table.row(start, &format!("tar -xPf /root/cvg-proc.right; {arrange}"), off);
    };
    let up = "systemctl daemon-reload; systemctl enable -q --now converge-cvg-proc; sleep 1.2";
    let changed = |what: &str| format!("sed -i '{what}' {unit}; {up}");
    let all = ["command", "directory", "user", "delay", "environment", "enabled", "state"];
    table.row("absent", "", &all);
    row(&mut table, "right", up, &[]);
    row(&mut table, "another command", &changed("s/sleep 1000/sleep 999/"), &["command", "state"]);
    row(
        &mut table,
        "another directory",
        &changed("s/^WorkingDirectory=.*/WorkingDirectory=\\/opt/"),
        &["directory", "state"],
    );
    row(&mut table, "no directory", &changed("/^WorkingDirectory=/d"), &["directory", "state"]);
    row(&mut table, "another user", &changed("s/^User=.*/User=nobody/"), &["user", "state"]);
    row(&mut table, "another restart", &changed("s/^Restart=.*/Restart=on-failure/"), &["restart", "state"]);
    row(&mut table, "another delay", &changed("s/^RestartSec=.*/RestartSec=1s/"), &["delay", "state"]);
    row(
        &mut table,
        "edited by hand",
        &changed("s/^TimeoutStopSec=.*/TimeoutStopSec=1h/"),
        &["unit file", "state"],
    );
    let other_value = format!("sed -i 's/^A=.*/A=\"2\"/' {env}; {up}");
    row(&mut table, "another value", &other_value, &["environment", "state"]);
    row(
        &mut table,
        "a variable too many",
        &format!("echo 'C=\"3\"' >> {env}; {up}"),
        &["environment", "state"],
    );
    row(
        &mut table,
        "no environment, and so failed",
        &format!("rm {env}; {up}; true"),
        &["environment", "state"],
    );
    row(
        &mut table,
        "an environment that others can read",
        &format!("{up}; chmod 644 {env}"),
        &["environment"],
    );
    row(&mut table, "not enabled", &format!("{up}; systemctl disable -q converge-cvg-proc"), &["enabled"]);
    row(&mut table, "stopped", &format!("{up}; systemctl stop converge-cvg-proc"), &["state"]);
    row(
        &mut table,
        "killed, and not back yet",
        &format!("{up}; systemctl kill -s KILL converge-cvg-proc; sleep 0.5"),
        &["state"],
    );
    let loops = "sed -i 's/sleep 1000/false/; s/^RestartSec=.*/RestartSec=1d/'";
    row(&mut table, "in a crash loop", &format!("{loops} {unit}; {up}"), &["command", "delay", "state"]);
    row(&mut table, "written, and not loaded", "", &["enabled", "state"]);
    let gone = format!("{up}; rm {unit}; systemctl daemon-reload");
    row(&mut table, "running, and its unit file gone", &gone, &all);
    let old = "running with an older environment than there is";
    row(
        &mut table,
        old,
        &format!("{up}; sed -i 's/^A=.*/A=\"2\"/' {env}; sleep 1"),
        &["environment", "state"],
    );
    let foreign =
        format!("printf '[Service]\\nExecStart=/bin/sleep 1000\\n' > {unit}; systemctl daemon-reload");
    table.refused(
        "a unit file that somebody else wrote",
        &foreign,
        "was not written by converge, and is not replaced",
    );
    let other = format!(
        "tar -xPf /root/cvg-proc.right; sed -i 's/cvg-proc/cvg proc/' {unit}; systemctl daemon-reload"
    );
    table.refused("that of another process", &other, "is process:cvg proc's");
    table.refused("masked", &format!("ln -s /dev/null {unit}; systemctl daemon-reload"), "is a symlink");
    host.must("rm -f /root/cvg-proc.right");
}

#[test]
fn a_process_goes_from_under_systemd_from_every_start() {
    let Some(host) = host() else { return };
    let label = "cvg-gone";
    let (unit, env) =
        ("/etc/systemd/system/converge-cvg-gone.service", "/etc/converge/processes/cvg-gone.env");
    right_start(&host, label, &format!("{unit} {env}"));
    let clear: &'static str = clear(label).leak();
    let declared = json!({"process": label, "state": "stopped"});
    let look = "ls -i /etc/systemd/system/converge-cvg-gone.service /etc/converge/processes/cvg-gone.* \
        /etc/systemd/system/multi-user.target.wants/converge-cvg-gone.service 2>&1; \
        systemctl show converge-cvg-gone -p ActiveState,LoadState; pgrep -f '[#] of-cvg-gone'; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "process", declared, clear, look };
    let row = |table: &mut Table, start: &str, arrange: &str, off: &[&str]| {
        table.row(start, &format!("tar -xPf /root/cvg-gone.right; {arrange}"), off);
        let left = table.host.must(table.look);
        assert!(left.contains("LoadState=not-found\nActiveState=inactive"), "{start}: {left}");
        assert_eq!(left.matches("No such file").count(), 3, "{start}: {left}");
    };
    let up = "systemctl daemon-reload; systemctl enable -q --now converge-cvg-gone; sleep 1.2";
    table.row("absent", "", &[]);
    row(&mut table, "running", up, &["state", "files"]);
    row(&mut table, "stopped", &format!("{up}; systemctl stop converge-cvg-gone"), &["state", "files"]);
    row(
        &mut table,
        "not enabled",
        &format!("{up}; systemctl disable -q converge-cvg-gone"),
        &["state", "files"],
    );
    row(&mut table, "written, and not loaded", "", &["state", "files"]);
    let failed = format!(
        "sed -i 's/^Restart=.*/Restart=no/' {unit}; {up}; systemctl kill -s KILL converge-cvg-gone; sleep 0.3"
    );
    row(&mut table, "failed", &failed, &["state", "files"]);
    let loops = format!("{up}; systemctl kill -s KILL converge-cvg-gone; sleep 0.3");
    row(&mut table, "killed, and about to be started again", &loops, &["state", "files"]);
    let gone = format!("{up}; rm {unit}; systemctl daemon-reload");
    row(&mut table, "running without its unit file", &gone, &["state", "files"]);
    row(&mut table, "a killed run left its environment", &format!("rm {unit}"), &["files"]);
    row(
        &mut table,
        "and its link",
        &format!("{up}; systemctl stop converge-cvg-gone; rm {unit} {env}; systemctl daemon-reload"),
        &["files"],
    );
    // What somebody else made under its name is not converge's to take away.
    let foreign = format!(
        "printf '[Service]\\nExecStart=/bin/sleep 1000\\n[Install]\\nWantedBy=multi-user.target\\n' > {unit}; {up}"
    );
    table.row("a unit that somebody else wrote", &foreign, &[]);
    assert!(host.must("systemctl is-active converge-cvg-gone").contains("active"));
    host.must("rm -f /root/cvg-gone.right");
}

#[test]
fn a_process_without_systemd_from_every_start() {
    let Some(host) = named_host("CONVERGE_TEST_PLAIN_HOST") else { return };
    let label = "cvg-plain";
    let (kept, cron) = ("/etc/converge/processes/cvg-plain.json", "/etc/cron.d/converge-cvg-plain");
    right_start(&host, label, &format!("{kept} {cron}"));
    let clear: &'static str = clear(label).leak();
    let mut declared = declared(label);
    declared.as_object_mut().unwrap().insert("process".into(), json!(label));
    let look = "for f in /etc/converge/processes/cvg-plain.json /etc/cron.d/converge-cvg-plain; do \
        stat -c '%n %F %i %Y %Z %U %a' $f 2>&1; done; pgrep -f 'process[ ]/etc/converge/processes/cvg-plain.json'; pgrep -f '[#] of-cvg-plain'; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "process", declared, clear, look };
    let supervisor = format!("/usr/local/lib/converge/converge-agent supervise --process {kept} --session");
    let supervise = format!("{}; sleep 1.2", supervisor.replace("--session", "--detach"));
    let row = |table: &mut Table, start: &str, arrange: &str, off: &[&str]| {
        table.row(start, &format!("tar -xPf /root/cvg-plain.right; {arrange}"), off);
        let twice = table.host.must("pgrep -c -f '[#] of-cvg-plain' || true");
        assert_eq!(twice.trim(), "1", "{start}: one and no more: {}", table.host.sh("ps -ef").1);
    };
    let changed = |what: &str| format!("sed -i '{what}' {kept}; {supervise}");
    let all = ["command", "directory", "user", "delay", "environment", "enabled", "state"];
    table.row("absent", "", &all);
    row(&mut table, "right", &supervise, &[]);
    row(&mut table, "another command", &changed("s/sleep 1000/sleep 1000.5/"), &["command", "state"]);
    row(
        &mut table,
        "another directory",
        &changed("s/\"directory\": .*/\"directory\": \"\\/opt\",/"),
        &["directory", "state"],
    );
    row(
        &mut table,
        "no directory",
        &changed("s/\"directory\": .*/\"directory\": null,/"),
        &["directory", "state"],
    );
    row(&mut table, "another user", &changed("s/\"daemon\"/\"nobody\"/"), &["user", "state"]);
    row(&mut table, "another restart", &changed("s/\"always\"/\"on-failure\"/"), &["restart", "state"]);
    row(&mut table, "another delay", &changed("s/\"20s\"/\"1s\"/"), &["delay", "state"]);
    row(&mut table, "another value", &changed("s/\"A\": .*/\"A\": \"2\",/"), &["environment", "state"]);
    row(&mut table, "a variable too few", &changed("/\"A\": /d"), &["environment", "state"]);
    row(&mut table, "edited by hand", &changed("s/: /:  /"), &["description", "state"]);
    row(
        &mut table,
        "an environment that others can read",
        &format!("{supervise}; chmod 644 {kept}"),
        &["environment"],
    );
    row(&mut table, "not started at boot", &format!("{supervise}; rm {cron}"), &["enabled"]);
    row(&mut table, "another cron entry", &format!("{supervise}; echo >> {cron}"), &["enabled"]);
    row(&mut table, "one that cron does not trust", &format!("{supervise}; chmod 666 {cron}"), &["enabled"]);
    row(&mut table, "not running", "", &["state"]);
    let stopped = format!("{supervise}; pkill -TERM -xf '{supervisor}'; sleep 0.5");
    row(&mut table, "stopped by hand", &stopped, &["state"]);
    row(
        &mut table,
        "killed, and not back yet",
        &format!("{supervise}; pkill -KILL -f '[#] of-cvg-plain'; sleep 0.3"),
        &["state"],
    );
    row(
        &mut table,
        "its supervisor killed",
        &format!("{supervise}; pkill -KILL -xf '{supervisor}'; sleep 0.3"),
        &["state"],
    );
    let both =
        format!("{supervise}; pkill -KILL -xf '{supervisor}'; pkill -KILL -f '[#] of-cvg-plain'; sleep 0.3");
    row(&mut table, "both killed", &both, &["state"]);
    let older = format!("{supervise}; sed -i 's/sleep 1000/sleep 1000.5/' {kept}; sleep 0.1");
    row(&mut table, "running rightly, and its description changed since", &older, &["command"]);
    let broken = format!("echo '{{' > {kept}");
    row(
        &mut table,
        "a description that cannot be read",
        &broken,
        &["command", "directory", "user", "delay", "environment", "state"],
    );
    host.must("rm -f /root/cvg-plain.right");
}

#[test]
fn a_process_without_systemd_goes_from_every_start() {
    let Some(host) = named_host("CONVERGE_TEST_PLAIN_HOST") else { return };
    let label = "cvg-away";
    let (kept, cron) = ("/etc/converge/processes/cvg-away.json", "/etc/cron.d/converge-cvg-away");
    right_start(&host, label, &format!("{kept} {cron}"));
    let clear: &'static str = clear(label).leak();
    let declared = json!({"process": label, "state": "stopped"});
    let look = "ls -i /etc/converge/processes/cvg-away.json /etc/cron.d/converge-cvg-away 2>&1; \
        pgrep -f 'process[ ]/etc/converge/processes/cvg-away.json'; pgrep -f '[#] of-cvg-away'; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "process", declared, clear, look };
    let supervisor = format!("/usr/local/lib/converge/converge-agent supervise --process {kept} --session");
    let supervise = format!("{}; sleep 1.2", supervisor.replace("--session", "--detach"));
    let row = |table: &mut Table, start: &str, arrange: &str, off: &[&str]| {
        table.row(start, &format!("tar -xPf /root/cvg-away.right; {arrange}"), off);
        let left = table.host.must(table.look);
        assert_eq!((left.matches("No such file").count(), left.lines().count()), (2, 2), "{start}: {left}");
    };
    table.row("absent", "", &[]);
    row(&mut table, "running", &supervise, &["state", "files"]);
    row(&mut table, "not running", "", &["files"]);
    row(&mut table, "not started at boot", &format!("{supervise}; rm {cron}"), &["state", "files"]);
    row(&mut table, "its description gone", &format!("{supervise}; rm {kept}"), &["state", "files"]);
    row(&mut table, "both gone", &format!("{supervise}; rm {kept} {cron}"), &["state", "files"]);
    row(&mut table, "only its cron entry left", &format!("rm {kept}"), &["files"]);
    row(
        &mut table,
        "killed, and about to be started again",
        &format!("{supervise}; pkill -KILL -f '[#] of-cvg-away'; sleep 0.3"),
        &["state", "files"],
    );
    row(
        &mut table,
        "its supervisor killed",
        &format!("{supervise}; pkill -KILL -xf '{supervisor}'; sleep 0.3"),
        &["state", "files"],
    );
    row(
        &mut table,
        "its supervisor hangs",
        &format!("{supervise}; pkill -STOP -xf '{supervisor}'"),
        &["state", "files"],
    );
    host.must("rm -f /root/cvg-away.right");
}
