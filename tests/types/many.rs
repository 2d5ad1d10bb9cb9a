//! However many resources of a host are checked together, what they are about is read once.

use serde_json::json;

use crate::agent::{Host, resource};
use crate::package;
use converge::resource::{AnyResource, Check};

/// Wrappers in front of these tools that note each call.
fn note_calls(host: &Host, tools: &[&str]) {
    let line = "mkdir -p /run/cvg-noted; cd /run/cvg-noted; rm -f *; for tool in TOOLS; do \
        real=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v $tool); \
        printf '#!/bin/sh\\necho %s >>/run/cvg-noted/calls\\nexec %s \"$@\"\\n' $tool $real >$tool; chmod +x $tool; done";
    host.must(&line.replace("TOOLS", &tools.join(" ")));
}

/// How often each was called since.
fn calls(host: &Host) -> String {
    let said = host.must("cd /run/cvg-noted; sort calls 2>/dev/null | uniq -c; rm -f calls");
    said.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

/// A unit file each, and an account each in a copy of /etc, which the agent of the test sees in place of
/// the host's: nobody else opens what is in it. (The copy is a directory, since a file that is mounted comes
/// off when somebody puts another one in its place.)
const TWO_HUNDRED: &str = r#"
rm -rf /run/cvg-many; mkdir -p /run/cvg-many
cp -a /etc /run/cvg-many 2>/dev/null
for n in $(seq 200); do
    printf '[Service]\nExecStart=/bin/true\n' > /etc/systemd/system/cvg-many-$n.service
    echo "cvg-many-$n:x:$((52000 + n)):52000::/:/bin/sh" >> /run/cvg-many/etc/passwd
    echo "cvg-many-$n:*:19000:0:99999:7:::" >> /run/cvg-many/etc/shadow
done
echo "cvg-many:x:52000:" >> /run/cvg-many/etc/group
systemctl daemon-reload
"#;
const NO_LONGER: &str = "test ! -e /run/cvg-many/pid || kill $(cat /run/cvg-many/pid); rm -rf /run/cvg-many /run/cvg-noted; rm -f /etc/systemd/system/cvg-many-*.service; systemctl daemon-reload";
const INSTEAD: &str =
    "unshare -m sh -c 'mount --bind /run/cvg-many/etc /etc; PATH=/run/cvg-noted:$PATH; exec \"$0\"'";

/// Notes how often each of the copies is opened, until it is ended.
const WATCH: &str = r#"
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
OPENED = 0x20
watch, names = libc.inotify_init(), {}
for name in ("passwd", "group", "shadow", "gshadow"):
    names[libc.inotify_add_watch(watch, b"/run/cvg-many/etc/" + name.encode(), OPENED)] = name
open("/run/cvg-many/watching", "w")
while True:
    events, at = os.read(watch, 65536), 0
    with open("/run/cvg-many/opened", "a") as opened:
        while at < len(events):
            number, what, _, length = struct.unpack_from("iIII", events, at)
            at += 16 + length
            if what == OPENED:
                print(names[number], file=opened, flush=True)
"#;

#[test]
fn two_hundred_packages_units_and_users_cost_one_reading_each() {
    // There is one apt, and nobody else may change what it knows meanwhile.
    let Some(place) = package::place() else { return };
    let host = &place.host;
    host.sh(NO_LONGER);
    note_calls(host, &["dpkg-query", "apt-cache", "apt-get", "systemctl", "getent"]);
    host.must(TWO_HUNDRED);
    let lines = |command: &str| {
        let said = host.must(command);
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let packages = lines(
        "dpkg-query -W -f='${Package} ${Status}\\n' | sed -n 's/ install ok installed$//p' | sort -u | grep -v ^cvg- | head -200",
    );
    assert_eq!(packages.len(), 200);
    let mut all: Vec<AnyResource> = Vec::new();
    all.extend(packages.iter().map(|name| resource("package", json!({"package": name}))));
    for n in 1..=200 {
        let (unit, user) = (format!("cvg-many-{n}"), format!("cvg-many-{n}"));
        all.push(resource("unit", json!({"unit": unit, "state": "inactive"})));
        let account =
            json!({"user": user, "uid": 52000 + n, "group": "cvg-many", "home": "/", "create_home": false});
        all.push(resource("user", account));
    }
    drop(host.agent());
    let mut agent = host.agent_by(&format!("{INSTEAD} /root/converge-agent-of-tests"));
    // It has looked who it is.
    host.put("/run/cvg-many/watch.py", WATCH.as_bytes());
    host.must("setsid python3 /run/cvg-many/watch.py >/dev/null 2>&1 </dev/null & echo $! > /run/cvg-many/pid; \
               until test -e /run/cvg-many/watching; do kill -0 $(cat /run/cvg-many/pid) || exit 1; sleep 0.05; done");
    let found = agent.check_all(&all);
    for (resource, found) in all.iter().zip(&found) {
        assert_eq!(*found, Ok(Check::Holds), "{}", resource.id());
    }
    assert_eq!(calls(host), "1 dpkg-query, 1 systemctl");
    // The last one is the test's own: all that came before it has been noted then.
    let opened = host.must("cd /run/cvg-many; cat etc/gshadow >/dev/null; \
        until grep -q gshadow opened; do kill -0 $(cat pid) || exit 1; sleep 0.05; done; sort opened | uniq -c | tr -s ' '");
    assert_eq!(opened, " 1 group\n 1 gshadow\n 1 passwd\n");
    // For those that are not there, the index is asked once too.
    let missing: Vec<AnyResource> =
        (1..=200).map(|n| resource("package", json!({"package": format!("nothing-{n}")}))).collect();
    let found = agent.check_all(&missing);
    assert!(found.iter().all(Result::is_err));
    let said = calls(host);
    assert!(said.contains("1 dpkg-query") && !said.contains("apt-get"), "{said}");
    host.sh(NO_LONGER);
}

/// A wrapper that notes where two of a kind run at the same time. It holds each up for a moment, so that they
/// would meet.
const TURNS: &str = r#"#!/bin/sh
tool=${0##*/}
real=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v $tool)
case "$tool $*" in
    *\ -s\ * | systemctl\ show* | systemctl\ is-* ) exec $real "$@" ;;
    systemctl\ *daemon-reload* ) kind=daemon-reload ;;
    apt-get* ) kind=apt ;;
    useradd* | groupadd* | chpasswd* ) kind=accounts ;;
    * ) exec $real "$@" ;;
