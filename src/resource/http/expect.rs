//! What is expected of an answer, and what is not as expected.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Http;
use super::client::Answer;
use crate::attribute::{described, text_form};
use crate::resource::Detail;

/// No more of a body is read than this.
const BODY_CAP: u64 = 1024 * 1024;

/// No more of it is shown.
const SHOWN_CAP: usize = 2 * 1024;

/// The headers that say who answered, and where it points.
const SHOWN_HEADERS: [&str; 5] = ["server", "location", "content-type", "www-authenticate", "retry-after"];

/// The status codes wanted; empty: any of 200 to 299.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Statuses(Vec<u16>);

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(regex::Regex);

/// An IP address, with a port or without.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Address {
    pub ip: IpAddr,
    pub port: Option<u16>,
}

/// What is wrong with an answer; nothing, where there are no complaints.
#[derive(Default)]
pub struct Verdict {
    pub complaints: Vec<String>,
    pub help: Option<String>,
    pub details: Vec<Detail>,
}

impl Http {
    pub fn looks_at_body(&self) -> bool {
        self.body_contains.is_some() || self.body_matches.is_some() || !self.json.is_empty()
    }

    pub fn judge(&self, answer: &mut Answer) -> Verdict {
        let mut verdict = Verdict::default();
        let is_right_status = self.status.wants(answer.status);
        if !is_right_status {
            verdict.status(answer, &self.status);
        }
        let mut body = Vec::new();
        if !is_right_status {
            // The page of an error is not the page whose text is wanted.
            body = answer.read(SHOWN_CAP as u64).0;
        } else if self.looks_at_body() {
            let (whole, broken) = answer.read(BODY_CAP);
            body = whole;
            let found = self.body_complaints(&body);
            if !found.is_empty() {
                // What was looked for may be in what did not come.
                verdict.complaints.extend(broken);
            }
            verdict.complaints.extend(found);
        }
        if !verdict.complaints.is_empty() {
            verdict.show(answer, &body);
        }
        verdict
    }

    fn body_complaints(&self, bytes: &[u8]) -> Vec<String> {
        let body = String::from_utf8_lossy(bytes);
        let whole = if bytes.len() as u64 >= BODY_CAP { "the body's first megabyte" } else { "the body" };
        let mut complaints = Vec::new();
        if let Some(text) = self.body_contains.as_ref().filter(|text| !body.contains(text.as_str())) {
            complaints.push(format!("{whole} does not contain {}", brief(&format!("{text:?}"))));
        }
        if let Some(pattern) = self.body_matches.as_ref().filter(|pattern| !pattern.0.is_match(&body)) {
            complaints.push(format!("{whole} does not match {}", brief(&format!("`{pattern}`"))));
        }
        if !self.json.is_empty() {
            match serde_json::from_slice::<Value>(bytes) {
                Ok(json) => complaints.extend(self.json_complaints(&json)),
                Err(error) => complaints.push(format!("{whole} is no JSON: {error}")),
            }
        }
        complaints
    }

    fn json_complaints(&self, json: &Value) -> Vec<String> {
        let complaint = |(pointer, wanted): (&String, &Value)| match json.pointer(pointer) {
            Some(there) if equal(there, wanted) => None,
            Some(there) => {
                let (there, wanted) = (brief(&there.to_string()), brief(&wanted.to_string()));
                Some(format!("JSON {pointer} is {there}, wanted {wanted}"))
            }
            None => Some(format!("JSON {pointer} is not there, wanted {}", brief(&wanted.to_string()))),
        };
        self.json.iter().filter_map(complaint).collect()
    }
}

impl Verdict {
    fn status(&mut self, answer: &Answer, wanted: &Statuses) {
        let status = answer.status;
        let location = answer.header("location").filter(|_| (300..400).contains(&status));
        self.complaints.push(match location {
            Some(location) => {
                self.help =
                    Some(format!("set `follow: true` to judge where it leads, or `status: {status}`"));
                format!("status {status} to {}, wanted {wanted}", brief(&location))
            }
            None => format!("status {status}, wanted {wanted}"),
        });
    }

