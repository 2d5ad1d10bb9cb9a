//! What goes wrong, and what comes in between.

use std::time::Duration;

use converge::resource::{Check, Thing};
use serde_json::json;

use super::{LOOK, Place, dpkg, install, place};
use crate::agent::{resource, told};

/// A process that holds this file's lock for so long, as apt and dpkg do.
pub fn hold_lock(place: &Place, path: &str, seconds: u32) {
    let program = format!(
        "import fcntl, time; f = open('{path}', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); open('/run/cvg-held', 'w'); \
         time.sleep({seconds})"
    );
    place.host.must(&format!(
        "rm -f /run/cvg-held; systemd-run -q --collect python3 -c \"{program}\"; \
         until test -e /run/cvg-held; do sleep .05; done"
    ));
}

#[test]
fn another_program_that_holds_dpkgs_lock_is_named_and_waited_for() {
    let Some(place) = place() else { return };
    let declared = resource("package", json!({"package": "cvg-a"}));
    for lock in ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/cache/apt/archives/lock"] {
        place.host.must("dpkg --purge cvg-a 2>/dev/null; rm -rf /etc/cvg-a");
        let mut agent = place.host.agent();
        hold_lock(&place, lock, 6);
        let Ok(Check::Needs(needed)) = agent.check(&declared) else { panic!("it needs nothing") };
        assert_eq!(needed.lacks.len(), 1, "{lock}");
        assert_eq!(needed.lacks[0].thing, Thing::Lock(lock.to_owned()));
        assert!(needed.lacks[0].what.starts_with(&format!("{lock} is held by python3 (process ")));
        let (applied, end) = agent.converge(&declared);
        assert_eq!(end, Ok(()), "{lock}");
        assert!(applied.is_some_and(|needed| needed.lacks.is_empty()), "{lock}: it did not wait");
    }
}

#[test]
fn a_lock_that_is_taken_after_the_check_is_waited_for_until_the_timeout() {
    let Some(place) = place() else { return };
    let declared = resource("package", json!({"package": "cvg-a"}));
    let mut agent = place.host.agent();
    let Ok(Check::Needs(needed)) = agent.check(&declared) else { panic!("it needs nothing") };
    hold_lock(&place, "/var/lib/dpkg/lock-frontend", 2);
    assert_eq!(agent.apply(&declared, &needed), Ok(Check::Holds));
    place.host.must("dpkg --purge cvg-a");
    hold_lock(&place, "/var/lib/dpkg/lock-frontend", 9);
    agent.timeout = Duration::from_secs(3);
    let failure = agent.apply(&declared, &needed).unwrap_err();
    assert!(failure.reason.contains("lock-frontend is held by python3 (process "), "{}", failure.reason);
    place.host.must("systemctl stop 'run-*.service'");
}

#[test]
fn a_script_that_fails_is_told_with_its_last_words_and_a_later_run_mends_it() {
    let Some(place) = place() else { return };
    let declared = resource("package", json!({"package": "cvg-a"}));
    place.host.must("touch /run/cvg-fail");
    let mut agent = place.host.agent();
    let Ok(Check::Needs(needed)) = agent.check(&declared) else { panic!("it needs nothing") };
    let failure = agent.apply(&declared, &needed).unwrap_err();
    assert_eq!(
        failure.reason,
        "installing cvg-a 2.0-1: the post-installation script of cvg-a failed with exit status 3: \
         broken by design"
    );
    assert!(failure.details.iter().any(|detail| detail.text.contains("Setting up cvg-a (2.0-1)")));
    // A second run says the same, and not that all is well.
    let (applied, end) = agent.converge(&declared);
    assert_eq!(told(&applied.unwrap()), "state: half-configured → present");
    let said = end.unwrap_err();
    assert!(said.contains("broken by design"), "{said}");
    place.host.must("rm /run/cvg-fail");
    assert_eq!(agent.converge(&declared).1, Ok(()));
}

#[test]
fn another_packages_failure_is_not_this_ones() {
    let Some(place) = place() else { return };
    place.host.must(&format!("touch /run/cvg-fail; {}; true", install("cvg-a_1.0_all.deb")));
    let (_, end) = place.host.agent().converge(&resource("package", json!({"package": "cvg-web"})));
    assert_eq!(end, Ok(()));
    assert!(place.host.must(LOOK).contains("cvg-a 1.0 install ok half-configured"));
}

#[test]
fn a_run_that_hangs_is_killed_whole_and_the_next_one_mends_it() {
    let Some(place) = place() else { return };
    let declared = resource("package", json!({"package": "cvg-a"}));
    place.host.must("touch /run/cvg-hang");
    let mut agent = place.host.agent();
    let Ok(Check::Needs(needed)) = agent.check(&declared) else { panic!("it needs nothing") };
    agent.timeout = Duration::from_secs(6);
    let failure = agent.apply(&declared, &needed).unwrap_err();
    assert!(failure.reason.contains("did not end within its timeout"), "{}", failure.reason);
    let shown: Vec<&str> = failure.details.iter().map(|detail| detail.text.as_str()).collect();
    assert!(shown.join("\n").contains("Setting up cvg-a"), "what it was at is shown: {shown:?}");
    let (code, left) = place.host.sh("sleep .5; pgrep -ax 'dpkg|apt-get' || pgrep -af '[c]vg-a.postinst'");
    assert_eq!((code, left.as_str()), (1, ""), "something outlived it");
    place.host.must("rm /run/cvg-hang");
    agent.timeout = Duration::from_secs(60);
    assert_eq!(agent.converge(&declared).1, Ok(()));
}

