//! What systemd says of a unit: the answer of `systemctl show`, read and told.

use std::collections::HashMap;
use std::time::Duration;

/// The properties asked for, all in one call.
pub const PROPERTIES: &str = "Id,LoadState,LoadError,ActiveState,SubState,Type,RemainAfterExit,Result,\
ExecMainCode,ExecMainStatus,NRestarts,RestartUSec,UnitFileState,FragmentPath,SourcePath,DropInPaths,\
NeedDaemonReload,ActiveEnterTimestampMonotonic,StateChangeTimestampMonotonic,ExecMainStartTimestampMonotonic,InvocationID,\
StatusText,CanReload,ReloadResult,Job";

/// One unit as systemd sees it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub id: String,
    pub load: String,
    pub load_error: String,
    pub active: String,
    pub sub: String,
    pub service_type: String,
    pub remains: bool,
    pub result: String,
    /// Whether the main process exited (1), or was killed by a signal (2, 3): CLD_* of wait(2).
    pub exit_kind: u32,
    pub exit_status: i32,
    pub restarts: u32,
    pub restart_delay: String,
    pub file_state: String,
    pub fragment: String,
    pub source: String,
    pub drop_ins: Vec<String>,
    pub needs_reload: bool,
    /// Since the boot; zero: it never was active.
    pub active_since: Duration,
    pub main_since: Duration,
    /// When it last became what it is: of a service that runs, its start or the end of a reload.
    pub changed: Duration,
    pub reload_failed: bool,
    pub invocation: String,
    pub status_text: String,
    pub can_reload: bool,
    pub has_job: bool,
}

impl Shown {
    /// Reads `KEY=VALUE` lines; what an old systemd does not know is empty.
    pub fn read(text: &str) -> Shown {
        let values: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let get = |key: &str| values.get(key).copied().unwrap_or_default().trim();
        let words = |key: &str| get(key).to_owned();
        let yes = |key: &str| get(key) == "yes";
        let since = |key: &str| Duration::from_micros(get(key).parse().unwrap_or(0));
        Shown {
            id: words("Id"),
            load: words("LoadState"),
            load_error: load_error(get("LoadError")),
            active: words("ActiveState"),
            sub: words("SubState"),
            service_type: words("Type"),
            remains: yes("RemainAfterExit"),
            result: words("Result"),
            exit_kind: get("ExecMainCode").parse().unwrap_or(0),
            exit_status: get("ExecMainStatus").parse().unwrap_or(0),
            restarts: get("NRestarts").parse().unwrap_or(0),
            restart_delay: words("RestartUSec"),
            file_state: words("UnitFileState"),
            fragment: words("FragmentPath"),
            source: words("SourcePath"),
            drop_ins: get("DropInPaths").split_whitespace().map(str::to_owned).collect(),
            needs_reload: yes("NeedDaemonReload"),
            active_since: since("ActiveEnterTimestampMonotonic"),
            main_since: since("ExecMainStartTimestampMonotonic"),
            changed: since("StateChangeTimestampMonotonic"),
            reload_failed: !matches!(get("ReloadResult"), "" | "success"),
            invocation: words("InvocationID"),
            status_text: words("StatusText"),
            can_reload: yes("CanReload"),
            has_job: !matches!(get("Job"), "" | "0"),
        }
    }

    /// Its phase, as far as converge tells them apart.
    pub fn phase(&self) -> Phase {
        match (self.active.as_str(), self.sub.as_str()) {
            ("active", "exited") if self.service_type == "oneshot" && self.remains => Phase::Up,
            ("active", "exited") => Phase::Exited,
            ("active", _) => Phase::Up,
            ("activating", "auto-restart" | "auto-restart-queued") => Phase::Crashing,
            ("failed", _) => Phase::Failed,
            // A job that waits for another one has not begun yet.
            ("inactive", _) if self.has_job => Phase::Passing,
            ("inactive", _) => Phase::Down,
            // activating, deactivating, reloading, refreshing, maintenance.
            _ => Phase::Passing,
        }
    }

    /// `failed (exit-code), exit status 203/EXEC: its program could not be executed`.
    pub fn told(&self) -> String {
        if self.load == "not-found" && self.active == "inactive" {
            return "not found".to_owned();
        }
        let mut told = format!("{} ({})", self.active, self.sub);
        if self.active == "failed" {
            told = format!("failed ({})", self.result);
        }
        if self.phase() == Phase::Crashing || self.active == "failed" {
            if let Some(exit) = self.exit() {
                told = format!("{told}, {exit}");
            }
            if self.phase() == Phase::Crashing && !self.restart_delay.is_empty() {
                told = format!("{told}, tried again every {}", self.restart_delay);
            }
            if self.restarts > 0 {
                told = format!("{told}, restarted {} times", self.restarts);
            }
        }
        told
    }

    /// How its main process ended, where that is what went wrong.
    pub fn exit(&self) -> Option<String> {
        match (self.exit_kind, self.exit_status) {
            (1, 0) | (0, _) => None,
            (1, status) => Some(match exit_meaning(status) {
                Some((word, meaning)) => format!("exit status {status}/{word}: {meaning}"),
                None => format!("exit status {status}"),
            }),
            (_, signal) => Some(format!("killed by signal {signal}")),
        }
    }

