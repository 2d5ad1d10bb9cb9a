//! `process` from every start, kept alive by systemd on one host and by converge on another.

use std::time::{Duration, Instant};

use converge::resource::{Action, AnyResource, Check, Needed};
use serde_json::{Value, json};

use crate::agent::{Host, host, named_host, resource, told};
use crate::table::Table;

/// The two hosts, where they are: with systemd, and with a shell script for process 1.
fn hosts() -> [Option<Host>; 2] {
    [host(), named_host("CONVERGE_TEST_PLAIN_HOST")]
}

fn process(label: &str, more: &Value) -> AnyResource {
    let mut all = json!({"process": label});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource("process", all)
}

/// A process of one test, gone when it ends. `D` is its directory.
struct Scratch<'a> {
    host: &'a Host,
    label: &'static str,
    has_systemd: bool,
}

impl<'a> Scratch<'a> {
    fn new(host: &'a Host, label: &'static str) -> Self {
        let has_systemd = host.sh("test -d /run/systemd/system").0 == 0;
        let scratch = Scratch { host, label, has_systemd };
        scratch.clear();
        host.must(&format!("mkdir -p {0} && chmod 777 {0}", scratch.directory()));
        scratch
    }

    fn directory(&self) -> String {
        format!("/srv/{}", self.label)
    }

    /// With a command that notes each of its starts.
    fn noting(&self, then: &str) -> Value {
        json!({"command": format!("echo $$ >> {}/starts; {then}", self.directory()), "delay": "200ms"})
    }

    fn starts(&self) -> Vec<String> {
        let said = self.host.must(&format!("cat {}/starts 2>/dev/null || true", self.directory()));
        said.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn until(&self, what: &str, line: &str) {
        let end = Instant::now() + Duration::from_secs(300);
        while self.host.sh(line).0 != 0 {
            assert!(Instant::now() < end, "never: {what}: {}", self.host.sh(line).1);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn clear(&self) {
        let label = self.label;
        self.host.sh(&clear(label));
        self.host.sh(&format!("rm -rf {}", self.directory()));
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Without converge: whatever it may have made.
fn clear(label: &str) -> String {
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

#[test]
fn one_that_is_killed_comes_back_after_its_delay_without_converge() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-back");
        let mut agent = host.agent();
        let process = self::process("cvg-back", &scratch.noting("exec sleep 1000"));
        assert_eq!(agent.converge(&process).1, Ok(()));
        let first = scratch.starts();
        assert_eq!(first.len(), 1);
        // Nobody of converge's is there any more.
        drop(agent);
        host.must(&format!("kill -KILL {}", first[0]));
        scratch.until("it is back", &format!("test $(wc -l < {}/starts) = 2", scratch.directory()));
        let second = scratch.starts();
        assert_ne!(second[1], first[0]);
        scratch.until("it runs", &format!("kill -0 {}", second[1]));
        let mut agent = host.agent();
        assert_eq!(agent.converge(&process), (None, Ok(())), "systemd: {}", scratch.has_systemd);
        assert_eq!(scratch.starts(), second, "and nothing was started for that");
    }
}

#[test]
fn a_changed_declaration_means_exactly_one_restart() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-once");
        let mut agent = host.agent();
        let mut declared = scratch.noting("exec sleep 1000");
        assert_eq!(agent.converge(&process("cvg-once", &declared)).1, Ok(()));
        let mut starts = 1;
        let changes: [(&str, Value); 4] = [
            ("command", json!(declared["command"].as_str().unwrap().replace("1000", "1001"))),
            ("environment", json!({"TOKEN": "a secret"})),
            ("environment", json!({"TOKEN": "another secret", "MORE": "1"})),
            ("environment", json!({})),
        ];
        for (attribute, value) in changes {
            declared[attribute] = value;
            let process = process("cvg-once", &declared);
            let (needed, end) = agent.converge(&process);
            assert_eq!(end, Ok(()));
            let needed = needed.unwrap();
            let names: Vec<&str> = needed.changes.iter().map(|change| change.attribute.as_str()).collect();
            assert_eq!(names, [attribute, "state"], "{}", told(&needed));
            assert_eq!(needed.action, Action::Change);
            assert!(!told(&needed).contains("secret"), "{}", told(&needed));
            starts += 1;
            assert_eq!(agent.converge(&process), (None, Ok(())));
            assert_eq!(
                scratch.starts().len(),
                starts,
                "{attribute}: one restart, systemd: {}",
                scratch.has_systemd
            );
        }
        let pids = scratch.starts().join(" ");
        let alive =
            host.must(&format!("for pid in {pids}; do kill -0 $pid 2>/dev/null && echo $pid; done; true"));
        assert_eq!(alive.lines().count(), 1, "the old ones are gone");
    }
}

#[test]
fn on_failure_one_that_ends_well_stays_ended_and_one_that_is_killed_comes_back() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-fails");
        let mut agent = host.agent();
        let mut declared = scratch
            .noting(&format!("while sleep 0.1; do ! test -e {}/end || exit 0; done", scratch.directory()));
        declared["restart"] = json!("on-failure");
        let process = process("cvg-fails", &declared);
        assert_eq!(agent.converge(&process).1, Ok(()));
        for (count, signal) in [(2, "TERM"), (3, "KILL"), (4, "HUP")] {
            host.must(&format!("kill -{signal} {}", scratch.starts().last().unwrap()));
            scratch.until("it is back", &format!("test $(wc -l < {}/starts) = {count}", scratch.directory()));
        }
        host.must(&format!("touch {}/end", scratch.directory()));
        scratch.until("it has ended", &format!("! kill -0 {}", scratch.starts()[3]));
        host.must(&format!("sleep 1; rm {}/end", scratch.directory()));
        assert_eq!(scratch.starts().len(), 4);
        // It is to be running all the same: the next run starts it.
        let (needed, end) = agent.converge(&process);
        assert_eq!(end, Ok(()));
        assert!(needed.is_some_and(|needed| needed.has("state")));
        assert_eq!(scratch.starts().len(), 5);
    }
}

