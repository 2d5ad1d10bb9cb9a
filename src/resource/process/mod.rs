//! `process`: a command that is kept alive, by systemd where there is one.

mod difference;
pub mod kept;
pub mod standing;
mod supervised;
mod supervisor;
mod systemd;
mod unit_file;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::common::{no_directory, nothing_lacking};
use super::unit::one_second;
use super::{Action, Change, Check, Detail, Failure, Invalid, Lack, Links, Needed, Resource, Thing, debt};
use crate::attribute::{AbsPath, CommandLine, Span, Trigger};
use crate::system::System;
use crate::system::readings::Reading;
use kept::Places;

/// How long the command may take to end when it is stopped, before it is killed.
const GRACE: Span = Span::seconds(10);

/// A crash loop: so many restarts, each with this much life on average.
pub const LOOP_RESTARTS: u32 = 29;
const LOOP_LIFE: Duration = Duration::from_secs(8);

/// Within so long so many restarts are a crash loop, and the end of it.
pub fn loop_within(delay: Duration) -> Duration {
    (delay + LOOP_LIFE) * (LOOP_RESTARTS + 1)
}

/// What was started again several times must have been up for so long before it counts.
const CALM: Span = Span::seconds(10);
const RESTLESS: u32 = 2;

/// `restart: always | on-failure`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema, clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    #[default]
    Always,
    OnFailure,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Restart::Always => "always",
            Restart::OnFailure => "on-failure",
        })
    }
}

/// `state: running | stopped`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    #[default]
    Running,
    Stopped,
}

/// A command that is kept alive: started again when it ends, and started at every boot.
///
/// Where systemd runs the machine, the process is a unit of its own: converge-LABEL.service, enabled,
/// with `Restart=` and `RestartSec=`. What the command writes is in the journal (`journalctl -u
/// converge-LABEL`).
///
/// Elsewhere `converge supervise` keeps it alive, and an `@reboot` entry in /etc/cron.d starts that at
/// boot. This needs a cron that knows both, as Debian's and cronie do; busybox's does not. What the
/// command writes is in /var/log/converge/LABEL.log: after ten megabytes it is copied to LABEL.log.1 and emptied. The
/// supervisor is a copy of converge's agent, in /usr/local/lib/converge; a newer one takes its place
/// when a process is next started by converge.
///
/// Either way it takes root (`become: sudo`), and the command must stay in the foreground: one that puts itself into the
/// background has ended, as far as anybody can see. A label that is no file name is changed to one
/// (`front door` is converge-front-door-7279998f.service). To be stopped, the command gets SIGTERM, with all that it started, and
/// SIGKILL after ten seconds.
///
/// Running is what really runs. A command that has ended and is to be started again in a moment
/// does not; one that was started must be up for a second before it counts, and for ten where it has been
/// started again several times. A crash loop is given up, so that it is seen: after 30 starts that lived
/// less than 8 seconds on average (systemd counts anew after each `daemon-reload`). The next run tries it again. When a process fails, its state and
/// the last lines that it wrote are shown.
///
/// A changed declaration means one restart. `stopped` ends the command and removes all that
/// converge made for it: unit, cron entry, environment. Only its log is kept.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless("command", &["stopped"])))]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// A label, after which its unit or its log is named.
    #[serde(rename = "process")]
    #[cfg_attr(
        feature = "controller",
        schemars(
            regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"),
            extend("patternErrorMessage" = "No label: write a short name on one line, as in doorbell.")
        )
    )]
    pub name: String,

    /// What is run: a string by `/bin/sh`, a list as it stands. A program without a `/` is looked for
    /// in the usual places, one with a `/` in it from `directory` on. Needed, unless it is to be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandLine>,

    /// `stopped`: it does not run, and is not started at boot.
    #[serde(default)]
    pub state: ProcessState,

    /// The directory that it runs in; else `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<AbsPath>,

    /// The user that it runs as, with that user's groups, HOME, USER, LOGNAME and SHELL; else root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

    /// Variables that it has. They are kept in a file that root alone can read, in
    /// /etc/converge/processes, and are on no command line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "controller", schemars(extend("propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })))]
    pub environment: BTreeMap<String, String>,

    /// When it is started again: `always`, or only after it failed (an exit code that is not 0, or a
    /// signal). One that ended well then stays ended until the next run or boot starts it.
    #[serde(default)]
    pub restart: Restart,

    /// How long after its end it is started again.
    #[serde(default = "two_seconds")]
    pub delay: Span,

    /// Paths and references: it must run with their current content, or it is restarted, once. As
    /// for `unit`, this is observed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_on: Vec<Trigger>,
}

fn two_seconds() -> Span {
    Span::seconds(2)
}

/// Without environment, which may hold secrets.
impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl Process {
    pub const SECRETS: &'static [&'static str] = &["environment"];

    pub const EXAMPLE: &'static str = "\
- process: doorbell
  command: exec sleep infinity
  user: nobody
  delay: 2s
