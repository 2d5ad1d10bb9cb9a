//! What is allowed, and likely to bite: the warnings on a spec that is valid.

use std::collections::HashSet;

use super::at::Place;
use super::desk::Desk;
use super::entry::Draft;
use super::hosts::Inventory;
use super::problem::Problem;
use crate::graph::{Edge, Reason, Vertex};

/// The warnings on all resources and hosts. What `when` skips, or may skip, is
/// not looked at.
pub fn warnings(desk: &Desk, inventory: &Inventory, drafts: &[Draft], edges: &[Edge<Place>]) -> Vec<Problem> {
    let skipped = |vertex| matches!(vertex, Vertex::Item(item) if !drafts[item].is_certain());
    let needed: HashSet<Vertex> = edges
        .iter()
        .filter(|edge| matches!(edge.reason, Reason::Declared { .. } | Reason::Implied(_)))
        .filter(|edge| !skipped(edge.after))
        .map(|edge| edge.before)
        .collect();
    let mut warnings = Vec::new();
    for (item, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.is_certain()) {
        for complaint in draft.resource.as_resource().warnings(needed.contains(&Vertex::Item(item))) {
            let place = draft.attribute(desk, complaint.attribute);
            warnings.push(Problem::warning(place, complaint.what).help(complaint.help));
        }
    }
    warnings.extend(edges.iter().filter_map(|edge| knocks_too_early(inventory, drafts, edge)));
    warnings
}

/// A host that depends on a domain is still booting when the domain runs.
fn knocks_too_early(inventory: &Inventory, drafts: &[Draft], edge: &Edge<Place>) -> Option<Problem> {
    let (Vertex::Item(item), Vertex::Host(host)) = (edge.before, edge.after) else { return None };
    let host = &inventory.hosts[host].host;
    if drafts[item].resource.type_word() != "domain" || host.wait.is_some() {
        return None;
    }
    let what = format!("the host `{}` depends on a domain, and has no time to boot", host.name);
    Some(
        Problem::warning(edge.place, what)
            .label("a domain that runs is not a host that answers")
            .help("add `wait: 5m` to the host"),
    )
}
