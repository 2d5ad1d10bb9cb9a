//! One round: the properties that hold of every spec on every machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use converge::event::{ResourceReport, Status};
use converge::run::Purpose;
use converge::spec::Spec;

use crate::Tally;
use crate::engine::{self, Told, Way, is_settled};
use crate::generate::Case;
use crate::oracle;
use crate::parts;
use crate::rng::Rng;
use crate::tree::{self, Entry, Snapshot};

/// A place of its own for the rounds of one thread.
pub struct Place {
    pub root: PathBuf,
    beside: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        tree::clear(&self.beside);
    }
}

impl Place {
    pub fn new(name: &str) -> Place {
        let memory = Path::new("/dev/shm");
        let top = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let beside = top.join(format!("converge-soak-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&beside).unwrap();
        Place { root: beside.join("root"), beside }
    }

    pub fn load(&self, case: &Case) -> Result<Spec, String> {
        engine::load(&self.beside, &case.spec(self.root.to_str().unwrap()))
    }
}

/// What a round came to.
pub enum Round {
    /// The loader refused the spec.
    Refused,
    /// Links make declared paths meet, or a command counts on a directory that nobody declares: what comes
    /// of it depends on the order.
    Tangled,
    /// A resource fails on this machine, as the plan said; `Whole`: all hold in the end.
    Partial,
    Whole {
        end: Snapshot,
    },
}

macro_rules! must {
    ($property:literal, $wrong:expr) => {
        if let Some(wrong) = $wrong {
            return Err(format!("{}: {wrong}", $property));
        }
    };
}

pub fn round(place: &Place, case: &Case, seed: u64, tally: &Tally) -> Result<Round, String> {
    let root = &place.root;
    let mut rng = Rng::new(seed ^ 0x5EED);
    let Ok(spec) = place.load(case) else { return Ok(Round::Refused) };
    tree::build(root, &case.tree);
    let before = tree::look(root);
    let planned = engine::run(&spec, root, Purpose::Plan, Way::InTurn(rng.next()), None);
    let looked = tree::look(root);
    must!("a plan touches nothing", tree::difference(&before, &looked, |was, is| was == is));

    let applied = engine::run(&spec, root, Purpose::Apply, Way::InTurn(rng.next()), None);
    let after = tree::look(root);
    must!("what is not declared is untouched", oracle::touched(&spec, &before, &after));
    let with_links = oracle::with_declared_links(&spec, &after);
    if [&before, &after, &with_links].iter().any(|there| oracle::meet_by_links(&spec, there))
        || !oracle::have_places(&spec, &before)
    {
        return Ok(Round::Tangled);
    }
    must!("plan is apply", tally.take(foresight(&planned, &applied)));
    must!("it is as declared", oracle::not_as_declared(&spec, &applied, &before, &after));
    must!("nothing is left lying about", leftover(&after));

    let again = engine::run(&spec, root, Purpose::Apply, Way::InTurn(rng.next()), None);
    let later = tree::look(root);
    must!("the second run changes nothing", unsteady(&applied, &again));
    if !applied.all_hold() {
        return Ok(Round::Partial);
    }
    must!("the second run touches nothing", tree::difference(&after, &later, |was, is| was == is));
    must!("each single resource holds", engine::off(&spec, root));

    if rng.one_in(2) && tree::drift(root, &after, &mut rng) {
        let drifted = tree::look(root);
        let planned = engine::run(&spec, root, Purpose::Plan, Way::InTurn(rng.next()), None);
        let applied = engine::run(&spec, root, Purpose::Apply, Way::InTurn(rng.next()), None);
        let mended = tree::look(root);
        must!("after a drift, plan is apply", tally.take(foresight(&planned, &applied)));
        must!(
            "after a drift, it is as declared",
            oracle::not_as_declared(&spec, &applied, &drifted, &mended)
        );
        let again = engine::run(&spec, root, Purpose::Apply, Way::InTurn(rng.next()), None);
        must!("after a drift, the second run changes nothing", unsteady(&applied, &again));
    }
    let end = lasting(after);
    must!("any order, one end", other_order(place, case, &mut rng, &before, &end));
    if rng.one_in(8) {
        tree::build(root, &case.tree);
        let told = engine::run(&spec, root, Purpose::Apply, Way::Threads, None);
        must!("side by side, one end", another_end(&told, &end, root));
    }
    Ok(Round::Whole { end })
}

/// Declared in another order, and made in one of the orders that the graph allows.
fn other_order(
    place: &Place,
    case: &Case,
    rng: &mut Rng,
    before: &Snapshot,
    end: &Snapshot,
) -> Option<String> {
    let mut shuffled = case.clone();
    rng.shuffle(&mut shuffled.items);
    let mut spec = match place.load(&shuffled) {
        Ok(spec) => spec,
        Err(refused) => return Some(format!("in another order it is refused: {refused}")),
    };
    if rng.one_in(2) && oracle::has_all_parents(&spec, before) {
        engine::in_one_order(&mut spec, rng);
    }
    tree::build(&place.root, &case.tree);
    let told = engine::run(&spec, &place.root, Purpose::Apply, Way::InTurn(rng.next()), None);
    another_end(&told, end, &place.root)
}

pub fn another_end(told: &Told, end: &Snapshot, root: &Path) -> Option<String> {
    if !told.all_hold() {
        return Some(told.shown());
    }
    tree::difference(end, &lasting(tree::look(root)), |was, is| was.lasting() == is.lasting())
}

/// Without the times in the names of backups, and without the order of what parts of files wrote: in
/// the files, and in what commands have noted of those that they watch.
pub fn lasting(snapshot: Snapshot) -> Snapshot {
    let named = |path: String| match path.strip_suffix(".bak").and_then(|rest| rest.rsplit_once('.')) {
        Some((file, _)) => format!("{file}.TIME.bak"),
        None => path,
    };
    let unordered = |path: &str, entry: Entry| {
        let noted = || serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&entry.content).ok();
        let watched = path.starts_with("/var/lib/converge/commands/").then(noted).flatten();
        let content = match watched {
            Some(watched) => {
                let noted: BTreeMap<_, _> = watched.into_keys().map(|path| (path, "noted")).collect();
                serde_json::to_vec(&noted).unwrap()
            }
            None => parts::unordered(&entry.content),
        };
        Entry { content, ..entry }
    };
    let each = |(path, entry): (String, Entry)| (named(path.clone()), unordered(&path, entry));
    snapshot.into_iter().map(each).collect()
}

pub fn leftover(snapshot: &Snapshot) -> Option<String> {
    snapshot.keys().find(|path| path.ends_with(".converge")).map(|path| format!("{path} is left over"))
}

/// What became of what a plan said of each resource.
#[derive(Default)]
pub struct Foresight {
    pub as_planned: usize,
    /// The plan said that it cannot be known, and until what.
    pub open: usize,
    pub otherwise: usize,
    pub surprise: Option<String>,
}

/// Apply against what the plan said.
fn foresight(planned: &Told, applied: &Told) -> Foresight {
    let mut foresight = Foresight::default();
    for (id, plan) in &planned.resources {
        let apply = &applied.resources[id];
        // Or stands on what could not be known, and turned out not to hold.
        let root = apply.because_of.as_ref().and_then(|root| planned.resources.get(root));
        let is_on_sand = plan.is_predicted && root.is_some_and(|root| root.status == Status::Unknown);
        if plan.status == Status::Unknown && plan.is_predicted || is_on_sand {
            foresight.open += 1;
        } else if is_as_planned(plan, apply, applied) {
            foresight.as_planned += 1;
        } else {
            foresight.otherwise += 1;
            let told = |report: &ResourceReport| {
                format!("{} {:?} ({:?})", report.status.word(), changes(report), report.reason)
            };
            foresight.surprise.get_or_insert_with(|| {
                format!("{id} was planned as {} and applied as {}", told(plan), told(apply))
            });
        }
    }
    foresight
}

fn is_as_planned(plan: &ResourceReport, apply: &ResourceReport, applied: &Told) -> bool {
    match (plan.status, apply.status) {
        // As saved plans are held to: what it was may differ where it is predicted.
        (Status::Changed, Status::Changed) if plan.is_predicted => {
            let to = |report| {
                changes(report)
                    .into_iter()
                    // For which of several contents nobody could see then.
                    .filter(|(word, ..)| *word != "on_change_of")
                    .map(|(word, _, to)| (word.to_owned(), to.map(str::to_owned)))
                    .collect::<Vec<_>>()
            };
            to(plan) == to(apply)
        }
        (Status::Changed, Status::Changed) => changes(plan) == changes(apply),
        (Status::Failed, Status::Failed) => true,
        // A plan cannot know what a command or a tool will say.
        (Status::Changed, Status::Failed) => apply.action.is_some(),
        // What it stands on has failed so.
        (Status::Changed | Status::Ok, Status::Skipped) => stands_on_failed_action(applied, apply),
        (plan, apply) => plan == apply,
    }
}

fn stands_on_failed_action(applied: &Told, skipped: &ResourceReport) -> bool {
    let root = skipped.because_of.as_ref().and_then(|root| applied.resources.get(root));
    root.is_some_and(|root| root.status == Status::Failed && root.action.is_some())
}

fn changes(report: &ResourceReport) -> Vec<(&str, Option<&str>, Option<&str>)> {
    report
        .changes
        .iter()
        .map(|change| (change.attribute.as_str(), change.from.as_deref(), change.to.as_deref()))
        .collect()
}

/// What held after the first run holds without a change in the second.
fn unsteady(first: &Told, second: &Told) -> Option<String> {
    first.resources.iter().find_map(|(id, first)| {
        let second = &second.resources[id];
        let steady = match first.status {
            status if is_settled(status) => second.status == Status::Ok,
            _ => second.status == first.status,
        };
        (!steady).then(|| {
            let why = second.reason.as_deref().unwrap_or_default();
            format!("{id}: {} {:?} {why}", second.status.word(), changes(second))
        })
    })
}
