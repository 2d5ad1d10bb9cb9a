//! `program`: a program that supervisord keeps alive.

mod control;
mod status;

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::debt::{self, Ledger, Running};
use super::unit::one_second;
use super::{
    Action, Change, Check, Detail, Failure, Invalid, Lack, Links, Needed, Resource, SourceSlot, Thing,
    own_file,
};
use crate::attribute::{AbsPath, Content, Span, Trigger};
use crate::system::System;
use control::{Answer, Control};
use status::{Phase, Process};

/// Where Debian's supervisord looks for program files.
const DIRECTORY: &str = "/etc/supervisor/conf.d";

/// Why it comes after that file.
const ITS_FILE: &str = "its program file";

/// `state: running | stopped`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProgramState {
    #[default]
    Running,
    Stopped,
}

/// A program under supervisord.
///
/// Running is what supervisord calls RUNNING. STARTING, STOPPING and BACKOFF (it died, and
/// supervisord tries it again) are waited for, up to `timeout`, or `wait` where that is longer;
/// FATAL, EXITED and STOPPED are started once, and where it dies again that is a failure with the
/// end of its output. Of several processes (`numprocs`, a group) all must run.
///
/// A program that supervisord does not know yet, or whose file changed, is taken over with
/// `reread` and `update` of this one program: no other is touched. Where supervisord does not run
/// it is said so; `- unit: supervisor` starts it, and is put before its programs by itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::at_most_one(&["content", "template"])))]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The program's name; `group:process` for one process of a group, `group:*` for all of it.
    #[serde(rename = "program")]
    pub name: String,

    /// `stopped`: none of its processes runs.
    #[serde(default)]
    pub state: ProgramState,

    /// The configuration that `supervisorctl -c` is to read, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<AbsPath>,

    /// Its program file, `[program:NAME]` and what follows, written to
    /// /etc/supervisor/conf.d/NAME.conf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,

    /// A template that its program file is rendered from: a path on the machine converge runs on,
    /// relative to the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,

    /// Paths and references: the program must run with their current content, or it is restarted,
    /// once. As for `unit`, this is observed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_on: Vec<Trigger>,

    /// How long its process must have been running before it counts. supervisord's own
    /// `startsecs` comes before it.
    #[serde(default = "one_second")]
    pub settle: Span,
}

impl Program {
    pub const SECRETS: &'static [&'static str] = &["content"];

    pub const EXAMPLE: &'static str = "\
- program: converge-example
  state: running
  content: |
    [program:converge-example]
    command=/bin/sleep infinity
";

    fn control<'a>(&'a self, system: &'a System) -> Control<'a> {
        Control { system, config: self.config.as_ref() }
    }

    /// `many` of `many:many_00`: what `update` takes.
    fn group(&self) -> &str {
        self.name.split_once(':').map_or(&*self.name, |(group, _)| group)
    }

    fn file(&self) -> Result<AbsPath, Failure> {
        format!("{DIRECTORY}/{}.conf", self.group()).parse().map_err(Failure::new)
    }

    fn ledger(&self) -> Ledger {
        Ledger::of("programs", &self.name)
    }

    /// What it must run with: what is declared, and its program file where that is there.
    fn restart_triggers(&self, system: &System) -> Result<Vec<AbsPath>, Failure> {
        let mut paths = debt::paths(&self.restart_on);
        let file = self.file()?;
        if system.locate(&file).exists() && !paths.contains(&file) {
            paths.push(file);
        }
        Ok(paths)
    }

    /// Its processes, where supervisord knows them.
    fn own(&self, processes: Vec<Process>) -> Vec<Process> {
        processes.into_iter().filter(|process| process.belongs_to(&self.name)).collect()
    }

    fn now(&self, system: &System) -> Result<Vec<Process>, Failure> {
        match self.control(system).status()? {
            Answer::Processes(processes) => Ok(self.own(processes)),
            Answer::Lacks(lack) => Err(Failure::new(lack.what).help(lack.help)),
            Answer::StartsUp(what) => Err(Failure::new(what)),
        }
    }

    /// For supervisorctl: a name of several processes is `name:*`.
    fn addressed(&self, processes: &[Process]) -> String {
        match processes.iter().any(|process| process.name == self.name) {
            false if !self.name.contains(':') => format!("{}:*", self.name),
            _ => self.name.clone(),
        }
    }
}

/// The start of all its processes that run; None where none does.
fn running(system: &System, processes: &[Process]) -> Option<Running> {
    let pids = || processes.iter().filter_map(Process::pid);
    let one = |pid: u32| Some(format!("{pid}@{}", system.start_ticks(pid)?));
    let identity: Vec<String> = pids().filter_map(one).collect();
    let since = pids().filter_map(|pid| system.process_start(pid)).min().unwrap_or_else(SystemTime::now);
    (!identity.is_empty()).then(|| Running { identity: identity.join(" "), since, reloaded: None })
}

