//! One step of a journey: a request, what its answer must be, and what is captured of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::captured::{self, Captured};
use super::expect::{Expected, Pattern, Statuses};
use super::uri_of;
use crate::resource::{Inside, Invalid};

/// One step of a journey.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(
    rename = "step",
    title = "step",
    transform = super::super::rules::one_of(&["get", "head", "post", "put", "patch", "delete"]),
    transform = super::super::rules::at_most_one(&["get", "head", "post", "put", "patch", "delete"]),
    transform = super::super::rules::at_most_one(&["form", "body"]),
    transform = super::super::rules::goes_without("get", &["form", "body"]),
    transform = super::super::rules::goes_without("head", &["form", "body", "body_contains", "body_matches", "json", "capture"])
))]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The URL to ask for with GET. Each step has one of `get`, `head`, `post`, `put`, `patch` and
    /// `delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<Url>,

    /// The URL to ask for with HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Url>,

    /// The URL to send a POST to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<Url>,

    /// The URL to send a PUT to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<Url>,

    /// The URL to send a PATCH to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Url>,

    /// The URL to send a DELETE to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Url>,

    /// Headers to send with this request, over those of the journey.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,

    /// Fields to send as a browser sends a form: name to value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub form: BTreeMap<String, String>,

    /// What to send instead of a form: a text as it stands, a mapping or a list as JSON (with
    /// `Content-Type: application/json`, unless `headers` say another).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,

    /// The status wanted, or a list of those that are. Without it: any of 200 to 299.
    #[serde(default, skip_serializing_if = "Statuses::is_default")]
    pub status: Statuses,

    /// Text that the body of the answer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,

    /// A regular expression that matches somewhere in the body of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_matches: Option<Pattern>,

    /// Values in an answer of JSON: from JSON pointer to value.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub json: Map<String, Value>,

    /// What to read out of the answer for later steps: from a name to a regular expression, whose
    /// group is what `{{ captured.NAME }}` stands for from then on. Where it matches nowhere, the
    /// step has failed. Of a page in HTML, character references (`&amp;`) are read as browsers
    /// read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capture: BTreeMap<String, Pattern>,

    /// Follow redirects, or not, whatever the journey says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

/// A URL as it is written, with places for what is captured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Url(String);

crate::attribute::described!(Url, "url", {
    "title": "URL",
    "type": "string",
    "pattern": super::URL,
    "patternErrorMessage": "No URL: write it as in https://host/path."
});

