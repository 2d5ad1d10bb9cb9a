//! `cron`: a job that cron runs, in a user's crontab or in a file of /etc/cron.d.

mod crontab;
mod judge;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::account_tools::missing;
use super::common::{Presence, nothing_lacking};
use super::{Action, Change, Check, Claim, Failure, Invalid, Lack, Links, Needed, Resource, Thing};
use crate::attribute::{AbsPath, AccountName, CommandLine, Mode, Schedule, quote};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};
use crate::system::readings::Reading;
use table::{Edit, Job, edit};

/// Where cron takes files from other than users' crontabs.
const DIRECTORY: &str = "/etc/cron.d";

/// What cron itself reads from lines of its own; no command sees it otherwise.
const CRONS_OWN: [&str; 7] =
    ["SHELL", "MAILTO", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING", "CRON_TZ", "RANDOM_DELAY"];

/// A job that cron runs.
///
/// It is one line in the crontab of its user, or in a file of /etc/cron.d, below a line
/// `# converge: LABEL` by which it is found again. All other lines, comments and blanks are
/// somebody else's, and stay as they are: whoever edits the crontab by hand may go on doing so.
/// What was changed of the job itself is put right in its place. It is looked for in this one
/// crontab or file alone: before it moves to another, let it be absent where it was.
///
/// A job runs only where cron does: declare its `unit` (`cron` on Debian, `crond` elsewhere). What
/// is missing is the package cron on Debian, cronie elsewhere. The user comes first, where it is
/// declared.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless_absent("schedule")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless_absent("command")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["schedule", "command", "environment"])))]
#[serde(deny_unknown_fields)]
pub struct Cron {
    /// A label, on one line: the name of the job.
    #[serde(rename = "cron")]
    pub label: String,

    /// `absent`: the job is taken away, and the crontab or the file with it where nothing else is
    /// in it.
    #[serde(default)]
    pub state: Presence,

    /// When it runs: minute, hour, day of the month, month and day of the week, as in
    /// `30 4 * * mon-fri`; or `@reboot`, `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    /// Needed, unless the job is to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,

    /// What it runs: a string, which cron gives to /bin/sh, or a list of program and arguments,
    /// which is quoted for it. One line, of 998 characters at most. A `%` is written as cron wants
    /// it, so that it is a `%`. Cron programs differ about two backslashes in a row and a backslash
    /// before a `%`: put such a command into a script. Needed, unless the job is to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandLine>,

    /// Whom it runs as, and so whose crontab it is in. Without it, the user that converge runs as
    /// on the host; with `file`, root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<AccountName>,

    /// Variables for this job. They are set on its command line, where other jobs do not see them,
    /// and every user of the host does while it runs: no place for a secret. What cron itself reads
    /// (`MAILTO`, `SHELL`, `CRON_TZ`, …) would hold for all lines that follow, and can be set only
    /// with a `file`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,

    /// The name of a file in /etc/cron.d, in place of the user's crontab: letters, digits, `_` and
    /// `-`, as cron passes over others. Several jobs may be in one file. It is root's, and a new
    /// one 0644; a file that others may write to cron would not take, and that is put right.
    /// busybox's cron reads no such files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "controller", schemars(regex(pattern = r"^[A-Za-z0-9_-]+$")))]
    pub file: Option<String>,
}

impl Cron {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- cron: nightly backup
  schedule: 30 4 * * *
  command: /usr/local/bin/backup --date \"$(date +%F)\"
  user: root
";

    fn path(&self) -> Option<AbsPath> {
        self.file.as_ref().and_then(|name| format!("{DIRECTORY}/{name}").parse().ok())
    }

    /// Whom it runs as.
    fn user(&self, system: &System) -> String {
        match &self.user {
            Some(user) => user.to_string(),
            None if self.file.is_some() => "root".to_owned(),
            None => system.user_name(rustix::process::geteuid().as_raw()),
        }
    }

    /// The variables that cron reads itself, or those of the command alone.
    fn variables(&self, are_crons: bool) -> impl Iterator<Item = (&String, &String)> {
        self.environment.iter().filter(move |(name, _)| CRONS_OWN.contains(&name.as_str()) == are_crons)
    }

    /// The command with its variables, before cron's escapes.
    fn line(&self) -> String {
        let set: Vec<String> =
            self.variables(false).map(|(name, value)| format!("{name}={}", quote(value))).collect();
        let command =
            self.command.as_ref().map(|command| command.to_string().trim().to_owned()).unwrap_or_default();
        if set.is_empty() { command } else { format!("export {}; {command}", set.join(" ")) }
    }

    /// As it is to stand in the crontab; None where it is to be absent.
    fn job(&self, system: &System) -> Option<Job> {
        let schedule = self.schedule.as_ref().filter(|_| self.state == Presence::Present)?;
        // busybox's cron knows no `%`, and gives a backslash on.
        let line = if system.is_busybox("crontab") { self.line() } else { self.line().replace('%', "\\%") };
        let rest = if self.file.is_some() { format!("{} {line}", self.user(system)) } else { line };
        let variables = self.variables(true).map(|(name, value)| format!("{name}={value}")).collect();
        Some(Job { variables, schedule: schedule.to_string(), rest })
    }

    /// Names of lines before a job that may be the job's.
    fn own_lines(&self) -> &'static [&'static str] {
        if self.file.is_some() { &CRONS_OWN } else { &[] }
    }
}

