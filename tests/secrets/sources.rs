//! The four sources, and when they are read.

use std::fs;
use std::process::Command;

use crate::case::{Case, TOKEN, assert_hidden};
use crate::support::run;

/// A spec whose one secret comes from there, and goes into the file `f`.
fn with(source: &str) -> Case {
    Case::new(&format!(
        "secrets:\n  it: {source}\nresources:\n  - file: DIR/f\n    content: \"{{{{ secrets.it }}}}|\"\n"
    ))
}

fn written(case: &Case) -> String {
    case.run(&["apply"]).expect(0);
    fs::read_to_string(case.path("f")).unwrap()
}

#[test]
fn a_secret_comes_from_the_environment_a_file_or_a_command() {
    assert_eq!(written(&with("{file: token.txt}")), format!("{TOKEN}|"));
    assert_eq!(written(&with("{command: [cat, token.txt]}")), format!("{TOKEN}|"));
    assert_eq!(
        written(&with("{command: 'cat token.txt; echo'}")),
        format!("{TOKEN}\n|"),
        "one newline is cut"
    );
    let case = with("{env: CONVERGE_TEST_IT}");
    run(case.command(&["apply"]).env("CONVERGE_TEST_IT", "  four words in it\n")).expect(0);
    assert_eq!(fs::read_to_string(case.path("f")).unwrap(), "  four words in it\n|");
}

#[test]
fn a_template_in_a_secret_is_no_template() {
    let case = with("{file: braces}");
    fs::write(case.path("braces"), "{{ nothing }}{% for %}").unwrap();
    assert_eq!(written(&case), "{{ nothing }}{% for %}|");
}

#[test]
fn a_secret_comes_from_a_file_that_age_has_encrypted() {
    let case = with("{age: it.age, identity: key.txt}");
    let keygen = Command::new("age-keygen").arg("-o").arg(case.path("key.txt")).output();
    let Ok(keygen) = keygen else { return eprintln!("left out: no `age` here") };
    assert!(keygen.status.success());
    let public = String::from_utf8(
        Command::new("age-keygen").arg("-y").arg(case.path("key.txt")).output().unwrap().stdout,
    );
    let encrypted = Command::new("age")
        .args(["-r", public.unwrap().trim(), "-o"])
        .args([case.path("it.age"), case.path("token.txt")])
        .status();
    assert!(encrypted.unwrap().success());
    assert_eq!(written(&case), format!("{TOKEN}|"));
    let other = Command::new("age-keygen").arg("-o").arg(case.path("other.txt")).output().unwrap();
    assert!(other.status.success());
    fs::rename(case.path("other.txt"), case.path("key.txt")).unwrap();
    case.run(&["plan"]).expect(3).says("age cannot decrypt").says("no identity matched");
    fs::remove_file(case.path("key.txt")).unwrap();
    case.run(&["plan"]).expect(3).says("the identity").says("No such file");
}

#[test]
fn without_age_the_error_names_the_package() {
    let case = with("{age: it.age, identity: key.txt}");
    fs::write(case.path("it.age"), "").unwrap();
    fs::write(case.path("key.txt"), "").unwrap();
    // The usual places are searched too: only a machine without age has none.
    if Command::new("age").arg("--version").output().is_ok() {
        return eprintln!("left out: age is installed here");
    }
    case.run(&["plan"]).expect(3).says("`age` is not installed").says("the package is called `age`");
}

