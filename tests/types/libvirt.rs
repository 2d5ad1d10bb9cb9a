//! `domain` under libvirt, on its test driver behind a real libvirtd: the daemon keeps its domains
//! for as long as somebody is connected. What the driver cannot do (a guest that takes its time, or
//! hears nothing) a `virsh` in front of the real one adds. Real guests under qemu were not run.

use converge::resource::{Action, AnyResource, Check, Needed};
use serde_json::{Value, json};

use crate::agent::{Agent, Host, host, resource, told};
use crate::table::Table;

const URI: &str = "LIBVIRT_DEFAULT_URI=test+unix:///default";

/// A libvirtd with a connection that holds its domains, and an agent that speaks to it.
struct Libvirt {
    host: Host,
    name: &'static str,
}

impl Libvirt {
    fn new(name: &'static str) -> Option<Libvirt> {
        let libvirt = Libvirt { host: host()?, name };
        libvirt.host.must("systemctl start libvirtd");
        // Its own label, for the end.
        libvirt.host.must(&format!(
            "echo '(echo list; exec sleep 100000) | {URI} virsh; : {name}' > /run/{name}.hold; \
             setsid sh /run/{name}.hold > /dev/null 2>&1 < /dev/null & sleep 1"
        ));
        let xml = format!(
            "<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type></os></domain>\n"
        );
        libvirt.host.put(&format!("/srv/{name}/{name}.xml"), xml.as_bytes());
        libvirt.host.sh(&libvirt.clear());
        Some(libvirt)
    }

    fn agent(&self) -> Agent {
        drop(self.host.agent());
        self.host.agent_by(&format!("env {URI} /root/converge-agent-of-tests"))
    }

    /// The same, with a `virsh` before the real one that does this first.
    fn agent_behind(&self, first: &str) -> Agent {
        let script = format!("#!/bin/sh\n{first}\nexec /usr/bin/virsh \"$@\"\n");
        let place = format!("/srv/{}/bin", self.name);
        self.host.put(&format!("{place}/virsh"), script.as_bytes());
        self.host.must(&format!("chmod 755 {place}/virsh"));
        drop(self.host.agent());
        self.host.agent_by(&format!(
            "env {URI} PATH={place}:/usr/sbin:/usr/bin:/sbin:/bin /root/converge-agent-of-tests"
        ))
    }

    fn clear(&self) -> String {
        let (name, undefine) = (self.name, "undefine --managed-save --snapshots-metadata");
        format!(
            "export {URI}; virsh -q destroy {name}; virsh -q {undefine} {name}; rm -f /run/converge/libvirt-domains/{name}.json"
        )
    }

    fn virsh(&self, line: &str) -> String {
        self.host.must(&format!("export {URI}; virsh -q '{line}'"))
    }

    fn declared(&self, more: Value) -> Value {
        let config = format!("/srv/{0}/{0}.xml", self.name);
        let mut all = json!({"domain": self.name, "hypervisor": "libvirt", "config": config});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    }

    fn domain(&self, more: Value) -> AnyResource {
        resource("domain", self.declared(more))
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        let name = self.name;
        self.host.sh(&self.clear());
        self.host.sh(&format!("pkill -xf 'sh /run/{name}.hold'; rm -rf /run/{name}.hold /srv/{name}"));
    }
}

#[track_caller]
fn needs(agent: &mut Agent, domain: &AnyResource) -> Needed {
    match agent.check(domain) {
        Ok(Check::Needs(needed)) => needed,
        other => panic!("it should need a change: {other:?}"),
    }
}

/// `V` is virsh, `D` the domain, in what brings it into a situation.
const STARTS: [(&str, &str); 10] = [
    ("absent", ""),
    ("shut off", "V define $X"),
    ("running", "V define $X; V start $D"),
    ("paused", "V define $X; V start $D; V suspend $D"),
    ("saved", "V define $X; V start $D; V managedsave $D"),
    ("transient", "V create $X"),
    ("transient, paused", "V create $X; V suspend $D"),
    ("shut down", "V define $X; V start $D; V shutdown $D"),
    ("started at boot", "V define $X; V autostart $D"),
    ("running, and started at boot", "V define $X; V start $D; V autostart $D"),
];

#[test]
fn a_libvirt_domain_from_every_start_to_every_state() {
    let name = "cvg-virt";
    let Some(libvirt) = Libvirt::new(name) else { return };
    let host = host().unwrap();
    let look = "export LIBVIRT_DEFAULT_URI=test+unix:///default; \
        virsh -q 'domstate cvg-virt --reason; dominfo cvg-virt' 2>&1 | grep -v 'CPU time'";
    for (wanted, off) in [
        // In the order of the starts; `s`tate, `d`efined, `a`utostart.
        ("running", ["sa", "sa", "a", "sa", "sa", "da", "dsa", "sa", "s", ""]),
        ("paused", ["sa", "sa", "sa", "a", "sa", "dsa", "da", "sa", "s", "s"]),
        ("shutdown", ["", "", "s", "s", "", "s", "s", "", "", "s"]),
        ("absent", ["", "s", "s", "s", "s", "s", "s", "s", "s", "s"]),
    ] {
        let is_up = matches!(wanted, "running" | "paused");
        let more = if is_up { json!({"state": wanted, "autostart": true}) } else { json!({"state": wanted}) };
        let (declared, clear) = (libvirt.declared(more), libvirt.clear().leak());
        let agent = libvirt.agent();
        let mut table = Table { host: &host, agent, word: "domain", declared, clear, look };
        for ((start, arrange), off) in STARTS.iter().zip(off) {
            let words: Vec<&str> = off
                .chars()
                .map(|letter| match letter {
                    's' => "state",
                    'd' => "defined",
                    _ => "autostart",
                })
                .collect();
            let line = format!(
                "export {URI}; V() {{ virsh -q \"$@\" > /dev/null; }}; D={name}; X=/srv/{name}/{name}.xml; {arrange}"
            );
            table.row(&format!("{wanted} from {start}"), &line, &words);
            let state = libvirt.host.sh(&format!("export {URI}; virsh -q domstate {name}")).1;
            let is_so = match wanted {
                "running" => state.trim() == "running",
                "paused" => state.trim() == "paused",
                "shutdown" => state.contains("shut off") || state.contains("failed to get domain"),
                _ => state.contains("failed to get domain"),
            };
            assert!(is_so, "{wanted} from {start}: {state}");
        }
    }
}

