//! `download` from every start, and from servers that fail in every way.

use converge::resource::{AnyResource, Check};
use serde_json::{Value, json};

use crate::agent::{Agent, Host, host, resource};
use crate::table::Table;
use crate::web::Web;

const LOOK: &str = "stat -c '%n %F %i %Y %Z %U %G %a' /srv/cvg-dl/* 2>&1; test -f /srv/cvg-dl/f && cat /srv/cvg-dl/f; ls -A /srv/cvg-dl 2>&1; true";

/// A directory of the test's own.
struct Place<'a> {
    host: &'a Host,
    path: &'static str,
}

impl<'a> Place<'a> {
    fn new(host: &'a Host, path: &'static str) -> Self {
        host.must(&format!("umount -q {path}; rm -rf {path}; mkdir -p {path}"));
        Place { host, path }
    }

    fn file(&self, attributes: Value) -> AnyResource {
        let mut item = attributes;
        item["download"] = json!(format!("{}/f", self.path));
        resource("download", item)
    }

    fn look(&self) -> String {
        let path = self.path;
        self.host.must(&format!("ls -A {path}; stat -c '%F %i %Y %U %a' {path}/f; sha256sum {path}/f; true"))
    }

    /// It fails with words like these, and what was there is as it was, with nothing beside it.
    #[track_caller]
    fn fails(&self, agent: &mut Agent, attributes: Value, words: &str) {
        self.host.must(&format!("rm -rf {0}/* {0}/.f*; echo old > {0}/f", self.path));
        let before = self.look();
        // What is there is right where nothing says otherwise: another `url` is to be fetched.
        let file = self.file(attributes.clone());
        let needed = match agent.check(&file) {
            Ok(Check::Needs(needed)) => needed,
            other => panic!("{attributes}: {other:?}"),
        };
        let failure = agent.apply(&file, &needed).expect_err(words);
        assert!(failure.reason.contains(words), "{attributes}: {}", failure.reason);
        assert_eq!(self.look(), before, "{attributes}: it failed, and touched something");
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.host.sh(&format!("umount -q {0}; rm -rf {0}", self.path));
    }
}

fn sum(of: &[u8]) -> String {
    format!("sha256:{}", converge::attribute::sha256_hex(of))
}

#[test]
fn a_download_with_a_checksum_from_every_start() {
    let Some(host) = host() else { return };
    let web = Web::start(&host, 7701);
    web.serve("f", b"right\n");
    let declared = json!({
        "download": "/srv/cvg-dl/f", "url": web.url("plain/f"), "checksum": sum(b"right\n"),
        "owner": "www-data", "group": "www-data", "mode": "640",
    });
    let clear = "rm -rf /srv/cvg-dl";
    let mut table = Table { host: &host, agent: host.agent(), word: "download", declared, clear, look: LOOK };
    let right = "echo right > /srv/cvg-dl/f; chown www-data: /srv/cvg-dl/f; chmod 640 /srv/cvg-dl/f";
    let all = ["state", "content", "owner", "group", "mode"];
    let row = |table: &mut Table, start, arrange: &str, off: &[&str]| {
        table.row(start, &format!("mkdir -p /srv/cvg-dl; {arrange}"), off);
    };
    row(&mut table, "absent", "", &all);
    row(&mut table, "right", right, &[]);
    row(&mut table, "another content", &format!("{right}; echo wrong > /srv/cvg-dl/f"), &["content"]);
    row(&mut table, "half of it", &format!("{right}; printf rig > /srv/cvg-dl/f"), &["content"]);
    row(&mut table, "empty", &format!("{right}; : > /srv/cvg-dl/f"), &["content"]);
    row(&mut table, "another owner", &format!("{right}; chown root /srv/cvg-dl/f"), &["owner"]);
    row(&mut table, "another group", &format!("{right}; chgrp root /srv/cvg-dl/f"), &["group"]);
    row(&mut table, "another mode", &format!("{right}; chmod 4755 /srv/cvg-dl/f"), &["mode"]);
    row(
        &mut table,
        "everything wrong",
        "echo wrong > /srv/cvg-dl/f; chmod 600 /srv/cvg-dl/f",
        &["content", "owner", "group", "mode"],
    );
    row(&mut table, "what a killed run left", "echo ri > /srv/cvg-dl/.f.converge", &all);
    row(
        &mut table,
        "a hard link elsewhere",
        &format!(
            "{right}; echo wrong > /srv/cvg-dl/g; ln -f /srv/cvg-dl/g /srv/cvg-dl/f; chown www-data: /srv/cvg-dl/f; chmod 640 /srv/cvg-dl/f"
        ),
        &["content"],
    );
    assert_eq!(host.must("cat /srv/cvg-dl/g"), "wrong\n", "the other name of the old file keeps what it had");
    table.refused("a directory", "mkdir -p /srv/cvg-dl/f", "is a directory");
    table.refused("a link", "mkdir -p /srv/cvg-dl; ln -s /etc/debian_version /srv/cvg-dl/f", "is a symlink");
    table.refused("a fifo", "mkdir -p /srv/cvg-dl; mkfifo /srv/cvg-dl/f", "is a device, socket or pipe");
}

