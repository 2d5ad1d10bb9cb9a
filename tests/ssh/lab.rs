//! Hosts that lose power or their network: real ones, of the lab.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use converge::inventory::Host;
use converge::node::{FromNode, ReachOptions, Unreachable, reach};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lab_hosts::Lab;
use crate::sshd::agents;

fn possible() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a thread of the test itself joins the lab's network, which takes root");
        return false;
    }
    Lab::available().inspect_err(|why| eprintln!("skipped: {why}")).is_ok()
}

/// The network of a lab is a thread's own: `work` sees it, and the lab itself is still at hand.
fn in_network_of<T: Send + 'static>(
    lab: &Lab,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let line = "printf '%s\\n' \"$0\" | md5sum | cut -c1-6";
    let id = Command::new("sh").args(["-c", line]).arg(lab.dir()).output().unwrap();
    let name = format!("/run/netns/cvl-{}.ctl", String::from_utf8_lossy(&id.stdout).trim());
    thread::spawn(move || {
        let network = File::open(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network))
            .unwrap();
        work()
    })
}

fn host(lab: &Lab) -> (Host, ReachOptions) {
    let hosts = fs::read_to_string(lab.dir().join("hosts.txt")).unwrap();
    let address = hosts.lines().find_map(|line| line.strip_prefix("h1 ")).unwrap().trim().to_owned();
    let config = lab.dir().join("converge_ssh_config");
    let text = format!(
        "UserKnownHostsFile {0}/known_hosts\nGlobalKnownHostsFile /dev/null\nIdentityFile {0}/id\nIdentitiesOnly yes\n\
         IdentityAgent none\n",
        lab.dir().display()
    );
    fs::write(&config, text).unwrap();
    let options = ReachOptions {
        connect_timeout: Duration::from_secs(3),
        agents: agents(),
        ssh_config: Some(config),
        become_password: None,
    };
    (Host { address: Some(address), user: Some("root".into()), ..Host::ssh("h1") }, options)
}

/// Reaches the host and holds it; what it says comes out of the channel.
fn held(lab: &Lab) -> Receiver<FromNode> {
    let (host, options) = host(lab);
    let (sender, receiver) = channel();
    let (ready, is_ready) = channel();
    in_network_of(lab, move || {
        let mut node = reach(&host, &options).unwrap_or_else(|unreachable| panic!("{unreachable:?}"));
        node.listen(Box::new(move |heard| drop(sender.send(heard))));
        let _ = ready.send(());
        thread::sleep(Duration::from_secs(120));
    });
    is_ready.recv().unwrap();
    receiver
}

fn attempt(lab: &Lab) -> (Option<Unreachable>, Duration) {
    let (host, options) = host(lab);
    let attempt = in_network_of(lab, move || {
        let begun = Instant::now();
        (reach(&host, &options).map(|mut node| node.close()).err(), begun.elapsed())
    });
    attempt.join().unwrap()
}

fn lost_after(heard: &Receiver<FromNode>, limit: Duration) -> Duration {
    let begun = Instant::now();
    match heard.recv_timeout(limit) {
        Ok(FromNode::Lost(failure)) => {
            assert!(failure.reason.contains("was lost"), "{failure:?}");
            eprintln!("after {:?}: {}", begun.elapsed(), failure.reason);
            begun.elapsed()
        }
        other => panic!("{other:?}"),
    }
}

/// Agents that live in this network: a host's, as it names it itself.
fn agents_in(network: &str) -> HashSet<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_one = |process: &PathBuf| {
        let program = fs::read_link(process.join("exe")).unwrap_or_default();
        program.to_string_lossy().contains("/var/lib/converge/converge-agent-")
            && fs::read_link(process.join("ns/net")).is_ok_and(|its| its.as_os_str() == network)
    };
    processes.filter(is_one).collect()
}

#[test]
fn a_host_without_power_is_noticed_then_worth_a_retry_and_reached_again_after_its_boot() {
    if !possible() {
        return;
    }
    let lab = Lab::up("ssh-power", &["h1"]);
    let heard = held(&lab);
    lab.power_cut("h1");
    assert!(lost_after(&heard, Duration::from_secs(30)) < Duration::from_secs(25));
    let (unreachable, took) = attempt(&lab);
    let unreachable = unreachable.expect("it has no power");
    assert!(unreachable.retry && took < Duration::from_secs(4), "{unreachable:?} after {took:?}");
    lab.boot("h1");
    assert_eq!(attempt(&lab).0, None);
}

#[test]
fn an_agent_whose_network_is_gone_ends_by_itself() {
    if !possible() {
        return;
    }
    let lab = Lab::up("ssh-partition", &["h1"]);
    let network = lab.must("h1", "readlink /proc/self/ns/net").trim().to_owned();
    let heard = held(&lab);
    let agent = agents_in(&network);
    assert_eq!(agent.len(), 1);
    lab.sh(["partition", "h1"]);
    let begun = Instant::now();
    lost_after(&heard, Duration::from_secs(30));
    assert!(!agents_in(&network).is_disjoint(&agent), "nobody told it so far");
    while !agents_in(&network).is_disjoint(&agent) {
        assert!(begun.elapsed() < Duration::from_secs(75), "the agent is still there");
        thread::sleep(Duration::from_millis(200));
    }
    eprintln!("the agent ended after {:?}", begun.elapsed());
}

#[test]
#[ignore = "a measurement"]
fn speed_at_20_ms_of_latency() {
    let lab = Lab::up_with("ssh-latency", &["h1"], &[("LATENCY", "10")]);
    for _ in 0..6 {
        println!("reached and closed after {:?}", attempt(&lab).1);
    }
    for _ in 0..5 {
        let begun = Instant::now();
        assert!(lab.ssh("h1", "true").ok());
        println!("lab.sh ssh h1 true: {:?}", begun.elapsed());
    }
}
