//! What another declaration changes, attribute by attribute, whoever keeps the process alive.

use std::collections::BTreeMap;

use super::{Process, Restart, two_seconds};
use crate::resource::Change;

/// A declaration as it is shown.
#[derive(Clone, PartialEq, Debug)]
pub struct Declared {
    pub command: String,
    pub directory: Option<String>,
    pub user: String,
    pub environment: BTreeMap<String, String>,
    pub restart: String,
    pub delay: String,
}

impl Process {
    pub(super) fn declared(&self) -> Declared {
        Declared {
            command: self.command_line().to_string(),
            directory: self.directory.as_ref().map(ToString::to_string),
            user: self.user().to_owned(),
            environment: self.environment.clone(),
            restart: self.restart.to_string(),
            delay: self.delay.to_string(),
        }
    }
}

impl Declared {
    /// From what was declared before (None: nothing) to this.
    pub fn changes(&self, before: Option<&Declared>) -> Vec<Change> {
        let Some(before) = before else { return self.creation() };
        let mut changes = Vec::new();
        let mut compare = |attribute: &str, from: Option<&str>, to: Option<&str>| {
            if from != to {
                changes.push(Change::new(attribute, from.map(str::to_owned), to.map(str::to_owned)));
            }
        };
        compare("command", Some(&before.command), Some(&self.command));
        compare("directory", before.directory.as_deref(), self.directory.as_deref());
        compare("user", Some(&before.user), Some(&self.user));
        compare("restart", Some(&before.restart), Some(&self.restart));
        compare("delay", Some(&before.delay), Some(&self.delay));
        changes.extend(environment_change(&before.environment, &self.environment));
        changes
    }

    /// All that is declared, but for what is so by default.
    fn creation(&self) -> Vec<Change> {
        let new = |attribute: &str, to: &str| Change::new(attribute, None, Some(to.to_owned()));
        let mut changes = vec![new("command", &self.command)];
        changes.extend(self.directory.as_deref().map(|directory| new("directory", directory)));
        if self.user != "root" {
            changes.push(new("user", &self.user));
        }
        if self.restart != Restart::default().to_string() {
            changes.push(new("restart", &self.restart));
        }
        if self.delay != two_seconds().to_string() {
            changes.push(new("delay", &self.delay));
        }
        changes.extend(environment_change(&BTreeMap::new(), &self.environment));
        changes
    }
}

/// The names of those that differ. Values may be secrets, and so may those that they replace.
fn environment_change(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<Change> {
    let told = |own: &BTreeMap<String, String>, other: &BTreeMap<String, String>, has_other: &str| {
        let names: Vec<String> = own
            .iter()
            .filter(|(name, value)| other.get(*name) != Some(value))
            .map(
                |(name, _)| {
                    if other.contains_key(name) { format!("{name}{has_other}") } else { name.clone() }
                },
            )
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let (from, to) = (told(before, now, " (another value)"), told(now, before, ""));
    (from.is_some() || to.is_some()).then(|| Change::new("environment", from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn of_variables_the_names_are_told_and_never_a_value() {
        for (before, now, from, to) in [
            ("", "", None, None),
            ("A=1", "A=1", None, None),
            ("", "A=secret B=2", None, Some("A, B")),
            ("A=1", "A=secret", Some("A (another value)"), Some("A")),
            ("A=1 C=3", "A=secret B=2", Some("A (another value), C"), Some("A, B")),
            ("A=secret", "", Some("A"), None),
        ] {
            let change = environment_change(&variables(before), &variables(now));
            let expected = (from.is_some() || to.is_some())
                .then(|| Change::new("environment", from.map(str::to_owned), to.map(str::to_owned)));
            assert_eq!(change, expected, "{before} → {now}");
        }
    }
}
