//! Servers for the tests, in this process: they do as they are told, wrong things among it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Calls `serve` for each connection; its end is the tests' end.
pub fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of a request.
pub fn head(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A request's head and body.
pub fn request(stream: &mut impl Read) -> (String, String) {
    let head = head(stream);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Answers with what `answer` makes of a request's first line, head and body.
pub fn serving(answer: impl Fn(&str, &str, &str) -> String + Send + Sync + 'static) -> SocketAddr {
    listen(move |mut stream| {
        let (head, body) = request(&mut stream);
        let first = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
        drop(stream.write_all(answer(first, &head, &body).as_bytes()));
    })
}

/// Answers every request with these bytes, then closes.
pub fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    listen(move |mut stream| {
        head(&mut stream);
        // A client that has seen enough closes first.
        drop(stream.write_all(&answer));
    })
}

pub fn page(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nServer: test/1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A page in HTML, with more headers.
pub fn html(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// Answers with the request's own head.
pub fn echoing() -> SocketAddr {
    listen(|mut stream| {
        let head = head(&mut stream);
        drop(stream.write_all(page("200 OK", &head).as_bytes()));
    })
}

/// Reads the request and says nothing for longer than any test waits.
pub fn hung() -> SocketAddr {
    listen(|mut stream| {
        head(&mut stream);
        thread::sleep(Duration::from_secs(30));
    })
}

/// A CA, and the certificates it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the tests' CA");
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server on localhost that shows a certificate for `name`, valid from so many seconds
    /// from now to so many.
    pub fn serve(&self, name: &str, from: i64, to: i64) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, from, to).signed_by(&key, &self.issuer).unwrap();
        serve_tls(certificate.der().clone(), &key)
    }
}

/// A server whose certificate is signed by nobody else, and that certificate; a CA to itself, as
/// `openssl req -x509` makes them, or not.
pub fn self_signed(is_ca: bool, to: i64) -> (SocketAddr, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = params("localhost", -90 * 86_400, to);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let certificate = params.self_signed(&key).unwrap();
    (serve_tls(certificate.der().clone(), &key), certificate.pem())
}

fn params(name: &str, from: i64, to: i64) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let at = |offset: i64| {
        (std::time::UNIX_EPOCH + Duration::from_secs((now + offset).try_into().unwrap())).into()
    };
    (params.not_before, params.not_after) = (at(from), at(to));
    params
}

fn serve_tls(certificate: CertificateDer<'static>, key: &KeyPair) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let config = Arc::new(config);
    listen(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        if !head(&mut stream).is_empty() {
            drop(stream.write_all(page("200 OK", "over TLS").as_bytes()));
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
    })
}
