//! What hangs or dies fails by itself: its branch is skipped, all else goes on, and the run ends.

mod support;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::lab::Lab;
use support::{Ran, converge_in, has_lab, run};

/// Two hosts, and resources for each.
fn spec(lab: &Lab, h1: &str, h2: &str) -> PathBuf {
    let host = |name: &str| format!("  {name}:\n    address: {}\n    user: root\n", lab.ip(name));
    let text = format!("hosts:\n{}{}resources:\n  h1:\n{h1}\n  h2:\n{h2}\n", host("h1"), host("h2"));
    let path = lab.dir().join("isolation.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn apply(lab: &Lab, spec: &std::path::Path) -> Ran {
    run(converge_in(lab).args(["apply", "--format", "json"]).arg(spec))
}

const FREE: &str = "    - file: /srv/free\n      content: x\n";

fn is_free(lab: &Lab, host: &str) {
    assert_eq!(lab.must(host, "cat /srv/free; rm /srv/free"), "x");
}

#[test]
fn a_tool_that_hangs_fails_its_resource_at_its_timeout_and_is_killed_with_its_children() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("isolation-tool", &["h1", "h2"]);
    // supervisord is stopped: its supervisorctl waits for ever. And a systemctl that never returns.
    lab.must("h1", "systemctl kill -s STOP supervisor");
    lab.put_mode("h2", "/usr/local/bin/systemctl", "#!/bin/sh\nsleep 4711 & sleep 4711\n", "755");
    let hung = "    - program: anything\n      timeout: 3s\n    - file: /srv/after\n      depends_on: program:anything\n";
    let spec = spec(&lab, &format!("{hung}{FREE}"), &format!("    - unit: cron\n      timeout: 3s\n{FREE}"));
    let begun = Instant::now();
    let ran = apply(&lab, &spec).expect(1);
    assert!(begun.elapsed() < Duration::from_secs(60), "the run ends");
    for id in ["h1/program:anything", "h2/unit:cron"] {
        let failed = ran.resource(id);
        assert_eq!(failed["status"], "failed");
        assert!(failed["reason"].as_str().unwrap().contains("did not end within its timeout"), "{failed}");
    }
    assert_eq!(ran.resource("h1/file:/srv/after")["because_of"], "h1/program:anything");
    assert_eq!(ran.summary()["unreachable"], 0);
    is_free(&lab, "h1");
    is_free(&lab, "h2");
    assert!(!lab.ssh("h2", "pgrep -f 'sleep 4711'").ok(), "children are killed as a group");
    assert!(!lab.ssh("h1", "pgrep supervisorctl").ok());
}

#[test]
fn a_host_that_dies_in_the_middle_is_lost_and_the_others_converge() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("isolation-dead", &["h1", "h2"]);
    let slow = "    - command: slow\n      run: 'touch /srv/begun; sleep 50; touch /srv/slow'\n      creates: /srv/slow\n    - file: /srv/after\n      depends_on: command:slow\n";
    let spec = spec(&lab, FREE, slow);
    let mut command = converge_in(&lab);
    command.args(["apply", "--format", "json"]).arg(&spec).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while !lab.ssh("h2", "test -e /srv/begun").ok() {
        assert!(Instant::now() < end, "the command does not begin");
    }
    // The cable: a dead host says nothing at all.
    lab.partition("h2");
    let output = child.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let ran = ran.expect(1);
    assert!(Instant::now() < end + Duration::from_secs(60));
    assert_eq!(ran.summary()["unreachable"], 1);
    assert_eq!(ran.status("h2/command:slow"), "failed");
    assert_eq!(ran.status("h2/file:/srv/after"), "skipped");
    assert_eq!(ran.status("h1/file:/srv/free"), "changed");
    is_free(&lab, "h1");
}

