//! The report for people: what changed, what failed and why, what was skipped because of it, and
//! one line to end with. On a terminal, live lines show what is going on meanwhile.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use similar::{ChangeTag, TextDiff};

use super::live::Live;
use super::style::{Style, printable};
use super::{Reporter, left, seconds};
use crate::event::{Event, HostReport, HostStatus, ResourceReport, Status, Summary};
use crate::resource::{Action, Change, Detail};

/// Longer differences are cut, and say so.
const DIFF_LINES: usize = 120;

/// What is over sooner is not worth a line of its own.
const WORTH_A_LINE: Duration = Duration::from_millis(1500);

/// So many skipped resources are named; the rest is counted.
const NAMED: usize = 8;

pub struct Human<W: Write> {
    to: W,
    style: Style,
    live: Option<Live>,
    shows_diff: bool,
    is_quiet: bool,
    is_plan: bool,
    /// Skipped resources, by what they miss, in the order in which that came up.
    skipped: Vec<(String, Vec<String>)>,
    /// In a plan: what is not known, by what it waits for.
    unknown: Vec<(String, Vec<String>)>,
    unmet: Vec<String>,
    /// What is waited for: since when, and what was said of it.
    waits: HashMap<String, (Instant, Option<String>)>,
}

pub struct HumanOptions {
    pub style: Style,
    pub is_live: bool,
    pub shows_diff: bool,
    pub is_quiet: bool,
    pub is_plan: bool,
}

impl<W: Write> Human<W> {
    pub fn new(to: W, options: HumanOptions) -> Self {
        Human {
            to,
            style: options.style,
            live: (options.is_live && !options.is_quiet).then(|| Live::new(options.style)),
            shows_diff: options.shows_diff,
            is_quiet: options.is_quiet,
            is_plan: options.is_plan,
            skipped: Vec::new(),
            unknown: Vec::new(),
            unmet: Vec::new(),
            waits: HashMap::new(),
        }
    }

    /// A line that stays.
    fn line(&mut self, text: &str) {
        if let Some(live) = &mut self.live {
            live.clear(&mut self.to);
        }
        let _ = writeln!(self.to, "{text}");
    }

    fn indented(&mut self, title: &str, text: &str) {
        self.line(&format!("    {}", self.style.dim(&format!("{title}:"))));
        for line in printable(text).trim_end().lines() {
            self.line(&format!("    {} {line}", self.style.dim("│")));
        }
    }

    fn live(&mut self, host: &str, text: Option<String>) {
        if let Some(live) = &mut self.live {
            match text {
                Some(text) => live.set(host, text),
                None => live.done(host),
            }
            live.draw(&mut self.to, false);
        }
    }

    /// Without live lines, what is waited for is said once it takes long enough to wonder, and
    /// again when another reason for it is seen (and not only another number in it).
    fn waiting(&mut self, what: &str, reason: &str, more: Duration) {
        let without_numbers: String = reason.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
        let (since, said) = self.waits.entry(what.to_owned()).or_insert_with(|| (Instant::now(), None));
        let is_news = said.as_ref() != Some(&without_numbers);
        if self.live.is_some() || self.is_quiet || !is_news || since.elapsed() < WORTH_A_LINE {
            return;
        }
        *said = Some(without_numbers);
        let text = format!("… {what}: {} (waiting up to {} more)", printable(reason), left(more));
        self.line(&self.style.dim(&text));
    }

    fn host(&mut self, report: &HostReport) {
        self.live(&report.host, None);
        if report.status != HostStatus::Unreachable {
            return;
        }
        let reason = report.reason.as_deref().unwrap_or("it cannot be reached");
        let line =
            format!("{} host {}: {}", self.style.bad("✗"), self.style.bold(&report.host), printable(reason));
        self.line(&line);
        self.rest(report.help.as_deref(), &report.details);
    }

    fn rest(&mut self, help: Option<&str>, details: &[Detail]) {
        if let Some(help) = help {
            self.line(&format!("    {} {}", self.style.good("help:"), printable(help)));
        }
        for detail in details {
            self.indented(&detail.title, &detail.text);
        }
    }

