//! What converge says about specs that are wrong: each file of tests/specs/bad, as a person
//! sees it. Reading these snapshots is the review of the words.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use converge::resource::TYPES;
use converge::spec::{LoadOptions, load};

/// The report on a spec that must be refused.
fn report(path: &Path) -> String {
    match load(path, &LoadOptions::default()) {
        Ok(_) => format!("{} was accepted\n", path.display()),
        // A new type is to change no snapshot.
        Err(problems) => problems.render(false, 1000).replace(&TYPES.join(", "), "TYPES"),
    }
}

/// The report on a file that holds these bytes.
fn report_on(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spec.yaml");
    fs::write(&path, bytes).unwrap();
    report(&path).replace(&directory.path().display().to_string(), "DIR")
}

#[test]
fn every_bad_spec_is_told_where_it_is_wrong_and_what_to_do() {
    let mut paths: Vec<_> =
        fs::read_dir("tests/specs/bad").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 80);
    for path in paths.iter().filter(|path| path.is_file()) {
        let report = report(path);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for part in
            report.split("\n\n").filter(|part| part.contains("╭─[") && !part.contains("this belongs to it"))
        {
            assert!(part.contains("help: "), "{name}: no way out in\n{part}");
            assert!(marked_at_its_head(part), "{name}: the head points elsewhere:\n{part}");
        }
        insta::assert_snapshot!(name, report);
    }
}

/// Whether the first `[file:line:column]` is where the excerpt has a mark: editors jump there.
fn marked_at_its_head(part: &str) -> bool {
    let head = part.split("╭─[").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let mut numbers = head.rsplitn(3, ':').map(|number| number.parse::<usize>().unwrap_or(0));
    let (column, line) = (numbers.next().unwrap(), numbers.next().unwrap());
    let mut rows = part.lines().skip_while(|row| !row.trim_start().starts_with(&format!("{line} │")));
    // An excerpt of nothing, a line that is cut, and characters that are two columns wide.
    let Some(text) =
        rows.next().filter(|row| row.len() < 130 && row.chars().all(|c| c < '\u{1100}' || c == '│'))
    else {
        return true;
    };
    let begin = text.chars().position(|c| c == '│').unwrap() + 2;
    rows.next().and_then(|marks| marks.chars().nth(begin + column - 1)).is_some_and(|c| "─┬▲".contains(c))
}

#[test]
fn files_that_are_no_specs_each_have_their_own_words() {
    let mut seen = String::new();
    let long_key = format!("resources: [{{file: /a, {}: 1}}]", "x".repeat(500));
    let cases: [(&str, &[u8]); 8] = [
        ("empty", b""),
        ("only a comment", b"# nothing here\n"),
        ("only a document mark", b"---\n"),
        ("NUL", b"resources:\n  - file: /a\0b\n"),
        ("UTF-16", b"\xff\xfer\0e\0s\0"),
        ("Latin-1", b"resources:\n  - file: /caf\xe9\n"),
        ("escape sequence in the excerpt", b"resources:\n  - file: \"\x1b[31mx\"\n"),
        ("a very long line", long_key.as_bytes()),
    ];
    for (name, bytes) in cases {
        seen.push_str(&format!("--- {name}\n{}\n", report_on(bytes)));
    }
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().to_path_buf(), directory.path().join("nowhere.yaml")] {
        let report = report(&path).replace(&directory.path().display().to_string(), "DIR");
        seen.push_str(&format!("--- a path\n{report}\n"));
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn hostile_files_end_in_an_error_soon() {
    let brackets = "[".repeat(10 * 1024 * 1024);
    let braces = "{a: ".repeat(1024 * 1024);
    let dashes = "- ".repeat(1024 * 1024);
    let mut laughs = String::from("vars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("  a{level}: &a{level} [{below}]\n"));
    }
    let mut deep = String::from("vars:\n  a0: &a0 [x]\n");
    for level in 1..5000 {
        deep.push_str(&format!("  a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let mut doubling = format!("vars:\n  a0: {}\n", "x".repeat(1000));
    for level in 1..40 {
        doubling.push_str(&format!("  a{level}: \"{{{{ a{0} }}}}{{{{ a{0} }}}}\"\n", level - 1));
    }
    let mut multiplying = "vars:\n  a0: [x]\n".to_owned();
    for level in 1..60 {
        multiplying.push_str(&format!("  a{level}: [\"{{{{ a{0} }}}}\", \"{{{{ a{0} }}}}\"]\n", level - 1));
    }
    let mut chain = "vars:\n  a0: x\n".to_owned();
    for level in 1..50_000 {
        chain.push_str(&format!("  a{level}: [\"{{{{ a{0} }}}}\"]\n", level - 1));
    }
    let looping = "resources:\n  - file: /a\n    content: \"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}\"\n".to_owned();
    let begin = Instant::now();
    for text in [brackets, braces, dashes, laughs, deep, doubling, multiplying, chain, looping] {
        let report = report_on(text.as_bytes());
        assert!(report.contains("help: "), "{report}");
        assert!(report.len() < 10_000, "a report of {} bytes", report.len());
    }
    assert!(begin.elapsed() < Duration::from_secs(120), "took {:?}", begin.elapsed());
}
