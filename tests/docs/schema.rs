//! The JSON Schema against converge itself, with a validator that knows nothing of converge.

use std::fs;

use converge::manual::{self, Manual};
use converge::resource::{TYPES, example};
use converge::spec::{LoadOptions, load};
use jsonschema::Validator;

use crate::{files, spec_of, specs_in_the_docs, yaml};

/// Specs whose badness is in what they mean: no JSON Schema can see it.
const UNSEEN: &[(&str, &str)] = &[
    ("accounts_gone", "identities are compared"),
    ("below_what_is_gone", "identities are compared"),
    ("cycle", "references are resolved"),
    ("cycle_of_three", "references are resolved"),
    ("declared_twice", "identities are compared"),
    ("depends_on_itself", "references are resolved"),
    ("fights", "identities are compared"),
    ("fights_in_a_file", "identities are compared"),
    ("for_each_same_name", "templates are rendered, identities compared"),
    ("groups_in_a_circle", "groups are resolved"),
    ("hosts_twice_by_include", "another file"),
    ("include", "another file"),
    ("include_circle", "another file"),
    ("include_circle_of_three", "another file"),
    ("included_has_errors", "another file"),
    ("missing_files", "another file"),
    ("mounts_fight", "identities are compared"),
    ("nested_templates", "templates are rendered"),
    ("one_of_a_machine", "identities are compared"),
    ("own_file_declared_twice", "identities are compared"),
    ("packages_that_fight", "identities are compared"),
    ("reserved_variables", "names of variables are converge's own affair"),
    ("tag", "a tag of YAML is gone before a schema is asked"),
    ("template_file_with_an_error", "another file"),
    ("template_syntax", "templates are rendered"),
    ("three_kinds", "identities are compared"),
    ("too_deep", "an editor has a depth of its own"),
    ("too_deep_in_blocks", "an editor has a depth of its own"),
    ("type_comes_first", "JSON Schema sees no order of keys"),
    ("typed_by_template", "templates are rendered"),
    ("undefined_in_for_each", "templates are rendered"),
    ("undefined_variable", "templates are rendered"),
    ("unknown_members", "groups are resolved"),
    ("unknown_target", "keys are compared with the names of hosts"),
    ("variables_in_a_circle", "templates are rendered"),
    ("wide_characters", "templates are rendered"),
];

fn validator() -> Validator {
    let schema = manual::schema(&Manual::new());
    jsonschema::draft7::meta::validate(&schema).unwrap_or_else(|error| panic!("no JSON Schema: {error}"));
    jsonschema::draft7::new(&schema).unwrap()
}

/// What is wrong with a spec, as an editor would say it.
fn complaints(validator: &Validator, text: &str) -> Vec<String> {
    match yaml::read(text) {
        None => vec!["no YAML".to_owned()],
        Some(spec) => {
            validator.iter_errors(&spec).map(|error| format!("{}: {error}", error.instance_path())).collect()
        }
    }
}

#[test]
fn the_schema_takes_every_good_spec() {
    let validator = validator();
    let mut specs = specs_in_the_docs();
    specs.extend(TYPES.iter().map(|word| ((*word).to_owned(), spec_of(example(word).unwrap()))));
    for directory in ["tests/specs/good", "specs", "examples"] {
        let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read_to_string(path).unwrap());
        specs.extend(files(directory, ".yaml").into_iter().map(read));
    }
    assert!(specs.len() > TYPES.len() + 3);
    for (place, text) in specs {
        assert_eq!(complaints(&validator, &text), Vec::<String>::new(), "{place}");
    }
}

#[test]
fn the_schema_refuses_every_bad_spec_but_those_whose_badness_it_cannot_see() {
    let validator = validator();
    let mut taken = Vec::new();
    for path in files("tests/specs/bad", ".yaml") {
        let text = fs::read_to_string(&path).unwrap();
        if complaints(&validator, &text).is_empty() {
            taken.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    let unseen: Vec<_> = UNSEEN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(taken, unseen);
}

/// Items as people write them: converge and the schema must be of one mind about each.
const ITEMS: &str = include_str!("items.txt");

#[test]
fn the_schema_and_converge_are_of_one_mind_about_every_spelling() {
    let (validator, directory) = (validator(), tempfile::tempdir().unwrap());
    fs::write(directory.path().join("beside"), "text\n").unwrap();
    let path = directory.path().join("spec.yaml");
    let (mut good, mut bad, mut differences) = (0, 0, Vec::new());
    for item in ITEMS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let text = format!(
            "vars: {{x: /x, on: true, many: [/a], map: {{a: b}}, n: 200}}\nresources:\n  - {{{item}}}\n"
        );
        fs::write(&path, &text).unwrap();
        let loaded = load(&path, &LoadOptions::default());
        let complaints = complaints(&validator, &text);
        match &loaded {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
        if loaded.is_ok() != complaints.is_empty() {
            let converge = loaded.err().map_or("good".to_owned(), |problems| problems.render(false, 100));
            differences.push(format!("{item}\n  converge: {converge}\n  schema: {complaints:?}"));
        }
    }
    assert!(good > 50 && bad > 50, "{good} good, {bad} bad");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The same of what stands around the items: whole specs, with `---` between them.
#[test]
fn the_schema_and_converge_are_of_one_mind_about_what_surrounds_resources() {
    let (validator, directory) = (validator(), tempfile::tempdir().unwrap());
    fs::write(directory.path().join("part.yaml"), "resources: []\n").unwrap();
    let path = directory.path().join("spec.yaml");
    let mut differences = Vec::new();
    for text in include_str!("specs.txt").split("---\n") {
        fs::write(&path, text).unwrap();
        let loaded = load(&path, &LoadOptions::default());
        let complaints = complaints(&validator, text);
        if loaded.is_ok() != complaints.is_empty() {
            let converge = loaded.err().map_or("good".to_owned(), |problems| problems.render(false, 100));
            differences.push(format!("{text}\n  converge: {converge}\n  schema: {complaints:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
