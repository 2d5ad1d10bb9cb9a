//! `http`: what a URL answers, or a journey of several. A check with no apply: it waits.

mod captured;
pub(super) mod client;
pub(super) mod cookies;
mod excerpt;
pub(super) mod exchange;
mod expect;
mod html;
mod journey;
mod step;
mod tls;
pub(super) mod trust;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use ureq::http::{Method, Request, Uri};

use super::common::is_false;
use super::{Check, Failure, Invalid, Links, Needed, Resource, TIMEOUT, Thing, Waiting};
use crate::attribute::{AbsPath, Span};
use crate::system::System;
use captured::Captured;
use client::Way;
use cookies::Jar;
use exchange::Exchange;
use expect::Expected;
pub use expect::{Address, Pattern, Statuses};
use step::{Step, put_headers, wrong_pointer};
use trust::Trust;

/// What a URL answers; or, with `steps`, whether a journey over several of them can be made.
///
/// It is a check with no apply. Where it does not hold, it is asked again for as long as `wait`
/// says, and is a failure when that is over, or at once without a `wait`. It is asked from the
/// host it is declared on; `localhost` is where converge runs.
///
/// The server's certificate must be signed by a CA that the asking host trusts: those in
/// SSL_CERT_FILE, else in the system's bundle (of the package `ca-certificates`). Proxies that the
/// environment names (HTTP_PROXY and its kin) are not used. Of a body, the first megabyte is
/// read, and only where something is expected of it.
///
/// `steps` make it a journey, as somebody signs in and looks at an account. One step follows the
/// other, and cookies are kept from step to step as browsers keep them, those that redirects set
/// on the way too; each journey begins without any. What a step captures of its answer is
/// `{{ captured.NAME }}` in all later ones: in URLs, headers, forms, bodies, and in what is
/// expected. It stands as it is, without filters: nobody knows it before the journey is made. A
/// failure names the step, its request and the status, and shows the part of the answer that is
/// not right, without what was captured.
///
/// The first step that does not come out as declared ends a journey, and a `wait` begins it anew.
/// `plan` makes it too: let it do nothing that cannot be done any number of times. Where a
/// server locks accounts after wrong passwords, mind how often a `wait` tries: `{timeout: 1m, every:
/// 20s}`. The password belongs into `secrets`, as in `password: "{{ secrets.probe }}"`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(
    transform = super::rules::excludes("insecure", true, &["ca_file"]),
    transform = super::rules::goes_without("steps", &["method", "status", "body_contains", "body_matches", "json"]),
    transform = super::rules::pattern_without("steps", "http", URL, "No URL: write it as in https://host/path.")
))]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The URL, with http or https and without a user. With `steps`: a label, as in `sign in
    /// works`.
    #[serde(rename = "http")]
    pub name: String,

    /// GET, HEAD, POST, or any other. A POST has no body; that of a step may have one.
    #[serde(default = "get", skip_serializing_if = "is_get")]
    #[cfg_attr(feature = "controller", schemars(skip_serializing_if = "crate::attribute::schema::never"))]
    pub method: String,

    /// Headers to send: name to value. With `steps`, they go with each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,

    /// The status wanted, or a list of those that are. Without it: any of 200 to 299.
    #[serde(default, skip_serializing_if = "Statuses::is_default")]
    pub status: Statuses,

    /// Text that the body holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,

    /// A regular expression that matches somewhere in the body. `.` matches no line's end unless
    /// it begins with `(?s)`; `^` and `$` are those of the body, and of each line with `(?m)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_matches: Option<Pattern>,

    /// Values in a body of JSON: from JSON pointer (RFC 6901) to value, as in
    /// `{/status: up, /nodes/0/role: primary}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub json: Map<String, Value>,

    /// How long one request may take, from the name's lookup to the end of what is read of the
    /// body. Patience is `wait`.
    #[serde(default = "ten_seconds", skip_serializing_if = "is_ten_seconds")]
    #[cfg_attr(feature = "controller", schemars(skip_serializing_if = "crate::attribute::schema::never"))]
    pub timeout: Span,

    /// Believe any certificate, whoever signed it and whatever host it is for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure: bool,

    /// A file on the asking host with the certificates, in PEM, of the CAs to trust for this,
    /// instead of the host's own. It may also be the server's own self-signed certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<AbsPath>,

    /// The address to connect to instead of those that DNS has for the URL's host, as in
    /// `127.0.0.1`, `127.0.0.1:8443` or `[::1]:8443`. The host is still asked for by its name. With
    /// `steps`, it is that of the first step's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<Address>,

    /// How long the certificate, and those it is signed with, must still be valid, as in `14d`.
    /// Without it, it is enough that they are valid now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_expires_after: Option<Span>,

    /// Follow redirects (ten at most) and judge where they lead. Without it the redirect itself is
    /// judged. A step may say its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub follow: bool,

    /// The steps of a journey, in their order.
    #[serde(default, deserialize_with = "some_steps", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(length(min = 1)))]
    pub steps: Vec<Step>,
}

