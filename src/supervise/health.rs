//! `--healthy URL`: whether the command answers, judged as an `http` of a spec is.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::attribute::Span;
use crate::resource::{AnyResource, Check};
use crate::system::System;

/// One request may take so long.
const PATIENCE: Span = Span::seconds(5);

/// What is asked, how often, and how many failures in a row are too many.
#[derive(Clone, PartialEq, Debug)]
pub struct Probe {
    http: AnyResource,
    every: Duration,
    failures: u32,
}

/// One answer, or why there was none.
pub struct Answer {
    pub asked: Instant,
    pub trouble: Option<String>,
}

/// Counts the answers to the probes of one start.
#[derive(Debug, Default)]
pub struct Pulse {
    has_answered: bool,
    failures: u32,
}

impl Probe {
    /// Err: what is wrong with the URL.
    pub fn of(url: &str, every: Duration, failures: u32) -> Result<Probe, String> {
        let attributes = json!({ "http": url, "timeout": PATIENCE });
        let http = AnyResource::read("http", attributes).ok_or("there is no type http")?;
        let http = http.map_err(|error| error.to_string())?;
        match http.as_resource().validate().into_iter().next() {
            Some(invalid) => Err(format!("{}; {}", invalid.what, invalid.help)),
            None => Ok(Probe { http, every, failures }),
        }
    }

    /// Asks again and again, for as long as somebody takes the answers.
    pub fn start(&self, tell: impl Fn(Answer) -> bool + Send + 'static) {
        let (http, every) = (self.http.clone(), self.every);
        thread::spawn(move || {
            loop {
                thread::sleep(every);
                let asked = Instant::now();
                let found = http.as_resource().check(&System::machine().within(PATIENCE.get()));
                let trouble = match found {
                    Ok(Check::Holds) => None,
                    Ok(Check::Waits(waiting)) => Some(waiting.reason),
                    Ok(Check::Needs(_)) => Some("it does not answer".to_owned()),
                    Err(failure) => Some(failure.reason),
                };
                if !tell(Answer { asked, trouble }) {
                    return;
                }
            }
        });
    }
}

impl Pulse {
    /// Whether this answer is one too many. Before its first good answer it may be starting up,
    /// and has twice as long.
    pub fn is_lost(&mut self, answer: &Answer, probe: &Probe) -> bool {
        match answer.trouble {
            None => *self = Pulse { has_answered: true, failures: 0 },
            Some(_) => self.failures += 1,
        }
        let most = if self.has_answered { probe.failures } else { probe.failures.saturating_mul(2) };
        self.failures >= most.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first probe that was one too many; `+` answered, `-` did not.
    fn lost_at(answers: &str) -> Option<usize> {
        let probe = Probe::of("http://localhost/", Duration::from_secs(1), 3).unwrap();
        let mut pulse = Pulse::default();
        answers.chars().position(|sign| {
            let trouble = (sign == '-').then(|| "no answer".to_owned());
            pulse.is_lost(&Answer { asked: Instant::now(), trouble }, &probe)
        })
    }

    #[test]
    fn several_failures_in_a_row_are_too_many_and_twice_as_many_while_it_starts_up() {
        for (answers, expected) in [
            ("+--+--+", None),
            ("+---", Some(3)),
            ("-----+--", None),
            ("------", Some(5)),
            ("-----+---", Some(8)),
        ] {
            assert_eq!(lost_at(answers), expected, "{answers}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_way_out() {
        for url in ["localhost:8080", "ftp://x/", "http://", ""] {
            let refused = Probe::of(url, Duration::from_secs(1), 3).unwrap_err();
            assert!(refused.contains("write it as in https://host/path"), "{refused}");
        }
    }
}
