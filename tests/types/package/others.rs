//! dnf, zypper and pacman: the tools themselves, as Debian has them, each with a source of the tests' own.
//! Where the host does not have them, these tests say so and pass.

use serde_json::{Value, json};

use converge::resource::Check;

use super::{Place, place};
use crate::agent::{resource, told};
use crate::table::Table;

const RPM: &str = include_str!("rpm.sh");
const PACMAN: &str = include_str!("pacman.sh");

const CLEAR_RPM: &str = "rm -f /run/cvg-fail /run/cvg-held /etc/zypp/locks /etc/dnf/plugins/versionlock.list; \
    names=$(rpm -qa 'cvg-*'); [ -z \"$names\" ] || rpm -e --nodeps $names; touch /var/cache/dnf/*/repodata/repomd.xml \
    /var/cache/zypp/raw/*; true";
const LOOK_RPM: &str = "rpm -qa --qf '%{NAME} %{VERSION} %{INSTALLTIME}\\n' 'cvg-*' | sort; \
    stat -c '%n %i %Y' /usr/share/cvg-r/version 2>&1; true";
const CLEAR_PACMAN: &str = "rm -f /var/lib/pacman/db.lck; sed -i /IgnorePkg/d /etc/pacman.conf; \
    names=$(pacman -Qq); [ -z \"$names\" ] || pacman -Rdd --noconfirm $names; \
    rm -f /var/cache/pacman/pkg/cvg-*; bash /root/cvg-pacman.sh 1.0-1; pacman -Syy >/dev/null; touch /var/lib/pacman/sync";
const LOOK_PACMAN: &str = "pacman -Q; stat -c '%n %i %Y %Z' /usr/share/cvg-p/version 2>&1; true";

/// The place, with a source for rpm or pacman; None where the tools are missing.
fn place_with(tools: &[&str], script: (&str, &str)) -> Option<Place> {
    let place = place()?;
    for tool in tools {
        if place.host.sh(&format!("command -v {tool}")).0 != 0 {
            eprintln!("skipped: the host has no {tool}");
            return None;
        }
    }
    let (name, text) = script;
    place.host.put(&format!("/root/{name}"), text.as_bytes());
    Some(place)
}

fn rpm_place(manager: &str) -> Option<Place> {
    let place = place_with(&[manager, "rpmbuild", "createrepo_c"], ("cvg-rpm.sh", RPM))?;
    let made_from = converge::attribute::sha256_hex(RPM.as_bytes());
    place.host.must(&format!("bash /root/cvg-rpm.sh {made_from}"));
    place.host.must(CLEAR_RPM);
    Some(place)
}

impl Place {
    fn table_of(&self, declared: Value, clear: &'static str, look: &'static str) -> Table<'_> {
        Table { host: &self.host, agent: self.host.agent(), word: "package", declared, clear, look }
    }
}

fn from_every_start(manager: &str) {
    let Some(place) = rpm_place(manager) else { return };
    let rpm =
        |files: &str| format!("cd /srv/cvg-rpm; rpm -U --oldpackage --force-debian {files} 2>/dev/null");
    let [v10, v11, v20] = ["1.0-1", "1.1-1", "2.0-1"].map(|v| rpm(&format!("cvg-r-{v}.noarch.rpm")));
    let both = rpm("cvg-r-1.0-1.noarch.rpm cvg-rdep-1.0-1.noarch.rpm");
    let table = |more: Value| {
        let mut declared = json!({"package": "cvg-r", "manager": manager});
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        place.table_of(declared, CLEAR_RPM, LOOK_RPM)
    };
    let mut present = table(json!({}));
    present.row("absent", "", &["state", "version"]);
    present.row("there", &v20, &[]);
    present.row("older", &v10, &[]);
    drop(present);
    let mut version = table(json!({"version": "1.1-1"}));
    version.row("absent", "", &["state", "version"]);
    version.row("right", &v11, &[]);
    version.row("older", &v10, &["version"]);
    version.row("newer", &v20, &["version"]);
    version.row("needed by another", &both, &["version"]);
    drop(version);
    let mut latest = table(json!({"state": "latest"}));
    latest.row("absent", "", &["state", "version"]);
    latest.row("older", &v10, &["version"]);
    latest.row("newest", &v20, &[]);
    latest.row("newest by an old index", &format!("{v20}; {OLD}"), &[]);
    drop(latest);
    let mut refreshed = table(json!({"refresh": "1d"}));
    refreshed.row("absent, and the index is old", OLD, &["index", "state", "version"]);
    refreshed.row("there, and the index is old", &format!("{v20}; {OLD}"), &[]);
    drop(refreshed);
    let mut gone = table(json!({"state": "absent"}));
    gone.row("absent", "", &[]);
    gone.row("there", &v20, &["state", "version"]);
    gone.row("another needs it", &both, &["state", "version", "dependents"]);
    drop(gone);
    let mut several = table(json!({"package": "two", "names": ["cvg-r", "cvg-repoch"]}));
    several.row("none", "", &["state", "cvg-r", "cvg-repoch"]);
    several.row("one", &v20, &["state", "cvg-repoch"]);
}