impl Resource for Program {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn links(&self) -> Links {
        let mut links = Links::default().provides(Thing::Program(self.name.clone()));
        for unit in ["supervisor.service", "supervisord.service"] {
            links = links.stands_on(Thing::Unit(unit.to_owned()), "supervisord runs it");
        }
        links = links.stands_on(Thing::Package("supervisor".to_owned()), "supervisord runs it");
        if let Ok(file) = self.file().map(Thing::Path) {
            if self.content.is_some() || self.template.is_some() {
                links = links.provides(file);
                if let Ok(directory) = DIRECTORY.parse() {
                    links = links.stands_on(Thing::Path(directory), "its program file lies there");
                }
            } else {
                links = links.stands_on(file, ITS_FILE);
            }
        }
        for path in debt::paths(&self.restart_on) {
            links = links.stands_on(Thing::Path(path), "it restarts when that changes");
        }
        match &self.config {
            Some(config) => links.stands_on(Thing::Path(config.clone()), "supervisorctl reads it"),
            None => links,
        }
    }

    fn validate(&self) -> Vec<Invalid> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "/[]".contains(c);
        let mut invalid: Vec<Invalid> = own_file::exclude_each_other(&[
            ("content", self.content.is_some()),
            ("template", self.template.is_some()),
        ])
        .into_iter()
        .collect();
        if self.group().is_empty() || self.name.contains(bad) || self.name.ends_with(':') {
            invalid.push(Invalid::new(
                "program",
                format!("`{}` is no name of a program", self.name),
                "write it as supervisord's section [program:NAME] does, or as group:process",
            ));
        }
        invalid
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        let brings_one = self.content.is_some() || self.template.is_some();
        self.file().into_iter().filter(|_| brings_one).collect()
    }

    fn sources(&mut self) -> Vec<SourceSlot<'_>> {
        let (path, content) = (&mut self.template, &mut self.content);
        vec![SourceSlot { attribute: "template", is_template: true, path, content }]
    }

    fn contents(&mut self) -> Vec<&mut Content> {
        self.content.iter_mut().collect()
    }

    fn triggers(&mut self) -> Vec<(&'static str, &mut Vec<Trigger>)> {
        vec![("restart_on", &mut self.restart_on)]
    }

    fn follows(&self, attribute: &str, cause: &str) -> Option<(Action, Change)> {
        let restarts = ["restart_on", ITS_FILE].contains(&attribute) && self.state == ProgramState::Running;
        restarts.then(|| (Action::Restart, debt::follows("restart", cause)))
    }

    /// Its program file; how it runs is no content.
    fn changes_content(&self, needed: &Needed) -> Option<bool> {
        Some(needed.has("content"))
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let file = match &self.content {
            Some(content) => own_file::compare(system, &self.file()?, content)?,
            None => own_file::Difference::default(),
        };
        let processes = match self.control(system).status()? {
            Answer::Processes(processes) => self.own(processes),
            Answer::StartsUp(what) => {
                return Ok(Check::passing(format!("{what} (it has just been started)")));
            }
            Answer::Lacks(lack) => return Ok(self.needs_supervisord(file, lack)),
        };
        let mut changes: Vec<Change> = file.change.clone().into_iter().collect();
        match self.state_change(system, &processes, file.change.is_some())? {
            State::Right => {}
            State::Change(change) => changes.push(change),
            State::Wait(reason) if changes.is_empty() => return Ok(Check::passing(reason)),
            State::Wait(_) => {}
        }
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        let action = match processes.is_empty() {
            true if self.content.is_some() => Action::Create,
            _ if changes.iter().all(|change| change.attribute == "restart") => Action::Restart,
            _ => Action::Change,
        };
        let lacks: Vec<Lack> = file.lack.into_iter().collect();
        let is_known = !processes.is_empty() || self.content.is_some();
        if self.state == ProgramState::Running && !is_known && !self.is_in_the_files(system) {
            return Err(self.no_file()?);
        }
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let control = self.control(system);
        let before = self.now(system)?;
        if let (true, Some(content)) = (needed.has("content"), &self.content) {
            own_file::put(system, &self.file()?, content)?;
        }
        // From before the start: what changes while it starts is owed.
        let contents = debt::fingerprints(system, &self.restart_triggers(system)?)?;
        let is_wanted = self.state == ProgramState::Running;
        if is_wanted || needed.has("content") {
            control.update(self.group())?;
        }
        let now = self.now(system)?;
        let name = self.addressed(&now);
        let phases = || now.iter().map(Process::phase);
        if !is_wanted {
            if phases().any(|phase| matches!(phase, Phase::Running | Phase::Starting)) {
                control.order("stop", &name)?;
            }
            return Ok(());
        }
        // `update` has started anew what it found changed: never twice.
        let is_new =
            running(system, &now).map(|run| run.identity) != running(system, &before).map(|run| run.identity);
        if phases().any(|phase| phase == Phase::Down) || now.is_empty() {
            control.order("start", &name)?;
        } else if needed.has("restart") && !is_new && phases().all(|phase| phase == Phase::Running) {
            control.order("restart", &name)?;
        }
        let after = self.now(system)?;
        match running(system, &after) {
            Some(running) => self.ledger().write(system, &running, contents),
            None => Ok(()),
        }
    }

    fn evidence(&self, system: &System) -> Vec<Detail> {
        let Ok(processes) = self.now(system) else { return Vec::new() };
        let control = self.control(system);
        let mut details = Vec::new();
        for process in processes.iter().take(4) {
            let title = |what: &str| {
                if processes.len() == 1 { what.to_owned() } else { format!("{what} of {}", process.name) }
            };
            let state = format!("{} {}", process.state, process.description);
            details.push(Detail { title: title("program state"), text: state.trim().to_owned() });
            for stream in ["stderr", "stdout"] {
                let text = control.tail(&process.name, stream);
                if !text.is_empty() {
                    details.push(Detail { title: title(stream), text: last_lines(&text) });
                }
            }
        }
        details
    }
}

