//! One run at a time on a machine, whichever controller it comes from: two of them, one host.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::lab::{Lab, Output};
use support::{converge_in, has_lab, run};

/// A spec for h1 in which a command takes so long.
fn text(lab: &Lab, seconds: u32) -> String {
    format!(
        "hosts:\n  h1:\n    address: {}\n    user: root\nresources:\n  h1:\n    - command: slow\n      \
         run: touch /srv/begun; sleep {seconds}\n      always: true\n      timeout: 10m\n",
        lab.ip("h1")
    )
}

fn here(lab: &Lab, seconds: u32) -> PathBuf {
    let path = lab.dir().join("slow.yaml");
    std::fs::write(&path, text(lab, seconds)).unwrap();
    path
}

/// h1, and a second controller with converge of its own.
fn up(name: &str) -> Lab {
    let lab = Lab::up(name, &["h1", "ctl"]);
    let read =
        |path: PathBuf| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let program = PathBuf::from(support::program());
    let agent = format!("converge-agent-{}", std::env::consts::ARCH);
    lab.put_mode("ctl", "/usr/local/bin/converge", read(program.clone()), "755");
    lab.put_mode("ctl", &format!("/usr/local/bin/{agent}"), read(program.with_file_name(&agent)), "755");
    lab.put_mode("ctl", "/root/.ssh/id_ed25519", read(lab.key()), "600");
    lab.put("ctl", "/root/.ssh/known_hosts", read(lab.known_hosts()));
    lab
}

fn there(lab: &Lab, seconds: u32, options: &str) -> Output {
    lab.put("ctl", "/root/slow.yaml", text(lab, seconds));
    lab.ssh("ctl", &format!("converge apply {options} /root/slow.yaml 2>&1"))
}

fn wait_until_begun(lab: &Lab) {
    let end = Instant::now() + Duration::from_secs(60);
    while !lab.ssh("h1", "test -e /srv/begun && rm /srv/begun").ok() {
        assert!(Instant::now() < end, "it does not begin");
    }
}

fn begin_here(lab: &Lab, seconds: u32) -> Child {
    let mut command = converge_in(lab);
    command.arg("apply").arg(here(lab, seconds)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    wait_until_begun(lab);
    child
}

fn begin_there(lab: &Lab, seconds: u32) {
    lab.must("h1", "rm -f /srv/begun");
    lab.put("ctl", "/root/slow.yaml", text(lab, seconds));
    lab.must("ctl", "systemd-run --quiet --unit run converge apply /root/slow.yaml");
    wait_until_begun(lab);
}

#[test]
fn a_run_from_another_controller_waits_or_says_who_holds_the_host_since_when() {
    if !has_lab() {
        return;
    }
    let lab = up("locks");
    let mut first = begin_here(&lab, 20);
    let refused = there(&lab, 0, "");
    assert_eq!(refused.status, 4, "{}", refused.stdout);
    let pattern = format!("^{} apply {}", support::program(), lab.dir().display());
    let pid = run(Command::new("pgrep").args(["-f", &pattern])).stdout;
    let host = run(Command::new("uname").arg("-n")).stdout;
    for said in [
        "another run holds this machine's lock: ".to_owned(),
        format!("@{}, pid {}, since 20", host.trim(), pid.trim()),
        format!("with {}", lab.dir().join("slow.yaml").display()),
        "--wait-lock".to_owned(),
    ] {
        assert!(refused.stdout.contains(&said), "not said: {said}\n{}", refused.stdout);
    }
    let waited = there(&lab, 0, "--wait-lock 5m");
    assert_eq!(waited.status, 0, "{}", waited.stdout);
    assert!(first.wait().unwrap().success());

    // The other way round; and its controller is killed.
    begin_there(&lab, 300);
    run(converge_in(&lab).arg("apply").arg(here(&lab, 0))).expect(4).says("root@ctl, pid ");
    lab.must("ctl", "systemctl kill -s KILL run");
    run(converge_in(&lab).arg("apply").arg(here(&lab, 0)).args(["--wait-lock", "30s"])).expect(0);
}

#[test]
fn a_lock_outlives_neither_its_host_s_power_nor_its_controller_s() {
    if !has_lab() {
        return;
    }
    let lab = up("locks-power");
    begin_there(&lab, 300);
    lab.power_cut("h1");
    lab.boot("h1");
    run(converge_in(&lab).arg("apply").arg(here(&lab, 0))).expect(0);
    lab.must("ctl", "systemctl stop run; systemctl reset-failed run; true");

    // Nothing tells the host that its controller is gone. That one knows, when it is back.
    begin_there(&lab, 300);
    // The cable first: in the lab its network would still say farewell.
    lab.partition("ctl");
    lab.power_cut("ctl");
    run(converge_in(&lab).arg("apply").arg(here(&lab, 0))).expect(4).says("root@ctl, pid ");
    lab.heal("ctl");
    lab.boot("ctl");
    let again = there(&lab, 0, "");
    assert_eq!(again.status, 0, "{}", again.stdout);
}
