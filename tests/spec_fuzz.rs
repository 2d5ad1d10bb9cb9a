//! No input makes the loader panic, loop or fall silent: mutations of all the specs in tests/specs.
//!
//! A short round, the same every time, is part of the tests. The long one is
//! `CONVERGE_FUZZ_SECONDS=600 cargo test --release --test spec_fuzz -- --ignored`; what it finds
//! is left in target/spec_fuzz, and belongs into tests/specs/found once it is fixed.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use converge::graph;
use converge::resource::{TYPES, example};
use converge::spec::{LoadOptions, load};

/// Longer than this, and the input is a finding: a release build takes milliseconds.
const TOO_LONG: Duration = Duration::from_secs(10);

/// What is likely to matter to YAML, to templates, or to the loader.
const WORDS: &[&str] = &[
    "{{",
    "}}",
    "{{ a }}",
    "{%",
    "%}",
    "{% for x in a %}",
    "{##",
    "##}",
    "{{ item.key }}",
    "{{ host.name }}",
    "{{ captured.x }}",
    ": ",
    ":",
    "- ",
    "-",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "  ",
    "    ",
    "\n  ",
    "\n    - ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "<<: *a",
    "? ",
    "---\n",
    "...\n",
    "#",
    "!!str ",
    "%YAML 1.2\n",
    "\u{feff}",
    "\0",
    "\u{85}",
    "\u{2028}",
    "é",
    "\u{1f4a9}",
    "~",
    "null",
    "true",
    "yes",
    "0",
    "-1",
    "0755",
    "0o755",
    "755",
    "1e999",
    "99999999999999999999",
    ".nan",
    "/",
    "//",
    "/..",
    "u+x",
    "5m",
    "999999999999h",
    "vars:\n",
    "hosts:\n",
    "groups:\n",
    "include: other.yaml\n",
    "include: spec.yaml\n",
    "resources:\n",
    "  all:\n",
    "  localhost:\n",
    "for_each: ",
    "for_each: [a, b]\n",
    "when: ",
    "depends_on: ",
    "restart_on: ",
    "wait: 5m\n",
    "state: absent\n",
    "template: other.yaml\n",
    "source: other.yaml\n",
    "file: ",
    "directory: ",
    "unit: ",
    "host:",
    "all/",
    "| quote",
    "| default('x')",
    "range(9)",
    "\\",
    "\\x",
    "\\u00",
    "%",
];

/// xorshift64*: the same numbers from the same seed, on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `limit`, which may be 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }

    fn range(&mut self, length: usize, most: usize) -> (usize, usize) {
        let start = self.below(length + 1);
        (start, (start + self.below(most + 1)).min(length))
    }
}

/// Every spec of tests/specs and every type's example: those that load, and the others.
fn corpus() -> [Vec<Vec<u8>>; 2] {
    let mut paths = Vec::new();
    let mut left = vec![PathBuf::from("tests/specs")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    let (good, bad): (Vec<_>, Vec<_>) =
        paths.iter().partition(|path| load(path, &LoadOptions::default()).is_ok());
    let read = |paths: Vec<&PathBuf>| -> Vec<Vec<u8>> {
        let all = paths.into_iter().map(|path| fs::read(path).unwrap());
        all.filter(|bytes| bytes.len() < 20_000).collect()
    };
    let (mut good, bad) = (read(good), read(bad));
    for word in TYPES {
        let lines = example(word).unwrap().lines().map(|line| format!("  {line}\n"));
        good.push(format!("resources:\n{}", lines.collect::<String>()).into_bytes());
    }
    [good, bad]
}

fn any<'a>(dice: &mut Dice, corpus: &'a [Vec<Vec<u8>>; 2]) -> &'a [u8] {
    let half = &corpus[dice.below(2)];
    &half[dice.below(half.len())]
}

