//! What there is to know about the spec language, read from one source: the doc comments and
//! serde attributes of the structs that specs are read into. `explain`, the reference pages
//! and the JSON Schema are made of it.

mod common;
mod explain;
mod kind;
mod page;
mod schema;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

pub use explain::{attribute, list, whole};
pub use page::{index, page};
pub use schema::schema;

use crate::resource;

/// All types, and what surrounds them.
pub struct Manual {
    pub types: Vec<Type>,
    /// The attributes that every resource takes.
    pub common: Vec<Attribute>,
    /// The attributes of a host.
    pub host: Vec<Attribute>,
    /// The schemas that others refer to, by name.
    definitions: Map<String, Value>,
}

/// One type of resource.
pub struct Type {
    /// As it stands in the spec.
    pub word: &'static str,
    /// Paragraphs.
    pub docs: Vec<String>,
    /// The first is its name.
    pub attributes: Vec<Attribute>,
    /// A list item.
    pub example: &'static str,
    /// Which attributes exclude or need each other.
    rules: Vec<Value>,
}

/// One attribute of a type, of every type, or of a host.
pub struct Attribute {
    pub name: String,
    /// Paragraphs.
    pub docs: Vec<String>,
    pub is_required: bool,
    pub default: Option<Value>,
    /// Of its value, in JSON Schema: without docs, null and templates.
    schema: Value,
}

impl Manual {
    pub fn new() -> Manual {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/definitions".into();
        let mut generator = settings.into_generator();
        let types = resource::TYPES.iter().filter_map(|word| Type::read(word, &mut generator)).collect();
        let (common, host) = (common::of_resources(&mut generator), common::of_hosts(&mut generator));
        let mut definitions = generator.take_definitions(false);
        definitions.extend(common::definitions());
        Manual { types, common, host, definitions }
    }

    pub fn find(&self, word: &str) -> Option<&Type> {
        self.types.iter().find(|one| one.word == word)
    }

    /// The attributes of a type that are lists of mappings (the `steps` of `http`), each with the
    /// attributes of such a mapping.
    pub fn parts<'a>(&self, of: &'a Type) -> Vec<(&'a Attribute, Vec<Attribute>)> {
        let part = |attribute: &'a Attribute| {
            let element = self.definition(attribute.schema.get("items")?)?;
            element.get("properties")?;
            Some((attribute, attributes(element)))
        };
        of.attributes.iter().filter_map(part).collect()
    }

    /// The common attributes that the type has not claimed for itself, and that mean something
    /// to it.
    pub fn common_of<'a>(&'a self, of: &'a Type) -> impl Iterator<Item = &'a Attribute> {
        let has = |common: &&Attribute| {
            of.find(&common.name).is_none() && (common.name != "wait" || resource::can_wait(of.word))
        };
        self.common.iter().filter(has)
    }
}

impl Default for Manual {
    fn default() -> Self {
        Manual::new()
    }
}

impl Type {
    fn read(word: &'static str, generator: &mut SchemaGenerator) -> Option<Type> {
        let schema = resource::described(word, generator)?.to_value();
        let rules = schema.get("allOf").and_then(Value::as_array).cloned().unwrap_or_default();
        Some(Type {
            word,
            docs: paragraphs(&schema),
            attributes: attributes(&schema),
            example: resource::example(word)?,
            rules,
        })
    }

    pub fn find(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// One line.
    pub fn summary(&self) -> &str {
        let first = self.docs.first().map_or("", String::as_str);
        first.split_inclusive(". ").next().unwrap_or(first).trim_end()
    }
}

/// The properties of a struct's schema.
fn attributes(schema: &Value) -> Vec<Attribute> {
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    properties
        .into_iter()
        .map(|(name, schema)| {
            let is_required = required.iter().any(|one| *one == name);
            Attribute::read(name, schema, is_required)
        })
        .collect()
}

impl Attribute {
    fn read(name: String, mut schema: Value, is_required: bool) -> Attribute {
        let docs = paragraphs(&schema);
        let mut default = None;
        if let Value::Object(map) = &mut schema {
            map.remove("description");
            // A bool without a default is an Option, else it is false where it is left out.
            let is_bool = map.get("type").is_some_and(|kind| kind == "boolean");
            default = map.remove("default").filter(|default| !is_nothing(default));
            default = default.or((is_bool && !is_required).then_some(Value::Bool(false)));
        }
        Attribute { name, docs, is_required, default, schema: without_null(schema) }
    }
}

fn is_nothing(default: &Value) -> bool {
    match default {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// What is optional takes null to serde. In a spec it is left out.
fn without_null(mut schema: Value) -> Value {
    let Value::Object(map) = &mut schema else { return schema };
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(ways)) = map.get_mut("anyOf") {
        ways.retain(|way| way.get("type").is_none_or(|kind| kind != "null"));
        if let [only] = ways.as_slice() {
            return only.clone();
        }
    }
    schema
}

/// A doc comment's paragraphs, each on one line.
fn paragraphs(schema: &Value) -> Vec<String> {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