#[test]
fn an_agent_that_is_killed_in_the_middle_leaves_what_the_next_run_mends() {
    let Some(place) = place() else { return };
    let declared = resource("package", json!({"package": "cvg-dep2"}));
    place.host.must("touch /run/cvg-hang");
    let mut agent = place.host.agent();
    let Ok(Check::Needs(needed)) = agent.check(&declared) else { panic!("it needs nothing") };
    let applying = std::thread::spawn(move || drop(agent.apply(&declared, &needed)));
    place.host.must("until pgrep -f '[c]vg-a.postinst' >/dev/null; do sleep .1; done");
    // Power is cut: nobody ends in good order.
    place.host.must(
        "pkill -9 -f '[c]onverge-agent-of-tests'; pkill -9 -x apt-get; pkill -9 -x dpkg; \
                     pkill -9 -f '[c]vg-a.postinst'; rm /run/cvg-hang; sleep .3",
    );
    drop(applying.join());
    let before = place.host.must(LOOK);
    assert!(before.contains("half-configured") || before.contains("unpacked"), "{before}");
    let declared = resource("package", json!({"package": "cvg-dep2"}));
    assert_eq!(place.host.agent().converge(&declared).1, Ok(()));
    assert!(place.host.must("dpkg --audit").is_empty());
}

#[test]
fn a_configuration_file_that_was_changed_stays_and_nobody_is_asked() {
    let Some(place) = place() else { return };
    place.host.must(&(install("cvg-a_1.0_all.deb") + "; echo mine >/etc/cvg-a/conf"));
    let declared = resource("package", json!({"package": "cvg-a", "state": "latest"}));
    assert_eq!(place.host.agent().converge(&declared).1, Ok(()));
    let seen = place.host.must("cat /etc/cvg-a/conf /usr/share/cvg-a/version");
    assert_eq!(seen, "mine\n2.0-1\n");
    let gone = resource("package", json!({"package": "cvg-a", "state": "absent"}));
    assert_eq!(place.host.agent().converge(&gone).1, Ok(()));
    assert_eq!(place.host.must("cat /etc/cvg-a/conf"), "mine\n", "removed is not purged");
}

#[test]
fn what_goes_along_is_in_the_plan_and_no_more_goes() {
    let Some(place) = place() else { return };
    place.host.must(&install("cvg-mta1_1.0_all.deb"));
    let mut agent = place.host.agent();
    let declared = resource("package", json!({"package": "cvg-mta2"}));
    let Ok(Check::Needs(needed)) = agent.check(&declared) else { panic!("it needs nothing") };
    assert_eq!(
        told(&needed),
        "state: absent → present\nversion: nothing → 1.0\nconflicts: cvg-mta1 1.0 → nothing"
    );
    assert_eq!(agent.apply(&declared, &needed), Ok(Check::Holds));
    place.host.must(&install("cvg-a_1.0_all.deb cvg-dep_1.0_all.deb"));
    let gone = resource("package", json!({"package": "cvg-a", "state": "absent"}));
    let Ok(Check::Needs(needed)) = agent.check(&gone) else { panic!("it needs nothing") };
    assert_eq!(
        told(&needed),
        "state: present → absent\nversion: 1.0 → nothing\ndependents: cvg-dep 1.0 → nothing"
    );
    // Somebody installs another one between plan and apply.
    place.host.must(&install("cvg-dep2_1.0_all.deb"));
    let failure = agent.apply(&gone, &needed).unwrap_err();
    assert_eq!(failure.reason, "it would take away more than was planned: cvg-dep2 1.0");
    assert!(place.host.must(LOOK).contains("cvg-a 1.0 install ok installed"));
}

#[test]
fn many_that_take_nothing_along_and_one_that_does_are_told_apart() {
    let Some(place) = place() else { return };
    place.host.must(&install("cvg-mta1_1.0_all.deb cvg-a_1.0_all.deb cvg-dep_1.0_all.deb"));
    let declared = [
        json!({"package": "cvg-web"}),
        json!({"package": "cvg-mta2"}),
        json!({"package": "cvg-bad"}),
        json!({"package": "cvg-a", "state": "absent"}),
    ];
    let found = place.host.agent().check_all(&declared.map(|one| resource("package", one)));
    let told = |index: usize| match &found[index] {
        Ok(Check::Needs(needed)) => told(needed),
        other => format!("{other:?}"),
    };
    assert_eq!(told(0), "state: absent → present\nversion: nothing → 1.0");
    assert!(told(1).ends_with("conflicts: cvg-mta1 1.0 → nothing"), "{}", told(1));
    assert!(told(2).contains("cvg-bad : Depends: cvg-nowhere (>= 2)"), "{}", told(2));
    assert!(told(3).ends_with("dependents: cvg-dep 1.0 → nothing"), "{}", told(3));
}

