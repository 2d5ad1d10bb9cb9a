//! Secrets beside facts: what stands on facts is resolved once a host has told them, and its
//! secrets are read before that.

use std::fs;

use crate::case::{Case, DECLARED, OLD, TOKEN, assert_hidden};

const LATE: &str = "
vars:
  dsn: \"{{ facts.kernel }} {{ secrets.it }}\"
resources:
  - file: DIR/first
  - file: DIR/late
    content: \"{{ dsn }}\\n\"
  - file: DIR/from_template
    template: late.j2
";

fn case(source: &str) -> Case {
    let case = Case::new(&format!("secrets:\n  it: {source}\n{LATE}"));
    fs::write(case.path("late.j2"), "{% if facts.kernel %}{{ secrets.it }}{% endif %}\n").unwrap();
    case
}

#[test]
fn what_stands_on_facts_has_its_secrets_and_shows_none() {
    let case = case("{file: token.txt}");
    fs::write(case.path("late"), OLD).unwrap();
    fs::write(case.path("from_template"), OLD).unwrap();
    for words in [&["validate"][..], &["plan"], &["plan", "--format", "json"], &["apply"], &["plan"]] {
        assert_hidden(&case.run(words), words[0]);
    }
    case.run(&["plan"]).expect(0);
    assert!(fs::read_to_string(case.path("late")).unwrap().ends_with(&format!(" {TOKEN}\n")));
    assert_eq!(fs::read_to_string(case.path("from_template")).unwrap(), TOKEN);
}

#[test]
fn a_secret_that_only_such_a_resource_needs_stops_the_run_before_anything_is_touched() {
    let case = case("{file: nowhere}");
    case.run(&["validate"]).expect(0);
    let refused = case.run(&["apply"]).expect(3).says("the secret `it` cannot be read");
    assert_eq!(refused.stdout, "");
    assert!(!case.path("first").exists());
}

#[test]
fn a_command_line_with_facts_and_a_secret_is_refused_too() {
    let case = Case::new(&format!(
        "{DECLARED}
resources:
  - command: x
    run: \"echo {{{{ facts.kernel }}}} {{{{ secrets.token }}}} > DIR/ran\"
    always: true
"
    ));
    let refused = case.run(&["apply"]);
    assert_hidden(&refused, "refused");
    assert_ne!(refused.code, 0);
    refused.says("would be on the argument list of a process");
    assert!(!case.path("ran").exists());
}
