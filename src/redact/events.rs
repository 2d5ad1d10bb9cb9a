//! Every text of an event.

use super::hide_in;
use crate::event::{Event, HostReport, ResourceReport};
use crate::resource::{Change, Detail};

/// The event as it may leave the process.
pub fn event(mut event: Event) -> Event {
    match &mut event {
        Event::HostWaits { host, reason, left: _ } => {
            hide_in(host);
            hide_in(reason);
        }
        Event::Host(report) => host_report(report),
        Event::Works { host, id, applying: _ } => {
            hide_in(host);
            hide_in(id);
        }
        Event::Waits { host, id, reason, left: _ } => {
            hide_in(host);
            hide_in(id);
            hide_in(reason);
        }
        Event::Resource(report) => resource_report(report),
        Event::Interrupted { signal: _ } | Event::Tick | Event::Summary(_) => {}
    }
    event
}

// Whoever adds a field has to say here what becomes of it.

fn host_report(report: &mut HostReport) {
    let HostReport { host, status: _, reason, help, details, location } = report;
    hide_in(host);
    [reason, help, location].into_iter().flatten().for_each(hide_in);
    details.iter_mut().for_each(detail);
}

fn resource_report(report: &mut ResourceReport) {
    let ResourceReport {
        host,
        id,
        location,
        status: _,
        action: _,
        changes,
        reason,
        help,
        details,
        would_wait: _,
        is_predicted: _,
        because_of,
        seconds: _,
    } = report;
    [host, id, location].into_iter().for_each(hide_in);
    [reason, help, because_of].into_iter().flatten().for_each(hide_in);
    changes.iter_mut().for_each(change);
    details.iter_mut().for_each(detail);
}

fn detail(detail: &mut Detail) {
    let Detail { title, text } = detail;
    hide_in(title);
    hide_in(text);
}

/// A change as it may leave the process.
pub fn change(change: &mut Change) {
    let Change { attribute, from, to, old_text, new_text, owed: _ } = change;
    hide_in(attribute);
    [from, to, old_text, new_text].into_iter().flatten().for_each(hide_in);
}
