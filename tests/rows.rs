//! How many starts each type was seen from: what the tables of tests/types noted in this run, counted
//! for every type of the registry. scripts/test makes the file and runs this last. Where only some of
//! the tests run nothing is counted, for it would say nothing.

use std::collections::{BTreeMap, BTreeSet};

use converge::resource::TYPES;

const FEWEST: usize = 10;

/// Of one type.
#[derive(Default)]
struct Seen<'a> {
    starts: BTreeSet<&'a str>,
    /// What came of it, and from how many starts.
    ends: BTreeMap<&'a str, usize>,
    /// The attributes of which a start was off.
    off: BTreeSet<&'a str>,
}

fn read(rows: &str) -> BTreeMap<&str, Seen<'_>> {
    let mut types: BTreeMap<&str, Seen> = TYPES.iter().map(|word| (*word, Seen::default())).collect();
    for row in rows.lines() {
        let fields: Vec<&str> = row.split('\t').collect();
        let [word, start, end, off] = fields[..] else { panic!("half a row: {row:?}") };
        let seen = types.get_mut(word).unwrap_or_else(|| panic!("no such type: {row:?}"));
        seen.starts.insert(start);
        *seen.ends.entry(end).or_default() += 1;
        seen.off.extend(off.split_whitespace());
    }
    types
}

fn shown(types: &BTreeMap<&str, Seen>) -> String {
    let mut table = format!(
        "{:15} {:>6}  {:>7} {:>5} {:>7} {:>7}  off in some row\n",
        "type", "starts", "changed", "held", "refused", "awaited"
    );
    for (word, seen) in types {
        let [changed, held, refused, awaited] = ["changed", "held", "refused", "awaited"]
            .map(|end| seen.ends.get(end).map(ToString::to_string).unwrap_or_default());
        let off: Vec<&str> = seen.off.iter().copied().collect();
        let line = format!(
            "{word:15} {:>6}  {changed:>7} {held:>5} {refused:>7} {awaited:>7}  {}",
            seen.starts.len(),
            off.join(" ")
        );
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn too_few<'a>(types: &BTreeMap<&'a str, Seen>) -> Vec<&'a str> {
    types.iter().filter(|(_, seen)| seen.starts.len() < FEWEST).map(|(word, _)| *word).collect()
}

#[test]
fn every_type_was_seen_from_ten_starts_or_more() {
    let Some(file) = std::env::var_os("CONVERGE_ROWS") else {
        println!(
            "not counted: only `make test` runs all tables, and only with a lab (CONVERGE_ROWS names its file)"
        );
        return;
    };
    let rows = std::fs::read_to_string(&file).expect("scripts/test made the file");
    let types = read(&rows);
    println!("The starts that each type was seen from in this run:\n{}", shown(&types));
    let few = too_few(&types);
    assert!(few.is_empty(), "fewer than {FEWEST} starts (a row that fails is not counted): {few:?}");
}

#[test]
fn one_start_counts_once_and_a_type_without_rows_is_one_with_too_few() {
    let mut rows: String = TYPES[1..]
        .iter()
        .flat_map(|word| (0..FEWEST).map(move |number| format!("{word}\tstart {number}\theld\t\n")))
        .collect();
    assert_eq!(too_few(&read(&rows)), [TYPES[0]]);
    for number in [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9] {
        rows.push_str(&format!("{}\tstart {number}\tchanged\tstate mode\n", TYPES[0]));
    }
    assert_eq!(too_few(&read(&rows)), [TYPES[0]]);
    rows.push_str(&format!("{}\tstart 10\trefused\t\n", TYPES[0]));
    let types = read(&rows);
    assert_eq!(too_few(&types), [""; 0]);
    let line = format!("{:15}     10       11             1          mode state\n", TYPES[0]);
    assert!(shown(&types).contains(&line), "{}", shown(&types));
}
