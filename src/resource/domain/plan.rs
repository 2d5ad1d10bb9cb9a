//! From where a domain is to where it is to be: every pair has its steps.

use super::DomainState;
use super::listed::Situation;

/// One call of `xl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Create,
    CreatePaused,
    Pause,
    Unpause,
    /// Asks the guest.
    ShutDown,
    /// Only for what does not run any more.
    Destroy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Holds,
    /// It is on its way, and no call would help.
    Waits,
    Steps(&'static [Step]),
}

pub fn plan(wanted: DomainState, now: Situation) -> Plan {
    use DomainState as Want;
    use Situation as Now;
    use Step::{Create, CreatePaused, Destroy, Pause, ShutDown, Unpause};
    match (wanted, now) {
        (_, Now::Building | Now::Dying) => Plan::Waits,

        (Want::Running, Now::Running) => Plan::Holds,
        (Want::Running, Now::Absent) => Plan::Steps(&[Create]),
        (Want::Running, Now::Paused) => Plan::Steps(&[Unpause]),
        (Want::Running, Now::ShutDown | Now::Crashed | Now::HalfBuilt) => Plan::Steps(&[Destroy, Create]),

        (Want::Paused, Now::Paused) => Plan::Holds,
        (Want::Paused, Now::Absent) => Plan::Steps(&[CreatePaused]),
        (Want::Paused, Now::Running) => Plan::Steps(&[Pause]),
        (Want::Paused, Now::ShutDown | Now::Crashed | Now::HalfBuilt) => {
            Plan::Steps(&[Destroy, CreatePaused])
        }

        (Want::Shutdown, Now::Absent | Now::ShutDown | Now::Crashed) => Plan::Holds,
        (Want::Shutdown, Now::Running) => Plan::Steps(&[ShutDown]),
        // A paused guest cannot hear that it is to shut down.
        (Want::Shutdown, Now::Paused) => Plan::Steps(&[Unpause, ShutDown]),
        (Want::Shutdown, Now::HalfBuilt) => Plan::Steps(&[Destroy]),

        (Want::Absent, Now::Absent) => Plan::Holds,
        (Want::Absent, Now::Running) => Plan::Steps(&[ShutDown, Destroy]),
        (Want::Absent, Now::Paused) => Plan::Steps(&[Unpause, ShutDown, Destroy]),
        (Want::Absent, Now::ShutDown | Now::Crashed | Now::HalfBuilt) => Plan::Steps(&[Destroy]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITUATIONS: [Situation; 8] = [
        Situation::Absent,
        Situation::Building,
        Situation::Running,
        Situation::Paused,
        Situation::ShutDown,
        Situation::Crashed,
        Situation::Dying,
        Situation::HalfBuilt,
    ];

    /// What one step makes of a domain.
    fn after(step: Step, now: Situation) -> Situation {
        match (step, now) {
            (Step::Create, Situation::Absent) => Situation::Running,
            (Step::CreatePaused, Situation::Absent) => Situation::Paused,
            (Step::Pause, Situation::Running) => Situation::Paused,
            (Step::Unpause, Situation::Paused) => Situation::Running,
            (Step::ShutDown, Situation::Running) => Situation::ShutDown,
            (Step::Destroy, Situation::ShutDown | Situation::Crashed | Situation::HalfBuilt) => {
                Situation::Absent
            }
            (step, now) => panic!("{step:?} must not be done to a domain that is {now}"),
        }
    }

    #[test]
    fn the_steps_from_every_situation_lead_to_every_state() {
        for wanted in [DomainState::Running, DomainState::Paused, DomainState::Shutdown, DomainState::Absent]
        {
            for now in SITUATIONS {
                match plan(wanted, now) {
                    Plan::Waits => assert!(matches!(now, Situation::Building | Situation::Dying)),
                    Plan::Holds => {}
                    Plan::Steps(steps) => {
                        let end = steps.iter().fold(now, |now, step| after(*step, now));
                        assert_eq!(plan(wanted, end), Plan::Holds, "{wanted:?} from {now}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_that_runs_is_ever_destroyed() {
        for wanted in [DomainState::Running, DomainState::Paused, DomainState::Shutdown, DomainState::Absent]
        {
            for now in [Situation::Running, Situation::Paused] {
                if let Plan::Steps(steps) = plan(wanted, now) {
                    assert_ne!(steps[0], Step::Destroy);
                }
            }
        }
    }
}
