//! What is off about a block in a text, and what the text is then.

use super::Block;
use crate::attribute::{Content, sha256_hex};
use crate::resource::common::Presence;
use crate::resource::text::{self, Marked, Markers, Side, Text, Verdict};
use crate::resource::{Action, Change, Failure};

impl Block {
    pub(super) fn markers(&self) -> Markers {
        Markers::new(&self.comment, &self.label)
    }

    /// The declared lines.
    fn wanted(&self) -> Result<(&Content, Vec<&[u8]>), Failure> {
        let content = self.content.as_ref().and_then(|content| Some((content, content.bytes()?)));
        let (content, bytes) = content
            .ok_or_else(|| Failure::new("the content of the block did not arrive with the request"))?;
        Ok((content, lines_of(bytes)))
    }

    pub(super) fn judge(&self, text: Option<Text>) -> Result<Option<Verdict>, Failure> {
        let is_new = text.is_none();
        let text = text.unwrap_or_else(|| Text::parse(b""));
        match (text::marked(&text, &self.label), self.state) {
            (Marked::Muddled(lines), _) => Err(self.muddled(&lines)),
            (Marked::Nowhere, Presence::Absent) => Ok(None),
            (Marked::Nowhere, Presence::Present) => self.added(text, is_new).map(Some),
            (Marked::Half(side, at), Presence::Present) => self.mended(text, side, at).map(Some),
            (Marked::Half(side, at), Presence::Absent) => Err(self.half(side, at)),
            (Marked::Whole(begin, end), state) => {
                self.holds_no_other(&text, begin, end)?;
                match state {
                    Presence::Present => self.corrected(text, begin, end),
                    Presence::Absent => Ok(Some(self.removed(text, begin, end))),
                }
            }
        }
    }

    fn added(&self, mut text: Text, is_new: bool) -> Result<Verdict, Failure> {
        let (content, lines) = self.wanted()?;
        let markers = self.markers();
        let at = text::gap(&text, self.place(), &self.surroundings.siblings);
        let mut all = vec![markers.begin.as_bytes()];
        all.extend(lines);
        all.push(markers.end.as_bytes());
        text.insert(at, &all);
        // Who does not make the file comes after who does, and finds it.
        let from = (is_new && self.create).then(|| "(no file)".to_owned());
        let mut change = Change::new("content", from, Some(content.summary()));
        if !is_new && !content.has_secret() {
            change.old_text = Some(String::new());
        }
        Ok(Verdict::new(Action::Create, change, text))
    }

    /// Both markers are there.
    fn corrected(&self, mut text: Text, begin: usize, end: usize) -> Result<Option<Verdict>, Failure> {
        let (content, lines) = self.wanted()?;
        let mut changes = Vec::new();
        let markers = self.markers();
        let signs = [(begin, &markers.begin), (end, &markers.end)];
        let other = signs.iter().find(|(at, marker)| text.line(*at).trim_ascii() != marker.trim().as_bytes());
        if let Some((at, marker)) = other {
            changes.push(Change::from_to("comment", text::shown(text.line(*at)), marker));
            text.replace(begin, markers.begin.as_bytes());
            text.replace(end, markers.end.as_bytes());
        }
        let there: Vec<&[u8]> = (begin + 1..end).map(|at| text.line(at)).collect();
        if there != lines {
            changes.push(self.difference(content, &there));
            text.remove(begin + 1, end);
            text.insert(begin + 1, &lines);
        }
        Ok((!changes.is_empty()).then_some(Verdict { action: Action::Change, changes, text }))
    }

    /// From the lines that are there to those that are declared.
    fn difference(&self, content: &Content, there: &[&[u8]]) -> Change {
        let mut old = there.join(&b'\n');
        let ends = content.bytes().is_none_or(|bytes| bytes.is_empty() || bytes.ends_with(b"\n"));
        if ends && !there.is_empty() {
            old.push(b'\n');
        }
        let from = content.summary_of_old(&sha256_hex(&old), old.len() as u64);
        let mut change = Change::from_to("content", from, content.summary());
        if !content.has_secret() {
            change.old_text = String::from_utf8(old).ok();
        }
        change
    }

    fn removed(&self, mut text: Text, begin: usize, end: usize) -> Verdict {
        let count = end - begin - 1;
        let from = format!("{count} {}", if count == 1 { "line" } else { "lines" });
        text.remove(begin, end + 1);
        Verdict::new(Action::Remove, Change::new("content", Some(from), None), text)
    }

    /// One marker is there: the other belongs where the content ends, if it is there as declared.
    fn mended(&self, mut text: Text, side: Side, at: usize) -> Result<Verdict, Failure> {
        let (_, lines) = self.wanted()?;
        let markers = self.markers();
        let from = match side {
            Side::Begin => at + 1,
            Side::End => at.checked_sub(lines.len()).ok_or_else(|| self.half(side, at))?,
        };
        let beside = (from..from + lines.len()).map(|at| (at < text.len()).then(|| text.line(at)));
        if lines.is_empty() || !beside.eq(lines.iter().map(|line| Some(*line))) {
            return Err(self.half(side, at));
        }
        let (missing, at) = match side {
            Side::Begin => (&markers.end, from + lines.len()),
            Side::End => (&markers.begin, from),
        };
        text.insert(at, &[missing.as_bytes()]);
        Ok(Verdict::new(Action::Change, Change::new("marker", None, Some(missing.clone())), text))
    }

    fn half(&self, side: Side, at: usize) -> Failure {
        let Block { label, file, .. } = self;
        let markers = self.markers();
        let (there, missing, place) = match side {
            Side::Begin => ("begins", &markers.end, "after its last line"),
            Side::End => ("ends", &markers.begin, "before its first line"),
        };
        let number = at + 1;
        Failure::new(format!(
            "line {number} of {file} says that the block `{label}` {there} there, and its other marker is gone"
        ))
        .help(format!(
            "put `{missing}` back {place}, or remove line {number} and what is left of the block"
        ))
    }

    fn muddled(&self, lines: &[usize]) -> Failure {
        let Block { label, file, .. } = self;
        let numbers: Vec<String> = lines.iter().map(|at| (at + 1).to_string()).collect();
        Failure::new(format!(
            "the markers of the block `{label}` in {file} are not one begin and one end: lines {}",
            numbers.join(", ")
        ))
        .help("leave one begin and one end after it, around what is the block's, and remove the others")
    }

    /// Nobody can say whose the lines are that lie in two blocks.
    fn holds_no_other(&self, text: &Text, begin: usize, end: usize) -> Result<(), Failure> {
        let other = (begin + 1..end).find_map(|at| Some((at, text::marker_in(text.line(at))?.1)));
        let Some((at, label)) = other else { return Ok(()) };
        Err(Failure::new(format!(
            "line {} of {} is a marker of the block `{label}`, and lies inside of the block `{}`",
            at + 1,
            self.file,
            self.label
        ))
        .help("move one of the two blocks out of the other"))
    }
}

/// Without their ends.
pub(super) fn lines_of(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}
