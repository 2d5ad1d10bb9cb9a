//! Items that stand on facts: what `when` says while they are not known, what stands in for values
//! that are not, and how an item is read again once a host has told them.

use serde::Deserialize;

use super::super::at::{At, Place};
use super::super::desk::Desk;
use super::super::problem::Problem;
use super::super::scope::{NoValue, Reported, Scope};
use super::super::yaml::{Node, Value};
use super::super::{stand_in, template};
use super::{Common, Context, Draft, Items, Origin, shape};

/// An item that stands on facts. Until they are known, the draft has values that stand in for
/// theirs.
#[derive(Clone, Debug)]
pub struct Late {
    /// Its `when` does: it may or may not be there.
    pub when: bool,
    /// As it is written.
    pub item: Node,
    /// Of `for_each`.
    pub element: Option<Node>,
    pub origin: Origin,
}

/// What became of an item that stands on facts.
pub enum Again {
    There(Box<Draft>),
    /// By its `when`, as it is written.
    Skipped(String),
    /// What is wrong with it has been reported.
    Broken,
}

/// Reads an item again, in a scope that has the facts of its host.
pub fn again(desk: &mut Desk, scope: &mut Scope<'_>, late: &Late) -> Again {
    let Some(entries) = shape(desk, &late.item) else { return Again::Broken };
    let Late { item, element, origin, .. } = late;
    let word = entries[0].0.value.as_str();
    let mut items = Items::default();
    let context = Context { word, entries, item, element: element.clone(), origin };
    match element {
        Some(element) => scope.set("item", element.clone()),
        None => scope.unset("item"),
    }
    match context.when(desk, scope) {
        Ok(When::Skips(condition)) => return Again::Skipped(condition),
        Ok(_) => {}
        Err(Reported) => return Again::Broken,
    }
    context.one(desk, scope, &mut items);
    items.drafts.pop().map_or(Again::Broken, |draft| Again::There(Box::new(draft)))
}

/// What `when` says.
pub(super) enum When {
    Holds,
    /// It is false: as it is written.
    Skips(String),
    /// It stands on facts.
    Late(String, Place),
}

impl When {
    /// Whether mistakes in the attributes are no mistakes, as far as can be known: `when: proxy is
    /// defined` is there for attributes that speak of `proxy`.
    pub(super) fn forgives(&self, desk: &mut Desk, scope: &mut Scope<'_>) -> bool {
        match self {
            When::Holds => false,
            When::Skips(_) => true,
            When::Late(text, place) => !scope.may_hold(desk, text, *place),
        }
    }
}

impl Context<'_> {
    /// What is read in place of a value that stands on facts.
    pub(super) fn stand_in(&self, (key, value): (&At<String>, &Node)) -> Option<Node> {
        let entry = (key.clone(), value.clone());
        if self.is_common(&key.value) {
            let nameless = (At::new("tags".to_owned(), key.place), Node::list(Vec::new(), key.place));
            return stand_in::for_entry(&nameless, &entry, |entries| Common::deserialize(entries));
        }
        stand_in::for_entry(&self.entries[0], &entry, |entries| self.resource(entries))
    }

    pub(super) fn when(&self, desk: &mut Desk, scope: &mut Scope<'_>) -> Result<When, Reported> {
        let Some((_, node)) = self.entries.iter().find(|(key, _)| key.value == "when") else {
            return Ok(When::Holds);
        };
        let Value::Scalar(scalar) = &node.value else {
            desk.report(
                Problem::at(node.place, "`when` takes an expression")
                    .label(format!("this is {}", node.kind()))
                    .help("write it as a text: when: name == \"value\""),
            );
            return Err(Reported);
        };
        let text = template::inside_braces(&scalar.text).unwrap_or(&scalar.text);
        if text.trim().is_empty() {
            desk.report(
                Problem::at(node.place, "`when` is empty")
                    .label("no expression")
                    .help("write an expression, or remove the line"),
            );
            return Err(Reported);
        }
        match scope.holds(desk, text, node.place) {
            Ok(true) => Ok(When::Holds),
            Ok(false) => Ok(When::Skips(text.trim().to_owned())),
            Err(NoValue::Late) => Ok(When::Late(text.to_owned(), node.place)),
            Err(NoValue::Broken) => Err(Reported),
        }
    }
}
