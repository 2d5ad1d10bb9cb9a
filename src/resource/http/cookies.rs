//! Cookies, as RFC 6265 has browsers keep them, from one request of a journey to the next.

use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Uri};

/// One cookie.
#[derive(Clone, Debug, PartialEq)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Without a `Domain`: for the host that set it alone.
    is_host_only: bool,
    path: String,
    is_secure: bool,
    /// None: until the journey ends.
    expires: Option<SystemTime>,
}

/// The cookies of one journey, in the order in which they came.
#[derive(Default)]
pub struct Jar(Vec<Cookie>);

/// What of the jar goes with a request.
#[derive(Default)]
pub struct Fitting {
    /// The header's value; empty where there is nothing to send.
    pub header: String,
    pub names: Vec<String>,
    /// Those that would be sent over https, and this is http.
    pub withheld: Vec<String>,
}

impl Jar {
    /// Takes what an answer of `uri` sets.
    pub fn take(&mut self, uri: &Uri, headers: &HeaderMap, now: SystemTime) {
        for header in headers.get_all("set-cookie") {
            let text = String::from_utf8_lossy(header.as_bytes());
            let Some(cookie) = read(&text, uri, now) else { continue };
            let is_same = |there: &Cookie| {
                (&there.name, &there.domain, &there.path) == (&cookie.name, &cookie.domain, &cookie.path)
            };
            let place = self.0.iter().position(is_same);
            let is_over = cookie.expires.is_some_and(|end| end <= now);
            match place {
                Some(place) if is_over => drop(self.0.remove(place)),
                Some(place) => self.0[place] = cookie,
                None if is_over => {}
                None => self.0.push(cookie),
            }
        }
    }

    /// What goes with a request to `uri`.
    pub fn fitting(&self, uri: &Uri, now: SystemTime) -> Fitting {
        let (host, path) = (host(uri), uri.path());
        let mut found: Vec<&Cookie> = self.0.iter().filter(|cookie| cookie.fits(&host, path, now)).collect();
        // Longer paths first; of one length, as they came.
        found.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let is_private = uri.scheme_str() == Some("https") || is_this_machine(&host);
        let (sent, withheld): (Vec<&Cookie>, Vec<&Cookie>) =
            found.into_iter().partition(|cookie| is_private || !cookie.is_secure);
        let names = |cookies: &[&Cookie]| cookies.iter().map(|cookie| cookie.name.clone()).collect();
        let pairs: Vec<String> =
            sent.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        Fitting { header: pairs.join("; "), names: names(&sent), withheld: names(&withheld) }
    }
}

impl Cookie {
    fn fits(&self, host: &str, path: &str, now: SystemTime) -> bool {
        let is_of_host = match self.is_host_only {
            true => self.domain == host,
            false => is_within(host, &self.domain),
        };
        is_of_host && path_fits(path, &self.path) && self.expires.is_none_or(|end| end > now)
    }
}

/// Section 5.2: what is not understood is left out, and the rest still counts. None: it is to be
/// ignored.
fn read(text: &str, uri: &Uri, now: SystemTime) -> Option<Cookie> {
    let mut parts = text.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let host = host(uri);
    let mut cookie = Cookie {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
        domain: host.clone(),
        is_host_only: true,
        path: default_path(uri.path()).to_owned(),
        is_secure: false,
        expires: None,
    };
    if cookie.name.is_empty() {
        return None;
    }
    let mut max_age = None;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "domain" if !value.trim_start_matches('.').is_empty() => {
                cookie.domain = value.trim_start_matches('.').to_ascii_lowercase();
                cookie.is_host_only = false;
            }
            "path" if value.starts_with('/') => cookie.path = value.to_owned(),
            "secure" => cookie.is_secure = true,
            "max-age" => max_age = end_of(value, now).or(max_age),
            "expires" => cookie.expires = date(value).or(cookie.expires),
            // HttpOnly is for scripts, SameSite for what other sites begin: there is neither here.
            _ => {}
        }
    }
    cookie.expires = max_age.or(cookie.expires);
    if !cookie.is_host_only {
        // A whole top-level domain is nobody's; an address or a bare name is a host and no domain.
        let is_one_label = !cookie.domain.contains('.');
        let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        if (is_one_label || is_address) && cookie.domain == host {
            cookie.is_host_only = true;
        } else if is_one_label || is_address || !is_within(&host, &cookie.domain) {
            return None;
        }
    }
    Some(cookie)
}

/// `Max-Age`: None where it is no number.
fn end_of(text: &str, now: SystemTime) -> Option<SystemTime> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.starts_with('-') {
        return Some(SystemTime::UNIX_EPOCH);
    }
    // More than fits is for ever.
    let seconds = digits.parse().unwrap_or(u64::from(u32::MAX)).min(u32::MAX.into());
    now.checked_add(Duration::from_secs(seconds))
}

