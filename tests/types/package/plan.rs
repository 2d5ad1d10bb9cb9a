//! What a plan foresees of packages, and a whole run with them: the program itself, on the host.

use serde_json::Value;

use super::odd::hold_lock;
use super::{Place, install, place};

const PROGRAM: &str = "/root/converge-of-tests";

impl Place {
    /// Runs the program there with this spec: its exit code, and its events.
    fn converge(&self, verb: &str, spec: &str) -> (i32, Vec<Value>) {
        self.host.put_program(env!("CARGO_BIN_EXE_converge"), PROGRAM);
        self.host.put("/run/cvg-spec.yaml", spec.as_bytes());
        let line =
            format!("CONVERGE_RUNTIME_DIR=/run/cvg-run {PROGRAM} {verb} /run/cvg-spec.yaml --format json");
        let (code, said) = self.host.sh(&format!("rm -rf /etc/of-cvg; {line}"));
        let events = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (code, events)
    }
}

fn of<'a>(events: &'a [Value], id: &str) -> &'a Value {
    let is_it = |event: &&Value| event["event"] == "resource" && event["id"] == format!("localhost/{id}");
    events.iter().find(is_it).unwrap_or_else(|| panic!("no {id} in {events:#?}"))
}

const BARE: &str = "
resources:
  - file: /etc/cvg-a/more
    content: x
  - package: cvg-a
  - file: /etc/of-cvg/web/site
    content: x
    owner: nobody-of-cvg
    depends_on: package:cvg-web
  - package: cvg-web
  - file: /etc/of-cvg/other/site
    content: x
  - directory: /etc/cvg-a/own
";

#[test]
fn on_a_bare_host_what_a_package_may_bring_is_unknown_and_not_an_error() {
    let Some(place) = place() else { return };
    let (code, events) = place.converge("plan", BARE);
    for id in ["package:cvg-a", "package:cvg-web", "directory:/etc/cvg-a/own"] {
        assert_eq!(of(&events, id)["status"], "changed", "{id}");
    }
    let near = of(&events, "file:/etc/of-cvg/web/site");
    assert_eq!(near["reason"], "not known until localhost/package:cvg-web is present");
    // What nothing will bring is an error all the same.
    let file = of(&events, "file:/etc/of-cvg/other/site");
    assert_eq!(file["status"], "failed");
    assert_eq!(code, 1);
}

#[test]
fn a_file_in_a_packages_directory_comes_after_the_package() {
    let Some(place) = place() else { return };
    let spec = "
resources:
  - file: /etc/cvg-a/more
    content: x
  - file: /etc/of-cvg/web/site
    content: x
    depends_on: package:web
  - package: cvg-a
  - package: web
    names: [cvg-web, cvg-n1]
";
    let (code, events) = place.converge("plan", spec);
    assert_eq!(code, 2, "{events:#?}");
    let file = of(&events, "file:/etc/cvg-a/more");
    assert_eq!(file["reason"], "not known until localhost/package:cvg-a is present");
    let (code, events) = place.converge("apply", spec);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(of(&events, "file:/etc/cvg-a/more")["status"], "changed");
    assert_eq!(place.host.must("cat /etc/cvg-a/more /etc/of-cvg/web/site"), "xx");
    place.host.must("rm /etc/cvg-a/more");
    let (code, _) = place.converge("plan", spec);
    assert_eq!(code, 2);
}

#[test]
fn a_run_says_whose_lock_it_waits_for_and_a_plan_waits_for_none() {
    let Some(place) = place() else { return };
    let spec = "resources:\n  - package: cvg-a\n";
    hold_lock(&place, "/var/lib/dpkg/lock-frontend", 10);
    let (code, events) = place.converge("plan", spec);
    assert_eq!((code, &of(&events, "package:cvg-a")["status"]), (2, &"changed".into()));
    let (code, events) = place.converge("apply", spec);
    assert_eq!(code, 0, "{events:#?}");
    let waits = events.iter().find(|event| event["event"] == "waiting").expect("it says that it waits");
    let reason = waits["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("/var/lib/dpkg/lock-frontend is held by python3 (process "), "{reason}");
}

#[test]
fn a_lock_that_is_never_given_back_fails_after_the_timeout_and_says_who_has_it() {
    let Some(place) = place() else { return };
    hold_lock(&place, "/var/lib/dpkg/lock-frontend", 60);
    let spec = "resources:\n  - package: cvg-a\n    timeout: 3s\n";
    let (code, events) = place.converge("apply", spec);
    place.host.must("systemctl stop 'run-*.service'");
    assert_eq!(code, 1);
    let reason = of(&events, "package:cvg-a")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("/var/lib/dpkg/lock-frontend is held by python3"), "{reason}");
    assert!(reason.ends_with("(waited 3s for it)"), "{reason}");
}

#[test]
fn a_unit_is_stopped_before_its_package_goes() {
    let Some(place) = place() else { return };
    place.host.must(&install("cvg-web_1.0_all.deb"));
    let spec = "
resources:
  - package: cvg-web
    state: absent
  - unit: cvg-web
    state: inactive
";
    let (code, events) = place.converge("apply", spec);
    assert_eq!(code, 0, "{events:#?}");
    let settled: Vec<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    let at = |id: &str| settled.iter().rposition(|one| one.ends_with(id));
    assert!(at("unit:cvg-web") < at("package:cvg-web"), "{settled:?}");
}

#[test]
fn twenty_packages_come_one_after_the_other_in_one_run() {
    let Some(place) = place() else { return };
    let mut spec = String::from("resources:\n");
    for number in 1..=20 {
        spec += &format!("  - package: cvg-n{number}\n");
    }
    let begun = std::time::Instant::now();
    let (code, events) = place.converge("apply", &spec);
    assert_eq!(code, 0, "{events:#?}");
    eprintln!("twenty packages: {:?}", begun.elapsed());
    let (code, events) = place.converge("apply", &spec);
    assert_eq!((code, &events.last().unwrap()["ok"]), (0, &20.into()));
}
