//! `program` on a real host with supervisord. One test after the other: they share supervisord.

#[path = "support/agent.rs"]
#[allow(dead_code)]
mod agent;

use std::sync::{Mutex, MutexGuard, PoisonError};

use agent::{Agent, Host, host, resource, told};
use converge::resource::{Action, AnyResource, Check, Needed, Thing};
use serde_json::json;

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

#[test]
fn a_program_with_its_file_is_added_alone_and_then_left_alone() {
    let Some((_guard, host, mut agent)) = supervised() else { return };
    add(&host, "other", "command=/bin/sleep infinity\nstartsecs=0");
    let other = status(&host, "other").split("uptime").next().map(str::to_owned);
    let content = "[program:cvg]\ncommand=/bin/sleep infinity\n";
    let program = resource("program", json!({"program": "cvg", "content": content}));
    let needed = needs(&mut agent, &program);
    assert_eq!((needed.action, needed.lacks.len()), (Action::Create, 0));
    assert_eq!(agent.converge(&program).1, Ok(()));
    let first = status(&host, "cvg");
    assert!(first.contains("RUNNING"), "{first}");
    assert_eq!(agent.converge(&program), (None, Ok(())));
    // A changed file: this one restarts, once; the other does not.
    let program =
        resource("program", json!({"program": "cvg", "content": content.replace("infinity", "100000")}));
    assert!(told(&needs(&mut agent, &program)).contains("restart: running with its old program file"));
    assert_eq!(agent.converge(&program).1, Ok(()));
    assert!(host.must("ps -o args= -p $(supervisorctl pid cvg) 2>/dev/null || cat /proc/$(supervisorctl pid cvg)/cmdline").contains("100000"));
    assert_eq!(status(&host, "other").split("uptime").next().map(str::to_owned), other);
    let stopped = resource("program", json!({"program": "cvg", "state": "stopped"}));
    assert_eq!(agent.converge(&stopped).1, Ok(()));
    assert!(status(&host, "cvg").contains("STOPPED"));
    assert_eq!(agent.converge(&stopped), (None, Ok(())));
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
