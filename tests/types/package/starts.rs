//! From every start to one end.

use serde_json::json;

use super::{dpkg, install, place};

const V10: &str = "cvg-a_1.0_all.deb";
const V11: &str = "cvg-a_1.1_all.deb";
const V20: &str = "cvg-a_2.0-1_all.deb";

/// dpkg is killed by the package's own script: the package is half-installed, dpkg's journal is full.
fn killed(deb: &str) -> String {
    format!(
        "rm -f /var/cache/apt/pkgcache.bin; touch /run/cvg-kill-dpkg; cd /srv/cvg-repo; dpkg -i {deb} >/dev/null 2>&1; rm /run/cvg-kill-dpkg; \
         dpkg-query -W -f='${{Status}}' cvg-a | grep -q half-installed"
    )
}

/// Its script failed, and would not any more.
fn half_configured(deb: &str) -> String {
    format!(
        "rm -f /var/cache/apt/pkgcache.bin; touch /run/cvg-fail; cd /srv/cvg-repo; dpkg -i {deb} >/dev/null 2>&1; rm /run/cvg-fail; \
         dpkg-query -W -f='${{Status}}' cvg-a | grep -q half-configured"
    )
}

#[test]
fn a_package_is_present_from_every_start() {
    let Some(place) = place() else { return };
    let mut table = place.table(json!({"package": "cvg-a"}));
    table.row("absent", "", &["state", "version"]);
    table.row("there", &install(V20), &[]);
    table.row("there in an older version", &install(V10), &[]);
    table.row("older and on hold", &(install(V10) + "; apt-mark hold cvg-a"), &[]);
    let removed = install(V10) + "; dpkg -r cvg-a >/dev/null";
    table.row("removed, its configuration kept", &removed, &["state", "version"]);
    table.row("purged", &(install(V10) + "; dpkg -P cvg-a >/dev/null"), &["state", "version"]);
    table.row("unpacked", &dpkg(&format!("--unpack {V10}")), &["state"]);
    table.row("its script failed", &half_configured(V10), &["state"]);
    table.row("its script failed, on hold", &(half_configured(V10) + "; apt-mark hold cvg-a"), &["state"]);
    table.row("dpkg was killed", &killed(V10), &["state"]);
    let upgrade = format!("{}; {}", install(V10), killed(V20));
    table.row("dpkg was killed in the middle of an upgrade", &upgrade, &["state"]);
    let other = half_configured(V10).replace("cvg-a", "cvg-site");
    table.row("another package is half-way", &other, &["state", "version"]);
    let pinned =
        "printf 'Package: cvg-a\\nPin: version 1.1\\nPin-Priority: 990\\n' >/etc/apt/preferences.d/cvg";
    table.row("pinned to an older one", pinned, &["state", "version"]);
    table.refused(
        "pinned away",
        "printf 'Package: cvg-a\\nPin: version *\\nPin-Priority: -1\\n' >/etc/apt/preferences.d/cvg",
        "this machine's pins keep cvg-a away: apt's index, which was read",
    );
    table.refused(
        "another package lacks what it depends on",
        &format!("{}; true", dpkg("--force-all --unpack cvg-bad_1.0_all.deb")),
        "apt changes nothing while what is installed is at odds: cvg-bad : Depends: cvg-nowhere",
    );
}

#[test]
fn a_package_has_its_version_from_every_start() {
    let Some(place) = place() else { return };
    let mut table = place.table(json!({"package": "cvg-a", "version": "1.1"}));
    table.row("absent", "", &["state", "version"]);
    table.row("right", &install(V11), &[]);
    table.row("older", &install(V10), &["version"]);
    table.row("newer", &install(V20), &["version"]);
    let removed = install(V11) + "; dpkg -r cvg-a >/dev/null";
    table.row("removed", &removed, &["state", "version"]);
    table.row("right, its script failed", &half_configured(V11), &["state"]);
    table.row("older, its script failed", &half_configured(V10), &["state", "version"]);
    table.row("newer, unpacked", &dpkg(&format!("--unpack {V20}")), &["state", "version"]);
    let pinned =
        "printf 'Package: cvg-a\\nPin: version 2.0-1\\nPin-Priority: 990\\n' >/etc/apt/preferences.d/cvg";
    table.row("pinned to another", &format!("{}; {pinned}", install(V20)), &["version"]);
    table.row("right and on hold", &(install(V11) + "; apt-mark hold cvg-a"), &[]);
    table.refused(
        "on hold at another",
        &(install(V10) + "; apt-mark hold cvg-a"),
        "cvg-a is on hold at 1.0, and 1.1 is declared",
    );
    let needed_by_another = format!("{}; {}", install(V10), install("cvg-dep_1.0_all.deb"));
    table.row("needed by another", &needed_by_another, &["version"]);
}