    fn resource(&mut self, report: &ResourceReport) {
        self.live(&report.host, None);
        match report.status {
            Status::Ok => {}
            Status::Changed => self.changed(report),
            Status::Failed => self.failed(report),
            Status::Skipped => match (&report.because_of, &report.reason) {
                (Some(root), _) => group(&mut self.skipped, root, &report.id),
                (None, Some(reason)) if reason.starts_with("when: ") => {}
                (None, reason) => {
                    let reason = reason.clone().unwrap_or_default();
                    self.unmet.push(format!("{}: {reason}", report.id));
                }
            },
            Status::Unknown if report.would_wait => {
                let reason = report.reason.as_deref().unwrap_or_default();
                let line =
                    format!("{} {}  would wait: {}", self.style.unknown("…"), report.id, printable(reason));
                self.line(&line);
            }
            Status::Unknown => {
                let reason = report.reason.clone().unwrap_or_default();
                group(&mut self.unknown, &reason, &report.id);
            }
        }
    }

    fn changed(&mut self, report: &ResourceReport) {
        let sign = self.sign(report.action);
        let took = if self.is_plan { String::new() } else { format!("  ({})", seconds(report.seconds)) };
        let line =
            format!("{sign} {}  {}{}", report.id, printable(&summary_of(report)), self.style.dim(&took));
        self.line(&line);
        self.diffs(&report.changes);
    }

    fn diffs(&mut self, changes: &[Change]) {
        if !self.shows_diff {
            return;
        }
        for text in changes.iter().filter_map(diff_of) {
            for (count, line) in text.lines().enumerate() {
                if count == DIFF_LINES {
                    let more = text.lines().count() - DIFF_LINES;
                    self.line(&format!("    ({more} more lines; `--no-diff` leaves differences out)"));
                    break;
                }
                let line = printable(line);
                let line = match line.chars().next() {
                    Some('+') => self.style.good(&line),
                    Some('-') => self.style.bad(&line),
                    _ => self.style.dim(&line),
                };
                self.line(&format!("    {line}"));
            }
        }
    }

    fn sign(&self, action: Option<Action>) -> String {
        match action {
            Some(Action::Create) => self.style.good("+"),
            Some(Action::Remove) => self.style.bad("-"),
            Some(Action::Restart) => self.style.changed("↻"),
            Some(Action::Change) | None => self.style.changed("~"),
        }
    }

    fn failed(&mut self, report: &ResourceReport) {
        let (cross, id) = (self.style.bad("✗"), self.style.bold(&report.id));
        let place = self.style.dim(&report.location);
        self.line(&format!("{cross} {id}  {place}"));
        let reason = report.reason.as_deref().unwrap_or("it failed");
        self.line(&format!("    {}", printable(reason)));
        if !report.changes.is_empty() {
            let tried = crate::resource::told(&report.changes);
            self.line(&format!("    tried: {}", printable(&tried)));
        }
        self.rest(report.help.as_deref(), &report.details);
    }

    fn summary(&mut self, summary: &Summary) {
        if let Some(live) = &mut self.live {
            live.clear(&mut self.to);
        }
        let unknown = std::mem::take(&mut self.unknown);
        for (reason, ids) in &unknown {
            for id in ids {
                let line = format!("{} {id}  {}", self.style.unknown("?"), printable(reason));
                self.line(&line);
            }
        }
        let skipped = std::mem::take(&mut self.skipped);
        for (root, ids) in &skipped {
            let because = match root.strip_prefix("host:") {
                Some(host) => format!("host {host} is out of reach"),
                None => format!("{root} does not hold"),
            };
            let line = format!("{} skipped, since {because}: {}", self.style.changed("-"), named(ids));
            self.line(&line);
        }
        let unmet = std::mem::take(&mut self.unmet);
        let interrupted: Vec<_> = unmet.iter().filter(|text| text.ends_with("was interrupted")).collect();
        if !interrupted.is_empty() {
            let ids: Vec<String> = interrupted
                .iter()
                .filter_map(|text| text.split_once(": the run").map(|(id, _)| id.to_owned()))
                .collect();
            self.line(&format!(
                "{} not done, since the run was interrupted: {}",
                self.style.changed("-"),
                named(&ids)
            ));
        }
        for text in unmet.iter().filter(|text| !text.ends_with("was interrupted")) {
            self.line(&format!("{} {}", self.style.changed("-"), printable(text)));
        }
        let nothing =
            summary.changed + summary.failed + summary.unreachable + summary.unmet + summary.unknown;
        if self.is_quiet && nothing == 0 && summary.interrupted.is_none() {
            return;
        }
        self.line(&closing(summary, self.style));
    }
}

