//! What is off about a line in a text, and what the text is then.

use super::{Line, Occurrence};
use crate::attribute::{Content, Pattern};
use crate::resource::common::Presence;
use crate::resource::text::{self, Text, Verdict, gap, shown};
use crate::resource::{Action, Change, Detail, Failure};

/// So many of the lines that match are listed; the rest is counted.
const LISTED: usize = 10;

impl Line {
    /// What is declared, or (of a secret) that it is.
    fn shown_new(&self) -> Option<String> {
        match &self.text {
            Some(content) if content.has_secret() => Some(content.summary()),
            content => content.as_ref().and_then(Content::bytes).map(shown),
        }
    }

    /// What is there in its place: one line as it is, of several how many.
    fn shown_old(&self, text: &Text, lines: &[usize]) -> String {
        match lines {
            // It may be the secret's predecessor.
            [_] if self.holds_secret() => "(not shown)".to_owned(),
            [at] => shown(text.line(*at)),
            lines => format!("{} lines", lines.len()),
        }
    }

    pub(super) fn judge(&self, text: Option<Text>) -> Result<Option<Verdict>, Failure> {
        let is_new = text.is_none();
        let mut text = text.unwrap_or_else(|| Text::parse(b""));
        let blocks = text::blocks(&text);
        let own = |at: &usize| !blocks.iter().any(|block| (block.begin..=block.end).contains(at));
        let free: Vec<usize> = (0..text.len()).filter(own).collect();
        let finds = |at: &usize| self.pattern.as_ref().is_some_and(|it| it.finds(text.line(*at)));
        let found: Vec<usize> = free.iter().copied().filter(finds).collect();
        let is_equal = |at: &usize| Some(text.line(*at)) == self.wanted();
        let equal: Vec<usize> = free.iter().copied().filter(is_equal).collect();
        if self.state == Presence::Absent {
            let others: Vec<usize> = found.iter().copied().filter(|at| !is_equal(at)).collect();
            self.one_of(&text, &others)?;
            let mut gone = [equal, others].concat();
            gone.sort_unstable();
            return Ok(self.without(text, &gone, "text", Action::Remove));
        }
        let Some(wanted) = self.wanted() else {
            return Err(Failure::new("the text of the line did not arrive with the request"));
        };
        self.one_of(&text, &found)?;
        let chosen = match self.occurrence() {
            Occurrence::Only | Occurrence::First => found.first().into_iter().copied().collect(),
            Occurrence::Last => found.last().into_iter().copied().collect(),
            Occurrence::All => found,
        };
        let off: Vec<usize> = chosen.iter().copied().filter(|at| !is_equal(at)).collect();
        if off.is_empty() {
            if !chosen.is_empty() || !equal.is_empty() {
                return Ok(None);
            }
            let at = gap(&text, self.place(), &self.surroundings.siblings);
            text.insert(at, &[wanted]);
            // Who does not make the file comes after who does, and finds it.
            let from = (is_new && self.create).then(|| "(no file)".to_owned());
            let change = Change::new("text", from, self.shown_new());
            return Ok(Some(Verdict::new(Action::Create, change, text)));
        }
        if self.occurrence() == Occurrence::Only && !equal.is_empty() {
            return Ok(self.without(text, &off, "match", Action::Change));
        }
        let change = Change::new("text", Some(self.shown_old(&text, &off)), self.shown_new());
        for at in off {
            text.replace(at, wanted);
        }
        Ok(Some(Verdict::new(Action::Change, change, text)))
    }

    /// These lines are to go.
    fn without(&self, mut text: Text, lines: &[usize], attribute: &str, action: Action) -> Option<Verdict> {
        if lines.is_empty() {
            return None;
        }
        let change = Change::new(attribute, Some(self.shown_old(&text, lines)), None);
        for at in lines.iter().rev() {
            text.remove(*at, at + 1);
        }
        Some(Verdict::new(action, change, text))
    }

    /// Where one is meant, there must not be several.
    fn one_of(&self, text: &Text, found: &[usize]) -> Result<(), Failure> {
        if self.occurrence() != Occurrence::Only || found.len() < 2 {
            return Ok(());
        }
        let pattern = self.pattern.as_ref().map(Pattern::as_str).unwrap_or_default();
        let numbers: Vec<String> = found.iter().take(LISTED).map(|at| (at + 1).to_string()).collect();
        let more = if found.len() > LISTED { ", …" } else { "" };
        let (verb, way) = match self.state {
            Presence::Present => ("replaced", "say which one is meant: `occurrence: first`, `last` or `all`"),
            Presence::Absent => ("removed", "remove all of them: `occurrence: all`"),
        };
        let mut failure = Failure::new(format!(
            "`{pattern}` finds {} lines of {}, and one is to be {verb}: {}{more}",
            found.len(),
            self.file,
            numbers.join(", "),
        ))
        .help(format!("make `match` narrower, or {way}"));
        if !self.holds_secret() {
            let line = |at: &usize| format!("{}: {}", at + 1, shown(text.line(*at)));
            let lines: Vec<String> = found.iter().take(LISTED).map(line).collect();
            failure.details.push(Detail { title: format!("lines of {}", self.file), text: lines.join("\n") });
        }
        Err(failure)
    }
}
