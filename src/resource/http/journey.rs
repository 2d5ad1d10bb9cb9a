//! A journey: its steps one after the other, with the cookies and what was captured so far.

use std::sync::Arc;

use super::captured::Captured;
use super::client::Way;
use super::cookies::Jar;
use super::exchange::{Exchange, exchange};
use super::step::{Step, first_host};
use super::{Address, Http};
use crate::resource::{Check, Detail, Failure, Waiting};
use crate::system::System;

/// Takes all steps, or stops at the first that does not come out as declared.
pub fn run(http: &Http, system: &System) -> Result<Check, Failure> {
    let (mut jar, mut captured) = (Jar::default(), Captured::default());
    // Of certificates, with the step that saw each first.
    let mut warned: Vec<(String, String)> = Vec::new();
    for (number, step) in http.steps.iter().enumerate() {
        let place = format!("step {} of {}", number + 1, http.steps.len());
        let taken = Taken { http, system, step, captured: &captured };
        match taken.take(&mut jar, &place)? {
            Outcome::Right { values, complaints } => {
                values.into_iter().for_each(|(name, value)| captured.put(&name, value));
                for complaint in complaints {
                    if !warned.iter().any(|(_, known)| *known == complaint) {
                        warned.push((format!("{place} ({})", step.told()), complaint));
                    }
                }
            }
            Outcome::Wrong(waiting) => return Ok(Check::Waits(hidden(waiting, &captured))),
        }
    }
    match warned.is_empty() {
        true => Ok(Check::Holds),
        false => {
            let warned: Vec<String> =
                warned.into_iter().map(|(place, complaint)| format!("{place}: {complaint}")).collect();
            Ok(Check::Waits(Waiting::new(warned.join("; "))))
        }
    }
}

enum Outcome {
    Right { values: Vec<(String, String)>, complaints: Vec<String> },
    Wrong(Waiting),
}

/// One step, when its turn has come.
struct Taken<'a> {
    http: &'a Http,
    system: &'a System,
    step: &'a Step,
    captured: &'a Captured,
}

impl Taken<'_> {
    fn take(&self, jar: &mut Jar, place: &str) -> Result<Outcome, Failure> {
        let told = self.step.told();
        // With what was captured it may be no URL any more, or no header.
        let request = match self.step.request(&self.http.headers, self.captured) {
            Ok(request) => request,
            Err(invalid) => {
                let reason = format!("{place} ({told}): with what was captured, {}", invalid.what);
                return Ok(Outcome::Wrong(Waiting::new(self.captured.hide(&reason))));
            }
        };
        let trust = Arc::new(self.http.trust(self.system, request.uri(), self.follows())?);
        let instead = self
            .http
            .resolve
            .and_then(|Address { ip, port }| first_host(&self.http.steps).map(|host| (host, ip, port)));
        let timeout = self.http.timeout.get().min(self.system.time_left());
        let way = Way { timeout, instead, trust: Arc::clone(&trust) };
        let Exchange { answer, method, uri, cookies, hops, .. } =
            exchange(request, &way, self.follows(), jar)?;
        let place = match hops {
            0 => format!("{place} ({told})"),
            _ => format!("{place} ({told}, redirected to {uri})"),
        };
        let mut sent = vec![format!("{method} {uri}")];
        if hops == 0 && !self.step.form.is_empty() {
            sent.push(format!("form: {}", self.step.form.keys().cloned().collect::<Vec<_>>().join(", ")));
        }
        if !cookies.names.is_empty() {
            sent.push(format!("cookies: {}", cookies.names.join(", ")));
        }
        if !cookies.withheld.is_empty() {
            sent.push(format!(
                "not sent over http: {} (marked Secure by the server)",
                cookies.withheld.join(", ")
            ));
        }
        let request = Detail { title: "request".to_owned(), text: sent.join("\n") };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(trouble) => {
                let mut waiting = Waiting::new(format!("{place}: {}", trouble.reason));
                waiting.help = trouble.help;
                waiting.details.push(request);
                return Ok(Outcome::Wrong(waiting));
            }
        };
        let expected = self.step.expected(self.captured);
        let expected = expected.map_err(|words| Failure::new(format!("{place}: {words}")))?;
        let verdict = expected.judge(&mut answer);
        if verdict.complaints.is_empty() {
            return Ok(Outcome::Right { values: verdict.captured, complaints: trust.complaints() });
        }
        let complaints: Vec<String> = verdict.complaints.into_iter().chain(trust.complaints()).collect();
        let mut waiting = Waiting::new(format!("{place}: {}", complaints.join("; ")));
        waiting.help = verdict.help;
        if waiting.help.is_none() && !cookies.withheld.is_empty() {
            let names = cookies.withheld.join(", ");
            waiting.help =
                Some(format!("the server keeps {names} for https (Secure): let the journey use https"));
        }
        waiting.details = [request].into_iter().chain(verdict.details).collect();
        Ok(Outcome::Wrong(waiting))
    }

    fn follows(&self) -> bool {
        self.step.follow.unwrap_or(self.http.follow)
    }
}

/// Without what was captured: tokens are as good as passwords while they last.
fn hidden(waiting: Waiting, captured: &Captured) -> Waiting {
    let hide = |detail: Detail| Detail { text: captured.hide(&detail.text), ..detail };
    Waiting {
        reason: captured.hide(&waiting.reason),
        details: waiting.details.into_iter().map(hide).collect(),
        ..waiting
    }
}