/// Section 5.1.1: the parts of a date in whatever order and with whatever between them.
fn date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let is_part = |c: char| c.is_alphanumeric() || c == ':';
    for token in text.split(|c| !is_part(c)).filter(|token| !token.is_empty()) {
        let number: Option<i16> = token.parse().ok();
        let parts: Vec<Option<i8>> = token.split(':').map(|part| part.parse().ok()).collect();
        if let ([Some(hour), Some(minute), Some(second)], None) = (parts.as_slice(), time) {
            time = Some((*hour, *minute, *second));
        } else if let (Some(number), true, None) = (number, token.len() <= 2, day) {
            day = i8::try_from(number).ok();
        } else if let (Some(at), None) = (
            MONTHS.iter().position(|name| token.get(..3).is_some_and(|t| t.eq_ignore_ascii_case(name))),
            month,
        ) {
            month = i8::try_from(at + 1).ok();
        } else if let (Some(number), None) = (number, year) {
            year = Some(match number {
                0..70 => number + 2000,
                70..100 => number + 1900,
                whole => whole,
            });
        }
    }
    let (hour, minute, second) = time?;
    let moment = jiff::civil::DateTime::new(year?, month?, day?, hour, minute, second, 0).ok()?;
    let seconds = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    match u64::try_from(seconds) {
        Ok(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        Err(_) => Some(SystemTime::UNIX_EPOCH),
    }
}

fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_ascii_lowercase()
}

/// Browsers send `Secure` cookies there without TLS too: nobody is in between.
fn is_this_machine(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
}

/// Section 5.1.3.
fn is_within(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Section 5.1.4.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

fn path_fits(path: &str, cookie: &str) -> bool {
    path == cookie
        || path.strip_prefix(cookie).is_some_and(|rest| cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    /// What `to` is sent after `from` has set these.
    fn sent(from: &str, set: &[&str], to: &str) -> String {
        let mut jar = Jar::default();
        for one in set {
            let mut headers = HeaderMap::new();
            headers.append("set-cookie", HeaderValue::from_str(one).unwrap());
            jar.take(&uri(from), &headers, now());
        }
        jar.fitting(&uri(to), now()).header
    }

    #[test]
    fn a_cookie_goes_where_its_attributes_say() {
        let (shop, login) = ("https://shop.example.com/a/login", "https://shop.example.com/a/login");
        let table: &[(&[&str], &str, &str)] = &[
            (&["s=1"], "https://shop.example.com/a/x", "s=1"),
            (&["s=1"], "https://shop.example.com/a", "s=1"),
            (&["s=1"], "https://shop.example.com/b", ""),
            (&["s=1; Path=/"], "https://shop.example.com/b", "s=1"),
            (&["s=1; Path=/b"], "https://shop.example.com/bc", ""),
            (&["s=1; Path=/b"], "https://shop.example.com/b/c", "s=1"),
            (&["s=1; path=b"], login, "s=1"),
            (&["s=1; Path=/"], "https://example.com/", ""),
            (&["s=1; Path=/"], "https://www.shop.example.com/", ""),
            (&["s=1; Path=/; Domain=example.com"], "https://www.example.com/", "s=1"),
            (&["s=1; Path=/; Domain=.Example.COM"], "https://example.com/", "s=1"),
            (&["s=1; Path=/; Domain=example.com"], "https://badexample.com/", ""),
            (&["s=1; Domain=other.com"], login, ""),
            (&["s=1; Domain=com"], login, ""),
            (&["s=1; Domain="], login, "s=1"),
            (&["s=1; Path=/; Secure"], "http://shop.example.com/", ""),
            (&["s=1; Path=/; secure; HttpOnly; SameSite=Lax"], "https://shop.example.com/", "s=1"),
            (&["s=1", "s=2"], login, "s=2"),
            (&["s=1", "t=2", "s=3"], login, "s=3; t=2"),
            (&["s=1; Path=/", "s=2; Path=/a"], login, "s=2; s=1"),
            (&["s=1", "s=; Max-Age=0"], login, ""),
            (&["s=1", "s=x; Max-Age=-1"], login, ""),
            (&["s=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], login, "s=1"),
            (&["s=1", "s=x; expires=Thu, 01-Jan-1970 00:00:01 GMT"], login, ""),
            (&["s=1; Expires=Wed, 15 Nov 2023 00:00:00 GMT"], login, "s=1"),
            (&["s=1; Expires=soon"], login, "s=1"),
            (&["s=1; Max-Age=soon"], login, "s=1"),
            (&["s=a=b==; x"], login, "s=a=b=="),
            (&["s=\"a b\""], login, "s=\"a b\""),
            (&["noequals", "=novalue", ""], login, ""),
        ];
        for (set, to, wanted) in table {
            assert_eq!(sent(shop, set, to), *wanted, "{set:?} to {to}");
        }
    }

    #[test]
    fn a_secure_cookie_is_withheld_from_http_and_that_is_known_but_not_on_this_machine() {
        let mut jar = Jar::default();
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("s=1; Secure"));
        jar.take(&uri("https://a.example/"), &headers, now());
        let fitting = jar.fitting(&uri("http://a.example/"), now());
        assert_eq!((fitting.header.as_str(), fitting.withheld), ("", vec!["s".to_owned()]));
        for here in ["http://localhost:8000/", "http://127.0.0.1/", "http://[::1]:80/"] {
            assert_eq!(sent(here, &["s=1; Secure"], here), "s=1", "{here}");
        }
        assert_eq!(sent("http://10.0.0.1/", &["s=1; Domain=10.0.0.1"], "http://10.0.0.1/"), "s=1");
        assert_eq!(sent("http://10.0.0.1/", &["s=1; Domain=0.0.1"], "http://10.0.0.1/"), "");
    }

    #[test]
    fn dates_are_read_as_servers_write_them() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "06 November 1994 08:49:37",
        ] {
            let read = date(text).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(read.as_secs(), 784_111_777, "{text}");
        }
        for text in ["", "tomorrow", "Sun, 31 Feb 1994 08:49:37 GMT", "06 Nov 1994", "06 Nov 1994 25:00:00"] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
