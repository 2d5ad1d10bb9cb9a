mod journey;
mod server;
mod tls;

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use server::{answering, echoing, head, hung, listen, page};

fn http(address: impl std::fmt::Display, attributes: Value) -> Http {
    let mut item = attributes;
    item["http"] = json!(format!("{address}"));
    let http: Http = serde_json::from_value(item).unwrap();
    assert_eq!(http, serde_json::from_str(&serde_json::to_string(&http).unwrap()).unwrap());
    assert_eq!(http.validate(), []);
    http
}

fn check(address: SocketAddr, attributes: Value) -> Check {
    http(format!("http://{address}/"), attributes).check(&System::machine()).unwrap()
}

fn waiting(check: Check) -> Waiting {
    match check {
        Check::Waits(waiting) => {
            assert!(!waiting.passing && !waiting.reason.contains('\n'), "{waiting:?}");
            waiting
        }
        other => panic!("it does not wait: {other:?}"),
    }
}

fn reason(check: Check) -> String {
    waiting(check).reason
}

#[test]
fn without_status_any_of_the_two_hundreds_is_right() {
    for (status, is_right) in
        [("200 OK", true), ("204 No Content", true), ("304 Not Modified", false), ("404 X", false)]
    {
        let check = check(answering(page(status, "")), json!({}));
        assert_eq!(check == Check::Holds, is_right, "{status}");
    }
}

#[test]
fn another_status_is_told_with_what_was_wanted_and_what_came() {
    let server = answering(page("502 Bad Gateway", "<h1>upstream is down</h1>"));
    let seen = waiting(check(server, json!({"status": 200, "body_contains": "Welcome"})));
    assert_eq!(seen.reason, "status 502, wanted 200");
    let texts: Vec<_> = seen.details.iter().map(|detail| (&*detail.title, &*detail.text)).collect();
    assert_eq!(texts, [("response headers", "server: test/1"), ("body", "<h1>upstream is down</h1>")]);
    assert_eq!(reason(check(server, json!({"status": [200, 401]}))), "status 502, wanted 200 or 401");
    assert_eq!(reason(check(server, json!({}))), "status 502, wanted 200 to 299");
    assert_eq!(check(server, json!({"status": [200, 502]})), Check::Holds);
}

#[test]
fn a_redirect_says_where_it_points_and_how_to_take_it() {
    let there = answering(page("200 OK", "there"));
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: http://{there}/login\r\nContent-Length: 0\r\n\r\n");
    let here = answering(answer);
    let seen = waiting(check(here, json!({"status": 200})));
    assert_eq!(seen.reason, format!("status 302 to http://{there}/login, wanted 200"));
    let help = "set `follow: true` to judge where it leads, or `status: 302`";
    assert_eq!(seen.help.as_deref(), Some(help));
    assert_eq!(check(here, json!({"status": 302})), Check::Holds);
    assert_eq!(check(here, json!({"status": 200, "follow": true, "body_contains": "there"})), Check::Holds);
}

#[test]
fn a_ring_of_redirects_ends() {
    let ring = listen(|mut stream| {
        head(&mut stream);
        let _ = stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    });
    assert_eq!(reason(check(ring, json!({"follow": true}))), "more than 10 redirects");
}

#[test]
fn what_the_body_must_hold() {
    let server = answering(page("200 OK", "Welcome,\nfriend"));
    let table = [
        (json!({"body_contains": "Welcome"}), None),
        (json!({"body_contains": "Goodbye"}), Some("the body does not contain \"Goodbye\"")),
        (json!({"body_matches": "(?m)^fr.end$"}), None),
        (json!({"body_matches": "^friend$"}), Some("the body does not match `^friend$`")),
        (
            json!({"body_contains": "a\nb", "body_matches": "x"}),
            Some("the body does not contain \"a\\nb\"; the body does not match `x`"),
        ),
    ];
    for (attributes, wanted) in table {
        match (check(server, attributes.clone()), wanted) {
            (Check::Holds, None) => {}
            (check, Some(wanted)) => assert_eq!(reason(check), wanted),
            (check, None) => panic!("{attributes}: {check:?}"),
        }
    }
}

