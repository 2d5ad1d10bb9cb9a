//! `line`: one line of a file that is not declared as a whole.

mod judge;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::common::{Presence, Surroundings, is_false};
use super::text::{Part, Place, PlaceInFile, mark_of_line, marker_in};
use super::{Check, Failure, Invalid, Links, Needed, Resource};
use crate::attribute::{AbsPath, Content, Pattern};
use crate::system::System;

/// One line of a file, which is not declared as a whole.
///
/// The line is there where a line of the file is equal to `text`, wherever that is. Where none is,
/// `text` replaces the line that `match` finds, and without such a line it is added: at the end, or
/// where `after` or `before` say. Where `text` is there already, a line that `match` finds beside it
/// is removed.
///
/// All else in the file stays as it is, byte by byte: line ends (LF or CRLF), a last line without
/// an end, bytes that are not UTF-8, owner, mode, ACLs. The file is replaced by rename; a symlink
/// in its place is not followed, and other hard links to it keep the old content. Several lines and
/// blocks in one file do not lose each other; what is new in one place stands in the order of the
/// spec. Lines inside of a `block` are the block's: they are neither matched nor counted.
///
/// Two lines of which one would replace or remove the other's are refused, and so is a line in a file
/// whose whole content is declared.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless_absent("text")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::one_of(&["text", "match"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needs("occurrence", "match")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::at_most_one(&["after", "before"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["after", "before", "create"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes_values("state", "absent", "occurrence", &["first", "last"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::matches("text", r"^[^\r\n]+$", "A line has no line end in it: for several lines there is `block`.")))]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// A label: what the line is called in reports and references.
    #[serde(rename = "line")]
    pub label: String,

    /// The file's absolute path. It must be there or be declared, unless `create` is on.
    pub file: AbsPath,

    /// `absent`: no line is equal to `text`, and what `match` finds is removed. One of the two is
    /// needed.
    #[serde(default)]
    pub state: Presence,

    /// The line, without its end. Needed, unless the line is to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Content>,

    /// The line that `text` replaces. Write it so that it finds `text` as well, as in
    /// `^#?\s*PermitRootLogin\b`: then it still finds the line when `text` is changed.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,

    /// Which of the lines that `match` finds: `only` (the default), where several are a failure that
    /// lists them; `first`, `last` or `all`. For `first` and `last`, `match` must find `text` too, or
    /// each run would replace another line; with `state: absent` they would remove another line each
    /// time, and are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<Occurrence>,

    /// Where the line is added: after the last line that this finds. Where it finds none, at the
    /// end. A line that is there is not moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Pattern>,

    /// Where the line is added: before the first line that this finds. Where it finds none, at the
    /// end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Pattern>,

    /// Make the file (0644) where there is none. Without it, a missing file is a failure. Its directory
    /// must be there or be declared.
    #[serde(default, skip_serializing_if = "is_false")]
    pub create: bool,

    /// Filled in by the loader.
    #[serde(default, rename = "_surroundings", skip_serializing_if = "Surroundings::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub surroundings: Surroundings,
}

/// Which of several lines is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Occurrence {
    Only,
    First,
    Last,
    All,
}

impl Line {
    pub const SECRETS: &'static [&'static str] = &["text"];

    pub const EXAMPLE: &'static str = "\
- line: own name
  file: /etc/hosts
  text: 127.0.1.1 web1.example.com web1
  match: ^127\\.0\\.1\\.1\\s
  after: ^127\\.0\\.0\\.1\\s