/// What a request brings along.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Body {
    Text(String),
    Json(Value),
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a mapping or list to send as JSON")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Body, E> {
                Ok(Body::Text(text.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Body, A::Error> {
                Value::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Body::Json)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Body, A::Error> {
                Value::deserialize(serde::de::value::SeqAccessDeserializer::new(seq)).map(Body::Json)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

crate::attribute::described!(Body, "request-body", {
    "title": "text, mapping or list",
    "type": ["string", "number", "boolean", "object", "array"]
});

/// Without what is sent and expected, which may hold secrets.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").finish_non_exhaustive()
    }
}

impl Step {
    /// The attribute that names the method, and the URL under it, of each that is given.
    fn requests(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("get", &self.get),
            ("head", &self.head),
            ("post", &self.post),
            ("put", &self.put),
            ("patch", &self.patch),
            ("delete", &self.delete),
        ];
        all.into_iter().filter_map(|(word, url)| Some((word, url.as_ref()?.0.as_str()))).collect()
    }

    /// Its first URL; empty where there is none.
    pub fn url(&self) -> &str {
        self.requests().first().map_or("", |(_, url)| url)
    }

    /// `POST https://app/login`, with the places for what is captured as they stand.
    pub fn told(&self) -> String {
        let request = self.requests().into_iter().next();
        request.map(|(word, url)| format!("{} {url}", word.to_uppercase())).unwrap_or_default()
    }

    /// The request as it is to be sent: first the headers of the journey, then its own.
    pub fn request(
        &self,
        of_journey: &BTreeMap<String, String>,
        captured: &Captured,
    ) -> Result<Request<Vec<u8>>, Invalid> {
        let requests = self.requests();
        let [(word, url)] = requests.as_slice() else {
            return Err(Invalid::new("steps", "a step has one URL", "add `get: URL`, or `post: URL`"));
        };
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = uri_of(word, &captured.fill(url))?;
        *request.method_mut() = Method::from_bytes(word.to_uppercase().as_bytes())
            .map_err(|_| Invalid::new(word, "is no method of HTTP", "use GET or POST"))?;
        put_headers(request.headers_mut(), of_journey, captured)?;
        put_headers(request.headers_mut(), &self.headers, captured)?;
        let (kind, bytes) = match &self.body {
            Some(Body::Text(text)) => (None, captured.fill(text).into_bytes()),
            Some(Body::Json(value)) => {
                (Some("application/json"), captured.fill_value(value).to_string().into_bytes())
            }
            None if self.form.is_empty() => return Ok(request),
            None => (Some("application/x-www-form-urlencoded"), self.encoded_form(captured).into_bytes()),
        };
        if let Some(kind) = kind {
            request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        }
        *request.body_mut() = bytes;
        Ok(request)
    }

    fn encoded_form(&self, captured: &Captured) -> String {
        let pair = |(name, value): (&String, &String)| {
            format!("{}={}", encoded(&captured.fill(name)), encoded(&captured.fill(value)))
        };
        self.form.iter().map(pair).collect::<Vec<_>>().join("&")
    }

    /// With what was captured in it. Err: a pattern that is none with that.
    pub fn expected(&self, captured: &Captured) -> Result<Expected<'_>, String> {
        Ok(Expected {
            status: Some(&self.status),
            body_contains: self.body_contains.as_ref().map(|text| captured.fill(text)),
            body_matches: self.body_matches.as_ref().map(|pattern| pattern.filled(captured)).transpose()?,
            json: self.json.iter().map(|(key, value)| (key.clone(), captured.fill_value(value))).collect(),
            capture: Some(&self.capture),
        })
    }

    /// The names that it has places for, by the attribute they are in.
    fn places(&self) -> Vec<(&'static str, String)> {
        let mut places = Vec::new();
        let mut add = |attribute, found: Vec<String>| {
            places.extend(found.into_iter().map(|name| (attribute, name)));
        };
        let of = |text: &str| captured::names(text).collect::<Vec<_>>();
        for (word, url) in self.requests() {
            add(word, of(url));
        }
        for (attribute, fields) in [("headers", &self.headers), ("form", &self.form)] {
            fields.iter().for_each(|(name, value)| add(attribute, [of(name), of(value)].concat()));
        }
        match &self.body {
            Some(Body::Text(text)) => add("body", of(text)),
            Some(Body::Json(value)) => add("body", captured::names_in(value)),
            None => {}
        }
        add("body_contains", self.body_contains.as_deref().map(of).unwrap_or_default());
        add("body_matches", self.body_matches.as_ref().map(|one| of(one.as_str())).unwrap_or_default());
        self.json.values().for_each(|value| add("json", captured::names_in(value)));
        places
    }

    /// What is wrong with the step of this number, `made` being the names that earlier ones
    /// capture; its own are added.
    pub fn validate(&self, number: usize, made: &mut BTreeSet<String>, later: &[Step]) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let at = |invalid: Invalid, attribute: &str| {
            let inside = vec![Inside::Element(number), Inside::Key(attribute.to_owned())];
            Invalid { attribute: "steps", inside, ..invalid }
        };
        let whole = |what: String, help: &str| Invalid {
            inside: vec![Inside::Element(number)],
            ..Invalid::new("steps", what, help)
        };
        match self.requests().as_slice() {
            [(word, url)] => {
                if !captured::begins(url)
                    && let Err(wrong) = uri_of(word, &captured::with_stand_ins(url))
                {
                    invalid.push(at(wrong, word));
                }
                invalid.extend(
                    self.contradictions(word).into_iter().map(|(attribute, wrong)| at(wrong, attribute)),
                );
            }
            [] => {
                let what = format!("step {} asks for nothing", number + 1);
                let lack = whole(what, "add `get: URL`, or `post: URL` with a `form`");
                invalid.push(Invalid { is_lack: true, ..lack });
            }
            [(first, _), (second, _), ..] => {
                let what = format!("step {} has two requests, `{first}` and `{second}`", number + 1);
                invalid.push(at(whole(what, "make each a step of its own"), second));
            }
        }
        if let Err(wrong) = put_headers(&mut HeaderMap::new(), &self.headers, &Captured::default()) {
            invalid.push(at(wrong, "headers"));
        }
        invalid.extend(wrong_pointer(&self.json).map(|wrong| at(wrong, "json")));
        for (attribute, name) in self.places().into_iter().filter(|(_, name)| !made.contains(name)) {
            let what = format!("nothing has captured `{name}` before step {}", number + 1);
            let own = self.capture.contains_key(&name);
            let help = match later.iter().position(|step| step.capture.contains_key(&name)) {
                _ if own => {
                    "it is captured from this step's answer, so only later steps can use it".to_owned()
                }
                Some(after) => format!("step {} captures it: move that one up", number + 2 + after),
                None => format!("add `capture: {{{name}: REGEX}}` to an earlier step"),
            };
            invalid.push(at(Invalid::new("steps", what, help), attribute));
        }
        for name in self.capture.keys() {
            if !is_name(name) {
                let what = format!("`{name}` cannot be a name for what is captured");
                let help = "names are made of letters, digits and `_`, as in `csrf`";
                invalid.push(at(Invalid::new("steps", what, help), "capture"));
            }
            made.insert(name.clone());
        }
        invalid
    }

    /// Attributes that do not go with the method or with each other.
    fn contradictions(&self, word: &str) -> Vec<(&'static str, Invalid)> {
        let mut found = Vec::new();
        let sent = [("form", !self.form.is_empty()), ("body", self.body.is_some())];
        for (attribute, _) in sent.iter().filter(|(_, given)| *given && matches!(word, "get" | "head")) {
            let what = format!("{} sends no `{attribute}`", word.to_uppercase());
            let help = "send it with `post`, or put the fields into the URL: ?name=value";
            found.push((*attribute, Invalid::new("steps", what, help)));
        }
        if sent.iter().all(|(_, given)| *given) {
            let what = "a request has a `form` or a `body`, and not both";
            found.push(("body", Invalid::new("steps", what, "leave out one of the two")));
        }
        let expected = [
            ("body_contains", self.body_contains.is_some()),
            ("body_matches", self.body_matches.is_some()),
            ("json", !self.json.is_empty()),
            ("capture", !self.capture.is_empty()),
        ];
        for (attribute, _) in expected.iter().filter(|(_, given)| *given && word == "head") {
            let what = "the answer to HEAD has no body to look at";
            found.push((*attribute, Invalid::new("steps", what, "use `get`")));
        }
        found
    }
}

