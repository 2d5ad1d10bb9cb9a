//! What people copy, on a real host: the example of every type, and every spec in examples/. This names no type:
//! the host has what an example may ask for, and a type that asks for more says so in its example.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use converge::resource::{TYPES, example};
use support::lab::Lab;
use support::{converge_in, has_lab, run};

/// A host with everything: a Xen machine with one guest, supervisord, and a site over TLS that the host trusts.
fn host_with_everything(lab: &Lab) {
    lab.dom0("h", &["vps0"]);
    lab.put("h", "/tmp/site.conf", include_str!("data/tls-site.conf"));
    lab.must(
        "h",
        "set -e; cd /etc/nginx; \
         new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'; \
         $new -x509 -days 90 -subj /CN=ca -keyout ca.key -out ca.pem; \
         $new -subj /CN=localhost -keyout site.key -out site.csr; \
         echo subjectAltName=DNS:localhost > site.ext; \
         openssl x509 -req -days 90 -in site.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile site.ext -out site.pem; \
         mkdir -p /var/lib/app; sqlite3 /var/lib/app/app.db 'create table migrations (version); insert into migrations values (42)'; \
         mkdir -p /etc/ssl/certs; cat ca.pem >> /etc/ssl/certs/ca-certificates.crt; \
         mv /tmp/site.conf conf.d/; systemctl enable -q nginx supervisor; systemctl restart nginx supervisor",
    );
}

/// What an example fetches from elsewhere cannot be had here: the host itself has something in its place.
fn at_hand(lab: &Lab, example: &str) -> String {
    if !example.contains("://") || example.contains("://localhost") {
        return example.to_owned();
    }
    lab.must(
        "h",
        "set -e; [ ! -e /srv/elsewhere ] || exit 0; mkdir -p /srv/elsewhere/own/bin; cd /srv/elsewhere; \
         echo '#!/bin/sh' > own/bin/tool; tar czf /var/www/html/elsewhere own; \
         git init -q -b master own; cd own; git config user.name t; git config user.email t@example.com; \
         git add .; git commit -qm first; git clone -q --bare . ../own.git",
    );
    let sum = lab.must("h", "sha256sum < /var/www/html/elsewhere");
    let sum = sum.split_whitespace().next().unwrap();
    let line = |line: &str| match line.trim().split_once(": ") {
        Some(("repository", _)) => "  repository: file:///srv/elsewhere/own.git".to_owned(),
        Some(("url", _)) => "  url: http://localhost/elsewhere".to_owned(),
        Some(("checksum", _)) => format!("  checksum: sha256:{sum}"),
        _ => line.to_owned(),
    };
    example.lines().map(|text| line(text) + "\n").collect()
}

fn spec_of(lab: &Lab, name: &str, resources: &str) -> PathBuf {
    let indented: String = resources.lines().map(|line| format!("    {line}\n")).collect();
    let spec = format!("hosts:\n  h: {{address: {}, user: root}}\nresources:\n  h:\n{indented}", lab.ip("h"));
    let path = lab.dir().join(format!("{name}.yaml"));
    fs::write(&path, spec).unwrap();
    path
}

#[test]
fn the_example_of_every_type_is_planned_applied_and_then_left_alone() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("examples", &["h", "vps0:off"]);
    host_with_everything(&lab);
    let mut wrong = Vec::new();
    for word in TYPES {
        let spec = spec_of(&lab, word, &at_hand(&lab, example(word).unwrap()));
        let go = |verb: &str| run(converge_in(&lab).args([verb, "--format", "json"]).arg(&spec));
        let plan = go("plan");
        let (first, second) = (go("apply"), go("apply"));
        let mut told = Vec::new();
        if !matches!(plan.code, 0 | 2) || plan.summary()["unknown"] != 0 {
            told.push(format!("the plan: exit {}\n{}{}", plan.code, plan.stdout, plan.stderr));
        }
        if first.code != 0 || first.summary()["changed"] != plan.summary()["changed"] {
            told.push(format!("the run: exit {}\n{}{}", first.code, first.stdout, first.stderr));
        }
        // What says `always` is done each time.
        if second.code != 0 || second.summary()["changed"] != 0 {
            told.push(format!("the second run: exit {}\n{}{}", second.code, second.stdout, second.stderr));
        }
        if !told.is_empty() {
            wrong.push(format!("--- {word}\n{}", told.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_spec_in_examples_that_is_about_one_machine_is_planned_there() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("example-specs", &["h"]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.put_mode("h", "/usr/local/bin/converge", fs::read(support::program()).unwrap(), "755");
    lab.sh(["root", "h", "mkdir", "-p", "/root/examples/site/parts"]);
    let mut planned = 0;
    for directory in ["examples", "examples/site", "examples/site/parts"] {
        for entry in fs::read_dir(here.join(directory)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let path = format!("/root/{directory}/{}", entry.file_name().to_str().unwrap());
                lab.put("h", &path, fs::read(entry.path()).unwrap());
            }
        }
    }
    for directory in ["examples", "examples/site"] {
        for entry in fs::read_dir(here.join(directory)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if !name.ends_with(".yaml") || fs::read_to_string(entry.path()).unwrap().contains("\nhosts:") {
                continue;
            }
            let plan =
                lab.ssh("h", &format!("TOKEN=correct-horse converge plan --format json {directory}/{name}"));
            assert!(matches!(plan.status, 0 | 2), "{name}: {}{}", plan.stdout, plan.stderr);
            planned += 1;
        }
    }
    assert!(planned >= 6);
}
