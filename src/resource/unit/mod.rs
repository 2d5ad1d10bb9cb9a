//! `unit`: a systemd unit, its state, and whether it runs with what is on the disk.

mod judge;
mod manager;
mod name;
mod show;

use serde::{Deserialize, Serialize};

use super::debt::{self, Ledger, Running};
use super::{
    Action, Change, Check, Detail, Failure, Invalid, Links, Needed, Resource, SourceSlot, Thing, own_file,
};
use crate::attribute::{AbsPath, Content, Span, Trigger};
use crate::system::System;
use crate::system::files::Access;
use crate::system::readings::Reading;
use show::Shown;

pub use manager::Scope;
pub(super) use manager::{Manager, reading};
pub use name::UnitName;
pub(super) use show::Phase;

/// Why it comes after these files.
const ITS_FILE: &str = "its unit file";
const ITS_DROP_INS: &str = "its drop-ins";

/// `state: active | inactive`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    Active,
    Inactive,
}

/// A systemd unit.
///
/// Services, and as well timers, sockets, mounts, paths and targets. Active is what really runs:
/// `active (exited)` counts for oneshots that remain after exit and for no others, and
/// `activating (auto-restart)`, which is a crash loop, never. A unit on its way (starting,
/// stopping, reloading) is waited for up to `timeout`, or `wait` where that is longer. When a
/// unit fails, its state and last log lines are shown.
///
/// A unit whose unit file or drop-ins changed gets a daemon-reload and, if it runs, a restart,
/// whoever changed them. `failed` counts as inactive. Before a start the count of failed starts
/// is reset, so that a start limit that was hit does not stand in the way.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::at_most_one(&["content", "source", "template"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("masked", true, &["content", "source", "template"])))]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// The unit's name; `.service` may be left out. An instance of a template is `name@instance`.
    #[serde(rename = "unit")]
    pub name: UnitName,

    /// The default is `active`; of a `masked` unit it is `inactive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<UnitState>,

    /// Whether it is started at boot (or by what wants it). Units without an `[Install]` section
    /// (`static`, generated ones) cannot be enabled: that is a failure which says so. Without it, that
    /// is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// Whether it is masked, so that nothing can start it. Without it, that is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<bool>,

    /// Its unit file, written to /etc/systemd/system (`scope: user`: ~/.config/systemd/user).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,

    /// A file that its unit file is a copy of: a path on the machine converge runs on, relative to
    /// the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// A template that its unit file is rendered from: a path on the machine converge runs on,
    /// relative to the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,

    /// Paths and references: the unit must run with their current content, or it is restarted. A
    /// directory counts with all that is in it. It is observed, so it also holds where a run was
    /// cut short between the change and the restart, or somebody else made the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_on: Vec<Trigger>,

    /// The same, where a reload is enough. A unit that cannot reload is restarted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload_on: Vec<Trigger>,

    /// `system`, or `user`: the manager of the user that converge runs as on the host.
    #[serde(default, skip_serializing_if = "is_system")]
    #[cfg_attr(feature = "controller", schemars(skip_serializing_if = "crate::attribute::schema::never"))]
    pub scope: Scope,

    /// How long a service must have been active without a break before it counts: one that crashes
    /// right after its start is not taken for running.
    #[serde(default = "one_second")]
    pub settle: Span,
}

fn is_system(scope: &Scope) -> bool {
    *scope == Scope::System
}

pub(crate) fn one_second() -> Span {
    Span::seconds(1)
}

/// All that a decision needs.
struct Seen {
    shown: Shown,
    /// Its own unit file, where it declares one.
    file: own_file::Difference,
    /// The unit file is on the disk, though systemd may not have noticed.
    on_disk: bool,
    restart_owed: Vec<AbsPath>,
    reload_owed: Vec<AbsPath>,
    /// Of a SysV script's unit, which systemd itself cannot tell.
    sysv_enabled: Option<bool>,
}

impl Unit {
    pub const SECRETS: &'static [&'static str] = &["content"];

    pub const EXAMPLE: &'static str = "\
- unit: converge-example
  state: active
  enabled: true
  content: |
    [Unit]
    Description=Example of converge

    [Service]
    ExecStart=/bin/sleep infinity

    [Install]
    WantedBy=multi-user.target