/// What is no JSON pointer among these keys.
pub fn wrong_pointer(json: &Map<String, Value>) -> Option<Invalid> {
    let wrong = json.keys().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))?;
    let what = format!("`{wrong}` is no JSON pointer");
    Some(Invalid::new("json", what, format!("pointers begin with /, as in /{wrong}")))
}

pub fn put_headers(
    headers: &mut HeaderMap,
    declared: &BTreeMap<String, String>,
    captured: &Captured,
) -> Result<(), Invalid> {
    for (name, value) in declared {
        let wrong = |what: String| Invalid::new("headers", what, "write it as in `Accept: text/html`");
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong(format!("`{name}` is no name of a header")))?;
        let value = HeaderValue::from_str(&captured.fill(value))
            .map_err(|_| wrong(format!("the value of `{name}` holds what no header can")))?;
        headers.insert(header, value);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// As HTML has browsers encode the fields of a form (application/x-www-form-urlencoded).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.replace("\r\n", "\n").replace('\n', "\r\n").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => encoded.push(byte.into()),
            b' ' => encoded.push('+'),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// The first URL, by whose host `resolve` goes.
pub fn first_host(steps: &[Step]) -> Option<String> {
    let (_, url) = steps.first()?.requests().into_iter().next()?;
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_form_are_encoded_as_browsers_do() {
        assert_eq!(encoded("probe+1@example.com"), "probe%2B1%40example.com");
        assert_eq!(encoded("correct horse&=%"), "correct+horse%26%3D%25");
        assert_eq!(encoded("ü\nx*-._~"), "%C3%BC%0D%0Ax*-._%7E");
    }
}
