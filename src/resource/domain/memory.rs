//! What looks as if a killed `xl create` had left it may be built by somebody who is not seen (in
//! another container, by another toolstack), and what looks as if it stayed after a shutdown may be
//! cleared away by them. So it is given some time, from when this process first saw it: destroying
//! what is being built would be worse than to wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::listed::{Row, Situation};

/// How long memory and CPUs may be missing, and then how long until it runs.
const BUILD: Duration = Duration::from_secs(15);
const DEVICES: Duration = Duration::from_secs(25);

/// How long clearing a domain away may take, or creating it anew after a reboot.
const TEARDOWN: Duration = Duration::from_secs(15);

/// What is doubtful about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doubt {
    Built,
    Gone,
}

/// When each doubtful domain was first seen, by its id, which no later domain gets.
static SEEN: Mutex<Option<HashMap<(u32, Doubt), Instant>>> = Mutex::new(None);

/// The situation, or `Building` or `Dying` as long as that may be.
pub fn with_patience(row: Option<&Row>, situation: Situation) -> Situation {
    let Some(row) = row else { return situation };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = seen.get_or_insert_default();
    let mut since = |doubt| seen.entry((row.id, doubt)).or_insert_with(Instant::now).elapsed();
    match situation {
        Situation::HalfBuilt => decide(situation, since(Doubt::Built), BUILD, Situation::Building),
        // It has memory and CPUs by now, and never ran: it was built before this process's eyes.
        Situation::Paused if row.seconds == 0.0 => match seen.get(&(row.id, Doubt::Built)) {
            Some(first) => decide(situation, first.elapsed(), DEVICES, Situation::Building),
            None => situation,
        },
        Situation::ShutDown | Situation::Crashed if row.may_be_going() => {
            decide(situation, since(Doubt::Gone), TEARDOWN, Situation::Dying)
        }
        other => other,
    }
}

fn decide(situation: Situation, since: Duration, patience: Duration, meanwhile: Situation) -> Situation {
    if since < patience { meanwhile } else { situation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_half_built_is_given_time_and_then_up() {
        let half = Row::read("vps0 4711 0 0 --p--- 0.0").unwrap();
        let built = Row::read("vps0 4711 128 1 --p--- 0.0").unwrap();
        // One that was never seen half built is a paused one.
        assert_eq!(with_patience(Some(&built), Situation::Paused), Situation::Paused);
        assert_eq!(with_patience(Some(&half), Situation::HalfBuilt), Situation::Building);
        assert_eq!(with_patience(Some(&built), Situation::Paused), Situation::Building);
        let half_built = |since| decide(Situation::HalfBuilt, since, BUILD, Situation::Building);
        assert_eq!(half_built(BUILD - Duration::from_secs(1)), Situation::Building);
        assert_eq!(half_built(BUILD), Situation::HalfBuilt);
        let paused = Row::read("vps0 4711 128 1 --p--- 19.0").unwrap();
        assert_eq!(with_patience(Some(&paused), Situation::Paused), Situation::Paused);
    }

    #[test]
    fn what_may_be_cleared_away_is_given_time_and_what_is_preserved_is_not() {
        let going = Row::read("vps0 4712 128 1 --ps-- 19.0").unwrap();
        let kept = Row::read("vps0 4713 128 1 ---s-- 19.0").unwrap();
        assert_eq!(with_patience(Some(&going), Situation::ShutDown), Situation::Dying);
        assert_eq!(with_patience(Some(&kept), Situation::ShutDown), Situation::ShutDown);
    }
}