";

    pub fn occurrence(&self) -> Occurrence {
        self.occurrence.unwrap_or(Occurrence::Only)
    }

    fn place(&self) -> Place<'_> {
        Place::of(self.after.as_ref(), self.before.as_ref())
    }

    fn part(&self) -> Part<'_> {
        let Line { file, state, create, surroundings, .. } = self;
        Part { file, state: *state, create: *create, surroundings }
    }

    /// The declared line; None where only `match` says which is to go.
    pub fn wanted(&self) -> Option<&[u8]> {
        self.text.as_ref().and_then(Content::bytes)
    }

    fn holds_secret(&self) -> bool {
        self.text.as_ref().is_some_and(Content::has_secret)
    }

    fn invalid_text(&self) -> Option<Invalid> {
        let bytes = self.wanted()?;
        if bytes.is_empty() {
            return Some(Invalid::new(
                "text",
                "the line is empty",
                "write what is to stand there; to remove a line there is `state: absent`",
            ));
        }
        if marker_in(bytes).is_some() {
            return Some(Invalid::new(
                "text",
                "this is how the markers of a `block` look",
                "declare the `block` instead, with its `content`",
            ));
        }
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
        bytes.iter().any(is_end).then(|| {
            Invalid::new(
                "text",
                "a line has no line end in it",
                "write it without `|` or `>`; for several lines there is `block`",
            )
        })
    }

    /// Whether `match` finds what it is replaced by.
    fn is_found_again(&self) -> bool {
        match (&self.pattern, self.wanted()) {
            (Some(pattern), Some(text)) => pattern.finds(text),
            _ => true,
        }
    }
}

impl Resource for Line {
    fn name(&self) -> String {
        self.label.clone()
    }

    fn links(&self) -> Links {
        self.part().links()
    }

    fn can_wait() -> bool {
        false
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid: Vec<Invalid> = self.invalid_text().into_iter().collect();
        let occurrence = self.occurrence();
        let takes_one = matches!(occurrence, Occurrence::First | Occurrence::Last);
        if self.after.is_some() && self.before.is_some() {
            invalid.push(Invalid::new(
                "before",
                "`after` and `before` both say where a new line goes",
                "keep one of them",
            ));
        }
        if self.occurrence.is_some() && self.pattern.is_none() {
            invalid.push(Invalid::lack(
                "occurrence",
                "`occurrence` says which line is meant of those that `match` finds, and there is no `match`",
                "add `match`, or leave `occurrence` out",
            ));
        }
        match self.state {
            Presence::Present => {
                if self.text.is_none() {
                    invalid.push(Invalid::lack(
                        "line",
                        "`text` is missing: what is the line?",
                        "add `text: …`, or `state: absent` if what `match` finds is to go",
                    ));
                }
                if takes_one && !self.is_found_again() {
                    invalid.push(Invalid::new(
                        "match",
                        "`match` does not find `text`, so each run would replace another line",
                        "write a `match` that finds both, as in ^#?\\s*Port\\b, or use `occurrence: only` or `all`",
                    ));
                }
            }
            Presence::Absent => {
                if self.text.is_none() && self.pattern.is_none() {
                    invalid.push(Invalid::lack(
                        "line",
                        "nothing says which line is to be absent",
                        "add its `text`, or a `match` that finds it",
                    ));
                }
                if takes_one {
                    invalid.push(Invalid::new(
                        "occurrence",
                        "each run would remove another line",
                        "use `occurrence: only` or `all`",
                    ));
                }
                let places = [
                    ("after", self.after.is_some()),
                    ("before", self.before.is_some()),
                    ("create", self.create),
                ];
                for (name, _) in places.iter().filter(|(_, given)| *given) {
                    invalid.push(Invalid::new(
                        name,
                        format!("`{name}` is for a new line, and `state: absent` says that there is none"),
                        "leave one of them out",
                    ));
                }
            }
        }
        invalid
    }

    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        if self.state == Presence::Absent || self.is_found_again() {
            return Vec::new();
        }
        vec![Invalid::new(
            "match",
            "`match` does not find `text`: when `text` is changed, the line of today stays beside the new one",
            "write a `match` that finds both, as in ^#?\\s*Port\\b",
        )]
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.file.clone()]
    }

    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        Some(&mut self.surroundings)
    }

    fn place_in_file(&self) -> Option<PlaceInFile> {
        let mark = mark_of_line(self.wanted().filter(|_| self.state == Presence::Present)?);
        Some(PlaceInFile::new(&self.file, self.place(), mark))
    }

    fn contents(&mut self) -> Vec<&mut Content> {
        self.text.iter_mut().collect()
    }

    fn needs_whole_content(&self) -> bool {
        true
    }

    fn makes_file(&self) -> Option<AbsPath> {
        self.create.then(|| self.file.clone())
    }

    fn makes_only_what_it_provides(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        self.part().check(system, |text| self.judge(text))
    }

    fn apply(&self, system: &System, _needed: &Needed) -> Result<(), Failure> {
        self.part().apply(system, |text| self.judge(text))
    }
}
