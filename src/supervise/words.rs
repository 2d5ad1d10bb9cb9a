//! The words of `supervise` on a command line, as the agent reads them, which has no other command
//! line; `converge` reads the same ones with clap, for its help and completions.

use std::ffi::OsString;

use super::child::Job;
use super::health::Probe;
use super::policy::{Limit, Policy};
use super::watch::Orders;
use crate::attribute::Span;
use crate::resource::process::Restart;

/// What is asked for, whichever binary read it.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    pub delay: Span,
    pub max_delay: Option<Span>,
    pub restart: Restart,
    pub max_restarts: Option<u32>,
    pub within: Option<Span>,
    pub healthy: Option<String>,
    pub probe_every: Span,
    pub probe_failures: u32,
    pub grace: Span,
    pub command: Vec<OsString>,
}

pub const DELAY: Span = Span::seconds(2);
pub const PROBE_EVERY: Span = Span::seconds(10);
pub const PROBE_FAILURES: u32 = 3;
pub const GRACE: Span = Span::seconds(10);

impl Default for Options {
    fn default() -> Self {
        Options {
            delay: DELAY,
            max_delay: None,
            restart: Restart::Always,
            max_restarts: None,
            within: None,
            healthy: None,
            probe_every: PROBE_EVERY,
            probe_failures: PROBE_FAILURES,
            grace: GRACE,
            command: Vec::new(),
        }
    }
}

impl Options {
    /// Reads `[--delay 2s …] [--] COMMAND…`.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Options, String> {
        let (mut options, mut words) = (Options::default(), words.into_iter());
        while let Some(word) = words.next() {
            let name = match word.to_str() {
                Some("--") => {
                    options.command.extend(words);
                    break;
                }
                Some(name) if name.starts_with("--") => name,
                Some(name) if name.starts_with('-') => return Err(format!("there is no option {name}")),
                _ => {
                    options.command.push(word);
                    options.command.extend(words);
                    break;
                }
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => {
                    let value = words.next().and_then(|value| value.into_string().ok());
                    (name.to_owned(), value.ok_or_else(|| format!("{name} needs a value"))?)
                }
            };
            options.take(&name, &value).map_err(|wrong| format!("{name}: {wrong}"))?;
        }
        options.check()?;
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse().map_err(|_| format!("`{value}` is no number"));
        match name {
            "--delay" => self.delay = value.parse()?,
            "--max-delay" => self.max_delay = Some(value.parse()?),
            "--restart" => {
                self.restart = match value {
                    "always" => Restart::Always,
                    "on-failure" => Restart::OnFailure,
                    _ => return Err(format!("`{value}` is neither always nor on-failure")),
                }
            }
            "--max-restarts" => self.max_restarts = Some(number()?),
            "--within" => self.within = Some(value.parse()?),
            "--healthy" => self.healthy = Some(value.to_owned()),
            "--probe-every" => self.probe_every = value.parse()?,
            "--probe-failures" => self.probe_failures = number()?,
            "--grace" => self.grace = value.parse()?,
            _ => return Err("there is no such option".to_owned()),
        }
        Ok(())
    }

    /// What contradicts itself.
    pub fn check(&self) -> Result<(), String> {
        if self.command.is_empty() {
            return Err("which command? Write it after `--`".to_owned());
        }
        if self.max_delay.is_some_and(|most| most < self.delay) {
            return Err("--max-delay is shorter than --delay".to_owned());
        }
        if self.probe_every.get().is_zero() || self.probe_failures == 0 {
            return Err("--probe-every and --probe-failures must be more than 0".to_owned());
        }
        match (self.within, self.max_restarts) {
            (Some(_), None) => Err("--within says nothing without --max-restarts".to_owned()),
            (Some(within), Some(restarts)) if self.delay.get() * restarts >= within.get() => Err(format!(
                "with a delay of {} there are never more than {restarts} restarts within {within}: give more time \
                 with --within",
                self.delay
            )),
            _ => Ok(()),
        }
    }

    pub fn orders(&self) -> Result<Orders, String> {
        let probe = match &self.healthy {
            None => None,
            Some(url) => Some(
                Probe::of(url, self.probe_every.get(), self.probe_failures)
                    .map_err(|wrong| format!("--healthy: {wrong}"))?,
            ),
        };
        Ok(Orders {
            job: Job { argv: self.command.clone(), ..Job::default() },
            policy: Policy {
                restart: self.restart,
                delay: self.delay.get(),
                max_delay: self.max_delay.map(Span::get),
                limit: self
                    .max_restarts
                    .map(|restarts| Limit { restarts, within: self.within.map(Span::get) }),
            },
            grace: self.grace.get(),
            probe,
            must_start: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_come_before_the_command_and_its_own_are_left_alone() {
        let options = read("--delay 500ms --max-restarts=3 --within 1m -- sh -c --delay").unwrap();
        assert_eq!(options.delay, "500ms".parse().unwrap());
        assert_eq!((options.max_restarts, options.within), (Some(3), Some(Span::seconds(60))));
        assert_eq!(options.command, ["sh", "-c", "--delay"]);
        assert_eq!(read("sleep --grace 5").unwrap().command, ["sleep", "--grace", "5"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (line, said) in [
            ("", "which command?"),
            ("--delay 2s --", "which command?"),
            ("--delay 5 -- x", "has no unit"),
            ("--delay", "needs a value"),
            ("--dleay 5s -- x", "no such option"),
            ("-d 5s -- x", "no option -d"),
            ("--restart never -- x", "neither always nor on-failure"),
            ("--max-restarts some -- x", "no number"),
            ("--within 1m -- x", "without --max-restarts"),
            ("--max-restarts 30 --within 1m -- x", "never more than 30 restarts within 1m"),
            ("--delay 5s --max-delay 1s -- x", "shorter than --delay"),
            ("--probe-every 0s -- x", "more than 0"),
        ] {
            let refused = read(line).unwrap_err();
            assert!(refused.contains(said), "{line}: {refused}");
        }
        assert!(read("--healthy localhost -- x").unwrap().orders().is_err());
    }
}
