//! How long it takes to reach a host and to check a hundred resources there, next to
//! `ssh HOST true`: `cargo test --release --test ssh speed -- --ignored --nocapture`, with
//! CONVERGE_AGENTS where the release's agent lies.

use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use converge::node::{FromNode, reach};
use converge::resource::AnyResource;
use converge::wire::{Operation, Request};

use crate::sshd::{Sshd, possible};

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let (host, options) = (sshd.host("root"), sshd.options());
    let hundred = || {
        let begun = Instant::now();
        let mut node = reach(&host, &options).unwrap();
        let reached = begun.elapsed();
        let (sender, receiver) = channel();
        node.listen(Box::new(move |heard| drop(sender.send(heard))));
        let resource = |id: u64| {
            let attributes = serde_json::json!({"directory": format!("/usr/share/{id}")});
            let resource = AnyResource::read("directory", attributes).unwrap().unwrap();
            Request::new(id, Operation::Check(resource), Duration::from_secs(9))
        };
        node.send((0..100).map(resource).collect());
        let answered = (0..100).filter(|_| matches!(receiver.recv(), Ok(FromNode::Reply(_)))).count();
        assert_eq!(answered, 100);
        let all = begun.elapsed();
        node.close();
        (reached, all, begun.elapsed())
    };
    let (pushed, ..) = hundred();
    let (mut reached, mut checked, mut closed, mut plain) = (vec![], vec![], vec![], vec![]);
    for _ in 0..15 {
        let (one, two, three) = hundred();
        reached.push(one);
        checked.push(two);
        closed.push(three);
        let begun = Instant::now();
        let status = Command::new("ssh")
            .arg("-F")
            .arg(sshd.path("ssh_config"))
            .args(["-p", &sshd.port.to_string(), "root@127.0.0.1", "true"])
            .status();
        assert!(status.unwrap().success());
        plain.push(begun.elapsed());
    }
    println!("first time, the agent pushed: {pushed:?}");
    println!("reached, the agent there:     {:?}", median(reached));
    println!("and 100 resources checked:    {:?}", median(checked));
    println!("and closed:                   {:?}", median(closed));
    println!("ssh host true:                {:?}", median(plain));
}