#[test]
fn the_example_is_kept_alive() {
    for host in hosts().iter().flatten() {
        let _scratch = Scratch::new(host, "doorbell");
        let mut agent = host.agent();
        let example = json!({"command": "exec sleep infinity", "user": "nobody", "delay": "2s"});
        assert_eq!(agent.converge(&process("doorbell", &example)).1, Ok(()));
        assert_eq!(agent.converge(&process("doorbell", &example)), (None, Ok(())));
    }
}

#[test]
fn what_it_is_to_restart_on_is_owed_however_it_changed() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-owed");
        let mut agent = host.agent();
        let conf = format!("{}/app.conf", scratch.directory());
        host.put(&conf, b"one\n");
        let mut declared = scratch.noting("exec sleep 1000");
        declared["restart_on"] = json!([conf]);
        let process = process("cvg-owed", &declared);
        assert_eq!(agent.converge(&process).1, Ok(()));
        assert_eq!(agent.converge(&process), (None, Ok(())));
        host.put(&conf, b"two\n");
        let (needed, end) = agent.converge(&process);
        assert_eq!(end, Ok(()));
        let needed = needed.unwrap();
        assert_eq!(needed.action, Action::Restart);
        assert_eq!(
            told(&needed),
            format!("state: running with the old {conf} → running with what is there now")
        );
        assert_eq!(agent.converge(&process), (None, Ok(())));
        assert_eq!(scratch.starts().len(), 2);
        // It came back by itself, and has read what is there now.
        host.put(&conf, b"three\n");
        host.must(&format!("kill -KILL {}", scratch.starts()[1]));
        scratch.until("it is back", &format!("test $(wc -l < {}/starts) = 3", scratch.directory()));
        assert_eq!(agent.converge(&process), (None, Ok(())), "systemd: {}", scratch.has_systemd);
    }
}

#[test]
fn a_crash_loop_is_reported_with_its_last_words_and_given_up() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-loop");
        let mut agent = host.agent();
        let mut declared = scratch.noting("echo the door is jammed; exit 3");
        declared["delay"] = json!("50ms");
        let process = process("cvg-loop", &declared);
        let (_, end) = agent.converge(&process);
        let said = end.expect_err("it does not run");
        assert!(said.contains("state"), "{said}");
        // systemd counts anew after a `daemon-reload`, and tests beside this one have those.
        let given_up = match scratch.has_systemd {
            true => "test $(systemctl is-active converge-cvg-loop) = failed",
            false => {
                "sleep 1; n=$(wc -l < D/starts); sleep 1; test $n -ge 20 && test $n = $(wc -l < D/starts)"
            }
        };
        scratch.until("it is given up", &given_up.replace("D/", &format!("{}/", scratch.directory())));
        // The one before has heard nothing for a while, and may have ended.
        let mut agent = host.agent();
        let Ok(Check::Needs(needed)) = agent.check(&process) else { panic!("given up is not running") };
        let told = told(&needed);
        let expected = if scratch.has_systemd { "exit status 3" } else { "given up: it exited with 3" };
        assert!(told.starts_with("state: ") && told.contains(expected), "{told}");
        let evidence = agent.explain(&process);
        assert!(evidence.iter().any(|detail| detail.text.contains("the door is jammed")), "{evidence:?}");
        // Its cause is mended: the next run starts it, whatever limit was hit.
        let mut declared = scratch.noting("exec sleep 1000");
        declared["delay"] = json!("50ms");
        let count = scratch.starts().len();
        assert_eq!(agent.converge(&self::process("cvg-loop", &declared)).1, Ok(()));
        assert_eq!(scratch.starts().len(), count + 1);
    }
}

