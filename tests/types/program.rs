//! `program` on a real host with supervisord. One test after the other: they share supervisord.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::agent::{Agent, Host, host, resource, told};
use converge::resource::{Action, AnyResource, Check, Needed, Thing};
use serde_json::json;

use crate::table::Table;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The host with a supervisord that runs and knows none of the tests' programs.
fn supervised() -> Option<(MutexGuard<'static, ()>, Host, Agent)> {
    let host = host()?;
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // The socket where our story has it: in a directory of its own, which a power cut takes away.
    host.must(
        "grep -q /var/run/supervisor/ /etc/supervisor/supervisord.conf || { \
               sed -i 's#/var/run/supervisor.sock#/var/run/supervisor/supervisor.sock#' /etc/supervisor/supervisord.conf; \
               mkdir -p /var/run/supervisor; systemctl restart supervisor; }; \
               rm -f /etc/supervisor/conf.d/*; mkdir -p /var/run/supervisor; systemctl reset-failed supervisor; \
               supervisorctl status >/dev/null; [ $? != 4 ] || systemctl restart supervisor; \
               until supervisorctl pid >/dev/null; do sleep .1; done; supervisorctl update",
    );
    let agent = host.agent();
    Some((guard, host, agent))
}

fn add(host: &Host, name: &str, lines: &str) {
    host.put(
        &format!("/etc/supervisor/conf.d/{name}.conf"),
        format!("[program:{name}]\n{lines}\n").as_bytes(),
    );
    host.must("supervisorctl update");
}

fn needs(agent: &mut Agent, program: &AnyResource) -> Needed {
    match agent.check(program) {
        Ok(Check::Needs(needed)) => needed,
        other => panic!("it should need a change: {other:?}"),
    }
}

fn status(host: &Host, name: &str) -> String {
    host.sh(&format!("supervisorctl status {name}")).1
}

const LOOK: &str = "supervisorctl pid cvg; supervisorctl pid other; stat -c '%n %F %i %Y %Z %a' /etc/supervisor/conf.d/*; true";
const CLEAR: &str = "rm -rf /etc/supervisor/conf.d/cvg* /etc/supervisor/conf.d/.cvg* /run/converge/programs/cvg.json; supervisorctl update";

#[test]
fn a_program_with_its_file_from_every_start() {
    let Some((_guard, host, agent)) = supervised() else { return };
    // It runs through all of it: only what is declared is touched.
    add(&host, "other", "command=/bin/sleep infinity\nstartsecs=0");
    let other = host.must("supervisorctl pid other");
    let sleeps = "[program:cvg]\ncommand=/bin/sleep infinity\n";
    let declared = json!({"program": "cvg", "content": sleeps});
    let mut table = Table { host: &host, agent, word: "program", declared, clear: CLEAR, look: LOOK };
    let file = |content: &str| {
        format!("printf '{}' > /etc/supervisor/conf.d/cvg.conf", content.replace('\n', "\\n"))
    };
    // A while after its start: before that it has not settled.
    let runs = |content: &str| format!("{}; supervisorctl update; sleep 1.5", file(content));
    let at = |line: &str| format!("{}; {line}", runs(sleeps));
    let longer = "[program:cvg]\ncommand=/bin/sleep 100000\n";
    table.row("absent", "true", &["content", "state"]);
    table.row("right", &runs(sleeps), &[]);
    table.row("right, but stopped", &at("supervisorctl stop cvg"), &["state"]);
    table.row(
        "killed, and to be left so",
        &runs(&format!("{sleeps}autorestart=false\n"))
            .replace("sleep 1.5", "sleep 1.5; kill -9 $(supervisorctl pid cvg); sleep 0.5"),
        &["content", "state"],
    );
    table.row("its file, which nobody has read", &file(sleeps), &["state"]);
    table.row("another file, which runs", &runs(longer), &["content", "restart"]);
    table.row("another file, which nobody has read", &file(longer), &["content", "state"]);
    table.row(
        "another file, stopped",
        &format!("{}; supervisorctl stop cvg", runs(longer)),
        &["content", "state"],
    );
    table.row("half a file", &file("[program:cvg]\n"), &["content", "state"]);
    table.row("an empty file", &file(""), &["content", "state"]);
    table.row(
        "its file is gone, and it runs",
        &at("rm /etc/supervisor/conf.d/cvg.conf"),
        &["content", "restart"],
    );
    table.row(
        "right, and it runs with another",
        &format!("{}; {}", runs(longer), file(sleeps)),
        &["restart"],
    );
    table.row("fatal", &format!("{}; for i in $(seq 600); do supervisorctl status cvg | grep -q FATAL && exit; sleep 0.1; done; exit 1", file("[program:cvg]\ncommand=/bin/false\nstartretries=0\n") + "; supervisorctl update"), &["content", "state"]);
    table.row(
        "what a killed run left",
        "echo half > /etc/supervisor/conf.d/.cvg.conf.converge",
        &["content", "state"],
    );
    assert_eq!(host.must("tr '\\0' ' ' < /proc/$(supervisorctl pid cvg)/cmdline"), "/bin/sleep infinity ");
    table.refused(
        "a directory in the file's place",
        "mkdir /etc/supervisor/conf.d/cvg.conf",
        "is a directory",
    );
    table.declared = json!({"program": "cvg", "state": "stopped"});
    table.row("it runs, and is to be stopped", &runs(sleeps), &["state"]);
    table.row("it is stopped, and is to be", &at("supervisorctl stop cvg"), &[]);
    table.row("nobody knows it, and it is to be stopped", "true", &[]);
    drop(table);
    assert_eq!(host.must("supervisorctl pid other"), other, "the other program was restarted");
}

