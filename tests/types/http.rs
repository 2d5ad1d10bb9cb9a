//! `http` in every situation: it changes nothing, it holds or is waited for.

use serde_json::{Value, json};

use crate::agent::host;
use crate::table::Table;
use crate::web::Web;

#[test]
fn a_url_in_every_situation() {
    let Some(host) = host() else { return };
    let web = Web::start(&host, 4793);
    web.serve("page", b"Sign in here\n");
    web.serve("status", b"{\"status\": \"up\", \"nodes\": [{\"role\": \"primary\"}]}");
    let look = "systemctl show -p InvocationID cvg-web-4793; ls -A /var/tmp/cvg-web-4793";
    let mut table =
        Table { host: &host, agent: host.agent(), word: "http", declared: json!(null), clear: "true", look };
    let page = web.url("plain/page");
    let asks = |more: Value| {
        let mut declared = json!({"http": page});
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        declared
    };
    table.declared = asks(json!({}));
    table.row("it answers", "true", &[]);
    table.declared =
        asks(json!({"status": [200, 204], "body_contains": "Sign in", "body_matches": "^Sign .*here"}));
    table.row("it answers as it is wanted", "true", &[]);
    table.declared = asks(json!({"status": 404}));
    table.waits("another status", "true", "status 200, wanted 404");
    table.declared = asks(json!({"body_contains": "Welcome"}));
    table.waits("another body", "true", "Welcome");
    table.declared = asks(json!({"body_matches": "^here"}));
    table.waits("a body of another form", "true", "^here");
    table.declared = asks(json!({"json": {"/status": "up"}}));
    table.waits("no JSON", "true", "the body is no JSON");
    let at = |path: &str, more: Value| {
        let mut declared = asks(more);
        declared["http"] = json!(web.url(path));
        declared
    };
    table.declared = at("plain/status", json!({"json": {"/status": "up", "/nodes/0/role": "primary"}}));
    table.row("JSON as it is wanted", "true", &[]);
    table.declared = at("plain/status", json!({"json": {"/nodes/0/role": "replica"}}));
    table.waits("another value in JSON", "true", "/nodes/0/role");
    table.declared = at("plain/status", json!({"json": {"/nodes/1/role": "primary"}}));
    table.waits("no such value in JSON", "true", "/nodes/1/role");
    table.declared = at("plain/none", json!({}));
    table.waits("nothing there", "true", "status 404, wanted 200 to 299");
    table.declared = at("plain/none", json!({"status": 404}));
    table.row("nothing there, and so it is to be", "true", &[]);
    table.declared = at("broken", json!({}));
    table.waits("a server's error", "true", "status 500, wanted");
    table.declared = at("cut/", json!({"body_contains": "yyy"}));
    table.waits("an answer cut short", "true", "the server closed the connection within the body");
    table.declared = at("hang", json!({"timeout": "500ms"}));
    table.waits("no answer in its time", "true", "500ms");
    table.declared = at("away/plain/status", json!({}));
    table.waits("it leads elsewhere", "true", "status 302 to");
    table.declared = at("away/plain/status", json!({"follow": true, "json": {"/status": "up"}}));
    table.row("it leads elsewhere, and is followed", "true", &[]);
    table.declared = at("ring/", json!({"follow": true}));
    table.waits("it leads to itself for ever", "true", "redirects");
    table.declared = at("login", json!({"headers": {"Authorization": "Basic bWU6cGFAc3M="}}));
    table.row("a header is wanted, and sent", "true", &[]);
    table.declared = at("login", json!({}));
    table.waits("a header is wanted, and not sent", "true", "status 401, wanted");
    table.declared = json!({"http": "http://localhost:4799/"});
    table.waits("nobody listens", "true", "connection refused");
    table.declared = json!({"http": "http://no-such-host.invalid/"});
    table.waits("its name is unknown", "true", "no-such-host.invalid");
}

#[test]
fn a_certificate_in_every_situation() {
    let Some(host) = host() else { return };
    let web = Web::start_tls(&host, 4794);
    web.serve("page", b"Sign in here\n");
    let look = "systemctl show -p InvocationID cvg-web-4794; ls -A /var/tmp/cvg-web-4794";
    let asks = |host: &str, more: Value| {
        let mut declared = json!({"http": format!("https://{host}:4794/plain/page")});
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        declared
    };
    let mut table =
        Table { host: &host, agent: host.agent(), word: "http", declared: json!(null), clear: "true", look };
    let ca = format!("{}/ca.pem", web.directory);
    // It is valid for two days.
    table.declared = asks("localhost", json!({"ca_file": ca}));
    table.row("it is trusted", "true", &[]);
    table.declared = asks("localhost", json!({"ca_file": ca, "tls_expires_after": "1d"}));
    table.row("it is valid for long enough", "true", &[]);
    table.declared = asks("localhost", json!({"ca_file": ca, "tls_expires_after": "14d"}));
    table.waits("it is about to expire", "true", "expires");
    table.declared = asks("localhost", json!({}));
    table.waits("nobody trusts it", "true", "is not signed by a CA that is trusted here");
    table.declared = asks("localhost", json!({"insecure": true}));
    table.row("nobody trusts it, and any will do", "true", &[]);
    table.declared = asks("127.0.0.1", json!({"ca_file": ca}));
    table.waits("it is another host's", "true", "127.0.0.1");
    table.declared = asks("other.example", json!({"ca_file": ca, "resolve": "127.0.0.1"}));
    table.waits("it is another host's, by its address", "true", "other.example");
    table.declared = json!({"http": "https://localhost:4794/plain/page", "ca_file": "/nowhere/ca.pem"});
    table.refused("there is no ca_file", "true", "/nowhere/ca.pem");
}
