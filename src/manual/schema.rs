//! The JSON Schema of a whole spec (draft-07, which editors know best). It takes what converge
//! takes, and refuses what can be seen without rendering templates and resolving names.

use serde_json::{Map, Value, json};

use super::{Attribute, Manual, Type};
use crate::resource::TYPES;

/// Names of hosts and groups, as the loader takes them.
const NAME: &str = r"^[^\s!-/:-@\[-^`{-~]([^\s!-,/:-@\[-^`{-~])*$|^[._][^\s!-,/:-@\[-^`{-~]*$";

const NAME_WORDS: &str = "Names are made of letters, digits, `.`, `_` and `-`.";

/// The whole schema.
pub fn schema(manual: &Manual) -> Value {
    let as_written = AsWritten(&manual.definitions);
    let definition = |(name, schema): (&String, &Value)| match name.ends_with("template") {
        true => (name.clone(), bare(schema)),
        false => (name.clone(), as_written.innards(&bare(schema))),
    };
    let mut definitions: Map<String, Value> = manual.definitions.iter().map(definition).collect();
    definitions.insert("resource".to_owned(), resource(manual));
    for one in &manual.types {
        definitions.insert(definition_of(one.word), of_type(manual, one));
    }
    definitions.insert("host".to_owned(), host(manual));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "converge spec",
        "description": "What is true of some hosts: `converge explain` says all about the types of resources.",
        "type": "object",
        "properties": {
            "vars": {
                "description": "Variables: any name, any value. Templates see them by their names, as in \"{{ site }}\".",
                "type": ["object", "null"]
            },
            "secrets": {
                "description": "Where secrets come from, by the names that templates know them by: \"{{ secrets.NAME }}\".",
                "type": ["object", "null"],
                "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "patternErrorMessage": "Names are made of letters, digits and `_`." },
                "additionalProperties": secret()
            },
            "include": {
                "description": "Files to read too, relative to this one: paths, or {file: PATH, vars: {name: value}}. Their vars, hosts, groups and resources are merged; this file's vars win.",
                "anyOf": [
                    { "type": ["string", "null"] },
                    { "type": "array", "items": { "anyOf": [{ "type": "string" }, include()] } },
                    include()
                ]
            },
            "hosts": {
                "description": "Hosts by name, each with how it is reached. What is left out comes from ~/.ssh/config.",
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME, "patternErrorMessage": NAME_WORDS, "not": { "const": "all" } },
                "additionalProperties": { "$ref": "#/definitions/host" }
            },
            "groups": {
                "description": "Groups by name, each a list of hosts or groups. `all` is every declared host.",
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME, "patternErrorMessage": NAME_WORDS, "not": { "enum": ["all", "localhost"] } },
                "additionalProperties": { "type": "array", "items": { "type": ["string", "number", "boolean"] } }
            },
            "resources": {
                "description": "What is true: lists of resources by host, group, `all` or `localhost`. A plain list, in a spec without hosts, is about this machine.",
                "anyOf": [
                    { "$ref": "#/definitions/resources" },
                    {
                        "type": "object",
                        "propertyNames": { "pattern": NAME, "patternErrorMessage": NAME_WORDS },
                        "additionalProperties": {
                            "anyOf": [{ "$ref": "#/definitions/resources" }, { "type": "null" }]
                        }
                    },
                    { "type": "null" }
                ]
            }
        },
        "additionalProperties": false,
        // A plain list is about this machine, and `all` about declared hosts.
        "if": { "properties": { "hosts": { "type": "object", "minProperties": 1 } }, "required": ["hosts"] },
        "then": { "properties": { "resources": { "type": ["object", "null"] } } },
        "else": {
            "anyOf": [{ "required": ["include"] }, { "properties": { "resources": { "properties": { "all": false } } } }]
        },
        "definitions": with_resources(definitions)
    })
}

fn with_resources(mut definitions: Map<String, Value>) -> Value {
    let list = json!({ "type": "array", "items": { "$ref": "#/definitions/resource" } });
    definitions.insert("resources".to_owned(), list);
    Value::Object(definitions)
}

