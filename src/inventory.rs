//! The hosts of a spec: how each is reached, and what has to come first.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::attribute::Span;
use crate::redact::Secret;

/// A host, as its spec declares it. What is None here comes from the user's ssh_config.
#[derive(Clone, PartialEq, Debug)]
pub struct Host {
    pub name: String,
    pub connection: Connection,
    pub address: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub identity_file: Option<String>,
    pub proxy_jump: Option<String>,
    pub privilege: Privilege,
    pub become_user: String,
    /// What sudo asks for, where it does; else that of --become-password-file.
    pub become_password: Option<Secret>,
    /// Keep trying to reach it for so long.
    pub wait: Option<Wait>,
    pub tags: Vec<String>,
    /// Where it is declared, as in `specs/prod.yaml:7`; None for `localhost` where it is not.
    pub location: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    Ssh,
    Local,
}

/// `become`: how the agent gets the rights of `become_user`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Privilege {
    None,
    Sudo,
    Doas,
}

/// `wait: 5m`, or `{timeout: 5m, every: 2s}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    pub timeout: Span,
    pub every: Span,
}

/// How often to look where the spec does not say.
pub const EVERY: Span = Span::seconds(1);

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wait, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            timeout: Span,
            #[serde(default)]
            every: Option<Span>,
        }

        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Wait;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration (5m), or {timeout: 5m, every: 2s}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Wait, E> {
                Ok(Wait { timeout: text.parse().map_err(E::custom)?, every: EVERY })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Wait, A::Error> {
                let long = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let every = long.every.unwrap_or(EVERY);
                if every == Span::seconds(0) {
                    return Err(de::Error::custom(
                        "`every` is 0s: write how long to pause between two looks",
                    ));
                }
                Ok(Wait { timeout: long.timeout, every })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

crate::attribute::described!(Wait, "wait", {
    "title": "duration, or {timeout: 5m, every: 2s}",
    "type": ["string", "integer", "object"],
    "pattern": crate::attribute::schema::DURATION,
    "patternErrorMessage": "No duration: write it as in 500ms, 2s, 5m or 1h30m.",
    "if": { "type": "integer" },
    "then": { "const": 0, "errorMessage": "No duration: it has no unit. Write it as in 500ms, 2s, 5m or 1h30m." },
    "properties": {
        "timeout": { "$ref": "#/definitions/duration" },
        "every": { "$ref": "#/definitions/duration" }
    },
    "required": ["timeout"],
    "additionalProperties": false
});

impl Host {
    pub fn ssh(name: &str) -> Host {
        Host {
            name: name.to_owned(),
            connection: Connection::Ssh,
            address: None,
            port: None,
            user: None,
            identity_file: None,
            proxy_jump: None,
            privilege: Privilege::None,
            become_user: "root".to_owned(),
            become_password: None,
            wait: None,
            tags: Vec::new(),
            location: None,
        }
    }

    /// The machine converge runs on, as it is where nothing is declared about it.
    pub fn this_machine() -> Host {
        Host { connection: Connection::Local, ..Host::ssh("localhost") }
    }
}