/// What begins like a URL of somebody's host.
#[cfg(feature = "controller")]
const URL: &str = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s@/]+(/\S*)?([?#]\S*)?$";

fn some_steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    let steps = Vec::deserialize(deserializer)?;
    match steps.is_empty() {
        true => Err(serde::de::Error::custom("a journey has no steps: add `- get: URL`")),
        false => Ok(steps),
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn is_get(method: &String) -> bool {
    method == "GET"
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

fn is_ten_seconds(span: &Span) -> bool {
    *span == ten_seconds()
}

/// Without what is sent and expected, which may hold secrets.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Http {
    pub const SECRETS: &'static [&'static str] =
        &["headers", "body_contains", "body_matches", "json", "steps"];

    pub const EXAMPLE: &'static str = "\
- http: https://localhost:8443/login
  status: 200
  body_contains: Sign in
  tls_expires_after: 7d
  wait: 1m

- http: sign in works
  wait: 30s
  steps:
    - get: https://localhost:8443/login
      capture: {csrf: 'name=\"csrf\" value=\"([^\"]+)\"'}
    - post: https://localhost:8443/login
      form: {email: probe@example.com, password: \"correct horse\", csrf: \"{{ captured.csrf }}\"}
      status: [302, 303]
    - get: https://localhost:8443/account
      body_contains: Welcome
";

    fn request(&self) -> Result<Request<Vec<u8>>, Invalid> {
        // To HTTP, `get` is another method than `GET`; to people it is not.
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes()).map_err(|_| {
            let what = format!("`{}` is no method of HTTP", self.method);
            Invalid::new("method", what, "write it as in GET, HEAD or POST")
        })?;
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = uri_of("http", &self.name)?;
        *request.method_mut() = method;
        put_headers(request.headers_mut(), &self.headers, &Captured::default())?;
        Ok(request)
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            status: Some(&self.status),
            body_contains: self.body_contains.clone(),
            body_matches: self.body_matches.clone(),
            json: self.json.clone(),
            capture: None,
        }
    }

    fn looks_at_body(&self) -> bool {
        self.body_contains.is_some() || self.body_matches.is_some() || !self.json.is_empty()
    }

    fn trust(&self, system: &System, uri: &Uri, follows: bool) -> Result<Trust, Failure> {
        match &self.ca_file {
            _ if self.insecure => Ok(Trust::insecure(self.tls_expires_after)),
            Some(path) => Trust::of_file(system, path, self.tls_expires_after),
            // Nobody's certificate will be seen.
            None if uri.scheme_str() == Some("http") && !follows => Ok(Trust::insecure(None)),
            None => Trust::of_system(system, self.tls_expires_after),
        }
    }

    /// One request, and its answer.
    fn ask(&self, system: &System) -> Result<Check, Failure> {
        let request = self.request().map_err(|invalid| Failure::new(invalid.what).help(invalid.help))?;
        let trust = Arc::new(self.trust(system, request.uri(), self.follow)?);
        let host = request.uri().host().unwrap_or_default().to_owned();
        let way = Way {
            timeout: self.timeout.get().min(system.time_left()),
            instead: self.resolve.map(|Address { ip, port }| (host, ip, port)),
            trust: Arc::clone(&trust),
        };
        let Exchange { answer, .. } = exchange::exchange(request, &way, self.follow, &mut Jar::default())?;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(trouble) => {
                let waiting = Waiting::new(trouble.reason);
                return Ok(Check::Waits(Waiting { help: trouble.help, ..waiting }));
            }
        };
        let mut verdict = self.expected().judge(&mut answer);
        verdict.complaints.extend(trust.complaints());
        if verdict.complaints.is_empty() {
            return Ok(Check::Holds);
        }
        let reason = verdict.complaints.join("; ");
        let waiting = Waiting { help: verdict.help, details: verdict.details, ..Waiting::new(reason) };
        Ok(Check::Waits(waiting))
    }

    fn wrong_steps(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let of_one_request = [
            ("method", !is_get(&self.method)),
            ("status", !self.status.is_default()),
            ("body_contains", self.body_contains.is_some()),
            ("body_matches", self.body_matches.is_some()),
            ("json", !self.json.is_empty()),
        ];
        for (attribute, _) in of_one_request.iter().filter(|(_, given)| *given) {
            let what = format!("with `steps`, `{attribute}` is said of a step and not of the journey");
            invalid.push(Invalid::new(attribute, what, "move it into the step that it is about"));
        }
        let mut made = BTreeSet::new();
        for (number, step) in self.steps.iter().enumerate() {
            invalid.extend(step.validate(number, &mut made, &self.steps[number + 1..]));
        }
        invalid
    }

    /// `{{ captured.NAME }}` where there is nothing captured yet.
    fn wrong_places(&self) -> Vec<Invalid> {
        let of = |text: &str| captured::names(text).next();
        let places = [
            ("http", of(&self.name)),
            ("headers", self.headers.values().find_map(|value| of(value))),
            ("body_contains", self.body_contains.as_deref().and_then(of)),
            ("body_matches", self.body_matches.as_ref().and_then(|pattern| of(pattern.as_str()))),
            ("json", self.json.values().find_map(|value| captured::names_in(value).into_iter().next())),
        ];
        let wrong = |(attribute, name): (&'static str, Option<String>)| {
            let name = name?;
            Some(match self.steps.is_empty() {
                true => Invalid::new(
                    attribute,
                    format!("there are no `steps` that could capture `{name}`"),
                    "make it a journey: the step that captures it, then the one that uses it",
                ),
                false => Invalid::new(
                    attribute,
                    format!("`{attribute}` goes with all steps, and the first knows no `{name}`"),
                    "say it of the step that needs it",
                ),
            })
        };
        places.into_iter().filter_map(wrong).collect()
    }
}

