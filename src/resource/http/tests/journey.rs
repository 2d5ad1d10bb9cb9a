//! `steps`: against servers in this process. A real login form is in tests/journey.rs.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Authority, echoing, html, page, serving};
use super::*;

const FORM: &str = "<form><input type=\"hidden\" name=\"csrf\" value=\"tok&#43;en&amp;1\"></form>";

/// A form, a session, an account; the session ends when it was looked at.
fn site() -> SocketAddr {
    serving(|first, head, body| {
        let has = |cookie: &str| head.to_lowercase().contains(cookie);
        match first {
            "GET /login" => html("200 OK", "Set-Cookie: visitor=v1; Path=/\r\n", FORM),
            "POST /login"
                if has("visitor=v1") && body == "csrf=tok%2Ben%261&email=a%40b.c&password=correct+horse" =>
            {
                html(
                    "303 See Other",
                    "Location: /account\r\nSet-Cookie: session=s1; HttpOnly; Path=/\r\n",
                    "",
                )
            }
            "POST /login" => html("403 Forbidden", "", &format!("<h1>Refused</h1>{body}")),
            "GET /account" if has("session=s1") => html("200 OK", "", "<h1>Welcome a@b.c</h1>"),
            "GET /account" => html("303 See Other", "Location: /login\r\n", ""),
            "GET /logout" => {
                html("302 Found", "Location: /\r\nSet-Cookie: session=; Max-Age=0; Path=/\r\n", "")
            }
            "GET /" => html("200 OK", "", if has("session") { "in" } else { "out" }),
            "POST /echo" | "PUT /echo" | "DELETE /echo" => page("200 OK", &format!("{head}|{body}|")),
            other => html("404 Not Found", "", other),
        }
    })
}

fn sign_in(site: SocketAddr, password: &str) -> Vec<Value> {
    let url = |path: &str| format!("http://{site}{path}");
    vec![
        json!({"get": url("/login"), "capture": {"csrf": "name=\"csrf\" value=\"([^\"]+)\""}}),
        json!({
            "post": url("/login"),
            "form": {"email": "a@b.c", "password": password, "csrf": "{{ captured.csrf }}"},
            "status": [302, 303]
        }),
        json!({"get": url("/account"), "body_contains": "Welcome"}),
    ]
}

fn journey(attributes: Value, steps: &[Value]) -> Http {
    let mut attributes = attributes;
    attributes["steps"] = json!(steps);
    http("a journey", attributes)
}

fn taken(attributes: Value, steps: &[Value]) -> Check {
    journey(attributes, steps).check(&System::machine()).unwrap()
}

#[test]
fn a_journey_keeps_cookies_and_what_it_captures_from_step_to_step() {
    let site = site();
    assert_eq!(taken(json!({}), &sign_in(site, "correct horse")), Check::Holds);
    let mut followed = sign_in(site, "correct horse");
    // The session is set by the redirect itself, and the account is where it leads.
    followed[1] = json!({
        "post": format!("http://{site}/login"),
        "form": {"email": "a@b.c", "password": "correct horse", "csrf": "{{ captured.csrf }}"},
        "body_contains": "Welcome"
    });
    followed.push(json!({"get": format!("http://{site}/logout"), "status": 302, "follow": false}));
    followed.push(json!({"get": format!("http://{site}/"), "body_matches": "^out$"}));
    assert_eq!(taken(json!({"follow": true}), &followed), Check::Holds);
    assert_eq!(taken(json!({"follow": true}), &followed), Check::Holds, "each begins without cookies");
}

#[test]
fn a_failure_names_the_step_its_request_and_the_part_that_is_wrong() {
    let site = site();
    let seen = waiting(taken(json!({}), &sign_in(site, "wrong donkey")));
    assert_eq!(seen.reason, format!("step 2 of 3 (POST http://{site}/login): status 403, wanted 302 or 303"));
    let texts: Vec<_> = seen.details.iter().map(|detail| (&*detail.title, &*detail.text)).collect();
    let request = format!("POST http://{site}/login\nform: csrf, email, password\ncookies: visitor");
    assert_eq!(texts[0], ("request", request.as_str()));
    assert_eq!(texts[1].0, "response headers");
    assert_eq!(texts[2], ("body", "<h1>Refused</h1>csrf=tok%2Ben%261&email=a%40b.c&password=wrong+donkey"));
    let mut expired = sign_in(site, "correct horse");
    expired.remove(1);
    let seen = waiting(taken(json!({}), &expired));
    let told = format!("step 2 of 2 (GET http://{site}/account): status 303 to /login, wanted 200 to 299");
    assert_eq!(seen.reason, told);
    let seen = waiting(taken(json!({"follow": true}), &expired));
    let told = format!(
        "step 2 of 2 (GET http://{site}/account, redirected to http://{site}/login): the body does not contain \"Welcome\""
    );
    assert_eq!(seen.reason, told);
}

