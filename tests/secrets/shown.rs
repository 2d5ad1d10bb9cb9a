//! What is shown of a run that handles secrets everywhere: every format, plan and apply, success
//! and failure.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use converge::resource::AnyResource;
use converge::system::System;

use crate::case::{Case, DB, DECLARED, KEY, OLD, TOKEN, assert_hidden};
use crate::support::{Ran, run};

/// Prints its input in every form that a program might.
const SHOW: &str = r#"
import sys, json, base64, html, shlex, urllib.parse, os
for s in (sys.stdin.buffer.read().decode(), os.environ.get('DB', ''), os.environ.get('KEY', '')):
    b = s.encode()
    for out in (sys.stdout, sys.stderr):
        for form in (s, repr(s), json.dumps(s), json.dumps(s, ensure_ascii=False), json.dumps({'a': json.dumps(s)}),
                     html.escape(s), shlex.quote(s), urllib.parse.quote(s, safe=''), urllib.parse.quote_plus(s),
                     urllib.parse.quote(s).lower(), b.hex(), b.hex().upper(), b.hex(':'),
                     base64.b64encode(b).decode(), base64.b64encode(b'u:' + b).decode(), base64.b64encode(b'u' + b + b'xyz').decode(),
                     base64.urlsafe_b64encode(b'user:' + b).decode(), base64.encodebytes(b * 3).decode(), s.upper(), s.replace('\n', '\n    ')):
            print('form:', form, file=out)
sys.exit(7)
"#;

const FAILS: &str = "
vars:
  dsn: {host: db1, url: \"postgres://app:{{ secrets.db | urlencode }}@db1/app\"}
resources:
  - file: DIR/new
    content: \"password={{ secrets.db }}\\n\"
    mode: 600
  - file: DIR/replaced
    content: \"password={{ secrets.token }}\\nother=1\\n\"
  - file: DIR/rendered
    template: conf.j2
  - file: DIR/unrelated
    content: |
      nothing of a secret
  - file: DIR/refused
    content: \"{{ secrets.key }}\\n{{ dsn.url }}\\n\"
    validate: cat {} >&2; cat {} | base64; false
  - command: shows everything
    run: [python3, DIR/show.py]
    always: true
    stdin: \"{{ secrets.token }}\"
    environment: {DB: \"{{ secrets.db }}\", KEY: \"{{ secrets.key }}\", DSN: \"{{ dsn.url }}\"}
    evidence:
      - tail: DIR/log
      - run: cat DIR/log
  - command: guarded
    run: \"true\"
    unless: 'printf \"%s\\n\" \"$DB\" >&2; exit 1'
    environment: {DB: \"{{ secrets.db }}\"}
  - http: URL/login
    headers: {Authorization: \"Bearer {{ secrets.token }}\", X-Key: \"{{ secrets.key | replace('\\n', ' ') }}\"}
    body_contains: \"{{ secrets.db }}\"
";

fn case() -> Case {
    let spec = format!("{DECLARED}{}", FAILS.replace("URL", &echo()));
    let case = Case::new(&spec);
    fs::write(case.path("show.py"), SHOW).unwrap();
    fs::write(case.path("conf.j2"), "dsn={{ dsn.url }}\n{{ secrets.key }}\nport=1\n").unwrap();
    fs::write(case.path("replaced"), format!("password={OLD}\nother=1\n")).unwrap();
    fs::write(case.path("rendered"), format!("dsn={OLD}\nport=1\n")).unwrap();
    fs::write(case.path("unrelated"), format!("{DB}\n{TOKEN}\n{KEY}\n")).unwrap();
    fs::write(case.path("log"), format!("start\n{DB}\n  {TOKEN}\n{KEY}\n")).unwrap();
    case
}

/// A server that answers with what it was asked.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            let mut block = [0; 4096];
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                let count = stream.read(&mut block).unwrap();
                asked.extend_from_slice(&block[..count]);
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", asked.len());
            let _ = stream.write_all(&[head.as_bytes(), &asked].concat());
        }
    });
    format!("http://{address}")
}

const LOOKS: &[&[&str]] =
    &[&["--format", "json"], &["--diff"], &["--no-diff"], &["--quiet"], &["--format", "json", "--quiet"]];

#[test]
fn a_plan_shows_no_secret_in_any_format() {
    let case = case();
    for look in LOOKS {
        let planned = case.run(&[&["plan"], *look].concat());
        assert_hidden(&planned, &format!("plan {look:?}"));
        assert_ne!(planned.code, 3, "{}", planned.stderr);
        assert!(planned.stdout.contains("«"), "the file that holds one is shown: {}", planned.stdout);
    }
    let asked = case.run(&["why", "http:*"]);
    assert_hidden(&asked, "why");
}

#[test]
fn an_apply_that_fails_shows_no_secret_in_any_format() {
    for look in LOOKS {
        let case = case();
        let applied = case.run(&[&["apply"], *look].concat()).expect(1);
        assert_hidden(&applied, &format!("apply {look:?}"));
        for name in ["«db»", "«token»", "«key»", "exit 7"] {
            assert!(applied.stdout.contains(name), "{look:?}: no {name} in {}", applied.stdout);
        }
        assert_eq!(fs::read_to_string(case.path("new")).unwrap(), format!("password={DB}\n"));
        assert!(fs::read_to_string(case.path("rendered")).unwrap().ends_with(&format!("{KEY}\nport=1\n")));
    }
}

