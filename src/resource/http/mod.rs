//! `http`: what a URL answers. A check with no apply: it waits.

pub(super) mod client;
mod expect;
mod tls;
pub(super) mod trust;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::common::is_false;
use super::{Check, Failure, Invalid, Links, Needed, Resource, Thing, Waiting};
use crate::attribute::{AbsPath, Span};
use crate::system::System;
use client::Way;
pub use expect::{Address, Pattern, Statuses};
use trust::Trust;

/// What a URL answers.
///
/// It is a check with no apply. Where it does not hold, it is asked again for as long as `wait`
/// says, and is a failure when that is over, or at once without a `wait`. It is asked from the
/// host it is declared on; `localhost` is where converge runs.
///
/// The server's certificate must be signed by a CA that the asking host trusts: those in
/// SSL_CERT_FILE, else in the system's bundle (of the package `ca-certificates`). Proxies that the
/// environment names (HTTP_PROXY and its kin) are not used. Of a body, the first megabyte is
/// read, and only where something is expected of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("insecure", true, &["ca_file"])))]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The URL, with http or https and without a user.
    #[serde(rename = "http")]
    #[cfg_attr(
        feature = "controller",
        schemars(
 regex(pattern = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s@/]+(/\S*)?([?#]\S*)?$"),
 extend("patternErrorMessage" = "No URL: write it as in https://host/path.")
 )
    )]
    pub name: String,

    /// GET, HEAD, POST, or any other. A POST has no body.
    #[serde(default = "get", skip_serializing_if = "is_get")]
    #[cfg_attr(feature = "controller", schemars(skip_serializing_if = "crate::attribute::schema::never"))]
    pub method: String,

    /// Headers to send: name to value.
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
    /// `127.0.0.1`, `127.0.0.1:8443` or `[::1]:8443`. The host is still asked for by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<Address>,

    /// How long the certificate, and those it is signed with, must still be valid, as in `14d`.
    /// Without it, it is enough that they are valid now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_expires_after: Option<Span>,

    /// Follow redirects (ten at most) and judge where they lead. Without it the redirect itself is
    /// judged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub follow: bool,
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
    pub const SECRETS: &'static [&'static str] = &["headers", "body_contains", "body_matches", "json"];

    pub const EXAMPLE: &'static str = "\
- http: https://localhost:8443/login
  status: 200
  body_contains: Sign in
  tls_expires_after: 7d
  wait: 1m
";

    fn uri(&self) -> Result<Uri, Invalid> {
        let help = "write it as in https://host/path, and what a URL cannot hold as in %20";
        let wrong = |what: String| Invalid::new("http", format!("`{}` {what}", self.name), help);
        let uri: Uri = self.name.parse().map_err(|error| wrong(format!("is no URL: {error}")))?;
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

    fn request(&self) -> Result<Request<Vec<u8>>, Invalid> {
        let uri = self.uri()?;
        // To HTTP, `get` is another method than `GET`; to people it is not.
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes()).map_err(|_| {
            let what = format!("`{}` is no method of HTTP", self.method);
            Invalid::new("method", what, "write it as in GET, HEAD or POST")
        })?;
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = uri;
        *request.method_mut() = method;
        for (name, value) in &self.headers {
            let wrong = |what: String| Invalid::new("headers", what, "write it as in `Accept: text/html`");
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong(format!("`{name}` is no name of a header")))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| wrong(format!("the value of `{name}` holds what no header can")))?;
            request.headers_mut().insert(header, value);
        }
        Ok(request)
    }

    fn trust(&self, system: &System, uri: &Uri) -> Result<Trust, Failure> {
        match &self.ca_file {
            _ if self.insecure => Ok(Trust::insecure(self.tls_expires_after)),
            Some(path) => Trust::of_file(system, path, self.tls_expires_after),
            // Nobody's certificate will be seen.
            None if uri.scheme_str() == Some("http") && !self.follow => Ok(Trust::insecure(None)),
            None => Trust::of_system(system, self.tls_expires_after),
        }
    }
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
        let request = self.request().map_err(|invalid| Failure::new(invalid.what).help(invalid.help))?;
        let trust = Arc::new(self.trust(system, request.uri())?);
        let host = request.uri().host().unwrap_or_default().to_owned();
        let way = Way {
            timeout: self.timeout.get().min(system.time_left()),
            follow: self.follow,
            instead: self.resolve.map(|Address { ip, port }| (host, ip, port)),
            trust: Arc::clone(&trust),
        };
        let mut answer = match client::send(request, way)? {
            Ok(answer) => answer,
            Err(trouble) => {
                let waiting = Waiting::new(trouble.reason);
                return Ok(Check::Waits(Waiting { help: trouble.help, ..waiting }));
            }
        };
        let mut verdict = self.judge(&mut answer);
        verdict.complaints.extend(trust.complaints());
        if verdict.complaints.is_empty() {
            return Ok(Check::Holds);
        }
        let reason = verdict.complaints.join("; ");
        let waiting = Waiting { help: verdict.help, details: verdict.details, ..Waiting::new(reason) };
        Ok(Check::Waits(waiting))
    }

    fn apply(&self, system: &System, _: &Needed) -> Result<(), Failure> {
        match self.check(system)? {
            Check::Waits(waiting) => Err(waiting.into_failure()),
            _ => Ok(()),
        }
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let is_tls = self.follow || self.name.starts_with("https:");
        invalid.extend(self.request().err());
        if self.insecure && self.ca_file.is_some() {
            let what = "`insecure: true` believes any certificate, so no `ca_file` is looked at";
            invalid.push(Invalid::new("ca_file", what, "leave out one of the two"));
        }
        if !is_tls && self.tls_expires_after.is_some() {
            let what = "a URL with http has no certificate that could expire";
            invalid.push(Invalid::new("tls_expires_after", what, "write https, or leave it out"));
        }
        if self.method.eq_ignore_ascii_case("HEAD") && self.looks_at_body() {
            let what = "the answer to HEAD has no body to look at";
            invalid.push(Invalid::new("method", what, "use GET, or expect nothing of the body"));
        }
        if self.timeout.get().is_zero() {
            let what = "no request ends in no time";
            invalid.push(Invalid::new("timeout", what, "leave it out for 10s, or give it some seconds"));
        }
        for pointer in self.json.keys().filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            let what = format!("`{pointer}` is no JSON pointer");
            invalid.push(Invalid::new("json", what, format!("pointers begin with /, as in /{pointer}")));
        }
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