impl Resource for Cron {
    fn name(&self) -> String {
        self.label.clone()
    }

    fn links(&self) -> Links {
        let mut links = Links::default().removal(self.state == Presence::Absent);
        // Root is always there.
        if let Some(user) = &self.user {
            links = links.stands_on(Thing::User(user.to_string()), "the user it runs as");
        }
        for package in ["cron", "cronie"] {
            links = links.stands_on(Thing::Package(package.to_owned()), "the cron that runs it");
        }
        if let Some(path) = self.path() {
            links = links.provides(Thing::Path(path));
            if let Ok(directory) = DIRECTORY.parse() {
                links = links.stands_on(Thing::Path(directory), "the directory of its file");
            }
        }
        links
    }

    fn reads(&self) -> Option<Reading> {
        // Whose it is without a `user` is known on the host.
        self.user.as_ref().filter(|_| self.file.is_none()).map(|user| crontab::reading(user.as_str()))
    }

    fn can_wait() -> bool {
        false
    }

    fn claims(&self) -> Vec<Claim> {
        let is_there = self.state == Presence::Present;
        let file = self.path().filter(|_| is_there).map(|path| Claim {
            of: format!("jobs in {path}"),
            is_shared: self.variables(true).next().is_none(),
            help: "what cron reads itself (`MAILTO`, `SHELL`, …) holds for all jobs that follow: give each job a `file` of its own",
        });
        file.into_iter().collect()
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = self.wrong_label();
        match self.state {
            Presence::Present => {
                for (name, is_given) in
                    [("schedule", self.schedule.is_some()), ("command", self.command.is_some())]
                {
                    if !is_given {
                        invalid.push(Invalid::lack(
                            "cron",
                            format!("`{name}` is missing"),
                            format!("add `{name}`, or `state: absent` if the job is to go"),
                        ));
                    }
                }
            }
            Presence::Absent => {
                let said = [
                    ("schedule", self.schedule.is_some()),
                    ("command", self.command.is_some()),
                    ("environment", !self.environment.is_empty()),
                ];
                for (name, _) in said.iter().filter(|(_, given)| *given) {
                    invalid.push(Invalid::new(
                        name,
                        format!("`{name}` says something of a job that `state: absent` says is gone"),
                        "leave one of them out",
                    ));
                }
            }
        }
        invalid.extend(self.wrong_command());
        invalid.extend(self.wrong_environment());
        if let Some(file) = &self.file
            && (file.is_empty() || !file.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)))
        {
            let what = format!("cron passes over a file of the name `{file}`");
            invalid.push(Invalid::new(
                "file",
                what,
                "write a name of letters, digits, `_` and `-`: it lies in /etc/cron.d",
            ));
        }
        invalid
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let wanted = self.job(system);
        let mut lacks = Vec::new();
        let text = if let Some(path) = self.path() {
            self.read_file(system, &path)?.map(|(_, text)| text)
        } else {
            let user = self.user(system);
            if system.find_tool("crontab").is_some() && system.account(&user)?.is_some() {
                crontab::read(system, &user)?
            } else {
                None
            }
        };
        let text = text.unwrap_or_default();
        let edited = edit(&text, &self.label, wanted.as_ref(), self.own_lines());
        let changes = self.changes(system, wanted.as_ref(), &edited, &text)?;
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        if wanted.is_some() {
            lacks = self.lacks(system)?;
        }
        let action = match (wanted, edited.found.is_some()) {
            (None, _) => Action::Remove,
            (Some(_), false) => Action::Create,
            (Some(_), true) => Action::Change,
        };
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    fn apply(&self, system: &System, _needed: &Needed) -> Result<(), Failure> {
        // Two jobs of one crontab are lines of one file.
        let _turn = system.turn("crontab")?;
        let system = &system.anew();
        let wanted = self.job(system);
        if wanted.is_some() {
            nothing_lacking(&self.lacks(system)?)?;
        }
        let Some(path) = self.path() else {
            let user = self.user(system);
            let old = crontab::read(system, &user)?.unwrap_or_default();
            let new = edit(&old, &self.label, wanted.as_ref(), self.own_lines()).text;
            return if new == old { Ok(()) } else { crontab::write(system, &user, &ended(new)) };
        };
        let put = |old: &[u8]| edit(old, &self.label, wanted.as_ref(), self.own_lines()).text;
        let there = self.read_file(system, &path)?;
        let old = there.as_ref().map(|(_, text)| text.as_slice()).unwrap_or_default();
        if wanted.is_none() && put(old).trim_ascii().is_empty() {
            return if there.is_some() { system.remove_file(&path) } else { Ok(()) };
        }
        let mode = there.as_ref().map(|(meta, _)| right_mode(meta)).unwrap_or(Mode::from_bits(0o644));
        let gid = there.as_ref().map(|(meta, _)| meta.gid).or(Some(0));
        let access = Access { uid: Some(0), gid, mode: Some(mode) };
        // As it is by now: somebody may be at work in it.
        system.edit_file(&path, access, |old| {
            let old = old.unwrap_or_default();
            let new = ended(put(old));
            Ok((new != old).then_some(new))
        })?;
        match there {
            Some((meta, _)) if meta.uid != 0 || meta.mode != mode => system.set_access(&path, access),
            _ => Ok(()),
        }
    }
}

