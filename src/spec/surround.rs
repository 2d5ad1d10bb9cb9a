//! What resources have to know of each other's paths: what is declared above each, what a
//! directory with `recurse` hands down to what lies below it, and what a mount point is like.

use std::collections::HashMap;

use super::entry::Draft;
use super::parts;
use crate::attribute::AbsPath;
use crate::resource::common::{HandedDown, Surroundings};
use crate::resource::{AnyResource, Thing};

/// A path with a resource of its own, or with one for a part of it.
struct Known {
    host: usize,
    path: AbsPath,
    is_part: bool,
    hands_down: Option<HandedDown>,
}

pub fn surround(drafts: &mut [Draft]) {
    let mut known: Vec<Option<Known>> = Vec::with_capacity(drafts.len());
    for draft in drafts.iter_mut() {
        known.push(read(draft));
    }
    let found: HashMap<(usize, &AbsPath), &Known> =
        own(&known).map(|known| ((known.host, &known.path), known)).collect();
    for (draft, own) in drafts.iter_mut().zip(&known) {
        let (Some(own), Some(slot)) = (own, draft.resource.as_resource_mut().surroundings()) else {
            continue;
        };
        *slot = Surroundings::default();
        for above in own.path.ancestors() {
            let Some(above) = found.get(&(own.host, &above)) else { continue };
            slot.nearest.get_or_insert_with(|| above.path.clone());
            if let Some(handed) = &above.hands_down {
                // The nearest one that says something of it.
                let handed = handed.clone();
                slot.handed.owner = slot.handed.owner.take().or(handed.owner);
                slot.handed.group = slot.handed.group.take().or(handed.group);
                slot.handed.mode = slot.handed.mode.or(handed.mode);
            }
        }
        if own.hands_down.is_some() {
            let below = self::own(&known).filter(|it| it.host == own.host && it.path.is_below(&own.path));
            slot.below = below.map(|it| (it.path.clone(), it.hands_down.is_some())).collect();
        }
    }
    parts::line_up(drafts);
    mount_points(drafts);
}

/// Those with a resource of their own.
fn own(known: &[Option<Known>]) -> impl Iterator<Item = &Known> {
    known.iter().flatten().filter(|known| !known.is_part)
}

/// Tells each mount what is declared of the directory that it is on.
fn mount_points(drafts: &mut [Draft]) {
    let is_there = |draft: &&Draft| draft.skipped_by_when.is_none() && !draft.may_be_away();
    let directories: HashMap<(usize, AbsPath), _> = drafts
        .iter()
        .filter(is_there)
        .filter_map(|draft| match &draft.resource {
            AnyResource::Directory(directory) if !draft.resource.as_resource().links().is_removal => {
                Some(((draft.host, directory.path.clone()), directory.clone()))
            }
            _ => None,
        })
        .collect();
    for draft in drafts {
        let host = draft.host;
        if let Some((path, slot)) = draft.resource.as_resource_mut().mount_point() {
            *slot = directories.get(&(host, path)).cloned();
        }
    }
}

fn read(draft: &mut Draft) -> Option<Known> {
    draft.resource.as_resource_mut().surroundings()?;
    let links = draft.resource.as_resource().links();
    if links.is_removal || draft.skipped_by_when.is_some() {
        return None;
    }
    let (path, is_part) = links.provides.into_iter().find_map(|thing| match thing {
        Thing::Path(path) => Some((path, false)),
        Thing::Part(path) => Some((path, true)),
        _ => None,
    })?;
    Some(Known { host: draft.host, path, is_part, hands_down: draft.resource.as_resource().hands_down() })
}