/// The URL in an attribute.
fn uri_of(attribute: &'static str, text: &str) -> Result<Uri, Invalid> {
    let help = "write it as in https://host/path, and what a URL cannot hold as in %20";
    let wrong = |what: String| Invalid::new(attribute, format!("`{text}` {what}"), help);
    if attribute == "http" && !text.contains("://") {
        let help = "write it as in https://host/path; the label of a journey has `steps`".to_owned();
        return Err(Invalid { help, ..wrong("is no URL with http or https".to_owned()) });
    }
    let uri: Uri = text.parse().map_err(|error| wrong(format!("is no URL: {error}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("is no URL with http or https".to_owned()));
    }
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if authority.contains('@') {
        let mut wrong = wrong("holds a user, which would be shown wherever its name is".to_owned());
        wrong.help = "send `headers: {Authorization: …}`".to_owned();
        return Err(wrong);
    }
    let host = uri.host().unwrap_or_default();
    // Behind the host stands a colon and a port, or nothing.
    let has_good_port = authority.len() == host.len() || uri.port_u16().is_some_and(|port| port != 0);
    if host.is_empty() || !has_good_port {
        return Err(wrong("names no host and port to connect to".to_owned()));
    }
    Ok(uri)
}

impl Resource for Http {
    fn name(&self) -> String {
        self.name.trim().to_owned()
    }

    fn links(&self) -> Links {
        match &self.ca_file {
            Some(path) => Links::default().stands_on(Thing::Path(path.clone()), "its ca_file"),
            None => Links::default(),
        }
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        match self.steps.is_empty() {
            true => self.ask(system),
            false => journey::run(self, system),
        }
    }

    fn apply(&self, system: &System, _: &Needed) -> Result<(), Failure> {
        match self.check(system)? {
            Check::Waits(waiting) => Err(waiting.into_failure()),
            _ => Ok(()),
        }
    }

    /// Each request has its own time.
    fn timeout(&self) -> Duration {
        let requests = u32::try_from(self.steps.len().max(1)).unwrap_or(u32::MAX);
        TIMEOUT.max(self.timeout.get().saturating_mul(requests) + Duration::from_secs(5))
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = self.wrong_places();
        let urls = self.steps.iter().map(Step::url).chain([self.name.as_str()]);
        let is_tls =
            self.follow || urls.clone().any(|url| url.starts_with("https:") || captured::begins(url));
        if !self.steps.is_empty() {
            invalid.extend(self.wrong_steps());
            let headers = put_headers(&mut Default::default(), &self.headers, &Captured::default());
            invalid.extend(headers.err());
        } else if invalid.is_empty() {
            // A label, whose steps could not be read.
            let is_lack = !self.name.contains("://");
            let wrong = self.request().err();
            invalid.extend(
                wrong.map(|wrong| Invalid { is_lack: is_lack && wrong.attribute == "http", ..wrong }),
            );
        }
        if self.insecure && self.ca_file.is_some() {
            let what = "`insecure: true` believes any certificate, so no `ca_file` is looked at";
            invalid.push(Invalid::new("ca_file", what, "leave out one of the two"));
        }
        if !is_tls && self.tls_expires_after.is_some() {
            let what = "a URL with http has no certificate that could expire";
            invalid.push(Invalid::new("tls_expires_after", what, "write https, or leave it out"));
        }
        if self.method.eq_ignore_ascii_case("HEAD") && self.looks_at_body() && self.steps.is_empty() {
            let what = "the answer to HEAD has no body to look at";
            invalid.push(Invalid::new("method", what, "use GET, or expect nothing of the body"));
        }
        if self.timeout.get().is_zero() {
            let what = "no request ends in no time";
            invalid.push(Invalid::new("timeout", what, "leave it out for 10s, or give it some seconds"));
        }
        invalid.extend(wrong_pointer(&self.json));
        invalid
    }

    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        if !self.insecure {
            return Vec::new();
        }
        vec![Invalid::new(
            "insecure",
            "any certificate is believed, so whoever is in between can answer",
            "name the authority that signed it with `ca_file`",
        )]
    }

    fn is_probe(&self) -> bool {
        true
    }
}
