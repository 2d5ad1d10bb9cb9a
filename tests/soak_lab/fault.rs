//! What happens to a run, at a moment that the seed chooses.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::Bench;
use crate::rng::Rng;
use crate::support::Ran;
use crate::world::Goal;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// The connection ends after some byte.
    Cut,
    /// Nothing comes through any more, and then the controller is gone too, without a farewell: its
    /// own power, its cable.
    Silence,
    /// `kill -9` of the agent.
    Agent,
    /// `kill -9` of converge.
    Converge,
    /// Ctrl-C.
    Interrupt,
    /// The host's power is cut.
    Power,
}

pub const KINDS: &[Kind] =
    &[Kind::Cut, Kind::Silence, Kind::Agent, Kind::Converge, Kind::Interrupt, Kind::Power];

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// Of what the run before took, in time or in bytes.
    share: f64,
}

/// The note of a relay on which nothing comes through any more.
const STANDS: &str = "stands";

/// What the run before took.
pub struct Usual {
    pub time: Duration,
    pub bytes: u64,
}

impl Fault {
    pub fn new(rng: &mut Rng, seed: u64) -> Fault {
        let kind = KINDS[(seed % KINDS.len() as u64) as usize];
        Fault { kind, share: rng.below(1000) as f64 / 1000.0 }
    }

    /// Runs an apply, and lets it happen. False: the run was over before.
    pub fn strike(self, bench: &Bench, before: &Goal, goal: &Goal, usual: &Usual) -> Result<bool, String> {
        let bytes = (usual.bytes as f64 * self.share) as u64;
        let relay = match self.kind {
            Kind::Cut => format!("cut {bytes}"),
            Kind::Silence => format!("silence {bytes}"),
            _ => "count".to_owned(),
        };
        let mut killer = (self.kind == Kind::Agent).then(|| Killer::new(bench));
        let mut child = bench.converge("apply", goal, &relay).spawn().unwrap();
        let moment = Instant::now() + usual.time.mul_f64(self.share);
        match self.kind {
            Kind::Cut => {}
            Kind::Silence => await_silence(bench, &mut child),
            _ => std::thread::sleep(moment.saturating_duration_since(Instant::now())),
        }
        let is_over = child.try_wait().unwrap().is_some();
        match self.kind {
            Kind::Agent => killer.take().map_or((), Killer::strike),
            Kind::Converge => signal_converge(bench, &mut child, Signal::KILL),
            Kind::Interrupt => signal_converge(bench, &mut child, Signal::INT),
            Kind::Power => bench.lab.power_cut(&bench.host),
            Kind::Silence if !is_over => signal_converge(bench, &mut child, Signal::KILL),
            Kind::Cut | Kind::Silence => {}
        }
        if self.kind == Kind::Power {
            // Before anything of it can be mended by a boot.
            crate::oracle::nothing_half_written(bench, before, goal)?;
            bench.lab.boot(&bench.host);
        }
        let ran = outcome(child);
        let came = match self.kind {
            Kind::Cut | Kind::Silence => bench.noted("happened").is_some(),
            _ => !is_over,
        };
        match (self.kind, ran.code) {
            // A shell tells a killed program so.
            (Kind::Converge, -1 | 137) | (Kind::Silence, -1 | 137) => Ok(came),
            (Kind::Interrupt, 130 | 0) => Ok(came),
            (_, 0 | 1) => Ok(came),
            (_, code) => {
                Err(format!("the run that it happened to ended with {code}: {}{}", ran.stdout, ran.stderr))
            }
        }
    }
}

/// Ends the relay that stood still: by now the network itself would have given up.
pub fn end_relay(bench: &Bench) {
    if let Some(pid) = bench.noted_number(STANDS).and_then(Pid::from_raw) {
        let is_ours = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
            .is_ok_and(|line| line.contains("soak_lab/relay.py"));
        if is_ours {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = std::fs::remove_file(bench.notes.join(STANDS));
    }
}

/// Waits in the host for the word, so that it comes at the moment.
struct Killer(Child);

impl Killer {
    fn new(bench: &Bench) -> Killer {
        let mut command: Command = bench.lab.command();
        command.args(["root", &bench.host, "sh", "-c", "read go; pkill -KILL -f [c]onverge-agent-; true"]);
        Killer(command.stdin(Stdio::piped()).spawn().unwrap())
    }

    fn strike(mut self) {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        self.0.wait().unwrap();
    }
}

fn await_silence(bench: &Bench, child: &mut Child) {
    while child.try_wait().unwrap().is_none() && bench.noted("happened").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    if bench.noted("happened").is_some() {
        // The next run has a relay of its own.
        std::fs::rename(bench.notes.join("relay"), bench.notes.join(STANDS)).unwrap();
    }
}

/// To the program itself, and not to the shell that puts it on the lab's network.
fn signal_converge(bench: &Bench, child: &mut Child, signal: Signal) {
    while child.try_wait().unwrap().is_none() {
        // It is known when it reaches out for the host.
        if let Some(pid) = bench.noted_number("caller").and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn outcome(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
