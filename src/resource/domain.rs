//! `domain`: a virtual machine under Xen, or under libvirt.

mod autostart;
mod config;
mod libvirt;
mod listed;
mod memory;
mod plan;
mod shutdown;
mod virsh;
mod xl;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, Change, Check, Detail, Failure, Invalid, Links, Needed, Resource, Thing};
use crate::attribute::{AbsPath, Span};
use crate::system::System;
use autostart::AUTO;
use listed::{Row, Situation};
use plan::{Plan, Step, plan};
use xl::{Now, Xl};

/// How long `xl create` may take: up to a minute for a large guest, more where the machine is busy or
/// other domains are created first. Killed half-way, it leaves what must be cleared away.
const CREATION: Duration = Duration::from_secs(300);

/// A pause counts: so often at most it is taken back.
const UNPAUSES: usize = 64;

/// `hypervisor: xen | libvirt`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    #[default]
    Xen,
    Libvirt,
}

/// `state: running | paused | shutdown | absent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DomainState {
    #[default]
    Running,
    Paused,
    Shutdown,
    Absent,
}

/// A virtual machine, declared on the machine that runs it (under Xen, its dom0).
///
/// `running` creates it from `config`, or unpauses it as often as it was paused; what was kept of
/// it after a shutdown or crash (`on_crash = "preserve"`), or was left half built by a killed
/// `xl create`, is cleared away first. A domain that is being built, shut down or rebooted is
/// waited for, up to `timeout`, or `wait` where that is longer; so is one that the machine, which still boots, is about
/// to start by itself (`autostart`). A domain's `timeout` is 5 minutes where
/// none is given; several domains of a machine are created one after the other.
///
/// `shutdown` and `absent` ask the guest to shut down, and again every 10 s, for a guest that is still
/// booting takes no notice. One that has not done so within `shutdown_timeout` is a failure: a domain
/// that runs is never destroyed. `shutdown` leaves what is preserved of it, and `absent` does not.
/// All this needs root: `become: sudo`.
///
/// Under libvirt (`hypervisor: libvirt`) converge speaks to the machine's own daemon with `virsh`: to
/// qemu:///system, or to what LIBVIRT_DEFAULT_URI names in the host's environment. A domain that libvirt
/// does not know is defined from `config` and started. One that is defined is never defined anew, for libvirt has filled in what
/// the file leaves out (its UUID, its network addresses): a changed `config` counts after it was
/// `absent`. One that runs without a definition gets that by which it runs, where `config` or `autostart` is declared.
/// `absent` takes away its definition, with a saved memory image and what libvirt notes of
/// snapshots; disks, and the variables of its firmware, stay. (Tested with a libvirtd and its test driver; guests under qemu
/// were not run.)
///
/// The domain runs when its kernel does; that its services answer is for a `port` or an `http` to
/// say, with a `wait`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The domain's name.
    #[serde(rename = "domain")]
    pub name: String,

    /// What runs it.
    #[serde(default, skip_serializing_if = "is_xen")]
    #[cfg_attr(feature = "controller", schemars(skip_serializing_if = "crate::attribute::schema::never"))]
    pub hypervisor: Hypervisor,

    /// `shutdown`: it does not run. `absent`: nothing of it is left in the hypervisor's list either;
    /// its configuration and disks are not touched.
    #[serde(default)]
    pub state: DomainState,

    /// What it is created from: xl.cfg(5); under libvirt, XML. Its `name` must be this domain's. The default is
    /// /etc/xen/NAME.cfg; under libvirt there is none, and it is needed where libvirt does not know the
    /// domain. A change of it counts at the next creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<AbsPath>,

    /// Whether it is started at boot: the link /etc/xen/auto/NAME.cfg, which `xendomains` reads; under
    /// libvirt, its own mark. Without it, that is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,

    /// How long the guest may take to shut down. Where it is longer than `timeout`, give a `wait`
    /// of the same length.
    #[serde(default = "a_minute")]
    pub shutdown_timeout: Span,
}

fn is_xen(hypervisor: &Hypervisor) -> bool {
    *hypervisor == Hypervisor::Xen
}

fn a_minute() -> Span {
    Span::seconds(60)
}

impl Domain {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- domain: vps0
  state: running
  config: /etc/xen/vps0.cfg
";

    fn config(&self) -> Result<AbsPath, Failure> {
        match &self.config {
            Some(config) => Ok(config.clone()),
            None => format!("/etc/xen/{}.cfg", self.name).parse().map_err(Failure::new),
        }
    }

