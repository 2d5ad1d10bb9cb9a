//! The story: power is cut, and one `converge apply specs/prod.yaml` brings the site back.

mod support;

use std::time::{Duration, Instant};

use support::lab::Lab;
use support::{Ran, converge_in, has_lab, login, prod, prod_with, run};

const DOMAIN: &str = "app-server/domain:vps0";
const DIRECTORY: &str = "vps0/directory:/var/run/supervisor";
const UNIT: &str = "vps0/unit:supervisor";
const PROGRAM: &str = "vps0/program:backend";

fn site(name: &str) -> Lab {
    let lab = Lab::up(name, &["dom0", "vps0:off"]);
    lab.site();
    assert_eq!(login(&lab), "200");
    lab
}

fn apply(lab: &Lab, spec: &std::path::Path) -> Ran {
    run(converge_in(lab).args(["apply", "--format", "json"]).arg(spec))
}

fn plan(lab: &Lab, spec: &std::path::Path) -> Ran {
    run(converge_in(lab).args(["plan", "--format", "json"]).arg(spec))
}

/// The whole box loses power; dom0 comes back, and its boot does not start the guest.
fn power_cut(lab: &Lab) {
    lab.power_cut("dom0");
    lab.boot("dom0");
    assert_ne!(login(lab), "200");
}

#[track_caller]
fn site_is_back(lab: &Lab, spec: &std::path::Path) {
    assert_eq!(login(lab), "200");
    let again = apply(lab, spec).expect(0);
    assert_eq!(again.summary()["changed"], 0, "{}", again.stdout);
    assert_eq!(again.summary()["ok"], 5);
}

#[test]
fn a_guest_that_is_not_listed_is_planned_and_the_site_comes_back_in_one_run() {
    if !has_lab() {
        return;
    }
    let lab = site("story-absent");
    let spec = prod(&lab);
    site_is_back(&lab, &spec);
    power_cut(&lab);

    let planned = plan(&lab, &spec).expect(2);
    assert_eq!(planned.status(DOMAIN), "changed");
    for id in [DIRECTORY, UNIT, PROGRAM] {
        let resource = planned.resource(id);
        assert_eq!(resource["status"], "unknown");
        assert_eq!(resource["reason"], format!("not known until {DOMAIN} is running"));
    }
    let listed = lab.ssh("dom0", "xl list vps0");
    assert_eq!(listed.status, 1, "a plan touches nothing");
    let shown = run(converge_in(&lab).arg("plan").arg(&spec)).expect(2);
    let shown = shown.says("+ app-server/domain:vps0  state absent → running").says("? vps0/unit:supervisor");
    assert!(shown.says(&format!("not known until {DOMAIN} is running")).stderr.is_empty());

    let applied = apply(&lab, &spec).expect(0);
    for id in [DOMAIN, DIRECTORY] {
        assert_eq!(applied.status(id), "changed", "{}", applied.stdout);
    }
    // Where the directory was there before vps0's boot came to it, it has started by itself.
    assert!(["changed", "ok"].contains(&&*applied.status(UNIT)), "{}", applied.stdout);
    let waits = applied.events().into_iter().filter(|event| event["event"] == "waiting").count();
    assert!(waits > 0, "it says what it waits for");
    site_is_back(&lab, &spec);
}

#[test]
fn a_paused_guest_is_unpaused_and_a_guest_that_is_being_built_is_awaited() {
    if !has_lab() {
        return;
    }
    let lab = site("story-paused");
    let spec = prod(&lab);

    // Paused twice: xl counts.
    power_cut(&lab);
    lab.must("dom0", "xl create /etc/xen/vps0.cfg && xl pause vps0 && xl pause vps0");
    let planned = plan(&lab, &spec).expect(2);
    assert_eq!(planned.resource(DOMAIN)["changes"][0]["from"], "paused");
    assert_eq!(planned.status(UNIT), "unknown");
    let applied = apply(&lab, &spec).expect(0);
    assert_eq!(applied.status(DOMAIN), "changed");
    site_is_back(&lab, &spec);

    // Still being built, by somebody else.
    power_cut(&lab);
    lab.xen_speed(0.5);
    lab.must("dom0", "nohup xl create /etc/xen/vps0.cfg >/dev/null 2>&1 & until xl list vps0 >/dev/null 2>&1; do sleep 0.1; done");
    let applied = apply(&lab, &spec).expect(0);
    assert_eq!(applied.status(DOMAIN), "ok", "it is awaited, and not created a second time");
    site_is_back(&lab, &spec);
}

