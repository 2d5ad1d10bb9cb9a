//! Positions: where in which file something is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stretch of a source file, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

impl Place {
    /// Its beginning alone.
    pub fn begin(self) -> Place {
        Place { end: self.start, ..self }
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// From the beginning of this to the end of `other`, which follows it in the same file.
    pub fn to(self, other: Place) -> Place {
        Place { end: other.end.max(self.end), ..self }
    }
}

/// A value and where it is written.
#[derive(Clone, PartialEq, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

impl<T> At<T> {
    pub fn new(value: T, place: Place) -> Self {
        At { value, place }
    }
}

/// So many characters are underlined at most.
const LABELLED: usize = 80;

/// A file that was read, with its text as it was.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the user gave it, or as the including file's path leads to it.
    pub path: PathBuf,
    pub text: String,
    /// The byte at which each line begins.
    lines: Vec<u32>,
}

/// A stretch of whole lines, in bytes.
pub struct Lines {
    /// Counted from 0.
    pub first_line: usize,
    pub start: usize,
    pub end: usize,
}

/// The files of a spec. A copy shares their texts.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    files: Vec<Arc<Source>>,
}

impl Sources {
    /// Takes a file in; the place that is returned is all of it.
    pub fn add(&mut self, path: &Path, text: String) -> Place {
        let begins = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(begins.map(|(at, _)| small(at + 1))).collect();
        let place = Place { file: small(self.files.len()), start: 0, end: small(text.len()) };
        self.files.push(Arc::new(Source { path: path.to_owned(), text, lines }));
        place
    }

    pub fn get(&self, file: u32) -> &Source {
        &self.files[file as usize]
    }

    /// The text that stands there.
    pub fn text(&self, place: Place) -> &str {
        self.get(place.file).text.get(place.start as usize..place.end as usize).unwrap_or("")
    }

    /// The place without what follows its first line.
    pub fn first_line(&self, place: Place) -> Place {
        let text = self.text(place);
        let line = text.lines().next().unwrap_or("").trim_end();
        let length = line.char_indices().map(|(at, c)| at + c.len_utf8()).take(LABELLED).last();
        Place { end: place.start + small(length.unwrap_or(0)), ..place }
    }

    /// The whole lines from `start` to `end`, with `before` and `after` more of them.
    pub fn lines(&self, file: u32, start: usize, end: usize, before: usize, after: usize) -> Lines {
        let source = self.get(file);
        let line_of = |at: usize| source.lines.partition_point(|begin| *begin as usize <= at) - 1;
        let first_line = line_of(start).saturating_sub(before);
        let behind = line_of(end) + after + 1;
        Lines {
            first_line,
            start: source.lines[first_line] as usize,
            end: source.lines.get(behind).map_or(source.text.len(), |begin| *begin as usize),
        }
    }

    /// Counted from 1.
    pub fn line(&self, place: Place) -> usize {
        self.get(place.file).lines.partition_point(|begin| *begin <= place.start)
    }

    /// As in `specs/prod.yaml:27`.
    pub fn location(&self, place: Place) -> String {
        format!("{}:{}", self.get(place.file).path.display(), self.line(place))
    }
}

/// Files are capped far below 4 GB when they are read.
pub(super) fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