#[test]
fn a_download_without_a_checksum_is_fetched_once_for_each_url() {
    let Some(host) = host() else { return };
    let (web, place) = (Web::start(&host, 7702), Place::new(&host, "/srv/cvg-dl-once"));
    let mut agent = host.agent();
    web.serve("one", b"one\n");
    web.serve("two", b"two\n");
    let one = place.file(json!({"url": web.url("plain/one")}));
    let two = place.file(json!({"url": web.url("plain/two")}));
    assert!(agent.converge(&one).0.is_some());
    assert_eq!(agent.converge(&one), (None, Ok(())));
    assert_eq!(web.requests(), 1);
    let applied = agent.converge(&two).0.unwrap();
    assert_eq!(applied.changes[0].attribute, "url");
    assert_eq!(host.must("cat /srv/cvg-dl-once/f"), "two\n");
    assert_eq!(agent.converge(&two), (None, Ok(())));
    // Someone else's file of the same name is left alone.
    host.must("echo mine > /srv/cvg-dl-once/f");
    assert_eq!(agent.converge(&two), (None, Ok(())));
    assert_eq!(web.requests(), 2);
    let copy = place.file(json!({"url": format!("file://{}/one", web.directory), "checksum": sum(b"one\n")}));
    assert_eq!(agent.converge(&copy).1, Ok(()));
    assert_eq!(host.must("cat /srv/cvg-dl-once/f"), "one\n");
}

#[test]
fn a_download_that_changes_under_its_checksum_shows_both_sums_and_touches_nothing() {
    let Some(host) = host() else { return };
    let (web, place) = (Web::start(&host, 7703), Place::new(&host, "/srv/cvg-dl-sum"));
    let mut agent = host.agent();
    web.serve("f", b"first\n");
    let file = place.file(json!({"url": web.url("plain/f"), "checksum": sum(b"first\n"), "mode": "600"}));
    assert_eq!(agent.converge(&file).1, Ok(()));
    web.serve("f", b"second\n");
    assert_eq!(agent.converge(&file), (None, Ok(())), "what is there is still what is declared");
    place.fails(
        &mut agent,
        json!({"url": web.url("plain/f"), "checksum": sum(b"first\n")}),
        &sum(b"first\n"),
    );
    place.fails(
        &mut agent,
        json!({"url": web.url("plain/f"), "checksum": sum(b"first\n")}),
        &sum(b"second\n"),
    );
    host.must("rm /srv/cvg-dl-sum/f");
    let said = agent.converge(&file).1.unwrap_err();
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(host.must("ls -A /srv/cvg-dl-sum"), "");
}

#[test]
fn what_a_server_does_wrong_leaves_the_old_file_whole() {
    let Some(host) = host() else { return };
    let (web, place) = (Web::start(&host, 7704), Place::new(&host, "/srv/cvg-dl-bad"));
    let mut agent = host.agent();
    let any = sum(b"never");
    for (path, words) in [
        ("plain/none", "status 404"),
        ("broken", "status 500"),
        ("cut", "the server closed the connection within the body"),
        ("ring", "more than 10 redirects"),
        ("login", "status 401"),
        ("away/plain/none", "status 404"),
        ("to/http/7798/x", "connection refused"),
    ] {
        place.fails(&mut agent, json!({"url": web.url(path), "checksum": any}), words);
    }
    for (url, words) in [
        ("http://localhost:7799/x", "connection refused"),
        ("http://no-such-host.invalid/x", "does not resolve"),
        (&*web.url("plain/x").replace("http:", "https:"), "TLS"),
        ("file:///var/tmp", "no plain file"),
    ] {
        place.fails(&mut agent, json!({"url": url, "checksum": any}), words);
    }
    agent.timeout = std::time::Duration::from_secs(3);
    place.fails(&mut agent, json!({"url": web.url("hang"), "checksum": any}), "timed out after");
}

#[test]
fn a_user_in_the_url_logs_in_and_is_kept_nowhere() {
    let Some(host) = host() else { return };
    let (web, place) = (Web::start(&host, 7705), Place::new(&host, "/srv/cvg-dl-login"));
    let mut agent = host.agent();
    let url = web.url("login").replace("http://", "http://me:pa%40ss@");
    let file = place.file(json!({"url": url}));
    let (applied, end) = agent.converge(&file);
    assert_eq!(end, Ok(()));
    let changes = format!("{:?}", applied.unwrap().changes);
    assert!(!changes.contains("pa%40ss") && !changes.contains("pa@ss"), "{changes}");
    assert_eq!(host.must("cat /srv/cvg-dl-login/f"), "for members\n");
    assert_eq!(host.sh("grep -rlE 'pa(%40|@)ss' /srv/cvg-dl-login /var/lib/converge").1, "");
    place.fails(
        &mut agent,
        json!({"url": url.replace("pa%40ss", "wrong"), "checksum": sum(b"never")}),
        "status 401",
    );
}

