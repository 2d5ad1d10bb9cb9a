//! A directory with a spec and its secrets in it, in which `DIR` stands for the directory; and all
//! the forms in which a secret must not be seen.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::support::{self, Ran, run};

/// With everything in it that some program escapes.
pub const DB: &str = "p@ss w\"rd'$x`\\n<&>/é+=%";
pub const TOKEN: &str = "tok-5f2c81d04be97a63";
pub const KEY: &str =
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----";
/// What was there before: no run knows it.
pub const OLD: &str = "the-old-secret-0815";

pub const DECLARED: &str = "
secrets:
  db: {env: CONVERGE_TEST_DB}
  token: {file: token.txt}
  key: {command: [cat, key.pem]}
";

pub struct Case {
    pub directory: tempfile::TempDir,
}

impl Case {
    pub fn new(spec: &str) -> Case {
        let case = Case { directory: tempfile::tempdir().unwrap() };
        fs::write(case.path("token.txt"), format!("{TOKEN}\n")).unwrap();
        fs::write(case.path("key.pem"), format!("{KEY}\n")).unwrap();
        case.spec(spec);
        case
    }

    pub fn spec(&self, spec: &str) {
        let text = spec.replace("DIR", self.directory.path().to_str().unwrap());
        fs::write(self.path("spec.yaml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = support::converge(self.directory.path());
        let (verb, options) = words.split_first().unwrap();
        command.arg(verb).arg(self.path("spec.yaml")).args(options).env("CONVERGE_TEST_DB", DB);
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        run(&mut self.command(words))
    }
}

/// Every form of every secret that a test looks for, with its name.
pub fn forms() -> Vec<(String, String)> {
    let mut forms = Vec::new();
    for (name, secret) in [("db", DB), ("token", TOKEN), ("key", KEY), ("old", OLD)] {
        let mut add = |what: &str, form: String| forms.push((format!("{name}, {what}"), form));
        let json = serde_json::to_string(secret).unwrap();
        add("raw", secret.to_owned());
        add("in JSON", json.trim_matches('"').to_owned());
        add(
            "in JSON twice",
            serde_json::to_string(&json).unwrap().replace("\\\"\"", "").replace("\"\\\"", ""),
        );
        add("for a shell", secret.replace('\'', "'\\''"));
        let escaped = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        };
        let url: String = secret.bytes().map(escaped).collect();
        add("in a URL", url.clone());
        add("in a URL, lower case", url.replace("%", "\0").to_lowercase().replace('\0', "%"));
        add("in a form", url.replace("%20", "+"));
        let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        add("in HTML", html.clone());
        add("in an attribute", html.replace('"', "&quot;").replace('\'', "&#x27;"));
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        add("in hexadecimal", hex.clone());
        add("in hexadecimal, upper case", hex.to_uppercase());
        for before in 0..3 {
            let text = [&b"abc"[..before], secret.as_bytes()].concat();
            for (engine, alphabet) in [(STANDARD, "standard"), (URL_SAFE, "URL-safe")] {
                let encoded = engine.encode(&text);
                let (from, to) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
                add(&format!("in {alphabet} base64 at {before}"), encoded[from..to].to_owned());
            }
        }
        for line in secret.lines().filter(|line| line.len() >= 8) {
            add("a line", line.to_owned());
        }
    }
    forms
}

#[track_caller]
pub fn assert_hidden(ran: &Ran, what: &str) {
    for (form, text) in forms() {
        for (stream, said) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
            assert!(!said.contains(&text), "{what}: {form} is on {stream}:\n{said}");
        }
    }
}
