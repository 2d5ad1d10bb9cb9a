//! What looks as if a killed `xl create` had left it may be built by somebody who is not seen (in
//! another container, by another toolstack). So it is given some time, from when this process
//! first saw it: destroying what is being built would be worse than to wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::listed::{Row, Situation};

/// How long memory and CPUs may be missing, and then how long until it runs.
const BUILD: Duration = Duration::from_secs(15);
const DEVICES: Duration = Duration::from_secs(25);

/// When each half-built domain was first seen, by its id, which no later domain gets.
static SEEN: Mutex<Option<HashMap<u32, Instant>>> = Mutex::new(None);

/// The situation, or `Building` as long as there is hope.
pub fn with_patience(row: Option<&Row>, situation: Situation) -> Situation {
    let Some(row) = row else { return situation };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = seen.get_or_insert_default();
    match situation {
        Situation::HalfBuilt => {
            let first = *seen.entry(row.id).or_insert_with(Instant::now);
            decide(situation, first.elapsed(), BUILD)
        }
        // It has memory and CPUs by now, and never ran: it was built before this process's eyes.
        Situation::Paused if row.seconds == 0.0 => match seen.get(&row.id) {
            Some(first) => decide(situation, first.elapsed(), DEVICES),
            None => situation,
        },
        other => other,
    }
}

fn decide(situation: Situation, since: Duration, patience: Duration) -> Situation {
    if since < patience { Situation::Building } else { situation }
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
        assert_eq!(decide(Situation::HalfBuilt, BUILD, BUILD), Situation::HalfBuilt);
        assert_eq!(decide(Situation::Paused, DEVICES, DEVICES), Situation::Paused);
        let paused = Row::read("vps0 4711 128 1 --p--- 19.0").unwrap();
        assert_eq!(with_patience(Some(&paused), Situation::Paused), Situation::Paused);
    }
}
