//! From cron: a third host is the controller, and after a power cut of everything the site comes
//! back with nobody at the keyboard.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::lab::Lab;
use support::{has_lab, login, prod_with, program};

/// The two lines of the README, as root's crontab.
fn crontab() -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let lines: Vec<&str> = readme.lines().filter(|line| line.contains("converge apply --quiet")).collect();
    assert!(lines.iter().any(|line| line.starts_with("@reboot ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("0 * * * * ")), "{lines:?}");
    let lines: Vec<&&str> = lines.iter().filter(|line| line.starts_with(['@', '0'])).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    format!("{}\n{}\n", lines[0], lines[1])
}

fn until(what: &str, patience: u64, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(patience);
    while !holds() {
        assert!(Instant::now() < end, "not within {patience} s: {what}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn after_a_power_cut_of_everything_cron_brings_the_site_back() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("cron", &["dom0", "vps0:off", "ctl"]);
    lab.site();
    // As the README says of a host that may boot more slowly than the controller.
    let spec = prod_with(&lab, |text| text.replace("    become: sudo\n", "    become: sudo\n    wait: 2m\n"));

    // The controller: the program, its agent, the spec, and ssh as its user has set it up.
    let beside = Path::new(program()).parent().unwrap();
    lab.put_mode("ctl", "/usr/local/bin/converge", fs::read(program()).unwrap(), "755");
    let agent = "converge-agent-x86_64";
    lab.put_mode("ctl", &format!("/usr/local/bin/{agent}"), fs::read(beside.join(agent)).unwrap(), "755");
    lab.must("ctl", "mkdir -p /etc/converge/specs");
    lab.put("ctl", "/etc/converge/specs/prod.yaml", fs::read(&spec).unwrap());
    lab.put_mode("ctl", "/root/.ssh/id_ed25519", fs::read(lab.key()).unwrap(), "600");
    lab.put("ctl", "/root/.ssh/known_hosts", fs::read(lab.known_hosts()).unwrap());
    lab.put("ctl", "/tmp/crontab", crontab());
    lab.must("ctl", "crontab /tmp/crontab && sync");

    // By hand, under cron's bare environment: --quiet says nothing where nothing changed.
    let bare = "env -i SHELL=/bin/sh PATH=/usr/bin:/bin HOME=/root LOGNAME=root";
    let apply = format!("cd /etc/converge && {bare} /usr/local/bin/converge apply --quiet specs/prod.yaml");
    let first = lab.ssh("ctl", &apply);
    assert_eq!(first.status, 0, "{}{}", first.stdout, first.stderr);
    let second = lab.ssh("ctl", &apply);
    assert_eq!((second.status, second.stdout.as_str(), second.stderr.as_str()), (0, "", ""));

    for host in ["ctl", "dom0"] {
        lab.power_cut(host);
    }
    assert_eq!(login(&lab), "000");
    // The controller is first: it waits for dom0, as its spec says.
    lab.boot("ctl");
    lab.boot("dom0");
    until("/login answers 200 again", 120, || login(&lab) == "200");
    until("the run is over", 60, || !lab.ssh("ctl", "pgrep -x converge").ok());
    let third = lab.ssh("ctl", &apply);
    assert_eq!((third.status, third.stdout.as_str(), third.stderr.as_str()), (0, "", ""));
}
