//! `facts` as templates see them: as values where a host has told them, by their names alone
//! where none has yet.

use serde_json::Value as Json;

use super::at::{At, Place};
use super::near;
use super::yaml::{Node, Style, Value};
use crate::system::facts::{Facts, Os};

pub const FACTS: &str = "facts";

/// What templates see as `facts`.
pub fn as_seen(facts: &Facts) -> Node {
    node(&json(facts))
}

fn json(facts: &Facts) -> Json {
    // Plain fields of plain types.
    serde_json::to_value(facts).unwrap_or_default()
}

fn node(value: &Json) -> Node {
    let place = Place { file: 0, start: 0, end: 0 };
    let value = match value {
        Json::Object(fields) => Value::Mapping(
            fields.iter().map(|(name, value)| (At::new(name.clone(), place), node(value))).collect(),
        ),
        Json::Array(items) => Value::Sequence(items.iter().map(node).collect()),
        Json::String(text) => return Node::scalar(text, Style::Rendered, place),
        plain => return Node::scalar(plain.to_string(), Style::Plain, place),
    };
    Node { value, place }
}

/// Every fact by its whole name, in the order of the struct.
pub fn names() -> Vec<String> {
    fn collect(value: &Json, name: &str, names: &mut Vec<String>) {
        match value {
            Json::Object(fields) => {
                fields.iter().for_each(|(field, value)| collect(value, &format!("{name}.{field}"), names));
            }
            _ => names.push(name.to_owned()),
        }
    }
    let mut names = Vec::new();
    collect(&json(&Facts::default()), FACTS, &mut names);
    names
}

/// What is wrong with `facts.a.b`, and the way out; None where there is such a fact.
pub fn unknown(path: &str) -> Option<(String, String)> {
    let known = json(&Facts::default());
    let mut found = &known;
    let mut whole = FACTS.to_owned();
    for part in path.split('.').skip(1) {
        let Json::Object(fields) = found else {
            // An element of a list, counted; a text or a number has no parts.
            if found.is_array() {
                return None;
            }
            return Some((format!("`{whole}` has no `{part}`"), format!("`{whole}` is the value itself")));
        };
        let Some(field) = fields.get(part) else {
            let what = format!("there is no fact `{whole}.{part}`");
            let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
            let near = near::nearest(part, fields.iter().copied()).map(|near| format!("{whole}.{near}"));
            let names = names();
            let near =
                near.or_else(|| near::nearest(path, names.iter().map(String::as_str)).map(str::to_owned));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the facts are: {}", names.join(", ")),
            };
            return Some((what, help));
        };
        found = field;
        whole = format!("{whole}.{part}");
    }
    None
}

/// Machines as there are many: with each of them, a template that mentions facts is tried while no
/// host has been reached, to find what would be wrong on any.
pub fn samples() -> Vec<Node> {
    let machine = |id: &str, like: &[&str], version: &str, codename: &str, init: &str, manager: &str| Facts {
        os: Os {
            id: id.to_owned(),
            id_like: like.iter().map(|id| (*id).to_owned()).collect(),
            name: id.to_owned(),
            version: version.to_owned(),
            codename: codename.to_owned(),
        },
        arch: "x86_64".to_owned(),
        kernel: "6.1.0".to_owned(),
        hostname: "sample".to_owned(),
        fqdn: "sample.example".to_owned(),
        addresses: vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()],
        cpus: 2,
        memory: 4 << 30,
        init: init.to_owned(),
        package_manager: manager.to_owned(),
        virtualization: "none".to_owned(),
    };
    let facts = [
        machine("debian", &[], "12", "bookworm", "systemd", "apt"),
        machine("ubuntu", &["debian"], "24.04", "noble", "systemd", "apt"),
        machine("rocky", &["rhel", "centos", "fedora"], "9.3", "", "systemd", "dnf"),
        machine("alpine", &[], "3.19.1", "", "openrc", "apk"),
        machine("arch", &[], "", "", "systemd", "pacman"),
    ];
    facts.iter().map(as_seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_known_by_its_name_and_no_other() {
        for name in names() {
            assert_eq!(unknown(&name), None, "{name}");
        }
        assert!(names().contains(&"facts.os.id".to_owned()) && names().contains(&"facts.memory".to_owned()));
        assert_eq!(unknown("facts"), None);
        assert_eq!(unknown("facts.os"), None);
        assert_eq!(unknown("facts.addresses.0"), None);
        for (path, help) in [
            ("facts.os.idd", "did you mean `facts.os.id`?"),
            ("facts.os_id", "did you mean `facts.os.id`?"),
            ("facts.uptime", "the facts are: facts.os.id, "),
            ("facts.memroy", "did you mean `facts.memory`?"),
            ("facts.os.id.x", "`facts.os.id` is the value itself"),
        ] {
            let (_, found) = unknown(path).unwrap();
            assert!(found.starts_with(help), "{path}: {found}");
        }
    }
}