const OLD: &str = "touch -d '-3 days' /var/cache/dnf/*/repodata/repomd.xml /var/cache/zypp/raw/* \
    /var/cache/zypp/raw/*/repodata/repomd.xml; touch -d '-4 days' /etc/yum.repos.d /etc/yum.repos.d/cvg.repo \
    /etc/zypp/repos.d /etc/zypp/repos.d/cvg.repo; true";

#[test]
fn dnf_brings_a_package_about_from_every_start() {
    from_every_start("dnf");
}

#[test]
fn zypper_brings_a_package_about_from_every_start() {
    from_every_start("zypper");
}

fn tells_what_is_in_the_way(manager: &str, lock: &str, unhold: &str) {
    let Some(place) = rpm_place(manager) else { return };
    let mut agent = place.host.agent();
    let declared = |more: Value| {
        let mut declared = json!({"manager": manager});
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        resource("package", declared)
    };
    let failure = agent.check(&declared(json!({"package": "cvg-rbad"}))).unwrap_err();
    assert!(
        failure.reason.contains("nothing provides cvg-nowhere needed by cvg-rbad-1.0-1"),
        "{}",
        failure.reason
    );
    let failure = agent.check(&declared(json!({"package": "cvg-rdpe"}))).unwrap_err();
    assert!(failure.help.unwrap().starts_with("did you mean cvg-rdep?"));
    let failure = agent.check(&declared(json!({"package": "cvg-rmta"}))).unwrap_err();
    assert_eq!(failure.reason, "cvg-rmta is a virtual package: cvg-rmta1, cvg-rmta2 provide it");
    let failure = agent.check(&declared(json!({"package": "cvg-r", "version": "9-9"}))).unwrap_err();
    assert!(failure.reason.ends_with("has 2.0-1, 1.1-1, 1.0-1"), "{}", failure.reason);

    place.host.must("cd /srv/cvg-rpm; rpm -U --force-debian cvg-rmta1-1.0-1.noarch.rpm cvg-r-1.0-1.noarch.rpm 2>/dev/null");
    assert_eq!(agent.check(&declared(json!({"package": "cvg-rmta"}))), Ok(Check::Holds));
    let other = declared(json!({"package": "cvg-rmta2"}));
    let Ok(Check::Needs(needed)) = agent.check(&other) else { panic!("it needs nothing") };
    assert!(told(&needed).ends_with("conflicts: cvg-rmta1 1.0-1 → nothing"), "{}", told(&needed));
    assert_eq!(agent.apply(&other, &needed), Ok(Check::Holds));

    place.host.must("touch /run/cvg-fail");
    let (_, end) = agent.converge(&declared(json!({"package": "cvg-r", "state": "latest"})));
    let said = end.unwrap_err();
    assert!(said.contains("broken by design"), "{said}");
    place.host.must("rm /run/cvg-fail");

    place.host.must(&format!("mkdir -p /etc/dnf/plugins; {lock}"));
    let failure = agent.check(&declared(json!({"package": "cvg-r", "state": "latest"}))).unwrap_err();
    assert_eq!(failure.reason, "cvg-r is on hold at 1.0-1, and 2.0-1 is declared");
    assert_eq!(failure.help.unwrap(), format!("`{unhold} cvg-r` lets it change"));
    assert_eq!(agent.check(&declared(json!({"package": "cvg-r"}))), Ok(Check::Holds));
}

