//! What happens between a controller and an agent, and what is left when one of them is gone.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use converge::attribute::CommandLine;
use converge::inventory::{Connection, Host, Privilege};
use converge::node::{FromNode, Node, reach};
use converge::resource::{AnyResource, Check};
use converge::wire::{Evidence, Operation, Outcome, Request};
use rustix::process::{Pid, Signal, kill_process};

use crate::sshd::{Sshd, possible};

fn listening(node: &mut dyn Node) -> Receiver<FromNode> {
    let (sender, receiver) = channel();
    node.listen(Box::new(move |heard| drop(sender.send(heard))));
    receiver
}

fn resource(word: &str, attributes: serde_json::Value) -> AnyResource {
    AnyResource::read(word, attributes).unwrap().unwrap()
}

fn check(id: u64, resource: AnyResource) -> Request {
    Request::new(id, Operation::Check(resource), Duration::from_secs(30))
}

fn lost(heard: &Receiver<FromNode>, limit: Duration) -> converge::resource::Failure {
    let end = Instant::now() + limit;
    loop {
        match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(FromNode::Lost(failure)) => return failure,
            Ok(FromNode::Reply(_)) => {}
            Err(error) => panic!("{error}: nobody said that it was lost"),
        }
    }
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn a_hundred_checks_are_answered() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let mut node = sshd.reach("root").unwrap();
    let heard = listening(&mut *node);
    node.send(
        (0..100)
            .map(|id| check(id, resource("directory", serde_json::json!({"directory": "/etc"}))))
            .collect(),
    );
    let mut ids: Vec<u64> = (0..100)
        .map(|_| match heard.recv_timeout(Duration::from_secs(60)).unwrap() {
            FromNode::Reply(reply) => {
                assert_eq!(reply.outcome, Outcome::Checked(Ok(Check::Holds)));
                reply.id
            }
            FromNode::Lost(failure) => panic!("{failure:?}"),
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
    node.close();
    assert!(sshd.agents_end_within(Duration::from_secs(60)));
    assert!(heard.recv().is_err(), "closing is not losing");
}

#[test]
fn eight_megabytes_travel_both_ways_at_once() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    for host in [sshd.host("root"), local_root()] {
        let mut node = reach(&host, &sshd.options()).unwrap();
        let heard = listening(&mut *node);
        let line = format!("yes {} | head -c 8000000", "a".repeat(99));
        let explain = |id| {
            let run = |argv: &[&str]| {
                Evidence::Run(CommandLine::Argv(argv.iter().map(|word| (*word).to_owned()).collect()))
            };
            // Too long for the kernel, and so shown in the answer.
            let padding = "x".repeat(8_000_000);
            let mut evidence = vec![run(&["/bin/sh", "-c", &line]); 8];
            evidence.push(run(&["/bin/true", &padding]));
            let directory = resource("directory", serde_json::json!({"directory": "/etc"}));
            Request::new(id, Operation::Explain(directory, evidence), Duration::from_secs(60))
        };
        let begun = Instant::now();
        node.send((0..3).map(explain).collect());
        let mut size = 0;
        for _ in 0..3 {
            match heard.recv_timeout(Duration::from_secs(60)).unwrap() {
                FromNode::Reply(reply) => match reply.outcome {
                    Outcome::Explained(details) => {
                        size += details.iter().map(|detail| detail.text.len()).sum::<usize>()
                    }
                    other => panic!("{other:?}"),
                },
                FromNode::Lost(failure) => panic!("{failure:?}"),
            }
        }
        assert!(size > 3 * 8_000_000, "{size}");
        eprintln!("24 MB there, {size} bytes back: {:?}", begun.elapsed());
        node.close();
    }
}

/// The same pump over a child's pipes: this machine, through sudo.
fn local_root() -> Host {
    Host {
        connection: Connection::Local,
        privilege: Privilege::Sudo,
        become_user: "nobody".into(),
        ..Host::ssh("localhost")
    }
}

