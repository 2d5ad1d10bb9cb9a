//! `converge why SPEC RESOURCE`

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use super::running::{self, Connection};
use super::{SpecArgs, refuse};
use crate::event::{Event, HostStatus, ResourceReport, Status};
use crate::graph::{Reason, Vertex};
use crate::resource::told;
use crate::run::{Options, Purpose, Selection, Selector};
use crate::spec::Spec;

/// Explain one resource: its state, its changes, what it waits for, and who waits for it
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArgs,

    /// type:name or host/type:name.
    #[arg(value_name = "RESOURCE")]
    resource: String,

    #[command(flatten)]
    connection: Connection,
}

pub fn run(args: &Args) -> u8 {
    let spec = match args.spec.load() {
        Ok(spec) => spec,
        Err(code) => return code,
    };
    let matching = Selector::from(args.resource.as_str()).items(&spec);
    let mut ids: Vec<String> = matching.iter().map(|item| spec.id(*item)).collect();
    ids.dedup();
    // Variants of one resource share its name: a host has one of them.
    let [id] = ids.as_slice() else {
        return refuse(match ids.as_slice() {
            [] => no_match(&spec, &args.resource),
            _ => format!("{} is one of: {}", args.resource, ids.join(", ")),
        });
    };
    let mut seen = Seen::default();
    let selection = Selection::with_dependencies(&spec, &matching);
    let holder = running::holder(&spec);
    let options =
        Options { purpose: Purpose::Plan, parallel: 32, wait_lock: Duration::ZERO, holder, plan: None };
    let summary =
        match running::run_with(&spec, &selection, &options, &args.connection, &mut |event| seen.take(event))
        {
            Ok(summary) => summary,
            Err(code) => return code,
        };
    let report = seen.resources.get(id);
    let is_it = |item: &usize| report.is_some_and(|report| report.location == spec.items[*item].location);
    let item = matching.iter().copied().find(is_it).unwrap_or(matching[0]);
    let text = explain(&spec, item, &seen);
    let _ = std::io::stdout().write_all(text.as_bytes());
    match report.map(|report| report.status) {
        Some(Status::Ok) => 0,
        Some(Status::Changed | Status::Unknown) => 2,
        Some(Status::Skipped) if summary.exit_code(false) == 0 => 0,
        _ => 1,
    }
}

fn no_match(spec: &Spec, wanted: &str) -> String {
    let ids = (0..spec.items.len()).map(|item| spec.id(item));
    let nearest = ids.max_by(|a, b| strsim::jaro(a, wanted).total_cmp(&strsim::jaro(b, wanted)));
    let hint = nearest.map(|id| format!("; the nearest is {id}")).unwrap_or_default();
    format!("{} declares no {wanted}{hint}", spec.path.display())
}

/// What a plan found, by id.
#[derive(Default)]
struct Seen {
    resources: HashMap<String, ResourceReport>,
    hosts: HashMap<String, String>,
}

impl Seen {
    fn take(&mut self, event: Event) {
        match event {
            // Of two variants, the one that is there counts.
            Event::Resource(report)
                if report.status == Status::Skipped && self.resources.contains_key(&report.id) => {}
            Event::Resource(report) => {
                self.resources.insert(report.id.clone(), report);
            }
            Event::Host(report) => {
                let status = match report.status {
                    HostStatus::Reached => "reached",
                    HostStatus::Local => "this machine",
                    HostStatus::Unreachable => "out of reach",
                    HostStatus::Skipped => "not tried",
                    HostStatus::Unknown => "",
                };
                let reason = report.reason.unwrap_or_default();
                let told = [status, &reason].into_iter().filter(|part| !part.is_empty());
                self.hosts.insert(report.host, told.collect::<Vec<_>>().join(": "));
            }
            _ => {}
        }
    }

    fn standing(&self, spec: &Spec, vertex: Vertex) -> (String, String) {
        match vertex {
            Vertex::Host(host) => {
                let name = &spec.hosts[host].name;
                (format!("host:{name}"), self.hosts.get(name).cloned().unwrap_or_default())
            }
            Vertex::Item(item) => {
                let id = spec.id(item);
                let standing = self.resources.get(&id).map(standing).unwrap_or_default();
                (id, standing)
            }
        }
    }
}

fn standing(report: &ResourceReport) -> String {
    let reason = report.reason.clone().unwrap_or_default();
    match report.status {
        Status::Ok => "it holds".to_owned(),
        Status::Changed => format!("would change: {}", told(&report.changes)),
        Status::Failed => format!("would fail: {reason}"),
        Status::Skipped => format!("skipped: {reason}"),
        Status::Unknown if report.would_wait => format!("would wait: {reason}"),
        Status::Unknown => reason,
    }
}

fn explain(spec: &Spec, item: usize, seen: &Seen) -> String {
    let vertex = Vertex::Item(item);
    let (id, state) = seen.standing(spec, vertex);
    let mut text = format!("{id}  ({})\n  {state}\n", spec.items[item].location);
    if let Some(report) = seen.resources.get(&id) {
        if let Some(help) = &report.help {
            text.push_str(&format!("  help: {help}\n"));
        }
        for detail in &report.details {
            text.push_str(&format!("  {}:\n", detail.title));
            for line in detail.text.lines() {
                text.push_str(&format!("  │ {line}\n"));
            }
        }
    }
    text.push_str("\nIt comes after\n");
    let mut before: Vec<(Vertex, Vec<&Reason>)> = Vec::new();
    for (other, reason) in spec.graph.dependencies(vertex) {
        match before.iter_mut().find(|(there, _)| *there == other) {
            Some((_, reasons)) => reasons.push(reason),
            None => before.push((other, vec![reason])),
        }
    }
    for (other, reasons) in before {
        let (id, state) = seen.standing(spec, other);
        text.push_str(&format!("  {id}  ({})\n", why(&reasons)));
        if !state.is_empty() {
            text.push_str(&format!("    {state}\n"));
        }
    }
    let mut after: Vec<(Vertex, &Reason)> = spec.graph.dependents(vertex).collect();
    after.dedup_by_key(|(other, _)| *other);
    if after.is_empty() {
        text.push_str("\nNothing waits for it.\n");
    } else {
        text.push_str("\nand before\n");
        for (other, reason) in after {
            let (id, _) = seen.standing(spec, other);
            text.push_str(&format!("  {id}  ({reason})\n"));
        }
    }
    text
}

fn why(reasons: &[&Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
