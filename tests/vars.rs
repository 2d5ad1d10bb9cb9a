//! `converge vars`: every variable, its value, and who says so.

use std::fs;
use std::process::{Command, Output};

const MAIN: &str = r#"vars:
  site: "https://{{ domain }}/"
  domain: example.com
  mode: 0755
  boot: true
  lines: [1, "{{ host.name }}"]
  path: "/srv/{{ item }}"
  package: "{{ 'apk' if facts.os.id == 'alpine' else 'apt' }}"
  own: "{{ rank }}"
include:
  - {file: part.yaml, vars: {name: given, mode: 7}}
hosts:
  web1: {vars: {domain: one.example.com, rank: 1}}
  web2: {vars: {rank: 2}}
resources: {}
"#;

const PART: &str = "vars:\n  name: part\n  mode: 1\n  url: \"http://{{ name }}/\"\nresources: {}\n";

fn vars(arguments: &[&str]) -> (Output, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("main.yaml"), MAIN).unwrap();
    fs::write(directory.path().join("part.yaml"), PART).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_converge"));
    let seen =
        command.current_dir(directory.path()).args(["vars", "main.yaml"]).args(arguments).output().unwrap();
    let shown = String::from_utf8(seen.stdout.clone()).unwrap();
    (seen, shown)
}

#[test]
fn each_variable_is_shown_with_its_place_and_what_it_wins_over() {
    insta::assert_snapshot!(vars(&[]).1);
}

#[test]
fn a_host_sees_its_own_and_the_command_line_wins() {
    insta::assert_snapshot!(vars(&["--host", "web1", "--var", "domain=x", "--var", "new=1"]).1);
}

#[test]
fn json_holds_whole_values_with_their_types() {
    let (_, shown) = vars(&["--host", "web1", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let section = &shown["sections"][0];
    assert_eq!(section["host"], "web1");
    let variable = |name: &str| {
        section["variables"]
            .as_array()
            .unwrap()
            .iter()
            .find(|variable| variable["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(variable("boot")["value"], true);
    assert_eq!(variable("mode")["value"], "0755");
    assert_eq!(variable("lines")["value"], serde_json::json!([1, "web1"]));
    assert_eq!(
        variable("domain"),
        serde_json::json!({
            "name": "domain", "value": "one.example.com",
            "from": {"kind": "host", "location": "main.yaml:13"},
            "over": [{"kind": "file", "location": "main.yaml:3"}],
        })
    );
}

#[test]
fn a_host_that_is_not_there_is_an_error_with_a_way_out() {
    let (seen, shown) = vars(&["--host", "web3"]);
    let told = String::from_utf8(seen.stderr).unwrap();
    assert_eq!((seen.status.code(), shown.as_str()), (Some(3), ""));
    assert!(told.contains("there is no host `web3`") && told.contains("did you mean"), "{told}");
}