#[test]
fn this_machine_is_reached_through_sudo_too() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let mut node =
        reach(&local_root(), &sshd.options()).unwrap_or_else(|unreachable| panic!("{unreachable:?}"));
    assert_eq!(node.hello().user, "nobody");
    let heard = listening(&mut *node);
    node.send(vec![check(7, resource("directory", serde_json::json!({"directory": "/etc"})))]);
    assert!(
        matches!(heard.recv_timeout(Duration::from_secs(60)), Ok(FromNode::Reply(reply)) if reply.id == 7)
    );
    node.close();
}

#[test]
fn a_killed_agent_is_told_with_its_signal() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    for host in [sshd.host("root"), Host { privilege: Privilege::Sudo, ..sshd.host("ubash") }] {
        let mut node = reach(&host, &sshd.options()).unwrap();
        let heard = listening(&mut *node);
        for pid in sshd.agents() {
            kill(pid, Signal::KILL);
        }
        let failure = lost(&heard, Duration::from_secs(60));
        assert!(failure.reason.contains("ended in the middle: killed by SIGKILL"), "{failure:?}");
        node.close();
    }
}

#[test]
fn a_cut_connection_is_told_and_leaves_no_agent() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let mut node = sshd.reach("root").unwrap();
    let heard = listening(&mut *node);
    let agent = sshd.agents()[0];
    let parent = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse::<i32>().unwrap()
    };
    kill(parent(agent), Signal::KILL);
    let failure = lost(&heard, Duration::from_secs(60));
    assert!(
        failure.reason.contains("was lost") || failure.reason.contains("ended in the middle"),
        "{failure:?}"
    );
    assert!(sshd.agents_end_within(Duration::from_secs(60)));
}

#[test]
fn a_busy_agent_is_not_a_lost_one() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let mut node = sshd.reach("root").unwrap();
    let heard = listening(&mut *node);
    for pid in sshd.agents() {
        kill(pid, Signal::STOP);
    }
    assert!(heard.recv_timeout(Duration::from_secs(12)).is_err(), "a busy host is not a lost one");
    for pid in sshd.agents() {
        kill(pid, Signal::CONT);
    }
    node.send(vec![check(1, resource("directory", serde_json::json!({"directory": "/etc"})))]);
    assert!(matches!(heard.recv_timeout(Duration::from_secs(60)), Ok(FromNode::Reply(_))));
    node.close();
}

/// Not a test: the controller of the test below, which is killed.
#[test]
#[ignore = "run by another test"]
fn controller_that_waits() {
    let Ok(given) = std::env::var("CONVERGE_TEST_CONTROLLER") else { return };
    let (config, port) = given.split_once(' ').unwrap();
    let privilege = Privilege::Sudo;
    let host = Host {
        address: Some("127.0.0.1".into()),
        port: port.parse().ok(),
        user: Some("ubash".into()),
        privilege,
        ..Host::ssh("lab")
    };
    let mut options = converge::node::ReachOptions::new().unwrap();
    (options.agents, options.ssh_config) = (crate::sshd::agents(), Some(config.into()));
    let mut node = reach(&host, &options).unwrap();
    let _heard = listening(&mut *node);
    let slow = CommandLine::Argv(vec!["/bin/sleep".into(), "5555".into()]);
    let evidence = vec![Evidence::Run(slow)];
    let directory = resource("directory", serde_json::json!({"directory": "/etc"}));
    node.send(vec![Request::new(1, Operation::Explain(directory, evidence), Duration::from_secs(600))]);
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_controller_killed_with_9_leaves_no_agent_and_no_program() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let options = sshd.options();
    let given = format!("{} {}", options.ssh_config.unwrap().display(), sshd.port);
    let mut controller = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "conversation::controller_that_waits"])
        .env("CONVERGE_TEST_CONTROLLER", given)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sleeping = || !sshd.inside("pgrep -xf '/bin/sleep 5555'").is_empty();
    let end = Instant::now() + Duration::from_secs(60);
    while !sleeping() {
        assert!(Instant::now() < end, "the controller never came to it: {}", sshd.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(sshd.agents().len(), 1);
    controller.kill().unwrap();
    controller.wait().unwrap();
    assert!(sshd.agents_end_within(Duration::from_secs(60)), "an agent is left");
    assert!(!sleeping(), "its program is left");
}