    /// The lines of the detail `unit state`.
    pub fn detail(&self) -> String {
        let Shown { active, sub, result, exit_status, restarts, .. } = self;
        let mut lines = vec![format!(
            "ActiveState={active} SubState={sub} Result={result} ExecMainStatus={exit_status} NRestarts={restarts}"
        )];
        lines.extend(self.exit().map(|exit| format!("main process: {exit}")));
        if self.load != "loaded" {
            lines.push(format!("loaded: {} {}", self.load, self.load_error).trim_end().to_owned());
        }
        if !self.file_state.is_empty() {
            lines.push(format!("unit file: {} ({})", self.fragment, self.file_state));
        }
        if !self.status_text.is_empty() {
            lines.push(format!("status: {}", self.status_text));
        }
        lines.join("\n")
    }
}

/// Where a unit is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Up,
    /// `active (exited)`, of a unit that should still have a process.
    Exited,
    /// It ended, and systemd will start it again, and again.
    Crashing,
    Failed,
    Down,
    /// It ends by itself.
    Passing,
}

/// `org.freedesktop.systemd1.NoSuchUnit "Unit x.service not found."` without the first word.
fn load_error(text: &str) -> String {
    let said = text.split_once(' ').map_or("", |(_, said)| said);
    said.trim_matches('"').to_owned()
}

/// The statuses that systemd itself uses: systemd.exec(5), "Process exit codes".
fn exit_meaning(status: i32) -> Option<(&'static str, &'static str)> {
    Some(match status {
        200 => ("CHDIR", "its WorkingDirectory could not be entered"),
        203 => ("EXEC", "its program could not be executed: it does not exist, or is not executable"),
        208 => ("STDIN", "its standard input could not be set up"),
        209 => ("STDOUT", "its standard output could not be set up"),
        216 => ("GROUP", "its group, or a supplementary one, does not exist"),
        217 => ("USER", "its user does not exist"),
        218 => ("CAPABILITIES", "its capabilities could not be set"),
        226 => ("NAMESPACE", "its mount namespace could not be set up: a path it names does not exist"),
        233 => ("RUNTIME_DIRECTORY", "its RuntimeDirectory could not be made"),
        238 => ("STATE_DIRECTORY", "its StateDirectory could not be made"),
        239 => ("CACHE_DIRECTORY", "its CacheDirectory could not be made"),
        240 => ("LOGS_DIRECTORY", "its LogsDirectory could not be made"),
        _ => return None,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A running service, recorded on Debian 12 (systemd 252).
    pub const RUNNING: &str = include_str!("../../../tests/data/systemd/running.txt");
    /// supervisord after the power cut: its socket's directory is gone.
    pub const AUTO_RESTART: &str = include_str!("../../../tests/data/systemd/auto-restart.txt");
    pub const NOT_FOUND: &str = include_str!("../../../tests/data/systemd/not-found.txt");

    fn with(active: &str, sub: &str, more: &str) -> Shown {
        Shown::read(&format!("LoadState=loaded\nActiveState={active}\nSubState={sub}\n{more}"))
    }

    #[test]
    fn the_recorded_answers_are_read() {
        let running = Shown::read(RUNNING);
        assert_eq!((running.phase(), running.told().as_str()), (Phase::Up, "active (running)"));
        assert_eq!(running.file_state, "enabled");
        assert!(running.can_reload && !running.needs_reload && running.active_since > Duration::ZERO);
        let crashing = Shown::read(AUTO_RESTART);
        assert_eq!(crashing.phase(), Phase::Crashing);
        assert_eq!(crashing.told(), "activating (auto-restart), exit status 2, tried again every 50s");
        let missing = Shown::read(NOT_FOUND);
        assert_eq!((missing.phase(), missing.told().as_str()), (Phase::Down, "not found"));
        assert_eq!(missing.load_error, "Unit nope.service not found.");
    }

    #[test]
    fn active_exited_counts_for_oneshots_that_remain_and_for_no_others() {
        for (more, phase) in [
            ("Type=oneshot\nRemainAfterExit=yes", Phase::Up),
            ("Type=oneshot\nRemainAfterExit=no", Phase::Exited),
            ("Type=simple\nRemainAfterExit=yes", Phase::Exited),
            ("Type=forking\nRemainAfterExit=yes", Phase::Exited),
        ] {
            assert_eq!(with("active", "exited", more).phase(), phase, "{more}");
        }
    }

    #[test]
    fn every_state_has_its_phase() {
        for (active, sub, phase) in [
            ("active", "waiting", Phase::Up),
            ("active", "listening", Phase::Up),
            ("active", "mounted", Phase::Up),
            ("active", "elapsed", Phase::Up),
            ("activating", "start-pre", Phase::Passing),
            ("activating", "start", Phase::Passing),
            ("activating", "auto-restart-queued", Phase::Crashing),
            ("reloading", "reload", Phase::Passing),
            ("refreshing", "running", Phase::Passing),
            ("deactivating", "stop-sigterm", Phase::Passing),
            ("inactive", "dead", Phase::Down),
            ("failed", "failed", Phase::Failed),
        ] {
            assert_eq!(with(active, sub, "").phase(), phase, "{active} {sub}");
        }
        assert_eq!(with("inactive", "dead", "Job=1234").phase(), Phase::Passing);
    }

    #[test]
    fn how_it_ended_is_explained() {
        let failed = with("failed", "failed", "Result=exit-code\nExecMainCode=1\nExecMainStatus=203");
        assert_eq!(
            failed.told(),
            "failed (exit-code), exit status 203/EXEC: its program could not be executed: \
             it does not exist, or is not executable"
        );
        let killed = with("failed", "failed", "Result=signal\nExecMainCode=2\nExecMainStatus=9");
        assert_eq!(killed.told(), "failed (signal), killed by signal 9");
        // A failing ExecStartPre has no main process.
        let pre = with("failed", "failed", "Result=exit-code\nExecMainCode=0\nExecMainStatus=0");
        assert_eq!(pre.told(), "failed (exit-code)");
    }
}