#[test]
fn a_changed_file_is_owed_also_where_the_run_died_after_writing_it() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    add(&host, "cvg", "command=/bin/sleep infinity");
    let program = resource("program", json!({"program": "cvg"}));
    assert_eq!(agent.converge(&program), (None, Ok(())));
    host.put("/etc/supervisor/conf.d/cvg.conf", b"[program:cvg]\ncommand=/bin/sleep 100000\n");
    let needed = needs(&mut agent, &program);
    assert_eq!(needed.action, Action::Restart);
    assert_eq!(agent.converge(&program).1, Ok(()));
    assert!(host.must("cat /proc/$(supervisorctl pid cvg)/cmdline").contains("100000"));
    assert_eq!(agent.converge(&program), (None, Ok(())));
}

#[test]
fn a_restart_is_owed_by_what_the_program_reads_and_made_once() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    host.must("rm -f /run/cvg-starts");
    host.put("/etc/cvg-p.conf", b"one\n");
    add(&host, "cvg", "command=/bin/sh -c 'echo x >> /run/cvg-starts; exec sleep infinity'");
    let program = resource("program", json!({"program": "cvg", "restart_on": ["/etc/cvg-p.conf"]}));
    assert_eq!(agent.converge(&program), (None, Ok(())));
    host.put("/etc/cvg-p.conf", b"two\n");
    assert_eq!(
        told(&needs(&mut agent, &program)),
        "restart: running with the old /etc/cvg-p.conf → running with what is there now"
    );
    assert_eq!(agent.converge(&program).1, Ok(()));
    assert_eq!(agent.converge(&program), (None, Ok(())));
    assert_eq!(host.must("cat /run/cvg-starts"), "x\nx\n");
    host.must("rm /etc/cvg-p.conf /run/cvg-starts");
}

#[test]
fn fatal_is_started_again_and_told_with_its_output() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    host.must("rm -f /run/cvg-ok");
    add(
        &host,
        "cvg",
        "command=/bin/sh -c 'test -e /run/cvg-ok && exec sleep infinity; echo oops >&2; exit 3'\nstartretries=1",
    );
    let program = resource("program", json!({"program": "cvg"}));
    // BACKOFF passes; FATAL is what it comes to.
    let (_, end) = agent.converge(&program);
    assert!(end.unwrap_err().contains("FATAL (Exited too quickly)"));
    assert!(status(&host, "cvg").contains("FATAL"));
    let details = agent.explain(&program);
    assert!(details[0].text.starts_with("FATAL Exited too quickly"), "{details:?}");
    assert!(details[1].title == "stderr" && details[1].text.contains("oops"), "{details:?}");
    assert_eq!(told(&needs(&mut agent, &program)), "state: FATAL (Exited too quickly) → running");
    host.must("touch /run/cvg-ok");
    assert_eq!(agent.converge(&program).1, Ok(()));
    host.must("rm /run/cvg-ok");
}

#[test]
fn one_that_is_starting_is_awaited_and_not_started_again() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    host.must("rm -f /run/cvg-begun");
    add(
        &host,
        "cvg",
        "command=/bin/sh -c 'echo x >> /run/cvg-begun; exec sleep infinity'\nstartsecs=8\nautostart=false",
    );
    host.must("setsid supervisorctl start cvg >/dev/null 2>&1 & until supervisorctl status cvg | grep -q STARTING; do sleep 0.1; done");
    let program = resource("program", json!({"program": "cvg"}));
    let Ok(Check::Waits(waiting)) = agent.check(&program) else { panic!("{}", status(&host, "cvg")) };
    assert!(waiting.passing && waiting.reason.contains("program cvg is STARTING"), "{}", waiting.reason);
    assert_eq!(agent.converge(&program), (None, Ok(())));
    assert!(status(&host, "cvg").contains("RUNNING"));
    assert_eq!(host.must("cat /run/cvg-begun; rm /run/cvg-begun"), "x\n", "started once");
}

