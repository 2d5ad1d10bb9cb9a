//! What an attribute takes, in a few words: `absolute path`, `list of texts`, `open | closed`.

use serde_json::Value;

use super::{Attribute, Manual};

impl Manual {
    /// What a value of this attribute is.
    pub fn kind(&self, attribute: &Attribute) -> String {
        self.kind_of(&attribute.schema)
    }

    fn kind_of(&self, schema: &Value) -> String {
        if let Some(title) = schema.get("title").and_then(Value::as_str) {
            return title.to_owned();
        }
        if let Some(definition) = self.definition(schema) {
            return self.kind_of(definition);
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return values.iter().map(plain).collect::<Vec<_>>().join(" | ");
        }
        if let Some(ways) = schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array) {
            let separator = if schema.get("oneOf").is_some() { " | " } else { ", or " };
            return ways.iter().map(|way| self.kind_of(way)).collect::<Vec<_>>().join(separator);
        }
        if let Some(value) = schema.get("const") {
            return plain(value);
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("boolean") => "true or false".to_owned(),
            Some("integer") => "whole number".to_owned(),
            Some("number") => "number".to_owned(),
            Some("array") => match schema.get("items") {
                Some(items) => format!("list of {}", plural(&self.kind_of(items))),
                None => "list".to_owned(),
            },
            Some("object") => "mapping".to_owned(),
            Some("string") => "text".to_owned(),
            _ => "any value".to_owned(),
        }
    }

    /// What the attribute's value is in itself, where there is more to say than its kind.
    pub fn spelling(&self, attribute: &Attribute) -> Option<&str> {
        let definition = self.definition(&attribute.schema)?;
        // Of an enum it would repeat the kind.
        definition.get("title")?;
        definition.get("description")?.as_str()
    }

    pub(super) fn definition(&self, schema: &Value) -> Option<&Value> {
        self.definitions.get(schema.get("$ref")?.as_str()?.rsplit_once('/')?.1)
    }
}

fn plural(kind: &str) -> String {
    kind.split(" or ").map(|word| format!("{word}s")).collect::<Vec<_>>().join(" or ")
}

/// A value as one would write it in a spec.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Attribute {
    /// `absolute path, required`; `duration, default 1s`.
    pub fn facts(&self, kind: &str) -> String {
        match (&self.default, self.is_required) {
            (Some(default), _) => format!("{kind}; default {}", plain(default)),
            (None, true) => format!("{kind}; required"),
            (None, false) => kind.to_owned(),
        }
    }
}
