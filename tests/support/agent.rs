//! A real agent on a real host, over any command that runs a shell line there: for tests of
//! resources on machines with systemd, supervisord and `xl`.
//!
//! `CONVERGE_TEST_HOST` is that command, as in `tests/lab/lab.sh ssh h1`. Tests that need a host
//! say so and pass where there is none.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use converge::resource::{AnyResource, Check, Detail, Failure, Needed, Thing};
use converge::wire::{self, Hello, MAGIC, Operation, Outcome, Reply, Request};

/// Where the tests put the agent.
const PLACE: &str = "/root/converge-agent-of-tests";

pub struct Host {
    shell: Vec<String>,
    /// One sign-in for all lines: a handshake costs more than most of them.
    session: Mutex<Option<Session>>,
    /// A command of the host that runs another one, and what it runs is run by.
    wrapper: Option<String>,
}

struct Session {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
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
            let shell = shell.split_whitespace().map(str::to_owned).collect();
            Some(Host { shell, session: Mutex::default(), wrapper: None })
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
        command.args(&self.shell[1..]);
        match &self.wrapper {
            Some(wrapper) => command.arg(format!("{wrapper} sh -c {}", converge::attribute::quote(line))),
            None => command.arg(line),
        };
        command
    }

    /// The same host as it is seen by what `wrapper` runs, as in `nsenter -u -t PID`.
    pub fn inside(&self, wrapper: &str) -> Host {
        Host { shell: self.shell.clone(), session: Mutex::default(), wrapper: Some(wrapper.to_owned()) }
    }

    /// Runs a shell line there: its exit code and all it said.
    pub fn sh(&self, line: &str) -> (i32, String) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.get_or_insert_with(|| Session::open(self.command("exec sh"))).run(line)
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
        self.push();
        Agent::on(self.command(PLACE))
    }

    /// An agent with these variables, as in `LANG=de_DE.UTF-8`.
    pub fn agent_with(&self, variables: &str) -> Agent {
        self.agent_by(&format!("{variables} {PLACE}"))
    }

    /// One that has been pushed, started by another command line there.
    pub fn agent_by(&self, line: &str) -> Agent {
        self.push();
        Agent::on(self.command(line))
    }

    /// An agent that another user runs.
    pub fn agent_as(&self, user: &str) -> Agent {
        self.push();
        let copy = format!("/var/tmp/converge-agent-of-{user}");
        self.must(&format!("install -m 755 {PLACE} {copy}"));
        Agent::on(self.command(&format!("cd /; runuser -u {user} -- {copy}")))
    }

    fn push(&self) {
        self.put_program(env!("CARGO_BIN_EXE_converge-agent"), PLACE);
    }

    /// Puts a program there, where it is not there yet; it is looked at once.
    pub fn put_program(&self, from: &str, place: &str) {
        /// How it is reached, by what it is run there, and the program's place.
        type There = (Vec<String>, Option<String>, String);
        static THERE: Mutex<BTreeSet<There>> = Mutex::new(BTreeSet::new());
        let mut there = THERE.lock().unwrap_or_else(PoisonError::into_inner);
        if !there.insert((self.shell.clone(), self.wrapper.clone(), place.to_owned())) {
            return;
        }
        let own = std::fs::read(from).expect("the program is built");
        let sum = format!("echo '{}  {place}' | sha256sum -c", converge::attribute::sha256_hex(&own));
        if self.sh(&sum).0 != 0 {
            self.put(place, &own);
            self.must(&format!("chmod +x {place}"));
        }
    }
}

impl Session {
    fn open(mut command: Command) -> Session {
        let shell = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = shell.spawn().expect("the host's shell runs");
        let stdin = process.stdin.take().expect("it is piped");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        Session { process, stdin, stdout }
    }

    fn run(&mut self, line: &str) -> (i32, String) {
        const END: &str = "-- end of the line, with ";
        let line = line.replace('\'', r"'\''");
        writeln!(self.stdin, "sh -c '{line}' </dev/null 2>&1; printf '\\n{END}%s\\n' $?")
            .expect("the shell reads");
        let mut said = Vec::new();
        loop {
            let begin = said.len();
            let read = self.stdout.read_until(b'\n', &mut said).expect("the shell answers");
            assert!(read > 0, "the host's shell has gone after\n{}", String::from_utf8_lossy(&said));
            let Some(code) = said[begin..].strip_prefix(END.as_bytes()) else { continue };
            let code = String::from_utf8_lossy(code).trim().parse().expect("an exit code");
            said.truncate(begin - 1);
            return (code, String::from_utf8_lossy(&said).into_owned());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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

    /// Checks all of them in one batch, as a run does.
    pub fn check_all(&mut self, resources: &[AnyResource]) -> Vec<Result<Check, Failure>> {
        let checks = resources.iter().map(|resource| Operation::Check(resource.clone())).collect();
        let checked = |outcome| match outcome {
            Outcome::Checked(checked) => checked,
            other => panic!("no answer to a check: {other:?}"),
        };
        self.ask_all(checks).into_iter().map(checked).collect()
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

    /// Checks all of them in one go, as a run does, and makes the changes all at once; how each ended.
    pub fn converge_all(&mut self, resources: &[AnyResource]) -> Vec<Result<(), String>> {
        let checked = self.check_all(resources);
        let applies = resources.iter().zip(checked).map(|(resource, check)| match check {
            Ok(Check::Needs(needed)) => Operation::Apply(resource.clone(), needed),
            other => panic!("nothing to change: {other:?}"),
        });
        let ended = |outcome| match outcome {
            Outcome::Checked(Ok(Check::Holds)) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let applies = applies.collect();
        self.ask_all(applies).into_iter().map(ended).collect()
    }

    fn ask_all(&mut self, operations: Vec<Operation>) -> Vec<Outcome> {
        let first = self.next + 1;
        let numbered = operations.into_iter().enumerate();
        let requests: Vec<Request> = numbered
            .map(|(number, operation)| Request::new(first + number as u64, operation, self.timeout))
            .collect();
        self.next += requests.len() as u64;
        wire::send(&mut self.stdin, &requests).expect("the agent reads");
        let mut replies: Vec<Reply> = requests
            .iter()
            .map(|_| wire::receive(&mut self.stdout).expect("the agent answers").expect("an answer"))
            .collect();
        replies.sort_by_key(|reply| reply.id);
        replies.into_iter().map(|reply| reply.outcome).collect()
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
                Ok(Check::Needs(needed))
                    if is_locked(&needed) && applied.is_none() && Instant::now() < end =>
                {
                    std::thread::sleep(Duration::from_millis(300));
                    last = self.check(resource);
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

/// Nothing stands in the way but a lock, which comes free by itself.
fn is_locked(needed: &Needed) -> bool {
    needed.lacks.iter().all(|lack| matches!(lack.thing, Thing::Lock(_)))
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
