//! `domain` on a lab's dom0, whose stand-in for `xl` was checked against a real one. The domains
//! of these tests are rows in its table. `CONVERGE_TEST_DOM0` is the command that reaches it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::agent::{Agent, Host, named_host, resource, told};
use converge::resource::{AnyResource, Check, Needed};
use serde_json::{Value, json};

use crate::table::Table;

/// A domain of a test's own, destroyed when it ends.
struct Scratch {
    host: Host,
    name: &'static str,
}

impl Scratch {
    fn new(name: &'static str, more: &str) -> Option<(Scratch, Agent)> {
        let host = named_host("CONVERGE_TEST_DOM0")?;
        let scratch = Scratch { host, name };
        scratch.clear();
        let config = format!(
            "name = \"{name}\"\ntype = \"pv\"\nkernel = \"/boot/vmlinuz-6.1.0-56-amd64\"\nmemory = 64\nvcpus = 1\n{more}\n"
        );
        scratch.host.put(&format!("/etc/xen/{name}.cfg"), config.as_bytes());
        let agent = scratch.host.agent();
        Some((scratch, agent))
    }

    fn clear(&self) {
        self.host.sh(&format!(
            "xl destroy {0}; rm -f /etc/xen/{0}.cfg /etc/xen/auto/{0}* /run/systemd/system/xendomains.service.d/{0}.conf",
            self.name
        ));
    }

    fn xl(&self, verb: &str) {
        self.host.must(&format!("xl {verb} {}", self.name));
    }

    fn create(&self, options: &str) {
        self.host.must(&format!("xl create {options} /etc/xen/{}.cfg", self.name));
    }

    fn declared(&self, attributes: Value) -> Value {
        let mut all = json!({"domain": self.name});
        all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        all
    }

    fn domain(&self, attributes: Value) -> AnyResource {
        resource("domain", self.declared(attributes))
    }

    fn state(&self, state: &str) -> AnyResource {
        self.domain(json!({"state": state}))
    }

    /// Its state column; empty: it is not listed.
    fn flags(&self) -> String {
        let list = self.host.must("xl list");
        let row = list.lines().find(|line| line.starts_with(&format!("{} ", self.name)));
        row.and_then(|row| row.split_whitespace().nth(4)).unwrap_or_default().to_owned()
    }
}

/// What `xendomains` is about to start, it starts for all who are linked: one test at a time.
fn xendomains() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
    }
}

fn needs(agent: &mut Agent, domain: &AnyResource) -> Needed {
    match agent.check(domain) {
        Ok(Check::Needs(needed)) => needed,
        other => panic!("it should need a change: {other:?}"),
    }
}

#[test]
fn a_domain_from_every_start_to_every_state() {
    let kept = "on_poweroff = \"preserve\"\non_crash = \"preserve\"";
    let Some((scratch, agent)) = Scratch::new("cvg-grid", kept) else { return };
    let clear = "xl destroy cvg-grid; rm -f /etc/xen/auto/cvg-grid* /run/converge/domains/cvg-grid.json";
    // Which life of it, and whether it is paused or shut down; what it does at a moment is none of it.
    let look = "xl list | awk '$1 == \"cvg-grid\" {gsub(\"[rb]\", \"-\", $5); print $2, $5}'; \
                stat -c '%n %F %i %Y' /etc/xen/auto/cvg-grid* 2>&1; true";
    let declared = scratch.declared(json!({}));
    let mut table = Table { host: &scratch.host, agent, word: "domain", declared, clear, look };
    let create = "xl create /etc/xen/cvg-grid.cfg";
    // From where, by what, and the states of which it is one.
    let starts = [
        ("absent", "true".to_owned(), vec!["absent", "shutdown"]),
        ("running", create.to_owned(), vec!["running"]),
        ("paused twice", format!("{create}; xl pause cvg-grid; xl pause cvg-grid"), vec!["paused"]),
        ("created paused", "xl create -p /etc/xen/cvg-grid.cfg".to_owned(), vec!["paused"]),
        ("shut down, preserved", format!("{create}; xl shutdown -w cvg-grid"), vec!["shutdown"]),
        ("crashed, preserved", format!("{create}; xl sysrq cvg-grid c; sleep 1"), vec!["shutdown"]),
    ];
    for wanted in ["running", "paused", "shutdown", "absent"] {
        table.declared = scratch.declared(json!({"state": wanted}));
        for (start, arrange, is) in &starts {
            let off: &[&str] = if is.contains(&wanted) { &[] } else { &["state"] };
            table.row(&format!("{wanted} from {start}"), arrange, off);
            let flags = scratch.flags();
            let is_so = match wanted {
                "running" => !flags.is_empty() && !flags.contains(['p', 's']),
                "paused" => flags == "--p---",
                "shutdown" => flags.is_empty() || flags.contains('s'),
                _ => flags.is_empty(),
            };
            assert!(is_so, "{wanted} from {start}: `{flags}`");
        }
    }
    table.declared = scratch.declared(json!({"autostart": true}));
    let link = "ln -s /etc/xen/cvg-grid.cfg /etc/xen/auto/";
    table.row("absent, and not begun at boot", "true", &["state", "autostart"]);
    table.row("running, and begun at boot", &format!("{create}; {link}"), &[]);
    table.row("running, and not begun at boot", create, &["autostart"]);
    table.row("absent, and begun at boot", link, &["state"]);
    table.declared = scratch.declared(json!({"autostart": false}));
    table.row("running, and begun at boot, which is not to be", &format!("{create}; {link}"), &["autostart"]);
}

