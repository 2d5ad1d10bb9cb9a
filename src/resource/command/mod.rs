//! `command`: a command that runs when its guards call for it.

mod guard;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::common::{is_false, no_directory, nothing_lacking};
use super::{Action, Change, Check, Failure, Invalid, Lack, Links, Needed, Resource, Thing, debt};
#[cfg(feature = "controller")]
use crate::attribute::schema::OneOrMany;
use crate::attribute::{AbsPath, CommandLine, Trigger, one_or_many};
use crate::system::System;
use crate::system::commands::Invocation;

/// A command that is run when something is missing that it would bring about.
///
/// Its guards say when. `creates`, `removes` and `on_change_of` say what comes of it: it is run
/// where one of these is not so yet, and afterwards all of them must be so. `unless` and
/// `only_if` are asked after these, and each can keep it from running. `unless` alone is also what
/// must be so afterwards: it must exit 0 then. With `only_if` alone, and with `always: true`,
/// nothing on the machine can show that the command was run: then its exit code is the judge.
///
/// One of the guards is required, or `always: true`. A run that was cut short counts for
/// nothing: the command is run again. Where another type says the same thing (`file`, `symlink`,
/// `unit`), prefer it: it can show what it would change.
///
/// Guards run in the command's `directory`, as its `user`, with its `environment`. The command
/// must end within `timeout` (60s), or it is killed with all its children; it has no terminal. Its umask is 022,
/// wherever converge was started.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::one_of(&["creates", "removes", "unless", "only_if", "on_change_of", "always"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("always", true, &["creates", "removes", "unless", "only_if", "on_change_of"])))]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The command line, or a label where `run` has it. A string is run by `/bin/sh`, a list is
    /// executed as it stands.
    #[serde(rename = "command")]
    pub name: CommandLine,

    /// The command line, where `command` is a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<CommandLine>,

    /// A path, or a list of paths, that the command makes: it is run where one is missing, or is a
    /// link that leads to nothing.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(with = "OneOrMany<AbsPath>"))]
    pub creates: Vec<AbsPath>,

    /// A path, or a list of paths, that the command removes: it is run where one is there.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(with = "OneOrMany<AbsPath>"))]
    pub removes: Vec<AbsPath>,

    /// A command that exits 0 where there is nothing to do. A program that is not installed counts as
    /// another exit code, here and in `only_if`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<CommandLine>,

    /// A command that exits 0 where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if: Option<CommandLine>,

    /// Paths, or references to resources that have content: it is run once for each distinct
    /// content, and again where the command itself has changed. What it was last run for is kept
    /// on the host, in /var/lib/converge/commands (of a user other than root, in
    /// ~/.local/state/converge/commands).
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(with = "OneOrMany<Trigger>"))]
    pub on_change_of: Vec<Trigger>,

    /// Run it every time. It then counts as a change in every run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub always: bool,

    /// The directory that it and its guards run in; else that of the agent, which is nothing to rely
    /// on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<AbsPath>,

    /// The user that it and its guards run as, with that user's groups, HOME, USER, LOGNAME and
    /// SHELL; else the one that converge runs as on the host. To run as another takes root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

    /// Variables that it has besides the agent's. They are on no command line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,

    /// What it reads from its standard input; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,

    /// The exit codes of the command that mean success. Those of the guards are not meant.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    #[cfg_attr(
        feature = "controller",
        schemars(length(min = 1), skip_serializing_if = "crate::attribute::schema::never")
    )]
    pub exit_codes: Vec<u8>,
}

fn zero() -> Vec<u8> {
    vec![0]
}

fn is_zero(codes: &Vec<u8>) -> bool {
    *codes == zero()
}

/// Without environment and input, which may hold secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("name", &self.name).field("run", &self.run).finish_non_exhaustive()
    }
}

impl Command {
    pub const SECRETS: &'static [&'static str] = &["environment", "stdin"];

    pub const EXAMPLE: &'static str = "\
- command: date > /var/tmp/first-converged
  creates: /var/tmp/first-converged
";

    /// What is executed.
    fn line(&self) -> &CommandLine {
        self.run.as_ref().unwrap_or(&self.name)
    }

    /// What is executed, on one line.
    fn shown(&self) -> String {
        let whole = self.line().to_string();
        let mut lines = whole.lines().filter(|line| !line.trim().is_empty());
        let first = lines.next().unwrap_or_default().trim().to_owned();
        if lines.next().is_some() { first + " …" } else { first }
    }

    fn has_outcome(&self) -> bool {
        !(self.creates.is_empty() && self.removes.is_empty() && self.on_change_of.is_empty())
    }

    /// The command or one of its guards, with what all of them run with.
    fn invocation(&self, system: &System, mut invocation: Invocation) -> Result<Invocation, Failure> {
        for (name, value) in &self.environment {
            invocation = invocation.env(name, value);
        }
        if let Some(directory) = &self.directory {
            invocation = invocation.directory(system.locate(directory));
        }
        if let Some(user) = &self.user {
            let account = system.account(user)?;
            let account = account.ok_or_else(|| Failure::new(format!("there is no user {user}")))?;
            let me = rustix::process::geteuid();
            if !me.is_root() && me.as_raw() != account.uid {
                let me = system.user_name(me.as_raw());
                return Err(Failure::new(format!("only root can run a command as {user}, and this is {me}"))
                    .help("give the host `become: sudo`, or leave out `user`"));
            }
            invocation = invocation.user(account);
        }
        Ok(invocation)
    }

    fn lacks(&self, system: &System) -> Result<Vec<Lack>, Failure> {
        let mut lacks = Vec::new();
        if let Some(user) = &self.user
            && system.account(user)?.is_none()
        {
            lacks.push(Lack {
                thing: Thing::User(user.clone()),
                what: format!("there is no user {user}"),
                help: format!("declare it: `- user: {user}`, or correct `user`"),
            });
        }
        if let Some(directory) = &self.directory
            && !guard::is_there(system, directory)?
        {
            lacks.push(no_directory(directory));
        }
        Ok(lacks)
    }
}

