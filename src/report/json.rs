//! `--format json`: one event a line. docs/events.md documents it, and it is stable.

use std::io::Write;

use serde_json::{Value, json};

use super::Reporter;
use crate::event::{Event, HostReport, HostStatus, ResourceReport, Summary};
use crate::resource::Change;

pub struct Json<W> {
    to: W,
}

impl<W: Write> Json<W> {
    pub fn new(to: W) -> Self {
        Json { to }
    }

    fn line(&mut self, value: &Value) {
        let _ = writeln!(self.to, "{value}");
        let _ = self.to.flush();
    }
}

impl<W: Write> Reporter for Json<W> {
    fn on(&mut self, event: &Event) {
        match event {
            Event::Host(report) => {
                if let Some(value) = host(report) {
                    self.line(&value);
                }
            }
            Event::HostWaits { host, reason, left } => {
                let left = left.as_secs_f64();
                self.line(&json!({"event": "waiting", "host": host, "reason": reason, "left": left}));
            }
            Event::Waits { host, id, reason, left } => {
                let left = left.as_secs_f64();
                self.line(
                    &json!({"event": "waiting", "host": host, "id": id, "reason": reason, "left": left}),
                );
            }
            Event::Resource(report) => self.line(&resource(report)),
            Event::Interrupted { signal } => self.line(&json!({"event": "interrupted", "signal": signal})),
            Event::Summary(totals) => self.line(&summary(totals)),
            Event::Works { .. } | Event::Tick => {}
        }
    }
}

fn host(report: &HostReport) -> Option<Value> {
    let status = match report.status {
        HostStatus::Reached => "reached",
        HostStatus::Local => "local",
        HostStatus::Unreachable => "unreachable",
        // Its resources say that they are skipped, or not known, and why.
        HostStatus::Skipped | HostStatus::Unknown => return None,
    };
    Some(json!({
        "event": "host",
        "host": report.host,
        "status": status,
        "reason": report.reason,
        "help": report.help,
        "details": report.details,
    }))
}

fn resource(report: &ResourceReport) -> Value {
    json!({
        "event": "resource",
        "id": report.id,
        "status": report.status.word(),
        "action": report.action,
        "changes": report.changes.iter().map(change).collect::<Vec<_>>(),
        "reason": report.reason,
        "help": report.help,
        "details": report.details,
        "location": report.location,
        "because_of": report.because_of,
        "seconds": rounded(report.seconds),
    })
}

fn change(change: &Change) -> Value {
    let mut value = json!({"attribute": change.attribute, "from": change.from, "to": change.to});
    if let Some(diff) = super::human::diff_of(change) {
        value["diff"] = diff.into();
    }
    value
}

fn summary(summary: &Summary) -> Value {
    json!({
        "event": "summary",
        "ok": summary.ok,
        "changed": summary.changed,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "unknown": summary.unknown,
        "unreachable": summary.unreachable,
        "seconds": rounded(summary.seconds),
    })
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