#[test]
fn a_secret_that_cannot_be_read_stops_the_run_before_anything_is_touched() {
    let cases = [
        (
            "{env: CONVERGE_TEST_NOT_SET}",
            "the environment variable CONVERGE_TEST_NOT_SET is not set",
            "read -rs",
        ),
        ("{file: nowhere}", "nowhere: No such file or directory", "relative to the file that names it"),
        ("{file: .}", "Is a directory", "name a plain file"),
        ("{file: empty}", "it is empty", "put the value there"),
        ("{file: short}", "it is shorter than 4 characters", "use a longer one"),
        ("{file: binary}", "is not UTF-8 text", "base64"),
        ("{file: nul}", "it holds a NUL byte", "base64"),
        ("{file: large}", "larger than 64 kB", "is it the right one?"),
        ("{command: 'echo not today >&2; exit 3'}", "ended with exit 3: not today", "run it by hand"),
        ("{command: [no-such-program-here]}", "`no-such-program-here` is not installed here", "install it"),
        ("{command: [\"true\"]}", "`true` printed nothing", "print the secret on its standard output"),
    ];
    for (source, what, help) in cases {
        let case = Case::new(&format!(
            "secrets:\n  it: {source}\nresources:\n  - file: DIR/f\n  - file: DIR/g\n    content: \"{{{{ secrets.it }}}}\"\n"
        ));
        fs::write(case.path("empty"), "\n").unwrap();
        fs::write(case.path("short"), "abc\n").unwrap();
        fs::write(case.path("binary"), b"\xff\xfe\xfd\xfc\xfb").unwrap();
        fs::write(case.path("nul"), b"abc\0def").unwrap();
        fs::write(case.path("large"), "x".repeat(70_000)).unwrap();
        for verb in ["plan", "apply"] {
            let refused = case.run(&[verb]).expect(3).says(what).says(help);
            refused.clone().says("the secret `it` cannot be read").says("spec.yaml:2").says("needed here");
            assert_eq!(refused.stdout, "", "{source}");
            assert!(!case.path("f").exists(), "{source}: nothing is touched");
        }
        case.run(&["validate"]).expect(0);
        case.run(&["graph"]).expect(0);
    }
}

#[test]
fn a_secret_is_read_once_and_only_where_it_is_needed() {
    let case = Case::new(
        "
secrets:
  used: {command: 'sh count used'}
  unused: {command: 'sh count unused'}
  only_in_a_variable: {command: 'sh count variable'}
  only_in_what_is_skipped: {command: 'sh count skipped'}
vars:
  dead: \"{{ secrets.only_in_a_variable }}\"
  both: \"{{ secrets.used }} {{ secrets.only_in_what_is_skipped }}\"
hosts:
  a: {connection: local}
  b: {connection: local}
resources:
  all:
    - file: DIR/{{ host.name }}
      content: \"{{ secrets.used }} {{ secrets.used }}\"
    - file: DIR/again
      when: host.name == \"a\"
      content: \"{{ secrets.used }}\"
    - file: DIR/skipped
      when: host.name == \"c\"
      content: \"{{ both }}\"
",
    );
    fs::write(case.path("count"), "echo $1 >> counted\necho value-of-$1\n").unwrap();
    case.run(&["validate"]).expect(0);
    case.run(&["graph"]).expect(0);
    assert!(!case.path("counted").exists(), "validate and graph read no secret");
    case.run(&["apply"]).expect(0);
    assert_eq!(fs::read_to_string(case.path("counted")).unwrap(), "used\n");
    assert_eq!(fs::read_to_string(case.path("a")).unwrap(), "value-of-used value-of-used");
}

#[test]
fn an_including_file_s_secret_wins_and_paths_begin_where_they_are_written() {
    let case = Case::new(
        "
include: [below/more.yaml]
secrets:
  mine: {file: token.txt}
resources:
  - file: DIR/f
    content: \"{{ secrets.mine }} {{ secrets.theirs }}\"
",
    );
    fs::create_dir(case.path("below")).unwrap();
    fs::write(case.path("below/token.txt"), "another-token").unwrap();
    let more = "secrets:\n  mine: {file: nowhere}\n  theirs: {file: token.txt}\nresources: []\n";
    fs::write(case.path("below/more.yaml"), more).unwrap();
    assert_eq!(written(&case), format!("{TOKEN} another-token"));
}

#[test]
fn the_value_of_a_secret_that_was_written_into_the_spec_is_not_repeated() {
    let case = Case::new(&format!(
        "secrets:\n  it: {TOKEN}\nhosts: {{a: {{become_password: {TOKEN}}}}}\nresources: []\n"
    ));
    let refused = case.run(&["validate"]).expect(3).says("a secret in the spec is none");
    assert_hidden(&refused, "validate");
}

#[test]
fn the_file_of_a_password_is_read_before_anything_is_touched() {
    let case = Case::new("resources:\n  - file: DIR/f\n");
    let nowhere = case.run(&["apply", "--become-password-file", "/nowhere"]).expect(3);
    nowhere.says("--become-password-file /nowhere: No such file or directory");
    fs::write(case.path("pw"), "ab\n").unwrap();
    let file = case.path("pw").display().to_string();
    case.run(&["plan", "--become-password-file", &file]).expect(3).says("shorter than 4 characters");
    assert!(!case.path("f").exists());
}