#[test]
fn what_was_captured_is_in_no_failure() {
    let site = site();
    let echo = |step: Value| {
        let steps = [sign_in(site, "")[0].clone(), step];
        waiting(taken(json!({}), &steps))
    };
    let url = format!("http://{site}/echo?t={{{{ captured.csrf }}}}");
    let seen = echo(json!({"get": url}));
    assert!(seen.reason.contains("echo?t={{ captured.csrf }}): status 404"), "{}", seen.reason);
    let all = format!("{seen:?}");
    assert!(!all.contains("tok+en") && all.contains("«captured.csrf»"), "{all}");
}

#[test]
fn a_capture_that_finds_nothing_shows_where_it_should_have_been() {
    let site = serving(|_, _, _| {
        let filler = "<p>words</p>".repeat(200);
        html("200 OK", "", &format!("{filler}<input name=\"csrf\" data-value=\"x\">{filler}"))
    });
    let seen = waiting(taken(json!({}), &sign_in(site, "x")));
    assert_eq!(
        seen.reason,
        format!(
            "step 1 of 3 (GET http://{site}/login): `csrf` was not captured: the body does not match `name=\"csrf\" value=\"([^\"]+)\"`"
        )
    );
    let shown = seen.details.last().unwrap();
    assert_eq!(shown.title, "the body around `name=\"csrf\"`");
    assert!(shown.text.contains("data-value") && shown.text.len() < 800, "{}", shown.text);
}

#[test]
fn requests_carry_what_the_step_says() {
    let site = site();
    let url = format!("http://{site}/echo");
    let table = [
        (json!({"post": url}), "content-length: 0"),
        (json!({"post": url, "form": {"a": 1, "b": "ü &"}}), "|a=1&b=%C3%BC+%26|"),
        (json!({"post": url, "form": {"a": 1}}), "content-type: application/x-www-form-urlencoded"),
        (json!({"put": url, "body": {"a": [1, "x"]}}), "|{\"a\":[1,\"x\"]}|"),
        (json!({"put": url, "body": ["x"]}), "content-type: application/json"),
        (
            json!({"post": url, "body": "<a/>", "headers": {"Content-Type": "text/xml"}}),
            "content-type: text/xml",
        ),
        (json!({"post": url, "body": "<a/>"}), "|<a/>|"),
        (json!({"delete": url}), "DELETE /echo"),
        (json!({"delete": url, "headers": {"X-Own": "2"}}), "x-own: 2"),
        (json!({"delete": url, "headers": {"X-All": "step"}}), "x-all: step"),
        (json!({"delete": url}), "x-all: journey"),
    ];
    for (step, wanted) in table {
        let mut step = step;
        step["body_matches"] = json!(format!("(?i){}", regex::escape(wanted)));
        // As a spec's texts are read: numbers are texts there.
        if let Some(form) = step.get_mut("form").and_then(Value::as_object_mut) {
            form.values_mut().filter(|value| value.is_number()).for_each(|value| *value = json!("1"));
        }
        assert_eq!(taken(json!({"headers": {"X-All": "journey"}}), &[step]), Check::Holds, "{wanted}");
    }
}

