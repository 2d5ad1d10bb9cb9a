//! However many resources of a host are checked together, what they are about is read once.

use serde_json::json;

use crate::agent::{Host, host, resource};
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

#[test]
fn two_hundred_packages_units_and_users_cost_one_reading_each() {
    let Some(host) = host() else { return };
    note_calls(&host, &["dpkg-query", "apt-cache", "apt-get", "systemctl", "getent"]);
    let lines = |command: &str| {
        let said = host.must(command);
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let packages = lines(
        "dpkg-query -W -f='${Package} ${Status}\\n' | sed -n 's/ install ok installed$//p' | sort -u | head -200",
    );
    let units =
        lines("systemctl list-unit-files --no-legend | awk '$1 !~ /@\\./ {print $1}' | sort -u | head -200");
    assert!(packages.len() >= 200 && units.len() >= 100, "{} {}", packages.len(), units.len());
    let mut all: Vec<AnyResource> = Vec::new();
    all.extend(packages.iter().map(|name| resource("package", json!({"package": name}))));
    all.extend(units.iter().map(|name| resource("unit", json!({"unit": name, "state": "inactive"}))));
    let users = lines("cut -d: -f1 /etc/passwd | grep -v ^cvg-");
    all.extend((0..200).map(|n| {
        resource("user", json!({"user": users[n % users.len()], "create_home": false, "groups": ["users"]}))
    }));
    let mut agent = host.agent_with("PATH=/run/cvg-noted:$PATH");
    let found = agent.check_all(&all);
    assert!(found[..packages.len()].iter().all(|found| *found == Ok(Check::Holds)), "they are installed");
    assert_eq!(calls(&host), "1 dpkg-query, 1 systemctl");
    // For those that are not there, the index is asked once too.
    let missing: Vec<AnyResource> =
        (1..=200).map(|n| resource("package", json!({"package": format!("nothing-{n}")}))).collect();
    let found = agent.check_all(&missing);
    assert!(found.iter().all(Result::is_err));
    let said = calls(&host);
    assert!(said.contains("1 dpkg-query") && !said.contains("apt-get"), "{said}");
    host.must("rm -rf /run/cvg-noted");
}