#[test]
fn a_host_that_answers_a_byte_a_second_is_out_of_reach_and_the_others_converge() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("isolation-slow", &["h1", "h2"]);
    let drip = lab.dir().join("drip.py");
    let program = "import os, socket, sys, threading, time\n\
        s = socket.create_connection((sys.argv[1], 22))\n\
        def up():\n    while (b := os.read(0, 65536)): s.sendall(b)\n\
        threading.Thread(target=up, daemon=True).start()\n\
        while (b := s.recv(1)): os.write(1, b); time.sleep(1)\n";
    std::fs::write(&drip, program).unwrap();
    let config = std::fs::read_to_string(lab.ssh_config()).unwrap();
    let proxy = format!("Host {}\n ProxyCommand python3 {} %h\n", lab.ip("h2"), drip.display());
    std::fs::write(lab.ssh_config(), format!("{proxy}{config}")).unwrap();
    let spec = spec(&lab, FREE, FREE);
    let begun = Instant::now();
    let ran = apply(&lab, &spec).expect(1);
    assert!(begun.elapsed() < Duration::from_secs(60), "the run ends");
    assert_eq!(ran.summary()["unreachable"], 1, "{}", ran.stdout);
    assert_eq!(ran.status("h2/file:/srv/free"), "skipped");
    is_free(&lab, "h1");
}

/// A file system whose server takes every question and answers none: whoever asks hangs in the kernel,
/// out of reach of any signal, as on the worst of NFS mounts.
const HUNG: &str = r#"
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs("/mnt/hung", exist_ok=True)
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"hung", b"/mnt/hung", b"fuse", 0, options) != 0:
    raise OSError(ctypes.get_errno(), "mount")
while True:
    length, opcode, unique = struct.unpack_from("<IIQ", os.read(fuse, 1 << 17))
    if opcode == 26:  # FUSE_INIT, the one that is answered
        answer = struct.pack("<IIIIHHII36x", 7, 23, 4096, 0, 1, 1, 4096, 1)
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
        open("/run/hung", "w").close()
"#;

const ON_IT: &str = "
    - file: /mnt/hung/conf
      content: x
      timeout: 3s
    - file: /srv/after
      depends_on: file:/mnt/hung/conf
    - command: ls /mnt/hung
      creates: /srv/never
      timeout: 3s
    - unit: cron
      restart_on: [/mnt/hung/other]
      timeout: 3s
";

#[test]
fn a_hung_mount_fails_what_lies_on_it_and_neither_the_run_nor_the_lock_hangs_with_it() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("isolation-mount", &["h1", "h2"]);
    if !lab.ssh("h1", "test -c /dev/fuse").ok() {
        eprintln!("left out: this machine has no /dev/fuse");
        return;
    }
    lab.put("h1", "/root/hung.py", HUNG);
    lab.must(
        "h1",
        "systemd-run --quiet --unit hung python3 /root/hung.py; until test -e /run/hung; do sleep 0.1; done",
    );
    let spec = spec(&lab, &format!("{ON_IT}{FREE}"), FREE);
    let hung_and_free = || {
        let begun = Instant::now();
        let ran = apply(&lab, &spec).expect(1);
        assert!(begun.elapsed() < Duration::from_secs(120), "the run ends");
        for id in ["h1/file:/mnt/hung/conf", "h1/command:ls /mnt/hung", "h1/unit:cron"] {
            let failed = ran.resource(id);
            assert_eq!(failed["status"], "failed", "{failed}");
            assert!(
                failed["reason"].as_str().unwrap().contains("did not end within its timeout"),
                "{failed}"
            );
        }
        assert_eq!(ran.resource("h1/file:/srv/after")["because_of"], "h1/file:/mnt/hung/conf");
        assert_eq!(ran.summary()["unreachable"], 0, "{}", ran.stdout);
        is_free(&lab, "h1");
        is_free(&lab, "h2");
    };
    hung_and_free();
    // Threads of that agent still hang, and have all open that it had. Nobody waits for them.
    hung_and_free();
    // Not even where the agent was killed, and could give nothing back.
    let mut command = converge_in(&lab);
    command.arg("apply").arg(&spec).stdout(Stdio::null()).stderr(Stdio::null());
    let mut killed = command.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while !lab.ssh("h1", "test -e /srv/free").ok() {
        assert!(Instant::now() < end, "it does not begin");
    }
    lab.must("h1", "pkill -KILL -f [c]onverge-agent-");
    killed.wait().unwrap();
    lab.must("h1", "rm -f /srv/free");
    lab.must("h2", "rm -f /srv/free");
    hung_and_free();
    // The server is gone, and its mount with it: what lay on it is made.
    lab.must("h1", "systemctl stop hung; umount -l /mnt/hung; touch /srv/never");
    apply(&lab, &spec).expect(0);
    assert_eq!(lab.must("h1", "cat /mnt/hung/conf"), "x");
}
