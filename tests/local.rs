//! The run on this machine: plan, apply, what fails and what goes on, selection, locks, signals,
//! output.

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Ran, run};

/// A directory with a spec in it, in which `DIR` stands for the directory.
struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    fn new(spec: &str) -> Case {
        let case = Case { directory: tempfile::tempdir().unwrap() };
        case.spec(spec);
        case
    }

    fn spec(&self, spec: &str) {
        let text = spec.replace("DIR", self.directory.path().to_str().unwrap());
        fs::write(self.path("spec.yaml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn id(&self, id: &str) -> String {
        format!("localhost/{}", id.replace("DIR", self.directory.path().to_str().unwrap()))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = support::converge(self.directory.path());
        let (verb, options) = words.split_first().unwrap();
        command.arg(verb).arg(self.path("spec.yaml")).args(options);
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        run(&mut self.command(words))
    }

    fn apply(&self) -> Ran {
        self.run(&["apply", "--format", "json"])
    }

    fn plan(&self) -> Ran {
        self.run(&["plan", "--format", "json"])
    }
}

const TREE: &str = "
resources:
  - directory: DIR/a/b
    mode: 750
  - file: DIR/a/b/f
    content: |
      hello
    mode: 640
  - symlink: DIR/a/b/l
    target: f
";

#[test]
fn plan_says_what_apply_does_and_a_second_run_touches_nothing() {
    let case = Case::new(TREE);
    let planned = case.plan().expect(2);
    assert!(!case.path("a").exists(), "a plan changes nothing");
    let applied = case.apply().expect(0);
    for id in ["directory:DIR/a/b", "file:DIR/a/b/f", "symlink:DIR/a/b/l"] {
        let id = case.id(id);
        assert_eq!(planned.resource(&id)["changes"], applied.resource(&id)["changes"]);
        assert_eq!(applied.status(&id), "changed");
    }
    assert_eq!(fs::metadata(case.path("a/b")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read_to_string(case.path("a/b/l")).unwrap(), "hello\n");
    let before: Vec<_> = ["a", "a/b", "a/b/f", "a/b/l"].map(|name| stamp(&case.path(name))).to_vec();
    let again = case.apply().expect(0);
    assert_eq!(again.summary()["changed"], 0);
    let after: Vec<_> = ["a", "a/b", "a/b/f", "a/b/l"].map(|name| stamp(&case.path(name))).to_vec();
    assert_eq!(before, after, "not an inode, an mtime or a ctime");
    case.plan().expect(0);
}

fn stamp(path: &std::path::Path) -> (u64, i64, i64, i64, i64) {
    let there = fs::symlink_metadata(path).unwrap();
    (there.ino(), there.mtime(), there.mtime_nsec(), there.ctime(), there.ctime_nsec())
}

#[test]
fn what_the_graph_leaves_unordered_runs_side_by_side_and_the_rest_in_its_order() {
    // Each of three waits until the other two have begun.
    let mut spec = "resources:\n".to_owned();
    for (own, others) in [("a", "b c"), ("b", "a c"), ("c", "a b")] {
        spec += &format!(
            "  - command: {own}\n    run: touch DIR/{own}.begun; for i in {others}; do until test -e DIR/$i.begun; do sleep 0.05; done; done; touch DIR/{own}\n    creates: DIR/{own}\n"
        );
    }
    spec += "  - command: last\n    run: test -e DIR/a && test -e DIR/b && touch DIR/last\n    creates: DIR/last\n    depends_on: [\"command:a\", \"command:b\"]\n";
    let case = Case::new(&spec);
    case.apply().expect(0);
    assert!(case.path("last").exists());
}

#[test]
fn a_umask_of_077_or_000_changes_nothing() {
    let spec = "
resources:
  - directory: DIR/made/a/b
  - file: DIR/made/a/f
    content: x
  - line: x
    file: DIR/made/l
    text: x
    create: true
    depends_on: directory:DIR/made/a/b
  - command: mkdir DIR/made/c; touch DIR/made/c/f
    creates: DIR/made/c
    depends_on: directory:DIR/made/a/b
";
    let mut seen = Vec::new();
    for umask in ["022", "077", "000"] {
        let case = Case::new(spec);
        let spec = case.path("spec.yaml");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh", support::program(), "apply"]);
        command.arg(spec).env("CONVERGE_RUNTIME_DIR", case.path("runtime")).stdin(Stdio::null());
        run(&mut command).expect(0);
        let found =
            Command::new("find").arg(case.path("made")).args(["-printf", "%P %m\\n"]).output().unwrap();
        let mut modes: Vec<String> =
            String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect();
        modes.sort();
        seen.push((umask, modes));
    }
    assert_eq!(seen[0].1, [" 755", "a 755", "a/b 755", "a/f 644", "c 755", "c/f 644", "l 644"]);
    for (umask, modes) in &seen[1..] {
        assert_eq!(modes, &seen[0].1, "under umask {umask}");
    }
}

#[test]
fn drift_is_shown_as_a_difference_and_mended() {
    let case = Case::new(TREE);
    case.apply().expect(0);
    fs::write(case.path("a/b/f"), "goodbye\n").unwrap();
    fs::set_permissions(case.path("a/b/f"), fs::Permissions::from_mode(0o600)).unwrap();
    let shown = case.run(&["plan"]).expect(2).says("-goodbye").says("+hello").says("mode 0600 → 0640");
    assert!(shown.stdout.contains("~ localhost/file:"), "{}", shown.stdout);
    case.run(&["plan", "--no-diff"]).expect(2).does_not_say("-goodbye");
    case.apply().expect(0);
    assert_eq!(fs::read_to_string(case.path("a/b/f")).unwrap(), "hello\n");
    assert_eq!(case.run(&["apply", "--detailed-exitcode"]).code, 0);
    fs::remove_file(case.path("a/b/l")).unwrap();
    assert_eq!(case.run(&["apply", "--detailed-exitcode"]).code, 2);
}

#[test]
fn what_fails_skips_what_depends_on_it_and_nothing_else() {
    let case = Case::new(
        "
resources:
  - file: DIR/bad
    content: x
    validate: 'echo no good >&2; false {}'
    evidence:
      - run: echo the evidence
      - tail: DIR/log
  - file: DIR/child
    content: x
    depends_on: file:DIR/bad
  - file: DIR/grandchild
    depends_on: file:DIR/child
  - file: DIR/free
    content: x
",
    );
    fs::write(case.path("log"), "last words\n").unwrap();
    let applied = case.apply().expect(1);
    let bad = applied.resource(&case.id("file:DIR/bad"));
    assert_eq!(bad["status"], "failed");
    assert!(bad["reason"].as_str().unwrap().contains("no good"), "{bad}");
    assert!(bad["details"].to_string().contains("the evidence"));
    assert!(bad["details"].to_string().contains("last words"));
    assert!(bad["location"].as_str().unwrap().ends_with("spec.yaml:3"));
    for id in ["file:DIR/child", "file:DIR/grandchild"] {
        let skipped = applied.resource(&case.id(id));
        assert_eq!(skipped["status"], "skipped");
        assert_eq!(skipped["because_of"], case.id("file:DIR/bad"));
    }
    assert_eq!(applied.status(&case.id("file:DIR/free")), "changed");
    assert!(!case.path("bad").exists() && !case.path("child").exists() && case.path("free").exists());
    let shown = case.run(&["apply"]).expect(1);
    shown
        .says("✗ localhost/file:")
        .says("spec.yaml:3")
        .says("skipped, since")
        .says("Not converged: 1 failed");
}

#[test]
fn a_missing_parent_that_nothing_declares_is_a_failure_with_the_line_to_add() {
    let case = Case::new("resources:\n  - file: DIR/x/y/f\n    content: z\n");
    for ran in [case.plan(), case.apply()] {
        let failed = ran.expect(1).resource(&case.id("file:DIR/x/y/f"));
        assert_eq!(failed["status"], "failed");
        let help = failed["help"].as_str().unwrap();
        assert!(help.contains(&format!("- directory: {}", case.path("x").display())), "{help}");
    }
    case.spec("resources:\n  - file: DIR/x/y/f\n    content: z\n  - directory: DIR/x/y\n");
    case.plan().expect(2);
    case.apply().expect(0);
}

#[test]
fn something_of_another_kind_in_the_way_is_named_and_replaced_only_with_force() {
    let case = Case::new("resources:\n  - directory: DIR/d\n  - file: DIR/f\n    content: x\n");
    fs::write(case.path("d"), "a file").unwrap();
    symlink("nowhere", case.path("f")).unwrap();
    let failed = case.plan().expect(1);
    assert!(failed.resource(&case.id("directory:DIR/d"))["reason"].as_str().unwrap().contains("is a file"));
    assert!(failed.resource(&case.id("file:DIR/f"))["reason"].as_str().unwrap().contains("is a symlink"));
    case.apply().expect(1);
    assert_eq!(fs::read_to_string(case.path("d")).unwrap(), "a file");
    case.spec(
        "resources:\n  - directory: DIR/d\n    force: true\n  - file: DIR/f\n    content: x\n    force: true\n",
    );
    case.apply().expect(0);
    assert!(case.path("d").is_dir() && !case.path("nowhere").exists());
    assert_eq!(fs::read_to_string(case.path("f")).unwrap(), "x");
    assert_eq!(case.apply().expect(0).summary()["changed"], 0);
}

#[test]
fn removal_runs_the_other_way_round() {
    let case = Case::new(TREE);
    case.apply().expect(0);
    case.spec(
        "
resources:
  - directory: DIR/a
    state: absent
  - directory: DIR/a/b
    state: absent
  - file: DIR/a/b/f
    state: absent
  - symlink: DIR/a/b/l
    state: absent
",
    );
    let planned = case.plan().expect(2);
    assert_eq!(planned.summary()["changed"], 4, "{}", planned.stdout);
    let applied = case.apply().expect(0);
    assert_eq!(applied.summary()["changed"], 4);
    assert!(!case.path("a").exists());
    case.apply().expect(0);
}

#[test]
fn only_what_is_selected_is_changed_and_what_it_stands_on_is_not_sand() {
    let case = Case::new(TREE);
    let skipped = case.run(&["apply", "--format", "json", "--only", "file:*/f"]).expect(1);
    assert_eq!(skipped.status(&case.id("file:DIR/a/b/f")), "skipped");
    assert!(!case.path("a").exists());
    case.run(&["apply", "--only", "directory:*"]).expect(0);
    assert!(case.path("a/b").is_dir() && !case.path("a/b/f").exists());
    let done = case.run(&["apply", "--format", "json", "--only", "file:*/f"]).expect(0);
    assert_eq!(done.summary()["changed"], 1);
    assert!(!case.path("a/b/l").exists());
    case.run(&["apply", "--only", "file:/no/such"]).expect(3).says("--only file:/no/such");
    case.run(&["plan", "--host", "nobody"]).expect(3).says("--host nobody");
}

#[test]
fn quiet_prints_nothing_where_nothing_changed() {
    let case = Case::new(TREE);
    let changed = case.run(&["apply", "--quiet"]).expect(0);
    assert!(changed.stdout.contains("directory:") && changed.stderr.is_empty());
    let nothing = case.run(&["apply", "--quiet"]).expect(0);
    assert_eq!((nothing.stdout.as_str(), nothing.stderr.as_str()), ("", ""));
}

#[test]
fn a_wrong_command_line_or_spec_exits_with_3_and_prints_nothing_on_stdout() {
    let case = Case::new("resources:\n  - directry: /x\n");
    for format in ["human", "json"] {
        let wrong = case.run(&["apply", "--format", format]).expect(3).says("directory");
        assert_eq!(wrong.stdout, "");
    }
    for words in [&["aply"][..], &["apply", "--nope"], &["plan", "--parallel", "0"]] {
        let wrong = case.run(words).expect(3);
        assert_eq!(wrong.stdout, "");
    }
    run(support::converge(case.directory.path()).arg("--version")).expect(0).says("converge ");
    run(support::converge(case.directory.path()).args(["apply", "--help"])).expect(0).says("--wait-lock");
    run(support::converge(case.directory.path()).args(["apply", "/no/such.yaml"]))
        .expect(3)
        .says("/no/such.yaml");
}

/// It goes on when `go` is there.
const SLOW: &str = "
resources:
  - command: slow
    run: 'touch DIR/begun; until test -e DIR/go; do sleep .05; done; touch DIR/done'
    creates: DIR/done
  - file: DIR/after
    depends_on: command:slow
  - port: 1
    wait: 1m
";

fn wait_for(path: &std::path::Path) {
    let end = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < end, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a shell of the case's commands is there.
fn is_running(case: &Case) -> bool {
    let pattern = format!("touch {}", case.path("begun").display());
    Command::new("pgrep").args(["-f", &pattern]).output().unwrap().status.success()
}

fn signal(child: &std::process::Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_second_run_waits_for_the_lock_or_says_who_holds_it() {
    let case = Case::new(&SLOW.replace("  - port: 1\n    wait: 1m\n", ""));
    let mut first = case.command(&["apply"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&case.path("begun"));
    let refused = case.run(&["apply"]).expect(4);
    let pid = format!("pid {}", first.id());
    refused.says("another run of").says(&pid).says("--wait-lock");
    let waits = case.command(&["apply", "--wait-lock", "30s"]).stdout(Stdio::piped()).spawn().unwrap();
    fs::write(case.path("go"), "").unwrap();
    let waited = waits.wait_with_output().unwrap();
    assert!(waited.stdout.starts_with(b"Converged: 2 ok"), "{waited:?}");
    assert!(first.wait().unwrap().success());

    // Another spec for the same machine: the machine's own lock.
    fs::remove_file(case.path("done")).unwrap();
    fs::remove_file(case.path("begun")).unwrap();
    fs::remove_file(case.path("go")).unwrap();
    fs::copy(case.path("spec.yaml"), case.path("other.yaml")).unwrap();
    let mut first = case.command(&["apply"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&case.path("begun"));
    let other = |more: &[&str]| {
        let mut command = support::converge(case.directory.path());
        run(command.arg("apply").arg(case.path("other.yaml")).args(more))
    };
    other(&[]).expect(4).says("another run holds this machine's lock").says(&format!("pid {}", first.id()));
    // What it saw while the first one was at work is looked at again when that is over.
    let said = case.path("said");
    let mut waits = support::converge(case.directory.path());
    waits.arg("apply").arg(case.path("other.yaml")).args(["--wait-lock", "30s", "--format", "json"]);
    let mut waits = waits.stdout(fs::File::create(&said).unwrap()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&said).unwrap().contains("another run holds its lock") {
        assert!(Instant::now() < end, "it does not wait");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::write(case.path("go"), "").unwrap();
    assert!(waits.wait().unwrap().success());
    let said = fs::read_to_string(&said).unwrap();
    assert!(said.contains("\"ok\":2,\"changed\":0"), "{said}");
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_lock_does_not_outlive_a_killed_run() {
    let case = Case::new(&SLOW.replace("  - port: 1\n    wait: 1m\n", ""));
    let mut first = case.command(&["apply"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&case.path("begun"));
    signal(&first, "-KILL");
    first.wait().unwrap();
    assert!(is_running(&case), "what it ran is left behind");
    fs::remove_file(case.path("begun")).unwrap();
    // Its lock is not, and what is left ends before the next run begins with the same.
    let mut next = case.command(&["apply"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&case.path("begun"));
    fs::write(case.path("go"), "").unwrap();
    assert!(next.wait().unwrap().success());
    assert!(case.path("done").exists() && !is_running(&case));
}

#[test]
fn a_signal_finishes_what_is_under_way_begins_nothing_and_says_so() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let case = Case::new(SLOW);
        let child = case.command(&["apply"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&case.path("begun"));
        signal(&child, name);
        std::thread::sleep(Duration::from_millis(300));
        fs::write(case.path("go"), "").unwrap();
        let output = child.wait_with_output().unwrap();
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        ran.expect(code).says("Interrupted").says("not done, since the run was interrupted");
        assert!(case.path("done").exists() && !case.path("after").exists());
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let case = Case::new(SLOW);
    let mut child = case.command(&["apply"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&case.path("begun"));
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!case.path("done").exists());
    assert!(!is_running(&case), "what it ran has ended with it");
}

#[test]
fn output_that_nobody_takes_does_not_stop_the_run() {
    let case = Case::new(TREE);
    let mut child = case.command(&["apply"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(case.path("a/b/l").exists());
    fs::remove_file(case.path("a/b/f")).unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = case.command(&["apply"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    assert!(case.path("a/b/f").exists());
}

#[test]
fn waiting_ends_with_its_patience_and_says_what_was_seen() {
    let case = Case::new("resources:\n  - port: unix:DIR/socket\n    wait: {timeout: 1s, every: 100ms}\n");
    let planned = case.plan().expect(2);
    assert_eq!(planned.status(&case.id("port:unix:DIR/socket")), "unknown");
    let failed = case.apply().expect(1);
    let port = failed.resource(&case.id("port:unix:DIR/socket"));
    assert!(port["reason"].as_str().unwrap().contains("(waited 1s for it)"), "{port}");
}

#[test]
fn a_command_that_hangs_fails_at_its_timeout_and_holds_up_nothing_else() {
    let case = Case::new(
        "
resources:
  - command: sleep 60
    always: true
    timeout: 1s
  - file: DIR/free
",
    );
    let failed = case.apply().expect(1);
    let hung = failed.resource(&case.id("command:sleep 60"));
    assert!(hung["reason"].as_str().unwrap().contains("did not end within its timeout"), "{hung}");
    assert!(case.path("free").exists());
}

#[test]
fn why_tells_a_resource_s_state_what_comes_before_it_and_what_after() {
    let case = Case::new(TREE);
    let file = format!("file:{}/a/b/f", case.directory.path().display());
    let before = case.run(&["why", &file]).expect(2);
    let before = before.says("would change: state absent → present").says("spec.yaml:5)");
    before.says("its parent directory").says("Nothing waits for it.");
    let directory = format!("directory:{}/a/b", case.directory.path().display());
    case.run(&["why", &directory]).expect(2).says("and before").says("symlink:");
    assert!(!case.path("a").exists(), "it changes nothing");
    case.apply().expect(0);
    case.run(&["why", &file]).expect(0).says("it holds");
    case.run(&["why", "file:/nope"]).expect(3).says("declares no file:/nope; the nearest is");
}

#[test]
fn a_saved_plan_makes_just_its_changes_and_refuses_what_has_moved_since_by_name() {
    let case = Case::new(TREE);
    let plan = case.path("plan.json");
    let out = plan.to_str().unwrap();
    case.run(&["plan", "--out", out]).expect(2);
    assert_eq!(fs::metadata(&plan).unwrap().mode() & 0o777, 0o600);
    let apply = || {
        let mut command = support::converge(case.directory.path());
        run(command.arg("apply").arg(&plan).args(["--format", "json"]))
    };
    assert_eq!(apply().expect(0).summary()["changed"], 3);
    // Everything holds now: there is nothing left of the plan to do.
    assert_eq!(apply().expect(0).summary()["changed"], 0);

    // Planned: new content. Moved since: the mode too. And what held has drifted.
    fs::write(case.path("a/b/f"), "old\n").unwrap();
    case.run(&["plan", "--out", out]).expect(2);
    assert!(!fs::read_to_string(&plan).unwrap().contains("hello"), "contents are not in a plan");
    fs::set_permissions(case.path("a/b/f"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::remove_file(case.path("a/b/l")).unwrap();
    let refused = apply().expect(1);
    for id in ["file:DIR/a/b/f", "symlink:DIR/a/b/l"] {
        let refused = refused.resource(&case.id(id));
        assert!(refused["reason"].as_str().unwrap().contains("moved since the plan was made"), "{refused}");
    }
    assert_eq!(refused.status(&case.id("directory:DIR/a/b")), "ok", "the rest goes on");
    assert_eq!(fs::read_to_string(case.path("a/b/f")).unwrap(), "old\n");

    // A plan is about the spec it was made of.
    case.spec("resources:\n  - directory: DIR/a/b\n    mode: 750\n");
    apply().expect(3).says("does not declare").says("make a new plan");
    fs::write(&plan, "{\"converge_plan\":1,").unwrap();
    apply().expect(3).says("damaged plan");
}
