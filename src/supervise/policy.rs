//! When a command that ended is started again: nothing but arithmetic.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::resource::process::Restart;
use crate::system::commands::signal_name;

/// What ran at least so long has run well: the next pause is the first one again.
const WELL: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    pub restart: Restart,
    /// Between an end and the next start.
    pub delay: Duration,
    /// With each failure in a row the pause is doubled, up to this.
    pub max_delay: Option<Duration>,
    pub limit: Option<Limit>,
}

/// So many restarts, within this time or (without one) ever.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limit {
    pub restarts: u32,
    pub within: Option<Duration>,
}

/// How the command ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Ending {
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It could not be started at all.
    NotStarted {
        why: String,
        code: u8,
    },
    /// It was ended because it did not answer.
    Unhealthy(String),
}

/// What follows.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    Again {
        after: Duration,
        /// How many restarts there have been, with this one.
        ordinal: u32,
    },
    Done,
    GiveUp(Limit),
}

/// What is kept of the ends so far.
#[derive(Debug, Default)]
pub struct History {
    restarts: VecDeque<Instant>,
    count: u32,
    /// In a row, of what did not run well.
    failures: u32,
}

impl Ending {
    /// As a shell tells it.
    pub fn code(&self) -> u8 {
        match self {
            Ending::Exited(code) => u8::try_from(*code).unwrap_or(1),
            Ending::Killed(signal) => u8::try_from(128 + signal).unwrap_or(1),
            Ending::NotStarted { code, .. } => *code,
            Ending::Unhealthy(_) => 1,
        }
    }

    pub fn is_success(&self) -> bool {
        *self == Ending::Exited(0)
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Exited(code) => write!(f, "exited with {code}"),
            Ending::Killed(signal) => write!(f, "was killed by {}", signal_name(*signal)),
            Ending::NotStarted { why, .. } => write!(f, "could not be started: {why}"),
            Ending::Unhealthy(why) => write!(f, "was ended: {why}"),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.restarts == 1 { "" } else { "s" };
        write!(f, "{} restart{plural}", self.restarts)?;
        match self.within {
            Some(within) => write!(f, " within {}", crate::attribute::Span::from(within)),
            None => Ok(()),
        }
    }
}

impl History {
    /// It ended so, after it `ran` for a while.
    pub fn next(&mut self, policy: &Policy, ending: &Ending, ran: Duration, now: Instant) -> Next {
        if ending.is_success() && policy.restart == Restart::OnFailure {
            return Next::Done;
        }
        if let Some(limit) = policy.limit {
            let is_past = |at: &Instant| limit.within.is_some_and(|within| now.duration_since(*at) >= within);
            while self.restarts.front().is_some_and(is_past) {
                self.restarts.pop_front();
            }
            if self.restarts.len() >= limit.restarts as usize {
                return Next::GiveUp(limit);
            }
            self.restarts.push_back(now);
        }
        self.failures = if ran >= policy.well() { 0 } else { self.failures.saturating_add(1) };
        self.count = self.count.saturating_add(1);
        Next::Again { after: policy.pause(self.failures), ordinal: self.count }
    }
}

impl Policy {
    /// How long it must have run for the failures before to be forgotten: longer than the longest
    /// pause, or what fails half a minute after each start would never be slowed down.
    fn well(&self) -> Duration {
        self.max_delay.unwrap_or_default().max(WELL)
    }

