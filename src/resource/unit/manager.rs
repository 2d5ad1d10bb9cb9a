//! Talking to systemd: the system's manager, or the running user's.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

use super::name::UnitName;
use super::show::{PROPERTIES, Phase, Shown};
use crate::attribute::AbsPath;
use crate::resource::{Detail, Failure};
use crate::system::System;
use crate::system::commands::{Invocation, Output};
use crate::system::readings::Reading;

/// A job that takes longer goes on by itself: what it comes to is observed, not waited for here.
const JOB_PATIENCE: Duration = Duration::from_secs(10);

/// `scope: system | user`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    System,
    User,
}

/// What is read of a unit.
pub fn reading(unit: &UnitName, scope: Scope) -> Reading {
    let of = match scope {
        Scope::System => "systemd",
        Scope::User => "systemd --user",
    };
    Reading { of, name: unit.full().to_owned() }
}

/// One of systemd's managers on this machine.
pub struct Manager<'a> {
    system: &'a System,
    scope: Scope,
    runtime: Option<String>,
}

impl<'a> Manager<'a> {
    /// Fails where systemd does not run this machine, or this user has no manager.
    pub fn of(system: &'a System, scope: Scope) -> Result<Manager<'a>, Failure> {
        // sd_booted(3).
        if !system.root().join("run/systemd/system").is_dir() {
            let init = std::fs::read_to_string(system.root().join("proc/1/comm")).unwrap_or_default();
            return Err(Failure::new(format!(
                "this machine is not run by systemd: its process 1 is {}",
                if init.trim().is_empty() { "another init" } else { init.trim() }
            ))
            .help("a `unit` needs systemd; `process` keeps a program alive without it"));
        }
        let runtime = match scope {
            Scope::System => None,
            Scope::User => {
                let uid = rustix::process::geteuid();
                let runtime = format!("/run/user/{uid}");
                if !system.root().join(runtime.trim_start_matches('/')).join("systemd").is_dir() {
                    let user = system.user_name(uid.as_raw());
                    return Err(Failure::new(format!("{user} has no systemd manager of its own running"))
                        .help(format!("let it run without a login: `loginctl enable-linger {user}`")));
                }
                Some(runtime)
            }
        };
        Ok(Manager { system, scope, runtime })
    }

    /// Where unit files of one's own lie.
    pub fn directory(system: &System, scope: Scope) -> Result<AbsPath, Failure> {
        let text = match scope {
            Scope::System => "/etc/systemd/system".to_owned(),
            Scope::User => {
                let user = system.user_name(rustix::process::geteuid().as_raw());
                let account = system.account(&user)?;
                let account = account.ok_or_else(|| Failure::new(format!("there is no user {user}")))?;
                format!("{}/.config/systemd/user", account.home)
            }
        };
        text.parse().map_err(Failure::new)
    }

    /// How it is now.
    pub fn show(&self, unit: &UnitName) -> Result<Shown, Failure> {
        let mut shown = self.show_all(&[unit.full().to_owned()])?;
        Ok(shown.remove(unit.full()).unwrap_or_else(|| Shown::read("")))
    }

    /// How it is, asked for together with the other units of this run.
    pub fn show_shared(&self, unit: &UnitName) -> Result<Shown, Failure> {
        let shown = self.system.shared_of(&reading(unit, self.scope), |units| self.show_all(units))?;
        Ok(shown.unwrap_or_else(|| Shown::read("")))
    }

    fn show_all(&self, units: &[String]) -> Result<HashMap<String, Shown>, Failure> {
        let argv = ["show", "-p", PROPERTIES, "--"].into_iter().chain(units.iter().map(String::as_str));
        let output = self.system.run(&self.invocation(&argv.collect::<Vec<_>>()).whole_output())?;
        if !output.succeeded() {
            return Err(self.refused(&output, format!("asking systemd for {}", units.join(", "))));
        }
        // One paragraph each, in this order.
        let shown = output.stdout.split("\n\n").map(Shown::read);
        Ok(units.iter().cloned().zip(shown).collect())
    }

    /// `enable`, `mask`, `daemon-reload`: what ends at once.
    pub fn call(&self, verb: &[&str], tried: impl std::fmt::Display) -> Result<Output, Failure> {
        let output = self.run(verb)?;
        if output.succeeded() { Ok(output) } else { Err(self.refused(&output, tried)) }
    }

    /// Whether `systemctl VERB` says yes.
    pub fn asks(&self, verb: &[&str]) -> Result<bool, Failure> {
        Ok(self.run(verb)?.succeeded())
    }

    /// Starts, stops, restarts or reloads. A job that takes long is left to itself, and where the
    /// unit failed the check that follows tells how; a job that systemd refuses is a failure.
    pub fn job(&self, verb: &str, unit: &UnitName) -> Result<(), Failure> {
        let patience = JOB_PATIENCE.min(self.system.time_left() * 3 / 4);
        let (system, begun) = (self.system.within(patience), Instant::now());
        let output = match system.run(&self.invocation(&[verb, "--", unit.full()])) {
            Ok(output) => output,
            Err(_) if begun.elapsed() >= patience => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if output.succeeded() {
            return Ok(());
        }
        let refused = self.refused(&output, format!("`systemctl {verb} {unit}`"));
        if refused.help.is_some() {
            return Err(refused);
        }
        // "Job for x failed because … See journalctl -xe": the state says that, and the log.
        let state = self.show(unit)?;
        if matches!(state.phase(), Phase::Failed | Phase::Crashing) {
            return Ok(());
        }
        let mut failure = Failure::new(format!("unit {unit} did not {verb}: it is {}", state.told()));
        if let Some(line) = output.stderr.lines().find(|line| line.contains("dependency")) {
            failure.reason = format!("unit {unit} did not {verb}: {}", line.trim());
            failure = failure.help(format!(
                "something it requires failed: `systemctl list-dependencies {unit}` shows which"
            ));
        }
        Err(failure.detail("stderr", output.stderr.trim_end()))
    }

    /// Its last log lines.
    pub fn log(&self, unit: &UnitName) -> Detail {
        let which = match self.scope {
            Scope::System => "-u",
            Scope::User => "--user-unit",
        };
        let argv =
            ["journalctl", which, unit.full(), "-b", "-n", "15", "-o", "short-iso", "--no-pager", "-q"];
        let text = match self.system.run(&Invocation::new(argv)) {
            Ok(output) if output.succeeded() && !output.stdout.trim().is_empty() => output.stdout,
            Ok(output) if output.succeeded() => "(the journal has nothing of it since the boot)".to_owned(),
            Ok(output) => format!("(journalctl: {}: {})", output.ending(), output.stderr.trim()),
            Err(failure) => format!("(cannot be had: {})", failure.reason),
        };
        Detail { title: "log".to_owned(), text: text.trim_end().to_owned() }
    }

    fn run(&self, arguments: &[&str]) -> Result<Output, Failure> {
        self.system.run(&self.invocation(arguments))
    }

    fn invocation(&self, arguments: &[&str]) -> Invocation {
        let mut argv = vec!["systemctl", "--no-pager", "--no-ask-password"];
        if self.scope == Scope::User {
            argv.push("--user");
        }
        argv.extend(arguments);
        let invocation = Invocation::new(argv);
        match &self.runtime {
            // sudo and cron hand none on.
            Some(runtime) => invocation
                .env("XDG_RUNTIME_DIR", runtime)
                .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={runtime}/bus")),
            None => invocation,
        }
    }

    fn refused(&self, output: &Output, tried: impl std::fmt::Display) -> Failure {
        let failure = output.failure(tried);
        let not_allowed = ["nteractive authentication required", "Access denied", "Permission denied"];
        if not_allowed.iter().any(|words| output.stderr.contains(words)) {
            return failure.help("systemd lets only root do this: `become: sudo` on the host");
        }
        if output.stderr.contains("already exists") && output.stderr.contains("mask") {
            return failure
                .help("a unit file of its own lies in /etc: it must be absent before it can be masked");
        }
        failure
    }
}

/// When a unit became what it is, by the clock as it goes now. systemd notes both clocks; the
/// wall clock may have been set since (a machine without a battery boots in the past), so it is
/// reckoned from the monotonic one, which stands still only while the machine is suspended.
pub fn wall_clock(since_boot: Duration) -> SystemTime {
    SystemTime::now().checked_sub(age(since_boot)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// How long ago that was.
pub fn age(since_boot: Duration) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(u64::try_from(tv_sec).unwrap_or(0), u32::try_from(tv_nsec).unwrap_or(0));
    now.saturating_sub(since_boot)
}