#[test]
fn one_that_dies_soon_after_each_start_is_not_taken_for_running() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-flap");
        let mut agent = host.agent();
        // Long enough for the second that anything must run.
        let process = process("cvg-flap", &scratch.noting("sleep 2.5; exit 1"));
        drop(agent.converge(&process));
        scratch.until(
            "it was started again twice",
            &format!("test $(wc -l < {}/starts) -ge 4", scratch.directory()),
        );
        for _ in 0..30 {
            let found = agent.check(&process);
            assert!(!matches!(found, Ok(Check::Holds)), "systemd: {}: {found:?}", scratch.has_systemd);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn its_environment_is_for_root_alone_and_reaches_it_unchanged() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-env");
        let mut agent = host.agent();
        let values = [
            "plain",
            "two words",
            "$HOME `id` \\ \"x\" 'y'",
            "100% %i",
            "line one\nline two\ttab",
            "ümläut",
            "",
        ];
        let environment: serde_json::Map<String, Value> =
            values.iter().enumerate().map(|(i, value)| (format!("CVG_{i}"), json!(value))).collect();
        let mut declared = scratch.noting("env -0 > env; exec sleep 1000");
        declared["environment"] = json!(environment);
        declared["directory"] = json!(scratch.directory());
        declared["user"] = json!("daemon");
        assert_eq!(agent.converge(&process("cvg-env", &declared)).1, Ok(()));
        let seen = host.must(&format!("cat {}/env", scratch.directory()));
        let seen: Vec<&str> = seen.split('\0').collect();
        for (i, value) in values.iter().enumerate() {
            assert!(seen.contains(&format!("CVG_{i}={value}").as_str()), "{value:?} in {seen:?}");
        }
        for line in ["USER=daemon", "LOGNAME=daemon", "HOME=/usr/sbin"] {
            assert!(seen.contains(&line), "{line}: {seen:?}");
        }
        assert!(seen.iter().any(|line| line.starts_with("PATH=/usr/local/sbin:")), "{seen:?}");
        // Neither a command line nor a file that others can read has a value.
        let files = "grep -rls 'two words' /etc/systemd /etc/cron.d /run/systemd/system /run/converge";
        let found = host.sh(&format!("{files}; true")).1 + &host.sh("ps axww -o args | grep '[t]wo words'").1;
        assert_eq!(found, "");
        let open = host.must("find /etc/converge/processes -name 'cvg-env.*' -perm /077; find /etc/converge/processes -maxdepth 0 -perm /077");
        assert_eq!(open, "");
        let as_other = host.sh("su -s /bin/sh nobody -c 'cat /etc/converge/processes/cvg-env.*'");
        assert_ne!(as_other.0, 0, "{}", as_other.1);
    }
}

#[test]
fn a_command_is_run_as_it_is_written() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-argv");
        let mut agent = host.agent();
        let words =
            ["plain", "two words", "$HOME", "${HOME}", "%n %% 5%", "it's \"so\"", "a\\b", "x\ny", "", "ü;&|"];
        host.put(
            &format!("{}/run-me", scratch.directory()),
            b"#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done > words; pwd >> where; exec sleep 1000\n",
        );
        host.must(&format!("cd {} && chmod 755 run-me && mv run-me 'run me'", scratch.directory()));
        let mut command = vec!["./run me"];
        command.extend(words);
        let declared = json!({"command": command, "directory": scratch.directory()});
        let process = process("cvg-argv", &declared);
        assert_eq!(agent.converge(&process).1, Ok(()));
        let seen = host.must(&format!("cat {}/words", scratch.directory()));
        assert_eq!(seen.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), words);
        assert_eq!(host.must(&format!("cat {}/where", scratch.directory())).trim(), scratch.directory());
        assert_eq!(agent.converge(&process), (None, Ok(())));
        // Told as it was written, and not as systemd has it.
        let changed = process_with(&declared, "cvg-argv", "command", json!(["sleep", "1000"]));
        let Ok(Check::Needs(needed)) = agent.check(&changed) else { panic!("it is another command") };
        let expected = "'two words' '$HOME' '${HOME}' '%n %% 5%'";
        assert!(told(&needed).contains(expected), "{}", told(&needed));
    }
}

