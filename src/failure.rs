//! How a failure is told: what was tried, what was seen, and the way out.

use serde::{Deserialize, Serialize};

/// Why an operation on a resource failed, told for the person who has to mend it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Failure {
    /// One line: what was tried and what was seen.
    pub reason: String,
    /// The way out, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Standard error, unit state, log lines, evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// A titled piece of text below a failure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Detail {
    pub title: String,
    pub text: String,
}

impl Failure {
    pub fn new(reason: impl Into<String>) -> Self {
        Failure { reason: reason.into(), ..Failure::default() }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn detail(mut self, title: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.trim().is_empty() {
            self.details.push(Detail { title: title.into(), text });
        }
        self
    }

    /// From an operation on a path, with the error in the system's words.
    pub fn io(tried: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Failure::new(format!("{tried}: {}", io_words(error)))
    }
}

/// The system's words without Rust's `(os error N)`.
pub fn io_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