impl Cron {
    /// What is missing before the job can be there.
    fn lacks(&self, system: &System) -> Result<Vec<Lack>, Failure> {
        let mut lacks = Vec::new();
        let user = self.user(system);
        if system.account(&user)?.is_none() {
            lacks.push(Lack {
                thing: Thing::User(user.clone()),
                what: format!("there is no user {user}"),
                help: format!("declare it: `- user: {user}`, or correct `user`"),
            });
        }
        if system.find_tool("crontab").is_none() {
            lacks.push(missing(system, "crontab"));
        } else if self.file.is_some() && system.is_busybox("crontab") {
            return Err(Failure::new("busybox's cron does not read /etc/cron.d")
                .help("leave `file` out: the job is then in the crontab of its user"));
        } else if let Some(path) = self.path()
            && let Seen::NoParent(missing) = system.see(&path)?
        {
            lacks.push(super::common::no_parent(&path, &missing));
        }
        Ok(lacks)
    }

    /// None: it is not there.
    fn read_file(&self, system: &System, path: &AbsPath) -> Result<Option<(Meta, Vec<u8>)>, Failure> {
        let seen =
            if self.state == Presence::Absent { system.see_to_remove(path)? } else { system.see(path)? };
        match seen {
            Seen::There(meta) if meta.kind == Kind::File => Ok(Some((meta, system.read_file(path)?))),
            Seen::There(meta) => {
                Err(Failure::new(format!("{path} is {}, and a file of cron is to be there", meta.kind))
                    .help("move it away, or give the job another `file`"))
            }
            Seen::Absent | Seen::NoParent(_) => Ok(None),
        }
    }

    fn changes(
        &self,
        system: &System,
        wanted: Option<&Job>,
        edited: &Edit,
        text: &[u8],
    ) -> Result<Vec<Change>, Failure> {
        let Some(wanted) = wanted else {
            let was = || {
                edited
                    .found
                    .as_ref()
                    .map_or("present".to_owned(), |job| format!("{} {}", job.schedule, job.rest))
            };
            let gone = edited.is_marked.then(|| Change::new("state", Some(was()), Some("absent".to_owned())));
            return Ok(gone.into_iter().collect());
        };
        let mut changes = Vec::new();
        if edited.found.is_none() {
            changes.push(Change::from_to("state", "absent", "present"));
        }
        let mut differs = |attribute: &str, from: Option<String>, to: String| {
            if from.as_deref().unwrap_or_default() != to {
                changes.push(Change::new(
                    attribute,
                    from.filter(|from| !from.is_empty()),
                    Some(to).filter(|to| !to.is_empty()),
                ));
            }
        };
        let found = edited.found.as_ref();
        differs("schedule", found.map(|job| job.schedule.clone()), wanted.schedule.clone());
        let parts = |job: &Job| match self.file.is_some() {
            true => {
                let (user, command) = job.rest.split_once([' ', '\t']).unwrap_or((&job.rest, ""));
                (Some(user.to_owned()), command.trim_start().to_owned())
            }
            false => (None, job.rest.clone()),
        };
        let (wanted_user, wanted_command) = parts(wanted);
        if let Some(user) = wanted_user {
            differs("user", found.and_then(|job| parts(job).0), user);
        }
        differs("command", found.map(|job| parts(job).1), wanted_command);
        differs("environment", found.map(|job| job.variables.join(", ")), wanted.variables.join(", "));
        let whole = ended(text.to_vec());
        if changes.is_empty() && edited.text != text && edited.text != whole {
            let what = if edited.has_twins { "it is there more than once" } else { "another" };
            changes.push(Change::from_to("marker", what, format!("# converge: {}", self.label)));
        }
        // Cron passes over a file whose last line does not end, and over one that others can write to.
        if self.file.is_some() && edited.found.is_some() && whole != text {
            changes.push(Change::from_to("newline", "none after the last line", "one"));
        }
        if let Some(path) = self.path()
            && let Seen::There(meta) = system.see(&path)?
        {
            if meta.uid != 0 {
                changes.push(Change::from_to("owner", system.user_name(meta.uid), "root"));
            }
            if meta.mode != right_mode(&meta) {
                changes.push(Change::from_to("mode", meta.mode, right_mode(&meta)));
            }
        }
        Ok(changes)
    }
}

/// With a last line that ends: what cron wants of all.
fn ended(mut text: Vec<u8>) -> Vec<u8> {
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text
}

/// Of a file that is there: only its owner may write to it, and read it at least.
fn right_mode(meta: &Meta) -> Mode {
    Mode::from_bits(meta.mode.bits() & !0o022 | 0o400)
}
