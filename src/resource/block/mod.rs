//! `block`: some lines of a file that is not declared as a whole, between two marker lines.

mod judge;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::common::{Presence, Surroundings, is_false};
use super::text::{self, Part, Place, PlaceInFile};
use super::{Check, Failure, Invalid, Links, Needed, Resource};
use crate::attribute::{AbsPath, Content, Pattern};
use crate::system::System;

/// Some lines of a file, which is not declared as a whole.
///
/// They stand between two marker lines, by which they are known again: `# BEGIN converge: LABEL` and
/// `# END converge: LABEL`. What is between the markers is the block's: edits there are undone. Where the block stands is
/// left to whoever moves it, markers and all. A block that is not there is added: at the end, or
/// where `after` or `before` say.
///
/// Where one of the markers is gone and the whole content still stands beside the other, the marker
/// is put back; else that is a failure which names the line, since nobody can say where the block
/// ends. A block that is there twice is a failure too.
///
/// All else in the file stays as it is, byte by byte: line ends (the block's are as those around
/// it), a last line without an end, bytes that are not UTF-8, owner, mode, ACLs. The file is replaced
/// by rename; a symlink in its place is not followed, and other hard links to it keep the old
/// content. Several lines and blocks in one file do not lose each other; what is new in one place
/// stands in the order of the spec. A block in a file whose whole content is declared is refused.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless_absent("content")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::at_most_one(&["after", "before"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["content", "after", "before", "create"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::matches("block", r"^\S([^\r\n]*\S)?$", "A label stands in a marker line: without blanks around it, on one line.")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::matches("comment", r"^\s*(@?[Rr][Ee][Mm]|[Dd][Nn][Ll]|[^A-Za-z0-9\r\n]*[^A-Za-z0-9\s][^A-Za-z0-9\r\n]*)\s*$", "No comment sign: write it as in #, ;, // or <!-- {} -->.")))]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// A label, which the markers hold: with another one it is another block.
    #[serde(rename = "block")]
    pub label: String,

    /// The file's absolute path. It must be there or be declared, unless `create` is on.
    pub file: AbsPath,

    /// `absent`: the block is removed, with its markers.
    #[serde(default)]
    pub state: Presence,

    /// The lines. Whether the last one has an end makes no difference. Needed, unless the block is
    /// to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,

    /// How the markers begin, so that they are comments in this file. Where a comment has an end,
    /// `{}` is where the marker goes, as in `<!-- {} -->`. Of letters, only REM and dnl can be told
    /// from a text that speaks of markers. A block with other comment signs is the same block: its
    /// markers are rewritten.
    #[serde(default = "number_sign")]
    pub comment: String,

    /// Where the block is added: after the last line that this finds. Where it finds none, at the
    /// end. A block that is there is not moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Pattern>,

    /// Where the block is added: before the first line that this finds. Where it finds none, at the
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

fn number_sign() -> String {
    "#".to_owned()
}

impl Block {
    pub const SECRETS: &'static [&'static str] = &["content"];

    pub const EXAMPLE: &'static str = "\
- block: addresses of the site
  file: /etc/hosts
  content: |
    10.0.0.11 app.internal
    10.0.0.12 db.internal
";

    fn place(&self) -> Place<'_> {
        Place::of(self.after.as_ref(), self.before.as_ref())
    }

    fn part(&self) -> Part<'_> {
        let Block { file, state, create, surroundings, .. } = self;
        Part { file, state: *state, create: *create, surroundings }
    }
}

impl Resource for Block {
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
        let mut invalid = Vec::new();
        let markers = self.markers();
        if self.label.trim() != self.label || self.label.is_empty() || self.label.contains(['\n', '\r']) {
            invalid.push(Invalid::new(
                "block",
                "the label stands in a marker line, and would not be known again there",
                "write it on one line, without blanks around it",
            ));
        } else if self.comment.trim().is_empty()
            || self.comment.contains(['\n', '\r'])
            || !markers.are_known(&self.label)
        {
            invalid.push(Invalid::new(
                "comment",
                format!("`{}` would not be known again as a marker", markers.begin),
                "write the signs that begin a comment in this file, as in # ; // -- or <!-- {} -->",
            ));
        }
        if self.after.is_some() && self.before.is_some() {
            invalid.push(Invalid::new(
                "before",
                "`after` and `before` both say where a new block goes",
                "keep one of them",
            ));
        }
        let given = [
            ("content", self.content.is_some()),
            ("after", self.after.is_some()),
            ("before", self.before.is_some()),
            ("create", self.create),
        ];
        match self.state {
            Presence::Present if self.content.is_none() => invalid.push(Invalid::lack(
                "block",
                "`content` is missing: what are its lines?",
                "add `content: |`, or `state: absent` if the block is to go",
            )),
            Presence::Present => {}
            Presence::Absent => {
                for (name, _) in given.iter().filter(|(_, given)| *given) {
                    invalid.push(Invalid::new(
                        name,
                        format!("`{name}` says something of a block that `state: absent` says is gone"),
                        "leave one of them out",
                    ));
                }
            }
        }
        let bytes = self.content.as_ref().and_then(Content::bytes).unwrap_or_default();
        if judge::lines_of(bytes).into_iter().any(|line| text::marker_in(line).is_some()) {
            invalid.push(Invalid::new(
                "content",
                "a line of it looks like the marker of a block",
                "leave the markers out: converge writes them",
            ));
        }
        invalid
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.file.clone()]
    }

    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        Some(&mut self.surroundings)
    }

    fn place_in_file(&self) -> Option<PlaceInFile> {
        let is_there = self.state == Presence::Present;
        is_there.then(|| PlaceInFile::new(&self.file, self.place(), text::mark_of_block(&self.label)))
    }

    fn contents(&mut self) -> Vec<&mut Content> {
        self.content.iter_mut().collect()
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
