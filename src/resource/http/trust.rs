//! Which certificates are believed, and for how long they must still be good.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::attribute::{AbsPath, Span};
use crate::resource::{Failure, io_words};
use crate::system::System;

/// Where systems keep the CAs they trust: Debian and Alpine, Fedora, the BSDs.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Judges the certificates of one check.
#[derive(Debug)]
pub struct Trust {
    authorities: RootCertStore,
    /// The certificates of `ca_file`: a server may show one of them as its own.
    pinned: Vec<CertificateDer<'static>>,
    insecure: bool,
    must_last: Option<Span>,
    algorithms: WebPkiSupportedAlgorithms,
    complaints: Mutex<Vec<String>>,
}

impl Trust {
    /// Believes everything.
    pub fn insecure(must_last: Option<Span>) -> Trust {
        Trust { insecure: true, ..Trust::of(Vec::new(), must_last) }
    }

    /// Believes what `ca_file` holds, and nothing else.
    pub fn of_file(system: &System, path: &AbsPath, must_last: Option<Span>) -> Result<Trust, Failure> {
        let bytes = std::fs::read(system.locate(path))
            .map_err(|error| Failure::io(format!("reading `ca_file` {path}"), &error))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let wrong = |what: String| {
            Failure::new(format!("`ca_file` {path} {what}"))
                .help("it must hold certificates in PEM: -----BEGIN CERTIFICATE-----")
        };
        let certificates = certificates.map_err(|error| wrong(format!("is broken: {error}")))?;
        if certificates.is_empty() {
            return Err(wrong("holds no certificate".to_owned()));
        }
        if let Some(error) = certificates.iter().find_map(|der| ParsedCertificate::try_from(der).err()) {
            return Err(wrong(format!("holds a certificate that cannot be read: {error}")));
        }
        Ok(Trust { pinned: certificates.clone(), ..Trust::of(certificates, must_last) })
    }

    /// Believes whom this host trusts; nobody, where it has no list of CAs.
    pub fn of_system(system: &System, must_last: Option<Span>) -> Result<Trust, Failure> {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let usual = BUNDLES.iter().filter_map(|path| path.parse().ok()).map(|path| system.locate(&path));
        for path in named.into_iter().chain(usual) {
            match std::fs::read(&path) {
                // One that cannot be read is no reason to do without the others.
                Ok(bytes) => {
                    let certificates = CertificateDer::pem_slice_iter(&bytes).flatten().collect();
                    return Ok(Trust::of(certificates, must_last));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let tried =
                        format!("reading the CA certificates {}: {}", path.display(), io_words(&error));
                    return Err(Failure::new(tried));
                }
            }
        }
        Ok(Trust::of(Vec::new(), must_last))
    }

    fn of(certificates: Vec<CertificateDer<'static>>, must_last: Option<Span>) -> Trust {
        let mut authorities = RootCertStore::empty();
        authorities.add_parsable_certificates(certificates);
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let complaints = Mutex::default();
        Trust { authorities, pinned: Vec::new(), insecure: false, must_last, algorithms, complaints }
    }

    pub fn believes_nobody(&self) -> bool {
        !self.insecure && self.authorities.is_empty() && self.pinned.is_empty()
    }

    /// What is wrong with certificates that were believed: they expire too soon.
    pub fn complaints(self: &Arc<Self>) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn chain_holds(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(shown)?;
        let judged = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.authorities,
            intermediates,
            at,
            self.algorithms.all,
        );
        match judged {
            // webpki refuses a self-signed certificate that is its own CA, even where it is the
            // one that is trusted. It looks at the dates before it looks at that.
            Err(error) if self.pinned.iter().any(|pinned| pinned == shown) && !is_of_time(&error) => Ok(()),
            judged => judged,
        }
    }

    /// The certificate is believed now; is it still good when `tls_expires_after` is over?
    fn lasts(&self, shown: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) {
        let Some(must_last) = self.must_last else { return };
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + must_last.get());
        let complaint = match self.chain_holds(shown, intermediates, then) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                format!("{}, wanted {must_last} left", expiry(not_after, now))
            }
            Err(Error::InvalidCertificate(CertificateError::BadEncoding)) => {
                "the certificate cannot be read: its expiry is not known".to_owned()
            }
            // Only with `insecure`, where nothing but the date is asked for.
            _ => return,
        };
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
    }
}

fn is_of_time(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        Error::InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
    )
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.insecure {
            self.chain_holds(shown, intermediates, now)?;
            verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        }
        self.lasts(shown, intermediates, now);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.insecure {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => verify_tls12_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.insecure {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => verify_tls13_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What is wrong, in an operator's words.
pub fn told(error: &Error, host: &str) -> String {
    use CertificateError as Wrong;
    match error {
        Error::InvalidCertificate(wrong) => match wrong {
            Wrong::ExpiredContext { time, not_after } => expiry(*not_after, *time),
            Wrong::NotValidYetContext { not_before, .. } => {
                format!("the certificate is not valid before {}", date(*not_before))
            }
            // A bad signature: by a CA of the same name, with another key.
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                format!("TLS: the certificate of {host} is not signed by a CA that is trusted here")
            }
            Wrong::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                format!("TLS: the certificate names no host, so it is not for {host}")
            }
            Wrong::NotValidForNameContext { presented, .. } => {
                format!(
                    "TLS: the certificate is for {}, not for {host}",
                    presented.join(", ").replace("DnsName(\"", "").replace("\")", "")
                )
            }
            Wrong::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                format!("TLS: the certificate of {host} is self-signed and not trusted here")
            }
            other => format!("TLS: the certificate of {host} is not accepted: {other}"),
        },
        Error::InvalidMessage(_) => format!("TLS: {host} does not speak TLS on this port"),
        Error::AlertReceived(alert) => format!("TLS: {host} broke off the handshake: {alert:?}"),
        other => format!("TLS: {other}"),
    }
}

/// The way out of what `told` tells.
pub fn help(error: &Error) -> Option<String> {
    let Error::InvalidCertificate(wrong) = error else { return None };
    let is_untrusted = match wrong {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => true,
        CertificateError::Other(other) => format!("{other:?}").contains("CaUsedAsEndEntity"),
        _ => false,
    };
    is_untrusted.then(|| "name the CA's certificate with `ca_file`".to_owned())
}

fn expiry(not_after: UnixTime, now: UnixTime) -> String {
    let (end, now) = (not_after.as_secs(), now.as_secs());
    let date = date(not_after);
    if end < now {
        format!("the certificate expired {} ago ({date})", length(now - end))
    } else {
        format!("the certificate expires in {} ({date})", length(end - now))
    }
}

fn date(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(second).map_or_else(|_| "?".to_owned(), |t| t.strftime("%Y-%m-%d").to_string())
}

/// In the unit that one would say.
fn length(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
