//! What the parts of one file (`line`, `block`) have to do with each other: which go to the same
//! place in it, and which of them another one goes after or before.

use std::collections::HashMap;

use super::at::Place;
use super::entry::Draft;
use crate::attribute::{AbsPath, Content, Pattern};
use crate::graph::{Edge, Reason, Vertex};
use crate::resource::common::Siblings;
use crate::resource::{AnyResource, PlaceInFile};

/// Tells the parts of a file which others go to the same place in it, in the order of the spec.
pub fn line_up(drafts: &mut [Draft]) {
    let mut places: HashMap<(usize, AbsPath, String), Vec<(usize, String)>> = HashMap::new();
    for (index, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.skipped_by_when.is_none()) {
        if let Some(PlaceInFile { file, anchor, mark }) = draft.resource.as_resource().place_in_file() {
            places.entry((draft.host, file, anchor)).or_default().push((index, mark));
        }
    }
    for parts in places.values().filter(|parts| parts.len() > 1) {
        for (number, (index, _)) in parts.iter().enumerate() {
            if let Some(slot) = drafts[*index].resource.as_resource_mut().surroundings() {
                let marks = |some: &[(usize, String)]| some.iter().map(|(_, mark)| mark.clone()).collect();
                slot.siblings =
                    Siblings { earlier: marks(&parts[..number]), later: marks(&parts[number + 1..]) };
            }
        }
    }
}

/// A part whose `after` or `before` finds what another one declares comes after that one: else the
/// place would be found, or not, by who was first.
pub fn anchored(drafts: &[Draft], edges: &mut Vec<Edge<Place>>) {
    let mut files: HashMap<(usize, AbsPath), Vec<usize>> = HashMap::new();
    for (item, draft) in drafts.iter().enumerate() {
        if let Some(place) = draft.resource.as_resource().place_in_file() {
            files.entry((draft.host, place.file)).or_default().push(item);
        }
    }
    for parts in files.values() {
        for item in parts {
            let Some(anchor) = anchor(&drafts[*item].resource) else { continue };
            let is_found = |other: &&usize| {
                *other != item && lines(&drafts[**other].resource).any(|it| anchor.finds(it))
            };
            for other in parts.iter().filter(is_found) {
                let why = Reason::Implied("its place is found by it");
                edges.push(Edge::new(Vertex::Item(*other), Vertex::Item(*item), why, drafts[*item].place));
            }
        }
    }
}

fn anchor(resource: &AnyResource) -> Option<&Pattern> {
    match resource {
        AnyResource::Line(line) => line.after.as_ref().or(line.before.as_ref()),
        AnyResource::Block(block) => block.after.as_ref().or(block.before.as_ref()),
        _ => None,
    }
}

/// The lines that it declares to be there.
fn lines(resource: &AnyResource) -> impl Iterator<Item = &[u8]> {
    let content = match resource {
        AnyResource::Line(line) => line.text.as_ref(),
        AnyResource::Block(block) => block.content.as_ref(),
        _ => None,
    };
    content.and_then(Content::bytes).unwrap_or_default().split(|byte| *byte == b'\n')
}