#[test]
fn from_https_to_http_it_follows_only_with_a_checksum() {
    let Some(host) = host() else { return };
    let place = Place::new(&host, "/srv/cvg-dl-tls");
    let (tls, plain) = (Web::start_tls(&host, 7706), Web::start(&host, 7707));
    let mut agent = host.agent_with(&format!("SSL_CERT_FILE={}/ca.pem", tls.directory));
    plain.serve("f", b"over http\n");
    tls.serve("f", b"over https\n");
    let url = |path: &str| tls.url(path).replace("http:", "https:");
    let down = url("to/http/7707/plain/f");
    let said = agent.converge(&place.file(json!({"url": down}))).1.unwrap_err();
    assert!(said.contains("it redirects to http on localhost"), "{said}");
    assert_eq!(host.must("ls -A /srv/cvg-dl-tls"), "");
    let proved = place.file(json!({"url": down, "checksum": sum(b"over http\n")}));
    assert_eq!(agent.converge(&proved).1, Ok(()));
    host.must("rm /srv/cvg-dl-tls/f");
    assert_eq!(agent.converge(&place.file(json!({"url": url("away/plain/f")}))).1, Ok(()));
    assert_eq!(host.must("cat /srv/cvg-dl-tls/f"), "over https\n");
    place.fails(&mut host.agent(), json!({"url": url("plain/f"), "checksum": sum(b"never")}), "TLS");
}

#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    let Some(host) = host() else { return };
    let (web, place) = (Web::start(&host, 7708), Place::new(&host, "/srv/cvg-dl-full"));
    host.must("mount -t tmpfs -o size=1m none /srv/cvg-dl-full");
    let mut agent = host.agent();
    place.fails(&mut agent, json!({"url": web.url("zeros/8"), "checksum": sum(b"never")}), "No space left");
    host.must("rm /srv/cvg-dl-full/f");
    let said = agent.converge(&place.file(json!({"url": web.url("zeros/8")}))).1.unwrap_err();
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(host.must("ls -A /srv/cvg-dl-full"), "");
}

#[test]
fn a_large_file_is_never_held_in_memory() {
    let Some(host) = host() else { return };
    let (web, place) = (Web::start(&host, 7709), Place::new(&host, "/srv/cvg-dl-large"));
    // Less than the file is long.
    let mut agent = host.agent_with("ulimit -v 200000;");
    let file = place.file(json!({"url": web.url("zeros/300")}));
    assert_eq!(agent.converge(&file).1, Ok(()));
    assert_eq!(host.must("stat -c %s /srv/cvg-dl-large/f").trim(), (300u64 << 20).to_string());
}

#[test]
fn a_symlink_swapped_in_under_the_path_during_the_write_is_not_followed() {
    let Some(host) = host() else { return };
    let (web, place) = (Web::start(&host, 7710), Place::new(&host, "/srv/cvg-dl-swap"));
    web.serve("f", b"a new content of some length\n");
    let swap_in = |swap: &str| {
        host.must(&format!("rm -f {0}/half {0}/go; rm -rf /srv/cvg-dl-swap/*; mkdir -p /srv/cvg-dl-swap/d; echo victim > /srv/cvg-dl-swap/victim", web.directory));
        let (directory, swap) = (web.directory.clone(), swap.to_owned());
        let line = format!(
            "for i in $(seq 3000); do test -e {directory}/half && break; sleep 0.02; done; {swap}; touch {directory}/go"
        );
        let mut agent = host.agent();
        let file =
            resource("download", json!({"download": "/srv/cvg-dl-swap/d/f", "url": web.url("slow/f")}));
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| host.must(&line));
            let end = agent.converge(&file).1;
            swapping.join().unwrap();
            end
        })
    };
    // In the last place: it is replaced.
    assert_eq!(swap_in("ln -s /srv/cvg-dl-swap/victim /srv/cvg-dl-swap/d/f"), Ok(()));
    assert_eq!(
        host.must("stat -c %F /srv/cvg-dl-swap/d/f; cat /srv/cvg-dl-swap/victim"),
        "regular file\nvictim\n"
    );
    // On the way, by another user: the directory that was opened is written to, and no other.
    host.must("rm -rf /srv/cvg-dl-swap/d; mkdir -p /srv/cvg-dl-swap/d");
    let end = swap_in(
        "mkdir /srv/cvg-dl-swap/e; mv /srv/cvg-dl-swap/d /srv/cvg-dl-swap/was; ln -s e /srv/cvg-dl-swap/d; chown -h www-data /srv/cvg-dl-swap/d",
    );
    assert!(end.as_ref().unwrap_err().contains("is a link that www-data made"), "{end:?}");
    assert_eq!(host.must("ls -A /srv/cvg-dl-swap/e"), "");
    drop(place);
}
