//! What a file is to hold.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The declared bytes of a file, known by their hash. A check needs only the hash, so large
/// content stays on this side of the wire until it is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Option<Arc<[u8]>>,
    sha256: String,
    length: u64,
}

impl Content {
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Content { sha256: sha256_hex(&bytes), length: bytes.len() as u64, bytes: Some(bytes) }
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
        Content { bytes: None, sha256: self.sha256.clone(), length: self.length }
    }
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.length, self.sha256)
    }
}

/// Text as text; else an object, which a spec cannot write.
#[derive(Serialize, Deserialize)]
struct OnWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
    sha256: String,
    length: u64,
}

impl Serialize for Content {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.bytes.as_deref().map(std::str::from_utf8) {
            Some(Ok(text)) => serializer.serialize_str(text),
            _ => OnWire {
                bytes: self.bytes.as_deref().map(<[u8]>::to_vec),
                sha256: self.sha256.clone(),
                length: self.length,
            }
            .serialize(serializer),
        }
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
                Ok(Content { bytes: wire.bytes.map(Into::into), sha256: wire.sha256, length: wire.length })
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
            for sent in [content.clone(), content.hash_only()] {
                let json = serde_json::to_string(&sent).unwrap();
                assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), sent);
            }
        }
    }
}