#[test]
fn with_tmpfiles_the_supervisor_comes_up_by_itself_after_the_next_power_cut() {
    if !has_lab() {
        return;
    }
    let lab = site("story-tmpfiles");
    let spec =
        prod_with(&lab, |text| text.replace("      mode: 755\n", "      mode: 755\n      tmpfiles: true\n"));
    let applied = apply(&lab, &spec).expect(0);
    assert_eq!(applied.resource(DIRECTORY)["changes"][0]["attribute"], "tmpfiles");
    power_cut(&lab);
    lab.must("dom0", "xl create /etc/xen/vps0.cfg");
    lab.wait("vps0");
    let end = Instant::now() + Duration::from_secs(30);
    while login(&lab) != "200" && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
    }
    site_is_back(&lab, &spec);
}

#[test]
fn what_is_broken_is_told_with_its_place_and_evidence_and_the_rest_converges() {
    if !has_lab() {
        return;
    }
    let lab = site("story-broken");

    // The domain's config points nowhere.
    power_cut(&lab);
    let spec = prod_with(&lab, |text| text.replace("/etc/xen/vps0.cfg", "/etc/xen/nowhere.cfg"));
    let failed = run(converge_in(&lab).arg("apply").arg(&spec)).expect(1);
    let failed = failed.says(DOMAIN).says("prod.yaml:18").says("/etc/xen/nowhere.cfg");
    failed.says("skipped, since app-server/domain:vps0 does not hold").says(PROGRAM);

    // supervisord's own configuration is broken.
    // On a slow machine it takes more than a second to find that out.
    let spec = prod_with(&lab, |text| {
        text.replace("    - unit: supervisor\n", "    - unit: supervisor\n      settle: 10s\n")
    });
    apply(&lab, &spec).expect(0);
    lab.must("vps0", "systemctl stop supervisor; rm -r /var/run/supervisor; echo '[supervisord' >> /etc/supervisor/supervisord.conf");
    let failed = apply(&lab, &spec).expect(1);
    assert_eq!(failed.status(DIRECTORY), "changed", "what does not depend on it converges");
    let unit = failed.resource(UNIT);
    assert_eq!(unit["status"], "failed");
    assert!(unit["location"].as_str().is_some_and(|place| place.ends_with("prod.yaml:28")), "{unit}");
    let details = unit["details"].to_string();
    for told in ["ActiveState", "supervisord.conf", "tail /var/log/supervisor/supervisord.log"] {
        assert!(details.contains(told), "{told} is not in {details}");
    }
    let program = failed.resource(PROGRAM);
    assert_eq!((program["status"].as_str(), program["because_of"].as_str()), (Some("skipped"), Some(UNIT)));
}

#[test]
fn a_host_without_power_is_one_line_and_its_branch_is_skipped() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("story-dark", &["dom0", "vps0:off"]);
    lab.power_cut("dom0");
    let spec = prod_with(&lab, |text| text.replace("    become: sudo\n", "    become: sudo\n    wait: 5s\n"));
    let begun = Instant::now();
    let failed = run(converge_in(&lab).arg("apply").arg(&spec)).expect(1);
    assert!(begun.elapsed() < Duration::from_secs(60), "it does not outlast its wait by much");
    let crosses = failed.stdout.lines().filter(|line| line.starts_with('✗')).count();
    assert_eq!(crosses, 1, "{}", failed.stdout);
    failed.says("✗ host app-server: ").says("skipped, since host app-server is out of reach");
}
