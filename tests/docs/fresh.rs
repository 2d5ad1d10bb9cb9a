//! What is written in docs/ is what the program says now.

use std::fs;
use std::path::Path;

use converge::manual::{self, Manual};

use crate::support::{converge, run};

/// `UPDATE_DOCS=1` writes them; otherwise they must be so already.
fn hold(path: &Path, wanted: &str, stale: &mut Vec<String>) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wanted).unwrap();
    }
    if fs::read_to_string(path).unwrap_or_default() != wanted {
        stale.push(path.display().to_string());
    }
}

#[test]
fn the_reference_pages_and_the_schema_are_what_the_program_says() {
    let (manual, mut stale) = (Manual::new(), Vec::new());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = vec![docs.join("resources/README.md")];
    hold(&pages[0], &manual::index(&manual), &mut stale);
    for one in &manual.types {
        let path = docs.join("resources").join(one.word).with_extension("md");
        hold(&path, &manual::page(&manual, one), &mut stale);
        pages.push(path);
    }
    let runtime = tempfile::tempdir().unwrap();
    let schema = run(converge(runtime.path()).arg("schema")).expect(0).stdout;
    hold(&docs.join("schema.json"), &schema, &mut stale);
    assert!(stale.is_empty(), "stale: {stale:?}: UPDATE_DOCS=1 cargo test --test docs");
    let more: Vec<_> =
        crate::files("docs/resources", "").into_iter().filter(|at| !pages.contains(at)).collect();
    assert!(more.is_empty(), "pages of no type: {more:?}");
}

#[test]
fn every_type_and_every_attribute_is_documented() {
    let manual = Manual::new();
    let surrounding = manual.common.iter().chain(&manual.host);
    let own = manual.types.iter().flat_map(|one| &one.attributes);
    let parts: Vec<_> = manual.types.iter().flat_map(|one| manual.parts(one)).collect();
    assert!(!parts.is_empty(), "the steps of http are told");
    let inner = parts.iter().flat_map(|(_, of_each)| of_each);
    for attribute in surrounding.chain(own).chain(inner) {
        let docs = attribute.docs.join(" ");
        assert!(docs.len() > 10 && docs.ends_with('.'), "{}: {docs}", attribute.name);
    }
    for one in &manual.types {
        assert!(one.summary().ends_with('.'), "{}: {}", one.word, one.summary());
        assert_eq!(one.attributes[0].name, one.word, "the name comes first");
        assert!(one.attributes.iter().all(|attribute| !attribute.name.starts_with('_')), "{}", one.word);
    }
}

#[test]
fn explain_says_what_the_pages_say_within_a_hundred_columns() {
    let (manual, runtime) = (Manual::new(), tempfile::tempdir().unwrap());
    let explain = |what: &[&str]| run(converge(runtime.path()).arg("explain").args(what));
    let list = explain(&[]).expect(0).stdout;
    for one in &manual.types {
        assert!(list.contains(&format!("\n{} ", one.word)) || list.starts_with(one.word), "{list}");
        let text = explain(&[one.word]).expect(0).stdout;
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let broken = |line: &&str| line.matches('`').count() % 2 == 1;
        assert_eq!(text.lines().find(broken), None, "code is broken in two");
        for attribute in one.attributes.iter().chain(manual.common_of(one)) {
            assert!(text.contains(&format!("\n  {} (", attribute.name)), "{}\n{text}", attribute.name);
        }
        assert!(text.contains(one.example.lines().next().unwrap()), "{text}");
    }
    explain(&["http.timeout"]).expect(0).says("http.timeout (duration; default 10s)").does_not_say("method");
    explain(&["http.steps.form"])
        .expect(0)
        .says("http.steps.form (mapping)")
        .says("as a browser sends a form");
    explain(&["file.when"]).expect(0).says("file.when (expression)");
}

#[test]
fn explain_of_what_there_is_not_says_what_was_meant() {
    let runtime = tempfile::tempdir().unwrap();
    let explain = |what: &str| run(converge(runtime.path()).args(["explain", what]));
    assert_eq!(explain("fiel").expect(3).says("did you mean `file`?").stdout, "");
    explain("teapot").expect(3).says("the types are: command, directory");
    explain("file.mod").expect(3).says("`file` has no `mod`").says("did you mean `mode`?");
    explain("http.steps.fom").expect(3).says("`http.steps` has no `fom`").says("did you mean `form`?");
    explain("file.mode.bits").expect(3).says("`file.mode` has no `bits`");
    explain("file.teapot").expect(3).says("it has: file, state").says("depends_on");
}
