//! What leaves the process without its secrets. Whoever reads a secret teaches it to this module
//! (`learn`); everything that is shown, logged or kept goes through it: events before any reporter
//! sees them, complaints on standard error, the words of a panic.
//!
//! A text is searched for each secret by value, in the forms that programs give to what they
//! print: see `spelled` (escapes of all kinds) and `digits` (base64, hexadecimal).

mod digits;
mod events;
mod panic;
mod spelled;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

pub use events::{change, event};
pub use panic::{hide_panics, panic_words};

use digits::{Base64, Hex};
use spelled::Spelled;

/// A shorter text cannot be hidden: it would be found everywhere, and `«name»` with it.
pub const SHORTEST: usize = 4;

/// Of a secret of several lines, each line as long as this is hidden by itself.
const SHORTEST_LINE: usize = 8;

/// A text as long as this may have been cut from a longer one, and begin or end inside a secret.
const MAY_BE_CUT: usize = 1900;

/// So much of a secret at a cut is enough to be hidden.
const SHORTEST_PIECE: usize = 4;

/// A text that no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Secret {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// All secrets that this process knows.
static KNOWN: RwLock<Redactor> = RwLock::new(Redactor { secrets: Vec::new() });

/// From now on, `name` stands for this secret in everything that leaves the process.
pub fn learn(name: &str, secret: &Secret) {
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).add(name, secret);
}

/// The text as it may leave the process.
pub fn hide(text: &str) -> Cow<'_, str> {
    KNOWN.read().unwrap_or_else(PoisonError::into_inner).hide(text)
}

/// The same in place.
pub fn hide_in(text: &mut String) {
    if let Cow::Owned(hidden) = hide(text) {
        *text = hidden;
    }
}

/// Secrets, and the forms in which they are found.
#[derive(Default)]
pub struct Redactor {
    secrets: Vec<Known>,
}

struct Known {
    name: String,
    secret: Secret,
    forms: Vec<(Starts, Form)>,
    /// The whole value and its lines, as far as they may be cut in two.
    whole: Vec<Spelled>,
}

/// The bytes that a form may begin with: most places in a text are passed over by it alone.
type Starts = Box<[bool; 256]>;

enum Form {
    Spelled(Spelled),
    Base64(Base64),
    Hex(Hex),
}

impl Form {
    fn with_starts(self) -> (Starts, Form) {
        let mut starts = Box::new([false; 256]);
        (0..=255).for_each(|byte| starts[usize::from(byte)] = self.begins(byte));
        (starts, self)
    }

    /// Whether it may begin with this byte.
    fn begins(&self, byte: u8) -> bool {
        match self {
            Form::Spelled(form) => form.begins(byte),
            Form::Base64(form) => form.begins(byte),
            Form::Hex(form) => form.begins(byte),
        }
    }

    /// The stretch of `text` that it takes, found at `at`.
    fn find(&self, text: &str, at: usize) -> Option<Range<usize>> {
        match self {
            Form::Spelled(form) => form.end(text, at).map(|end| at..end),
            Form::Base64(form) => form.find(text, at),
            Form::Hex(form) => form.end(text, at).map(|end| at..end),
        }
    }
}

impl Redactor {
    pub fn add(&mut self, name: &str, secret: &Secret) {
        if self.secrets.iter().any(|known| known.name == name && known.secret == *secret) {
            return;
        }
        let value = secret.expose();
        let mut texts = vec![value];
        if value.contains('\n') {
            texts.extend(value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE));
        }
        let trimmed = value.trim();
        if trimmed.len() >= SHORTEST {
            texts.push(trimmed);
        }
        texts.dedup();
        let mut forms = Vec::new();
        for text in &texts {
            forms.push(Form::Spelled(Spelled::new(text)).with_starts());
            forms.extend(
                Base64::all(text.as_bytes()).into_iter().map(|form| Form::Base64(form).with_starts()),
            );
            forms.push(Form::Hex(Hex::new(text.as_bytes())).with_starts());
        }
        let whole = texts.iter().map(|text| Spelled::new(text)).collect();
        self.secrets.push(Known { name: name.to_owned(), secret: secret.clone(), forms, whole });
    }

    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.secrets.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut found = self.found(text);
        found.extend(self.pieces(text));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        // What overlaps is one stretch, named after the longest in it.
        found.sort_by_key(|(range, _)| (range.start, range.end));
        let mut merged: Vec<(Range<usize>, usize, &str)> = Vec::new();
        for (range, name) in found {
            match merged.last_mut() {
                Some((last, longest, its_name)) if range.start < last.end => {
                    if range.len() > *longest {
                        (*longest, *its_name) = (range.len(), name);
                    }
                    last.end = last.end.max(range.end);
                }
                _ => merged.push((range.clone(), range.len(), name)),
            }
        }
        let (mut hidden, mut done) = (String::with_capacity(text.len()), 0);
        for (range, _, name) in merged {
            hidden.push_str(&text[done..range.start]);
            hidden.push_str(&format!("«{name}»"));
            done = range.end;
        }
        hidden.push_str(&text[done..]);
        Cow::Owned(hidden)
    }

    fn found(&self, text: &str) -> Vec<(Range<usize>, &str)> {
        let mut found = Vec::new();
        for known in &self.secrets {
            for (starts, form) in &known.forms {
                let places = text.bytes().enumerate().filter(|(_, byte)| starts[usize::from(*byte)]);
                found.extend(places.filter_map(|(at, _)| Some((form.find(text, at)?, known.name.as_str()))));
            }
        }
        found
    }

    /// Beginnings and ends of secrets where a text was cut.
    fn pieces(&self, text: &str) -> Vec<(Range<usize>, &str)> {
        let is_cut = |c: char| c == '…' || c == char::REPLACEMENT_CHARACTER;
        let mut begins: Vec<usize> = text.match_indices(is_cut).map(|(at, cut)| at + cut.len()).collect();
        let mut ends: Vec<usize> = text.match_indices(is_cut).map(|(at, _)| at).collect();
        if text.len() >= MAY_BE_CUT {
            begins.push(0);
            ends.push(text.len());
        }
        let mut pieces = Vec::new();
        for known in &self.secrets {
            for whole in &known.whole {
                for begin in &begins {
                    let begin = text.len() - text[*begin..].trim_start().len();
                    let end = whole.end_of_rest(text, begin, SHORTEST_PIECE);
                    pieces.extend(end.map(|end| (begin..end, known.name.as_str())));
                }
                for end in &ends {
                    let end = text[..*end].trim_end().len();
                    let begin = whole.beginning_before(text, end, SHORTEST_PIECE);
                    pieces.extend(begin.map(|begin| (begin..end, known.name.as_str())));
                }
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests;