#[test]
fn values_in_json_are_compared_as_values() {
    let server = answering(page("200 OK", r#"{"status":"up","nodes":[{"load":1.0,"tags":["a"]}]}"#));
    for good in [
        json!({"/status": "up"}),
        json!({"/nodes/0/load": 1}),
        json!({"/nodes/0": {"tags": ["a"], "load": 1.0}}),
    ] {
        assert_eq!(check(server, json!({"json": good})), Check::Holds, "{good}");
    }
    let table = [
        (json!({"/status": "down"}), r#"JSON /status is "up", wanted "down""#),
        (json!({"/nodes/0/load": "1"}), r#"JSON /nodes/0/load is 1.0, wanted "1""#),
        (json!({"/nodes/1": null}), "JSON /nodes/1 is not there, wanted null"),
    ];
    for (json, wanted) in table {
        assert_eq!(reason(check(server, json!({"json": json}))), wanted);
    }
    let page = answering(page("200 OK", "<html>"));
    assert!(reason(check(page, json!({"json": {"/a": 1}}))).starts_with("the body is no JSON: "));
}

#[test]
fn chunks_are_put_together_and_a_huge_body_is_cut_off() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nWel\r\n4\r\ncome\r\n0\r\n\r\n";
    assert_eq!(check(answering(chunks), json!({"body_contains": "Welcome"})), Check::Holds);
    let endless = listen(|mut stream| {
        head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert_eq!(check(endless, json!({"body_contains": "first"})), Check::Holds);
    let seen = waiting(check(endless, json!({"body_contains": "last"})));
    assert_eq!(seen.reason, "the body's first megabyte does not contain \"last\"");
    assert!(seen.details.iter().all(|detail| detail.text.len() <= 2048));
    assert_eq!(check(endless, json!({})), Check::Holds, "of whom nothing is expected is not read");
}

#[test]
fn what_is_no_text_is_not_shown() {
    let binary = [page("500 X", "").as_bytes().to_vec(), b"\x00\x01\x02".to_vec()].concat();
    let binary = String::from_utf8(binary).unwrap().replace("Length: 0", "Length: 3");
    let seen = waiting(check(answering(binary), json!({})));
    assert_eq!(seen.details.iter().map(|detail| &*detail.title).collect::<Vec<_>>(), ["response headers"]);
}

#[test]
fn a_server_that_hangs_costs_its_timeout_and_no_more() {
    for (timeout, left) in [("300ms", 60_000), ("10s", 300)] {
        let begun = Instant::now();
        let hung = http(format!("http://{}/", hung()), json!({"timeout": timeout}));
        let system = System::machine().within(Duration::from_millis(left));
        let seen = reason(hung.check(&system).unwrap());
        assert!(
            seen.starts_with("timed out after ") && seen.contains("waiting for the answer of 127."),
            "{seen}"
        );
        assert!(begun.elapsed() > Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn a_body_that_drips_or_breaks_off_is_told() {
    let drips = listen(|mut stream| {
        head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let seen = reason(check(drips, json!({"body_contains": "end", "timeout": "400ms"})));
    assert_eq!(seen, "the body did not end within 400ms; the body does not contain \"end\"");
    let cut = answering("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin");
    let seen = reason(check(cut, json!({"body_contains": "end"})));
    assert_eq!(seen, "the server closed the connection within the body; the body does not contain \"end\"");
}

#[test]
fn no_answer_is_told_by_its_kind() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(reason(check(port, json!({}))), format!("connection refused by {port}"));
    let closes = listen(|mut stream| drop(head(&mut stream)));
    assert_eq!(reason(check(closes, json!({}))), format!("{closes} closed the connection without an answer"));
    let seen = reason(check(answering("SSH-2.0-OpenSSH_9.9\r\n\r\n"), json!({})));
    assert!(seen.contains("does not answer in HTTP"), "{seen}");
    let unknown = http("http://no-such-host.invalid/", json!({})).check(&System::machine()).unwrap();
    let seen = reason(unknown);
    assert!(seen.starts_with("the name no-such-host.invalid does not resolve"), "{seen}");
}

#[test]
fn the_request_is_what_was_declared() {
    let url = format!("http://{}/path?q=1", echoing());
    let table = [
        (json!({}), vec!["GET /path?q=1 HTTP/1.1\r\n", "user-agent: converge/"]),
        (json!({"method": "post"}), vec!["POST /path", "content-length: 0\r\n"]),
        (json!({"method": "PURGE"}), vec!["PURGE /path"]),
        (
            json!({"headers": {"X-Probe": "1", "Host": "app.test"}}),
            vec!["x-probe: 1\r\n", "host: app.test\r\n"],
        ),
    ];
    for (attributes, parts) in table {
        for part in parts {
            let pattern = format!("(?i){}", regex::escape(part));
            let mut attributes = attributes.clone();
            attributes["body_matches"] = json!(pattern);
            assert_eq!(http(&url, attributes).check(&System::machine()), Ok(Check::Holds), "{part}");
        }
    }
}

#[test]
fn resolve_connects_elsewhere_and_still_asks_for_the_host() {
    let server = echoing();
    let attributes = json!({"resolve": server.to_string(), "body_contains": "app.invalid"});
    let elsewhere = http("http://app.invalid/", attributes);
    assert_eq!(elsewhere.check(&System::machine()), Ok(Check::Holds));
    let attributes = json!({"resolve": "127.0.0.1", "body_contains": "app.invalid"});
    let its_own_port = http(format!("http://app.invalid:{}/", server.port()), attributes);
    assert_eq!(its_own_port.check(&System::machine()), Ok(Check::Holds));
}

#[test]
fn what_cannot_be_asked_is_refused_when_the_spec_is_read() {
    for wrong in [
        json!({"body_matches": "("}),
        json!({"status": 20}),
        json!({"status": "2xx"}),
        json!({"status": []}),
        json!({"resolve": "localhost"}),
        json!({"ca_file": "ca.pem"}),
        json!({"expect": 200}),
    ] {
        let mut item = wrong.clone();
        item["http"] = json!("http://localhost/");
        assert!(serde_json::from_value::<Http>(item).is_err(), "{wrong}");
    }
    let table = [
        (json!({"http": "localhost:8080"}), "http"),
        (json!({"http": "ftp://localhost/"}), "http"),
        (json!({"http": "http://a b/"}), "http"),
        (json!({"http": "http:///path"}), "http"),
        (json!({"http": "http://host:0/"}), "http"),
        (json!({"http": "http://host:99999/"}), "http"),
        (json!({"http": "http://me:secret@host/"}), "http"),
        (json!({"http": "http://host/", "method": "GE T"}), "method"),
        (json!({"http": "http://host/", "method": "head", "body_contains": "x"}), "method"),
        (json!({"http": "http://host/", "headers": {"A b": "c"}}), "headers"),
        (json!({"http": "http://host/", "headers": {"A": "c\nd"}}), "headers"),
        (json!({"http": "http://host/", "json": {"status": "up"}}), "json"),
        (json!({"http": "http://host/", "timeout": "0"}), "timeout"),
        (json!({"http": "http://host/", "tls_expires_after": "7d"}), "tls_expires_after"),
        (json!({"http": "https://host/", "insecure": true, "ca_file": "/ca.pem"}), "ca_file"),
    ];
    for (item, attribute) in table {
        let http: Http = serde_json::from_value(item.clone()).unwrap();
        let said: Vec<_> = http.validate().iter().map(|invalid| invalid.attribute).collect();
        assert_eq!(said, [attribute], "{item}");
    }
}
