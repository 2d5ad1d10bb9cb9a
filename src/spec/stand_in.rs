//! Values in place of those that stand on facts, as long as no host has told any: so that the rest
//! of an item can be read, validated and put into the graph. They are like nothing that a spec
//! declares, so that no order follows from them.

use super::at::{At, Place};
use super::complaint::{Complaint, Kind};
use super::read::Entry;
use super::whole::{Entries, with_entries};
use super::yaml::{Node, Scalar, Style, Value};

/// No user, group or path of a spec is called so: braces are rendered everywhere else.
const TEXT: &str = "{{ facts }}";
const PATH: &str = "/{{ facts }}";

/// A value for `entry` that its type takes; None where only leaving it out will do. `name` is the
/// item's first entry.
pub fn for_entry<T>(
    name: &Entry,
    entry: &Entry,
    read: impl Fn(Entries<'_, '_>) -> Result<T, Complaint>,
) -> Option<Node> {
    let (key, written) = entry;
    let place = written.place;
    let of = |node: Node| Node { place, ..node };
    let scalars = [TEXT, PATH, "755", "1s", "false"].map(|text| with_scalars(written, text));
    let list = Node { value: Value::Sequence(vec![Node::scalar(TEXT, Style::Rendered, place)]), place };
    let candidates = scalars.into_iter().chain([list, Node { value: Value::Mapping(Vec::new()), place }]);
    // A name is what its type makes of the text.
    let name = match &name.1.value {
        Value::Scalar(Scalar { text, .. }) => {
            (name.0.clone(), Node::scalar(text, Style::Rendered, name.1.place))
        }
        _ => name.clone(),
    };
    for candidate in candidates.map(of) {
        let tried = (key.clone(), candidate);
        match with_entries(&[&name, &tried], &read) {
            // That there is no such attribute is told by whoever reads the whole.
            Err(Complaint { kind: Kind::UnknownKey { .. }, .. }) => return Some(tried.1),
            Err(complaint) if complaint.part.as_ref().is_some_and(|part| is_within(part.place, entry)) => {}
            _ => return Some(tried.1),
        }
    }
    None
}

fn is_within(place: Place, (key, value): &Entry) -> bool {
    place == key.place
        || place.file == value.place.file && place.start >= value.place.start && place.end <= value.place.end
}

/// The value as it is written, each template in it replaced.
fn with_scalars(node: &Node, text: &str) -> Node {
    let value = match &node.value {
        Value::Scalar(scalar) if super::template::is_template(&scalar.text) => {
            Value::Scalar(Scalar { text: text.to_owned(), style: Style::Rendered })
        }
        Value::Scalar(scalar) => Value::Scalar(scalar.clone()),
        Value::Sequence(items) => {
            Value::Sequence(items.iter().map(|item| with_scalars(item, text)).collect())
        }
        Value::Mapping(entries) => Value::Mapping(
            entries
                .iter()
                .map(|(key, value)| (At::new(key.value.clone(), key.place), with_scalars(value, text)))
                .collect(),
        ),
    };
    Node { value, place: node.place }
}
