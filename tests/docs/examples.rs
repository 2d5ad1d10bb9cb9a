//! Whoever copies an example from the documentation has something that works.

use std::fs;

use converge::resource::{TYPES, example};
use converge::spec::{LoadOptions, load};

use crate::support::{converge, run};
use crate::{files, spec_of, specs_in_the_docs};

/// Types whose examples want a machine that is run by systemd (or has a cron), has a hypervisor, a client, or a
/// network. The tests of these types run them there.
const WANT_A_HOST: [&str; 7] = ["unit", "program", "process", "domain", "cron", "git", "database"];

#[test]
fn the_example_of_every_type_is_valid_and_is_planned_without_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for word in TYPES {
        let path = directory.path().join(format!("{word}.yaml"));
        fs::write(&path, spec_of(example(word).unwrap())).unwrap();
        let spec = load(&path, &LoadOptions::default());
        let spec = spec.unwrap_or_else(|problems| panic!("{word}: {}", problems.render(false, 100)));
        assert!(spec.items.iter().any(|item| item.resource.type_word() == *word), "{word}");
        let ran = run(converge(directory.path()).arg("validate").arg(&path)).expect(0);
        assert!(ran.stderr.is_empty(), "{word}: {}", ran.stderr);
        if WANT_A_HOST.contains(word) {
            continue;
        }
        let plan = run(converge(directory.path()).arg("plan").arg(&path).args(["--format", "json"]));
        assert!(matches!(plan.code, 0 | 2), "{word}: exit {}\n{}{}", plan.code, plan.stdout, plan.stderr);
        assert_eq!(plan.summary()["failed"], 0, "{word}: {}", plan.stdout);
    }
}

#[test]
fn every_whole_spec_in_the_documentation_is_valid() {
    let specs = specs_in_the_docs();
    assert!(!specs.is_empty());
    let directory = tempfile::tempdir().unwrap();
    for (place, text) in specs {
        let path = directory.path().join("spec.yaml");
        fs::write(&path, text).unwrap();
        let ran = run(converge(directory.path()).arg("validate").arg(&path));
        assert_eq!(ran.code, 0, "{place}\n{}", ran.stderr);
    }
}

#[test]
fn every_example_file_is_valid_and_names_the_schema_to_editors() {
    let directory = tempfile::tempdir().unwrap();
    for path in files("examples", ".yaml") {
        run(converge(directory.path()).arg("validate").arg(&path)).expect(0);
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        let schema =
            first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{first}"));
        assert!(path.parent().unwrap().join(schema).is_file(), "{}: {schema}", path.display());
    }
}