#[test]
fn one_in_backoff_is_not_taken_for_running_and_what_it_comes_to_is_awaited() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    host.must("rm -f /run/cvg-ok");
    let line = "command=/bin/sh -c 'test -e /run/cvg-ok && exec sleep infinity; exit 3'\nstartretries=1000";
    add(&host, "cvg", line);
    let program = resource("program", json!({"program": "cvg"}));
    // It is tried again after 1, 2, 3... seconds: between two tries it is in BACKOFF for longer and longer.
    // So it is seen in it, sooner or later.
    loop {
        let Ok(Check::Waits(waiting)) = agent.check(&program) else { panic!("{}", status(&host, "cvg")) };
        assert!(waiting.passing, "{waiting:?}");
        if waiting.reason.contains("program cvg is BACKOFF (Exited too quickly") {
            break;
        }
        assert!(waiting.reason.contains("STARTING"), "{}", waiting.reason);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    host.must("touch /run/cvg-ok");
    assert_eq!(agent.converge(&program), (None, Ok(())), "supervisord itself tries it again");
    host.must("rm /run/cvg-ok");
}

#[test]
fn a_new_file_and_new_contents_at_once_are_one_restart() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    host.must("rm -f /run/cvg-begun");
    host.put("/etc/cvg-two.conf", b"one\n");
    let with = |seconds: u32| {
        let line = format!("echo x >> /run/cvg-begun; exec sleep {seconds}");
        let content = format!("[program:cvg]\nstartsecs=0\ncommand=/bin/sh -c '{line}'\n");
        resource(
            "program",
            json!({"program": "cvg", "content": content, "restart_on": ["/etc/cvg-two.conf"]}),
        )
    };
    assert_eq!(agent.converge(&with(100_000)).1, Ok(()));
    assert_eq!(host.must("cat /run/cvg-begun"), "x\n", "started once when it was new");
    host.put("/etc/cvg-two.conf", b"two\n");
    assert_eq!(agent.converge(&with(200_000)).1, Ok(()));
    assert_eq!(host.must("cat /run/cvg-begun"), "x\nx\n");
    assert_eq!(agent.converge(&with(200_000)), (None, Ok(())));
    assert_eq!(host.must("cat /run/cvg-begun; rm /run/cvg-begun /etc/cvg-two.conf"), "x\nx\n");
}

#[test]
fn of_several_processes_all_must_run() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    add(
        &host,
        "cvg",
        "command=/bin/sleep infinity\nnumprocs=2\nprocess_name=%(program_name)s_%(process_num)02d",
    );
    let program = resource("program", json!({"program": "cvg"}));
    assert_eq!(agent.converge(&program), (None, Ok(())));
    host.must("supervisorctl stop cvg:cvg_01");
    let running = status(&host, "cvg:cvg_00");
    assert_eq!(told(&needs(&mut agent, &program)), "state: STOPPED → running");
    assert_eq!(agent.converge(&program).1, Ok(()));
    let pid =
        |said: &str| said.split("pid ").nth(1).and_then(|rest| rest.split(',').next()).map(str::to_owned);
    assert_eq!(pid(&status(&host, "cvg:cvg_00")), pid(&running));
}

#[test]
fn a_program_that_nobody_defines_is_a_failure_that_names_its_file() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    let program = resource("program", json!({"program": "cvg"}));
    let failure = agent.check(&program).unwrap_err();
    assert!(failure.reason.starts_with("supervisord knows no program cvg"), "{failure:?}");
    assert!(failure.help.unwrap().contains("- file: /etc/supervisor/conf.d/cvg.conf"));
    // On the disk, and not read yet: nothing is lacking.
    host.put(
        "/etc/supervisor/conf.d/any.conf",
        b"[program:cvg]\ncommand=/bin/sleep infinity\nautostart=false\n",
    );
    assert!(needs(&mut agent, &program).lacks.is_empty());
    assert_eq!(agent.converge(&program).1, Ok(()));
    host.put("/etc/supervisor/conf.d/broken.conf", b"[program:x\n");
    host.must("supervisorctl stop cvg");
    let (_, end) = agent.converge(&program);
    assert!(end.unwrap_err().contains("cannot read its configuration"));
}

#[test]
fn a_missing_socket_directory_is_named_and_what_would_mend_it() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    add(&host, "cvg", "command=/bin/sleep infinity");
    let program = resource("program", json!({"program": "cvg"}));
    host.must("systemctl stop supervisor; rm -rf /var/run/supervisor");
    let needed = needs(&mut agent, &program);
    let lack = &needed.lacks[0];
    assert_eq!(lack.thing, Thing::Unit("supervisor.service".into()));
    assert_eq!(
        lack.what,
        "supervisord does not answer: /var/run/supervisor/supervisor.sock: its directory /var/run/supervisor does not exist"
    );
    assert!(lack.help.contains("- directory: /var/run/supervisor"), "{}", lack.help);
    // The runbook: the directory, the unit, and then the program comes by itself.
    host.must("mkdir /var/run/supervisor; systemctl start supervisor");
    assert_eq!(agent.converge(&program).1, Ok(()));
}