    fn pause(&self, failures: u32) -> Duration {
        let Some(most) = self.max_delay else { return self.delay };
        let doubled = failures.saturating_sub(1).min(31);
        self.delay.saturating_mul(1 << doubled).min(most.max(self.delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(10);

    fn policy(max_delay: Option<u64>, limit: Option<(u32, Option<u64>)>) -> Policy {
        Policy {
            restart: Restart::Always,
            delay: Duration::from_secs(2),
            max_delay: max_delay.map(Duration::from_secs),
            limit: limit
                .map(|(restarts, within)| Limit { restarts, within: within.map(Duration::from_secs) }),
        }
    }

    /// The pauses after ends at these seconds, after it ran so long each; None: it gave up.
    fn pauses(policy: &Policy, ends: &[(u64, Duration)]) -> Vec<Option<u64>> {
        let (mut history, start) = (History::default(), Instant::now());
        let mut next = |(at, ran): &(u64, Duration)| match history.next(
            policy,
            &Ending::Exited(1),
            *ran,
            start + Duration::from_secs(*at),
        ) {
            Next::Again { after, .. } => Some(after.as_secs()),
            Next::GiveUp(_) => None,
            Next::Done => panic!("a failure is never the end"),
        };
        ends.iter().map(&mut next).collect()
    }

    #[test]
    fn the_pause_stays_the_same_where_no_longest_one_is_given() {
        let ends = [(0, QUICK), (2, QUICK), (4, QUICK), (900, QUICK)];
        assert_eq!(pauses(&policy(None, None), &ends), [Some(2); 4]);
    }

    #[test]
    fn the_pause_doubles_up_to_the_longest_and_begins_anew_after_it_ran_well() {
        let quick = |count: usize| vec![(0, QUICK); count];
        let policy = policy(Some(20), None);
        assert_eq!(pauses(&policy, &quick(6)), [2, 4, 8, 16, 20, 20].map(Some));
        let mut ends = quick(3);
        // Not as long as the longest pause: that does not count as well.
        ends.push((0, Duration::from_secs(19)));
        ends.push((0, Duration::from_secs(20)));
        ends.push((0, QUICK));
        ends.push((0, QUICK));
        assert_eq!(pauses(&policy, &ends), [2, 4, 8, 16, 2, 2, 4].map(Some));
        // However often it fails, nothing overflows.
        assert_eq!(pauses(&policy, &quick(100)).pop(), Some(Some(20)));
    }

    #[test]
    fn n_restarts_mean_n_plus_one_starts() {
        assert_eq!(pauses(&policy(None, Some((2, None))), &[(0, QUICK); 3]), [Some(2), Some(2), None]);
        assert_eq!(pauses(&policy(None, Some((0, None))), &[(0, QUICK)]), [None]);
    }

    #[test]
    fn only_restarts_within_the_time_count() {
        let policy = policy(None, Some((2, Some(60))));
        let ends = [(0, QUICK), (30, QUICK), (60, QUICK), (61, QUICK), (90, QUICK), (120, QUICK)];
        // At 60 the first is over, at 61 those of 30 and 60 are not, at 90 that of 30 is.
        assert_eq!(pauses(&policy, &ends), [Some(2), Some(2), Some(2), None, Some(2), Some(2)]);
    }

    #[test]
    fn success_is_the_end_only_where_failures_alone_are_started_again() {
        let after = |restart, ending: Ending| {
            let policy = Policy { restart, ..policy(None, None) };
            History::default().next(&policy, &ending, QUICK, Instant::now())
        };
        assert_eq!(after(Restart::OnFailure, Ending::Exited(0)), Next::Done);
        for (restart, ending) in [
            (Restart::Always, Ending::Exited(0)),
            (Restart::OnFailure, Ending::Exited(7)),
            (Restart::OnFailure, Ending::Killed(15)),
            (Restart::OnFailure, Ending::Unhealthy("no answer".into())),
            (Restart::OnFailure, Ending::NotStarted { why: "no such file".into(), code: 127 }),
        ] {
            assert!(matches!(after(restart, ending.clone()), Next::Again { ordinal: 1, .. }), "{ending}");
        }
    }

    #[test]
    fn an_end_is_told_as_a_shell_tells_it() {
        for (ending, code, told) in [
            (Ending::Exited(3), 3, "exited with 3"),
            (Ending::Killed(9), 137, "was killed by SIGKILL"),
            (
                Ending::NotStarted { why: "no such file".into(), code: 127 },
                127,
                "could not be started: no such file",
            ),
        ] {
            assert_eq!((ending.code(), ending.to_string().as_str()), (code, told));
        }
        let limits = [(1, None, "1 restart"), (5, Some(60), "5 restarts within 1m")];
        for (restarts, within, told) in limits {
            assert_eq!(Limit { restarts, within: within.map(Duration::from_secs) }.to_string(), told);
        }
    }
}
