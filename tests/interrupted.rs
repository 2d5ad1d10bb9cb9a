//! Cut short: Ctrl-C and `kill -9` of converge in the middle of a run on a host.

mod support;

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use support::lab::Lab;
use support::{converge_in, has_lab, run};

const FILES: usize = 400;

/// Many files, each 20 kB of one letter and a last line, and a command that takes its time.
fn spec(lab: &Lab, letter: char) -> PathBuf {
    let source = lab.dir().join("source");
    std::fs::write(&source, format!("{}\nthe end\n", letter.to_string().repeat(20_000))).unwrap();
    let mut text = format!(
        "hosts:\n  h1:\n    address: {}\n    user: root\nresources:\n  h1:\n    - directory: /srv/many\n",
        lab.ip("h1")
    );
    for index in 0..FILES {
        text.push_str(&format!("    - file: /srv/many/{index}\n      source: {}\n", source.display()));
    }
    text.push_str("    - command: slow\n      run: 'sleep 3; touch /srv/slow'\n      creates: /srv/slow\n");
    let path = lab.dir().join("many.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// The program itself, not the shell that puts it on the lab's network.
fn pid_of(lab: &Lab) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    let pattern = format!("^{} apply {}", support::program(), lab.dir().display());
    loop {
        let found = std::process::Command::new("pgrep").args(["-f", &pattern]).output().unwrap();
        let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        if !found.is_empty() {
            return found.lines().last().unwrap().to_owned();
        }
        assert!(Instant::now() < end, "converge does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn begin(lab: &Lab, spec: &std::path::Path) -> Child {
    let mut command = converge_in(lab);
    command.arg("apply").arg(spec).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Each file is whole, the old one or the new one.
fn nothing_is_half_written(lab: &Lab) {
    let broken = lab.must(
        "h1",
        "cd /srv/many 2>/dev/null || exit 0; for f in [0-9]*; do [ -e $f ] || continue; \
         [ \"$(stat -c %s $f)\" = 20009 ] && [ \"$(tail -n 1 $f)\" = 'the end' ] || echo $f; done",
    );
    assert_eq!(broken, "");
}

fn no_agent_stays(lab: &Lab) {
    let end = Instant::now() + Duration::from_secs(60);
    while lab.ssh("h1", "pgrep -f converge-agent-[0-9a-f]").ok() {
        assert!(Instant::now() < end, "an agent is left behind");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_killed_or_interrupted_run_leaves_nothing_half_done_and_the_next_one_converges() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("interrupted", &["h1"]);
    for (round, (signal, delay)) in
        [("-KILL", 300), ("-INT", 400), ("-KILL", 600), ("-TERM", 700), ("-KILL", 1200)]
            .into_iter()
            .enumerate()
    {
        lab.must("h1", "rm -f /srv/slow");
        let spec = spec(&lab, char::from(b'a' + u8::try_from(round).unwrap()));
        let mut child = begin(&lab, &spec);
        let pid = pid_of(&lab);
        std::thread::sleep(Duration::from_millis(delay));
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        let code = child.wait().unwrap().code();
        if sent.success() {
            match signal {
                "-INT" => assert_eq!(code, Some(130)),
                "-TERM" => assert_eq!(code, Some(143)),
                _ => assert_ne!(code, Some(0)),
            }
        }
        nothing_is_half_written(&lab);
        let next = run(converge_in(&lab).arg("apply").arg("--format").arg("json").arg(&spec)).expect(0);
        assert_eq!(next.summary()["failed"], 0);
        assert_eq!(lab.must("h1", "ls -A /srv/many | wc -l").trim(), FILES.to_string(), "no leftovers");
        let third = run(converge_in(&lab).arg("apply").arg("--format").arg("json").arg(&spec)).expect(0);
        assert_eq!(third.summary()["changed"], 0);
        no_agent_stays(&lab);
    }
}
