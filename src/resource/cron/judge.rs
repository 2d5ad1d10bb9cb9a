//! What no cron would run as it is written.

use super::{CRONS_OWN, Cron, table};
use crate::resource::Invalid;

/// The longest command that Debian's cron takes.
const LONGEST: usize = 998;

impl Cron {
    pub(super) fn wrong_label(&self) -> Vec<Invalid> {
        let wrong = |what: &str, help: &str| vec![Invalid::new("cron", what, help)];
        if self.label.trim().is_empty()
            || self.label.trim() != self.label
            || self.label.contains(['\n', '\r', '\0'])
        {
            return wrong(
                "a label is one line of text, and not empty",
                "write what the job is for, as in `nightly backup`",
            );
        }
        if table::is_ambiguous(&self.label) {
            return wrong(
                "a label cannot end with eight digits in parentheses",
                "leave them out: converge keeps its own there",
            );
        }
        Vec::new()
    }

    pub(super) fn wrong_command(&self) -> Option<Invalid> {
        let command = self.command.as_ref()?.to_string();
        let line = self.line();
        let wrong = |what: &str, help: &str| Some(Invalid::new("command", what, help));
        let script = "put it into a script, and run that";
        if command.trim().contains(['\n', '\r']) {
            return wrong("a job of cron is one line, and this is more", script);
        }
        if line.contains("\\%") {
            return wrong(
                "a backslash before a `%` is not the same to every cron",
                "write `%` alone, as converge writes it for cron; where the command needs the backslash, put it into a script",
            );
        }
        if line.contains("\\\\") {
            return wrong(
                "two backslashes in a row are not the same to every cron: Debian's makes one of them",
                script,
            );
        }
        if line.ends_with('\\') {
            return wrong("the command ends with a backslash, which leads on to nothing", "take it out");
        }
        if line.replace('%', "\\%").len() > LONGEST {
            return wrong(
                "the command is longer than 998 characters, the most that Debian's cron takes",
                script,
            );
        }
        None
    }

    pub(super) fn wrong_environment(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        for (name, value) in &self.environment {
            let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                let what = format!("`{name}` is no name of a variable");
                invalid.push(Invalid::new("environment", what, "write it as in `LANG: C.UTF-8`"));
            }
            if value.contains(['\n', '\r', '\0']) {
                let what = format!("the value of `{name}` is more than one line, and a job of cron is one");
                invalid.push(Invalid::new("environment", what, "put it into a script, and run that"));
            }
            let is_crons = CRONS_OWN.contains(&name.as_str());
            if is_crons && self.file.is_none() {
                let what = format!(
                    "cron itself reads `{name}`, and in a crontab it would hold for all lines that follow"
                );
                invalid.push(Invalid::new(
                    "environment",
                    what,
                    "add `file: NAME`: in a file of its own it holds for this job alone",
                ));
            } else if is_crons && (value.trim() != value || value.starts_with(['"', '\''])) {
                let what = format!("cron takes quotes and blanks around the value of `{name}` away");
                invalid.push(Invalid::new("environment", what, "leave them out"));
            }
        }
        invalid
    }
}