esac
echo $kind >> /run/cvg-turns/log
mkdir /run/cvg-turns/busy-$kind 2>/dev/null || echo "two of $kind at once" >> /run/cvg-turns/log
sleep 0.3
$real "$@"
code=$?
rmdir /run/cvg-turns/busy-$kind 2>/dev/null
exit $code
"#;

#[test]
fn within_a_host_all_runs_side_by_side_but_apt_useradd_and_daemon_reload_take_turns() {
    let Some(place) = package::place() else { return };
    let host = &place.host;
    let clear = "for n in 1 2 3 4; do userdel -f cvg-turn$n; groupdel cvg-turn$n; systemctl disable -q --now cvg-turn$n; \
                 rm -f /etc/systemd/system/cvg-turn$n.service; done; systemctl daemon-reload; rm -rf /run/cvg-turns";
    host.sh(clear);
    host.put("/run/cvg-turns/apt-get", TURNS.as_bytes());
    host.must("cd /run/cvg-turns; chmod +x apt-get; for t in systemctl useradd groupadd chpasswd; do cp apt-get $t; done");
    let mut all: Vec<AnyResource> = Vec::new();
    for n in 1..=4 {
        all.push(resource("package", json!({"package": format!("cvg-n{n}")})));
        all.push(resource("user", json!({"user": format!("cvg-turn{n}"), "create_home": false})));
        let unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
        all.push(resource("unit", json!({"unit": format!("cvg-turn{n}"), "enabled": true, "content": unit})));
        // Each of two waits for the other.
        let other = if n % 2 == 1 { n + 1 } else { n - 1 };
        let meets = format!("cd /run/cvg-turns; touch met{n}; until test -e met{other}; do sleep 0.05; done");
        all.push(resource("command", json!({"command": meets, "creates": format!("/run/cvg-turns/met{n}")})));
    }
    let mut agent = host.agent_with("PATH=/run/cvg-turns:$PATH");
    agent.timeout = std::time::Duration::from_secs(300);
    let ended = agent.converge_all(&all);
    let log = host.must("sort /run/cvg-turns/log | uniq -c | tr -s ' '");
    for (resource, ended) in all.iter().zip(ended) {
        // A unit that was started is still to prove itself.
        let is_settling = |said: &String| said.contains("must stay so");
        assert!(ended.is_ok() || ended.as_ref().is_err_and(is_settling), "{}: {ended:?}", resource.id());
    }
    assert!(!log.contains("at once"), "{log}");
    for kind in ["accounts", "apt", "daemon-reload"] {
        let count = log.lines().find_map(|line| line.strip_suffix(&format!(" {kind}"))).unwrap_or("0");
        assert!(count.trim().parse::<u32>().is_ok_and(|count| count >= 4), "{kind}: {log}");
    }
    host.sh(clear);
}
