//! `make bench`: what a spec of 10,000 resources costs before anything runs. The yardstick reads
//! the same file with the bare YAML parser in the same run; the machine is named.

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use granit_parser::Parser;

const RESOURCES: usize = 10_000;
const ROUNDS: usize = 9;

/// The promise: `converge validate` of them, from its start to its end.
const MOST_TIME: Duration = Duration::from_millis(300);
const MOST_MEMORY_KIB: i64 = 200 * 1024;

fn main() {
    let directory = tempfile::tempdir().expect("a place for the spec");
    let spec = directory.path().join("spec.yaml");
    let text = spec_text();
    fs::write(&spec, &text).expect("the spec is written");
    let (mut ours, mut yardstick) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(timed(|| validate(&spec)));
        yardstick.push(timed(|| parse(&text)));
    }
    let (ours, yardstick) = (median(ours), median(yardstick));
    let memory = peak_of_children_kib();
    println!("machine: {}", machine());
    println!("validate of {RESOURCES} resources: {:.0} ms (median of {ROUNDS})", ms(ours));
    println!("yardstick, the YAML events of the same file: {:.0} ms", ms(yardstick));
    println!("ratio: {:.1}", ours.as_secs_f64() / yardstick.as_secs_f64());
    println!("peak memory: {:.1} MB, for {:.1} MB of YAML", memory as f64 / 1024.0, text.len() as f64 / 1e6);
    let kept = ours < MOST_TIME && memory < MOST_MEMORY_KIB;
    println!("under 300 ms and 200 MB: {}", if kept { "yes" } else { "NO" });
    if !kept {
        std::process::exit(1);
    }
}

/// Ten hosts; directories, files with templates and dependencies, commands and units in them.
fn spec_text() -> String {
    let mut text = String::from("vars:\n  domain: example.com\n  site: https://{{ domain }}\nhosts:\n");
    for host in 0..10 {
        let _ = writeln!(text, "  web{host}: {{address: 192.0.2.{host}, vars: {{rank: {host}}}}}");
    }
    text.push_str("resources:\n");
    for host in 0..10 {
        let _ = writeln!(text, "  web{host}:");
        for number in 0..RESOURCES / 40 {
            let _ = write!(
                text,
                "    - directory: /srv/d{number}
      mode: 755
      owner: root
    - file: /srv/d{number}/index.html
      content: \"{{{{ host.name }}}} of {{{{ site }}}}, number {number}\"
      mode: 0644
    - unit: app{number}
      enabled: true
      restart_on: [file:/srv/d{number}/index.html]
    - command: make {number}
      creates: /srv/d{number}/made
      depends_on: [directory:/srv/d{number}, unit:app{number}]
"
            );
        }
    }
    text
}

fn validate(spec: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_converge"));
    let status = command.arg("validate").arg(spec).stdout(Stdio::null()).status();
    assert!(status.expect("the program starts").success(), "the spec is refused");
}

fn parse(text: &str) {
    for event in Parser::new_from_str(text) {
        black_box(event.expect("the spec is YAML"));
    }
}

fn timed(work: impl Fn()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Of the largest child that has been waited for.
fn peak_of_children_kib() -> i64 {
    // SAFETY: rusage is plain numbers, which getrusage fills in.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage.ru_maxrss
    }
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores,{}", model.trim_start_matches([' ', '\t', ':']).trim_end())
}
