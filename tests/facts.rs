//! `facts`: what stands on them is resolved for each host once it is reached; everything else of a
//! spec, and every mistake that can be seen before, is settled before any host is touched.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use support::lab::Lab;
use support::{Ran, converge_in, has_lab, run};

/// A directory with files in it, one of them the spec; `DIR` stands for the directory, `ID` for what
/// os-release has as this machine's ID.
struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    fn new(spec: &str) -> Case {
        let case = Case { directory: tempfile::tempdir().unwrap() };
        case.file("spec.yaml", spec);
        case
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), self.filled(text)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn filled(&self, text: &str) -> String {
        text.replace("DIR", self.directory.path().to_str().unwrap()).replace("ID", &os_id())
    }

    fn id(&self, id: &str) -> String {
        format!("localhost/{}", self.filled(id))
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = support::converge(self.directory.path());
        let (verb, options) = words.split_first().unwrap();
        run(command.arg(verb).arg(self.path("spec.yaml")).args(options))
    }

    fn plan(&self) -> Ran {
        self.run(&["plan", "--format", "json"])
    }

    fn apply(&self) -> Ran {
        self.run(&["apply", "--format", "json"])
    }
}

fn os_id() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap();
    let line = text.lines().find(|line| line.starts_with("ID=")).unwrap();
    line[3..].trim_matches('"').to_owned()
}

fn detail(ran: &Ran, id: &str) -> String {
    ran.resource(id)["details"].as_array().unwrap().iter().map(|detail| detail["text"].to_string()).collect()
}

/// The table of docs/facts.md, from the struct and its doc comments.
fn table() -> String {
    let source = include_str!("../src/system/facts.rs");
    let fields = |of: &str| {
        let body = source.split_once(&format!("pub struct {of} {{")).unwrap().1.split_once("\n}").unwrap().0;
        let (mut fields, mut words) = (Vec::new(), Vec::new());
        for line in body.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                words.push(comment.trim().to_owned());
            } else if let Some((name, kind)) = line.trim_end_matches(',').split_once(": ") {
                let name = name.trim_start_matches("pub ").to_owned();
                fields.push((name, kind.to_owned(), std::mem::take(&mut words).join(" ")));
            }
        }
        fields
    };
    let mut table = "| fact | is | what it says |\n| --- | --- | --- |\n".to_owned();
    let mut row = |name: &str, kind: &str, words: &str| {
        let kind = match kind {
            "String" => "text",
            "Vec<String>" => "list of texts",
            _ => "number",
        };
        assert!(!words.is_empty(), "{name} says nothing of itself");
        table.push_str(&format!("| `{name}` | {kind} | {words} |\n"));
    };
    for (name, kind, words) in fields("Facts") {
        match kind.as_str() {
            "Os" => fields("Os")
                .iter()
                .for_each(|(part, kind, words)| row(&format!("facts.{name}.{part}"), kind, words)),
            kind => row(&format!("facts.{name}"), kind, &words),
        }
    }
    table
}

#[test]
fn the_page_of_facts_is_what_the_code_says() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/facts.md")).unwrap();
    let table = table();
    assert!(page.contains(&table), "put this table into docs/facts.md:\n{table}");
    let told: Vec<&str> = table.lines().skip(2).map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(told, converge::spec::facts::names());
    let example = page.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    Case::new(example).run(&["validate"]).expect(0).says("3 resources");
}

#[test]
fn when_by_facts_skips_what_is_for_another_system_and_holds_up_nobody() {
    let case = Case::new(
        "
resources:
  - file: DIR/here
    when: facts.os.id == 'ID'
  - file: DIR/elsewhere
    when: facts.os.id == 'plan9' and facts.cpus > 0
    content: '{{ facts.os.version }}'
  - file: DIR/after
    depends_on: file:DIR/elsewhere
",
    );
    let planned = case.plan().expect(2);
    assert_eq!(planned.status(&case.id("file:DIR/here")), "changed");
    let applied = case.apply().expect(0);
    for ran in [&planned, &applied] {
        let skipped = ran.resource(&case.id("file:DIR/elsewhere"));
        assert_eq!(skipped["status"], "skipped");
        assert_eq!(skipped["reason"], "when: facts.os.id == 'plan9' and facts.cpus > 0");
        assert_eq!(ran.status(&case.id("file:DIR/after")), "changed");
    }
    assert!(case.path("here").exists() && case.path("after").exists() && !case.path("elsewhere").exists());
    assert_eq!(case.plan().expect(0).summary()["ok"], 2);
}

