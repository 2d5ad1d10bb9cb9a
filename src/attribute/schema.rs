//! How the values of attributes look in the JSON Schema of a spec: exactly the spellings that
//! reading them takes. An editor reads YAML before it asks: there `755` is a number.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    AbsPath, AccountName, Checksum, CommandLine, Content, Mode, Pattern, PublicKey, Schedule, Span, Trigger,
    described,
};

described!(Mode, "mode", {
    "title": "mode",
    "description": "All of a mode, as chmod takes it: 755, 0755, 0o755 or u=rwx,go=rx.",
    "type": ["string", "integer"],
    "pattern": r"^\s*((0o)?0*[0-7]{3,4}|[ugoa]+=[rwxst]*(,[ugoa]+=[rwxst]*)*)\s*$",
    "patternErrorMessage": "No whole mode: write it as in 755, 0644 or u=rwx,go=rx.",
    // To YAML `0o755` is the number 493: nearly any number may have been written so.
    "minimum": 0,
    "maximum": 7777
});

described!(AbsPath, "path", {
    "title": "absolute path",
    "type": "string",
    "pattern": r"^/(?!([\s\S]*/)?\.\.(/|$))",
    "patternErrorMessage": "Not an absolute path without `..`: write it as in /srv/www."
});

described!(Checksum, "checksum", {
    "title": "checksum",
    "type": "string",
    "pattern": r"^\s*([Ss][Hh][Aa]256:[0-9a-fA-F]{64}|[Ss][Hh][Aa]512:[0-9a-fA-F]{128})\s*$",
    "patternErrorMessage": "No checksum: write it as in sha256:… with the 64 digits that sha256sum prints."
});

described!(AccountName, "account-name", {
    "title": "name",
    "type": "string",
    "pattern": r"^(?![0-9]+$)(?!\.{1,2}$)[^\s:/,+~-][^\s:/,]*$",
    "patternErrorMessage": "No name of a user or group: write it as in app or www-data."
});

described!(PublicKey, "public-key", {
    "title": "public key",
    "description": "A public key as ssh-keygen writes it: ssh-ed25519 AAAA… name.",
    "type": "string",
    "pattern": r"^\s*(ssh-|ecdsa-|sk-)\S+[ \t]+[A-Za-z0-9+/]+=*([ \t][^\r\n]*)?\s*$",
    "patternErrorMessage": "No public key: write the line that is in the file ending in .pub."
});

described!(Schedule, "schedule", {
    "title": "schedule",
    "description": "Minute, hour, day of the month, month and day of the week, as in 30 4 * * *, or @reboot, @hourly, @daily, @weekly, @monthly, @yearly.",
    "type": "string",
    "pattern": r"^\s*(@(reboot|yearly|annually|monthly|weekly|daily|midnight|hourly)|[0-9*,/~-]+\s+[0-9*,/~-]+\s+[0-9*,/~-]+\s+[0-9A-Za-z*,/~-]+\s+[0-9A-Za-z*,/~-]+)\s*$",
    "patternErrorMessage": "No schedule: write five fields, as in 30 4 * * *, or @reboot and its kin."
});

/// The spellings of a duration, as a pattern.
pub const DURATION: &str = r"^\s*(0|(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)\s*$";

described!(Span, "duration", {
    "title": "duration",
    "description": "A length of time, as in 500ms, 2s, 5m, 1h30m or 7d.",
    "type": ["string", "integer"],
    "pattern": DURATION,
    "patternErrorMessage": "No duration: write it as in 500ms, 2s, 5m or 1h30m.",
    "if": { "type": "integer" },
    "then": { "const": 0, "errorMessage": "No duration: it has no unit. Write it as in 500ms, 2s, 5m or 1h30m." }
});

described!(CommandLine, "command-line", {
    "title": "command",
    "description": "A string, which /bin/sh runs, or a list, which is executed as it stands.",
    "type": ["string", "number", "boolean", "array"],
    "pattern": r"\S",
    "patternErrorMessage": "The command is empty.",
    "minItems": 1,
    "items": [{ "type": ["string", "number", "boolean"], "minLength": 1 }],
    "additionalItems": { "type": ["string", "number", "boolean"] }
});

described!(Pattern, "line-pattern", {
    "title": "regular expression",
    "description": "A regular expression that is searched for in each line, as grep -E does; ^ and $ are the line's ends.",
    "type": ["string", "number", "boolean"],
    "minLength": 1
});

described!(Content, "content", {
    "title": "text",
    "type": ["string", "number", "boolean"]
});

described!(Trigger, "trigger", {
    "title": "path or reference",
    "description": "An absolute path, or a reference: type:name or host/type:name.",
    "anyOf": [{ "$ref": "#/definitions/path" }, { "$ref": "#/definitions/reference" }]
});

/// A list of which one entry may stand alone, as `one_or_many` reads it.
pub struct OneOrMany<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("one or more of {}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// For `schemars(skip_serializing_if)`: a default that does not cross the wire is told all the same.
pub fn never<T>(_: &T) -> bool {
    false
}
