//! What the reader has to say about a value that does not fit: serde's errors, with their
//! place and in an operator's words.

use std::fmt::{self, Display};

use serde::de::{Error, Expected, Unexpected};

use super::at::Place;
use super::near;
use super::problem::Problem;

/// One error of one attribute.
#[derive(Debug)]
pub struct Complaint {
    pub kind: Kind,
    pub place: Option<Place>,
    /// The innermost key that the value belongs to.
    pub key: Option<String>,
    /// The innermost entry or element that it is in: taken out, the rest can be read.
    pub part: Option<Part>,
    /// A plain scalar that was offered as a number or boolean: as a text it may be taken.
    pub retry_as_text: Option<Place>,
}

/// An entry of a mapping, or an element of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Of the key, or of the element.
    pub place: Place,
    pub key: Option<String>,
}

#[derive(Debug)]
pub enum Kind {
    /// It must be this, and it is that.
    Wants {
        wanted: String,
        found: String,
        help: Option<String>,
    },
    /// In the words of the type that read it.
    Words(String),
    UnknownKey {
        key: String,
        known: Vec<&'static str>,
    },
    NotOneOf {
        value: String,
        known: Vec<&'static str>,
    },
    Missing(&'static str),
}

impl Complaint {
    pub fn new(kind: Kind) -> Complaint {
        Complaint { kind, place: None, key: None, part: None, retry_as_text: None }
    }

    pub fn wants(wanted: impl Into<String>, found: impl Into<String>) -> Complaint {
        Complaint::new(Kind::Wants { wanted: wanted.into(), found: found.into(), help: None })
    }

    pub fn help(mut self, way_out: impl Into<String>) -> Complaint {
        if let Kind::Wants { help, .. } = &mut self.kind {
            *help = Some(way_out.into());
        }
        self
    }

    /// Where it is, unless somebody nearer to it has said so.
    pub fn at(mut self, place: Place) -> Complaint {
        self.place.get_or_insert(place);
        self
    }

    pub fn under(mut self, key: &str) -> Complaint {
        self.key.get_or_insert_with(|| key.to_owned());
        self
    }

    /// In which entry or element it is, unless that is known more closely.
    pub fn within(mut self, place: Place, key: Option<&str>) -> Complaint {
        self.part.get_or_insert_with(|| Part { place, key: key.map(str::to_owned) });
        self
    }

    /// As a problem. `item` is where the whole is, `known_too` what else may stand there, and
    /// `about` says whose attributes they are, as in "a `file`".
    pub fn problem(self, item: Place, about: &str, known_too: &[&'static str]) -> Problem {
        let place = self.place.unwrap_or(item);
        let subject = self.key.as_deref().map_or("this".to_owned(), |key| format!("`{key}`"));
        match self.kind {
            Kind::Wants { wanted, found, help } => {
                let problem = Problem::at(place, format!("{subject} must be {wanted}"));
                problem
                    .label(format!("this is {found}"))
                    .help(help.unwrap_or_else(|| format!("write {wanted} here")))
            }
            Kind::Words(words) => said(&words, place, &subject, about),
            Kind::UnknownKey { key, known } => {
                // What begins so is the loader's own.
                let mut all: Vec<_> = known.iter().copied().filter(|name| !name.starts_with('_')).collect();
                let top = self.key.is_none();
                if top {
                    all.extend(known_too);
                }
                let whose = if top { about.to_owned() } else { subject };
                Problem::at(place, format!("{whose} has no `{key}`"))
                    .label("unknown")
                    .help(near::help(&key, &all, "it has"))
            }
            Kind::NotOneOf { value, known } => {
                let what = format!("{subject} cannot be `{value}`");
                let help = match near::nearest(&value, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write one of: {}", known.join(", ")),
                };
                Problem::at(place, what).label(format!("must be {}", known.join(" or "))).help(help)
            }
            Kind::Missing(key) => {
                let whose = if self.key.is_none() { about } else { &subject };
                Problem::at(place, format!("{whose} needs `{key}`"))
                    .label(format!("`{key}` is missing"))
                    .help(format!("add it: {key}: …"))
            }
        }
    }
}

/// The types' own words carry their way out after a colon.
fn said(words: &str, place: Place, subject: &str, about: &str) -> Problem {
    let (what, help) = match words.rsplit_once(": ") {
        Some((what, help)) if !what.is_empty() => (what.to_owned(), help.to_owned()),
        _ => match about.strip_prefix("a").and_then(|rest| rest.split('`').nth(1)) {
            Some(word) => (words.to_owned(), format!("`converge explain {word}` shows what it takes")),
            None => (words.to_owned(), "correct it, or leave it out".to_owned()),
        },
    };
    Problem::at(place, what).label(format!("the value of {subject}")).help(help)
}

impl Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Complaint {}

impl Error for Complaint {
    fn custom<T: Display>(message: T) -> Self {
        Complaint::new(Kind::Words(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Complaint::wants(expected.to_string(), in_words(found))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Complaint::wants(expected.to_string(), in_words(found))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Complaint::wants(expected.to_string(), format!("{length} of them"))
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Complaint::new(Kind::NotOneOf { value: value.to_owned(), known: known.to_vec() })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Complaint::new(Kind::UnknownKey { key: key.to_owned(), known: known.to_vec() })
    }

    fn missing_field(key: &'static str) -> Self {
        Complaint::new(Kind::Missing(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Complaint::new(Kind::Words(format!("`{key}` is there twice: keep one of them")))
    }
}

fn in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the text `{text}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        other => other.to_string(),
    }
}