#[test]
fn a_virtual_package_is_present_where_one_provides_it() {
    let Some(place) = place() else { return };
    let mut agent = place.host.agent();
    let mut check =
        |name: &str, state: &str| agent.check(&resource("package", json!({"package": name, "state": state})));
    let failure = check("cvg-mta", "present").unwrap_err();
    assert_eq!(failure.reason, "cvg-mta is a virtual package: cvg-mta1, cvg-mta2 provide it");
    let failure = check("cvg-single", "present").unwrap_err();
    assert_eq!(failure.reason, "cvg-single is a virtual package, which cvg-alone provides");
    assert_eq!(failure.help.unwrap(), "say which it is to be: `- package: cvg-alone`");
    assert_eq!(check("cvg-mta", "absent"), Ok(Check::Holds));
    place.host.must(&install("cvg-mta1_1.0_all.deb"));
    assert_eq!(check("cvg-mta", "present"), Ok(Check::Holds));
    assert_eq!(check("cvg-mta", "latest"), Ok(Check::Holds));
    let failure = check("cvg-mta", "absent").unwrap_err();
    assert_eq!(failure.reason, "cvg-mta is a virtual package, which cvg-mta1 provides");
}

#[test]
fn a_package_of_another_architecture_is_another_package() {
    let Some(place) = place() else { return };
    let mut table = place.table(json!({"package": "cvg-arch:i386"}));
    table.row("absent", "", &["state", "version"]);
    table.row("there", &dpkg("--force-all -i cvg-arch_1.0_i386.deb"), &[]);
    let other = dpkg("-i cvg-arch_1.0_amd64.deb");
    // They are the same files: apt puts one in place of the other.
    table.row("that of this machine", &other, &["state", "version", "conflicts"]);
}

#[test]
fn dependencies_that_cannot_be_met_are_told_in_the_plan() {
    let Some(place) = place() else { return };
    let failure = place.host.agent().check(&resource("package", json!({"package": "cvg-bad"}))).unwrap_err();
    assert_eq!(
        failure.reason,
        "installing cvg-bad 1.0: its dependencies cannot be met: cvg-bad : Depends: cvg-nowhere (>= 2) \
         but it is not installable"
    );
}

#[test]
fn a_full_disk_is_told_as_such_and_leaves_nothing_half_done() {
    let Some(place) = place() else { return };
    place.host.must("mkdir -p /usr/share/cvg-a; mount -t tmpfs -o size=4k,nr_inodes=1 none /usr/share/cvg-a");
    let (_, end) = place.host.agent().converge(&resource("package", json!({"package": "cvg-a"})));
    place.host.must("umount /usr/share/cvg-a");
    let said = end.unwrap_err();
    assert!(said.starts_with("installing cvg-a 2.0-1: the disk is full: "), "{said}");
    let (_, end) = place.host.agent().converge(&resource("package", json!({"package": "cvg-a"})));
    assert_eq!(end, Ok(()));
}

#[test]
fn tools_speak_english_whatever_the_hosts_language() {
    let Some(place) = place() else { return };
    // What each of them is told, noted by a wrapper in front of it.
    let note = "for tool in apt-get apt-cache dpkg-query; do \
        printf '#!/bin/sh\\necho \"$LC_ALL $LANGUAGE\" >>/run/cvg-spoken\\nexec /usr/bin/%s \"$@\"\\n' $tool \
        >/usr/local/bin/$tool; chmod +x /usr/local/bin/$tool; done";
    place.host.must(note);
    let declared = resource("package", json!({"package": "cvg-a"}));
    let mut agent = place.host.agent_with("LC_ALL=de_DE.UTF-8 LANGUAGE=de LANG=de_DE.UTF-8");
    let (_, end) = agent.converge(&declared);
    let spoken = place.host.must("sort -u /run/cvg-spoken; rm /usr/local/bin/apt-get /usr/local/bin/apt-cache /usr/local/bin/dpkg-query");
    assert_eq!(end, Ok(()));
    assert_eq!(spoken, "C \nC.UTF-8 \n");
}

#[test]
fn a_manager_that_is_not_there_is_named() {
    let Some(place) = place() else { return };
    let declared = resource("package", json!({"package": "x", "manager": "apk"}));
    let failure = place.host.agent().check(&declared).unwrap_err();
    assert_eq!(failure.reason, "`apk` is not installed here");
}

#[test]
fn who_is_not_root_can_look_and_is_told_what_it_takes_to_change() {
    let Some(place) = place() else { return };
    let mut agent = place.host.agent_as("admin");
    let declared = resource("package", json!({"package": "cvg-a"}));
    let Ok(Check::Needs(needed)) = agent.check(&declared) else { panic!("it needs nothing") };
    let failure = agent.apply(&declared, &needed).unwrap_err();
    assert_eq!(failure.reason, "only root can install and remove packages, and this is admin");
    assert_eq!(failure.help.unwrap(), "give the host `become: sudo`");
}
