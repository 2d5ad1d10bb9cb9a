//! A request and, where redirects are followed, those that come of it: with the cookies of the
//! journey, and within the time that one request has.

use std::time::{Duration, Instant, SystemTime};

use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION};
use ureq::http::{HeaderValue, Method, Request, Uri};

use super::client::{self, Answer, Trouble, Way};
use super::cookies::{Fitting, Jar};
use crate::resource::Failure;

const REDIRECTS: usize = 10;

/// An answer, and what was asked for it.
pub struct Exchange {
    pub answer: Result<Answer, Trouble>,
    /// Of the last request.
    pub method: Method,
    pub uri: Uri,
    pub cookies: Fitting,
    /// The URLs that were asked before the last one.
    pub way_here: Vec<Uri>,
    /// Where redirects led on the way.
    pub hops: usize,
}

/// Err: what no waiting can mend.
pub fn exchange(
    mut request: Request<Vec<u8>>,
    way: &Way,
    follow: bool,
    jar: &mut Jar,
) -> Result<Exchange, Failure> {
    let deadline = Instant::now() + way.timeout;
    let mut way_here = Vec::new();
    for hops in 0.. {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let now = SystemTime::now();
        let cookies = jar.fitting(&uri, now);
        let answer = client::send(with_cookies(&request, &cookies.header), way, deadline)?;
        let mut exchange = Exchange { answer, method, uri, cookies, way_here, hops };
        let Ok(answer) = &exchange.answer else { return Ok(exchange) };
        jar.take(&exchange.uri, &answer.headers, SystemTime::now());
        let Some(location) = answer.location().filter(|_| follow) else { return Ok(exchange) };
        if hops == REDIRECTS {
            exchange.answer = Err(Trouble::new(format!("more than {REDIRECTS} redirects")));
            return Ok(exchange);
        }
        match join(&exchange.uri, &location) {
            Some(target) => {
                turn(&mut request, answer.status, target);
                way_here = exchange.way_here;
                way_here.push(exchange.uri);
            }
            None => {
                let what = format!("it redirects to `{location}`, which is no URL with http or https");
                exchange.answer = Err(Trouble::new(what));
                return Ok(exchange);
            }
        }
    }
    // There is no end of numbers.
    Err(Failure::new("more redirects than can be counted"))
}

fn with_cookies(request: &Request<Vec<u8>>, cookies: &str) -> Request<Vec<u8>> {
    let mut request = request.clone();
    // Those that the spec sends itself go first.
    let own = request.headers().get(COOKIE).map(|own| String::from_utf8_lossy(own.as_bytes()).into_owned());
    let all: Vec<&str> = own.iter().map(String::as_str).chain([cookies]).filter(|c| !c.is_empty()).collect();
    // What a server sets may hold what no header can: it is not sent back then.
    if let (false, Ok(value)) = (all.is_empty(), HeaderValue::from_str(&all.join("; "))) {
        request.headers_mut().insert(COOKIE, value);
    }
    request
}

/// The request that a redirect of this status asks for (RFC 9110, 15.4).
fn turn(request: &mut Request<Vec<u8>>, status: u16, target: Uri) {
    let post_becomes_get = matches!(status, 301 | 302) && request.method() == Method::POST;
    if post_becomes_get || status == 303 && request.method() != Method::HEAD {
        *request.method_mut() = Method::GET;
        request.body_mut().clear();
        request.headers_mut().remove(CONTENT_TYPE);
    }
    let host = |uri: &Uri| (uri.host().map(str::to_ascii_lowercase), port(uri));
    let is_bared = request.uri().scheme_str() == Some("https") && target.scheme_str() == Some("http");
    if is_bared || host(request.uri()) != host(&target) {
        // They were meant for the other one, or for nobody in between.
        for name in [AUTHORIZATION, COOKIE, HOST] {
            request.headers_mut().remove(name);
        }
    }
    *request.uri_mut() = target;
}

/// A redirect within a host from http to https changes the port, and is no other host.
fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().filter(|port| !matches!(port, 80 | 443))
}