fn process_with(declared: &Value, label: &str, attribute: &str, value: Value) -> AnyResource {
    let mut declared = declared.clone();
    declared[attribute] = value;
    process(label, &declared)
}

#[test]
fn what_is_missing_is_named_before_anything_is_done() {
    for host in hosts().iter().flatten() {
        let scratch = Scratch::new(host, "cvg-lack");
        let mut agent = host.agent();
        let needs = |agent: &mut crate::agent::Agent, more: Value| -> Needed {
            match agent.check(&process("cvg-lack", &more)) {
                Ok(Check::Needs(needed)) => needed,
                other => panic!("it is not there: {other:?}"),
            }
        };
        let lacks = |needed: &Needed| needed.lacks.iter().map(|lack| lack.what.clone()).collect::<Vec<_>>();
        let needed = needs(
            &mut agent,
            json!({"command": "sleep 1000", "user": "cvg-nobody", "directory": "/srv/cvg-nowhere"}),
        );
        assert_eq!(
            lacks(&needed),
            ["there is no user cvg-nobody", "its directory /srv/cvg-nowhere does not exist"]
        );
        let applied = agent
            .apply(&process("cvg-lack", &json!({"command": "sleep 1000", "user": "cvg-nobody"})), &needed);
        assert_eq!(applied.unwrap_err().reason, "there is no user cvg-nobody");
        for command in [json!("/srv/cvg-lack/nothing --now"), json!(["/srv/cvg-lack/nothing"])] {
            let failure = agent.check(&process("cvg-lack", &json!({"command": command}))).unwrap_err();
            assert_eq!(failure.reason, "its program /srv/cvg-lack/nothing does not exist");
            assert!(failure.help.unwrap().contains("declare what brings it"));
        }
        let made = host.sh("ls /etc/systemd/system/converge-cvg-lack.service /etc/cron.d/converge-cvg-lack /etc/converge/processes/cvg-lack.*");
        assert_eq!(made.1.matches("No such file").count(), 3, "{}", made.1);
        drop(scratch);
    }
}

#[test]
fn without_systemd_a_cron_must_run_that_starts_it_at_boot() {
    let Some(host) = named_host("CONVERGE_TEST_PLAIN_HOST") else { return };
    let _scratch = Scratch::new(&host, "cvg-cron");
    // In a namespace of its own, without the host's cron among its processes.
    let alone = "unshare --pid --fork --mount-proc /root/converge-agent-of-tests";
    drop(host.agent());
    let mut agent = host.agent_by(alone);
    let Ok(Check::Needs(needed)) = agent.check(&process("cvg-cron", &json!({"command": "sleep 1000"})))
    else {
        panic!("it is not there")
    };
    assert!(needed.lacks[0].what.starts_with("no cron runs here"), "{:?}", needed.lacks);
    let applied = agent.apply(&process("cvg-cron", &json!({"command": "sleep 1000"})), &needed);
    assert!(applied.unwrap_err().help.unwrap().contains("`- package: cron`"));
    assert_ne!(host.sh("ls /etc/converge/processes/cvg-cron.json").0, 0);
}

#[test]
fn a_label_of_any_kind_is_kept_alive_under_a_name_of_its_own() {
    for host in hosts().iter().flatten() {
        let mut agent = host.agent();
        let label = "cvg: front door, 100%";
        let declared = json!({"command": "exec sleep 1000"});
        assert_eq!(agent.converge(&process(label, &declared)).1, Ok(()));
        assert_eq!(agent.converge(&process(label, &declared)), (None, Ok(())));
        assert_eq!(agent.converge(&process(label, &json!({"state": "stopped"}))).1, Ok(()));
        assert_eq!(agent.converge(&process(label, &json!({"state": "stopped"}))), (None, Ok(())));
        let left = host.must("ls /etc/converge/processes /etc/cron.d /etc/systemd/system; ps axww");
        assert!(!left.contains("front-door"), "{left}");
    }
}
