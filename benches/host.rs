//! `make bench`: what many resources of one host cost that is as it should be: 200 packages, 200 units
//! and 200 users on a host of the lab. The yardstick asks dpkg and systemd for the same names, once each,
//! and reads the files of accounts, on the same host in the same run; the machine is named.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 7;

/// What is declared, as shell lines that print the items of a spec on the host itself.
const DECLARED: &[(&str, &str)] = &[
    (
        "package",
        "dpkg-query -W -f='${Package} ${Status}\\n' | sed -n 's/ install ok installed$//p' | sort -u | head -200 \
         | sed 's/.*/  - package: &/'",
    ),
    (
        "unit",
        "for n in $(seq 200); do printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/bench-$n.service; \
         echo \"  - {unit: bench-$n.service, state: inactive}\"; done; systemctl daemon-reload",
    ),
    (
        "user",
        "groupadd -g 52000 bench; for n in $(seq 200); do useradd -M -d / -u $((52000 + n)) -g bench bench-$n; \
         echo \"  - {user: bench-$n, uid: $((52000 + n)), group: bench, home: /, create_home: false}\"; done",
    ),
];

/// The same names, read as bare as can be.
const YARDSTICK: &str = "dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\\n' $(cat /run/bench-packages) >/dev/null; \
    systemctl show -p Id,ActiveState,UnitFileState,FragmentPath -- $(cat /run/bench-units) >/dev/null; \
    cat /etc/passwd /etc/group /etc/shadow >/dev/null";

const SPEC: &str = "/run/bench.yaml";
const PROGRAM: &str = "/root/converge-of-bench";

fn main() {
    let lab = Lab { directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/bench") };
    if !lab.script(&["probe"], None).status.success() {
        println!("no lab can be had here (tests/lab/lab.sh probe says why): nothing is measured");
        return;
    }
    // One that an earlier run left.
    lab.script(&["down"], None);
    let up = lab.script(&["up", "host"], None);
    assert!(up.status.success(), "the lab: {}", String::from_utf8_lossy(&up.stderr));
    measure(&lab);
}

fn measure(lab: &Lab) {
    lab.script(&["put", "host", env!("CARGO_BIN_EXE_converge"), PROGRAM, "755"], None);
    lab.on_host(&format!("echo resources: >{SPEC}"));
    let mut told = Vec::new();
    for (word, items) in DECLARED {
        let count = lab.on_host(&format!("({items}) | tee -a {SPEC} | wc -l"));
        told.push(format!("{} of `{word}`", count.trim()));
    }
    lab.on_host(&format!("sed -n 's/^  - package: //p' {SPEC} >/run/bench-packages"));
    lab.on_host(&format!("sed -n 's/^  - {{unit: \\([^,]*\\),.*/\\1/p' {SPEC} >/run/bench-units"));
    let apply =
        format!("CONVERGE_RUNTIME_DIR=/run/bench {PROGRAM} apply --quiet {SPEC} >/run/bench.log 2>&1");
    lab.on_host(&format!("{apply} || {{ cat /run/bench.log; exit 1; }}"));
    let (mut ours, mut yardstick) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(lab.timed(&apply));
        yardstick.push(lab.timed(YARDSTICK));
    }
    let (ours, yardstick) = (median(ours), median(yardstick));
    println!("machine: {}", machine());
    println!("no-op apply of {}: {:.0} ms (median of {ROUNDS})", told.join(", "), ms(ours));
    println!(
        "yardstick, one dpkg-query and one systemctl over the same names, and the files of accounts: {:.0} ms",
        ms(yardstick)
    );
    println!("ratio: {:.1}", ours.as_secs_f64() / yardstick.as_secs_f64());
}

/// A lab of one host, taken down in the end.
struct Lab {
    directory: PathBuf,
}

impl Lab {
    fn script(&self, arguments: &[&str], line: Option<&str>) -> std::process::Output {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab.sh"));
        command.args(arguments).args(line).env("LAB", &self.directory).stdin(Stdio::null());
        command.output().expect("lab.sh starts")
    }

    fn on_host(&self, line: &str) -> String {
        let output = self.script(&["root", "host", "sh", "-c"], Some(line));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// By the host's own clock, so that the way there does not count.
    fn timed(&self, line: &str) -> Duration {
        let said = self.on_host(&format!("a=$(date +%s%N); {line}; b=$(date +%s%N); echo; echo $((b - a))"));
        let nanoseconds = said.lines().last().and_then(|line| line.parse().ok());
        Duration::from_nanos(nanoseconds.expect("the host tells the time"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.script(&["down"], None);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores,{}", model.trim_start_matches([' ', '\t', ':']).trim_end())
}
