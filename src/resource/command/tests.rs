use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::resource::AnyResource;

fn command(item: Value) -> Command {
    let command: Command = serde_json::from_value(item).unwrap();
    assert_eq!(command, serde_json::from_str(&serde_json::to_string(&command).unwrap()).unwrap());
    command
}

/// A root of its own for files; commands run on this machine.
fn machine() -> (tempfile::TempDir, System) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("var/lib")).unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::write(
        root.path().join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )
    .unwrap();
    let system = System::under(root.path());
    (root, system)
}

fn needed(check: Check) -> Needed {
    match check {
        Check::Needs(needed) => needed,
        other => panic!("nothing is needed: {other:?}"),
    }
}

/// As the worker does it.
fn converge(command: &Command, system: &System) -> Result<Check, Failure> {
    command.apply(system, &needed(command.check(system)?))?;
    if command.is_proved_by_apply() { Ok(Check::Holds) } else { command.check(system) }
}

fn runs(root: &Path) -> usize {
    std::fs::read_to_string(root.join("ran")).unwrap_or_default().lines().count()
}

fn ran(root: &Path) -> String {
    format!("echo ran >> {}", root.join("ran").display())
}

#[test]
fn creates_runs_it_once_and_what_it_creates_must_be_there_afterwards() {
    let (root, system) = machine();
    let made = root.path().join("made");
    let good = command(
        json!({"command": format!("{}; touch {}", ran(root.path()), made.display()), "creates": "/made"}),
    );
    let changes = needed(good.check(&system).unwrap()).changes;
    assert_eq!((changes[0].attribute.as_str(), &changes[0].from), ("run", &None));
    assert_eq!(changes[1], Change::new("creates", None, Some("/made".into())));
    assert_eq!(runs(root.path()), 0, "a check changes nothing");
    assert_eq!(converge(&good, &system), Ok(Check::Holds));
    assert_eq!((good.check(&system), runs(root.path())), (Ok(Check::Holds), 1));
    let liar = command(json!({"command": "true", "creates": ["/made", "/never"]}));
    let left = needed(converge(&liar, &system).unwrap()).changes;
    assert_eq!(left[1], Change::new("creates", None, Some("/never".into())));
}

#[test]
fn removes_runs_it_while_the_path_is_there() {
    let (root, system) = machine();
    let old = root.path().join("old");
    std::os::unix::fs::symlink("nowhere", &old).unwrap();
    let remove = command(json!({"command": format!("rm {}", old.display()), "removes": "/old"}));
    assert_eq!(
        needed(remove.check(&system).unwrap()).changes[1],
        Change::new("removes", Some("/old".into()), None)
    );
    assert_eq!(converge(&remove, &system), Ok(Check::Holds));
}

#[test]
fn a_move_that_was_cut_between_its_halves_runs_again() {
    let (root, system) = machine();
    std::fs::write(root.path().join("a"), "").unwrap();
    std::fs::write(root.path().join("b"), "half").unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let line = format!("mv {} {}", a.display(), b.display());
    let moved = command(json!({"command": line, "creates": "/b", "removes": "/a"}));
    assert_eq!(converge(&moved, &system), Ok(Check::Holds));
}

#[test]
fn unless_and_only_if_keep_it_from_running() {
    let (root, system) = machine();
    let line = ran(root.path());
    for guards in [
        json!({"unless": "true"}),
        json!({"unless": ["true"]}),
        json!({"only_if": "false"}),
        json!({"only_if": ["no-such-program-here"]}),
        json!({"only_if": "true", "unless": "true"}),
        json!({"creates": "/never", "unless": "true"}),
        json!({"creates": "/never", "only_if": "exit 3"}),
    ] {
        let mut item = guards.clone();
        item["command"] = json!(line);
        assert_eq!(command(item).check(&system), Ok(Check::Holds), "{guards}");
    }
    let due = command(json!({"command": line, "unless": "exit 3"}));
    let changes = needed(due.check(&system).unwrap()).changes;
    assert_eq!(changes[1], Change::from_to("unless", "exit 3", "exit 0"));
    let left = needed(converge(&due, &system).unwrap()).changes;
    assert_eq!(left[1].attribute, "unless", "it must hold afterwards");
}