#[test]
fn a_domain_that_is_being_built_is_awaited_and_neither_unpaused_nor_created_again() {
    let Some((scratch, mut agent)) = Scratch::new("cvg-built", "") else { return };
    scratch.host.must("nohup xl create /etc/xen/cvg-built.cfg >/dev/null 2>&1 & sleep 0.7");
    let domain = scratch.state("running");
    let Ok(Check::Waits(waiting)) = agent.check(&domain) else { panic!("{}", scratch.flags()) };
    assert!(waiting.passing && waiting.reason.contains("being built"), "{}", waiting.reason);
    assert_eq!(agent.converge(&domain), (None, Ok(())));
}

#[test]
fn a_create_right_after_a_shutdown_waits_for_the_old_domain_to_go() {
    let Some((scratch, mut agent)) = Scratch::new("cvg-again", "") else { return };
    scratch.create("");
    scratch.xl("shutdown -w");
    assert_eq!(agent.converge(&scratch.state("running")).1, Ok(()));
}

#[test]
fn a_guest_that_took_no_notice_while_it_booted_is_asked_again() {
    let Some((scratch, mut agent)) = Scratch::new("cvg-deaf", "extra = \"deaf=1\"") else { return };
    scratch.create("");
    assert_eq!(agent.converge(&scratch.state("shutdown")).1, Ok(()));
    assert_eq!(scratch.flags(), "");
}

#[test]
fn a_guest_that_does_not_go_is_told_with_the_way_out_and_runs_on() {
    for (how, said) in [
        ("deaf", "has not within its shutdown_timeout of 6s"),
        ("hung", "has not even taken notice within its shutdown_timeout of 6s"),
    ] {
        let extra = format!("extra = \"{how}\"");
        let Some((scratch, mut agent)) = Scratch::new("cvg-stays", &extra) else { return };
        scratch.create("");
        for state in ["shutdown", "absent"] {
            let domain = scratch.domain(json!({"state": state, "shutdown_timeout": "6s"}));
            let needed = match agent.check(&domain) {
                Ok(Check::Needs(needed)) => needed,
                // Asked by the round before: its time is not over.
                Ok(Check::Waits(_)) => {
                    scratch.host.must("rm /run/converge/domains/cvg-stays.json");
                    needs(&mut agent, &domain)
                }
                other => panic!("{other:?}"),
            };
            let failure = agent.apply(&domain, &needed).unwrap_err();
            assert!(failure.reason.contains(said), "{}", failure.reason);
            assert!(failure.help.is_some_and(|help| help.contains("xl destroy cvg-stays")));
            assert!(!scratch.flags().contains(['p', 's']) && !scratch.flags().is_empty());
        }
    }
}

#[test]
fn what_was_unpaused_half_built_is_no_running_domain_and_is_built_anew() {
    let Some((scratch, mut agent)) = Scratch::new("cvg-half", "") else { return };
    scratch.host.must(
        "xl create /etc/xen/cvg-half.cfg >/dev/null 2>&1 & \
         until xl list cvg-half 2>/dev/null | grep -q ' 0     0 '; do :; done; kill -9 $!; xl unpause cvg-half",
    );
    assert_eq!(scratch.flags(), "------");
    assert_eq!(agent.converge(&scratch.state("running")).1, Ok(()));
    assert!(scratch.flags().contains(['r', 'b']), "{}", scratch.flags());
}

#[test]
fn what_is_preserved_and_looks_as_if_it_went_away_is_not_waited_for_for_ever() {
    let kept = "on_poweroff = \"preserve\"\non_reboot = \"preserve\"";
    for (verb, flags) in [("shutdown -w", "--ps--"), ("reboot -w", "--psr-")] {
        let Some((scratch, mut agent)) = Scratch::new("cvg-kept", kept) else { return };
        scratch.create("");
        scratch.xl(verb);
        scratch.xl("pause");
        assert_eq!(scratch.flags(), flags);
        assert_eq!(agent.converge(&scratch.state("running")).1, Ok(()), "{verb}");
        assert!(scratch.flags().contains(['r', 'b']), "{}", scratch.flags());
    }
}

