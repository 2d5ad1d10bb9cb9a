//! What a check means for a resource whose turn it is: in a plan, and in an apply.

use std::time::{Duration, Instant};

use super::foresee::{self, Consequences};
use super::walk::{HostState, INTERRUPTED, Phase, Standing, Walk};
use crate::attribute::Span;
use crate::event::{Event, ResourceReport, Status};
use crate::graph::Vertex;
use crate::resource::{Action, Change, Check, Detail, Failure, Needed, Thing, told};

/// How an item ended.
#[derive(Default)]
struct End {
    action: Option<Action>,
    changes: Vec<Change>,
    reason: Option<String>,
    help: Option<String>,
    details: Vec<Detail>,
    would_wait: bool,
    because_of: Option<String>,
}

impl Walk<'_> {
    /// Its dependencies are settled.
    pub(super) fn item_turn(&mut self, item: usize) {
        let vertex = Vertex::Item(item);
        if self.items[item].phase == Phase::Settled {
            return;
        }
        self.items[item].has_turn = true;
        self.items[item].began = Instant::now();
        if let Some(condition) = self.item(item).skipped_by_when.clone() {
            let end = End { reason: Some(format!("when: {condition}")), ..End::default() };
            // It holds up nobody.
            return self.end(item, Status::Skipped, end, Standing::Holds { fresh: false });
        }
        if self.summary.interrupted.is_some() {
            return self.settle_interrupted(item);
        }
        if let Some(root) = self.missed_by(vertex) {
            self.summary.unmet += 1;
            let reason = format!("it needs {root}, which {}", self.how_missed(&root));
            let end = End { reason: Some(reason), because_of: Some(root.clone()), ..End::default() };
            return self.end(item, Status::Skipped, end, Standing::Missed { root });
        }
        let host = self.spec.items[item].host;
        if let HostState::Unknown { until } = &self.hosts[host] {
            let until = until.clone();
            return self.unknown(item, until, Vec::new());
        }
        if let Some(failure) = self.items[item].unresolved.take() {
            return match self.selection.is_chosen(vertex) {
                true => self.fail_now(item, failure),
                false => self.judge_unchosen(item, Err(failure)),
            };
        }
        if self.is_plan()
            && self.item(item).resource.as_resource().is_probe()
            && let Some(until) = self.pending_on(vertex)
        {
            return self.unknown(item, until, Vec::new());
        }
        let fresh = self.stands_on_fresh(vertex);
        match (self.items[item].found.take(), self.items[item].phase) {
            (Some(found), _) if !fresh => self.judge(item, found),
            (_, Phase::FirstCheck) => self.items[item].is_stale = fresh,
            _ => self.request_check(item),
        }
    }

    pub(super) fn judge(&mut self, item: usize, found: Result<Check, Failure>) {
        if !self.selection.is_chosen(Vertex::Item(item)) {
            self.judge_unchosen(item, found);
        } else if self.is_plan() {
            self.judge_in_plan(item, found);
        } else {
            self.judge_in_apply(item, found);
        }
    }

    /// Not part of this run, but something that is stands on it.
    fn judge_unchosen(&mut self, item: usize, found: Result<Check, Failure>) {
        let off = match found {
            Ok(Check::Holds) => {
                self.items[item].phase = Phase::Settled;
                return self.settle(Vertex::Item(item), Standing::Holds { fresh: false });
            }
            Ok(Check::Needs(needed)) => told(&needed.changes),
            Ok(Check::Waits(waiting)) => waiting.reason,
            Err(failure) => failure.reason,
        };
        let root = self.spec.id(item);
        let end =
            End { reason: Some(format!("not selected, and it does not hold: {off}")), ..End::default() };
        self.summary.unmet += 1;
        self.end(item, Status::Skipped, end, Standing::Missed { root });
    }

    fn judge_in_plan(&mut self, item: usize, found: Result<Check, Failure>) {
        self.note_makers(item, &found);
        if let Some(until) = self.hidden_until(item) {
            return self.unknown(item, until, Vec::new());
        }
        let until = self.pending_on(Vertex::Item(item));
        if let (Ok(Check::Holds | Check::Needs(_)), Some(until)) = (&found, &until)
            && self.item(item).resource.as_resource().asks_commands()
        {
            return self.unknown(item, until.clone(), Vec::new());
        }
        match (found, until) {
            (Ok(Check::Holds), _) => match self.consequences(item) {
                Consequences::Certain(needed) => self.planned(item, needed),
                Consequences::Open(until) => self.unknown(item, until, Vec::new()),
                Consequences::None => {
                    self.end(item, Status::Ok, End::default(), Standing::Holds { fresh: false });
                }
            },
            (Ok(Check::Needs(needed)), until) => {
                match needed.lacks.iter().find(|lack| !self.will_be_provided(item, lack)) {
                    Some(lack) => {
                        if let Some(maker) = self.maker_to_come(item, lack) {
                            return self.await_maker(item, maker, Some(Ok(Check::Needs(needed))));
                        }
                        let failure = Failure::new(lack.what.clone()).help(lack.help.clone());
                        let may_come = |_: &String| {
                            self.lies_behind_a_link(item, lack) || self.comes_after_the_unforeseen(item)
                        };
                        match until.filter(may_come).or_else(|| self.may_be_brought(item, lack)) {
                            Some(until) => self.unknown(item, until, Vec::new()),
                            None => self.fail(item, failure),
                        }
                    }
                    None => match self
                        .cannot_be_told_before(item, &needed)
                        .or_else(|| self.may_be_paid(item, &needed))
                    {
                        Some(until) => self.unknown(item, until, Vec::new()),
                        None => match self.consequences(item) {
                            Consequences::Certain(more) => self.planned(item, foresee::both(needed, more)),
                            Consequences::Open(until) if !needed.has("state") => {
                                self.unknown(item, until, Vec::new());
                            }
                            Consequences::Open(_) | Consequences::None => self.planned(item, needed),
                        },
                    },
                }
            }
            (Ok(Check::Waits(waiting)), None) => {
                let end = End { reason: Some(waiting.reason), would_wait: true, ..End::default() };
                let until = format!("{} holds", self.spec.id(item));
                let hides = self.item(item).resource.as_resource().leads_elsewhere(None);
                self.end(item, Status::Unknown, end, Standing::unknown(until, hides));
            }
            (Ok(Check::Waits(_)) | Err(_), Some(until)) => self.unknown(item, until, Vec::new()),
            (Err(failure), None) => self.fail(item, failure),
        }
    }

    /// What is seen there now need not be what its turn finds.
    fn cannot_be_told_before(&self, item: usize, needed: &Needed) -> Option<String> {
        let taken = (needed.action == Action::Remove).then(|| self.may_be_taken_along(item)).flatten();
        taken.or_else(|| self.link_to_come(item)).or_else(|| self.unknown_maker(item))
    }

    fn planned(&mut self, item: usize, needed: Needed) {
        let becomes = needed.change("state").and_then(|change| change.to.as_deref());
        let begins = becomes.is_some();
        let resource = self.item(item).resource.as_resource();
        // A directory may come in place of a link.
        let hides = begins && needed.action == Action::Change || resource.leads_elsewhere(Some(&needed));
        let until = match becomes {
            Some(state) => format!("{} is {state}", self.spec.id(item)),
            None => format!("{} is done", self.spec.id(item)),
        };
        let content = self.item(item).resource.as_resource().changes_content(&needed);
        let changes = self.with_new_text(item, needed.changes);
        let end = End { action: Some(needed.action), changes, ..End::default() };
        self.end(
            item,
            Status::Changed,
            end,
            Standing::Pending { until, certain: true, content, begins, hides },
        );
    }

    fn judge_in_apply(&mut self, item: usize, found: Result<Check, Failure>) {
        let applied = self.items[item].applied.clone();
        match (found, applied) {
            (Ok(Check::Holds), None) => {
                let fresh = self.stands_on_fresh(Vertex::Item(item));
                self.end(item, Status::Ok, End::default(), Standing::Holds { fresh });
            }
            (Ok(Check::Holds), Some(needed)) => {
                let changes = self.with_new_text(item, needed.changes);
                let end = End { action: Some(needed.action), changes, ..End::default() };
                self.end(item, Status::Changed, end, Standing::Holds { fresh: true });
            }
            (Ok(Check::Needs(needed)), None) => match needed.lacks.first() {
                Some(lack) => {
                    if let Some(maker) = self.maker_to_come(item, lack) {
                        return self.await_maker(item, maker, None);
                    }
                    let reason = lack.what.clone();
                    let failure = Failure::new(reason.clone()).help(lack.help.clone());
                    if matches!(lack.thing, Thing::Lock(_)) {
                        self.wait_or_fail(item, true, &reason, failure);
                    } else if lack.thing.may_come_up() {
                        // What this run has just started may need a moment to answer.
                        let fresh = self.stands_on_fresh(Vertex::Item(item));
                        self.wait_or_fail(item, fresh, &reason, failure);
                    } else {
                        self.fail(item, failure);
                    }
                }
                None if self.summary.interrupted.is_some() => self.settle_interrupted(item),
                None => match self.allowed(item, &needed) {
                    Ok(()) => {
                        self.items[item].applied = Some(needed.clone());
                        self.request_apply(item, needed);
                    }
                    Err(refusal) => self.fail_now(item, refusal),
                },
            },
            (Ok(Check::Needs(needed)), Some(_)) => {
                let off = told(&needed.changes);
                let failure = Failure::new(format!("it was changed, but is still off: {off}"));
                self.wait_or_fail(item, false, &off, failure);
            }
            (Ok(Check::Waits(waiting)), _) => {
                let (passing, reason) = (waiting.passing, waiting.reason.clone());
                let mut failure = waiting.into_failure();
                if failure.help.is_none() && self.item(item).wait.is_none() {
                    failure.help = Some("if it only needs time, give it `wait: 1m`".to_owned());
                }
                self.wait_or_fail(item, passing, &reason, failure);
            }
            (Err(failure), _) => self.fail(item, failure),
        }
    }

    /// Where a saved plan is applied: whether these are its changes.
    fn allowed(&self, item: usize, needed: &Needed) -> Result<(), Failure> {
        self.options.plan.as_ref().map_or(Ok(()), |plan| plan.allows(&self.spec.id(item), needed))
    }

    /// Looks again later, as long as there is patience.
    fn wait_or_fail(&mut self, item: usize, passing: bool, reason: &str, failure: Failure) {
        let wait = self.item(item).wait.map(|wait| wait.timeout.get());
        let own = if passing { self.timeout(item) } else { Duration::ZERO };
        let patience = wait.unwrap_or_default().max(own);
        let since = *self.items[item].waiting_since.get_or_insert_with(Instant::now);
        let left = patience.saturating_sub(since.elapsed());
        if self.summary.interrupted.is_some() {
            self.settle_interrupted(item);
        } else if !left.is_zero() {
            self.look_later(item, passing, left, reason);
        } else {
            let waited = Span::from(patience);
            let reason = match patience.is_zero() {
                true => failure.reason,
                false => format!("{} (waited {waited} for it)", failure.reason),
            };
            self.fail(item, Failure { reason, ..failure });
        }
    }

    /// It failed; what there is to show about it is fetched first.
    fn fail(&mut self, item: usize, failure: Failure) {
        self.items[item].failure = Some(failure);
        self.request_explanation(item);
    }

    pub(super) fn explained(&mut self, item: usize, details: Vec<Detail>) {
        if let Some(mut failure) = self.items[item].failure.take() {
            failure.details.extend(details);
            self.fail_now(item, failure);
        }
    }

    pub(super) fn fail_now(&mut self, item: usize, failure: Failure) {
        let root = self.spec.id(item);
        let applied = self.items[item].applied.take();
        let end = End {
            action: applied.as_ref().map(|needed| needed.action),
            changes: applied.map(|needed| needed.changes).unwrap_or_default(),
            reason: Some(failure.reason),
            help: failure.help,
            details: failure.details,
            ..End::default()
        };
        self.end(item, Status::Failed, end, Standing::Missed { root });
    }

    fn unknown(&mut self, item: usize, until: String, details: Vec<Detail>) {
        let end = End { reason: Some(format!("not known until {until}")), details, ..End::default() };
        let hides = self.item(item).resource.as_resource().leads_elsewhere(None);
        self.end(item, Status::Unknown, end, Standing::unknown(until, hides));
    }

    pub(super) fn settle_interrupted(&mut self, item: usize) {
        let end = End { reason: Some("the run was interrupted".to_owned()), ..End::default() };
        // What was changed and not seen to hold yet is told as what it is: not done.
        let root = INTERRUPTED.to_owned();
        self.end(item, Status::Skipped, end, Standing::Missed { root });
    }

    fn end(&mut self, item: usize, status: Status, end: End, outcome: Standing) {
        if self.items[item].phase == Phase::Settled {
            return;
        }
        self.items[item].phase = Phase::Settled;
        self.count(status);
        let declared = &self.spec.items[item];
        let report = ResourceReport {
            host: self.spec.hosts[declared.host].name.clone(),
            id: self.spec.id(item),
            location: declared.location.clone(),
            status,
            action: end.action,
            changes: end.changes,
            reason: end.reason,
            help: end.help,
            details: end.details,
            would_wait: end.would_wait,
            is_predicted: self.is_plan() && self.pending_on(Vertex::Item(item)).is_some(),
            because_of: end.because_of,
            seconds: self.items[item].began.elapsed().as_secs_f64(),
        };
        self.tell(Event::Resource(report));
        self.settle(Vertex::Item(item), outcome);
    }

    fn outcomes_before(&self, vertex: Vertex) -> impl Iterator<Item = &Standing> {
        self.spec.graph.dependencies(vertex).filter_map(|(other, _)| self.outcomes.get(&other))
    }

    /// The root of the trouble, where a dependency does not hold.
    pub(super) fn missed_by(&self, vertex: Vertex) -> Option<String> {
        self.outcomes_before(vertex).find_map(|outcome| match outcome {
            Standing::Missed { root } => Some(root.clone()),
            _ => None,
        })
    }

    /// In a plan: what has to be done first, where a dependency would be changed, or who makes what it
    /// lacks.
    pub(super) fn pending_on(&self, vertex: Vertex) -> Option<String> {
        self.outcomes_before(vertex).chain(self.outcomes_of_makers(vertex)).find_map(
            |outcome| match outcome {
                Standing::Pending { until, .. } => Some(until.clone()),
                _ => None,
            },
        )
    }

    fn stands_on_fresh(&self, vertex: Vertex) -> bool {
        self.outcomes_before(vertex).any(|outcome| *outcome == Standing::Holds { fresh: true })
    }

    fn how_missed(&self, root: &str) -> &'static str {
        if root.starts_with("host:") { "is out of reach" } else { "does not hold" }
    }

    /// The new text of a content change, which is known here and was not sent along.
    fn with_new_text(&self, item: usize, mut changes: Vec<Change>) -> Vec<Change> {
        let mut resource = self.item(item).resource.clone();
        if !resource.as_resource().shows_diff() {
            return changes;
        }
        for change in changes.iter_mut().filter(|change| change.attribute == "content") {
            let contents = resource.as_resource_mut().contents();
            let bytes =
                contents.first().filter(|content| !content.has_secret()).and_then(|content| content.bytes());
            change.new_text = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        }
        changes
    }
}
