//! One round: a host in one end, a run towards another that something happens to, and the next run.

use std::time::Instant;

use serde_json::Value;

use crate::Tally;
use crate::bench::Bench;
use crate::fault::{self, Fault, Kind, Usual};
use crate::oracle::{self, Debt};
use crate::rng::Rng;
use crate::support::Ran;
use crate::world::Goal;

/// What people do on the host between two runs.
#[derive(Clone, Copy, PartialEq)]
enum Hand {
    Nothing,
    /// A file that no resource declares, and that two readers watch.
    ChangesFile,
    /// The debt is paid before it is seen.
    ChangesFileAndRestarts,
    Restarts,
    /// The agent that lies there goes, so that the next run sends it anew.
    RemovesAgent,
}

pub fn round(bench: &Bench, seed: u64, tally: &Tally) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let before = Goal::new(&mut rng);
    let after = before.changed(&mut rng);
    let fault = Fault::new(&mut rng, seed);
    let hand = [
        Hand::Nothing,
        Hand::Nothing,
        Hand::ChangesFile,
        Hand::ChangesFileAndRestarts,
        Hand::Restarts,
        Hand::RemovesAgent,
    ][rng.below(6)];
    let mut by_hand = bench.on_host("cat /etc/soak/hand.conf").trim().to_owned();

    let planned = bench.run("plan", &before);
    let begun = Instant::now();
    let applied = converges(bench.run("apply", &before))?;
    let bytes = bench.noted_number("bytes").and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
    let usual = Usual { time: begun.elapsed(), bytes };
    is_as_planned(&planned, &applied, tally)?;
    oracle::as_declared(bench, &before)?;
    let known = ['a', 'b', 'p', 'c'].map(|name| bench.told_by(name).len());

    act(bench, hand, seed);
    if matches!(hand, Hand::ChangesFile | Hand::ChangesFileAndRestarts) {
        by_hand = seed.to_string();
    }
    let came = fault.strike(bench, &before, &after, &usual)?;
    tally.came(fault.kind, came);
    oracle::nothing_half_written(bench, &before, &after)?;

    // Mostly at once; sometimes when all of the run before is over, so that a plan can be held to.
    // What a silent network left is over when the next run says so.
    let planned = if fault.kind != Kind::Silence && rng.one_in(3) {
        bench.left_behind().map_or(Ok(()), |left| Err(format!("left behind by the cut run: {left}")))?;
        Some(bench.run("plan", &after))
    } else {
        None
    };
    let applied = converges(bench.run("apply", &after)).map_err(|wrong| format!("the next run: {wrong}"))?;
    if let Some(planned) = planned {
        is_as_planned(&planned, &applied, tally)?;
    }
    fault::end_relay(bench);
    let again = bench.run("plan", &after);
    if again.code != 0 {
        return Err(format!("the run after that still has something to do: {}", told(&again)));
    }
    oracle::as_declared(bench, &after)?;
    bench.left_behind().map_or(Ok(()), |left| Err(format!("left behind: {left}")))?;

    let conf = |name: char| after.confs[&name].to_string();
    let owed = [
        ('a', [conf('a'), by_hand.clone(), after.unit.to_string()]),
        ('b', [conf('b'), String::new(), "0".to_owned()]),
        ('p', [conf('p'), by_hand.clone(), after.program.to_string()]),
    ];
    for ((name, mut owed), known) in owed.into_iter().zip(known) {
        let mut told = bench.told_by(name);
        if name == 'b' {
            // It does not watch that file.
            told.iter_mut().for_each(|one| one.versions[1].clear());
            owed[1].clear();
        }
        let paid = Debt { name, told: &told, known, owed }.is_paid_once();
        let paid = paid.map_err(|wrong| format!("{wrong}\nthe next run: {}", self::told(&applied)))?;
        tally.paid(paid);
    }
    oracle::command_ran(&bench.told_by('c'), known[3], before.confs[&'c'], after.confs[&'c'])
}

fn act(bench: &Bench, hand: Hand, seed: u64) {
    let change =
        format!("echo {seed} > /etc/soak/hand.conf.new; mv /etc/soak/hand.conf.new /etc/soak/hand.conf");
    let restart = "for name in a p; do echo hand >> /var/log/soak/$name; done; \
                   systemctl restart soak-a; supervisorctl restart soak-p";
    match hand {
        Hand::Nothing => {}
        Hand::ChangesFile => drop(bench.on_host(&change)),
        Hand::ChangesFileAndRestarts => drop(bench.on_host(&format!("{change}; {restart}"))),
        Hand::Restarts => drop(bench.on_host(restart)),
        Hand::RemovesAgent => drop(bench.on_host("rm -rf /var/lib/converge/converge-agent-*")),
    }
}

fn converges(ran: Ran) -> Result<Ran, String> {
    if ran.code == 0 { Ok(ran) } else { Err(format!("an apply does not converge: {}", told(&ran))) }
}

fn told(ran: &Ran) -> String {
    let is_trouble = |line: &&str| {
        !["ok", "skipped", "reached"].iter().any(|word| line.contains(&format!("\"status\":\"{word}\"")))
    };
    let lines: Vec<&str> = ran.stdout.lines().filter(is_trouble).collect();
    format!("exit {}\n{}\n{}", ran.code, lines.join("\n"), ran.stderr)
}

/// The same resources, the same changes.
fn is_as_planned(planned: &Ran, applied: &Ran, tally: &Tally) -> Result<(), String> {
    let resources =
        |ran: &Ran| ran.events().into_iter().filter(|event| event["event"] == "resource").collect();
    let (planned, applied): (Vec<Value>, Vec<Value>) = (resources(planned), resources(applied));
    for plan in &planned {
        let apply =
            applied.iter().find(|apply| apply["id"] == plan["id"]).ok_or("a resource is not told of")?;
        let is_same = match (plan["status"].as_str(), apply["status"].as_str()) {
            (Some("unknown"), _) => {
                tally.open();
                continue;
            }
            (Some("changed"), Some("changed")) => attributes(plan) == attributes(apply),
            (plan, apply) => plan == apply,
        };
        tally.planned(is_same);
        if !is_same {
            return Err(format!("plan is apply: planned was {plan}, and applied {apply}"));
        }
    }
    Ok(())
}

/// What is changed, and to what; of the content that a command is run for, that it is.
fn attributes(report: &Value) -> Vec<(String, String)> {
    let changes = report["changes"].as_array().into_iter().flatten();
    let one = |change: &Value| {
        let attribute = change["attribute"].as_str().unwrap_or_default().to_owned();
        let to = if attribute == "on_change_of" { String::new() } else { change["to"].to_string() };
        (attribute, to)
    };
    changes.map(one).collect()
}