    fn state_word(&self) -> &'static str {
        match self.state {
            DomainState::Running => "running",
            DomainState::Paused => "paused",
            DomainState::Shutdown => "shutdown",
            DomainState::Absent => "absent",
        }
    }
}

impl Resource for Domain {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn links(&self) -> Links {
        let mut links = Links::default()
            .provides(Thing::Domain(self.name.clone()))
            .removal(self.state == DomainState::Absent);
        if self.hypervisor == Hypervisor::Libvirt {
            for unit in ["libvirtd.service", "libvirtd.socket", "virtqemud.service", "virtqemud.socket"] {
                links = links.stands_on(Thing::Unit(unit.to_owned()), "libvirt runs it");
            }
            return match &self.config {
                Some(config) => links.stands_on(Thing::Path(config.clone()), "its configuration"),
                None => links,
            };
        }
        if let Ok(config) = self.config() {
            links = links.stands_on(Thing::Path(config), "its configuration");
        }
        if let (Some(_), Ok(directory)) = (self.autostart, AUTO.parse()) {
            links = links.stands_on(Thing::Path(directory), "its autostart link lies there");
        }
        links
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+:".contains(c);
        let is_number = self.name.chars().all(|c| c.is_ascii_digit());
        if is_number || !self.name.chars().all(allowed) || self.name.starts_with(['-', '.']) {
            invalid.push(Invalid::new(
                "domain",
                format!("`{}` is no domain's name (`xl` takes a number for an id)", self.name),
                "write the name that its configuration gives it",
            ));
        }
        if self.name == "Domain-0" {
            invalid.push(Invalid::new(
                "domain",
                "Domain-0 is the machine itself",
                "declare the domains that it runs",
            ));
        }
        if self.state == DomainState::Absent && self.autostart == Some(true) {
            invalid.push(Invalid::new(
                "autostart",
                "a domain that is to be absent cannot be started at boot",
                "leave one of them out",
            ));
        }
        invalid
    }

    fn timeout(&self) -> Duration {
        CREATION.max(self.shutdown_timeout.get() + Duration::from_secs(15))
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        if self.hypervisor == Hypervisor::Libvirt {
            return self.check_libvirt(system);
        }
        let config = self.config()?;
        let now = Xl { system, name: &self.name, config: &config }.now()?;
        let (mut changes, mut lacks) = (Vec::new(), Vec::new());
        let mut action = Action::Change;
        if now.situation == Situation::Absent && self.is_about_to_be_started(system, &config)? {
            self.autostart_change(system, &config, &mut changes, &mut lacks)?;
            return Ok(match changes.is_empty() {
                true => {
                    Check::passing(format!("this machine boots, and is about to start domain {}", self.name))
                }
                false => Check::Needs(Needed { action, changes, lacks }),
            });
        }
        match plan(self.state, now.situation) {
            Plan::Holds => {}
            Plan::Waits => {}
            Plan::Steps(steps) if steps[0] == Step::ShutDown && self.was_asked(system, &now)?.is_some() => {}
            Plan::Steps(steps) => {
                if steps.iter().any(|step| matches!(step, Step::Create | Step::CreatePaused)) {
                    self.must_be_configured(system, &config)?;
                }
                action = match (self.state, now.situation) {
                    (DomainState::Absent, _) => Action::Remove,
                    (_, Situation::Absent) => Action::Create,
                    _ => Action::Change,
                };
                changes.push(Change::from_to("state", self.told(system, &now), self.state_word()));
            }
        }
        self.autostart_change(system, &config, &mut changes, &mut lacks)?;
        if !changes.is_empty() {
            return Ok(Check::Needs(Needed { action, changes, lacks }));
        }
        match plan(self.state, now.situation) {
            Plan::Holds => Ok(Check::Holds),
            Plan::Waits => Ok(Check::passing(format!("domain {} is {}", self.name, row_told(&now)))),
            Plan::Steps(_) => {
                let since = self.was_asked(system, &now)?.unwrap_or_default().as_secs();
                Ok(Check::passing(format!(
                    "domain {} was asked to shut down {since}s ago, and may take {}",
                    self.name, self.shutdown_timeout
                )))
            }
        }
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        if self.hypervisor == Hypervisor::Libvirt {
            return self.apply_libvirt(system, needed);
        }
        let config = self.config()?;
        if needed.has("autostart") {
            self.set_autostart(system, &config)?;
        }
        if !needed.has("state") {
            return Ok(());
        }
        let xl = Xl { system, name: &self.name, config: &config };
        let now = xl.now()?;
        let Plan::Steps(steps) = plan(self.state, now.situation) else { return Ok(()) };
        for step in steps {
            self.take(system, &xl, *step)?;
        }
        Ok(())
    }

