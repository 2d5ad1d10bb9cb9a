//! Lines and blocks in whole runs: what a plan foresees, several in one file at once, and what else
//! is declared around them.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use support::{Ran, converge, run};

/// A directory with a spec in it, in which `DIR` stands for the directory.
struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    fn new(spec: &str) -> Case {
        let case = Case { directory: tempfile::tempdir().unwrap() };
        let text = format!("resources:\n{spec}").replace("DIR", case.directory.path().to_str().unwrap());
        fs::write(case.path("spec.yaml"), text).unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = converge(self.directory.path());
        let (verb, options) = words.split_first().unwrap();
        run(command.arg(verb).arg(self.path("spec.yaml")).args(options).args(["--format", "json"]))
    }

    /// What the plan says is what is done, and then there is nothing left.
    #[track_caller]
    fn converges(&self, changed: u64) -> Ran {
        let planned = self.run(&["plan"]).expect(2);
        assert_eq!(planned.summary()["changed"], changed, "{}", planned.stdout);
        let applied = self.run(&["apply"]).expect(0);
        assert_eq!(applied.summary()["changed"], changed, "{}", applied.stdout);
        let again = self.run(&["apply"]).expect(0);
        assert_eq!(again.summary()["changed"], 0, "{}", again.stdout);
        planned
    }
}

