//! What surrounds the types: the attributes that every resource takes, and those of hosts. Most
//! are the loader's own structs; what the loader reads by hand is described here, and a test
//! holds both to the same names.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::{Attribute, attributes};
use crate::attribute::described;
use crate::resource::TYPES;
use crate::spec::{CommonAttributes, HostAttributes};

/// What the loader reads by hand of every resource.
#[derive(JsonSchema)]
#[allow(dead_code)] // only its description is used
struct OfResources {
    /// What comes first: a reference (`type:name`, `host/type:name` or `host:NAME`), or a list of
    /// them. If one of them fails, this is skipped. A reference into a group means all of its
    /// hosts. Parent directories, owners and the like come first by themselves.
    depends_on: Option<References>,

    /// An expression, as in `host.name == "web1"`. Where it is false the resource is left alone,
    /// and reported as skipped.
    when: Option<Expression>,

    /// A list or a mapping: one resource for each element, which templates see as `item` (of a
    /// mapping as `item.key` and `item.value`).
    for_each: Option<Elements>,
}

/// What the loader reads by hand of every host.
#[derive(JsonSchema)]
#[allow(dead_code)] // only its description is used
struct OfHosts {
    /// Variables for the resources on this host, over those of the spec.
    vars: Option<Variables>,

    /// What must hold before it is any use to reach the host: references with the host they are on,
    /// as in `dom0/domain:vps0`, or `host:NAME`.
    depends_on: Option<ReferencesOfHosts>,

    /// The password that sudo asks for, from `secrets`, as in `"{{ secrets.sudo }}"`. Without it,
    /// that of `--become-password-file`. doas takes none.
    #[schemars(regex(pattern = r"\{\{"), extend("patternErrorMessage" = "No secret: write \"{{ secrets.NAME }}\"."))]
    become_password: Option<String>,
}

/// In the order of the reference.
const COMMON: [&str; 7] = ["depends_on", "when", "for_each", "wait", "timeout", "tags", "evidence"];

pub fn of_resources(generator: &mut SchemaGenerator) -> Vec<Attribute> {
    let mut all = attributes(OfResources::json_schema(generator).as_value());
    all.extend(attributes(CommonAttributes::json_schema(generator).as_value()));
    all.sort_by_key(|attribute| COMMON.iter().position(|name| *name == attribute.name));
    all
}

pub fn of_hosts(generator: &mut SchemaGenerator) -> Vec<Attribute> {
    let mut all = attributes(HostAttributes::json_schema(generator).as_value());
    all.extend(attributes(OfHosts::json_schema(generator).as_value()));
    all
}

struct References;
struct ReferencesOfHosts;
struct Expression;
struct Variables;
struct Elements;

described!(References, "references", {
    "title": "reference, or a list of them",
    "anyOf": [
        { "$ref": "#/definitions/reference" },
        { "type": "array", "items": { "$ref": "#/definitions/reference" } }
    ]
});

described!(ReferencesOfHosts, "references-of-hosts", {
    "title": "reference, or a list of them",
    "anyOf": [
        { "$ref": "#/definitions/reference-of-a-host" },
        { "type": "array", "items": { "$ref": "#/definitions/reference-of-a-host" } }
    ]
});

described!(Expression, "expression", {
    "title": "expression",
    "type": ["string", "boolean", "number"],
    "pattern": r"\S"
});

described!(Variables, "variables", {
    "title": "mapping",
    "type": ["object", "null"]
});

/// In its place, so that what stands around it sees that it is a collection.
impl JsonSchema for Elements {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "elements".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "list or mapping", "type": ["array", "object"] })
    }
}

/// Schemas that no struct stands for.
pub fn definitions() -> Map<String, Value> {
    let types = TYPES.join("|");
    let definitions = json!({
        "reference": {
            "title": "reference",
            "type": "string",
            "pattern": format!(r"^([^:/\s]+/)?({types}|host):[\s\S]"),
            "patternErrorMessage": "No reference: write type:name, HOST/type:name or host:NAME."
        },
        "reference-of-a-host": {
            "title": "reference",
            "type": "string",
            "pattern": format!(r"^([^:/\s]+/({types}|host)|host):[\s\S]"),
            "patternErrorMessage": "No reference that says on which host: write HOST/type:name or host:NAME."
        },
        // Whatever holds a template is judged when it is rendered.
        "template": { "title": "template", "type": "string", "pattern": r"\{[{%]" },
        // Only a string that is one expression can become a list or a mapping.
        "expression-template": {
            "title": "template",
            "type": "string",
            "pattern": r"^\{\{[\s\S]*\}\}$"
        },
    });
    match definitions {
        Value::Object(definitions) => definitions,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Manual;
    use super::*;
    use crate::spec::names;

    fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        names.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_described_is_what_the_loader_takes() {
        let manual = Manual::new();
        let common = manual.common.iter().map(|one| one.name.as_str());
        assert_eq!(set(common.clone()), set(names::COMMON.iter().copied()));
        assert_eq!(set(common), set(COMMON));
        let host = manual.host.iter().map(|one| one.name.as_str());
        let by_hand = names::OF_HOSTS_BY_HAND;
        assert!(by_hand.iter().all(|name| manual.host.iter().any(|one| one.name == *name)), "{by_hand:?}");
        assert_eq!(host.count(), 10 + by_hand.len());
        let top = super::super::schema(&manual)["properties"].as_object().unwrap().clone();
        assert_eq!(set(top.keys().map(String::as_str)), set(names::TOP_LEVEL.iter().copied()));
    }
}
