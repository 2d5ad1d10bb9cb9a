//! What `validate` says about attributes that exclude or need each other, for the JSON Schema: a
//! struct names its rules as `schemars(transform = …)`.

use schemars::Schema;
use serde_json::{Map, Value, json};

/// Only one of these attributes may be given.
pub fn at_most_one(names: &'static [&'static str]) -> impl Fn(&mut Schema) {
    move |schema| {
        let others = |name: &str| -> Value { none_of(names.iter().copied().filter(|other| *other != name)) };
        let dependencies: Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), others(name))).collect();
        add(schema, json!({ "dependencies": dependencies }));
    }
}

/// One of these attributes must be given.
pub fn one_of(names: &'static [&'static str]) -> impl Fn(&mut Schema) {
    move |schema| {
        let message = format!("One of these is needed: {}.", names.join(", "));
        let needed = |name: &&str| json!({ "required": [name], "errorMessage": message });
        add(schema, json!({ "anyOf": names.iter().map(needed).collect::<Vec<_>>() }));
    }
}

/// Where `attribute` has this value, none of these may be given.
pub fn excludes(
    attribute: &'static str,
    value: impl Into<Value>,
    names: &'static [&'static str],
) -> impl Fn(&mut Schema) {
    let value = value.into();
    move |schema| {
        let given = json!({ "properties": { attribute: { "const": value } }, "required": [attribute] });
        add(schema, json!({ "if": given, "then": none_of(names.iter().copied()) }));
    }
}

/// Where `attribute` has this value, `other` may have none of these.
pub fn excludes_values(
    attribute: &'static str,
    value: impl Into<Value>,
    other: &'static str,
    values: &'static [&'static str],
) -> impl Fn(&mut Schema) {
    let value = value.into();
    move |schema| {
        let given = json!({ "properties": { attribute: { "const": value } }, "required": [attribute] });
        let others = json!({ "properties": { other: { "not": { "enum": values } } } });
        add(schema, json!({ "if": given, "then": others }));
    }
}

/// What is written as `attribute` has this form, beside what its kind asks for.
pub fn matches(
    attribute: &'static str,
    pattern: &'static str,
    message: &'static str,
) -> impl Fn(&mut Schema) {
    move |schema| {
        // A template may come to anything.
        let pattern = format!(r"{pattern}|\{{[{{%]");
        let form = json!({ "pattern": pattern, "patternErrorMessage": message });
        add(schema, json!({ "properties": { attribute: form } }));
    }
}

/// Where `attribute` is given, `other` must be.
pub fn needs(attribute: &'static str, other: &'static str) -> impl Fn(&mut Schema) {
    move |schema| add(schema, json!({ "dependencies": { attribute: [other] } }))
}

/// Where `attribute` is given, none of these may be.
pub fn goes_without(attribute: &'static str, names: &'static [&'static str]) -> impl Fn(&mut Schema) {
    move |schema| add(schema, json!({ "dependencies": { attribute: none_of(names.iter().copied()) } }))
}

/// Without `other`, the value of `attribute` is of this pattern. A template may come to it.
pub fn pattern_without(
    other: &'static str,
    attribute: &'static str,
    pattern: &'static str,
    message: &'static str,
) -> impl Fn(&mut Schema) {
    move |schema| {
        let pattern = format!(r"{pattern}|\{{[{{%]");
        let value = json!({ "type": "string", "pattern": pattern, "patternErrorMessage": message });
        let without = json!({ "properties": { attribute: value } });
        add(schema, json!({ "if": { "required": [other] }, "else": without }));
    }
}

/// `needed` must be given, unless `state` is `absent`.
pub fn needed_unless_absent(needed: &'static str) -> impl Fn(&mut Schema) {
    needed_unless(needed, &["absent"])
}

/// `needed` must be given, unless `state` is one of these.
pub fn needed_unless(needed: &'static str, states: &'static [&'static str]) -> impl Fn(&mut Schema) {
    move |schema| {
        let without = json!({ "properties": { "state": { "enum": states } }, "required": ["state"] });
        // A template may come to one of them.
        let template = json!({ "properties": { "state": { "pattern": r"\{\{" } }, "required": ["state"] });
        let either = json!({ "anyOf": [without, template] });
        add(schema, json!({ "if": either, "else": { "required": [needed] } }));
    }
}

fn none_of<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let none: Map<String, Value> = names.map(|name| (name.to_owned(), Value::Bool(false))).collect();
    json!({ "properties": none })
}

fn add(schema: &mut Schema, rule: Value) {
    let rules = schema.ensure_object().entry("allOf").or_insert_with(|| json!([]));
    if let Value::Array(rules) = rules {
        rules.push(rule);
    }
}