#[test]
fn what_is_captured_fits_wherever_a_step_has_a_place_for_it() {
    let echo = echoing();
    let first = json!({"get": format!("http://{echo}/a.b+c"), "capture": {"path": "GET /(\\S+) HTTP"}});
    let place = "{{ captured.path }}";
    let url = format!("http://{echo}/{place}");
    for second in [
        json!({"get": url, "body_contains": format!("GET /{place} ")}),
        json!({"get": url, "body_matches": format!("GET /{place} H")}),
        json!({"get": format!("http://{echo}/"), "headers": {"X": place}, "body_contains": format!("x: {place}\r")}),
    ] {
        assert_eq!(taken(json!({}), &[first.clone(), second.clone()]), Check::Holds, "{second}");
    }
    let api = serving(|first, head, body| match first {
        "POST /token" => page("200 OK", "{\"access_token\": \"abc.def\", \"user\": {\"id\": 7}}"),
        "POST /items" if head.contains("Bearer abc.def") => page("201 Created", body),
        _ => page("401 Unauthorized", ""),
    });
    let steps = [
        json!({"post": format!("http://{api}/token"), "json": {"/user/id": 7}, "capture": {"token": "\"access_token\": \"([^\"]*)\""}}),
        json!({
            "post": format!("http://{api}/items"),
            "headers": {"Authorization": "Bearer {{ captured.token }}"},
            "body": {"token": "{{ captured.token }}"},
            "status": 201,
            "json": {"/token": "{{ captured.token }}"}
        }),
    ];
    assert_eq!(taken(json!({}), &steps), Check::Holds);
}

#[test]
fn what_was_captured_may_be_no_url_and_that_is_told() {
    let site = answering(page("200 OK", "next=\"a b\""));
    let steps = [
        json!({"get": format!("http://{site}/"), "capture": {"next": "next=\"(.*)\""}}),
        json!({"get": "{{ captured.next }}"}),
    ];
    let seen = reason(taken(json!({}), &steps));
    assert!(seen.starts_with("step 2 of 2 (GET {{ captured.next }}): with what was captured, `"), "{seen}");
}

#[test]
fn a_secure_cookie_that_is_not_sent_over_http_is_told_with_the_way_out() {
    let site = serving(|first, head, _| match first {
        "GET /login" => html("200 OK", "Set-Cookie: session=s1; Secure\r\n", ""),
        _ if head.contains("session=s1") => html("200 OK", "", "Welcome"),
        _ => html("403 Forbidden", "", "who are you?"),
    });
    let steps = |host: &str| {
        ["/login", "/account"].map(|path| json!({"get": format!("http://{host}:{}{path}", site.port())}))
    };
    let attributes = json!({"resolve": "127.0.0.1"});
    let seen = waiting(taken(attributes, &steps("app.test")));
    assert!(seen.details[0].text.contains("not sent over http: session"), "{seen:?}");
    assert!(seen.help.unwrap().contains("let the journey use https"));
    assert_eq!(taken(json!({}), &steps("localhost")), Check::Holds, "nobody is in between");
}

#[test]
fn the_first_wrong_step_ends_the_journey_and_each_try_begins_it_anew() {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    let site = serving(move |first, _, _| match first {
        "GET /last" => panic!("it is not asked for"),
        "GET /down" => page("503 Service Unavailable", ""),
        _ => page("200 OK", &counted.fetch_add(1, Ordering::SeqCst).to_string()),
    });
    let steps = ["/", "/down", "/last"].map(|path| json!({"get": format!("http://{site}{path}")}));
    let journey = journey(json!({}), &steps);
    for tries in 1..3 {
        let seen = reason(journey.check(&System::machine()).unwrap());
        assert_eq!(seen, format!("step 2 of 3 (GET http://{site}/down): status 503, wanted 200 to 299"));
        assert_eq!(count.load(Ordering::SeqCst), tries);
    }
    assert!(journey.timeout() >= TIMEOUT);
    let mut slow = journey;
    slow.timeout = Span::seconds(40);
    assert_eq!(slow.timeout(), Duration::from_secs(125), "each request has its own time");
}

#[test]
fn a_certificate_that_expires_soon_is_told_once_and_where_it_was_seen() {
    let ca = Authority::new();
    let site = ca.serve("localhost", -86_400, 5 * 86_400 + 60);
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("ca.pem"), ca.pem()).unwrap();
    let url = format!("https://localhost:{}/", site.port());
    let steps = [json!({"get": url}), json!({"get": url, "body_contains": "over TLS"})];
    for (left, holds) in [("4d", true), ("14d", false)] {
        let journey = journey(json!({"ca_file": "/ca.pem", "tls_expires_after": left}), &steps);
        let seen = journey.check(&System::under(root.path())).unwrap();
        if holds {
            assert_eq!(seen, Check::Holds);
            continue;
        }
        let seen = reason(seen);
        let told = format!("step 1 of 2 (GET {url}): the certificate expires in 5 days (20");
        assert!(seen.starts_with(&told) && seen.matches("certificate").count() == 1, "{seen}");
    }
}