#[test]
fn with_always_or_only_if_alone_the_exit_code_is_the_judge() {
    let (root, system) = machine();
    for guard in [json!({"always": true}), json!({"only_if": "true"})] {
        let mut item = guard.clone();
        item["command"] = json!("true");
        let good = command(item.clone());
        assert_eq!(converge(&good, &system), Ok(Check::Holds));
        assert!(matches!(good.check(&system), Ok(Check::Needs(_))), "the next run runs it again");
        item["command"] = json!("false");
        assert!(converge(&command(item), &system).is_err());
    }
    for guard in [json!({"only_if": "true", "creates": "/x"}), json!({"only_if": "true", "unless": "false"})]
    {
        let mut item = guard;
        item["command"] = json!(ran(root.path()));
        assert!(!command(item).is_proved_by_apply());
    }
}

#[test]
fn on_change_of_runs_it_once_for_each_content() {
    let (root, system) = machine();
    let conf = root.path().join("conf");
    let watch = command(json!({"command": ran(root.path()), "on_change_of": ["/conf", "/other"]}));
    std::fs::write(&conf, "one").unwrap();
    assert_eq!(converge(&watch, &system), Ok(Check::Holds));
    std::fs::write(&conf, "one").unwrap();
    assert_eq!((watch.check(&system), runs(root.path())), (Ok(Check::Holds), 1));
    std::fs::write(&conf, "two").unwrap();
    let changes = needed(watch.check(&system).unwrap()).changes;
    assert_eq!(changes.len(), 2, "only the path that changed: {changes:?}");
    assert_eq!(changes[1].from.as_deref(), Some("/conf as it was"));
    assert_eq!(changes[1].to.as_deref(), Some("/conf as it is now"));
    assert_eq!(converge(&watch, &system), Ok(Check::Holds));
    assert_eq!(runs(root.path()), 2);
    let other_line = command(json!({"command": "true", "on_change_of": "/conf"}));
    assert!(matches!(other_line.check(&system), Ok(Check::Needs(_))), "another command has not run for it");
}

#[test]
fn a_run_that_failed_or_was_killed_is_still_owed() {
    let (root, system) = machine();
    std::fs::write(root.path().join("conf"), "one").unwrap();
    let flag = root.path().join("flag");
    let line = format!("test -e {} || kill -9 $$", flag.display());
    let reload = command(json!({"command": line, "on_change_of": "/conf"}));
    assert!(converge(&reload, &system).unwrap_err().reason.contains("killed by SIGKILL"));
    assert!(matches!(reload.check(&system), Ok(Check::Needs(_))));
    std::fs::write(&flag, "").unwrap();
    assert_eq!(converge(&reload, &system), Ok(Check::Holds));
    let record = std::fs::read_dir(root.path().join("var/lib/converge/commands")).unwrap().next().unwrap();
    std::fs::write(record.unwrap().path(), "{\"/conf\":").unwrap();
    assert!(matches!(reload.check(&system), Ok(Check::Needs(_))), "a broken record counts for nothing");
    assert_eq!(converge(&reload, &system), Ok(Check::Holds));
}

#[test]
fn what_changes_while_it_runs_is_owed_another_run() {
    let (root, system) = machine();
    let conf = root.path().join("conf");
    std::fs::write(&conf, "one").unwrap();
    let line = format!("echo more >> {}", conf.display());
    let changes_it = command(json!({"command": line, "on_change_of": "/conf"}));
    assert!(matches!(converge(&changes_it, &system), Ok(Check::Needs(_))));
}

#[test]
fn a_failure_shows_command_exit_and_output() {
    let (_root, system) = machine();
    let item =
        json!({"command": "make it", "run": "echo building; echo no rule >&2; exit 2\n", "always": true});
    let failure = converge(&command(item.clone()), &system).unwrap_err();
    assert_eq!(failure.reason, "`echo building; echo no rule >&2; exit 2`: exit 2: no rule");
    let titles: Vec<_> = failure.details.iter().map(|detail| (&*detail.title, &*detail.text)).collect();
    assert_eq!(titles, [("stderr", "no rule"), ("stdout", "building")]);
    let mut allowed = item.clone();
    allowed["exit_codes"] = json!([0, 2]);
    assert_eq!(converge(&command(allowed), &system), Ok(Check::Holds));
    let mut others = item;
    others["exit_codes"] = json!([3]);
    let failure = converge(&command(others), &system).unwrap_err();
    assert_eq!(failure.help.as_deref(), Some("by its `exit_codes`, success is 3"));
}

