//! What the index has, and how old it is.

use serde_json::json;

use super::{install, place};
use crate::agent::resource;

const OLD: &str = "touch -d '-3 days' /var/lib/apt/lists; touch -d '-4 days' /etc/apt/sources.list.d \
                   /etc/apt/sources.list.d/cvg.list";

#[test]
fn an_index_that_is_too_old_is_read_anew_where_it_matters() {
    let Some(place) = place() else { return };
    let mut table = place.table(json!({"package": "cvg-a", "refresh": "1d"}));
    table.row("new enough", "", &["state", "version"]);
    table.row("old", OLD, &["index", "state", "version"]);
    table.row("old, and there is nothing to do", &format!("{OLD}; {}", install("cvg-a_1.0_all.deb")), &[]);
    table.row("never read", "rm -rf /var/lib/apt/lists/*", &["index", "state"]);
    table.row(
        "older than its sources",
        "sleep 0.1; touch /etc/apt/sources.list.d/cvg.list",
        &["index", "state", "version"],
    );
    let mut table = place.table(json!({"package": "cvg-a", "refresh": "1d", "state": "latest"}));
    table.row("newest by a new index", &install("cvg-a_2.0-1_all.deb"), &[]);
    table.row("newest by an old index", &format!("{OLD}; {}", install("cvg-a_2.0-1_all.deb")), &["index"]);
    table.row("older", &format!("{OLD}; {}", install("cvg-a_1.0_all.deb")), &["index", "version"]);
}

#[test]
fn an_index_that_was_never_read_says_what_to_do() {
    let Some(place) = place() else { return };
    place.host.must("rm -rf /var/lib/apt/lists/*");
    let failure = place.host.agent().check(&resource("package", json!({"package": "cvg-a"}))).unwrap_err();
    place.host.must("apt-get -q update");
    assert_eq!(failure.reason, "there is no package cvg-a: apt has no index yet");
    assert_eq!(failure.help.unwrap(), "`refresh: 1d` has it read first (`apt-get update`)");
}

#[test]
fn a_package_that_nobody_has_is_told_with_its_neighbours_and_the_age_of_the_index() {
    let Some(place) = place() else { return };
    let mut agent = place.host.agent();
    let mut failure = |name: &str, arrange: &str| {
        place.host.must(arrange);
        agent.check(&resource("package", json!({"package": name}))).unwrap_err()
    };
    let found = failure("cvg-stie", "true");
    assert!(found.reason.starts_with("there is no package cvg-stie in apt's index, which was read"));
    assert!(found.help.unwrap().starts_with("did you mean cvg-site?"));
    let found = failure("cvg-elephant", OLD);
    assert!(found.reason.ends_with("apt's index, which was read 3d ago"), "{}", found.reason);
    assert!(found.help.unwrap().starts_with("it is old: `refresh: 1d`"));
    let found = failure("cvg-elephant", "sleep 0.1; touch /etc/apt/sources.list.d/cvg.list");
    assert!(found.help.unwrap().starts_with("/etc/apt/sources.list.d/cvg.list has changed since"));
    place.host.must("apt-get -q update; touch /var/lib/apt/lists");
    let found = failure("cvg-elephant", "true");
    assert!(found.help.unwrap().contains("is its source among those in /etc/apt/sources.list"));
}

#[test]
fn a_version_that_is_not_there_is_told_with_those_that_are() {
    let Some(place) = place() else { return };
    let mut agent = place.host.agent();
    let mut failure = |version: &str| {
        agent.check(&resource("package", json!({"package": "cvg-a", "version": version}))).unwrap_err()
    };
    let found = failure("9.9");
    assert!(found.reason.starts_with("there is no version 9.9 of cvg-a: apt's index"), "{}", found.reason);
    assert!(found.reason.ends_with("has 2.0-1, 1.1, 1.0"), "{}", found.reason);
    assert_eq!(failure("2.0").help.unwrap(), "`version: \"2.0*\"` takes any that begins so");
    assert!(failure("3.*").reason.starts_with("there is no 3.* of cvg-a"));
}

#[test]
fn what_the_source_no_longer_has_fails_with_the_way_out() {
    let Some(place) = place() else { return };
    let (_, end) = place.host.agent().converge(&resource("package", json!({"package": "cvg-gone"})));
    let said = end.unwrap_err();
    assert!(
        said.starts_with("installing cvg-gone 1.0: the source no longer has it: Failed to fetch"),
        "{said}"
    );
}

#[test]
fn a_source_that_cannot_be_reached_fails_the_refresh_and_is_named() {
    let Some(place) = place() else { return };
    place.host.must("sleep 0.1; echo 'deb http://127.0.0.1:9 x main' >/etc/apt/sources.list.d/cvg-down.list");
    let declared = resource("package", json!({"package": "cvg-a", "refresh": "1h"}));
    let (_, end) = place.host.agent().converge(&declared);
    place.host.must("rm /etc/apt/sources.list.d/cvg-down.list; apt-get -q update; touch /var/lib/apt/lists");
    let said = end.unwrap_err();
    assert!(said.contains("a source of packages cannot be reached: "), "{said}");
    assert!(said.contains("127.0.0.1:9"), "{said}");
    let (_, end) = place.host.agent().converge(&declared);
    assert_eq!(end, Ok(()));
}
