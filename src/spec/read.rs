//! Reads serde types from nodes. A plain scalar is what the type that reads it wants: `755` is
//! the text "755" to a mode and the number 755 to a port. `yes` is never a boolean.

use std::slice;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::at::At;
use super::complaint::Complaint;
use super::scalar::{Core, core};
use super::whole::Known;
use super::yaml::{Node, Scalar, Style, Value};

/// A key and its value, as an item holds them.
pub type Entry = (At<String>, Node);

/// The entries of a mapping, one after the other.
pub struct Pairs<'de, 'r, I> {
    entries: I,
    known: &'r Known,
    value: Option<&'de Entry>,
}

impl<'de, 'r, I: Iterator<Item = &'de Entry>> Pairs<'de, 'r, I> {
    pub fn new(entries: I, known: &'r Known) -> Self {
        Pairs { entries, known, value: None }
    }
}

impl<'de, I: Iterator<Item = &'de Entry>> MapAccess<'de> for &mut Pairs<'de, '_, I> {
    type Error = Complaint;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Complaint> {
        let known = self.known;
        let next = self.entries.find(|(key, _)| !known.skipped.contains(&key.place));
        let Some(entry) = next else { return Ok(None) };
        self.value = Some(entry);
        let key = seed.deserialize(BorrowedStrDeserializer::new(&entry.0.value));
        key.map(Some).map_err(|complaint: Complaint| {
            complaint.at(entry.0.place).within(entry.0.place, Some(&entry.0.value))
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Complaint> {
        let Some((key, node)) = self.value.take() else {
            return Err(Complaint::custom("a value without a key"));
        };
        let value = seed.deserialize(Reader { node, known: self.known });
        value.map_err(|complaint| {
            // A value that is not there cannot be pointed at.
            let place = if is_nothing(node) { key.place } else { node.place };
            complaint.under(&key.value).at(place).within(key.place, Some(&key.value))
        })
    }
}

fn is_nothing(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.style == Style::Plain && scalar.text.is_empty())
}

struct Items<'de, 'r> {
    items: slice::Iter<'de, Node>,
    known: &'r Known,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Complaint;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Complaint> {
        let next = self.items.find(|node| !self.known.skipped.contains(&node.place));
        let Some(node) = next else { return Ok(None) };
        let item = seed.deserialize(Reader { node, known: self.known });
        item.map(Some).map_err(|complaint| complaint.at(node.place).within(node.place, None))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// One node, as a deserializer.
#[derive(Clone, Copy)]
pub struct Reader<'de, 'r> {
    node: &'de Node,
    known: &'r Known,
}

impl<'de> Reader<'de, '_> {
    fn scalar(self, wanted: &str) -> Result<&'de Scalar, Complaint> {
        match &self.node.value {
            Value::Scalar(scalar) => Ok(scalar),
            _ => Err(Complaint::wants(wanted, self.node.kind())),
        }
    }

    /// Also of scalars that a template gave, but not of quoted ones: quotes say it is a text.
    fn core(self, wanted: &str) -> Result<Core, Complaint> {
        let scalar = self.scalar(wanted)?;
        let found = match scalar.style {
            Style::Plain | Style::Rendered | Style::Secret => core(&scalar.text),
            Style::Quoted | Style::Block => {
                let complaint = Complaint::wants(wanted, format!("the text \"{}\"", scalar.text));
                return Err(match core(&scalar.text) {
                    Core::Text | Core::Null => complaint,
                    _ => complaint.help(format!("write {} without the quotes", scalar.text)),
                });
            }
        };
        if found == Core::Null {
            return Err(self.nothing(wanted));
        }
        Ok(found)
    }

    fn nothing(self, wanted: &str) -> Complaint {
        Complaint::wants(wanted, self.node.kind()).help("give it a value, or remove the line")
    }

    fn text(self) -> Result<&'de str, Complaint> {
        let scalar = self.scalar("a text")?;
        if self.node.is_null() {
            return Err(self
                .nothing("a text")
                .help("give it a value, write \"\" for an empty text, or remove the line"));
        }
        Ok(&scalar.text)
    }

    fn number<V>(self, visit: impl FnOnce(i64) -> Result<V, Complaint>) -> Result<V, Complaint> {
        let wanted = "a whole number";
        match self.core(wanted)? {
            Core::Int(number) => visit(number),
            Core::Float(_) => Err(Complaint::wants(wanted, "a number with a fraction, or too large")),
            Core::Bool(_) => Err(Complaint::wants(wanted, "a boolean")),
            Core::Text | Core::Null => {
                Err(Complaint::wants(wanted, format!("the text `{}`", self.scalar(wanted)?.text)))
            }
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Complaint;

    /// For types that take one thing or another. What fails as a number or boolean is tried
    /// again as a text, so that such a type takes `command: true`.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        let scalar = match &self.node.value {
            Value::Scalar(scalar) => scalar,
            Value::Sequence(_) => return self.deserialize_seq(visitor),
            Value::Mapping(_) => return self.deserialize_map(visitor),
        };
        if scalar.style != Style::Plain || self.known.as_text.contains(&self.node.place) {
            return visitor.visit_borrowed_str(&scalar.text);
        }
        let place = self.node.place;
        let value = match core(&scalar.text) {
            Core::Null => return visitor.visit_unit(),
            Core::Text => return visitor.visit_borrowed_str(&scalar.text),
            Core::Bool(value) => visitor.visit_bool(value),
            Core::Int(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Core::Float(value) => visitor.visit_f64(value),
        };
        value.map_err(|complaint: Complaint| {
            let retry_as_text = complaint.retry_as_text.or(Some(place));
            Complaint { retry_as_text, ..complaint }
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        let wanted = "true or false";
        match self.core(wanted)? {
            Core::Bool(value) => visitor.visit_bool(value),
            _ => {
                let text = &self.scalar(wanted)?.text;
                let found = match self.node.kind() {
                    "a number" => format!("the number {text}"),
                    _ => format!("the text `{text}`"),
                };
                let complaint = Complaint::wants(wanted, found);
                Err(match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "1" => {
                        complaint.help("write true: in YAML 1.2 only true and false are booleans")
                    }
                    "no" | "off" | "n" | "0" => {
                        complaint.help("write false: in YAML 1.2 only true and false are booleans")
                    }
                    _ => complaint,
                })
            }
        }
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| visitor.visit_i64(number))
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| visitor.visit_i64(number))
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| visitor.visit_i64(number))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| visitor.visit_i64(number))
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| range(number, u8::MAX.into(), || visitor.visit_i64(number)))
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| range(number, u16::MAX.into(), || visitor.visit_i64(number)))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| range(number, u32::MAX.into(), || visitor.visit_i64(number)))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.number(|number| range(number, i64::MAX, || visitor.visit_i64(number)))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        match self.core("a number")? {
            Core::Int(number) => visitor.visit_i64(number),
            Core::Float(number) => visitor.visit_f64(number),
            _ => Err(Complaint::wants("a number", self.node.kind())),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        visitor.visit_borrowed_str(self.text()?)
    }

    /// A null that is written out means what leaving the line out means; nothing at all after
    /// the colon is more likely a line that somebody forgot to finish.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        if self.node.is_null() && !is_nothing(self.node) {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        match &self.node.value {
            Value::Sequence(items) => visitor.visit_seq(Items { items: items.iter(), known: self.known }),
            Value::Scalar(scalar) if !self.node.is_null() => {
                Err(Complaint::wants("a list", self.node.kind())
                    .help(format!("write it as a list of one: [{}]", scalar.text)))
            }
            Value::Mapping(_) => Err(Complaint::wants("a list", self.node.kind())
                .help("begin it with a dash on a line of its own: it is a list of one then")),
            _ => Err(Complaint::wants("a list", self.node.kind()).help("write it as [a, b]")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Complaint> {
        match &self.node.value {
            Value::Mapping(entries) => {
                let mut pairs = Pairs::new(entries.iter(), self.known);
                visitor.visit_map(&mut pairs)
            }
            _ => Err(Complaint::wants("a mapping", self.node.kind()).help("write it as {key: value}")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        self.deserialize_map(visitor)
    }

    /// A word, or a mapping of one key (`tail: FILE`).
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        match &self.node.value {
            Value::Mapping(entries) => match entries.as_slice() {
                [(key, value)] => visitor.visit_enum(Variant { key, value, known: self.known }),
                _ => Err(Complaint::wants(
                    format!("a mapping of one key: {}", variants.join(" or ")),
                    format!("a mapping of {}", entries.len()),
                )
                .help("write each as an element of its own, with a dash before it")),
            },
            Value::Scalar(scalar) if !self.node.is_null() => {
                visitor.visit_enum(scalar.text.as_str().into_deserializer())
            }
            _ => Err(Complaint::wants(format!("one of {}", variants.join(", ")), self.node.kind())),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

fn range<V>(number: i64, most: i64, visit: impl FnOnce() -> Result<V, Complaint>) -> Result<V, Complaint> {
    if (0..=most).contains(&number) {
        return visit();
    }
    Err(Complaint::wants(format!("a whole number from 0 to {most}"), number.to_string()))
}

struct Variant<'de, 'r> {
    key: &'de At<String>,
    value: &'de Node,
    known: &'r Known,
}

impl<'de> EnumAccess<'de> for Variant<'de, '_> {
    type Error = Complaint;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Complaint> {
        let variant = seed.deserialize(BorrowedStrDeserializer::new(&self.key.value));
        let variant = variant.map_err(|complaint: Complaint| complaint.at(self.key.place))?;
        Ok((variant, self))
    }
}

impl Variant<'_, '_> {
    fn placed(&self, complaint: Complaint) -> Complaint {
        complaint.under(&self.key.value).at(self.value.place)
    }
}

impl<'de> VariantAccess<'de> for Variant<'de, '_> {
    type Error = Complaint;

    fn unit_variant(self) -> Result<(), Complaint> {
        Err(self.placed(Complaint::wants("a word", "a mapping")))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Complaint> {
        let reader = Reader { node: self.value, known: self.known };
        seed.deserialize(reader).map_err(|complaint| self.placed(complaint))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Complaint> {
        let reader = Reader { node: self.value, known: self.known };
        reader.deserialize_seq(visitor).map_err(|complaint| self.placed(complaint))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Complaint> {
        let reader = Reader { node: self.value, known: self.known };
        reader.deserialize_map(visitor).map_err(|complaint| self.placed(complaint))
    }
}
