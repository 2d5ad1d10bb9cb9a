//! Reads a whole item, or a whole host, and finds all that is wrong with it.

use std::collections::HashSet;

use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::at::Place;
use super::complaint::{Complaint, Kind};
use super::problem::Problem;
use super::read::{Entry, Pairs};

/// What earlier rounds of reading have found out.
#[derive(Default)]
pub struct Known {
    /// Plain scalars that are to be taken as the texts they are written as.
    pub as_text: HashSet<Place>,
    /// Keys of entries, and elements, that have been complained about.
    pub skipped: HashSet<Place>,
}

/// Reads a whole from its entries and finds all that is wrong in one go: what is wrong is
/// reported, taken out, and the rest read again. `about` is what they describe ("a `file`"), at
/// `place`; `known_too` are keys that somebody else takes, and `unrendered` the keys whose
/// values are known to be wrong already.
pub fn read_all<T>(
    entries: &[&Entry],
    place: Place,
    about: &str,
    known_too: &[&'static str],
    unrendered: &[Place],
    problems: &mut Vec<Problem>,
    read: impl Fn(Entries<'_, '_>) -> Result<T, Complaint>,
) -> Option<T> {
    let (value, is_whole) = read_most(entries, place, about, known_too, unrendered, problems, read);
    value.filter(|_| is_whole)
}

/// The same, and also what is left where something was wrong; false: something was.
pub fn read_most<T>(
    entries: &[&Entry],
    place: Place,
    about: &str,
    known_too: &[&'static str],
    unrendered: &[Place],
    problems: &mut Vec<Problem>,
    read: impl Fn(Entries<'_, '_>) -> Result<T, Complaint>,
) -> (Option<T>, bool) {
    let mut known = Known::default();
    let mut skipped: Vec<String> = Vec::new();
    for (key, _) in entries.iter().filter(|(key, _)| unrendered.contains(&key.place)) {
        known.skipped.insert(key.place);
        skipped.push(key.value.clone());
    }
    loop {
        let complaint = match read(Entries { entries, known: &known }) {
            Ok(value) => return (Some(value), skipped.is_empty()),
            Err(complaint) => complaint,
        };
        if let Some(place) = complaint.retry_as_text
            && known.as_text.insert(place)
        {
            continue;
        }
        let part = complaint.part.clone();
        // What was taken out is missing now, which is no complaint of its own.
        let follows = matches!(complaint.kind, Kind::Missing(key) if skipped.iter().any(|name| name == key));
        if !follows {
            problems.push(complaint.problem(place, about, known_too));
        }
        match part {
            Some(part) if known.skipped.insert(part.place) => skipped.push(part.key.unwrap_or_default()),
            _ => return (None, false),
        }
    }
}

/// Reads entries once, and stops at the first complaint.
pub fn with_entries<T>(
    entries: &[&Entry],
    read: impl Fn(Entries<'_, '_>) -> Result<T, Complaint>,
) -> Result<T, Complaint> {
    read(Entries { entries, known: &Known::default() })
}

/// The entries of one mapping, as a deserializer.
pub struct Entries<'a, 'r> {
    entries: &'a [&'a Entry],
    known: &'r Known,
}

impl<'de> Deserializer<'de> for Entries<'de, '_> {
    type Error = Complaint;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        let mut access = Pairs::new(self.entries.iter().copied(), self.known);
        visitor.visit_map(&mut access)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
