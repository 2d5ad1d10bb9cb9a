//! `supervise`: runs a command and starts it again when it ends. Both binaries have it: `converge
//! supervise -- COMMAND` for people, and the agent for the `process`es of a host without systemd.
//!
//! May use: attribute, failure, system, resource (its `http` judges health, its `process` says what
//! is to be kept alive).

mod child;
mod health;
pub mod policy;
mod process;
mod watch;
mod words;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

pub use words::Options;
pub use words::{DELAY, GRACE, PROBE_EVERY, PROBE_FAILURES};

use watch::{Orders, Supervisor, Witness};

/// The command line is wrong, and nothing was started: as for every command.
const WRONG: u8 = 3;

/// The words after `supervise`, where no other command line reads them: the exit code.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.into_iter().collect();
    if let Some(process) = process::Words::of(&words) {
        return process.run();
    }
    match Options::read(words) {
        Ok(options) => run(&options),
        Err(wrong) => refuse(&wrong),
    }
}

/// Supervises the command of `options` until it has ended for good: the exit code.
pub fn run(options: &Options) -> u8 {
    if let Err(wrong) = options.check() {
        return refuse(&wrong);
    }
    match options.orders() {
        Ok(orders) => supervise(orders, &mut OnStderr { name: "supervise".to_owned() }),
        Err(wrong) => refuse(&wrong),
    }
}

/// The supervisor of a `process`, as its cron entry and converge itself start it.
pub fn process(file: PathBuf, detach: bool, is_session: bool) -> u8 {
    process::Words { file, detach, is_session }.run()
}

fn supervise(orders: Orders, witness: &mut dyn Witness) -> u8 {
    match Supervisor::new(orders, witness) {
        Ok(supervisor) => supervisor.run(),
        Err(error) => {
            let told = format!("cannot listen to signals: {error}");
            let _ = writeln!(std::io::stderr(), "error: {told}");
            1
        }
    }
}

fn refuse(wrong: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "error: {wrong}");
    WRONG
}

/// Tells on standard error, each line with its time.
struct OnStderr {
    name: String,
}

impl Witness for OnStderr {
    fn say(&mut self, what: &str) {
        say(&self.name, what);
    }
}

fn say(name: &str, what: &str) {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    // In one write, so that it stays one line beside what the command writes. Where nobody reads
    // it any more, the command still wants to be kept alive.
    let _ = std::io::stderr().write_all(format!("{now} converge {name}: {what}\n").as_bytes());
}