impl Resource for Command {
    fn name(&self) -> String {
        self.name.to_string().trim().to_owned()
    }

    fn links(&self) -> Links {
        let mut links = Links::default();
        if let Some(directory) = &self.directory {
            links = links.stands_on(Thing::Path(directory.clone()), "the directory it runs in");
        }
        for parent in self.creates.iter().filter_map(AbsPath::parent) {
            links = links.stands_on(Thing::Path(parent), "the directory of what it creates");
        }
        for path in debt::paths(&self.on_change_of) {
            links = links.stands_on(Thing::Path(path), "it runs again when that changes");
        }
        match &self.user {
            Some(user) => links.stands_on(Thing::User(user.clone()), "the user it runs as"),
            None => links,
        }
    }

    fn brings_more(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let mut due = self.missing_outcomes(system)?;
        if self.has_outcome() && due.is_empty() {
            return Ok(Check::Holds);
        }
        let lacks = self.lacks(system)?;
        // Without its user or its directory a guard cannot be asked: with them, it is.
        if lacks.is_empty() {
            if !self.is_called_for(system)? {
                return Ok(Check::Holds);
            }
            match self.unless_refuses(system)? {
                guard::Unless::NothingToDo => return Ok(Check::Holds),
                guard::Unless::Exited(ending) => due.push(Change::from_to("unless", ending, "exit 0")),
                guard::Unless::NotAsked => {}
            }
        }
        due.insert(0, Change::new("run", None, Some(self.shown())));
        Ok(Check::Needs(Needed { action: Action::Change, changes: due, lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        // What was lacking may be there by now: what is asked is whether it still is.
        if !needed.lacks.is_empty() {
            nothing_lacking(&self.lacks(system)?)?;
        }
        // As it was before the run: what changes while it runs is owed another run.
        let contents = self.contents_now(system)?;
        let mut invocation = self.invocation(system, Invocation::of(self.line()))?;
        if let Some(input) = &self.stdin {
            invocation = invocation.stdin(input.as_bytes());
        }
        let output = system.run(&invocation)?;
        let code = output.status.code().and_then(|code| u8::try_from(code).ok());
        if !code.is_some_and(|code| self.exit_codes.contains(&code)) {
            let failure = output.failure(format!("`{}`", self.shown()));
            let codes: Vec<String> = self.exit_codes.iter().map(u8::to_string).collect();
            return Err(match is_zero(&self.exit_codes) {
                true => failure,
                false => failure.help(format!("by its `exit_codes`, success is {}", codes.join(" or "))),
            });
        }
        if contents.is_empty() { Ok(()) } else { record::write(system, &self.record_name(), &contents) }
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let guarded = self.has_outcome() || self.unless.is_some() || self.only_if.is_some();
        if !guarded && !self.always {
            invalid.push(Invalid::lack(
                "command",
                "nothing says when this command is to run",
                "add a guard (`creates`, `removes`, `unless`, `only_if`, `on_change_of`), or `always: true`",
            ));
        }
        if guarded && self.always {
            invalid.push(Invalid::new(
                "always",
                "`always: true` excludes guards, which say when it is not to run",
                "leave out `always`, or the guards",
            ));
        }
        if self.name().contains('\n') {
            invalid.push(Invalid::new(
                "command",
                "a command of several lines needs a label",
                "write a label after `command:`, and the lines after `run:`",
            ));
        }
        if self.run.is_some() && matches!(self.name, CommandLine::Argv(_)) {
            invalid.push(Invalid::new(
                "command",
                "with `run`, `command` is a label, and this is a list",
                "write the label as text, or leave out `run`",
            ));
        }
        if self.exit_codes.is_empty() {
            let help = "leave it out where only 0 is success";
            invalid.push(Invalid::new("exit_codes", "no exit code would be success", help));
        }
        for name in self.environment.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                let what = format!("`{name}` is no name of a variable");
                invalid.push(Invalid::new("environment", what, "write it as in `LANG: C.UTF-8`"));
            }
        }
        invalid
    }

    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        if !self.always {
            return Vec::new();
        }
        vec![Invalid::new(
            "always",
            "this command runs at every apply, so no plan is ever empty",
            "a guard that shows that it is done (`creates`, `unless`, …) lets it rest",
        )]
    }

    fn is_proved_by_apply(&self) -> bool {
        self.always || (self.only_if.is_some() && self.unless.is_none() && !self.has_outcome())
    }

    fn foreseen(&self, attribute: &str, cause: &str) -> Option<(Action, Vec<Change>)> {
        (attribute == "on_change_of").then(|| {
            let run = Change::new("run", None, Some(self.shown()));
            let change =
                Change::from_to(attribute, format!("{cause} as it is"), format!("{cause} as it will be"));
            (Action::Change, vec![run, change])
        })
    }

    /// What it leaves of what is there already only a run shows.
    fn changes_content(&self, needed: &Needed) -> Option<bool> {
        needed.has("creates").then_some(true)
    }

    fn asks_commands(&self) -> bool {
        self.unless.is_some() || self.only_if.is_some()
    }

    /// Whatever it creates is its content.
    fn content_paths(&self) -> Vec<AbsPath> {
        self.creates.clone()
    }

    fn looks_at(&self) -> Vec<AbsPath> {
        [&self.creates[..], &self.removes].concat()
    }

    fn triggers(&mut self) -> Vec<(&'static str, &mut Vec<Trigger>)> {
        vec![("on_change_of", &mut self.on_change_of)]
    }
}
