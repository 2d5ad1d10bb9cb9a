//! Certificates: believed or not, and how long they last.

use super::server::{Authority, answering, hung, page, self_signed};
use super::*;

const DAY: i64 = 86_400;

/// The check, with the CA in a file of its own root.
fn check(server: SocketAddr, ca: &str, attributes: Value) -> Check {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("ca.pem"), ca).unwrap();
    let mut attributes = attributes;
    if attributes.get("insecure").is_none() {
        attributes["ca_file"] = json!("/ca.pem");
    }
    let http = http(format!("https://localhost:{}/", server.port()), attributes);
    http.check(&System::under(root.path())).unwrap()
}

#[test]
fn a_certificate_of_the_ca_in_ca_file_is_believed_and_no_other() {
    let ca = Authority::new();
    let server = ca.serve("localhost", -DAY, 90 * DAY);
    assert_eq!(check(server, &ca.pem(), json!({"body_contains": "over TLS"})), Check::Holds);
    let seen = waiting(check(server, &Authority::new().pem(), json!({})));
    assert_eq!(seen.reason, "TLS: the certificate of localhost is not signed by a CA that is trusted here");
    assert_eq!(seen.help.as_deref(), Some("name the CA's certificate with `ca_file`"));
    assert_eq!(check(server, "", json!({"insecure": true})), Check::Holds);
}

#[test]
fn without_ca_file_the_hosts_own_list_is_asked() {
    let ca = Authority::new();
    let server = ca.serve("localhost", -DAY, 90 * DAY);
    let http = http(format!("https://localhost:{}/", server.port()), json!({}));
    let root = tempfile::tempdir().unwrap();
    let system = System::under(root.path());
    let seen = waiting(http.check(&system).unwrap());
    if std::env::var_os("SSL_CERT_FILE").is_none() {
        assert!(seen.help.unwrap().contains("install `ca-certificates`"));
        std::fs::create_dir_all(root.path().join("etc/ssl/certs")).unwrap();
        std::fs::write(root.path().join("etc/ssl/certs/ca-certificates.crt"), ca.pem()).unwrap();
        assert_eq!(http.check(&system), Ok(Check::Holds));
    }
}

#[test]
fn an_expired_certificate_says_when_it_expired() {
    let ca = Authority::new();
    let server = ca.serve("localhost", -90 * DAY, -3 * DAY - 60);
    let seen = reason(check(server, &ca.pem(), json!({})));
    assert!(seen.starts_with("the certificate expired 3 days ago (20"), "{seen}");
    assert_eq!(check(server, "", json!({"insecure": true})), Check::Holds);
    let early = ca.serve("localhost", DAY, 90 * DAY);
    let seen = reason(check(early, &ca.pem(), json!({})));
    assert!(seen.starts_with("the certificate is not valid before 20"), "{seen}");
}

#[test]
fn a_certificate_that_expires_soon_is_told_where_that_is_asked_for() {
    let ca = Authority::new();
    let server = ca.serve("localhost", -DAY, 5 * DAY + 60);
    assert_eq!(check(server, &ca.pem(), json!({})), Check::Holds);
    assert_eq!(check(server, &ca.pem(), json!({"tls_expires_after": "4d"})), Check::Holds);
    for attributes in [json!({}), json!({"insecure": true})] {
        let mut attributes = attributes;
        attributes["tls_expires_after"] = json!("14d");
        let seen = reason(check(server, &ca.pem(), attributes.clone()));
        assert!(seen.starts_with("the certificate expires in 5 days (20"), "{seen}");
        assert!(seen.ends_with("), wanted 14d left"), "{seen}");
        attributes["status"] = json!(404);
        let seen = reason(check(server, &ca.pem(), attributes));
        assert!(seen.starts_with("status 200, wanted 404; the certificate expires in 5 days"), "{seen}");
    }
}

#[test]
fn a_certificate_for_another_name_says_for_which() {
    let ca = Authority::new();
    let server = ca.serve("other.example", -DAY, 90 * DAY);
    let seen = reason(check(server, &ca.pem(), json!({})));
    assert_eq!(seen, "TLS: the certificate is for other.example, not for localhost");
    let address = http(format!("https://127.0.0.1:{}/", server.port()), json!({"insecure": true}));
    assert_eq!(address.check(&System::machine()), Ok(Check::Holds));
}

#[test]
fn a_self_signed_certificate_is_believed_where_it_is_the_ca_file() {
    for is_ca in [true, false] {
        let (server, pem) = self_signed(is_ca, 5 * DAY + 60);
        assert_eq!(check(server, &pem, json!({})), Check::Holds, "a CA to itself: {is_ca}");
        let seen = reason(check(server, &pem, json!({"tls_expires_after": "14d"})));
        assert!(seen.starts_with("the certificate expires in 5 days"), "{seen}");
        let (other, _) = self_signed(is_ca, 5 * DAY);
        let seen = waiting(check(other, &pem, json!({})));
        assert!(seen.reason.starts_with("TLS: the certificate of localhost is "), "{}", seen.reason);
        assert_eq!(seen.help.as_deref(), Some("name the CA's certificate with `ca_file`"));
        let (expired, pem) = self_signed(is_ca, -3 * DAY - 60);
        assert!(reason(check(expired, &pem, json!({}))).starts_with("the certificate expired 3 days ago"));
    }
}

#[test]
fn who_does_not_speak_tls_is_told() {
    let plain = answering(page("400 Bad Request", ""));
    let seen = reason(check(plain, &Authority::new().pem(), json!({"timeout": "2s"})));
    assert!(seen.contains("TLS"), "{seen}");
    let silent =
        http(format!("https://localhost:{}/", hung().port()), json!({"timeout": "300ms", "insecure": true}));
    let begun = Instant::now();
    let seen = reason(silent.check(&System::machine()).unwrap());
    assert!(seen.starts_with("timed out after 300ms, in the TLS handshake with 127.0.0.1:"), "{seen}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_ca_file_that_is_none_is_a_failure_and_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let system = System::under(root.path());
    let https = http("https://localhost:1/", json!({"ca_file": "/ca.pem"}));
    assert_eq!(
        https.check(&system).unwrap_err().reason,
        "reading `ca_file` /ca.pem: No such file or directory"
    );
    for (text, said) in [
        ("no certificate at all", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "is broken"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "is broken"),
    ] {
        std::fs::write(root.path().join("ca.pem"), text).unwrap();
        let failure = https.check(&system).unwrap_err();
        assert!(failure.reason.contains(said), "{}", failure.reason);
        assert!(failure.help.unwrap().contains("PEM"));
    }
}