fn mutate(dice: &mut Dice, corpus: &[Vec<Vec<u8>>; 2]) -> Vec<u8> {
    let mut bytes = any(dice, corpus).to_vec();
    for _ in 0..=dice.below(6) {
        let length = bytes.len();
        match dice.below(9) {
            0 if length > 0 => bytes[dice.below(length)] ^= 1 << dice.below(8),
            1 => {
                let (start, end) = dice.range(length, 40);
                bytes.drain(start..end);
            }
            2 => {
                let (start, end) = dice.range(length, 60);
                let copy = bytes[start..end].to_vec();
                let at = dice.below(length + 1);
                bytes.splice(at..at, copy);
            }
            3..=5 => {
                let at = dice.below(length + 1);
                let word = WORDS[dice.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            6 => {
                let other = any(dice, corpus);
                let (start, end) = dice.range(other.len(), 300);
                let at = dice.below(length + 1);
                bytes.splice(at..at, other[start..end].iter().copied());
            }
            7 => lines(dice, &mut bytes),
            _ => {
                let word = WORDS[dice.below(WORDS.len())].repeat(1 + dice.below(200));
                let (start, end) = dice.range(length, 10);
                bytes.splice(start..end, word.bytes());
            }
        }
        bytes.truncate(64 * 1024);
    }
    bytes
}

/// Swaps, moves or indents whole lines, which leaves more of a spec's shape than bytes do.
fn lines(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (dice.below(lines.len()), dice.below(lines.len()));
    match dice.below(3) {
        0 => lines.swap(one, other),
        1 => drop(lines.splice(one..one, [lines[other].clone()])),
        _ => drop(lines[one].splice(0..0, vec![b' '; 1 + dice.below(4)])),
    }
    *bytes = lines.concat();
}

/// Loads it, shows all that there is to show, and says what is wrong with what came out.
fn verdict(path: &Path) -> Result<bool, String> {
    let begun = Instant::now();
    let loaded = load(path, &LoadOptions::default());
    let good = loaded.is_ok();
    match loaded {
        Ok(spec) => drop((graph::text(&spec), graph::dot(&spec), graph::mermaid(&spec))),
        Err(problems) => {
            if problems.list().is_empty() {
                return Err("refused without a word".to_owned());
            }
            for problem in problems.list() {
                if problem.help.is_none() {
                    return Err(format!("no way out: {}", problem.what));
                }
            }
            let shown = problems.render(false, 100) + &problems.to_string();
            if shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
                return Err("a control character in the report".to_owned());
            }
        }
    }
    match begun.elapsed() {
        took if took > TOO_LONG => Err(format!("took {took:?}")),
        _ => Ok(good),
    }
}

/// Plays until `over` says so; every finding by its words, with its input.
fn play(seed: u64, directory: &Path, over: impl Fn(u64) -> bool) -> (u64, u64, BTreeMap<String, Vec<u8>>) {
    fs::create_dir_all(directory).unwrap();
    let corpus = corpus();
    let mut dice = Dice(seed);
    // Where the process dies of it (a stack that overflows), the input is what lies here.
    let (path, other) = (directory.join("spec.yaml"), directory.join("other.yaml"));
    let (mut rounds, mut good) = (0, 0);
    let mut found = BTreeMap::new();
    while !over(rounds) {
        rounds += 1;
        let bytes = mutate(&mut dice, &corpus);
        fs::write(&path, &bytes).unwrap();
        if rounds % 8 == 1 {
            fs::write(&other, mutate(&mut dice, &corpus)).unwrap();
        }
        let seen = catch_unwind(AssertUnwindSafe(|| verdict(&path)));
        match seen.unwrap_or_else(|panic| Err(words(&*panic))) {
            Ok(loaded) => good += u64::from(loaded),
            Err(what) => drop(found.entry(what).or_insert(bytes)),
        }
    }
    (rounds, good, found)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?"))
}

fn tell(rounds: u64, good: u64, found: &BTreeMap<String, Vec<u8>>, directory: &Path) {
    eprintln!("{rounds} rounds, {good} of them specs that load, {} findings", found.len());
    for (number, (what, bytes)) in found.iter().enumerate() {
        let path = directory.join(format!("finding-{number}.yaml"));
        fs::write(&path, bytes).unwrap();
        eprintln!("{}: {what}", path.display());
    }
    assert!(found.is_empty(), "findings");
}

#[test]
fn a_thousand_mutated_specs_are_loaded_or_refused_with_a_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let (rounds, good, found) = play(0x5eed, directory.path(), |rounds| rounds >= 1000);
    assert!(good > 5, "{good} of {rounds} load: the mutations break too much to reach anything");
    tell(rounds, good, &found, Path::new("target"));
}

#[test]
#[ignore = "runs for CONVERGE_FUZZ_SECONDS, 600 unless told"]
fn mutated_specs_for_as_long_as_you_like() {
    let told = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let until = Instant::now() + Duration::from_secs(told("CONVERGE_FUZZ_SECONDS").unwrap_or(600));
    let seed = told("CONVERGE_FUZZ_SEED").unwrap_or(u64::from(std::process::id()) * 2 + 1);
    let directory = PathBuf::from("target/spec_fuzz").join(seed.to_string());
    eprintln!("seed {seed}");
    let (rounds, good, found) = play(seed, &directory, |_| Instant::now() >= until);
    tell(rounds, good, &found, &directory);
}

#[test]
fn what_was_found_stays_fixed() {
    for entry in fs::read_dir("tests/specs/found").into_iter().flatten() {
        let path = entry.unwrap().path();
        verdict(&path).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
    }
}
