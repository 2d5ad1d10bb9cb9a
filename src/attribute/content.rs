//! What a file is to hold.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The declared bytes of a file, known by their hash. A check needs only the hash, so large
/// content stays on this side of the wire until it is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Option<Arc<[u8]>>,
    sha256: String,
    length: u64,
    /// A secret is in it: neither it nor what it replaces is shown.
    has_secret: bool,
}

impl Content {
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Content {
            sha256: sha256_hex(&bytes),
            length: bytes.len() as u64,
            bytes: Some(bytes),
            has_secret: false,
        }
    }

    /// The same content, of which is known that a secret is in it.
    pub fn with_secret(self) -> Content {
        Content { has_secret: true, ..self }
    }

    /// Whether it must not be shown, nor the content that it replaces: that may hold the secret's
    /// predecessor, which nobody knows by value.
    pub fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// In a few words: how long, and the beginning of its hash. Of a secret, neither.
    pub fn summary(&self) -> String {
        match self.has_secret {
            true => "(holds a secret)".to_owned(),
            false => summary(&self.sha256, self.length),
        }
    }

    /// What it replaces, in a few words.
    pub fn summary_of_old(&self, sha256: &str, length: u64) -> String {
        match self.has_secret {
            true => "(not shown)".to_owned(),
            false => summary(sha256, length),
        }
    }

    /// Lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// None where only the hash was sent along.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// The same content, known by its hash alone.
    pub fn hash_only(&self) -> Content {
        Content { bytes: None, sha256: self.sha256.clone(), ..*self }
    }
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `18 bytes, sha256 2b1c8f0a9d3e…`.
fn summary(sha256: &str, length: u64) -> String {
    let unit = if length == 1 { "byte" } else { "bytes" };
    match sha256.get(..12) {
        Some(start) => format!("{length} {unit}, sha256 {start}…"),
        None => format!("{length} {unit}"),
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_secret {
            return f.write_str("(holds a secret)");
        }
        write!(f, "{} bytes, sha256 {}", self.length, self.sha256)
    }
}

/// Text as text; else an object, which a spec cannot write.
#[derive(Serialize, Deserialize)]
struct OnWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    sha256: String,
    length: u64,
    #[serde(default)]
    has_secret: bool,
}

impl Serialize for Content {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        if let Some(text) = text.filter(|_| !self.has_secret) {
            return serializer.serialize_str(text);
        }
        let bytes = self.bytes.as_deref().filter(|_| text.is_none());
        OnWire {
            base64: bytes.map(|bytes| STANDARD.encode(bytes)),
            text: text.map(str::to_owned),
            sha256: self.sha256.clone(),
            length: self.length,
            has_secret: self.has_secret,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::new(text.as_bytes()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
                let wire = OnWire::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let bytes = match (wire.text, wire.base64) {
                    (Some(text), _) => Some(text.into_bytes()),
                    (None, Some(base64)) => Some(STANDARD.decode(base64).map_err(serde::de::Error::custom)?),
                    (None, None) => None,
                };
                Ok(Content {
                    bytes: bytes.map(Into::into),
                    sha256: wire.sha256,
                    length: wire.length,
                    has_secret: wire.has_secret,
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_crosses_the_wire_whole_or_as_its_hash() {
        for bytes in [&b"text\n"[..], b"\xff\x00binary", b""] {
            let content = Content::new(bytes);
            for sent in [content.clone(), content.hash_only(), content.clone().with_secret()] {
                let json = serde_json::to_string(&sent).unwrap();
                assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), sent);
            }
        }
    }
}
