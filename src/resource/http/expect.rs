//! What is expected of an answer, and what is not as expected.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::captured::{self, Captured};
use super::client::Answer;
use super::excerpt::{self, Sought};
use super::html;
use crate::attribute::{described, text_form};
use crate::resource::Detail;

/// No more of a body is read than this.
const BODY_CAP: u64 = 1024 * 1024;

/// Of the page of an error, no more than what may be shown of it.
const ERROR_CAP: u64 = 64 * 1024;

/// The headers that say who answered, and where it points.
const SHOWN_HEADERS: [&str; 5] = ["server", "location", "content-type", "www-authenticate", "retry-after"];

/// The status codes wanted; empty: any of 200 to 299.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Statuses(Vec<u16>);

/// A regular expression. It may have places for what a journey captures.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    /// With stand-ins in its places.
    regex: regex::Regex,
}

/// An IP address, with a port or without.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Address {
    pub ip: IpAddr,
    pub port: Option<u16>,
}

/// What an answer must be, and what is to be read out of it.
#[derive(Default)]
pub struct Expected<'a> {
    pub status: Option<&'a Statuses>,
    pub body_contains: Option<String>,
    pub body_matches: Option<Pattern>,
    pub json: Map<String, Value>,
    pub capture: Option<&'a BTreeMap<String, Pattern>>,
}

/// What is wrong with an answer; nothing, where there are no complaints.
#[derive(Default)]
pub struct Verdict {
    pub complaints: Vec<String>,
    pub help: Option<String>,
    pub details: Vec<Detail>,
    pub captured: Vec<(String, String)>,
    sought: Vec<Sought>,
}

impl Expected<'_> {
    fn looks_at_body(&self) -> bool {
        self.body_contains.is_some()
            || self.body_matches.is_some()
            || !self.json.is_empty()
            || self.capture.is_some_and(|capture| !capture.is_empty())
    }

    pub fn judge(&self, answer: &mut Answer) -> Verdict {
        let mut verdict = Verdict::default();
        let any = Statuses::default();
        let status = self.status.unwrap_or(&any);
        let (mut body, mut is_whole) = (Vec::new(), false);
        if !status.wants(answer.status) {
            verdict.status(answer, status);
            // The page of an error is not the page whose text is wanted.
            (body, is_whole) = whole(answer.read(ERROR_CAP), ERROR_CAP).0;
        } else if self.looks_at_body() {
            let ((read, is_all), broken) = whole(answer.read(BODY_CAP), BODY_CAP);
            (body, is_whole) = (read, is_all);
            self.look_at(&body, answer.is_html(), &mut verdict);
            if !verdict.complaints.is_empty() {
                // What was looked for may be in what did not come.
                verdict.complaints.splice(0..0, broken);
            }
        }
        if !verdict.complaints.is_empty() {
            verdict.show(answer, &body, is_whole);
        }
        verdict
    }

    fn look_at(&self, bytes: &[u8], is_html: bool, verdict: &mut Verdict) {
        let body = String::from_utf8_lossy(bytes);
        let whole = if bytes.len() as u64 >= BODY_CAP { "the body's first megabyte" } else { "the body" };
        if let Some(text) = self.body_contains.as_ref().filter(|text| !body.contains(text.as_str())) {
            verdict.complaints.push(format!("{whole} does not contain {}", brief(&format!("{text:?}"))));
            verdict.sought.push(Sought::Text(text.clone()));
        }
        if let Some(pattern) = self.body_matches.as_ref().filter(|pattern| !pattern.regex.is_match(&body)) {
            verdict.complaints.push(format!("{whole} does not match {}", brief(&format!("`{pattern}`"))));
            verdict.sought.push(Sought::Pattern(pattern.text.clone()));
        }
        if !self.json.is_empty() {
            match serde_json::from_slice::<Value>(bytes) {
                Ok(json) => verdict.complaints.extend(self.json_complaints(&json)),
                Err(error) => verdict.complaints.push(format!("{whole} is no JSON: {error}")),
            }
        }
        for (name, pattern) in self.capture.into_iter().flatten() {
            match pattern.first_group(&body) {
                Some(value) => {
                    let value = if is_html { html::decoded(value) } else { value.to_owned() };
                    verdict.captured.push((name.clone(), value));
                }
                None => {
                    let shown = brief(&format!("`{pattern}`"));
                    verdict
                        .complaints
                        .push(format!("`{name}` was not captured: {whole} does not match {shown}"));
                    verdict.sought.push(Sought::Pattern(pattern.text.clone()));
                }
            }
        }
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

/// What was read with this cap, whether that is all, and why not where it broke off.
fn whole((bytes, broken): (Vec<u8>, Option<String>), cap: u64) -> ((Vec<u8>, bool), Option<String>) {
    let is_whole = (bytes.len() as u64) < cap && broken.is_none();
    ((bytes, is_whole), broken)
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

    fn show(&mut self, answer: &Answer, body: &[u8], is_whole: bool) {
        let headers =
            SHOWN_HEADERS.iter().filter_map(|name| Some(format!("{name}: {}", answer.header(name)?)));
        let headers: Vec<String> = headers.collect();
        if !headers.is_empty() {
            self.details.push(Detail { title: "response headers".to_owned(), text: headers.join("\n") });
        }
        self.details.extend(excerpt::part(body, is_whole, answer.is_html(), &self.sought));
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
        let regex = regex::Regex::new(&captured::with_stand_ins(text)).map_err(|error| {
            // Its last line says what is wrong; those before it draw where, for a terminal.
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("`{text}` is no regular expression: {last}")
        })?;
        Ok(Pattern { text: text.to_owned(), regex })
    }
}

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// With what was captured in its places, each letter of it for itself.
    pub fn filled(&self, captured: &Captured) -> Result<Pattern, String> {
        match captured::names(&self.text).next() {
            None => Ok(self.clone()),
            Some(_) => captured.fill_as(&self.text, regex::escape).parse(),
        }
    }

    /// What its group matches in the text, the first that has part in the match; all that it
    /// matches where there is none.
    fn first_group<'t>(&self, text: &'t str) -> Option<&'t str> {
        let found = self.regex.captures(text)?;
        let group = found.iter().skip(1).flatten().next();
        group.or(found.get(0)).map(|group| group.as_str())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
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