    fn show(&mut self, answer: &Answer, body: &[u8]) {
        let headers =
            SHOWN_HEADERS.iter().filter_map(|name| Some(format!("{name}: {}", answer.header(name)?)));
        let headers: Vec<String> = headers.collect();
        if !headers.is_empty() {
            self.details.push(Detail { title: "response headers".to_owned(), text: headers.join("\n") });
        }
        let mut end = body.len().min(SHOWN_CAP);
        // Not within a character.
        while end > 0 && end < body.len() && body[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        let text = String::from_utf8_lossy(&body[..end]);
        let is_text = !text.chars().any(|c| c.is_control() && !c.is_whitespace());
        if is_text && !text.trim().is_empty() {
            let title = if body.len() >= SHOWN_CAP { "beginning of the body" } else { "body" };
            self.details.push(Detail { title: title.to_owned(), text: text.trim_end().to_owned() });
        }
    }
}

/// On one line, and not too long for it.
fn brief(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// 1 and 1.0 are one number: which of them a server writes is its own affair.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (one, other) => one == other,
    }
}

impl Statuses {
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }

    fn wants(&self, status: u16) -> bool {
        if self.0.is_empty() { (200..300).contains(&status) } else { self.0.contains(&status) }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<String> = self.0.iter().map(u16::to_string).collect();
        f.write_str(&if codes.is_empty() { "200 to 299".to_owned() } else { codes.join(" or ") })
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status code, as in 200, or a list of them")
            }

            fn visit_u64<E: serde::de::Error>(self, code: u64) -> Result<Statuses, E> {
                let known = u16::try_from(code).ok().filter(|code| (100..1000).contains(code));
                let wrong = || E::custom(format!("{code} is no status code: they have three digits"));
                known.map(|code| Statuses(vec![code])).ok_or_else(wrong)
            }

            fn visit_i64<E: serde::de::Error>(self, code: i64) -> Result<Statuses, E> {
                self.visit_u64(u64::try_from(code).unwrap_or(0))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Statuses, E> {
                let wrong =
                    || E::custom(format!("`{text}` is no status code: write numbers, as in [200, 204]"));
                self.visit_u64(text.parse().map_err(|_| wrong())?)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Statuses, A::Error> {
                let mut all = Vec::new();
                while let Some(Statuses(one)) = seq.next_element()? {
                    all.extend(one);
                }
                match all.is_empty() {
                    true => Err(serde::de::Error::custom("the list of status codes is empty")),
                    false => Ok(Statuses(all)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        regex::Regex::new(text).map(Pattern).map_err(|error| {
            // Its last line says what is wrong; those before it draw where, for a terminal.
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("`{text}` is no regular expression: {last}")
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

text_form!(Pattern);

described!(Pattern, "regular-expression", {
    "title": "regular expression",
    "type": ["string", "number", "boolean"]
});

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Address { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => {
                Ok(Address { ip: address.ip(), port: Some(address.port()) })
            }
            _ => Err(format!("`{text}` is no IP address: write it as in 127.0.0.1 or 127.0.0.1:8443")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.ip, port)),
            None => write!(f, "{}", self.ip),
        }
    }
}

text_form!(Address);

described!(Address, "address", {
    "title": "IP address",
    "type": "string",
    "pattern": r"^(\[?[0-9A-Fa-f:.]+\]?|[0-9.]+:[0-9]+|\[[0-9A-Fa-f:.]+\]:[0-9]+)$",
    "patternErrorMessage": "No IP address: write it as in 127.0.0.1 or 127.0.0.1:8443."
});

described!(Statuses, "statuses", {
    "title": "status code, or a list of them",
    "type": ["integer", "string", "array"],
    "minimum": 100,
    "maximum": 999,
    "pattern": "^0*[1-9][0-9]{2}$",
    "patternErrorMessage": "No status code: write it as in 200, or [200, 204].",
    "minItems": 1,
    "items": {
        "type": ["integer", "string"],
        "minimum": 100,
        "maximum": 999,
        "pattern": "^0*[1-9][0-9]{2}$",
        "patternErrorMessage": "No status code: they have three digits."
    }
});
