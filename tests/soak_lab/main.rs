//! The proof on real hosts: runs that are cut, killed, and without power at a random moment, and
//! what the next run makes of it. `make soak` runs it for long; `make test` for some rounds.
//! `SOAK_SEED`, `SOAK_MINUTES`, `SOAK_ROUNDS`, `SOAK_THREADS` (hosts at once).

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod fault;
mod oracle;
#[path = "../soak/rng.rs"]
#[allow(dead_code)] // of the other soak
mod rng;
mod round;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench::Bench;
use fault::Kind;
use support::has_lab;
use support::lab::Lab;

#[derive(Default)]
pub struct Tally {
    rounds: AtomicUsize,
    /// Of each kind: those that struck, and those for which the run was over before.
    faults: Mutex<BTreeMap<String, (usize, usize)>>,
    restarts: AtomicUsize,
    as_planned: AtomicUsize,
    otherwise: AtomicUsize,
    open: AtomicUsize,
    violations: Mutex<Vec<String>>,
}

impl Tally {
    fn came(&self, kind: Kind, came: bool) {
        let mut faults = self.faults.lock().unwrap();
        let (struck, missed) = faults.entry(format!("{kind:?}").to_lowercase()).or_default();
        *(if came { struck } else { missed }) += 1;
    }

    fn paid(&self, restarts: usize) {
        self.restarts.fetch_add(restarts, Ordering::Relaxed);
    }

    fn planned(&self, is_same: bool) {
        let count = if is_same { &self.as_planned } else { &self.otherwise };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn open(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn told(&self) -> String {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let faults = self.faults.lock().unwrap();
        let struck: usize = faults.values().map(|(struck, _)| struck).sum();
        let kinds: Vec<String> = faults
            .iter()
            .map(|(kind, (struck, missed))| format!("{kind} {struck} and {missed} too late"))
            .collect();
        let (good, bad) = (count(&self.as_planned), count(&self.otherwise));
        format!(
            "{} rounds, {struck} faults ({}), {} violations, {} starts owed and made, \
             plan fidelity {} % ({good} resources as planned, {bad} otherwise, {} not known before)",
            count(&self.rounds),
            kinds.join(", "),
            self.violations.lock().unwrap().len(),
            count(&self.restarts),
            100.0 * good as f64 / (good + bad).max(1) as f64,
            count(&self.open),
        )
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect(name))
}

#[test]
fn every_run_on_a_host_ends_well_whatever_happens() {
    if !has_lab() {
        return;
    }
    let minutes = number("SOAK_MINUTES");
    let first = number("SOAK_SEED").unwrap_or(1);
    // A given seed and no time: that round, a few times, since its moment is only nearly the same.
    let is_alone = number("SOAK_SEED").is_some() && minutes.is_none() && number("SOAK_ROUNDS").is_none();
    let some = if is_alone { 5 } else { 10 };
    let rounds = number("SOAK_ROUNDS").unwrap_or(if minutes.is_some() { u64::MAX } else { some });
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let hosts: Vec<String> =
        (1..=number("SOAK_THREADS").unwrap_or(2)).map(|host| format!("h{host}")).collect();
    let lab = Lab::up("soak", &hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let (next, tally, begun) = (AtomicU64::new(0), Tally::default(), Instant::now());
    std::thread::scope(|scope| {
        for host in &hosts {
            let (lab, next, tally) = (&lab, &next, &tally);
            scope.spawn(move || {
                let mut bench = Bench::new(lab, host);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let full = tally.violations.lock().unwrap().len() >= 5;
                    if index >= rounds || full || end.is_some_and(|end| Instant::now() > end) {
                        return;
                    }
                    let seed = if is_alone { first } else { first + index };
                    if let Err(violation) = round::round(&bench, seed, tally) {
                        eprintln!("\nVIOLATION on {host}, again with `SEEDS={seed} make soak`\nseed {seed}: {violation}");
                        tally.violations.lock().unwrap().push(format!("seed {seed}: {violation}"));
                        // So that the next round begins anew.
                        fault::end_relay(&bench);
                        lab.reset(host);
                        bench = Bench::new(lab, host);
                    }
                    tally.rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    eprintln!("lab soak from seed {first}: {}, in {} s", tally.told(), begun.elapsed().as_secs());
    let violations = tally.violations.into_inner().unwrap();
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
}
