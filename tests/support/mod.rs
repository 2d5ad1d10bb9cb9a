//! Running the built program in tests: what it printed, how it ended, and its events.
#![allow(dead_code)] // no test file uses all of it

pub mod lab;
pub mod loops;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::Lab;
use serde_json::Value;

/// What a run of the program left behind.
#[derive(Debug, Clone)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_converge")
}

/// The program on this machine, with locks of its own: tests run beside each other.
pub fn converge(runtime: &Path) -> Command {
    let mut command = Command::new(program());
    alone(&mut command, runtime);
    command
}

/// The program on this machine, on the network of a lab.
pub fn converge_in(lab: &Lab) -> Command {
    let mut command = lab.net([program()]);
    alone(&mut command, lab.dir());
    command.env("CONVERGE_SSH_CONFIG", lab.ssh_config());
    command
}

fn alone(command: &mut Command, runtime: &Path) {
    command.env("CONVERGE_RUNTIME_DIR", runtime.join("converge-runtime"));
    command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
}

pub fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(found, "not said: {text}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Ran {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!found, "said: {text}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// The events of `--format json`.
    pub fn events(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}"));
        self.stdout.lines().map(read).collect()
    }

    pub fn summary(&self) -> Value {
        self.events().pop().filter(|event| event["event"] == "summary").expect("a summary at the end")
    }

    /// The status of a resource: its event's.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.resource(id)["status"].as_str().expect("a status").to_owned()
    }

    #[track_caller]
    pub fn resource(&self, id: &str) -> Value {
        let events = self.events();
        let found = events.into_iter().find(|event| event["event"] == "resource" && event["id"] == id);
        found.unwrap_or_else(|| panic!("no event of {id} in\n{}\n{}", self.stdout, self.stderr))
    }
}

/// Whether the lab's tests run; where not, says so once a test.
pub fn has_lab() -> bool {
    match Lab::available() {
        Ok(()) => true,
        Err(reason) if std::env::var("CONVERGE_LAB").as_deref() == Ok("1") => {
            panic!("the lab was promised, and is not there: {reason}")
        }
        Err(reason) => {
            eprintln!("left out: no lab here: {reason}");
            false
        }
    }
}

/// specs/prod.yaml with the lab's addresses, and nothing else changed.
pub fn prod(lab: &Lab) -> PathBuf {
    prod_with(lab, |text| text)
}

pub fn prod_with(lab: &Lab, change: impl Fn(String) -> String) -> PathBuf {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/prod.yaml");
    let text = std::fs::read_to_string(spec).expect("specs/prod.yaml");
    let text = text
        .replace("app-server.domain.tld", &lab.ip("dom0"))
        .replace("https://app.domain.tld", &format!("http://{}", lab.ip("vps0")))
        .replace("app.domain.tld", &lab.ip("vps0"));
    let path = lab.dir().join("prod.yaml");
    std::fs::write(&path, change(text)).expect("the lab's directory is there");
    path
}

/// What /login answers, asked from the controller.
pub fn login(lab: &Lab) -> String {
    let url = format!("http://{}/login", lab.ip("vps0"));
    let asked = run(&mut lab.net(["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", &url]));
    asked.stdout
}
