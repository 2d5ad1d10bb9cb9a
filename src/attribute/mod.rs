//! The values that attributes take: each reads the spellings language.md allows, refuses the
//! rest in words an operator understands, and writes itself back as text, which is also its
//! form on the wire.

mod account_name;
mod checksum;
pub mod command_line;
mod content;
mod duration;
mod mode;
mod one_or_many;
mod path;
mod pattern;
mod public_key;
mod schedule;
#[cfg(feature = "controller")]
pub mod schema;
mod trigger;

pub use account_name::AccountName;
pub use checksum::{Algorithm, Checksum, Hasher};
pub use command_line::{CommandLine, quote};
pub use content::{Content, hex, sha256_hex};
pub use duration::Span;
pub use mode::Mode;
pub use one_or_many::one_or_many;
pub use path::{AbsPath, ByPath, Symlinks};
pub use pattern::Pattern;
pub use public_key::PublicKey;
pub use schedule::Schedule;
pub use trigger::Trigger;

/// Derives serde for a type whose only form is text, from its `FromStr` and `Display`.
macro_rules! text_form {
    ($type:ty) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
pub(crate) use text_form;

/// Says how a type looks in the JSON Schema of a spec: its name there, and its schema. Agents are
/// built without it.
#[cfg(feature = "controller")]
macro_rules! described {
    ($type:ty, $name:literal, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
#[cfg(not(feature = "controller"))]
macro_rules! described {
    ($type:ty, $name:literal, $schema:tt) => {};
}
pub(crate) use described;