#[test]
fn a_line_is_planned_in_a_file_that_another_resource_will_make() {
    let case = Case::new(
        "
  - line: x
    file: DIR/etc/app.conf
    text: x = 1
  - block: b
    file: DIR/etc/app.conf
    content: y = 2
  - file: DIR/etc/app.conf
    mode: 600
  - directory: DIR/etc
",
    );
    case.converges(4);
    assert_eq!(case.read("etc/app.conf").lines().count(), 4);
    assert_eq!(fs::metadata(case.path("etc/app.conf")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_nobody_makes_fails_the_plan_with_the_line_to_add() {
    let case = Case::new("  - line: x\n    file: DIR/app.conf\n    text: x\n");
    let planned = case.run(&["plan"]).expect(1);
    planned.says("app.conf does not exist").says("create: true");
    assert!(!case.path("app.conf").exists());
    // Who makes the directory does not make the file.
    let case = Case::new("  - line: x\n    file: DIR/a/app.conf\n    text: x\n  - directory: DIR/a\n");
    case.run(&["plan"]).expect(1).says("app.conf does not exist");
    case.run(&["apply"]).expect(1).says("app.conf does not exist");
}

#[test]
fn what_a_command_may_bring_is_unknown_to_a_plan_and_no_failure() {
    let case = Case::new(
        "
  - command: installs
    run: echo old > DIR/app.conf
    creates: DIR/app.conf
  - line: x
    file: DIR/app.conf
    text: x
    depends_on: command:installs
",
    );
    let planned = case.run(&["plan"]).expect(2).says("not known until localhost/command:installs is done");
    assert_eq!(planned.summary()["failed"], 0);
    case.run(&["apply"]).expect(0);
    assert_eq!(case.read("app.conf"), "old\nx\n");
}

#[test]
fn many_in_one_file_at_once_do_not_lose_each_other_and_stand_in_the_order_of_the_spec() {
    let (mut spec, mut wanted) = (String::new(), "[head]\n".to_owned());
    for number in 0..40 {
        let place = if number % 2 == 0 { "    after: ^.head\n" } else { "" };
        if number % 5 == 0 {
            spec += &format!("  - block: b{number}\n    file: DIR/f\n    content: block {number}\n{place}");
        } else {
            spec += &format!("  - line: l{number}\n    file: DIR/f\n    text: line {number}\n{place}");
        }
    }
    for parity in [0, 1] {
        if parity == 1 {
            wanted += "tail\n";
        }
        for number in (0..40).filter(|number| number % 2 == parity) {
            wanted += &match number % 5 {
                0 => format!("# BEGIN converge: b{number}\nblock {number}\n# END converge: b{number}\n"),
                _ => format!("line {number}\n"),
            };
        }
    }
    let case = Case::new(&spec);
    fs::write(case.path("f"), "[head]\ntail\n").unwrap();
    case.converges(40);
    assert_eq!(case.read("f"), wanted);
    // Some are taken out by hand, and come back to their places.
    let cut: Vec<&str> = wanted.lines().filter(|line| !line.ends_with('7') && *line != "block 20").collect();
    fs::write(case.path("f"), cut.join("\n") + "\n").unwrap();
    case.run(&["apply"]).expect(0);
    assert_eq!(case.read("f"), wanted);
}

#[test]
fn several_that_may_make_their_file_make_one() {
    let mut spec = String::new();
    for number in 0..20 {
        spec += &format!("  - line: l{number}\n    file: DIR/f\n    text: line {number}\n    create: true\n");
    }
    let case = Case::new(&spec);
    case.converges(20);
    let wanted: String = (0..20).map(|number| format!("line {number}\n")).collect();
    assert_eq!(case.read("f"), wanted);
}

#[test]
fn a_line_without_create_waits_for_the_one_that_makes_its_file() {
    let case = Case::new(
        "
  - line: a
    file: DIR/d/f
    text: a
  - line: b
    file: DIR/d/f
    text: b
    create: true
  - directory: DIR/d
",
    );
    case.converges(3);
    assert_eq!(case.read("d/f"), "a\nb\n");
}

#[test]
fn a_line_that_goes_after_another_one_comes_after_it() {
    let case = Case::new(
        "
  - line: option
    file: DIR/f
    text: x = 1
    after: ^.section
  - block: more
    file: DIR/f
    content: y = 1
    before: ^x
  - line: header
    file: DIR/f
    text: '[section]'
    create: true
",
    );
    case.converges(3);
    let wanted = "[section]\n# BEGIN converge: more\ny = 1\n# END converge: more\nx = 1\n";
    assert_eq!(case.read("f"), wanted);
    let circle = Case::new(
        "
  - {line: a, file: DIR/f, text: a, after: ^b, create: true}
  - {line: b, file: DIR/f, text: b, after: ^a, create: true}
",
    );
    circle.run(&["plan"]).expect(3).says("its place is found by it");
}

#[test]
fn a_file_that_a_line_makes_is_as_the_directory_above_hands_down() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let case = Case::new(
        "
  - directory: DIR/d
    owner: '1234'
    mode: 750
    recurse: true
    purge: true
  - line: x
    file: DIR/d/f
    text: x
    create: true
",
    );
    case.converges(2);
    let there = fs::metadata(case.path("d/f")).unwrap();
    assert_eq!((there.uid(), there.mode() & 0o777), (1234, 0o640));
}

#[test]
fn lines_that_are_to_go_go_before_their_file_and_in_one_that_stays() {
    let case = Case::new(
        "
  - line: x
    file: DIR/stays
    match: ^x
    state: absent
  - file: DIR/stays
  - line: y
    file: DIR/d/goes
    text: y
    state: absent
  - file: DIR/d/goes
    state: absent
  - directory: DIR/d
    state: absent
",
    );
    fs::write(case.path("stays"), "x 1\na\n").unwrap();
    fs::create_dir(case.path("d")).unwrap();
    fs::write(case.path("d/goes"), "y\n").unwrap();
    case.converges(4);
    assert_eq!(case.read("stays"), "a\n");
    assert!(!case.path("d").exists());
}

#[test]
fn several_lines_that_match_fail_alone_and_are_listed() {
    let case = Case::new(
        "
  - line: bad
    file: DIR/f
    text: x = 1
    match: ^x
  - line: good
    file: DIR/f
    text: y = 1
",
    );
    fs::write(case.path("f"), "x = 2\n\nx = 3\n").unwrap();
    let ran = case.run(&["apply"]).expect(1);
    ran.says("finds 2 lines of").says("to be replaced: 1, 3").says("occurrence: first");
    assert_eq!(case.read("f"), "x = 2\n\nx = 3\ny = 1\n");
}

#[test]
fn a_unit_comes_after_the_lines_and_blocks_in_what_it_watches() {
    let case = Case::new(
        "
  - unit: app
    enabled: true
    restart_on: [/etc/app.conf, line:y, sysctl:net.core.somaxconn]
  - line: x
    file: /etc/app.conf
    text: x
  - line: y
    file: /etc/other.conf
    text: y
  - block: z
    file: /etc/systemd/system/app.service
    content: z
  - block: w
    file: /etc/systemd/system/app.service.d/w.conf
    content: w
    create: true
  - sysctl: net.core.somaxconn
    value: 1024
",
    );
    let mut command = converge(case.directory.path());
    let shown = run(command.arg("graph").arg(case.path("spec.yaml"))).expect(0).stdout;
    let (before, after) = shown.split_once("unit:app").expect("it is shown");
    for one in ["line:x", "line:y", "block:z", "block:w", "sysctl:net.core.somaxconn"] {
        assert!(before.contains(one), "{one} comes first:\n{shown}");
    }
    assert!(after.contains("restart_on") && after.contains("its unit file"), "{shown}");
}
