//! A real agent on a real host, over any command that runs a shell line there: for tests of
//! resources on machines with systemd, supervisord and `xl`.
//!
//! `CONVERGE_TEST_HOST` is that command, as in `tests/lab/lab.sh ssh h1`. Tests that need a host
//! say so and pass where there is none.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use converge::resource::{AnyResource, Check, Detail, Failure, Needed};
use converge::wire::{self, Hello, MAGIC, Operation, Outcome, Reply, Request};

/// Where the tests put the agent.
const PLACE: &str = "/root/converge-agent-of-tests";

pub struct Host {
    shell: Vec<String>,
}

pub struct Agent {
    process: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    next: u64,
    pub timeout: Duration,
}

/// The host to test on; None where there is none, which is said.
pub fn host() -> Option<Host> {
    named_host("CONVERGE_TEST_HOST")
}

/// The host that this variable names.
pub fn named_host(variable: &str) -> Option<Host> {
    match std::env::var(variable) {
        Ok(shell) if !shell.trim().is_empty() => {
            Some(Host { shell: shell.split_whitespace().map(str::to_owned).collect() })
        }
        _ => {
            eprintln!("skipped: {variable} names no host (tests/lab/lab.sh ssh HOST)");
            None
        }
    }
}

impl Host {
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.shell[0]);
        command.args(&self.shell[1..]).arg(line);
        command
    }

    /// Runs a shell line there: its exit code and all it said.
    pub fn sh(&self, line: &str) -> (i32, String) {
        let output = self.command(line).stdin(Stdio::null()).output().expect("the host's shell runs");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), said.into_owned())
    }

    /// Runs a shell line there that must succeed.
    pub fn must(&self, line: &str) -> String {
        let (code, said) = self.sh(line);
        assert_eq!(code, 0, "{line}: {said}");
        said
    }

    /// Puts a file there.
    pub fn put(&self, path: &str, content: &[u8]) {
        let line = format!("mkdir -p $(dirname {path}) && cat > {path}.new && mv {path}.new {path}");
        let mut child = self.command(&line).stdin(Stdio::piped()).spawn().expect("the host's shell runs");
        child.stdin.take().expect("it is piped").write_all(content).expect("the host reads");
        assert!(child.wait().expect("it ends").success(), "writing {path}");
    }

    /// An agent on it, pushed where it is not there yet.
    pub fn agent(&self) -> Agent {
        self.agent_under("exec")
    }

    /// An agent with more in its environment, as in `NAME=value`.
    pub fn agent_with(&self, environment: &str) -> Agent {
        self.agent_under(&format!("exec env {environment}"))
    }

    /// An agent that runs behind what its shell line begins with.
    pub fn agent_under(&self, line: &str) -> Agent {
        static PUSH: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let pushing = PUSH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = std::fs::read(env!("CARGO_BIN_EXE_converge-agent")).expect("the agent is built");
        let sum = format!("echo '{}  {PLACE}' | sha256sum -c", converge::attribute::sha256_hex(&own));
        if self.sh(&sum).0 != 0 {
            self.put(PLACE, &own);
            self.must(&format!("chmod +x {PLACE}"));
        }
        drop(pushing);
        Agent::on(self.command(&format!("{line} {PLACE}")))
    }
}

impl Agent {
    /// Speaks to the agent that `command` runs.
    pub fn on(mut command: Command) -> Agent {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the agent starts");
        let stdin = process.stdin.take().expect("it is piped");
        let mut stdout = process.stdout.take().expect("it is piped");
        let mut magic = vec![0; MAGIC.len()];
        stdout.read_exact(&mut magic).expect("the agent greets");
        assert_eq!(magic, MAGIC);
        wire::receive::<Hello>(&mut stdout).expect("the agent says hello");
        Agent { process, stdin, stdout, next: 0, timeout: Duration::from_secs(60) }
    }

    fn ask(&mut self, operation: Operation) -> Outcome {
        self.next += 1;
        let request = Request::new(self.next, operation, self.timeout);
        wire::send(&mut self.stdin, &[request]).expect("the agent reads");
        let reply: Reply = wire::receive(&mut self.stdout).expect("the agent answers").expect("an answer");
        assert_eq!(reply.id, self.next);
        reply.outcome
    }

    pub fn check(&mut self, resource: &AnyResource) -> Result<Check, Failure> {
        match self.ask(Operation::Check(resource.clone())) {
            Outcome::Checked(checked) => checked,
            other => panic!("no answer to a check: {other:?}"),
        }
    }

    /// Makes the changes; what the check after it found.
    pub fn apply(&mut self, resource: &AnyResource, needed: &Needed) -> Result<Check, Failure> {
        match self.ask(Operation::Apply(resource.clone(), needed.clone())) {
            Outcome::Checked(checked) => checked,
            other => panic!("no answer to an apply: {other:?}"),
        }
    }

    pub fn explain(&mut self, resource: &AnyResource) -> Vec<Detail> {
        match self.ask(Operation::Explain(resource.clone(), Vec::new())) {
            Outcome::Explained(details) => details,
            other => panic!("no answer to an explain: {other:?}"),
        }
    }

    /// What a run does: check, apply once, and wait for what passes. What it had to change, and
    /// how it ended: nothing to say where it holds.
    pub fn converge(&mut self, resource: &AnyResource) -> (Option<Needed>, Result<(), String>) {
        let end = Instant::now() + self.timeout;
        let (mut applied, mut last) = (None, self.check(resource));
        loop {
            match last {
                Ok(Check::Holds) => return (applied, Ok(())),
                Ok(Check::Needs(needed)) if needed.lacks.is_empty() && applied.is_none() => {
                    last = self.apply(resource, &needed);
                    applied = Some(needed);
                }
                Ok(Check::Needs(needed)) => return (applied, Err(format!("still: {needed:?}"))),
                Ok(Check::Waits(waiting)) if waiting.passing && Instant::now() < end => {
                    std::thread::sleep(Duration::from_secs(1));
                    last = self.check(resource);
                }
                Ok(Check::Waits(waiting)) => return (applied, Err(format!("waits: {}", waiting.reason))),
                Err(failure) => return (applied, Err(failure.reason)),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A test that failed half-way must not leave it behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A resource from the JSON of its attributes.
pub fn resource(word: &str, attributes: serde_json::Value) -> AnyResource {
    AnyResource::read(word, attributes).expect("a known type").expect("attributes that it reads")
}

/// `attribute: from → to`, one a line.
pub fn told(needed: &Needed) -> String {
    let line = |change: &converge::resource::Change| {
        let or_none = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        format!("{}: {} → {}", change.attribute, or_none(&change.from), or_none(&change.to))
    };
    needed.changes.iter().map(line).collect::<Vec<_>>().join("\n")
}