enum State {
    Right,
    Change(Change),
    Wait(String),
}

impl Program {
    fn state_change(&self, system: &System, processes: &[Process], rewrites: bool) -> Result<State, Failure> {
        let find = |phase: Phase| processes.iter().find(|process| process.phase() == phase);
        let is = |process: &Process| format!("program {} is {}", process.name, process.told());
        let wanted = self.state_word();
        if self.state == ProgramState::Stopped {
            let alive = find(Phase::Running).or(find(Phase::Starting));
            return Ok(match (alive, find(Phase::Stopping)) {
                (Some(process), _) => State::Change(Change::from_to("state", process.told(), wanted)),
                (None, Some(process)) => State::Wait(is(process)),
                (None, None) => State::Right,
            });
        }
        if processes.is_empty() {
            return Ok(State::Change(Change::from_to("state", "not known to supervisord", wanted)));
        }
        if let Some(process) = find(Phase::Down) {
            return Ok(State::Change(Change::from_to("state", process.told(), wanted)));
        }
        if rewrites {
            let from = "running with its old program file";
            return Ok(State::Change(Change::from_to("restart", from, debt::RENEWED)));
        }
        if let Some(process) = find(Phase::Stopping).or(find(Phase::Starting)) {
            return Ok(State::Wait(is(process)));
        }
        self.running_change(system, processes)
    }

    /// All run: with what is there now, and for long enough?
    fn running_change(&self, system: &System, processes: &[Process]) -> Result<State, Failure> {
        let Some(running) = running(system, processes) else {
            return Ok(State::Wait(format!("program {} has just ended", self.name)));
        };
        let owed = self.ledger().owed(system, &running, &self.restart_triggers(system)?)?;
        if !owed.is_empty() {
            let change = Change::from_to("restart", debt::told(&owed), debt::RENEWED);
            return Ok(State::Change(change.owed_for(&owed)));
        }
        let ages = processes.iter().filter_map(|process| system.process_age(process.pid()?));
        let youngest = ages.min().unwrap_or(Duration::ZERO);
        if youngest < self.settle.get() {
            let youngest = youngest.as_secs_f64();
            return Ok(State::Wait(format!(
                "program {} runs since {youngest:.1}s only: it must stay so for {}",
                self.name, self.settle
            )));
        }
        Ok(State::Right)
    }

    fn state_word(&self) -> &'static str {
        match self.state {
            ProgramState::Running => "running",
            ProgramState::Stopped => "stopped",
        }
    }

    /// supervisord is to be started first. A program that is to be stopped is so without it.
    fn needs_supervisord(&self, file: own_file::Difference, lack: Lack) -> Check {
        let mut changes: Vec<Change> = file.change.into_iter().collect();
        if self.state == ProgramState::Running {
            changes.push(Change::from_to("state", "not running", "running"));
        }
        if changes.is_empty() {
            return Check::Holds;
        }
        let lacks = file.lack.into_iter().chain([lack]).collect();
        Check::Needs(Needed { action: Action::Change, changes, lacks })
    }

    /// A file that supervisord will find when it reads them again has the program's section.
    fn is_in_the_files(&self, system: &System) -> bool {
        let places = ["etc/supervisor/conf.d", "etc/supervisord.d", "etc/supervisor"];
        let single = ["etc/supervisord.conf"].map(|file| system.root().join(file));
        let declared = self.config.iter().map(|config| system.locate(config));
        let entries = places.iter().filter_map(|place| std::fs::read_dir(system.root().join(place)).ok());
        let files = entries.flat_map(|entries| entries.flatten().map(|entry| entry.path()));
        let is_section = |line: &str| {
            let name = line.trim().strip_prefix('[').and_then(|line| line.split(']').next());
            let (_, name) = name.and_then(|name| name.split_once(':')).unwrap_or_default();
            name.trim() == self.group()
        };
        let has_it = |text: String| text.lines().any(is_section);
        files.chain(single).chain(declared).any(|file| std::fs::read_to_string(file).is_ok_and(has_it))
    }

    /// A failure, and no `Lack`: the section may come with a file of any name, so in a plan it is
    /// unknown until all that comes before the program is done.
    fn no_file(&self) -> Result<Failure, Failure> {
        let (file, name) = (self.file()?, &self.name);
        Ok(Failure::new(format!(
            "supervisord knows no program {name}, and none of its files has [program:{name}]"
        ))
        .help(format!("give its program file with `content`, or declare `- file: {file}`")))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
