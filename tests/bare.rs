//! A whole site on a bare host: planned without an error though nothing of it exists, made in one run as the
//! plan said, and followed up: a new configuration restarts it once.

mod support;

use support::lab::Lab;
use support::{Ran, converge_in, has_lab, run};

/// A package with a directory for its configuration, a unit and the program that the unit runs.
const PACKAGE: &str = r#"
set -e
d=$(mktemp -d); mkdir -p $d/DEBIAN $d/etc/webd $d/usr/lib/systemd/system $d/usr/bin /srv/repo; chmod 755 $d
printf 'Package: webd\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.com>\nDescription: of the tests\n' > $d/DEBIAN/control
printf '#!/bin/sh\n. /etc/webd/webd.conf\ncd $root\nexec python3 -m http.server --bind 127.0.0.1 $port\n' > $d/usr/bin/webd
chmod 755 $d/usr/bin/webd
printf '[Service]\nUser=web\nExecStart=/usr/bin/webd\n[Install]\nWantedBy=multi-user.target\n' > $d/usr/lib/systemd/system/webd.service
dpkg-deb -Zgzip -b $d /srv/repo/webd_1.0_all.deb >/dev/null
cd /srv/repo; apt-ftparchive packages . > Packages; apt-ftparchive release . > /run/Release; mv /run/Release .
rm -f /etc/apt/sources.list; echo 'deb [trusted=yes] file:/srv/repo ./' > /etc/apt/sources.list.d/own.list; apt-get -q update
"#;

/// Nothing is in the order in which it has to be made.
const SPEC: &str = r#"
  h1:
    - http: http://127.0.0.1:PORT/
      wait: 30s
      body_contains: hello
      depends_on: unit:webd
    - unit: webd
      enabled: true
      restart_on: [file:/etc/webd/webd.conf]
    - file: /etc/webd/webd.conf
      content: |
        root=/srv/web
        port=PORT
    - package: webd
    - file: /srv/web/index.html
      owner: web
      group: site
      mode: 640
      content: hello
    - directory: /srv/web
      owner: web
      group: site
      mode: 750
    - user: web
      group: site
      system: true
      home: /srv/web
      create_home: false
    - group: site
      system: true
"#;

const CONF: &str = "h1/file:/etc/webd/webd.conf";
const UNIT: &str = "h1/unit:webd";

fn go(lab: &Lab, verb: &str, port: u16) -> Ran {
    let path = lab.dir().join("bare.yaml");
    let hosts = format!("hosts:\n  h1:\n    address: {}\n    user: root\nresources:", lab.ip("h1"));
    std::fs::write(&path, hosts + &SPEC.replace("PORT", &port.to_string())).unwrap();
    run(converge_in(lab).args([verb, "--format", "json"]).arg(path))
}

#[test]
fn a_whole_site_is_planned_on_a_bare_host_made_in_one_run_and_restarted_once_for_a_change() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("bare", &["h1"]);
    lab.put("h1", "/root/package.sh", PACKAGE);
    lab.must("h1", "bash /root/package.sh");

    let planned = go(&lab, "plan", 8088).expect(2);
    assert_eq!(planned.summary()["failed"], 0, "{}", planned.stdout);
    let certain = [
        ("h1/group:site", "create"),
        ("h1/user:web", "create"),
        ("h1/directory:/srv/web", "create"),
        ("h1/file:/srv/web/index.html", "create"),
        ("h1/package:webd", "create"),
    ];
    for (id, action) in certain {
        let event = planned.resource(id);
        assert_eq!((&event["status"], &event["action"]), (&"changed".into(), &action.into()), "{event}");
    }
    let owner = &planned.resource("h1/directory:/srv/web")["changes"][1];
    assert_eq!((&owner["attribute"], &owner["to"]), (&"owner".into(), &"web".into()));
    // What comes with the package cannot be seen before.
    for id in [CONF, UNIT, "h1/http:http://127.0.0.1:8088/"] {
        let event = planned.resource(id);
        assert_eq!(event["status"], "unknown");
        assert_eq!(event["reason"], "not known until h1/package:webd is present", "{id}");
    }
    lab.must("h1", "! getent passwd web && ! test -e /srv/web && ! test -e /etc/webd");

    let applied = go(&lab, "apply", 8088).expect(0);
    for (id, _) in certain {
        let (plan, apply) = (planned.resource(id), applied.resource(id));
        assert_eq!((&plan["status"], &plan["changes"]), (&apply["status"], &apply["changes"]), "{id}");
    }
    assert_eq!([CONF, UNIT].map(|id| applied.status(id)), ["changed", "changed"]);
    assert_eq!(
        lab.must("h1", "stat -c '%U %G %a' /srv/web /srv/web/index.html"),
        "web site 750\nweb site 640\n"
    );
    assert_eq!(go(&lab, "apply", 8088).expect(0).summary()["changed"], 0);

    // Another port: the file, and one restart for it, as the plan says.
    let starts = || lab.must("h1", "journalctl -u webd -o cat | grep -c '^Started'").trim().to_owned();
    assert_eq!(starts(), "1");
    let planned = go(&lab, "plan", 8089).expect(2);
    let applied = go(&lab, "apply", 8089).expect(0);
    for id in [CONF, UNIT] {
        let (plan, apply) = (planned.resource(id), applied.resource(id));
        assert_eq!((&plan["status"], &plan["changes"]), (&apply["status"], &apply["changes"]), "{id}");
        assert_eq!(apply["status"], "changed");
    }
    assert_eq!(starts(), "2");
    assert_eq!(go(&lab, "apply", 8089).expect(0).summary()["changed"], 0);
    assert_eq!(starts(), "2");
}
