//! What a `process` lives through: it is killed, changed, restarted, loops, and ends well.

use std::time::{Duration, Instant};

use converge::resource::{Action, AnyResource, Check, Needed};
use serde_json::{Value, json};

use crate::agent::{Host, named_host, told};
use crate::process::{clear, hosts, process};

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