";

    fn places(&self) -> Places {
        Places::of(&self.name)
    }

    fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("root")
    }

    /// What is executed. A program that is named from `directory` on is found there by whoever
    /// starts it.
    fn command_line(&self) -> CommandLine {
        let mut command = self.command.clone().unwrap_or(CommandLine::Argv(Vec::new()));
        if let (CommandLine::Argv(argv), Some(directory)) = (&mut command, &self.directory)
            && let Some(program) = argv.first_mut()
            && program.contains('/')
            && !program.starts_with('/')
        {
            *program = format!("{directory}/{}", program.trim_start_matches("./"));
        }
        command
    }

    /// The program, where its path is written: the first word, also of a shell line.
    fn program(&self) -> Option<AbsPath> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-@".contains(c);
        match self.command_line() {
            CommandLine::Argv(argv) => argv.first()?.parse().ok(),
            CommandLine::Shell(line) => {
                let word = line.split_whitespace().next()?;
                word.parse().ok().filter(|_| word.chars().all(plain))
            }
        }
    }

    fn is_systemd(system: &System) -> bool {
        // sd_booted(3).
        system.root().join("run/systemd/system").is_dir()
    }

    fn must_be_root() -> Result<(), Failure> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(Failure::new("only root can have a command kept alive and started at boot")
            .help("give the host `become: sudo`, or run converge as root"))
    }

    /// What must be there before it can be started.
    fn lacks(&self, system: &System) -> Result<Vec<Lack>, Failure> {
        let mut lacks = Vec::new();
        if system.account(self.user())?.is_none() {
            lacks.push(Lack {
                thing: Thing::User(self.user().to_owned()),
                what: format!("there is no user {}", self.user()),
                help: format!("declare it: `- user: {}`, or correct `user`", self.user()),
            });
        }
        if let Some(directory) = &self.directory
            && !system.locate(directory).is_dir()
        {
            lacks.push(no_directory(directory));
        }
        Ok(lacks)
    }

    /// A failure, and no `Lack`: anything may bring a program (a package, an archive), so in a plan
    /// it is unknown until all that comes before it is done.
    fn must_have_program(&self, system: &System) -> Result<(), Failure> {
        let Some(program) = self.program().filter(|program| !system.locate(program).exists()) else {
            return Ok(());
        };
        Err(Failure::new(format!("its program {program} does not exist")).help(format!(
            "declare what brings it (`- file: {program}`, a package, …), or `depends_on` it, or correct `command`"
        )))
    }
}

impl Resource for Process {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn links(&self) -> Links {
        let places = self.places();
        let mut links = Links::default()
            .provides(Thing::Unit(places.unit()))
            .removal(self.state == ProcessState::Stopped);
        let own = [places.unit_file(), places.cron(), places.environment(), places.kept()];
        for path in own.into_iter().flatten() {
            links = links.provides(Thing::Path(path));
        }
        if let Some(directory) = &self.directory {
            links = links.stands_on(Thing::Path(directory.clone()), "the directory it runs in");
        }
        if let Some(program) = self.program() {
            links = links.stands_on(Thing::Path(program), "its program");
        }
        for path in debt::paths(&self.restart_on) {
            links = links.stands_on(Thing::Path(path), "it restarts when that changes");
        }
        match &self.user {
            Some(user) => links.stands_on(Thing::User(user.clone()), "the user it runs as"),
            None => links,
        }
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        if self.name.trim().is_empty() || self.name.contains(char::is_control) || self.name.len() > 200 {
            invalid.push(Invalid::new(
                "process",
                "this is no label: it is empty, longer than 200 bytes, or more than one line",
                "write a short name, as in `process: doorbell`",
            ));
        }
        if self.command.is_none() && self.state == ProcessState::Running {
            invalid.push(Invalid::lack(
                "process",
                "`command` is missing: what is to be kept alive?",
                "add `command: …`, or `state: stopped` if it is to go",
            ));
        }
        if let (Some(CommandLine::Argv(argv)), None) = (&self.command, &self.directory)
            && let Some(program) = argv.first()
            && program.contains('/')
            && !program.starts_with('/')
        {
            invalid.push(Invalid::new(
                "command",
                format!("`{program}` is looked for from a directory on, and none is declared"),
                "write its whole path, or add `directory`",
            ));
        }
        for name in self.environment.keys() {
            let is_name = |name: &str| {
                let first = name.chars().next();
                first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if !is_name(name) {
                let what = format!("`{name}` is no name of a variable");
                invalid.push(Invalid::new("environment", what, "write it as in `LANG: C.UTF-8`"));
            }
        }
        if let Some(name) =
            self.environment.iter().find(|(_, value)| value.contains('\0')).map(|(name, _)| name)
        {
            let what = format!("the value of `{name}` holds a NUL byte, which no variable can");
            invalid.push(Invalid::new("environment", what, "leave it out, or encode the value"));
        }
        invalid
    }

    fn triggers(&mut self) -> Vec<(&'static str, &mut Vec<Trigger>)> {
        vec![("restart_on", &mut self.restart_on)]
    }

    fn follows(&self, attribute: &str, cause: &str) -> Option<(Action, Change)> {
        let restarts = attribute == "restart_on" && self.state == ProcessState::Running;
        restarts.then(|| (Action::Restart, debt::follows("state", cause)))
    }

    fn reads(&self) -> Option<Reading> {
        systemd::reading(self)
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        match Process::is_systemd(system) {
            true => self.check_unit(system),
            false => self.check_supervised(system),
        }
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        Process::must_be_root()?;
        if !needed.lacks.is_empty() {
            nothing_lacking(&self.lacks(system)?)?;
        }
        match Process::is_systemd(system) {
            true => self.apply_unit(system, needed),
            false => self.apply_supervised(system, needed),
        }
    }

    fn evidence(&self, system: &System) -> Vec<Detail> {
        match Process::is_systemd(system) {
            true => self.evidence_of_unit(system),
            false => self.evidence_of_supervised(system),
        }
    }
}