#[test]
fn on_a_terminal_neither_the_plan_nor_what_follows_the_answer_shows_one() {
    let case = case();
    let line = format!("{} apply {} --ask", crate::support::program(), case.path("spec.yaml").display());
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("CONVERGE_TEST_DB", DB).env("TERM", "xterm");
    command.env("CONVERGE_RUNTIME_DIR", case.path("runtime"));
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let Ok(mut child) = command.spawn() else { return eprintln!("left out: no `script` here") };
    child.stdin.take().unwrap().write_all(b"y\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let ran = Ran { code: output.status.code().unwrap(), stdout, stderr: String::new() };
    assert_hidden(&ran, "--ask");
    assert!(
        ran.stdout.contains("would not converge") || ran.stdout.contains("Not converged"),
        "{}",
        ran.stdout
    );
}

#[test]
fn what_a_secret_replaces_is_not_shown_but_that_it_changes_is() {
    let case = Case::new(&format!(
        "{DECLARED}
resources:
  - file: DIR/f
    content: \"a=1\\npassword={{{{ secrets.token }}}}\\n\"
"
    ));
    fs::write(case.path("f"), format!("a=0\npassword={OLD}\n")).unwrap();
    let id = format!("localhost/file:{}", case.path("f").display());
    let changed = |ran: &Ran| ran.resource(&id)["changes"].clone();
    let planned = case.run(&["plan", "--format", "json"]).expect(2);
    let expected = serde_json::json!([
        {"attribute": "content", "from": "(not shown)", "to": "(holds a secret)"}
    ]);
    assert_eq!(changed(&planned), expected);
    assert_eq!(changed(&case.run(&["apply", "--format", "json"]).expect(0)), expected);
    case.run(&["plan"]).expect(0);
}

#[test]
fn what_a_secret_replaces_does_not_even_leave_its_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    fs::write(&path, OLD).unwrap();
    let declared = serde_json::json!({"file": path, "content": "new"});
    let mut file = AnyResource::read("file", declared).unwrap().unwrap();
    let sent = |file: &AnyResource| {
        let frame = serde_json::to_string(file).unwrap();
        let arrived: AnyResource = serde_json::from_str(&frame).unwrap();
        format!("{:?}", arrived.as_resource().check(&System::machine()).unwrap())
    };
    assert!(sent(&file).contains(OLD), "without a secret it is for the difference that is shown");
    for content in file.as_resource_mut().contents() {
        *content = content.clone().with_secret();
    }
    assert!(!sent(&file).contains(OLD) && !sent(&file).contains("sha256"), "{}", sent(&file));
}

#[test]
fn errors_of_the_spec_show_no_secret_that_was_read() {
    let case = Case::new(&format!(
        "{DECLARED}
resources:
  - file: DIR/f
    content: \"{{{{ secrets.token }}}}\"
  - command: x
    always: true
    exit_codes: \"{{{{ secrets.token }}}}\"
  - http: http://localhost/
    headers: {{X: \"{{{{ secrets.key }}}}\"}}
    json: \"{{{{ secrets.token }}}}\"
"
    ));
    let refused = case.run(&["apply"]).expect(3);
    assert_hidden(&refused, "errors");
    assert!(!case.path("f").exists());
}

#[test]
fn a_spec_whose_path_is_a_secret_is_named_without_it() {
    let case = Case::new("resources: []");
    let spec = case.path(&format!("{TOKEN}.yaml"));
    fs::write(
        &spec,
        format!(
            "secrets: {{token: {{file: token.txt}}}}\nresources:\n  - file: {}/f\n    content: \"{{{{ secrets.token }}}}\"\n",
            case.directory.path().display()
        ),
    )
    .unwrap();
    let mut command = crate::support::converge(case.directory.path());
    let ran = run(command.arg("plan").arg(&spec).args(["--only", "file:/nothing"])).expect(3);
    assert_hidden(&ran, "a refused selection");
    assert!(ran.stderr.contains("«token».yaml"), "{}", ran.stderr);
}

#[test]
fn a_saved_plan_holds_no_secret_and_is_applied_with_them() {
    let case = Case::new(&format!(
        "{DECLARED}
resources:
  - file: DIR/f
    content: \"a=1\\npassword={{{{ secrets.token }}}}\\n{{{{ secrets.db }}}}\\n\"
"
    ));
    fs::write(case.path("f"), format!("a=0\npassword={OLD}\n")).unwrap();
    let out = case.path("saved").display().to_string();
    let planned = case.run(&["plan", "--out", &out]).expect(2);
    assert_hidden(&planned, "plan --out");
    let saved = Ran { stdout: fs::read_to_string(&out).unwrap(), ..planned };
    assert_hidden(&saved, "the saved plan");
    let mut command = crate::support::converge(case.directory.path());
    run(command.args(["apply", &out]).env("CONVERGE_TEST_DB", DB)).expect(0);
    assert_eq!(fs::read_to_string(case.path("f")).unwrap(), format!("a=1\npassword={TOKEN}\n{DB}\n"));
}
