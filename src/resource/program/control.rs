//! Talking to supervisord through `supervisorctl`.

use std::path::Path;
use std::time::{Duration, Instant};

use super::status::{self, Process, Unreachable};
use crate::attribute::AbsPath;
use crate::resource::{Failure, Lack, Thing};
use crate::system::System;
use crate::system::commands::{Invocation, Output};

/// `start` blocks for the program's `startsecs`: what it comes to is observed, not waited for.
const JOB_PATIENCE: Duration = Duration::from_secs(10);

/// A supervisord that began so lately may not have made its socket yet.
const STARTUP: Duration = Duration::from_secs(10);

pub struct Control<'a> {
    pub system: &'a System,
    pub config: Option<&'a AbsPath>,
}

/// What asking for the status came to.
pub enum Answer {
    Processes(Vec<Process>),
    /// It has only just been started.
    StartsUp(String),
    Lacks(Lack),
}

impl Control<'_> {
    pub fn status(&self) -> Result<Answer, Failure> {
        if self.system.find_tool("supervisorctl").is_none() {
            return Ok(Answer::Lacks(Lack {
                thing: Thing::Package("supervisor".to_owned()),
                what: "supervisor is not installed: there is no `supervisorctl`".to_owned(),
                help: "declare it: `- package: supervisor`".to_owned(),
            }));
        }
        let output = self.run(&["status"])?;
        let said = format!("{}{}", output.stdout, output.stderr);
        match status::unreachable(output.status.code(), &said) {
            None => Ok(Answer::Processes(status::read(&output.stdout))),
            Some(Unreachable::NotAllowed) => Err(output
                .failure("asking supervisord")
                .help("its socket is root's: `become: sudo` on the host")),
            Some(Unreachable::Other(said)) => {
                let failure = output.failure("asking supervisord");
                Err(Failure { reason: format!("`supervisorctl status`: {said}"), ..failure })
            }
            Some(Unreachable::NotRunning { socket, refused }) => {
                let what = format!("supervisord does not answer: {}", self.socket_told(&socket, refused));
                Ok(if self.has_just_begun() { Answer::StartsUp(what) } else { self.lack(what) })
            }
        }
    }

    /// A verb with a program's name. A verb that takes long is left to itself; whether it did
    /// what it should is for the next status to say.
    pub fn order(&self, verb: &str, name: &str) -> Result<(), Failure> {
        let patience = JOB_PATIENCE.min(self.system.time_left() * 3 / 4);
        let begun = Instant::now();
        match self.system.within(patience).run(&self.invocation(&[verb, name])) {
            Ok(_) => Ok(()),
            Err(_) if begun.elapsed() >= patience => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Reads the files again, and takes over what changed of this one group: only its processes
    /// are stopped and started.
    pub fn update(&self, group: &str) -> Result<(), Failure> {
        let reread = self.run(&["reread"])?;
        let said = format!("{}{}", reread.stdout, reread.stderr);
        if said.contains("CANT_REREAD") || said.contains("ERROR") {
            let line = said.lines().next().unwrap_or_default().trim_start_matches("ERROR: ").to_owned();
            return Err(Failure::new(format!("supervisord cannot read its configuration: {line}"))
                .help("one of its program files is wrong: nothing was changed in what runs")
                .detail("supervisorctl reread", said.trim_end()));
        }
        let updated = self.run(&["update", group])?;
        let said = format!("{}{}", updated.stdout, updated.stderr);
        if said.contains("no such group") {
            return Err(Failure::new(format!("supervisord finds no program {group} in its files"))
                .help(format!("a file that it includes must have a section [program:{group}]")));
        }
        Ok(())
    }

    /// The last lines of what a process wrote.
    pub fn tail(&self, process: &str, stream: &str) -> String {
        match self.run(&["tail", "-2000", process, stream]) {
            Ok(output) => output.stdout.trim().to_owned(),
            Err(failure) => failure.reason,
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<Output, Failure> {
        self.system.run(&self.invocation(arguments))
    }

    fn invocation(&self, arguments: &[&str]) -> Invocation {
        let mut argv = vec!["supervisorctl"];
        if let Some(config) = self.config {
            argv.extend(["-c", config.as_str()]);
        }
        argv.extend(arguments);
        Invocation::new(argv)
    }

    fn has_just_begun(&self) -> bool {
        let is_it = |word: &String| Path::new(word).file_name().is_some_and(|name| name == "supervisord");
        self.system.processes().iter().any(|process| {
            process.argv.iter().take(2).any(is_it)
                && self.system.process_age(process.pid).is_some_and(|age| age < STARTUP)
        })
    }

    /// `its socket /run/x/y.sock is missing, and so is its directory /run/x`.
    fn socket_told(&self, socket: &str, refused: bool) -> String {
        let Ok(path) = socket.parse::<AbsPath>() else {
            return format!("nobody listens on {socket}");
        };
        if refused {
            return format!("nobody listens on its socket {path}");
        }
        let is_there = |path: &AbsPath| self.system.locate(path).exists();
        match path.parent().filter(|parent| !is_there(parent)) {
            Some(directory) => format!("{path}: its directory {directory} does not exist"),
            None => format!("its socket {path} does not exist"),
        }
    }

    fn lack(&self, what: String) -> Answer {
        let units = ["supervisor.service", "supervisord.service"];
        let places = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
        let is_there =
            |unit: &&str| places.iter().any(|place| self.system.root().join(&place[1..]).join(unit).exists());
        let unit = units.into_iter().rev().find(is_there).unwrap_or(units[0]);
        let short = unit.trim_end_matches(".service");
        let directory = what.rsplit_once("its directory ").and_then(|(_, rest)| rest.split(' ').next());
        let help = match directory {
            Some(directory) => format!(
                "declare `- directory: {directory}` and `- unit: {short}` with `depends_on: directory:{directory}`"
            ),
            None => format!("declare what runs it: `- unit: {short}`"),
        };
        Answer::Lacks(Lack { thing: Thing::Unit(unit.to_owned()), what, help })
    }
}
