//! `make bench`: what an unchanged machine costs. Every figure is a ratio to a yardstick that does
//! the bare work in the same run; the machine is named.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

const FILES: usize = 5_000;
const ROUNDS: usize = 7;

/// The promise: a no-op apply of 5,000 files.
const MOST_TIME: Duration = Duration::from_secs(1);
const MOST_MEMORY_KIB: i64 = 100 * 1024;

fn main() {
    let directory = tempfile::tempdir().expect("a place for the files");
    let spec = prepare(directory.path());
    let apply = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_converge"));
        command.args(["apply", "--quiet"]).arg(&spec);
        command.env("CONVERGE_RUNTIME_DIR", directory.path().join("run")).stdout(Stdio::null());
        let status = command.status().expect("the program starts");
        assert!(status.success(), "the no-op apply failed");
    };
    apply();
    let (mut ours, mut yardstick) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(timed(apply));
        yardstick.push(timed(|| lstat_and_hash(directory.path())));
    }
    let (ours, yardstick) = (median(ours), median(yardstick));
    let memory = peak_of_children_kib();
    println!("machine: {}", machine());
    println!("no-op apply of {FILES} files: {:.0} ms (median of {ROUNDS})", ms(ours));
    println!("yardstick, lstat and sha256 of the same files: {:.0} ms", ms(yardstick));
    println!("ratio: {:.1}", ours.as_secs_f64() / yardstick.as_secs_f64());
    println!("peak memory: {:.1} MB", memory as f64 / 1024.0);
    let kept = ours < MOST_TIME && memory < MOST_MEMORY_KIB;
    println!("under 1 s and 100 MB: {}", if kept { "yes" } else { "NO" });
    if !kept {
        std::process::exit(1);
    }
}

fn prepare(directory: &Path) -> std::path::PathBuf {
    let mut text = format!("resources:\n  - directory: {}/files\n", directory.display());
    for index in 0..FILES {
        let path = format!("{}/files/{index}", directory.display());
        text.push_str(&format!(
            "  - file: {path}\n    content: \"this is file {index}\\n\"\n    mode: 644\n"
        ));
    }
    let spec = directory.join("spec.yaml");
    fs::write(&spec, text).expect("the spec is written");
    spec
}

fn lstat_and_hash(directory: &Path) {
    for index in 0..FILES {
        let path = directory.join("files").join(index.to_string());
        black_box(fs::symlink_metadata(&path).expect("the file is there"));
        black_box(Sha256::digest(fs::read(&path).expect("the file can be read")));
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