#[test]
fn a_shutdown_is_awaited_and_not_taken_for_done() {
    let Some(libvirt) = Libvirt::new("cvg-slow") else { return };
    // A guest that takes its time.
    let slow = "case \"$*\" in *shutdown*) (sleep 4; /usr/bin/virsh \"$@\") >/dev/null 2>&1 & exit 0;; esac";
    let mut agent = libvirt.agent_behind(slow);
    for state in ["shutdown", "absent"] {
        libvirt.virsh("define /srv/cvg-slow/cvg-slow.xml; start cvg-slow");
        let domain = libvirt.domain(json!({"state": state}));
        let needed = needs(&mut agent, &domain);
        assert_eq!(told(&needed), format!("state: running (booted) → {state}"));
        let after = agent.apply(&domain, &needed);
        if state == "shutdown" {
            let Ok(Check::Waits(waiting)) = &after else { panic!("it still runs: {after:?}") };
            assert!(
                waiting.passing && waiting.reason.contains("was asked to shut down"),
                "{}",
                waiting.reason
            );
        }
        // Asked once, and waited for: no second run asks again.
        assert_eq!(agent.converge(&domain), (None, Ok(())), "{state}");
    }
}

#[test]
fn a_guest_that_does_not_shut_down_is_a_failure_and_runs_on() {
    let Some(libvirt) = Libvirt::new("cvg-deaf") else { return };
    let mut agent = libvirt.agent_behind("case \"$*\" in *shutdown*) exit 0;; esac");
    libvirt.virsh("define /srv/cvg-deaf/cvg-deaf.xml; start cvg-deaf");
    for state in ["shutdown", "absent"] {
        let domain = libvirt.domain(json!({"state": state, "shutdown_timeout": "1s"}));
        let (_, end) = agent.converge(&domain);
        let said = end.unwrap_err();
        assert!(said.contains("has not within its shutdown_timeout of 1s"), "{state}: {said}");
        assert_eq!(libvirt.virsh("domstate cvg-deaf").trim(), "running");
    }
}

#[test]
fn a_hypervisor_that_cannot_begin_paused_is_paused_right_after() {
    let Some(libvirt) = Libvirt::new("cvg-pause") else { return };
    let mut agent = libvirt.agent();
    let domain = libvirt.domain(json!({"state": "paused"}));
    assert_eq!(needs(&mut agent, &domain).action, Action::Create);
    assert_eq!(agent.converge(&domain).1, Ok(()));
    assert_eq!(libvirt.virsh("domstate cvg-pause --reason").trim(), "paused (user)");
}

#[test]
fn what_a_libvirt_domain_lacks_is_named() {
    let Some(libvirt) = Libvirt::new("cvg-lacks") else { return };
    let mut agent = libvirt.agent();
    let without = resource("domain", json!({"domain": "cvg-lacks", "hypervisor": "libvirt"}));
    let failure = agent.check(&without).unwrap_err();
    assert_eq!(failure.reason, "libvirt knows no domain cvg-lacks");
    assert!(failure.help.unwrap().contains("`config`"));
    libvirt.host.put("/srv/cvg-lacks/other.xml", b"<domain><name>other</name></domain>");
    libvirt.host.put("/srv/cvg-lacks/none.xml", b"name = \"cvg-lacks\"\n");
    libvirt.host.put("/srv/cvg-lacks/half.xml", b"<domain type='test'><name>cvg-lacks</name><memory>1<");
    for (file, words) in [
        ("nothing.xml", "its configuration /srv/cvg-lacks/nothing.xml does not exist"),
        ("other.xml", "is the configuration of the domain other, and not of cvg-lacks"),
        ("none.xml", "is no libvirt domain with a name"),
        ("half.xml", "could not be defined from /srv/cvg-lacks/half.xml"),
    ] {
        let domain = libvirt.domain(json!({"config": format!("/srv/cvg-lacks/{file}")}));
        let (_, end) = agent.converge(&domain);
        let said = end.unwrap_err();
        assert!(said.contains(words), "{said}");
    }
    // Where it is known, no configuration is needed.
    libvirt.virsh("define /srv/cvg-lacks/cvg-lacks.xml");
    assert_eq!(agent.converge(&without).1, Ok(()));
    let other = "env LIBVIRT_DEFAULT_URI=test+unix:///default?socket=/run/no-libvirt-here /root/converge-agent-of-tests";
    let failure = libvirt.host.agent_by(other).check(&without).unwrap_err();
    assert!(failure.help.as_ref().is_some_and(|help| help.contains("- unit: libvirtd")), "{failure:?}");
}
