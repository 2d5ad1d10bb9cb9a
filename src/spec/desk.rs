//! What is on the desk while a spec is read: the files so far, and what is wrong so far.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::at::{Place, Sources};
use super::problem::Problem;
use crate::attribute::Content;
use crate::resource::io_words;

/// A spec file larger than this was not written by hand.
pub const SPEC_CAP: u64 = 16 * 1024 * 1024;

/// What a `source` may hold: its content travels in one frame.
pub const SOURCE_CAP: u64 = 64 * 1024 * 1024;

#[derive(Clone, Default, Debug)]
pub struct Desk {
    pub sources: Sources,
    pub problems: Vec<Problem>,
    /// Every file that was read, in the order of reading.
    pub files: Vec<PathBuf>,
    /// A file could not be read at all: what it would have declared is not to be missed.
    pub is_incomplete: bool,
    /// Templates that stand on facts and have been tried without a host.
    pub tried: HashSet<Place>,
    templates: HashMap<PathBuf, Place>,
    /// The contents of `source` files, which several resources may share.
    pub contents: HashMap<PathBuf, Content>,
}

impl Desk {
    pub fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The bytes of a file; else what is wrong and a way out.
    pub fn read(&mut self, path: &Path, cap: u64) -> Result<Vec<u8>, (String, &'static str)> {
        let read = || -> io::Result<Result<Vec<u8>, (String, &'static str)>> {
            let metadata = fs::metadata(path)?;
            if metadata.is_dir() {
                let what = format!("{} is a directory", path.display());
                return Ok(Err((what, "name a file in it")));
            }
            let mut bytes = Vec::new();
            // A pipe has no length: the cap holds for what comes out of it.
            File::open(path)?.take(cap + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > cap {
                let what = format!("{} is larger than {} MB", path.display(), cap / 1024 / 1024);
                return Ok(Err((
                    what,
                    "is it the right file? What is larger, the host can fetch itself: `download`, or an `archive` with `url`",
                )));
            }
            Ok(Ok(bytes))
        };
        let bytes = read().unwrap_or_else(|error| {
            let help = match error.kind() {
                io::ErrorKind::NotFound => "check the path: it is relative to the file that names it",
                io::ErrorKind::PermissionDenied => "give the user who runs converge the right to read it",
                _ => "check the path and the disk",
            };
            Err((format!("{} cannot be read: {}", path.display(), io_words(&error)), help))
        })?;
        if !self.files.iter().any(|file| file == path) {
            self.files.push(path.to_owned());
        }
        Ok(bytes)
    }

    /// Takes a text file in; what is not UTF-8 is a problem with its place.
    pub fn take(&mut self, path: &Path, bytes: Vec<u8>) -> Result<Place, Problem> {
        let error = match String::from_utf8(bytes) {
            Ok(text) => return Ok(self.sources.add(path, text)),
            Err(error) => error,
        };
        let valid = error.utf8_error().valid_up_to();
        let whole = self.sources.add(path, String::from_utf8_lossy(error.as_bytes()).into_owned());
        // What is before the first wrong byte is the same in both.
        let start = whole.start + super::at::small(valid);
        let place = Place { start, end: start + 3, ..whole };
        let help = match error.as_bytes() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                "this looks like UTF-16; `iconv -f utf-16 -t utf-8` converts"
            }
            _ => "save it as UTF-8; `iconv -f latin1 -t utf-8` converts",
        };
        Err(Problem::at(place, "this file is not UTF-8").label("the first byte that is not").help(help))
    }

    /// A template file, which several hosts may share.
    pub fn template(&mut self, path: &Path) -> Result<Place, TemplateError> {
        if let Some(place) = self.templates.get(path) {
            return Ok(*place);
        }
        let bytes = self.read(path, SOURCE_CAP).map_err(|(what, help)| TemplateError::Unread(what, help))?;
        let place = self.take(path, bytes).map_err(TemplateError::NotText)?;
        self.templates.insert(path.to_owned(), place);
        Ok(place)
    }
}

/// Why a template file cannot be had.
pub enum TemplateError {
    Unread(String, &'static str),
    NotText(Problem),
}