fn secret() -> Value {
    let one = |name: &str, docs: &str| {
        let text = json!({ "description": docs, "type": "string", "minLength": 1 });
        json!({ "properties": { name: text }, "required": [name], "additionalProperties": false })
    };
    json!({
        "type": "object",
        "oneOf": [
            one("env", "An environment variable of the converge process."),
            one("file", "A file with the secret: a path relative to this file."),
            {
                "properties": { "command": {
                    "description": "A command that prints it: a list of program and arguments, or a string for /bin/sh.",
                    "anyOf": [
                        { "type": "string", "pattern": r"\S" },
                        { "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 }
                    ]
                } },
                "required": ["command"],
                "additionalProperties": false
            },
            {
                "properties": {
                    "age": { "description": "A file encrypted with age.", "type": "string", "minLength": 1 },
                    "identity": { "description": "The age identity that decrypts it.", "type": "string", "minLength": 1 }
                },
                "required": ["age", "identity"],
                "additionalProperties": false
            }
        ]
    })
}

fn include() -> Value {
    json!({
        "type": "object",
        "properties": {
            "file": { "description": "A path relative to this file.", "type": ["string", "number"] },
            "vars": { "description": "Variables for its resources.", "type": ["object", "null"] }
        },
        "required": ["file"],
        "additionalProperties": false
    })
}

fn definition_of(word: &str) -> String {
    format!("resource-{word}")
}

/// An item of a list: its type is known by its key, since JSON Schema sees no order. Some words
/// are types and attributes of others (`directory` of `command`): the other is its type then.
fn resource(manual: &Manual) -> Value {
    let named = |word: &str| json!({ "required": [word] });
    let any: Vec<Value> = TYPES.iter().map(|word| named(word)).collect();
    let one = |this: &Type| {
        let others = manual.types.iter().filter(|other| other.word != this.word);
        let claiming: Vec<Value> =
            others.filter(|other| other.find(this.word).is_some()).map(|other| named(other.word)).collect();
        let mut condition = named(this.word);
        if let (Value::Object(condition), false) = (&mut condition, claiming.is_empty()) {
            condition.insert("not".to_owned(), json!({ "anyOf": claiming }));
        }
        json!({ "if": condition, "then": { "$ref": format!("#/definitions/{}", definition_of(this.word)) } })
    };
    let types: Map<String, Value> = manual
        .types
        .iter()
        .map(|one| (one.word.to_owned(), json!({ "description": name_docs(one) })))
        .collect();
    json!({
        "description": "A resource: first its type and name, as in `- file: /etc/motd`, then its attributes.",
        "type": "object",
        // What is no mapping yet is to become one of these: editors offer only them then.
        "if": { "type": "object", "anyOf": any },
        "then": { "allOf": manual.types.iter().map(one).collect::<Vec<_>>() },
        "else": { "properties": types, "additionalProperties": false, "minProperties": 1 }
    })
}

fn of_type(manual: &Manual, one: &Type) -> Value {
    let mut properties: Map<String, Value> = one
        .attributes
        .iter()
        .map(|attribute| (attribute.name.clone(), property(manual, attribute)))
        .collect();
    if let Some(Value::Object(name)) = properties.get_mut(one.word) {
        name.insert("description".to_owned(), Value::String(name_docs(one)));
    }
    properties.extend(manual.common_of(one).map(|common| (common.name.clone(), property(manual, common))));
    let mut schema = object(properties, &one.attributes);
    if let (Value::Object(schema), false) = (&mut schema, one.rules.is_empty()) {
        schema.insert("allOf".to_owned(), Value::Array(one.rules.clone()));
    }
    schema
}

/// What an editor shows over the word that begins an item.
fn name_docs(one: &Type) -> String {
    let name = one.attributes.iter().filter(|attribute| attribute.name == one.word);
    let name = name.flat_map(|attribute| &attribute.docs);
    one.docs.iter().chain(name).map(String::as_str).collect::<Vec<_>>().join("\n\n")
}

fn host(manual: &Manual) -> Value {
    let properties = manual.host.iter().map(|one| (one.name.clone(), property(manual, one))).collect();
    let mut schema = object(properties, &manual.host);
    schema["type"] = json!(["object", "null"]);
    schema
}

fn object(properties: Map<String, Value>, attributes: &[Attribute]) -> Value {
    let required: Vec<&str> =
        attributes.iter().filter(|one| one.is_required).map(|one| one.name.as_str()).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false
    })
}

