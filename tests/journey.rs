//! `http` with `steps`, as language.md writes it, against a login form with a CSRF token, a session
//! and a database behind it (tests/lab/site/backend.py).

mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Ran, converge, run};

const PASSWORD: &str = "correct horse";
const ID: &str = "localhost/http:sign in works";

/// The login server over a database of its own.
struct Site {
    directory: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Site {
    /// None where there is no Python, which is said.
    fn new() -> Option<Site> {
        let has_python = Command::new("python3").args(["-c", "import sqlite3"]).output();
        if !has_python.is_ok_and(|output| output.status.success()) {
            eprintln!("left out: no python3 with sqlite3 here");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        // Free until now; the server takes it in a moment.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let backend = |arguments: &[&str]| {
            let mut command = Command::new("python3");
            command.arg("tests/lab/site/backend.py").args(arguments);
            command.env("BACKEND_DB", directory.path().join("backend.db"));
            command.env("BACKEND_PORT", port.to_string()).stderr(Stdio::null());
            command
        };
        let added = backend(&["adduser", "probe@example.com", PASSWORD]).status().unwrap();
        assert!(added.success());
        let server = backend(&[]).spawn().unwrap();
        Some(Site { directory, port, server })
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("backend.db")
    }

    fn sql(&self, statement: &str) {
        let code =
            "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db: db.executescript(sys.argv[2])";
        let done = Command::new("python3").args(["-c", code]).arg(self.database()).arg(statement).status();
        assert!(done.unwrap().success(), "{statement}");
    }

    fn command(&self, verb: &str, wait: &str, password: &str) -> Command {
        let spec = self.directory.path().join("spec.yaml");
        let text = std::fs::read_to_string("tests/specs/good/language-journey.yaml").unwrap();
        std::fs::write(&spec, text.replace("    wait: 30s\n", wait)).unwrap();
        let mut command = converge(self.directory.path());
        command.arg(verb).arg(spec).args(["--format", "json", "--var"]);
        command.arg(format!("site=http://127.0.0.1:{}", self.port)).env("PROBE", password);
        command
    }

    /// As the page has it: its `wait` is patience enough for a server that is just starting.
    fn signs_in(&self) -> Ran {
        run(&mut self.command("apply", "    wait: 30s\n", PASSWORD))
    }

    /// Without patience: it is to fail.
    fn fails(&self, password: &str) -> serde_json::Value {
        self.signs_in().expect(0);
        let ran = run(&mut self.command("apply", "", password)).expect(1);
        assert_eq!(ran.status(ID), "failed");
        ran.does_not_say(password).resource(ID)
    }

    /// The details of a failure, `title: text` each.
    fn told(event: &serde_json::Value) -> String {
        serde_json::to_string(&event["details"]).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn the_journey_of_the_page_signs_in_to_a_real_form() {
    let Some(site) = Site::new() else { return };
    site.signs_in().expect(0);
    let planned = run(&mut site.command("plan", "", PASSWORD)).expect(0);
    assert_eq!(planned.status(ID), "ok");
    planned.does_not_say(PASSWORD);
    // Nothing has to be read for that.
    let mut validate = converge(site.directory.path());
    run(validate.args(["validate", "tests/specs/good/language-journey.yaml"]).env_remove("PROBE")).expect(0);
}

#[test]
fn a_database_that_is_down_fails_with_step_request_status_and_body() {
    let Some(site) = Site::new() else { return };
    site.signs_in().expect(0);
    std::fs::rename(site.database(), site.directory.path().join("away")).unwrap();
    let ran = run(&mut site.command("apply", "", PASSWORD)).expect(1);
    let event = ran.resource(ID);
    let url = format!("http://127.0.0.1:{}", site.port);
    assert_eq!(event["reason"], format!("step 1 of 3 (GET {url}/login): status 500, wanted 200"));
    let told = Site::told(&event);
    assert!(told.contains("<h1>Internal Server Error</h1>") && told.contains("server: backend"), "{told}");
    // It comes back while there is patience.
    let back = (site.directory.path().join("away"), site.database());
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        std::fs::rename(back.0, back.1).unwrap();
    });
    site.signs_in().expect(0);
    later.join().unwrap();
}

#[test]
fn a_database_that_dies_between_two_steps_fails_the_second() {
    let Some(site) = Site::new() else { return };
    site.signs_in().expect(0);
    site.sql("ALTER TABLE users RENAME TO lost");
    let ran = run(&mut site.command("apply", "", PASSWORD)).expect(1);
    let event = ran.clone().does_not_say(PASSWORD).resource(ID);
    let url = format!("http://127.0.0.1:{}", site.port);
    assert_eq!(event["reason"], format!("step 2 of 3 (POST {url}/login): status 500, wanted 302 or 303"));
    let told = Site::told(&event);
    for part in ["form: csrf, email, password", "cookies: visitor", "Internal Server Error"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn a_wrong_password_fails_with_what_the_form_says_to_it() {
    let Some(site) = Site::new() else { return };
    let event = site.fails("wrong-donkey-4711");
    let reason = event["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("step 2 of 3 (POST ") && reason.ends_with("status 401, wanted 302 or 303"),
        "{reason}"
    );
    assert!(Site::told(&event).contains("Wrong email or password."), "{event}");
}

#[test]
fn a_session_that_has_expired_fails_the_step_that_needs_it() {
    let Some(site) = Site::new() else { return };
    site.signs_in().expect(0);
    site.sql("CREATE TRIGGER expired AFTER INSERT ON sessions BEGIN DELETE FROM sessions; END");
    let event = run(&mut site.command("apply", "", PASSWORD)).expect(1).resource(ID);
    let reason = event["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("step 3 of 3 (GET ")
            && reason.ends_with("/account): status 303 to /login, wanted 200"),
        "{reason}"
    );
    assert!(Site::told(&event).contains("cookies: visitor, session"), "{event}");
}

#[test]
fn a_form_without_its_token_fails_at_the_capture_and_shows_the_form() {
    let Some(site) = Site::new() else { return };
    site.signs_in().expect(0);
    let mut command = site.command("apply", "", PASSWORD);
    let spec = site.directory.path().join("spec.yaml");
    let text =
        std::fs::read_to_string(&spec).unwrap().replace("name=\"csrf\" value", "name=\"csrf_token\" value");
    std::fs::write(&spec, text).unwrap();
    let event = run(&mut command).expect(1).resource(ID);
    let reason = event["reason"].as_str().unwrap();
    assert!(
        reason.contains("/login): `csrf` was not captured: the body does not match `name=\"csrf_token\""),
        "{reason}"
    );
    assert!(Site::told(&event).contains("name=\\\"csrf\\\" value="), "{event}");
}