#[test]
fn attributes_and_variables_stand_on_facts_and_the_plan_is_what_apply_does() {
    let case = Case::new(
        "
vars:
  mode: \"{{ 640 if facts.os.id == 'ID' else 600 }}\"
  words: {system: '{{ facts.os.id }}', plain: x}
resources:
  - file: DIR/f
    mode: '{{ mode }}'
    content: \"{{ words.system }} {{ facts.memory > 0 }} {{ facts.arch }}\\n\"
    timeout: '{{ facts.cpus }}m'
  - file: DIR/t
    template: t.j2
  - symlink: DIR/l
    target: '{{ facts.os.id }}'
  - file: DIR/s
    source: '{{ facts.os.id }}.conf'
",
    );
    case.file(
        "t.j2",
        "{% for word in ['system'] %}\n{{ word }} {{ facts.os.id }} on {{ host.name }}\n{% endfor %}\n",
    );
    case.file("ID.conf", "");
    case.file(&format!("{}.conf", os_id()), "of this system\n");
    case.run(&["validate"]).expect(0).says("4 resources");
    let planned = case.plan().expect(2);
    let applied = case.apply().expect(0);
    for id in ["file:DIR/f", "file:DIR/t", "symlink:DIR/l", "file:DIR/s"] {
        let id = case.id(id);
        assert_eq!(planned.resource(&id)["changes"], applied.resource(&id)["changes"], "{id}");
        assert!(!planned.resource(&id)["changes"].as_array().unwrap().is_empty(), "{id}");
    }
    assert_eq!(fs::metadata(case.path("f")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(case.text("f"), format!("{} True {}\n", os_id(), std::env::consts::ARCH));
    assert_eq!(case.text("t"), format!("system {} on localhost\n", os_id()));
    assert_eq!(case.text("s"), "of this system\n");
    assert_eq!(fs::read_link(case.path("l")).unwrap(), PathBuf::from(os_id()));
    assert_eq!(case.apply().expect(0).summary()["ok"], 4);
}

const VARIANTS: &str = "
resources:
  - file: DIR/f
    when: facts.os.id == 'plan9'
    content: \"of another\\n\"
  - file: DIR/f
    when: WHEN
    content: \"{{ facts.os.id }}\\n\"
  - file: DIR/after
    depends_on: file:DIR/f
  - file: DIR/beside
";

#[test]
fn of_two_variants_a_host_has_one() {
    let (is, is_not) = ("facts.os.id == 'plan9'", "facts.os.id != 'plan9'");
    let own = format!("{}\n", os_id());
    for (first, second, line, text) in [(is, is_not, 6, own.as_str()), (is_not, is, 3, "of another\n")] {
        // What is skipped may be told long after what is there.
        let slow = "    depends_on: command:slow\n    content: \"{{";
        let spec = VARIANTS.replace(is, first).replace("WHEN", second).replace("    content: \"{{", slow);
        let case = Case::new(&format!("{spec}  - command: slow\n    run: exit 1\n    unless: sleep 0.3\n"));
        let planned = case.plan().expect(2);
        assert_eq!(planned.summary()["skipped"], 1);
        // The one that is there is explained, and it is the one that a saved plan holds.
        let (spec, out) = (case.path("spec.yaml"), case.path("plan.json"));
        let mut why = support::converge(case.directory.path());
        let explained = run(why.arg("why").arg(&spec).arg(case.filled("file:DIR/f"))).expect(2);
        explained.says(&format!("spec.yaml:{line})")).says("would change");
        case.run(&["plan", "--out", out.to_str().unwrap()]).expect(2);
        run(support::converge(case.directory.path()).arg("apply").arg(&out)).expect(0);
        assert_eq!(case.text("f"), text);
        assert_eq!(case.apply().expect(0).summary()["ok"], 4);
    }
}

#[test]
fn two_variants_that_are_both_there_fail_and_point_at_each_other() {
    let case = Case::new(&VARIANTS.replace("WHEN", "facts.cpus > 0").replace("plan9", "ID"));
    for ran in [case.plan().expect(1), case.apply().expect(1)] {
        let id = case.id("file:DIR/f");
        let failed: Vec<_> = ran.events().into_iter().filter(|event| event["id"] == id.as_str()).collect();
        assert_eq!(failed.len(), 2);
        for event in &failed {
            assert_eq!(event["status"], "failed");
            assert!(event["reason"].as_str().unwrap().contains("is declared twice on localhost"), "{event}");
            assert_eq!(event["help"], "the `when` of both is true here: make them exclude each other");
            let shown = event["details"][0]["text"].as_str().unwrap();
            assert!(shown.contains("spec.yaml:3") || shown.contains("spec.yaml:6"), "{shown}");
            assert!(shown.contains("first here") && shown.contains("and here again"), "{shown}");
        }
        assert_ne!(failed[0]["location"], failed[1]["location"]);
        assert_eq!(ran.status(&case.id("file:DIR/after")), "skipped");
        assert_eq!(ran.status(&case.id("file:DIR/beside")), "changed");
    }
    assert!(!case.path("f").exists() && case.path("beside").exists());
}

#[test]
fn what_fights_by_these_facts_fails_and_nothing_else_does() {
    let case = Case::new(
        "
resources:
  - directory: DIR/d
    when: facts.cpus > 0
    state: absent
  - file: DIR/d/f
  - file: DIR/d/g
    when: facts.cpus == 0
  - file: DIR/beside
",
    );
    fs::create_dir(case.path("d")).unwrap();
    let ran = case.apply().expect(1);
    assert_eq!(ran.status(&case.id("directory:DIR/d")), "failed");
    let shown = detail(&ran, &case.id("directory:DIR/d"));
    assert!(shown.contains("declared to be gone here") && shown.contains("spec.yaml:6"), "{shown}");
    for id in ["file:DIR/d/f", "file:DIR/d/g"] {
        assert_eq!(ran.status(&case.id(id)), "skipped", "{id}");
    }
    assert_eq!(ran.status(&case.id("file:DIR/beside")), "changed");
    assert!(case.path("d").exists());
}

#[test]
fn what_cannot_be_resolved_fails_alone_with_its_excerpt() {
    let case = Case::new(
        "
vars:
  ports: {plan9: 80}
resources:
  - file: DIR/mode
    mode: '{{ facts.os.id }}'
  - file: DIR/port
    content: '{{ ports[facts.os.id] }}'
  - file: DIR/gone
    state: \"{{ 'absent' if facts.cpus > 0 else 'present' }}\"
  - file: DIR/t
    template: t.j2
  - file: DIR/after
    depends_on: file:DIR/mode
  - file: DIR/beside
",
    );
    case.file("t.j2", "fine\n{{ facts.os.id / 2 }}\n");
    case.run(&["validate"]).expect(0);
    for ran in [case.plan().expect(1), case.apply().expect(1)] {
        let mode = ran.resource(&case.id("file:DIR/mode"));
        assert_eq!(mode["status"], "failed");
        assert_eq!(mode["reason"], format!("`{}` is no mode", os_id()));
        assert!(mode["help"].as_str().unwrap().contains("as chmod takes it"), "{mode}");
        assert!(mode["location"].as_str().unwrap().ends_with("spec.yaml:5"), "{mode}");
        assert!(detail(&ran, &case.id("file:DIR/mode")).contains("spec.yaml:6:11"));
        for (id, place) in [("port", "spec.yaml:8:"), ("gone", "spec.yaml:10:"), ("t", "t.j2:2:")] {
            let id = case.id(&format!("file:DIR/{id}"));
            assert_eq!(ran.status(&id), "failed", "{id}");
            assert!(detail(&ran, &id).contains(place), "{}", detail(&ran, &id));
        }
        let port = ran.resource(&case.id("file:DIR/port"));
        assert_eq!(port["help"], "add what is missing, or write {{ ports[facts.os.id] | default(\"…\") }}");
        assert_eq!(ran.status(&case.id("file:DIR/after")), "skipped");
        assert_eq!(ran.status(&case.id("file:DIR/beside")), "changed");
    }
    assert!(!case.path("mode").exists() && case.path("beside").exists());
}

#[test]
fn a_purged_directory_keeps_what_is_there_by_these_facts_and_no_more() {
    let case = Case::new(
        "
resources:
  - directory: DIR/d
    purge: true
  - file: DIR/d/here
    when: facts.cpus > 0
  - file: DIR/d/elsewhere
    when: facts.cpus == 0
",
    );
    fs::create_dir(case.path("d")).unwrap();
    case.file("d/here", "");
    case.file("d/elsewhere", "");
    case.apply().expect(0);
    assert!(case.path("d/here").exists() && !case.path("d/elsewhere").exists());
    assert_eq!(case.apply().expect(0).summary()["changed"], 0);
}

#[test]
fn a_command_runs_again_where_what_depends_on_facts_has_changed() {
    let case = Case::new(
        "
resources:
  - file: DIR/f
    when: facts.os.id == 'ID'
    content: '{{ facts.os.id }} ONE'
  - file: DIR/f
    when: facts.os.id != 'ID'
  - command: note it
    run: echo {{ facts.os.id }} >> DIR/log
    on_change_of: [\"file:DIR/f\"]
",
    );
    case.apply().expect(0);
    case.apply().expect(0);
    let spec = case.text("spec.yaml").replace("ONE", "TWO");
    case.file("spec.yaml", &spec);
    case.apply().expect(0);
    assert_eq!(case.text("log"), format!("{0}\n{0}\n", os_id()));
}

#[test]
fn no_order_follows_from_an_attribute_that_stands_on_facts_but_from_all_others() {
    let case = Case::new(
        "
resources:
  - directory: DIR/ID
  - directory: DIR/known
  - command: by facts
    run: exit 1
    unless: exit 0
    directory: DIR/{{ facts.os.id }}
  - command: by name
    run: 'echo {{ facts.arch }}'
    unless: exit 0
    directory: DIR/known
  - program: app
    content: 'command={{ facts.os.id }}'
  - file: /etc/supervisor/conf.d/app.conf
    when: facts.cpus == 0
",
    );
    let graph = case.run(&["graph"]).expect(0).stdout;
    let after = |id: &str| {
        let lines = graph.lines().skip_while(|line| *line != format!("localhost/{id}")).skip(1);
        lines.take_while(|line| line.starts_with("  ")).map(str::trim).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(after("command:by facts"), "after host:localhost  (its host)");
    assert!(after("command:by name").contains(&case.id("directory:DIR/known")), "{graph}");
    // That there is content is known, and so that it provides the file.
    assert!(!after("program:app").contains("app.conf"), "{graph}");
}

#[test]
fn an_undefined_name_is_found_before_any_host_unless_its_when_leaves_it_out() {
    let wrong = Case::new("resources:\n  - file: DIR/f\n    content: '{{ facts.os.id }} {{ proxy }}'\n");
    wrong.run(&["validate"]).expect(3).says("`proxy` is not defined");
    let case = Case::new(
        "
resources:
  - file: DIR/f
    when: proxy is defined and facts.cpus > 0
    content: '{{ facts.os.id }} {{ proxy }}'
",
    );
    assert_eq!(case.apply().expect(0).summary()["skipped"], 1);
    case.run(&["apply", "--var", "proxy=here"]).expect(0);
    assert_eq!(case.text("f"), format!("{} here", os_id()));
}

#[test]
fn what_is_not_selected_and_cannot_be_resolved_holds_up_what_depends_on_it() {
    let case = Case::new(
        "
resources:
  - file: DIR/mode
    mode: '{{ facts.os.id }}'
  - file: DIR/after
    depends_on: file:DIR/mode
",
    );
    let ran = case.run(&["apply", "--format", "json", "--only", "file:*after"]).expect(1);
    assert_eq!(ran.status(&case.id("file:DIR/after")), "skipped");
    let reason = ran.resource(&case.id("file:DIR/mode"))["reason"].to_string();
    assert!(reason.contains("is no mode"), "{reason}");
}

#[test]
fn each_host_tells_its_own_facts_and_one_that_is_off_leaves_them_unknown() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("facts", &["h1", "h2"]);
    lab.must("h2", "printf 'ID=alpine\\nNAME=Alpine\\nVERSION_ID=3.19.1\\n' > /etc/os-release");
    lab.must("h2", "echo '10.9.8.7 h2.example.org h2' >> /etc/hosts");
    let spec = lab.dir().join("facts.yaml");
    let text = "
hosts:
  h1: {address: H1, user: root}
  h2: {address: H2, user: root}
resources:
  all:
    - file: /root/system
      template: system.j2
    - file: /root/variant
      when: facts.os.id == 'debian'
      content: \"debian\\n\"
      mode: '{{ 640 if facts.init == \"systemd\" else 600 }}'
    - file: /root/variant
      when: facts.os.id == 'alpine'
      content: \"alpine\\n\"
    - file: /root/after
      depends_on: file:/root/variant
";
    fs::write(&spec, text.replace("H1", &lab.ip("h1")).replace("H2", &lab.ip("h2"))).unwrap();
    let template = "{{ facts.hostname }} {{ facts.fqdn }} {{ facts.os.id }} {{ facts.os.codename }} {{ facts.init }} \
                    {{ facts.package_manager }} {{ facts.addresses | join(',') }}\n";
    fs::write(lab.dir().join("system.j2"), template).unwrap();
    let converge = |verb: &str| run(converge_in(&lab).args([verb, "--format", "json"]).arg(&spec));

    let planned = converge("plan").expect(2);
    assert_eq!(planned.summary()["changed"], 6);
    let applied = converge("apply").expect(0);
    assert_eq!((&applied.summary()["changed"], &applied.summary()["skipped"]), (&6.into(), &2.into()));
    let (h1, h2) = (lab.ip("h1"), lab.ip("h2"));
    assert_eq!(lab.must("h1", "cat /root/system"), format!("h1 h1 debian bookworm systemd apt {h1}\n"));
    assert_eq!(lab.must("h2", "cat /root/system"), format!("h2 h2.example.org alpine  systemd apt {h2}\n"));
    assert_eq!(lab.must("h1", "cat /root/variant; stat -c %a /root/variant"), "debian\n640\n");
    assert_eq!(lab.must("h2", "cat /root/variant"), "alpine\n");
    assert_eq!(converge("apply").expect(0).summary()["changed"], 0);

    // In a plan, a host that waits for something has told no facts.
    let gated = fs::read_to_string(&spec).unwrap().replace(
        &format!("h2: {{address: {h2}, user: root}}"),
        "h2: {address: 10.77.0.250, user: root, depends_on: h1/file:/root/gate}",
    );
    fs::write(&spec, gated + "  h1:\n    - file: /root/gate\n").unwrap();
    let planned = converge("plan").expect(2);
    for id in ["h2/file:/root/system", "h2/file:/root/variant", "h2/file:/root/after"] {
        let resource = planned.resource(id);
        assert_eq!(resource["status"], "unknown", "{id}");
        assert_eq!(resource["reason"], "not known until h1/file:/root/gate is present", "{id}");
    }
    assert_eq!(planned.status("h1/file:/root/gate"), "changed");
}