fn property(manual: &Manual, attribute: &Attribute) -> Value {
    let docs: Vec<&str> =
        attribute.docs.iter().map(String::as_str).chain(manual.spelling(attribute)).collect();
    let title = attribute.facts(&manual.kind(attribute));
    let mut property = json!({ "title": title, "description": docs.join("\n\n") });
    if let (Value::Object(property), Value::Object(value)) =
        (&mut property, AsWritten(&manual.definitions).value(&bare(&attribute.schema)))
    {
        property.extend(value);
        if let Some(default) = &attribute.default {
            property.insert("default".to_owned(), default.clone());
        }
    }
    property
}

/// Without its own words: editors would show them instead of those of the attribute.
fn bare(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        map.remove("title");
        map.remove("description");
    }
    schema
}

/// Schemas as a spec may write what they describe: any scalar is a text, and a template may
/// stand for anything. With the definitions they refer to.
struct AsWritten<'a>(&'a Map<String, Value>);

impl AsWritten<'_> {
    /// Of an attribute, or of what lies in a list or a mapping.
    fn value(&self, schema: &Value) -> Value {
        let schema = self.innards(schema);
        let definition = schema.get("$ref").and_then(Value::as_str);
        let definition = definition.and_then(|name| self.0.get(name.rsplit_once('/')?.1)).unwrap_or(&schema);
        let is_limited = ["enum", "const"].iter().any(|key| definition.get(key).is_some());
        if schema.as_bool() == Some(true) {
            return json!({});
        }
        if takes(&schema, "string") && !is_limited && schema.get("pattern").is_none() {
            let mut schema = schema;
            schema["type"] = json!(["string", "number", "boolean"]);
            return schema;
        }
        // A text takes templates by its pattern; variables are taken from, and not templates.
        let takes_templates = takes(definition, "string") && !is_limited;
        if takes_templates || takes(definition, "null") {
            let is_reference = schema.get("$ref").is_some();
            return if is_reference { json!({ "allOf": [schema] }) } else { schema };
        }
        let is_collection = ["array", "object"].iter().any(|kind| takes(&schema, kind));
        let template = if is_collection { "expression-template" } else { "template" };
        let template = json!({ "$ref": format!("#/definitions/{template}") });
        let mut schema = schema;
        if takes(&schema, "boolean") {
            schema["errorMessage"] = json!("Write true or false: in YAML 1.2 yes, no, on and off are texts.");
        }
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(ways) if schema.as_object().is_some_and(|map| map.len() == 1) => {
                let ways: Vec<Value> = ways.iter().cloned().chain([template]).collect();
                json!({ "anyOf": ways })
            }
            _ => json!({ "anyOf": [schema, template] }),
        }
    }

    /// The schema with what lies in it as a spec may write it.
    fn innards(&self, schema: &Value) -> Value {
        let Value::Object(map) = schema else { return schema.clone() };
        let innards = |schema: &Value| self.innards(schema);
        let value = |schema: &Value| self.value(schema);
        let entry = |(key, schema): (&String, &Value)| {
            let schema = match (key.as_str(), schema) {
                // serde's sizes of numbers mean nothing to editors: their bounds say the same.
                ("format", _) => return None,
                ("pattern", Value::String(pattern)) if takes(&Value::Object(map.clone()), "string") => {
                    Value::String(format!(r"{pattern}|\{{[{{%]"))
                }
                ("properties", Value::Object(all)) => {
                    Value::Object(all.iter().map(|(name, schema)| (name.clone(), value(schema))).collect())
                }
                ("items", Value::Array(all)) => all.iter().map(value).collect(),
                ("items" | "additionalProperties" | "additionalItems", Value::Object(_)) => value(schema),
                ("anyOf" | "oneOf" | "allOf", Value::Array(all)) => all.iter().map(innards).collect(),
                _ => schema.clone(),
            };
            Some((key.clone(), schema))
        };
        Value::Object(map.iter().filter_map(entry).collect())
    }
}

fn takes(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
        Some(one) => one == kind,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_types_are_attributes_of_each_other_so_that_an_items_type_is_known_by_its_keys() {
        let manual = Manual::new();
        for one in &manual.types {
            for other in manual.types.iter().filter(|other| other.word != one.word) {
                let both = one.find(other.word).is_some() && other.find(one.word).is_some();
                assert!(!both, "{} and {}", one.word, other.word);
            }
        }
    }
}
