//! A second opinion: what must be seen on the host, from the declared goal alone.

use std::collections::BTreeMap;

use converge::attribute::sha256_hex;

use crate::bench::{Bench, Found, Told};
use crate::world::Goal;

/// What lies where, when all is as declared; what is to be gone is not in it.
fn expected(goal: &Goal) -> BTreeMap<String, Found> {
    let file = |mode: u32, content: &str| Found { kind: '-', mode, content: sha256_hex(content.as_bytes()) };
    let mut expected = BTreeMap::new();
    for (name, version) in &goal.files {
        if let Some(version) = version {
            expected.insert(format!("/srv/soak/{name}"), file(version.mode(), &version.content()));
        }
    }
    for (reader, version) in &goal.confs {
        expected.insert(format!("/etc/soak/{reader}.conf"), file(0o644, &format!("{version}\n")));
    }
    for (path, content) in goal.own_files() {
        expected.insert(path, file(0o644, &content));
    }
    let link = Found { kind: 'l', mode: 0o777, content: goal.slow.to_string() };
    expected.insert("/srv/soak/current".to_owned(), link);
    expected.insert(format!("/srv/soak/slow-{}", goal.slow), file(0o644, ""));
    expected
}

/// What the spec says nothing of: directories, and what people change.
fn is_out_of_question(path: &str, found: &Found) -> bool {
    found.kind == 'd' || path == "/etc/soak/hand.conf"
}

/// Every file is the old one or the new one, with its own mode; or a candidate that got no name.
pub fn nothing_half_written(bench: &Bench, before: &Goal, after: &Goal) -> Result<(), String> {
    let known = [expected(before), expected(after)];
    for (path, found) in bench.files() {
        let is_known = known.iter().any(|end| end.get(&path) == Some(&found));
        if !(is_known || is_out_of_question(&path, &found) || path.ends_with(".converge")) {
            return Err(format!("half written: {path} is neither old nor new: {found:?}"));
        }
    }
    Ok(())
}

/// It is as declared, and nothing else is there.
pub fn as_declared(bench: &Bench, goal: &Goal) -> Result<(), String> {
    let mut missing = expected(goal);
    for (path, found) in bench.files() {
        if is_out_of_question(&path, &found) {
            continue;
        }
        match missing.remove(&path) {
            Some(wanted) if wanted == found => {}
            Some(wanted) => return Err(format!("as declared: {path} is {found:?} and should be {wanted:?}")),
            None => return Err(format!("left behind: {path}: {found:?}")),
        }
    }
    match missing.keys().next() {
        Some(path) => Err(format!("as declared: {path} is not there")),
        None => Ok(()),
    }
}

/// What a reader of files runs with by the goal, and which of its starts are looked at.
pub struct Debt<'a> {
    pub name: char,
    pub told: &'a [Told],
    /// How many of them were told when the round's first run was over.
    pub known: usize,
    pub owed: [String; 3],
}

impl Debt<'_> {
    /// It was started with what is there now, and once for each thing that happened.
    pub fn is_paid_once(&self) -> Result<usize, String> {
        let Debt { name, told, known, owed } = self;
        let Some(last) = told.last() else { return Err(format!("restart debt: {name} was never started")) };
        if last.what == "hand" || last.versions != *owed {
            return Err(format!("restart debt: {name} runs with {last:?}, and should with {owed:?}"));
        }
        let mut restarts = 0;
        for index in (*known).max(1)..told.len() {
            let (now, then) = (&told[index], &told[index - 1]);
            if now.what == "hand" {
                continue;
            }
            restarts += 1;
            if then.what != "hand" && now.boot == then.boot && now.versions == then.versions {
                return Err(format!(
                    "restart debt: {name} was restarted twice for one cause: {then:?}, {now:?}"
                ));
            }
        }
        let of_first_boot = told[(*known).min(told.len())..].iter().filter(|one| {
            one.what != "hand" && Some(&one.boot) == told.get(known.saturating_sub(1)).map(|one| &one.boot)
        });
        let by_hand = told[*known..].iter().filter(|one| one.what == "hand").count();
        let count = of_first_boot.count();
        if count > 1 + by_hand {
            return Err(format!("restart debt: {name} was restarted {count} times: {:?}", &told[*known..]));
        }
        Ok(restarts)
    }
}

/// The command: once for each content. A run that was cut short counts for nothing, and is made
/// again.
pub fn command_ran(told: &[Told], known: usize, before: u32, after: u32) -> Result<(), String> {
    let new = &told[known..];
    let ended = new.iter().filter(|one| one.what == "end" && one.versions[0] == after.to_string()).count();
    let others = new.iter().find(|one| one.versions[0] != after.to_string());
    match (before == after, others) {
        (_, Some(other)) => Err(format!("command: it ran for what is not there: {other:?}")),
        (true, None) if !new.is_empty() => Err(format!("command: it ran without a cause: {new:?}")),
        (false, None) if !(1..=2).contains(&ended) => {
            Err(format!("command: it ran to its end {ended} times: {new:?}"))
        }
        _ => Ok(()),
    }
}
