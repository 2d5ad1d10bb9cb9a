//! `{{ captured.NAME }}`: what a journey learns on its way. The loader leaves it as it stands, and
//! it is filled in here, when a step has its turn.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// As the loader writes it, however the spec spells it.
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\{\{ captured\.([A-Za-z_][A-Za-z0-9_]*) \}\}").expect("it is a regular expression")
});

/// Shorter ones are no secrets, and hiding them would hide half of a page.
const SHORTEST_HIDDEN: usize = 6;

/// What was captured so far, by name.
#[derive(Default)]
pub struct Captured(BTreeMap<String, String>);

impl Captured {
    pub fn put(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    /// The text with what was captured in it.
    pub fn fill(&self, text: &str) -> String {
        self.fill_as(text, str::to_owned)
    }

    /// The same, each value written as `spell` spells it.
    pub fn fill_as(&self, text: &str, spell: impl Fn(&str) -> String) -> String {
        let value = |found: &Captures<'_>| match self.0.get(&found[1]) {
            Some(value) => spell(value),
            None => found[0].to_owned(),
        };
        PLACE.replace_all(text, value).into_owned()
    }

    /// The value with what was captured in all of its texts.
    pub fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_value(item)).collect(),
            Value::Object(entries) => {
                entries.iter().map(|(key, value)| (key.clone(), self.fill_value(value))).collect()
            }
            other => other.clone(),
        }
    }

    /// The text for people and logs: a token that was captured opens doors to whoever reads it.
    pub fn hide(&self, text: &str) -> String {
        let mut values: Vec<_> =
            self.0.iter().filter(|(_, value)| value.chars().count() >= SHORTEST_HIDDEN).collect();
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let hide = |text: String, (name, value): (&String, &String)| {
            text.replace(value.as_str(), &format!("«captured.{name}»"))
        };
        values.into_iter().fold(text.to_owned(), hide)
    }
}

/// The names that a text has places for.
pub fn names(text: &str) -> impl Iterator<Item = String> + '_ {
    PLACE.captures_iter(text).map(|found| found[1].to_owned())
}

/// The names that the texts in a value have places for.
pub fn names_in(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => names(text).collect(),
        Value::Array(items) => items.iter().flat_map(names_in).collect(),
        Value::Object(entries) => entries.values().flat_map(names_in).collect(),
        _ => Vec::new(),
    }
}

/// The text with a word in each of its places, to see what the rest of it is.
pub fn with_stand_ins(text: &str) -> Cow<'_, str> {
    PLACE.replace_all(text, "x")
}

/// Whether it begins with a place, so that nobody can say yet what it is.
pub fn begins(text: &str) -> bool {
    PLACE.find(text.trim_start()).is_some_and(|found| found.start() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once_and_what_is_filled_in_is_no_place() {
        let mut captured = Captured::default();
        captured.put("a", "{{ captured.b }}".to_owned());
        captured.put("b", "2+2".to_owned());
        assert_eq!(captured.fill("{{ captured.a }}-{{ captured.b }}"), "{{ captured.b }}-2+2");
        assert_eq!(captured.fill_as("^{{ captured.b }}$", regex::escape), r"^2\+2$");
        assert_eq!(captured.fill("{{ captured.c }} {{captured.b}}"), "{{ captured.c }} {{captured.b}}");
        let value = serde_json::json!({"k": ["{{ captured.b }}", 1]});
        assert_eq!(captured.fill_value(&value), serde_json::json!({"k": ["2+2", 1]}));
        assert_eq!(names_in(&value), ["b"]);
    }

    #[test]
    fn what_was_captured_is_hidden_the_longest_first_and_short_words_stay() {
        let mut captured = Captured::default();
        captured.put("token", "abcdef".to_owned());
        captured.put("whole", "abcdefgh".to_owned());
        captured.put("id", "17".to_owned());
        assert_eq!(captured.hide("abcdefgh abcdef 17"), "«captured.whole» «captured.token» 17");
    }
}
