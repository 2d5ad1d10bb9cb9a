//! Where something new goes in a text.

use serde::{Deserialize, Serialize};

use super::{Block, Text, blocks};
use crate::attribute::{AbsPath, Pattern, sha256_hex};

/// As `after` and `before` say it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Place<'a> {
    End,
    After(&'a Pattern),
    Before(&'a Pattern),
}

impl<'a> Place<'a> {
    pub fn of(after: Option<&'a Pattern>, before: Option<&'a Pattern>) -> Place<'a> {
        match (after, before) {
            (Some(after), _) => Place::After(after),
            (None, Some(before)) => Place::Before(before),
            (None, None) => Place::End,
        }
    }
}

/// What the loader has to know of a part of a file to put those that go to one place in the order
/// of the spec.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PlaceInFile {
    pub file: AbsPath,
    pub anchor: String,
    /// By which the part is known again in the file.
    pub mark: String,
}

impl PlaceInFile {
    pub fn new(file: &AbsPath, place: Place<'_>, mark: String) -> PlaceInFile {
        let anchor = match place {
            Place::End => String::new(),
            Place::After(pattern) => format!("after {pattern}"),
            Place::Before(pattern) => format!("before {pattern}"),
        };
        PlaceInFile { file: file.clone(), anchor, mark }
    }
}

/// The marks of the others that go to the same place. Filled in by the loader.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Siblings {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<String>,
}

impl Siblings {
    pub fn is_empty(&self) -> bool {
        *self == Siblings::default()
    }
}

/// A line may be a secret: a part of its hash is enough to know it again.
pub fn mark_of_line(line: &[u8]) -> String {
    sha256_hex(line)[..16].to_owned()
}

pub fn mark_of_block(label: &str) -> String {
    format!("block {label}")
}

/// The number of the line that it goes before: after the last line that `after` is found in,
/// before the first that `before` is found in, or at the end. Never inside of a block, and among
/// those that go to the same place in the order of the spec, whichever came first.
pub fn gap(text: &Text, place: Place<'_>, siblings: &Siblings) -> usize {
    let blocks = blocks(text);
    let around = |at: usize| blocks.iter().find(|block| (block.begin..=block.end).contains(&at));
    let finds = |pattern: &Pattern| {
        let numbered = text.lines().enumerate();
        numbered.filter(|(_, line)| pattern.finds(line)).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let (mut gap, goes_down) = match place {
        Place::End => (text.len(), false),
        Place::After(pattern) => match finds(pattern).last() {
            Some(at) => (around(*at).map_or(*at, |block| block.end) + 1, true),
            None => (text.len(), false),
        },
        Place::Before(pattern) => match finds(pattern).first() {
            Some(at) => (around(*at).map_or(*at, |block| block.begin), false),
            None => (text.len(), false),
        },
    };
    let mark = |at: usize, block: Option<&Block>| match block {
        Some(block) => mark_of_block(&block.label),
        None => mark_of_line(text.line(at)),
    };
    if goes_down && !siblings.earlier.is_empty() {
        while gap < text.len() {
            let block = around(gap);
            if !siblings.earlier.contains(&mark(gap, block)) {
                break;
            }
            gap = block.map_or(gap, |block| block.end) + 1;
        }
    } else if !goes_down && !siblings.later.is_empty() {
        while gap > 0 {
            let block = around(gap - 1);
            if !siblings.later.contains(&mark(gap - 1, block)) {
                break;
            }
            gap = block.map_or(gap - 1, |block| block.begin);
        }
    }
    gap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn it_goes_after_the_last_and_before_the_first_and_else_to_the_end() {
        let text = Text::parse(b"[a]\nx\n[a]\ny\n");
        let none = Siblings::default();
        let a = pattern(r"^\[a\]$");
        assert_eq!(gap(&text, Place::After(&a), &none), 3);
        assert_eq!(gap(&text, Place::Before(&a), &none), 0);
        let b = pattern("^b");
        assert_eq!(gap(&text, Place::After(&b), &none), 4);
        assert_eq!(gap(&text, Place::Before(&b), &none), 4);
        assert_eq!(gap(&Text::parse(b""), Place::End, &none), 0);
    }

    #[test]
    fn it_never_goes_into_a_block() {
        let text = Text::parse(b"1\n# BEGIN converge: b\n[a]\n# END converge: b\n2\n");
        let (a, none) = (pattern("a"), Siblings::default());
        assert_eq!(gap(&text, Place::After(&a), &none), 4);
        assert_eq!(gap(&text, Place::Before(&a), &none), 1);
    }

    /// Three lines for one place, in each of the orders that a run may take.
    #[test]
    fn what_goes_to_one_place_stands_in_the_order_of_the_spec_whichever_came_first() {
        let names: [&[u8]; 3] = [b"a", b"b", b"c"];
        let marks: Vec<String> = names.iter().map(|name| mark_of_line(name)).collect();
        let head = pattern("^head");
        for place in [Place::End, Place::After(&head), Place::Before(&head)] {
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut text = Text::parse(b"x\nhead\ny\n");
                for which in order {
                    let siblings =
                        Siblings { earlier: marks[..which].to_vec(), later: marks[which + 1..].to_vec() };
                    text.insert(gap(&text, place, &siblings), &[names[which]]);
                }
                let wanted: &[u8] = match place {
                    Place::End => b"x\nhead\ny\na\nb\nc\n",
                    Place::After(_) => b"x\nhead\na\nb\nc\ny\n",
                    Place::Before(_) => b"x\na\nb\nc\nhead\ny\n",
                };
                assert_eq!(text.bytes(), wanted, "{place:?} {order:?}");
            }
        }
    }
}
