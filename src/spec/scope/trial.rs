//! What can be said of a template that stands on facts while no host has told any: it is tried with
//! the facts of some machines as there are many. What is wrong with it on one of them may be meant
//! for others; only what is wrong on any is reported.

use std::rc::Rc;

use minijinja::{Error, ErrorKind};

use super::super::at::Place;
use super::super::desk::Desk;
use super::super::facts::{self, FACTS};
use super::super::template::{self, Kind};
use super::super::yaml::Node;
use super::{NoValue, Scope, State};

impl<'a> Scope<'a> {
    /// Does the same in each scope that has facts to try with; the answers that are values.
    pub(super) fn tried<T>(
        &mut self,
        mut try_in: impl FnMut(&mut Scope<'a>) -> Result<T, NoValue>,
    ) -> Vec<Result<T, NoValue>> {
        if self.trials.is_empty() {
            let trial = |sample: Node| {
                let mut trial = Scope {
                    passing: self.passing.clone(),
                    engine: self.engine,
                    declared: Rc::clone(&self.declared),
                    resolved: self.resolved.clone(),
                    path: Vec::new(),
                    trials: Vec::new(),
                    is_doubtful: false,
                    is_trial: true,
                };
                trial.resolved.retain(|_, state| !matches!(state, State::Late));
                trial.set(FACTS, sample);
                trial
            };
            self.trials = facts::samples().into_iter().map(trial).collect();
        }
        self.trials.iter_mut().map(&mut try_in).collect()
    }

    /// Names that nobody declares may be declared for another host; all else that a trial can find
    /// is the same on each, and one is enough.
    pub(super) fn is_worth_a_trial(&self, desk: &mut Desk, place: Place) -> bool {
        desk.tried.insert(place) || self.is_doubtful
    }

    /// Whether an expression that stands on facts holds on any of the machines it is tried with.
    pub fn may_hold(&mut self, desk: &mut Desk, text: &str, place: Place) -> bool {
        self.tried(|trial| trial.holds_now(desk, text, place)).iter().any(|holds| *holds != Ok(false))
    }

    /// Whether no machine's facts could mend it: a name that nobody declares, a filter that there
    /// is not.
    pub(super) fn is_wrong_anywhere(&self, error: &Error, text: &str, kind: Kind) -> bool {
        match error.kind() {
            ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => true,
            ErrorKind::UndefinedError => {
                let root = template::undefined(error).split(['.', '[']).next().unwrap_or_default().to_owned();
                let is_from_outside = || match kind {
                    Kind::Expression => self.engine.expression_names(text),
                    _ => self.engine.names(text, kind),
                };
                is_from_outside().is_ok_and(|names| names.contains(&root))
                    && !self.declared.contains_key(root.as_str())
                    && !self.resolved.contains_key(&root)
            }
            _ => false,
        }
    }
}
