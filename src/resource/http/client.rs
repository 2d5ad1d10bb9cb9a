//! One exchange with a server, within its time, and what went wrong in a person's words.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, NextTimeout, TcpConnector};
use ureq::{Agent, Error, config::Config};

use super::tls::TlsConnector;
use super::trust::{self, Trust};
use crate::attribute::Span;
use crate::resource::{Failure, io_words};

/// How a request is to be made, beside what it says.
pub struct Way {
    /// Of the whole exchange: name, connection, answer, what is read of the body, and the same
    /// again where redirects are followed.
    pub timeout: Duration,
    /// The host of the URL, and the address to connect to instead of its own.
    pub instead: Option<(String, IpAddr, Option<u16>)>,
    pub trust: Arc<Trust>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    body: ureq::Body,
    timeout: Duration,
}

/// There was no answer.
pub struct Trouble {
    pub reason: String,
    pub help: Option<String>,
}

impl Trouble {
    pub fn new(reason: String) -> Self {
        Trouble { reason, help: None }
    }
}

/// How far it came, for errors that do not say.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Stage {
    #[default]
    Name,
    Connection,
    Handshake,
    Answer,
}

#[derive(Debug, Default)]
pub struct Witness(Mutex<(Stage, String, Vec<SocketAddr>)>);

impl Witness {
    pub fn reach(&self, stage: Stage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = stage;
    }

    fn begin(&self, host: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (Stage::Name, host.to_owned(), Vec::new());
    }

    fn resolved(&self, addresses: &[SocketAddr]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0 = Stage::Connection;
        for address in addresses {
            if !seen.2.contains(address) {
                seen.2.push(*address);
            }
        }
    }

    fn seen(&self) -> (Stage, String, String) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses: Vec<String> = seen.2.iter().map(SocketAddr::to_string).collect();
        (seen.0, seen.1.clone(), addresses.join(" and "))
    }
}

/// DNS, but for the one host that is looked for elsewhere.
#[derive(Debug)]
struct Names {
    instead: Option<(String, IpAddr, Option<u16>)>,
    witness: Arc<Witness>,
    system: DefaultResolver,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        self.witness.begin(host);
        let found = match &self.instead {
            Some((instead_of, address, port)) if instead_of == host => {
                let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
                let port = port.or(uri.port_u16()).unwrap_or(usual);
                let mut found = self.empty();
                found.push(SocketAddr::new(*address, port));
                found
            }
            _ => self.system.resolve(uri, config, timeout)?,
        };
        self.witness.resolved(&found);
        Ok(found)
    }
}

/// Sends one request. Err(Failure) is what no waiting can mend.
pub fn send(
    request: ureq::http::Request<Vec<u8>>,
    way: &Way,
    deadline: Instant,
) -> Result<Result<Answer, Trouble>, Failure> {
    let witness = Arc::new(Witness::default());
    let tls = TlsConnector::new(Arc::clone(&way.trust), Arc::clone(&witness), deadline);
    let tls = tls.map_err(|error| Failure::new(format!("TLS cannot be used: {error}")))?;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        // What the environment of an agent happens to say must not decide what is checked.
        .proxy(None)
        .user_agent(concat!("converge/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(Way::left(deadline)))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .build();
    let instead = way.instead.clone();
    let names = Names { instead, witness: Arc::clone(&witness), system: DefaultResolver::default() };
    let agent = Agent::with_parts(config, ().chain(TcpConnector::default()).chain(tls), names);
    let (parts, body) = request.into_parts();
    // A POST without a body says so: Content-Length: 0.
    let has_body = !body.is_empty() || matches!(parts.method.as_str(), "POST" | "PUT" | "PATCH");
    let answer = if !has_body {
        agent.run(ureq::http::Request::from_parts(parts, ()))
    } else {
        agent.run(ureq::http::Request::from_parts(parts, body))
    };
    Ok(match answer {
        Ok(answer) => {
            let (parts, body) = answer.into_parts();
            let (status, headers) = (parts.status.as_u16(), parts.headers);
            Ok(Answer { status, headers, body, timeout: way.timeout })
        }
        Err(error) => Err(Trouble {
            reason: told(&error, &witness, way.timeout).replace('\n', " "),
            help: match &error {
                Error::Rustls(_) if way.trust.believes_nobody() => Some(
                    "this host has no list of CAs: install `ca-certificates`, or name one with `ca_file`"
                        .into(),
                ),
                Error::Rustls(error) => trust::help(error),
                _ => None,
            },
        }),
    })
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    pub fn is_html(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"))
    }

    /// No more than `cap` bytes of the body, and why it is not whole, if it broke off.
    pub fn read(&mut self, cap: u64) -> (Vec<u8>, Option<String>) {
        let mut bytes = Vec::new();
        let broken = self.body.as_reader().take(cap).read_to_end(&mut bytes).err();
        let timeout = self.timeout;
        (bytes, broken.map(|error| body_words(error, timeout)))
    }

    /// All of the body, for what is not held in memory.
    pub fn reader(&mut self) -> impl Read + '_ {
        self.body.as_reader()
    }
}

/// Why a body is not whole.
pub fn body_words(error: std::io::Error, timeout: Duration) -> String {
    match Error::from(error) {
        Error::Timeout(_) => {
            format!("the body did not end within {}", Span::from(Duration::from_millis(millis(timeout))))
        }
        Error::Io(error) if is_cut(error.kind()) => "the server closed the connection within the body".into(),
        error => format!("the body broke off: {error}"),
    }
}

fn is_cut(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

fn told(error: &Error, witness: &Witness, timeout: Duration) -> String {
    let (stage, host, addresses) = witness.seen();
    match error {
        Error::Timeout(_) => {
            let doing = match stage {
                Stage::Name => format!("looking up {host}"),
                Stage::Connection => format!("connecting to {addresses}"),
                Stage::Handshake => format!("in the TLS handshake with {addresses}"),
                Stage::Answer => format!("waiting for the answer of {addresses}"),
            };
            format!("timed out after {}, {doing}", Span::from(Duration::from_millis(millis(timeout))))
        }
        Error::HostNotFound => format!("the name {host} does not resolve"),
        Error::Io(error) if stage == Stage::Name => {
            let words = io_words(error);
            let words = words.trim_start_matches("failed to lookup address information: ");
            format!("the name {host} does not resolve: {words}")
        }
        Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            format!("connection refused by {addresses}")
        }
        Error::Io(error) if stage == Stage::Connection => {
            format!("cannot connect to {addresses}: {}", io_words(error))
        }
        Error::Io(error) if is_cut(error.kind()) => match stage {
            Stage::Handshake => format!("TLS: {addresses} closed the connection in the handshake"),
            _ => format!("{addresses} closed the connection without an answer"),
        },
        Error::Io(error) => io_words(error),
        Error::Rustls(error) => trust::told(error, &host),
        Error::Tls(error) => format!("TLS: {error}"),
        Error::Protocol(error) => format!("{addresses} does not answer in HTTP: {error}"),
        other => other.to_string(),
    }
}

/// Whole milliseconds; what is left of an operation's time has many digits.
fn millis(duration: Duration) -> u64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis > 1_000 { millis.div_ceil(100) * 100 } else { millis }
}