#[test]
fn a_step_that_makes_no_sense_is_refused_when_the_spec_is_read() {
    let url = "http://host/";
    for wrong in [
        json!([]),
        json!([{"get": url, "capture": {"a": "("}}]),
        json!([{"get": url, "expect": 200}]),
        json!([{"post": url, "status": 20}]),
        json!("get"),
    ] {
        let item = json!({"http": "a journey", "steps": wrong});
        assert!(serde_json::from_value::<Http>(item.clone()).is_err(), "{item}");
    }
    let use_of = |name: &str| format!("http://host/{{{{ captured.{name} }}}}");
    let table = [
        (json!([{}]), vec!["0"], "asks for nothing"),
        (json!([{"get": url, "post": url}]), vec!["0", "post"], "two requests"),
        (json!([{"get": "/login"}]), vec!["0", "get"], "is no URL"),
        (json!([{"get": "http://me@host/"}]), vec!["0", "get"], "holds a user"),
        (json!([{"get": url, "form": {"a": "b"}}]), vec!["0", "form"], "GET sends no `form`"),
        (json!([{"get": url}, {"head": url, "body": "x"}]), vec!["1", "body"], "HEAD sends no `body`"),
        (json!([{"post": url, "form": {"a": "b"}, "body": "x"}]), vec!["0", "body"], "and not both"),
        (json!([{"head": url, "body_contains": "x"}]), vec!["0", "body_contains"], "no body to look at"),
        (json!([{"get": url, "json": {"a": 1}}]), vec!["0", "json"], "no JSON pointer"),
        (json!([{"get": url, "headers": {"A b": "c"}}]), vec!["0", "headers"], "no name of a header"),
        (json!([{"get": url, "capture": {"a-b": "x"}}]), vec!["0", "capture"], "cannot be a name"),
        (json!([{"get": use_of("a")}]), vec!["0", "get"], "nothing has captured `a` before step 1"),
        (json!([{"get": use_of("a"), "capture": {"a": "x"}}]), vec!["0", "get"], "before step 1"),
        (
            json!([{"post": url, "form": {"t": "{{ captured.a }}"}}, {"get": url, "capture": {"a": "x"}}]),
            vec!["0", "form"],
            "nothing has captured `a`",
        ),
        (
            json!([{"get": url, "body_matches": "{{ captured.a }}"}]),
            vec!["0", "body_matches"],
            "captured `a`",
        ),
        (json!([{"post": url, "body": [{"b": "{{ captured.a }}"}]}]), vec!["0", "body"], "captured `a`"),
    ];
    for (steps, inside, words) in table {
        let http: Http = serde_json::from_value(json!({"http": "a journey", "steps": steps})).unwrap();
        let said = http.validate();
        let places: Vec<String> = said[0]
            .inside
            .iter()
            .map(|inside| match inside {
                crate::resource::Inside::Element(at) => at.to_string(),
                crate::resource::Inside::Key(key) => key.clone(),
            })
            .collect();
        assert_eq!(
            (said.len(), said[0].attribute, places),
            (1, "steps", inside.iter().map(ToString::to_string).collect()),
            "{steps}"
        );
        assert!(said[0].what.contains(words), "{}", said[0].what);
    }
    let table = [
        (json!({"http": "j", "steps": [{"get": url}], "status": 200}), "status"),
        (json!({"http": "j", "steps": [{"get": url}], "method": "POST"}), "method"),
        (json!({"http": "j", "steps": [{"get": url}], "body_contains": "x"}), "body_contains"),
        (json!({"http": "j", "steps": [{"get": url}], "tls_expires_after": "7d"}), "tls_expires_after"),
        (json!({"http": "j", "steps": [{"get": url}], "headers": {"A": "{{ captured.x }}"}}), "headers"),
        (json!({"http": "http://host/{{ captured.x }}"}), "http"),
        (json!({"http": url, "body_contains": "{{ captured.x }}"}), "body_contains"),
        (json!({"http": "sign in works"}), "http"),
    ];
    for (item, attribute) in table {
        let http: Http = serde_json::from_value(item.clone()).unwrap();
        let said: Vec<_> = http.validate().iter().map(|invalid| invalid.attribute).collect();
        assert_eq!(said, [attribute], "{item}");
    }
}
