//! Fetching what a URL gives, piece by piece, for the types that put it somewhere.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderValue, Request, Uri};

use super::http::client::{self, Way};
use super::http::cookies::Jar;
use super::http::exchange::exchange;
use super::http::trust::Trust;
use super::{Failure, Lack, Thing};
use crate::attribute::{AbsPath, Checksum, Hasher};
use crate::system::System;
use crate::system::files::Seen;

/// The limit of an operation that may move much: a checkout, a download, an archive.
pub const TIMEOUT: Duration = Duration::from_secs(600);

/// So much of the page that came instead is shown.
const SHOWN_CAP: u64 = 1024;

/// Where something is fetched from.
#[derive(Clone, PartialEq)]
pub enum Url {
    /// A file on the host itself.
    File(AbsPath),
    /// Without the user, whose name and password go into a header.
    Web { uri: Uri, authorization: Option<HeaderValue> },
}

impl Url {
    /// Err: what is wrong with it, and the way out.
    pub fn parse(text: &str) -> Result<Url, (String, String)> {
        let text = text.trim();
        let help =
            || "write it as in https://host/path or file:///path, and what a URL cannot hold as in %20";
        let wrong = |what: &str| (format!("`url` {what}"), help().to_owned());
        if let Some(rest) = text.strip_prefix("file://") {
            let rest = rest.strip_prefix("localhost").unwrap_or(rest);
            let path = unescape(rest).ok_or_else(|| wrong("is no URL: it holds a % without two digits"))?;
            let path = path.parse().map_err(|_| wrong("names no absolute path on the host"))?;
            return Ok(Url::File(path));
        }
        // What stands before the host goes no further than this: an error would show it.
        let (bare, user) = without_user(text);
        let uri: Uri = bare.parse().map_err(|error| wrong(&format!("is no URL: {error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("is no URL with http, https or file"));
        }
        let host = uri.host().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let has_good_port = authority.len() == host.len() || uri.port_u16().is_some_and(|port| port != 0);
        if host.is_empty() || !has_good_port {
            return Err(wrong("names no host and port to connect to"));
        }
        let authorization = match user {
            None => None,
            Some(user) => {
                let user = unescape(user).ok_or_else(|| wrong("holds a % without two digits in its user"))?;
                let (name, password) = user.split_once(':').unwrap_or((&user, ""));
                let basic = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
                let mut value =
                    HeaderValue::from_str(&basic).map_err(|_| wrong("holds a user that no header can"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Url::Web { uri, authorization })
    }

    /// What must be there before it can be fetched, and is not.
    pub fn lack(&self, system: &System) -> Result<Option<Lack>, Failure> {
        let Url::File(path) = self else { return Ok(None) };
        Ok(match system.see(path)? {
            Seen::There(_) => None,
            Seen::Absent | Seen::NoParent(_) => Some(Lack {
                thing: Thing::Path(path.clone()),
                what: format!("{path}, which `url` names, does not exist"),
                help: "put it there, or let another resource do so before".to_owned(),
            }),
        })
    }

    /// What a resource that fetches it stands on.
    pub fn thing(&self) -> Option<Thing> {
        match self {
            Url::File(path) => Some(Thing::Path(path.clone())),
            Url::Web { .. } => None,
        }
    }

    /// Gives all of it to `sink`, in pieces. With a checksum to come it may be brought by anybody;
    /// without, what began with TLS must go on so.
    pub fn fetch(
        &self,
        system: &System,
        has_checksum: bool,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Url::File(path) => {
                let mut file = system.open_file(path)?;
                let told = |error: std::io::Error| Failure::io(format!("reading {path}"), &error);
                if !file.metadata().map_err(told)?.is_file() {
                    return Err(Failure::new(format!("{path}, which `url` names, is no plain file")));
                }
                self.copy(system, &mut file, |error| told(error).reason, sink)
            }
            Url::Web { uri, authorization } => {
                self.fetch_web(system, uri, authorization.as_ref(), has_checksum, sink)
            }
        }
    }

    /// The same, and fails where it is not what the checksum says.
    pub fn fetch_checked(
        &self,
        system: &System,
        checksum: Option<&Checksum>,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut hasher = checksum.map(|checksum| checksum.algorithm.hasher());
        self.fetch(system, checksum.is_some(), &mut |bytes| {
            hasher.iter_mut().for_each(|hasher| hasher.update(bytes));
            sink(bytes)
        })?;
        match (hasher.map(Hasher::finish), checksum) {
            (Some(found), Some(wanted)) if found != *wanted => Err(mismatch(self, &found, wanted)),
            _ => Ok(()),
        }
    }

    fn fetch_web(
        &self,
        system: &System,
        uri: &Uri,
        authorization: Option<&HeaderValue>,
        has_checksum: bool,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = uri.clone();
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let trust = Arc::new(Trust::of_system(system, None)?);
        let way = Way { timeout: system.time_left(), instead: None, trust };
        let exchange = exchange(request, &way, true, &mut Jar::default())?;
        let way_here = [exchange.way_here, vec![exchange.uri]].concat();
        let mut answer = exchange.answer.map_err(|trouble| {
            let failure = Failure::new(format!("fetching {self}: {}", trouble.reason));
            Failure { help: trouble.help, ..failure }
        })?;
        if answer.status != 200 {
            let (page, _) = answer.read(SHOWN_CAP);
            let page = String::from_utf8_lossy(&page).trim().to_owned();
            let failure = Failure::new(format!("fetching {self}: status {}", answer.status));
            return Err(match answer.status {
                401 | 403 => failure.help("it wants a login: a user and password can stand in the URL, as in https://user:password@host/path"),
                404 | 410 => failure.help("there is nothing at this URL: correct `url`"),
                _ => failure,
            }
            .detail("what came instead", page));
        }
        let is_plain = |uri: &Uri| uri.scheme_str() == Some("http");
        if uri.scheme_str() == Some("https")
            && !has_checksum
            && let Some(plain) = way_here.iter().find(|uri| is_plain(uri))
        {
            let host = plain.host().unwrap_or_default();
            return Err(Failure::new(format!(
                "fetching {self}: it redirects to http on {host}, where anybody in between could change it"
            ))
            .help("give `checksum`, which proves what came, or a `url` that stays with https"));
        }
        let limit = system.time_left();
        let told = |error: std::io::Error| client::body_words(error, limit);
        let mut body = answer.reader();
        self.copy(system, &mut body, told, sink)
    }

    fn copy(
        &self,
        system: &System,
        from: &mut dyn Read,
        told: impl Fn(std::io::Error) -> String,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut block = vec![0; 64 * 1024];
        loop {
            match from.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(count) => sink(&block[..count])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::new(format!("fetching {self}: {}", told(error)))),
            }
            if system.time_left().is_zero() {
                return Err(Failure::new(format!("fetching {self} did not end within its timeout"))
                    .help("if it may take longer, give the resource a longer `timeout`"));
            }
        }
    }
}

/// What came is not what was declared. Shows both sums.
pub fn mismatch(what: &impl fmt::Display, found: &Checksum, wanted: &Checksum) -> Failure {
    Failure::new(format!("{what} has the checksum {found}, and {wanted} is declared: nothing was changed")).help(
        "it was changed where it lies, or on the way: if the new one is what you want, correct `checksum`",
    )
}

/// Without user and query, which may be secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Url::File(path) => write!(f, "file://{path}"),
            Url::Web { uri, .. } => {
                let authority = uri.authority().map_or("", |authority| authority.as_str());
                write!(f, "{}://{authority}{}", uri.scheme_str().unwrap_or_default(), uri.path())?;
                if uri.query().is_some() { f.write_str("?…") } else { Ok(()) }
            }
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The URL without what stands before an `@` in its authority, and that.
pub fn without_user(text: &str) -> (String, Option<&str>) {
    let Some((scheme, rest)) = text.split_once("://") else { return (text.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => (format!("{scheme}://{host}{}", &rest[end..]), Some(user)),
        None => (text.to_owned(), None),
    }
}

/// `%20` as what it stands for; None where it is no UTF-8 or no escape.
pub fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = more;
            continue;
        }
        let digits = std::str::from_utf8(more.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &more[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_what_may_be_secret() {
        for (text, shown) in [
            ("https://host/a/b.tgz", "https://host/a/b.tgz"),
            ("http://host:8080", "http://host:8080/"),
            ("https://me:pa%40ss@host/a?token=x#y", "https://host/a?…"),
            ("file:///srv/a%20b", "file:///srv/a b"),
            ("file://localhost/srv/a", "file:///srv/a"),
            (" http://[::1]:80/x ", "http://[::1]:80/x"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), shown, "{text}");
        }
        let Url::Web { authorization, .. } = Url::parse("https://me:pa%40ss@host/a").unwrap() else {
            panic!()
        };
        assert_eq!(authorization.unwrap().to_str().unwrap(), "Basic bWU6cGFAc3M=");
    }

    #[test]
    fn what_is_no_url_says_so_and_shows_no_password() {
        for text in [
            "host/a",
            "ftp://host/a",
            "https://",
            "https://:80/",
            "https://host:99999/",
            "https://host/a b",
            "file://host/a",
            "file:///a/../b",
            "https://me:secret word@host name/",
            "https://me:%zz@host/",
            "",
        ] {
            let (what, help) = Url::parse(text).expect_err(text);
            assert!(help.contains("https://host/path"), "{text}: {help}");
            assert!(!what.contains("secret"), "{what}");
        }
    }
}