";

    fn wanted(&self) -> UnitState {
        let default = if self.masked == Some(true) { UnitState::Inactive } else { UnitState::Active };
        self.state.unwrap_or(default)
    }

    /// Where its own unit file lies.
    fn file(&self, system: &System) -> Result<AbsPath, Failure> {
        Ok(Manager::directory(system, self.scope)?.join(self.name.full()))
    }

    fn ledger(&self) -> Ledger {
        let kind = match self.scope {
            Scope::System => "units",
            Scope::User => "user-units",
        };
        Ledger::of(kind, self.name.full())
    }

    /// What it must run with: what is declared, and its unit file and drop-ins where they are
    /// the machine's own, and not a package's.
    fn restart_triggers(&self, system: &System, shown: &Shown) -> Result<Vec<AbsPath>, Failure> {
        let mut paths = debt::paths(&self.restart_on);
        if matches!(self.name.kind(), "service" | "timer" | "socket" | "path") {
            let own = Manager::directory(system, self.scope)?;
            let files = shown.drop_ins.iter().chain(Some(&shown.fragment));
            let files = files.filter_map(|path| path.parse::<AbsPath>().ok());
            paths.extend(files.filter(|path| path.is_below(&own)));
        }
        paths.dedup();
        Ok(paths)
    }

    fn running(shown: &Shown) -> Running {
        let begun = if shown.main_since.is_zero() { shown.active_since } else { shown.main_since };
        let reloaded = Some(shown.changed).filter(|_| !shown.reload_failed);
        Running { identity: shown.invocation.clone(), since: manager::wall_clock(begun), reloaded }
    }

    fn look(&self, system: &System, manager: &Manager) -> Result<Seen, Failure> {
        let mut shown = manager.show_shared(&self.name)?;
        let seems_disabled = matches!(shown.file_state.as_str(), "disabled" | "");
        if self.enabled == Some(true) && seems_disabled && shown.phase() == Phase::Up {
            // While others were being enabled, systemd was seen to say so of one that was enabled.
            let _turn = system.turn("systemd")?;
            shown = manager.show(&self.name)?;
        }
        shown.needs_reload |= self.has_unseen_drop_ins(system, &shown)?;
        let path = self.file(system)?;
        let file = match &self.content {
            Some(content) if shown.load != "masked" || self.masked != Some(false) => {
                own_file::compare(system, &path, content)?
            }
            // A mask is a link in the file's place: it goes first.
            Some(content) => own_file::replacing(content),
            None => own_file::Difference::default(),
        };
        let on_disk = shown.load == "not-found" && self.is_on_disk(system);
        let (mut restart_owed, mut reload_owed) = (Vec::new(), Vec::new());
        if self.wanted() == UnitState::Active && shown.phase() == Phase::Up {
            let (running, ledger) = (Unit::running(&shown), self.ledger());
            restart_owed = ledger.owed(system, &running, &self.restart_triggers(system, &shown)?)?;
            reload_owed = ledger.owed(system, &running, &debt::paths(&self.reload_on))?;
        }
        let is_script = shown.file_state == "generated" && shown.source.starts_with("/etc/init.d/");
        let sysv_enabled = match self.enabled {
            Some(_) if is_script => Some(manager.asks(&["is-enabled", "-q", "--", self.name.full()])?),
            _ => None,
        };
        Ok(Seen { shown, file, on_disk, restart_owed, reload_owed, sysv_enabled })
    }

    /// systemd does not notice a drop-in whose directory is new: NeedDaemonReload stays `no`.
    fn has_unseen_drop_ins(&self, system: &System, shown: &Shown) -> Result<bool, Failure> {
        if matches!(shown.load.as_str(), "masked" | "not-found") {
            return Ok(false);
        }
        let own = Manager::directory(system, self.scope)?;
        let names = [Some(self.name.full().to_owned()), self.name.template()];
        for directory in names.iter().flatten().map(|name| own.join(&format!("{name}.d"))) {
            let there = std::fs::read_dir(system.locate(&directory)).into_iter().flatten().flatten();
            let there = there.filter_map(|entry| entry.file_name().into_string().ok());
            let mut there = there.filter(|name| name.ends_with(".conf") && !name.starts_with('.'));
            if there.any(|name| !shown.drop_ins.contains(&directory.join(&name).to_string())) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_on_disk(&self, system: &System) -> bool {
        let places = match self.scope {
            Scope::System => {
                "/etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system \
                              /usr/lib/systemd/system /lib/systemd/system"
            }
            Scope::User => "/etc/systemd/user /usr/local/lib/systemd/user /usr/lib/systemd/user",
        };
        let names = [Some(self.name.full().to_owned()), self.name.template()];
        let own = Manager::directory(system, self.scope).ok();
        let places = places.split_whitespace().filter_map(|place| place.parse().ok()).chain(own);
        places.into_iter().any(|place: AbsPath| {
            names.iter().flatten().any(|name| system.locate(&place.join(name)).is_file())
        })
    }
}

impl Resource for Unit {
    fn name(&self) -> String {
        self.name.short().to_owned()
    }

    fn links(&self) -> Links {
        let rests = self.wanted() == UnitState::Inactive && self.enabled != Some(true);
        let mut links = Links::default().yielding(rests && !self.content_declared());
        if self.scope == Scope::System {
            links = links.provides(Thing::Unit(self.name.full().to_owned()));
            let own = |name: &str| format!("/etc/systemd/system/{name}").parse::<AbsPath>().map(Thing::Path);
            let files = [
                (Some(self.name.full().to_owned()), ITS_FILE),
                // An instance with a file of its own has nothing to do with its template's.
                (self.name.template().filter(|_| !self.content_declared()), ITS_FILE),
                (Some(format!("{}.d", self.name.full())), ITS_DROP_INS),
            ];
            for (name, why) in files {
                match (name.map(|name| own(&name)), why) {
                    (Some(Ok(file)), ITS_FILE) if self.content_declared() => {
                        links = links.provides(file);
                    }
                    (Some(Ok(file)), why) => links = links.stands_on(file, why),
                    _ => {}
                }
            }
        }
        for path in debt::paths(&self.restart_on) {
            links = links.stands_on(Thing::Path(path), "it restarts when that changes");
        }
        for path in debt::paths(&self.reload_on) {
            links = links.stands_on(Thing::Path(path), "it reloads when that changes");
        }
        links.stands_on(Thing::Package(self.name.stem().to_owned()), "the package of its name")
    }

    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        let unit = self.name.full();
        if self.wanted() != UnitState::Active {
            return Vec::new();
        }
        match self.enabled {
            Some(true) => Vec::new(),
            None => vec![Invalid::new(
                "unit",
                format!("{unit} is to be active, and nothing says that it starts at boot"),
                "add `enabled: true`",
            )],
            Some(false) => vec![Invalid::new(
                "enabled",
                format!("{unit} is to be active, and will not be after a reboot"),
                "write `enabled: true`, unless something else starts it",
            )],
        }
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid: Vec<Invalid> = own_file::exclude_each_other(&[
            ("content", self.content.is_some()),
            ("source", self.source.is_some()),
            ("template", self.template.is_some()),
        ])
        .into_iter()
        .collect();
        if self.masked == Some(true) {
            if self.state == Some(UnitState::Active) {
                invalid.push(Invalid::new(
                    "masked",
                    "a masked unit cannot be active: nothing can start it",
                    "leave `state` out (it is `inactive` then), or `masked`",
                ));
            }
            if self.enabled == Some(true) {
                invalid.push(Invalid::new(
                    "enabled",
                    "a masked unit cannot be enabled: nothing can start it",
                    "leave one of them out",
                ));
            }
            if self.content_declared() {
                invalid.push(Invalid::new(
                    "masked",
                    "masking puts a link where its unit file would lie",
                    "leave its unit file out, or `masked`",
                ));
            }
        }
        invalid
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        match self.scope {
            Scope::System if self.content_declared() => {
                format!("/etc/systemd/system/{}", self.name.full()).parse().into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn sources(&mut self) -> Vec<SourceSlot<'_>> {
        own_file::sources(&mut self.source, &mut self.template, &mut self.content)
    }

    fn contents(&mut self) -> Vec<&mut Content> {
        self.content.iter_mut().collect()
    }

    fn triggers(&mut self) -> Vec<(&'static str, &mut Vec<Trigger>)> {
        vec![("restart_on", &mut self.restart_on), ("reload_on", &mut self.reload_on)]
    }

    fn follows(&self, attribute: &str, cause: &str) -> Option<(Action, Change)> {
        let change = match (attribute, self.wanted()) {
            ("restart_on", UnitState::Active) => "restart",
            (ITS_FILE | ITS_DROP_INS, UnitState::Active) => "restart",
            ("reload_on", UnitState::Active) => "reload",
            _ => return None,
        };
        Some((Action::Restart, debt::follows(change, cause)))
    }

    /// Its unit file; how it runs is no content.
    fn changes_content(&self, needed: &Needed) -> Option<bool> {
        Some(needed.has("content"))
    }

    fn reads(&self) -> Option<Reading> {
        Some(reading(&self.name, self.scope))
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let manager = Manager::of(system, self.scope)?;
        self.judge(&self.look(system, &manager)?)
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let manager = Manager::of(system, self.scope)?;
        let before = manager.show(&self.name)?;
        let to = |attribute: &str| needed.change(attribute).and_then(|change: &Change| change.to.as_deref());
        if to("masked") == Some("no") {
            manager.call(&["unmask", "--", self.name.full()], format!("unmasking {}", self.name))?;
        }
        if let (true, Some(content)) = (needed.has("content"), &self.content) {
            let path = self.file(system)?;
            if let (Scope::User, Some(directory)) = (self.scope, path.parent()) {
                // ~/.config/systemd/user is the user's, and is made as the user's tools make it.
                system.ensure_directory(&directory, Access::default())?;
            }
            own_file::put(system, &path, content)?;
        }
        let is_stale = before.needs_reload
            || before.load != "loaded"
            || needed.has("loaded")
            || self.has_unseen_drop_ins(system, &before)?;
        if needed.has("content") || needed.has("masked") || is_stale {
            let _turn = system.turn("systemd")?;
            manager.call(&["daemon-reload"], "daemon-reload")?;
        }
        if let Some(enabled) = to("enabled") {
            let _turn = system.turn("systemd")?;
            self.enable(&manager, enabled == "yes")?;
        }
        self.bring(system, &manager, needed)?;
        if to("masked") == Some("yes") {
            manager.call(&["mask", "--", self.name.full()], format!("masking {}", self.name))?;
        }
        Ok(())
    }

    fn evidence(&self, system: &System) -> Vec<Detail> {
        let Ok(manager) = Manager::of(system, self.scope) else { return Vec::new() };
        let Ok(shown) = manager.show(&self.name) else { return Vec::new() };
        let state = Detail { title: "unit state".to_owned(), text: shown.detail() };
        if shown.load == "not-found" { vec![state] } else { vec![state, manager.log(&self.name)] }
    }
}

impl Unit {
    fn content_declared(&self) -> bool {
        self.content.is_some() || self.source.is_some() || self.template.is_some()
    }

    fn enable(&self, manager: &Manager, enabled: bool) -> Result<(), Failure> {
        let (verb, tried) = if enabled { ("enable", "enabling") } else { ("disable", "disabling") };
        let output = manager.call(&[verb, "--", self.name.full()], format!("{tried} {}", self.name))?;
        if enabled && output.stderr.contains("no installation config") {
            return Err(judge::cannot_be_enabled(&self.name, "has no [Install] section"));
        }
        if !enabled && manager.show(&self.name)?.file_state == "enabled-runtime" {
            manager.call(&[verb, "--runtime", "--", self.name.full()], format!("{tried} {}", self.name))?;
        }
        Ok(())
    }

    /// Starts, restarts, reloads or stops it, and notes what it was started with.
    fn bring(&self, system: &System, manager: &Manager, needed: &Needed) -> Result<(), Failure> {
        let [state, restart, reload] = ["state", "restart", "reload"].map(|change| needed.has(change));
        if !(state || restart || reload) {
            return Ok(());
        }
        let now = manager.show(&self.name)?;
        if self.wanted() == UnitState::Inactive {
            return manager.job("stop", &self.name);
        }
        let reload_paths = debt::paths(&self.reload_on);
        // From before the start: what changes while it starts is owed.
        let mut contents = debt::fingerprints(system, &reload_paths)?;
        if state || restart {
            contents.extend(debt::fingerprints(system, &self.restart_triggers(system, &now)?)?);
            if matches!(now.phase(), Phase::Failed | Phase::Crashing) {
                // Else a start limit that was hit, or nearly so, would refuse this start.
                manager
                    .call(&["reset-failed", "--", self.name.full()], format!("resetting {}", self.name))?;
            }
            let begins = matches!(now.phase(), Phase::Failed | Phase::Down);
            manager.job(if begins { "start" } else { "restart" }, &self.name)?;
        } else {
            let running = Unit::running(&now);
            self.ledger().intend(system, &running, contents.clone())?;
            if let Err(failure) = manager.job("reload", &self.name) {
                self.ledger().write(system, &running, debt::Fingerprints::new())?;
                return Err(failure);
            }
        }
        // Whether it runs now is for the check to say, and with a `wait` for the next ones.
        let after = manager.show(&self.name)?;
        self.ledger().write(system, &Unit::running(&after), contents)
    }
}