#[test]
fn a_version_may_end_with_a_star() {
    let Some(place) = place() else { return };
    let mut table = place.table(json!({"package": "cvg-a", "version": "1.*"}));
    table.row("absent", "", &["state", "version"]);
    table.row("one of them", &install(V10), &[]);
    table.row("the newest of them", &install(V11), &[]);
    table.row("another", &install(V20), &["version"]);
    let mut table = place.table(json!({"package": "cvg-a", "version": "1.*", "state": "latest"}));
    table.row("one of them", &install(V10), &["version"]);
    table.row("the newest of them", &install(V11), &[]);
    table.row("another", &install(V20), &["version"]);
}

#[test]
fn a_package_is_the_latest_from_every_start() {
    let Some(place) = place() else { return };
    let mut table = place.table(json!({"package": "cvg-a", "state": "latest"}));
    table.row("absent", "", &["state", "version"]);
    table.row("older", &install(V10), &["version"]);
    table.row("the newest", &install(V20), &[]);
    table.row("older, its script failed", &half_configured(V10), &["state", "version"]);
    table.row("newest, its script failed", &half_configured(V20), &["state"]);
    table.row("removed", &(install(V20) + "; dpkg -r cvg-a >/dev/null"), &["state", "version"]);
    table.row("newest and on hold", &(install(V20) + "; apt-mark hold cvg-a"), &[]);
    let pin = |version: &str, priority: i32| {
        format!(
            "printf 'Package: cvg-a\\nPin: version {version}\\nPin-Priority: {priority}\\n' >/etc/apt/preferences.d/cvg"
        )
    };
    table.row("pinned, and there", &format!("{}; {}", install(V11), pin("1.1", 990)), &[]);
    table.row("pinned, and older", &format!("{}; {}", install(V10), pin("1.1", 990)), &["version"]);
    table.row("pinned down", &format!("{}; {}", install(V20), pin("1.1", 1001)), &["version"]);
    table.refused(
        "older and on hold",
        &(install(V10) + "; apt-mark hold cvg-a"),
        "cvg-a is on hold at 1.0, and 2.0-1 is declared",
    );
}

#[test]
fn a_package_goes_from_every_start() {
    let Some(place) = place() else { return };
    let mut table = place.table(json!({"package": "cvg-a", "state": "absent"}));
    table.row("absent", "", &[]);
    table.row("there", &install(V20), &["state", "version"]);
    table.row("removed, its configuration kept", &(install(V10) + "; dpkg -r cvg-a >/dev/null"), &[]);
    table.row("unpacked", &dpkg(&format!("--unpack {V10}")), &["state", "version"]);
    table.row("its script failed", &half_configured(V10), &["state", "version"]);
    let fails = half_configured(V10) + "; touch /run/cvg-fail";
    table.row("its script still fails", &fails, &["state", "version"]);
    table.row("dpkg was killed", &killed(V10), &["state", "version"]);
    let needed = format!("{}; {}", install(V10), install("cvg-dep_1.0_all.deb cvg-dep2_1.0_all.deb"));
    table.row("others need it", &needed, &["state", "version", "dependents"]);
    table.row("on hold and absent", "echo cvg-a hold | dpkg --set-selections; true", &[]);
    table.refused(
        "on hold",
        &(install(V10) + "; apt-mark hold cvg-a"),
        "cvg-a is on hold at 1.0, and `state: absent` is declared",
    );
}

#[test]
fn several_packages_are_one_resource() {
    let Some(place) = place() else { return };
    let names = json!(["cvg-a", "cvg-web", "cvg-n1"]);
    let mut table = place.table(json!({"package": "the three", "names": names}));
    table.row("none", "", &["state", "cvg-a", "cvg-web", "cvg-n1"]);
    table.row("one", &install("cvg-web_1.0_all.deb"), &["state", "cvg-a", "cvg-n1"]);
    table.row("all", &install(&format!("{V10} cvg-web_1.0_all.deb cvg-n1_1.0_all.deb")), &[]);
    table.row("one is half-way", &half_configured(V10), &["state", "cvg-web", "cvg-n1"]);
    let mut table = place.table(json!({"package": "the three", "names": names, "state": "absent"}));
    table.row("none", "", &[]);
    table.row("one", &install("cvg-web_1.0_all.deb"), &["state", "cvg-web"]);
    let both = install(&format!("{V10} cvg-web_1.0_all.deb cvg-dep_1.0_all.deb"));
    table.row("two, and one that needs one of them", &both, &["state", "cvg-a", "cvg-web", "dependents"]);
}