#[test]
fn a_shutdown_is_asked_for_once_and_awaited_and_when_overdue_told() {
    let Some((scratch, mut agent)) = Scratch::new("cvg-asked", "") else { return };
    scratch.create("");
    let needed = needs(&mut agent, &scratch.state("shutdown"));
    assert_eq!(told(&needed), "state: running → shutdown");
    // The guest still runs when it has been asked: that is no drift, until its time is over.
    let id = scratch.host.must("xl domid cvg-asked");
    scratch.host.must("mkdir -p -m 700 /run/converge/domains");
    scratch.host.put("/run/converge/domains/cvg-asked.json", id.trim().as_bytes());
    let Ok(Check::Waits(waiting)) = agent.check(&scratch.state("shutdown")) else { panic!("it was asked") };
    assert!(waiting.passing && waiting.reason.contains("was asked to shut down"), "{}", waiting.reason);
    let overdue = scratch.domain(json!({"state": "shutdown", "shutdown_timeout": "1ms"}));
    let said = told(&needs(&mut agent, &overdue));
    assert!(said.contains("has not within its shutdown_timeout of 1ms"), "{said}");
    assert!(!scratch.flags().is_empty());
    // Another life of the domain was not asked.
    scratch.xl("destroy");
    scratch.create("");
    needs(&mut agent, &scratch.state("shutdown"));
}

#[test]
fn what_is_wrong_with_the_configuration_is_said_before_anything_is_done() {
    let Some((scratch, mut agent)) = Scratch::new("cvg-config", "") else { return };
    let why = |agent: &mut Agent, domain: &AnyResource| agent.check(domain).unwrap_err().reason;
    let missing = why(&mut agent, &scratch.domain(json!({"config": "/etc/xen/nowhere.cfg"})));
    assert!(missing.contains("its configuration /etc/xen/nowhere.cfg does not exist"), "{missing}");
    scratch.host.put("/etc/xen/cvg-config.cfg", b"name = \"other\"\n");
    assert!(why(&mut agent, &scratch.state("running")).contains("the domain other"));
    scratch.host.put("/etc/xen/cvg-config.cfg", b"memory = 64\n");
    assert!(why(&mut agent, &scratch.state("running")).contains("has no `name`"));
    scratch
        .host
        .put("/etc/xen/cvg-config.cfg", b"name = \"cvg-config\"\nkernel = \"/boot/nosuch\"\nmemory = 64\n");
    let (_, end) = agent.converge(&scratch.state("running"));
    assert!(end.unwrap_err().contains("/boot/nosuch, which it is to boot, cannot be opened"));
}

#[test]
fn what_the_boot_is_about_to_start_is_awaited_and_not_created_beside_it() {
    let _alone = xendomains();
    let Some((scratch, mut agent)) = Scratch::new("cvg-boot", "") else { return };
    // As in a boot that has not come to it yet.
    scratch.host.must("mkdir -p /run/systemd/system/xendomains.service.d");
    scratch.host.put(
        "/run/systemd/system/xendomains.service.d/cvg-boot.conf",
        b"[Service]\nExecStart=\nExecStart=/bin/sh -c 'sleep 4; xl create /etc/xen/cvg-boot.cfg'\nExecStop=\n",
    );
    scratch.host.must("ln -s /etc/xen/cvg-boot.cfg /etc/xen/auto/");
    scratch.host.must("systemctl daemon-reload; systemctl restart --no-block xendomains");
    let domain = scratch.state("running");
    let Ok(Check::Waits(waiting)) = agent.check(&domain) else { panic!("{}", scratch.flags()) };
    assert!(
        waiting.passing && waiting.reason.contains("is about to start domain cvg-boot"),
        "{}",
        waiting.reason
    );
    assert_eq!(agent.converge(&domain), (None, Ok(())));
    scratch.host.must("until [ \"$(systemctl is-active xendomains)\" != activating ]; do sleep 0.1; done");
    assert_eq!(
        scratch.host.must("systemctl show -P Result xendomains").trim(),
        "success",
        "nobody was in its way"
    );
    // Once the boot is over, it is nobody else's to create.
    scratch.xl("destroy");
    assert_eq!(told(&needs(&mut agent, &domain)), "state: absent → running");
    drop(scratch);
    let host = named_host("CONVERGE_TEST_DOM0").expect("it was there");
    host.must("systemctl daemon-reload");
}

#[test]
fn autostart_is_a_link_whatever_its_name() {
    let _alone = xendomains();
    let Some((scratch, mut agent)) = Scratch::new("cvg-auto", "") else { return };
    let on = scratch.domain(json!({"autostart": true, "state": "shutdown"}));
    let off = scratch.domain(json!({"autostart": false, "state": "shutdown"}));
    assert_eq!(told(&needs(&mut agent, &on)), "autostart: no → yes");
    assert_eq!(agent.converge(&on).1, Ok(()));
    assert_eq!(scratch.host.must("readlink /etc/xen/auto/cvg-auto.cfg").trim(), "/etc/xen/cvg-auto.cfg");
    assert_eq!(agent.converge(&off).1, Ok(()));
    scratch.host.must("ln -s ../cvg-auto.cfg /etc/xen/auto/cvg-auto");
    assert_eq!(agent.converge(&on), (None, Ok(())));
    assert_eq!(agent.converge(&off).1, Ok(()));
    assert_eq!(scratch.host.sh("ls /etc/xen/auto/cvg-auto").0, 2);
}