/// What `reference` means where it stands at `base` (RFC 3986, 5.2). Fragments are the browser's.
pub fn join(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.trim().split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let own_path = base.path();
    let whole = if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if has_scheme(reference) {
        reference.to_owned()
    } else if reference.is_empty() {
        return Some(base.clone());
    } else {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference, None),
        };
        let path = match path {
            "" => own_path.to_owned(),
            path if path.starts_with('/') => without_dots(path),
            path => without_dots(&format!("{}{path}", &own_path[..=own_path.rfind('/').unwrap_or(0)])),
        };
        format!("{scheme}://{authority}{path}{}", query.map(|query| format!("?{query}")).unwrap_or_default())
    };
    // Servers write what a URL cannot hold.
    let uri: Uri = whole.replace(' ', "%20").parse().ok()?;
    let is_good =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty());
    is_good.then_some(uri)
}

fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']).filter(|at| reference[*at..].starts_with(':'));
    end.is_some_and(|at| {
        let scheme = &reference[..at];
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        match *part {
            "." | ".." => {
                if *part == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

impl Way {
    /// What is left of one request's time, and of the operation's.
    pub fn left(deadline: Instant) -> Duration {
        deadline.saturating_duration_since(Instant::now())
    }
}

impl Answer {
    /// Where it redirects to.
    pub fn location(&self) -> Option<String> {
        let is_redirect = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        self.header(LOCATION.as_str()).filter(|_| is_redirect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_redirect_leads() {
        let base: Uri = "https://a.example:8443/one/two?q=1".parse().unwrap();
        let table = [
            ("/login", "https://a.example:8443/login"),
            ("login", "https://a.example:8443/one/login"),
            ("../x", "https://a.example:8443/x"),
            ("../../../x", "https://a.example:8443/x"),
            ("./", "https://a.example:8443/one/"),
            ("..", "https://a.example:8443/"),
            ("?next=/a/../b", "https://a.example:8443/one/two?next=/a/../b"),
            ("", "https://a.example:8443/one/two?q=1"),
            ("#top", "https://a.example:8443/one/two?q=1"),
            ("/a#top", "https://a.example:8443/a"),
            ("//b.example/x", "https://b.example/x"),
            ("http://b.example", "http://b.example/"),
            ("/a b", "https://a.example:8443/a%20b"),
            ("/to?u=http://c.example/", "https://a.example:8443/to?u=http://c.example/"),
        ];
        for (reference, wanted) in table {
            assert_eq!(join(&base, reference).unwrap().to_string(), wanted, "{reference}");
        }
        for reference in ["ftp://b.example/", "javascript:alert(1)", "http://", "mailto:a@b.example"] {
            assert_eq!(join(&base, reference), None, "{reference}");
        }
    }

    #[test]
    fn what_was_for_one_host_is_not_told_to_another() {
        let request = |method: &str| {
            Request::builder()
                .method(method)
                .uri("http://a.example/x")
                .header("authorization", "Bearer t")
                .header("content-type", "text/plain")
                .header("x-own", "1")
                .body(b"body".to_vec())
                .unwrap()
        };
        let names = |request: &Request<Vec<u8>>| {
            let mut names: Vec<String> = request.headers().keys().map(ToString::to_string).collect();
            names.sort();
            names.join(" ")
        };
        // Status, method, target; what is asked for then.
        let table = [
            (302, "POST", "http://a.example/y", "GET", "authorization x-own", 0),
            (303, "PUT", "https://a.example/y", "GET", "authorization x-own", 0),
            (303, "HEAD", "http://a.example/y", "HEAD", "authorization content-type x-own", 4),
            (307, "POST", "http://b.example/y", "POST", "content-type x-own", 4),
            (302, "PUT", "http://a.example:8080/y", "PUT", "content-type x-own", 4),
        ];
        let mut bared = request("GET");
        *bared.uri_mut() = "https://a.example/x".parse().unwrap();
        turn(&mut bared, 302, "http://a.example/x".parse().unwrap());
        assert_eq!(names(&bared), "content-type x-own");
        for (status, method, target, then, headers, body) in table {
            let mut request = request(method);
            turn(&mut request, status, target.parse().unwrap());
            assert_eq!(request.method().as_str(), then, "{status} {method}");
            assert_eq!(names(&request), headers, "{status} {method} {target}");
            assert_eq!(request.body().len(), body, "{status} {method}");
        }
    }
}
