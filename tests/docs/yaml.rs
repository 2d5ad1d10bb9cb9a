//! YAML as an editor reads it before it asks a schema: YAML 1.2, its core schema (chapter 10.3).
//! Written apart from converge's own reading, so that one can be held against the other.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// None: it is no YAML, which an editor says by itself.
pub fn read(text: &str) -> Option<Value> {
    let events: Result<Vec<_>, _> = Parser::new_from_str(text).collect();
    let events: Vec<Event<'_>> = events.ok()?.into_iter().map(|(event, _)| event).collect();
    let documents = events.iter().filter(|event| matches!(event, Event::DocumentStart(..))).count();
    let mut reader = Reader { events: events.into_iter(), values: 0, anchors: Vec::new() };
    if documents > 1 {
        return None;
    }
    loop {
        match reader.events.next()? {
            Event::DocumentStart(..) => {
                let event = reader.events.next()?;
                return reader.value(event);
            }
            Event::StreamEnd => return None,
            _ => {}
        }
    }
}

/// More values than this no editor reads: aliases of aliases would fill the memory.
const MOST_VALUES: usize = 1_000_000;

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

struct Reader<'a> {
    events: std::vec::IntoIter<Event<'a>>,
    values: usize,
    anchors: Vec<(usize, Value)>,
}

impl<'a> Reader<'a> {
    fn value(&mut self, event: Event<'a>) -> Option<Value> {
        let anchor = event.anchor_id().filter(|id| *id != 0);
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => core(&text),
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::Alias(id) => {
                let (_, meant) = self.anchors.iter().find(|(known, _)| *known == id)?;
                self.values += size(meant);
                if self.values > MOST_VALUES {
                    return None;
                }
                meant.clone()
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.events.next()? {
                        Event::SequenceEnd => break Value::Array(items),
                        event => items.push(self.value(event)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Map::new();
                loop {
                    match self.events.next()? {
                        Event::MappingEnd => break Value::Object(entries),
                        Event::Scalar(key, ..) => {
                            let event = self.events.next()?;
                            let value = self.value(event)?;
                            // An editor complains about the second of two keys.
                            if entries.insert(key.into_owned(), value).is_some() {
                                return None;
                            }
                        }
                        _ => return None,
                    }
                }
            }
            _ => return None,
        };
        if let Some(anchor) = anchor {
            self.anchors.push((anchor, value.clone()));
        }
        Some(value)
    }
}

fn core(text: &str) -> Value {
    let number = text.trim_start_matches(['+', '-']);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Some(Ok(octal)) = text.strip_prefix("0o").map(|digits| i64::from_str_radix(digits, 8)) {
        return octal.into();
    }
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().map_or(Value::Null, Value::from);
    }
    let is_float = number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && number.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    match text.parse::<f64>().ok().filter(|_| is_float).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}