impl<W: Write> Reporter for Human<W> {
    fn on(&mut self, event: &Event) {
        match event {
            Event::HostWaits { host, reason, left: more } => {
                self.waiting(&format!("host {host}"), reason, *more);
                self.live(host, Some(format!("{reason}, trying for {} more", left(*more))));
            }
            Event::Host(report) => self.host(report),
            Event::Works { host, id, applying } => {
                let what = id.split_once('/').map_or(id.as_str(), |(_, rest)| rest);
                let verb = if *applying { "applying" } else { "checking" };
                // A poll of something waited for keeps the line that says so.
                if *applying || !self.waits.contains_key(id) {
                    self.live(host, Some(format!("{verb} {what}")));
                }
            }
            Event::Waits { host, id, reason, left: more } => {
                self.waiting(id, reason, *more);
                let what = id.split_once('/').map_or(id.as_str(), |(_, rest)| rest);
                self.live(host, Some(format!("waiting for {what}: {reason}, {} left", left(*more))));
            }
            Event::Resource(report) => self.resource(report),
            Event::Interrupted { signal } => {
                self.line(&format!(
                    "{signal}: what is under way is finished, nothing new is begun; once more stops at once"
                ));
            }
            Event::Tick => {
                if let Some(live) = &mut self.live {
                    live.draw(&mut self.to, true);
                }
            }
            Event::Summary(summary) => self.summary(summary),
        }
        let _ = self.to.flush();
    }
}

fn group(groups: &mut Vec<(String, Vec<String>)>, key: &str, id: &str) {
    match groups.iter_mut().find(|(there, _)| there == key) {
        Some((_, ids)) => ids.push(id.to_owned()),
        None => groups.push((key.to_owned(), vec![id.to_owned()])),
    }
}

fn named(ids: &[String]) -> String {
    let mut text = ids.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if ids.len() > NAMED {
        text.push_str(&format!(" and {} more", ids.len() - NAMED));
    }
    text
}

/// What changes, without what the sign already says.
fn summary_of(report: &ResourceReport) -> String {
    let creates = report.action == Some(Action::Create);
    let shown: Vec<Change> = report
        .changes
        .iter()
        .filter(|change| !(creates && change.attribute == "state" && change.to.as_deref() == Some("present")))
        .map(|change| {
            let mut change = change.clone();
            if change.attribute == "content" && change.old_text.is_some() {
                // The difference below says it better.
                (change.from, change.to) = (None, None);
            }
            change
        })
        .collect();
    if shown.is_empty() { "created".to_owned() } else { crate::resource::told(&shown) }
}

/// The unified difference of a content change, without its file header.
pub fn diff_of(change: &Change) -> Option<String> {
    let (old, new) = (change.old_text.as_deref()?, change.new_text.as_deref()?);
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    for hunk in diff.unified_diff().context_radius(2).iter_hunks() {
        text.push_str(&format!("{}\n", hunk.header()));
        for line in hunk.iter_changes() {
            let sign = match line.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            text.push(sign);
            text.push_str(line.value().trim_end_matches('\n'));
            if line.missing_newline() {
                text.push_str(" (no newline at the end)");
            }
            text.push('\n');
        }
    }
    Some(text)
}

/// The last line: what a person can act on.
fn closing(summary: &Summary, style: Style) -> String {
    let changed = if summary.is_plan { "to change" } else { "changed" };
    let unknown = "not known yet";
    let parts = [
        (summary.failed, "failed"),
        (
            summary.unreachable,
            if summary.unreachable == 1 { "host unreachable" } else { "hosts unreachable" },
        ),
        (summary.changed, changed),
        (summary.unknown, unknown),
        (summary.skipped, "skipped"),
        (summary.ok, "ok"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let parts = if parts.is_empty() { "nothing is declared".to_owned() } else { parts.join(", ") };
    let took = seconds(summary.seconds);
    let (verdict, is_good) = match summary {
        Summary { interrupted: Some(signal), .. } => (format!("Interrupted ({signal})"), false),
        s if s.locked > 0 => ("Not run: locked".to_owned(), false),
        s if s.failed + s.unreachable + s.unmet > 0 => {
            (if s.is_plan { "This would not converge" } else { "Not converged" }.to_owned(), false)
        }
        s if s.is_plan && s.changed + s.unknown > 0 => ("Changes are needed".to_owned(), true),
        s if s.is_plan => ("Nothing to change".to_owned(), true),
        _ => ("Converged".to_owned(), true),
    };
    let verdict = if is_good { style.good(&verdict) } else { style.bad(&verdict) };
    format!("{verdict}: {parts} ({took}).")
}
