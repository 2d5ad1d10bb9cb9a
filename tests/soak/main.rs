//! The proof: random specs on random machines, with and without faults. `make soak` runs it for
//! long; `make test` for some seconds. `SOAK_SEED`, `SOAK_MINUTES`, `SOAK_THREADS`, `SOAK_ROUNDS`.

mod engine;
mod faults;
mod generate;
mod oracle;
mod parts;
mod regressions;
mod rng;
mod round;
mod tree;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use generate::Case;
use rng::Rng;
use round::{Foresight, Place, Round};

/// Once in so many rounds every operation of the run fails in turn.
const FAULTY: u64 = 6;

#[derive(Default)]
struct Tally {
    rounds: AtomicUsize,
    refused: AtomicUsize,
    tangled: AtomicUsize,
    partial: AtomicUsize,
    faults: AtomicUsize,
    as_planned: AtomicUsize,
    open: AtomicUsize,
    otherwise: AtomicUsize,
    violations: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts; what was not foreseen is given back.
    fn take(&self, foresight: Foresight) -> Option<String> {
        self.as_planned.fetch_add(foresight.as_planned, Ordering::Relaxed);
        self.open.fetch_add(foresight.open, Ordering::Relaxed);
        self.otherwise.fetch_add(foresight.otherwise, Ordering::Relaxed);
        foresight.surprise
    }

    /// `plan fidelity 100 % (812 resources as planned, 0 otherwise, 30 not known before)`.
    fn fidelity(&self) -> String {
        let [good, bad, open] =
            [&self.as_planned, &self.otherwise, &self.open].map(|count| count.load(Ordering::Relaxed));
        let percent = 100.0 * good as f64 / (good + bad).max(1) as f64;
        format!(
            "plan fidelity {percent} % ({good} resources as planned, {bad} otherwise, {open} not known before)"
        )
    }
}

/// Everything that is asked of one case. How many faults it went through.
fn judge(place: &Place, case: &Case, seed: u64, tally: &Tally) -> Result<(), String> {
    match round::round(place, case, seed, tally)? {
        Round::Refused => tally.refused.fetch_add(1, Ordering::Relaxed),
        Round::Tangled => tally.tangled.fetch_add(1, Ordering::Relaxed),
        Round::Partial => tally.partial.fetch_add(1, Ordering::Relaxed),
        Round::Whole { end } if seed.is_multiple_of(FAULTY) => {
            let kind = faults::KINDS[(seed / FAULTY) as usize % faults::KINDS.len()];
            let faults = faults::all(place, case, &end, kind)?;
            tally.faults.fetch_add(faults, Ordering::Relaxed)
        }
        Round::Whole { .. } => 0,
    };
    Ok(())
}

/// The property that was broken: what comes before the first colon.
fn property(violation: &str) -> &str {
    violation.split(':').next().unwrap_or_default()
}

/// Leaves out what is not needed for it to go wrong.
fn shrink(place: &Place, case: &Case, seed: u64, violation: String) -> (Case, String) {
    let (mut case, mut violation) = (case.clone(), violation);
    let unheard = Tally::default();
    loop {
        let mut smaller: Vec<Case> = Vec::new();
        for index in 0..case.items.len() {
            let mut fewer = case.clone();
            fewer.items.remove(index);
            smaller.push(fewer);
            for line in 1..case.items[index].lines().count() {
                if case.items[index].contains("- command") {
                    break;
                }
                let mut fewer = case.clone();
                let mut lines: Vec<&str> = case.items[index].lines().collect();
                lines.remove(line);
                fewer.items[index] = lines.join("\n") + "\n";
                smaller.push(fewer);
            }
        }
        for index in 0..case.tree.len() {
            let mut fewer = case.clone();
            let gone = fewer.tree.remove(index);
            let path = gone.splitn(4, ' ').nth(3).unwrap_or_default().split('|').next().unwrap_or_default();
            fewer.tree.retain(|line| !line.contains(&format!("{path}/")));
            smaller.push(fewer);
        }
        let found = smaller.into_iter().find_map(|smaller| match judge(place, &smaller, seed, &unheard) {
            Err(wrong) if property(&wrong) == property(&violation) => Some((smaller, wrong)),
            _ => None,
        });
        match found {
            Some((smaller, wrong)) => (case, violation) = (smaller, wrong),
            None => return (case, violation),
        }
    }
}

/// What each thread is at, and since when: a run that does not end is a violation too.
#[derive(Default)]
struct Watch(Arc<Mutex<BTreeMap<u64, (u64, Instant)>>>);

/// A round takes some milliseconds, with all of its faults some seconds.
const ENDLESS: Duration = Duration::from_secs(300);

impl Watch {
    fn begin() -> Watch {
        let watch = Watch::default();
        let watched = Arc::downgrade(&watch.0);
        std::thread::spawn(move || {
            while let Some(at) = watched.upgrade() {
                let at = at.lock().unwrap();
                if let Some((seed, _)) = at.values().find(|(_, since)| since.elapsed() > ENDLESS) {
                    eprintln!(
                        "\nVIOLATION, again with `SEEDS={seed} make soak`\nseed {seed}: a run does not end"
                    );
                    std::process::exit(1);
                }
                drop(at);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        watch
    }

    fn round(&self, thread: u64, seed: Option<u64>) {
        let mut at = self.0.lock().unwrap();
        match seed {
            Some(seed) => drop(at.insert(thread, (seed, Instant::now()))),
            None => drop(at.remove(&thread)),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect(name))
}

#[test]
fn every_spec_converges_from_every_start_whatever_happens() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: the soak gives files away, which only root can");
        return;
    }
    let minutes = number("SOAK_MINUTES");
    let first = number("SOAK_SEED").unwrap_or(1);
    // A given seed and no time: that one round.
    let alone = if number("SOAK_SEED").is_some() { 1 } else { 300 };
    let rounds = number("SOAK_ROUNDS").unwrap_or(if minutes.is_some() { u64::MAX } else { alone });
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let threads = number("SOAK_THREADS").unwrap_or(2);
    let (next, tally) = (AtomicU64::new(0), Tally::default());
    let begun = Instant::now();
    let watch = Watch::begin();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (next, tally, watch) = (&next, &tally, &watch);
            scope.spawn(move || {
                let place = Place::new(&thread.to_string());
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let full = tally.violations.lock().unwrap().len() >= 5;
                    if index >= rounds || full || end.is_some_and(|end| Instant::now() > end) {
                        return;
                    }
                    let seed = first + index;
                    let case = Case::new(&mut Rng::new(seed));
                    watch.round(thread, Some(seed));
                    if let Err(violation) = judge(&place, &case, seed, tally) {
                        let (case, violation) = shrink(&place, &case, seed, violation);
                        let told = format!("seed {seed}: {violation}\n{}", case.shown());
                        eprintln!("\nVIOLATION, again with `SEEDS={seed} make soak`\n{told}");
                        tally.violations.lock().unwrap().push(told);
                    }
                    watch.round(thread, None);
                    tally.rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let violations = std::mem::take(&mut *tally.violations.lock().unwrap());
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    eprintln!(
        "soak: {} rounds from seed {first} ({} refused by validation, {} tangled, {} with failures that were planned), \
         {} faults, {} violations, {}, in {} s",
        count(&tally.rounds),
        count(&tally.refused),
        count(&tally.tangled),
        count(&tally.partial),
        count(&tally.faults),
        violations.len(),
        tally.fidelity(),
        begun.elapsed().as_secs(),
    );
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
}
