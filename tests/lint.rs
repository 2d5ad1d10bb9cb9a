//! What is allowed and likely to bite: warnings, who shows them, and who refuses them.

use std::fs;
use std::process::{Command, Output};

use converge::spec::{LoadOptions, load};

/// The warnings on a spec that must be valid, one a line.
fn warnings(text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spec.yaml");
    fs::write(&path, text).unwrap();
    let spec = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    spec.warnings.to_string().replace(&directory.path().display().to_string(), "DIR")
}

fn converge(arguments: &[&str]) -> Output {
    let runtime = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_converge"));
    command.env("CONVERGE_RUNTIME_DIR", runtime.path()).args(arguments).output().unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn each_warning_is_an_excerpt_with_a_way_out() {
    let path = std::path::Path::new("tests/specs/good/warnings.yaml");
    let spec = load(path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    insta::assert_snapshot!(spec.warnings.render(false, 100));
}

#[test]
fn what_will_not_bite_is_not_warned_of() {
    let text = r#"
hosts:
  dom0:
  vm: {depends_on: dom0/domain:vm, wait: 5m}
resources:
  dom0:
    - domain: vm
      state: running
  vm:
    - unit: app
      enabled: true
    - unit: old
      state: inactive
    - unit: worse
      masked: true
    - directory: /run/app
      tmpfiles: true
    - file: /run/app/x
    - directory: /run/alone
    - directory: /run/gone
      state: absent
    - directory: /running/is/elsewhere
    - file: /running/is/elsewhere/x
    - line: port
      file: /etc/app.conf
      text: Port 22
      match: ^#?Port
    - line: gone
      file: /etc/app.conf
      text: a
      match: b
      state: absent
    - command: make
      creates: /made
    - http: https://example.com
    - unit: skipped
      when: false
"#;
    assert_eq!(warnings(text), "");
}

#[test]
fn what_lies_in_a_directory_under_run_needs_it_after_a_reboot() {
    let text = "resources:\n  - directory: /run/app\n  - file: /run/app/x\n    when: WHEN\n";
    let seen = warnings(&text.replace("WHEN", "true"));
    assert_eq!(seen, "DIR/spec.yaml:2: /run/app is gone after a reboot, and something depends on it\n");
    assert_eq!(warnings(&text.replace("WHEN", "false")), "");
}

#[test]
fn a_group_is_warned_once_and_not_for_each_of_its_hosts() {
    let seen = warnings("hosts: {a: , b: }\nresources:\n  all:\n    - unit: app\n");
    assert_eq!(seen.lines().count(), 1, "{seen}");
}

#[test]
fn validate_shows_warnings_and_accepts_the_spec() {
    let seen = converge(&["validate", "specs/prod.yaml"]);
    assert_eq!(seen.status.code(), Some(0));
    assert_eq!(said(&seen.stdout), "specs/prod.yaml: valid: 5 resources on 3 hosts, 1 warning\n");
    assert!(
        said(&seen.stderr).contains("⚠ /var/run/supervisor is gone after a reboot"),
        "{}",
        said(&seen.stderr)
    );
}

#[test]
fn denied_warnings_are_errors_and_nothing_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (spec, made) = (directory.path().join("spec.yaml"), directory.path().join("made"));
    let text = format!("resources:\n  - command: touch {}\n    always: true\n", made.display());
    fs::write(&spec, text).unwrap();
    let spec = spec.display().to_string();
    for command in ["validate", "plan", "apply"] {
        let seen = converge(&[command, "--deny", "warnings", &spec]);
        assert_eq!(seen.status.code(), Some(3), "{command}");
        assert_eq!(said(&seen.stdout), "", "{command}");
        let told = said(&seen.stderr);
        assert!(
            told.contains("⚠ this command runs at every apply") && told.contains("1 warning, which"),
            "{told}"
        );
    }
    assert!(!made.exists());
    assert_eq!(converge(&["apply", "--quiet", &spec]).status.code(), Some(0));
    assert!(made.exists());
}

#[test]
fn plan_and_apply_leave_warnings_to_validate_so_that_cron_stays_silent() {
    let directory = tempfile::tempdir().unwrap();
    let spec = directory.path().join("spec.yaml");
    let text = format!(
        "resources:\n  - directory: {}\n    tmpfiles: true\n    when: false\n  - port: 1\n    state: closed\n  - command: test -d /\n    unless: test -d /\n  - http: http://127.0.0.1:1/\n    insecure: true\n    when: false\n",
        directory.path().display()
    );
    fs::write(&spec, text.replace("  - port: 1\n", "  - port: 1\n    depends_on: command:test -d /\n"))
        .unwrap();
    let seen = converge(&["apply", "--quiet", &spec.display().to_string()]);
    assert_eq!((said(&seen.stdout), said(&seen.stderr)), (String::new(), String::new()));
}
