//! A text file of which resources declare parts: its lines, the blocks in it, where something new
//! goes. All of it is bytes, so that what is not UTF-8 stays as it is.

mod blocks;
mod part;
mod place;

pub use blocks::{Block, Marked, Markers, Side, blocks, marked, marker_in};
pub use part::{Part, Verdict};
pub use place::{Place, PlaceInFile, Siblings, gap, mark_of_block, mark_of_line};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Lf,
    CrLf,
}

#[derive(Clone, PartialEq, Debug)]
struct Line {
    content: Vec<u8>,
    ending: Ending,
}

/// The lines of a file, and what is needed to write those that nobody changed as they were.
#[derive(Clone, PartialEq, Debug)]
pub struct Text {
    has_byte_order_mark: bool,
    lines: Vec<Line>,
    /// How the first line ends: what a new line takes where it has no neighbour.
    usual: Ending,
    /// Its last line does not end: nor will the one that is last then.
    is_unfinished: bool,
}

impl Text {
    pub fn parse(bytes: &[u8]) -> Text {
        let (has_byte_order_mark, rest) = match bytes.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => (true, rest),
            None => (false, bytes),
        };
        let mut lines = Vec::new();
        let mut usual = None;
        let mut is_unfinished = false;
        for piece in rest.split_inclusive(|byte| *byte == b'\n') {
            let (content, ending) = match piece {
                [content @ .., b'\r', b'\n'] => (content, Ending::CrLf),
                [content @ .., b'\n'] => (content, Ending::Lf),
                content => {
                    is_unfinished = true;
                    (content, usual.unwrap_or(Ending::Lf))
                }
            };
            usual.get_or_insert(ending);
            lines.push(Line { content: content.to_vec(), ending });
        }
        let usual = usual.unwrap_or(Ending::Lf);
        Text { has_byte_order_mark, lines, usual, is_unfinished }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.has_byte_order_mark {
            bytes.extend_from_slice(BYTE_ORDER_MARK);
        }
        for (at, line) in self.lines.iter().enumerate() {
            bytes.extend_from_slice(&line.content);
            if self.is_unfinished && at + 1 == self.lines.len() {
                break;
            }
            bytes.extend_from_slice(match line.ending {
                Ending::Lf => b"\n",
                Ending::CrLf => b"\r\n",
            });
        }
        bytes
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// A line without its end.
    pub fn line(&self, at: usize) -> &[u8] {
        &self.lines[at].content
    }

    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(|line| line.content.as_slice())
    }

    /// The line keeps its end.
    pub fn replace(&mut self, at: usize, content: &[u8]) {
        self.lines[at].content = content.to_vec();
    }

    /// Before the line that is at `at` now. New lines end as the one above them, or else as the one
    /// below.
    pub fn insert(&mut self, at: usize, contents: &[&[u8]]) {
        let neighbour = at.checked_sub(1).or((at < self.lines.len()).then_some(at));
        let ending = neighbour.map_or(self.usual, |at| self.lines[at].ending);
        let new = contents.iter().map(|content| Line { content: content.to_vec(), ending });
        self.lines.splice(at..at, new);
    }

    /// The lines from `from` on, up to `to` and without it.
    pub fn remove(&mut self, from: usize, to: usize) {
        self.lines.drain(from..to);
    }
}

/// A line as it is shown.
pub fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_changes_is_written_as_it_was() {
        for bytes in [
            &b""[..],
            b"\n",
            b"a",
            b"a\n",
            b"a\r\nb\r\n",
            b"a\r\nb",
            b"a\nb\r\nc\rd\n\n\n",
            b"\xef\xbb\xbfa\n",
            b"\xef\xbb\xbf",
            b"\xff\xfe\x00\n\x80",
        ] {
            assert_eq!(Text::parse(bytes).bytes(), bytes, "{bytes:?}");
        }
    }

    #[test]
    fn new_lines_end_as_their_neighbours_and_a_missing_last_end_stays_missing() {
        let cases: &[(&[u8], usize, &[u8])] = &[
            (b"", 0, b"new\n"),
            (b"a\n", 1, b"a\nnew\n"),
            (b"a", 1, b"a\nnew"),
            (b"a", 0, b"new\na"),
            (b"a\r\n", 1, b"a\r\nnew\r\n"),
            (b"a\r\nb", 2, b"a\r\nb\r\nnew"),
            (b"a\r\n", 0, b"new\r\na\r\n"),
            (b"a\nb\r\nc\n", 2, b"a\nb\r\nnew\r\nc\n"),
            (b"\xef\xbb\xbfa\n", 0, b"\xef\xbb\xbfnew\na\n"),
        ];
        for (bytes, at, wanted) in cases {
            let mut text = Text::parse(bytes);
            text.insert(*at, &[b"new"]);
            assert_eq!(text.bytes(), *wanted, "{bytes:?} at {at}");
        }
    }

    #[test]
    fn what_is_replaced_or_removed_leaves_the_other_lines_as_they_are() {
        let mut text = Text::parse(b"a\r\nb\xff\nc");
        text.replace(0, b"x");
        assert_eq!(text.bytes(), b"x\r\nb\xff\nc");
        text.remove(2, 3);
        assert_eq!(text.bytes(), b"x\r\nb\xff");
        text.remove(0, 2);
        assert_eq!(text.bytes(), b"");
    }
}
