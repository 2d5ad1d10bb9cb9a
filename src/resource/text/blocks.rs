//! Blocks of converge in a text, by the marker lines around them:
//!
//! ```text
//! # BEGIN converge: LABEL
//! # END converge: LABEL
//! ```

use super::Text;

const BEGIN: &str = "BEGIN converge: ";
const END: &str = "END converge: ";

/// What ends a comment, where a line cannot.
const CLOSERS: &[&str] = &["-->", "*/", "#}", "--%>", "%>", "}}", "--]]", "*)"];

/// Words that begin a comment: REM of batch files, dnl of m4.
const WORDS: &[&str] = &["rem", "dnl"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Begin,
    End,
}

/// The marker lines of one block.
pub struct Markers {
    pub begin: String,
    pub end: String,
}

/// A block: its label, and the lines that its markers are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    pub label: String,
    pub begin: usize,
    pub end: usize,
}

/// What there is of one block.
#[derive(PartialEq, Eq, Debug)]
pub enum Marked {
    Nowhere,
    /// Its begin and its end.
    Whole(usize, usize),
    /// One marker without the other.
    Half(Side, usize),
    /// More than two, or the end first: these lines.
    Muddled(Vec<usize>),
}

impl Markers {
    /// `comment` begins each, or surrounds it where it has `{}`, as in `<!-- {} -->`.
    pub fn new(comment: &str, label: &str) -> Markers {
        let line = |marker: &str| match comment.contains("{}") {
            true => comment.replacen("{}", &format!("{marker}{label}"), 1),
            false => format!("{} {marker}{label}", comment.trim_end()),
        };
        Markers { begin: line(BEGIN), end: line(END) }
    }

    /// Whether what is written so is known again for what it is.
    pub fn are_known(&self, label: &str) -> bool {
        let is = |line: &str, side| marker_in(line.as_bytes()) == Some((side, label));
        is(&self.begin, Side::Begin) && is(&self.end, Side::End)
    }
}

/// The marker that a line is, with its label: in whatever comment it stands, so that another
/// comment sign makes no other block of it.
pub fn marker_in(line: &[u8]) -> Option<(Side, &str)> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let (side, at, marker) = match (text.find(BEGIN), text.find(END)) {
        (Some(at), _) => (Side::Begin, at, BEGIN),
        (None, Some(at)) => (Side::End, at, END),
        (None, None) => return None,
    };
    let before: String = text[..at].chars().filter(|c| c.is_alphanumeric()).collect();
    if !before.is_empty() && !WORDS.contains(&before.to_lowercase().as_str()) {
        return None;
    }
    let label = text[at + marker.len()..].trim();
    let label = CLOSERS.iter().find_map(|closer| label.strip_suffix(closer)).unwrap_or(label).trim();
    (!label.is_empty()).then_some((side, label))
}

/// The blocks that have both their markers.
pub fn blocks(text: &Text) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    for (at, line) in text.lines().enumerate() {
        match (marker_in(line), open) {
            (Some((Side::Begin, label)), _) => open = Some((at, label)),
            (Some((Side::End, label)), Some((begin, begun))) if begun == label => {
                blocks.push(Block { label: label.to_owned(), begin, end: at });
                open = None;
            }
            _ => {}
        }
    }
    blocks
}

/// What there is of the block with this label.
pub fn marked(text: &Text, label: &str) -> Marked {
    let markers: Vec<(Side, usize)> = text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((marker_in(line).filter(|(_, found)| *found == label)?.0, at)))
        .collect();
    match markers[..] {
        [] => Marked::Nowhere,
        [(Side::Begin, begin), (Side::End, end)] => Marked::Whole(begin, end),
        [(side, at)] => Marked::Half(side, at),
        _ => Marked::Muddled(markers.into_iter().map(|(_, at)| at).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_known_in_any_comment_and_nowhere_else() {
        for (line, label) in [
            ("# BEGIN converge: a", Some("a")),
            ("  // BEGIN converge: a b  ", Some("a b")),
            ("<!-- BEGIN converge: a -->", Some("a")),
            ("/* BEGIN converge: a-b */", Some("a-b")),
            ("REM BEGIN converge: a", Some("a")),
            ("dnl BEGIN converge: a", Some("a")),
            ("BEGIN converge: a", Some("a")),
            ("see # BEGIN converge: a", None),
            ("# BEGIN converge: ", None),
            ("# BEGIN a", None),
        ] {
            let wanted = label.map(|label| (Side::Begin, label));
            assert_eq!(marker_in(line.as_bytes()), wanted, "{line}");
        }
        assert_eq!(marker_in(b"# END converge: a"), Some((Side::End, "a")));
        assert_eq!(marker_in(b"# END converge: \xff"), None);
    }

    #[test]
    fn markers_are_written_in_the_comments_of_the_file() {
        let markers = |comment| Markers::new(comment, "web");
        assert_eq!(markers("#").begin, "# BEGIN converge: web");
        assert_eq!(markers("// ").end, "// END converge: web");
        assert_eq!(markers("<!-- {} -->").begin, "<!-- BEGIN converge: web -->");
        assert!(markers("<!-- {} -->").are_known("web"));
        assert!(!markers("see").are_known("web"));
        assert!(!Markers::new("#", "web -->").are_known("web -->"));
    }

    #[test]
    fn what_there_is_of_a_block_is_told_apart() {
        let [begin, end] = ["# BEGIN converge: a\n", "# END converge: a\n"];
        let of = |parts: &[&str]| marked(&Text::parse(parts.concat().as_bytes()), "a");
        assert_eq!(of(&["x\n", "# BEGIN converge: ab\n"]), Marked::Nowhere);
        assert_eq!(of(&["x\n", begin, "y\n", end]), Marked::Whole(1, 3));
        assert_eq!(of(&[begin, "y\n"]), Marked::Half(Side::Begin, 0));
        assert_eq!(of(&["y\n", end]), Marked::Half(Side::End, 1));
        assert_eq!(of(&[end, begin]), Marked::Muddled(vec![0, 1]));
        assert_eq!(of(&[begin, begin, end]), Marked::Muddled(vec![0, 1, 2]));
    }

    #[test]
    fn blocks_are_those_with_both_markers() {
        let text = "# BEGIN converge: a\n# BEGIN converge: b\nx\n# END converge: b\n# END converge: a\n\
                    ; BEGIN converge: c\n; END converge: c\n";
        let found = blocks(&Text::parse(text.as_bytes()));
        let found: Vec<_> =
            found.iter().map(|block| (block.label.as_str(), block.begin, block.end)).collect();
        assert_eq!(found, [("b", 1, 3), ("c", 5, 6)]);
    }
}