#[test]
fn dnf_tells_what_is_in_the_way() {
    let lock = "echo 'cvg-r-0:1.0-1.*' >/etc/dnf/plugins/versionlock.list";
    tells_what_is_in_the_way("dnf", lock, "dnf versionlock delete");
}

#[test]
fn zypper_tells_what_is_in_the_way() {
    tells_what_is_in_the_way("zypper", "zypper -n addlock cvg-r >/dev/null", "zypper removelock");
}

fn pacman_place() -> Option<Place> {
    let place = place_with(&["pacman"], ("cvg-pacman.sh", PACMAN))?;
    place.host.must(CLEAR_PACMAN);
    Some(place)
}

#[test]
fn pacman_brings_a_package_about_from_every_start() {
    let Some(place) = pacman_place() else { return };
    let table = |more: Value| {
        let mut declared = json!({"package": "cvg-p", "manager": "pacman"});
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        place.table_of(declared, CLEAR_PACMAN, LOOK_PACMAN)
    };
    let there = "pacman -S --noconfirm cvg-p >/dev/null";
    let newer = format!("{there}; bash /root/cvg-pacman.sh 2.0-1; pacman -Syy >/dev/null");
    let mut present = table(json!({}));
    present.row("absent", "", &["state", "version"]);
    present.row("there", there, &[]);
    present.row("older than there is", &newer, &[]);
    present.row("a killed pacman left its lock", "touch /var/lib/pacman/db.lck", &["state", "version"]);
    drop(present);
    let mut latest = table(json!({"state": "latest"}));
    latest.row("absent", "", &["state", "version"]);
    latest.row("newest", there, &[]);
    latest.row("older", &newer, &["version"]);
    drop(latest);
    let mut refreshed = table(json!({"state": "latest", "refresh": "1d"}));
    let old = "touch -d '-3 days' /var/lib/pacman/sync; touch -d '-4 days' /etc/pacman.conf";
    refreshed.row("newest by an old index", &format!("{there}; {old}"), &["index"]);
    drop(refreshed);
    let mut gone = table(json!({"state": "absent"}));
    gone.row("absent", "", &[]);
    gone.row("there", there, &["state", "version"]);
    let both = "pacman -S --noconfirm cvg-pdep >/dev/null";
    gone.row("another needs it", both, &["state", "version", "dependents"]);
    drop(gone);
    let mut version = table(json!({"version": "1.0-1"}));
    version.row("absent", "", &["state", "version"]);
    version.row("right", there, &[]);
    version.refused(
        "another, that nobody has",
        "bash /root/cvg-pacman.sh 2.0-1; pacman -Syy >/dev/null",
        "there is no version 1.0-1 of cvg-p",
    );
}

#[test]
fn pacman_tells_what_is_in_the_way() {
    let Some(place) = pacman_place() else { return };
    let mut agent = place.host.agent();
    let declared = |name: &str| resource("package", json!({"package": name, "manager": "pacman"}));
    let (_, end) = agent.converge(&declared("cvg-pbad"));
    let said = end.unwrap_err();
    assert!(said.contains("unable to satisfy dependency 'cvg-nowhere' required by cvg-pbad"), "{said}");
    let failure = agent.check(&declared("cvg-pdpe")).unwrap_err();
    assert!(failure.help.unwrap().starts_with("did you mean cvg-pdep?"));
    assert_eq!(agent.converge(&declared("cvg-pmta1")).1, Ok(()));
    assert_eq!(agent.check(&declared("cvg-pmta")), Ok(Check::Holds));
    let (_, end) = agent.converge(&declared("cvg-pmta2"));
    let said = end.unwrap_err();
    assert!(said.contains("cvg-pmta2 and cvg-pmta1 are in conflict"), "{said}");
    // Somebody else's pacman, which is at work.
    place.host.must(
        "systemd-run -q --collect sh -c 'exec 3>/var/lib/pacman/db.lck; sleep 3; rm /var/lib/pacman/db.lck'; \
         until test -e /var/lib/pacman/db.lck; do sleep .05; done",
    );
    let Ok(Check::Needs(needed)) = agent.check(&declared("cvg-p")) else { panic!("it needs nothing") };
    assert!(needed.lacks[0].what.starts_with("/var/lib/pacman/db.lck is held by "), "{:?}", needed.lacks);
    assert_eq!(agent.converge(&declared("cvg-p")).1, Ok(()));
}
