//! What has to be known before any host is reached, and so cannot stand on facts: what there is, in
//! which order, and what a run selects.

use super::at::Place;
use super::desk::Desk;
use super::entry::Draft;
use super::problem::Problem;
use crate::resource::TYPES;

/// Common attributes that the graph or the selection is made from.
pub fn is_early(attribute: &str) -> bool {
    matches!(attribute, "depends_on" | "tags")
}

pub fn problem(attribute: &str, place: Place) -> Problem {
    let (why, help) = match attribute {
        "for_each" => (
            "says which resources there are",
            "loop over all that there may be, and give the item a `when`, which may speak of `facts` and of `item`",
        ),
        "tags" => ("says what `--only` selects", "write two items, each with its own `when`"),
        word if TYPES.contains(&word) => (
            "is the name of the resource",
            "write two items, each with its own name and its own `when`: when: facts.os.id == \"debian\"",
        ),
        _ => ("orders the run", "name all that may be meant: what a `when` skips holds up nobody"),
    };
    Problem::at(place, format!("`{attribute}` cannot depend on facts"))
        .label(format!("{why}, which has to be known before any host is reached"))
        .help(help)
}

/// Lists of triggers order the run as well; false where one of them stands on facts.
pub fn check(desk: &mut Desk, draft: &mut Draft, late: &[String]) -> bool {
    let triggers = draft.resource.as_resource_mut().triggers();
    let wrong: Vec<&str> =
        triggers.iter().map(|(name, _)| *name).filter(|name| late.iter().any(|late| late == name)).collect();
    for attribute in &wrong {
        let place = draft.attribute(desk, attribute);
        desk.report(problem(attribute, place));
    }
    wrong.is_empty()
}