#[test]
fn directory_environment_and_stdin_reach_it_and_its_guards() {
    let (root, system) = machine();
    std::fs::create_dir(root.path().join("srv")).unwrap();
    let item = json!({
        "command": "cat > out; printf '%s' \"$WORD\" >> out",
        "unless": "test \"$WORD\" = secret && test -e out && grep -q inputsecret out",
        "directory": "/srv", "environment": {"WORD": "secret"}, "stdin": "input",
    });
    assert_eq!(converge(&command(item), &system), Ok(Check::Holds));
    assert_eq!(std::fs::read_to_string(root.path().join("srv/out")).unwrap(), "inputsecret");
}

#[test]
fn a_command_of_another_user_runs_as_that_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_root, system) = machine();
    let item =
        json!({"command": "test $(id -u) = 65534 && test \"$HOME\" = /", "user": "nobody", "always": true});
    assert_eq!(converge(&command(item), &system), Ok(Check::Holds));
}

#[test]
fn a_missing_user_or_directory_is_lacking_and_no_error_of_the_plan() {
    let (root, system) = machine();
    let item = json!({"command": "true", "user": "app", "directory": "/srv/app", "only_if": "false"});
    let command = command(item);
    let needed = needed(command.check(&system).unwrap());
    let things: Vec<_> = needed.lacks.iter().map(|lack| lack.thing.clone()).collect();
    assert_eq!(things, [Thing::User("app".into()), Thing::Path("/srv/app".parse().unwrap())]);
    assert_eq!(command.apply(&system, &needed).unwrap_err().reason, "there is no user app");
    std::fs::write(root.path().join("etc/passwd"), "app:x:0:0::/:/bin/sh\n").unwrap();
    std::fs::create_dir_all(root.path().join("srv/app")).unwrap();
    assert_eq!(command.check(&system), Ok(Check::Holds), "now its guard is asked");
}

#[test]
fn a_guard_that_hangs_is_named() {
    let (_root, system) = machine();
    let hung = command(json!({"command": "true", "unless": ["sleep", "60"]}));
    let failure = hung.check(&system.within(Duration::from_millis(200))).unwrap_err();
    assert!(failure.reason.starts_with("unless: `sleep 60` did not end within"), "{}", failure.reason);
}

#[test]
fn what_excludes_or_needs_each_other_is_told_with_a_way_out() {
    let table = [
        (json!({"command": "x"}), vec!["command"]),
        (json!({"command": "x", "always": true}), vec![]),
        (json!({"command": "x", "on_change_of": []}), vec!["command"]),
        (json!({"command": "x", "always": true, "creates": "/x"}), vec!["always"]),
        (json!({"command": "x\ny", "always": true}), vec!["command"]),
        (json!({"command": ["x"], "run": "y", "always": true}), vec!["command"]),
        (json!({"command": "x", "always": true, "exit_codes": []}), vec!["exit_codes"]),
        (json!({"command": "x", "always": true, "environment": {"A=B": "c"}}), vec!["environment"]),
    ];
    for (item, attributes) in table {
        let said: Vec<_> = command(item.clone()).validate().iter().map(|invalid| invalid.attribute).collect();
        assert_eq!(said, attributes, "{item}");
    }
    for item in [json!({"command": "x", "cwd": "/"}), json!({"command": "x", "creates": "relative"})] {
        assert!(serde_json::from_value::<Command>(item).is_err());
    }
}

#[test]
fn the_worker_takes_the_exit_code_for_always() {
    use crate::wire::{Operation, Outcome, Request};
    let (_root, system) = machine();
    let (replies, answers) = std::sync::mpsc::channel();
    let workers = crate::worker::Workers::start(system.clone(), replies);
    let always = command(json!({"command": "true", "always": true}));
    let needed = needed(always.check(&system).unwrap());
    let operation = Operation::Apply(AnyResource::Command(Box::new(always)), needed);
    workers.submit(vec![Request::new(1, operation, Duration::from_secs(10))]);
    let reply = answers.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(reply.outcome, Outcome::Checked(Ok(Check::Holds)));
}