    fn evidence(&self, system: &System) -> Vec<Detail> {
        if self.hypervisor == Hypervisor::Libvirt {
            return self.libvirt_evidence(system);
        }
        let mut details = Vec::new();
        // Where it does not answer, that is the failure itself.
        if let Ok(output) = system.tool(["xl", "list"])
            && output.succeeded()
        {
            details.push(Detail { title: "xl list".to_owned(), text: output.stdout.trim_end().to_owned() });
        }
        let log = format!("/var/log/xen/xl-{}.log", self.name);
        if let Ok(path) = log.parse()
            && let Ok(text) = crate::system::files::tail(&system.locate(&path))
        {
            details.push(Detail { title: log, text });
        }
        details
    }
}

impl Domain {
    fn take(&self, system: &System, xl: &Xl, step: Step) -> Result<(), Failure> {
        match step {
            Step::Create => xl.create(false),
            Step::CreatePaused => xl.create(true),
            Step::Pause => xl.call("pause"),
            Step::Unpause => self.unpause(xl),
            Step::ShutDown => self.shut_down(system, xl),
            Step::Destroy => {
                let now = xl.now()?;
                // Still shutting down, or gone: nothing of it is destroyed while it may run.
                if !matches!(now.situation, Situation::ShutDown | Situation::Crashed | Situation::HalfBuilt) {
                    return Ok(());
                }
                xl.call("destroy")?;
                // `xl create` refuses a name as long as the old domain is being taken apart.
                let now = xl.wait_for(|situation| situation == Situation::Absent, Duration::from_secs(60))?;
                match now.situation {
                    Situation::Absent => Ok(()),
                    other => {
                        Err(Failure::new(format!("domain {} was destroyed, and is still {other}", self.name)))
                    }
                }
            }
        }
    }

    /// Pauses count: each is taken back, and what comes of it is seen.
    fn unpause(&self, xl: &Xl) -> Result<(), Failure> {
        for _ in 0..UNPAUSES {
            match xl.now()?.situation {
                Situation::Paused => xl.call("unpause")?,
                _ => return Ok(()),
            }
        }
        Err(Failure::new(format!("domain {} is still paused after {UNPAUSES} times `xl unpause`", self.name))
            .help("something pauses it again and again"))
    }

    fn told(&self, system: &System, now: &Now) -> String {
        let asked = self.asked(system, now).ok().flatten();
        match (now.situation, asked) {
            (Situation::Running, Some(ago)) if self.is_to_go() => format!(
                "running (it was asked to shut down {}s ago, and has not within its shutdown_timeout of {})",
                ago.as_secs(),
                self.shutdown_timeout
            ),
            (situation, _) => situation.to_string(),
        }
    }

    fn is_to_go(&self) -> bool {
        matches!(self.state, DomainState::Shutdown | DomainState::Absent)
    }

    /// The configuration must be there, and be this domain's. A failure, and no `Lack`: in a plan
    /// it is unknown until what comes before the domain is done, and no `wait` would mend it.
    fn must_be_configured(&self, system: &System, path: &AbsPath) -> Result<(), Failure> {
        let name = &self.name;
        let text = match std::fs::read(system.locate(path)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let help = match self.config {
                    Some(_) => format!("declare it: `- file: {path}`, or correct `config`"),
                    None => format!("say with `config` where it lies, or declare `- file: {path}`"),
                };
                let what =
                    format!("domain {name} cannot be created: its configuration {path} does not exist");
                return Err(Failure::new(what).help(help));
            }
            Err(error) => return Err(Failure::io(format!("reading {path}"), &error)),
        };
        match config::name(&text) {
            Some(own) if own == *name => Ok(()),
            Some(other) => Err(Failure::new(format!(
                "{path} is the configuration of the domain {other}, and not of {name}"
            ))
            .help(format!("correct `config`, or write name = \"{name}\" in it"))),
            None => Err(Failure::new(format!(
                "{path} has no `name`, without which no domain can be created from it"
            ))
            .help(format!("write name = \"{name}\" in it"))),
        }
    }
}

/// `being built (--p---, 0 MB)`: with what `xl list` shows of it.
fn row_told(now: &Now) -> String {
    match &now.row {
        Some(Row { flags, memory, id, .. }) => format!("{} (id {id}, {flags}, {memory} MB)", now.situation),
        None => now.situation.to_string(),
    }
}
