//! The order of a spec: what comes before what, and why.

use std::fs;
use std::path::{Path, PathBuf};

use converge::graph::{self, Vertex};
use converge::spec::{LoadOptions, Spec, load};

struct Written {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn write(text: &str) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spec.yaml");
    fs::write(&path, text).unwrap();
    Written { _directory: directory, path }
}

fn spec(text: &str) -> Spec {
    spec_with(text, &[])
}

fn spec_with(text: &str, vars: &[(&str, &str)]) -> Spec {
    let written = write(text);
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    match load(&written.path, &LoadOptions { vars, ..LoadOptions::default() }) {
        Ok(spec) => spec,
        Err(problems) => panic!("{}", problems.render(false, 100)),
    }
}

fn problems(text: &str) -> String {
    load(&write(text).path, &LoadOptions::default()).unwrap_err().to_string()
}

fn name(spec: &Spec, vertex: Vertex) -> String {
    match vertex {
        Vertex::Host(host) => format!("host:{}", spec.hosts[host].name),
        Vertex::Item(item) => spec.items[item].resource.id(),
    }
}

fn order(spec: &Spec) -> Vec<String> {
    spec.graph.order().iter().map(|vertex| name(spec, *vertex)).collect()
}

/// `after < before: reason`, host edges left out.
fn edges(spec: &Spec) -> Vec<String> {
    let mut edges = Vec::new();
    for after in spec.graph.order() {
        for (before, reason) in spec.graph.dependencies(*after) {
            if let (Vertex::Host(_), Vertex::Item(_)) = (before, *after) {
                continue;
            }
            let reason = reason.to_string();
            let reason = reason.split(", ").next().unwrap().to_owned();
            edges.push(format!("{} < {}: {reason}", name(spec, before), name(spec, *after)));
        }
    }
    edges
}

#[test]
fn a_parent_directory_comes_first_wherever_it_is_declared() {
    let spec = spec(
        "resources:
  - file: /srv/www/site/index.html
    content: x
  - directory: /srv
  - directory: /srv/www
",
    );
    assert_eq!(
        order(&spec),
        ["host:localhost", "directory:/srv", "directory:/srv/www", "file:/srv/www/site/index.html"]
    );
    assert_eq!(
        edges(&spec),
        [
            "directory:/srv < directory:/srv/www: its parent directory",
            "directory:/srv/www < file:/srv/www/site/index.html: its parent directory"
        ]
    );
}

#[test]
fn a_mount_comes_between_its_mount_point_and_what_lies_below_it() {
    let spec = spec(
        "resources:
  - file: /srv/data/x/y
  - mount: /srv/data/x
    device: /srv/src
    options: bind
  - directory: /srv/src
  - mount: /srv/data
    device: //server/share
    fstype: cifs
    options: credentials=/etc/share.cred
  - directory: /srv/data/x
  - file: /etc/share.cred
  - directory: /srv/data
",
    );
    let wanted = [
        "directory:/srv/data < mount:/srv/data: its mount point",
        "file:/etc/share.cred < mount:/srv/data: its credentials",
        "directory:/srv/data < directory:/srv/data/x: its parent directory",
        "mount:/srv/data < directory:/srv/data/x: its parent directory",
        "directory:/srv/data/x < mount:/srv/data/x: its mount point",
        "directory:/srv/src < mount:/srv/data/x: what it mounts",
        "directory:/srv/data/x < file:/srv/data/x/y: its parent directory",
        "mount:/srv/data/x < file:/srv/data/x/y: its parent directory",
    ];
    let mut found = edges(&spec);
    let mut wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn what_is_unmounted_goes_before_its_mount_point_whether_that_stays_or_goes() {
    let text = |state: &str, of_directory: &str| {
        format!(
            "resources:
  - file: /srv/data/below
  - directory: /srv/data
{of_directory}  - mount: /srv/data
    state: {state}
  - mount: /srv/data/inner
    state: {state}
"
        )
    };
    for state in ["absent", "unmounted"] {
        let spec = spec(&text(state, "    mode: 700\n"));
        let order = order(&spec);
        let at = |id: &str| order.iter().position(|one| one == id).unwrap();
        assert!(at("mount:/srv/data") < at("directory:/srv/data"), "{state}: {order:?}");
        assert!(at("directory:/srv/data") < at("file:/srv/data/below"), "{state}: {order:?}");
        if state == "absent" {
            assert!(at("mount:/srv/data/inner") < at("mount:/srv/data"), "{order:?}");
        }
    }
    let gone = text("absent", "    state: absent\n").replace("/below\n", "/below\n    state: absent\n");
    let order = order(&spec(&gone));
    let wanted = ["file:/srv/data/below", "mount:/srv/data/inner", "mount:/srv/data", "directory:/srv/data"];
    assert_eq!(order[1..], wanted);
}

#[test]
fn two_variants_of_a_mount_do_not_wait_for_each_other() {
    let spec = spec(
        "resources:
  - mount: /srv/data
    device: LABEL=a
    when: facts.os.id == 'debian'
  - mount: /srv/data
    device: LABEL=b
    when: facts.os.id == 'alpine'
",
    );
    assert_eq!(edges(&spec), Vec::<String>::new());
}

#[test]
fn what_the_graph_leaves_open_keeps_the_order_of_the_file() {
    let spec = spec("resources:\n  - file: /c\n  - file: /a\n  - file: /d\n  - file: /b\n");
    assert_eq!(order(&spec)[1..], ["file:/c", "file:/a", "file:/d", "file:/b"]);
}

#[test]
fn removal_runs_the_other_way_round() {
    let spec = spec(
        "resources:
  - directory: /srv/www
    state: absent
  - file: /srv/www/index.html
    state: absent
",
    );
    assert_eq!(order(&spec)[1..], ["file:/srv/www/index.html", "directory:/srv/www"]);
}

#[test]
fn references_are_found_on_this_host_another_host_a_group_and_by_host() {
    let spec = spec(
        r#"
hosts:
  web1:
  web2:
  db: {depends_on: [web1/directory:/a, host:web2]}
groups:
  web: [web1, web2]
resources:
  web:
    - directory: /a
    - file: /b
      depends_on: directory:/a/
  db:
    - file: /c
      depends_on: [web/file:/b, "host:web1"]
"#,
    );
    let edges = edges(&spec);
    let of = |after: &str| edges.iter().filter(|edge| edge.contains(&format!(" < {after}:"))).count();
    assert_eq!((of("host:db"), of("file:/b"), of("file:/c")), (2, 2, 2), "{edges:#?}");
    let on: Vec<_> = spec.items.iter().map(|item| spec.hosts[item.host].name.as_str()).collect();
    assert_eq!(on, ["web1", "web1", "web2", "web2", "db"]);
    assert_eq!(spec.id(3), "web2/file:/b");
}

#[test]
fn this_machine_takes_part_only_where_it_is_used() {
    let hosts = |spec: &Spec| spec.hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>();
    assert_eq!(hosts(&spec("hosts: {a: }\nresources: {a: [{file: /x}]}\n")), ["a"]);
    assert_eq!(
        hosts(&spec("hosts: {a: }\nresources: {all: [{file: /x}], localhost: [{file: /x}]}\n")),
        ["a", "localhost"]
    );
    assert_eq!(
        hosts(&spec("hosts: {a: {depends_on: 'host:localhost'}}\nresources: {}\n")),
        ["a", "localhost"]
    );
    assert_eq!(hosts(&spec("resources: [{file: /x}]\n")), ["localhost"]);
}

#[test]
fn variables_keep_their_spelling_their_type_and_their_layers() {
    let text = r#"
vars:
  mode: 0755
  on: true
  version: 1.10
  site: "https://{{ domain }}"
  domain: example.com
  lines: [a, b]
hosts:
  web1: {vars: {domain: one.example.com}}
  web2:
resources:
  all:
    - file: /a
      mode: "{{ mode }}"
      backup: "{{ on }}"
      content: "{{ site }} {{ version }} {{ host.name }} {{ extra }}"
    - file: "/list/{{ item }}"
      for_each: "{{ lines }}"
    - file: "/map/{{ item.key }}"
      content: "{{ item.value | quote }}"
      for_each: {z: it's, a: 2}
"#;
    let spec = spec_with(text, &[("extra", "007")]);
    let shown: Vec<String> =
        spec.items.iter().map(|item| serde_json::to_string(&item.resource).unwrap()).collect();
    assert!(shown[0].contains(r#""content":"https://one.example.com 1.10 web1 007""#), "{}", shown[0]);
    assert!(shown[0].contains(r#""mode":"0755""#) && shown[0].contains(r#""backup":true"#), "{}", shown[0]);
    assert!(shown[5].contains("https://example.com 1.10 web2 007"), "{}", shown[5]);
    assert_eq!(order(&spec)[2..7], ["file:/a", "file:/list/a", "file:/list/b", "file:/map/z", "file:/map/a"]);
    assert!(shown[3].contains(r#"'it'\\''s'"#), "{}", shown[3]);
}

#[test]
fn what_when_skips_stays_in_the_spec_and_is_no_twin() {
    let spec = spec(
        r#"
vars: {os: debian}
resources:
  - file: /etc/a
    when: os == "debian"
    content: x
  - file: /etc/a
    when: os == "alpine"
    content: "y"
  - file: /etc/b
    depends_on: file:/etc/a
  - file: /etc/proxy
    when: proxy is defined
    content: "{{ proxy }}"
"#,
    );
    let skipped: Vec<_> = spec.items.iter().map(|item| item.skipped_by_when.as_deref()).collect();
    assert_eq!(skipped, [None, Some(r#"os == "alpine""#), None, Some("proxy is defined")]);
}

#[test]
fn includes_bring_hosts_vars_and_resources_and_the_including_file_wins() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    fs::create_dir(directory.path().join("parts")).unwrap();
    put(
        "parts/web.yaml",
        "vars: {port: 80, name: part}\nresources:\n  web1:\n    - file: \"/etc/{{ name }}\"\n      template: web.conf\n",
    );
    put("parts/web.conf", "{% if port %}\nlisten {{ port }};\n{% endif %}\n");
    put(
        "main.yaml",
        "vars: {port: 8080}\ninclude:\n  - parts/web.yaml\n  - {file: parts/web.yaml, vars: {name: other}}\nhosts: {web1: }\n",
    );
    let path = directory.path().join("main.yaml");
    let spec = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let shown: Vec<String> =
        spec.items.iter().map(|item| serde_json::to_string(&item.resource).unwrap()).collect();
    assert!(shown[0].contains("/etc/part") && shown[0].contains(r"listen 8080;\n"), "{shown:?}");
    assert!(shown[1].contains("/etc/other"), "{shown:?}");
    assert!(spec.items[0].location.ends_with("parts/web.yaml:4"), "{}", spec.items[0].location);
    assert_eq!(spec.files.len(), 3);
}

#[test]
fn purge_knows_what_is_declared_below_it() {
    let spec = spec(
        "resources:
  - directory: /etc/app.d
    purge: true
  - file: /etc/app.d/a.conf
  - file: /etc/app.d/gone.conf
    state: absent
  - file: /etc/app.d/b.conf
    when: false
  - file: /etc/other
",
    );
    let mut resource = spec.items[0].resource.clone();
    let (_, kept) = resource.as_resource_mut().purges().unwrap();
    assert_eq!(kept.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/etc/app.d/a.conf"]);
    // What is declared absent is for its own resource to remove.
    let left = resource.as_resource_mut().leaves().unwrap();
    assert_eq!(left.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/etc/app.d/gone.conf"]);
}

#[test]
fn purge_knows_what_is_declared_below_it_by_another_name() {
    let spec = spec(
        "resources:
  - directory: /srv/app/releases
    purge: true
  - symlink: /srv/app/current
    target: releases/5
  - directory: /srv/app/current/tmp
  - symlink: /opt
    target: /srv
  - file: /opt/app/releases/note
  - directory: /opt/app
    purge: true
",
    );
    let kept = |item: usize| {
        let mut resource = spec.items[item].resource.clone();
        let (_, kept) = resource.as_resource_mut().purges().unwrap();
        kept.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // A link is kept, and not what it points to.
    assert_eq!(kept(0), ["/srv/app/releases/5/tmp", "/srv/app/releases/note"]);
    let all = ["current", "current/tmp", "releases", "releases/5/tmp", "releases/note"];
    assert_eq!(kept(5), all.map(|name| format!("/opt/app/{name}")));
}

#[test]
fn what_lies_below_links_comes_after_all_that_they_lead_to() {
    let spec = spec(
        "resources:
  - file: /srv/now/conf/site
  - symlink: /srv/now
    target: releases/two
  - symlink: /srv/releases/two/conf
    target: /etc/site
  - directory: /etc/site
  - symlink: /etc/ring
    target: ring
  - file: /etc/ring/x
",
    );
    let before = |item: usize| -> Vec<String> {
        let found = spec.graph.dependencies(Vertex::Item(item)).filter_map(|(other, _)| match other {
            Vertex::Item(other) => Some(spec.items[other].resource.as_resource().name()),
            Vertex::Host(_) => None,
        });
        found.collect()
    };
    assert_eq!(before(0), ["/srv/now", "/srv/releases/two/conf", "/etc/site"]);
    assert_eq!(before(5), ["/etc/ring"]);
}

#[test]
fn what_watches_a_directory_comes_after_all_that_is_made_in_it() {
    let spec = spec(
        "resources:
  - unit: app
    restart_on: [/etc/app]
    enabled: true
  - file: /etc/app/a/conf
  - command: build
    creates: /etc/app/built
  - symlink: /etc/app/enabled
    target: ../available/site
  - file: /etc/available/site
  - file: /etc/app-other
",
    );
    let before: Vec<String> = spec
        .graph
        .dependencies(Vertex::Item(0))
        .filter_map(|(other, reason)| match other {
            Vertex::Item(item) => Some(format!("{} ({reason})", spec.items[item].resource.id())),
            Vertex::Host(_) => None,
        })
        .collect();
    let ids: Vec<&str> = before.iter().filter_map(|edge| edge.split(" (").next()).collect();
    let made =
        ["file:/etc/app/a/conf", "command:build", "symlink:/etc/app/enabled", "file:/etc/available/site"];
    assert_eq!(ids, made);
    assert!(before.iter().all(|edge| edge.contains("restart_on")), "{before:?}");
}

#[test]
fn a_broken_item_is_not_missed_by_those_that_depend_on_it() {
    let seen = problems(
        "resources:
  - directory: /srv/www/
    mode: 9
  - file: /a
    depends_on: directory:/srv/www
  - file: \"/{{ nope }}\"
  - file: /b
    depends_on: file:/x
",
    );
    assert_eq!(seen.lines().count(), 2, "{seen}");
}

#[test]
fn yaml_is_read_as_it_is_meant() {
    let spec = spec(
        "\u{feff}# BOM and CRLF\r\nresources:\r\n  - &motd\r\n    file: /etc/motd\r\n    owner: 1000\r\n    content: |\r\n      one\r\n      two\r\n  - file: /etc/issue\r\n    <<: *motd\r\n",
    );
    let shown = serde_json::to_string(&spec.items[0].resource).unwrap();
    assert!(shown.contains(r#""owner":"1000""#) && shown.contains(r#""content":"one\ntwo\n""#), "{shown}");
}

#[test]
fn the_graph_is_shown_with_every_reason_and_escaped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spec.yaml");
    fs::write(
        &path,
        "hosts: {web1: }\nresources:\n  web1:\n    - directory: '/srv/\"x\"'\n    - file: '/srv/\"x\"/<b>#1'\n      depends_on: file:/c\n    - file: /c\n",
    )
    .unwrap();
    let spec = load(&path, &LoadOptions::default()).unwrap();
    let shown = format!("{}\n{}\n{}", graph::text(&spec), graph::dot(&spec), graph::mermaid(&spec));
    insta::assert_snapshot!(shown.replace(&directory.path().display().to_string(), "DIR"));
}

#[test]
fn ten_thousand_resources_in_one_long_chain_load() {
    let mut text = String::from("resources:\n");
    for number in 0..100 {
        text.push_str(&format!("  - directory: /srv/d{number}\n    mode: 755\n"));
    }
    for number in 0..10_000 {
        text.push_str(&format!(
            "  - file: /srv/d{}/f{number}\n    content: \"text {number}\"\n    owner: root\n    mode: 0644\n",
            number % 100
        ));
        if number > 0 {
            text.push_str(&format!("    depends_on: file:/srv/d{}/f{}\n", (number - 1) % 100, number - 1));
        }
    }
    let written = write(&text);
    let spec = load(&written.path, &LoadOptions::default()).unwrap();
    assert_eq!(spec.items.len(), 10_100);
}

#[test]
fn the_whole_spec_of_the_language_page_loads() {
    let spec = load(Path::new("tests/specs/good/language-whole.yaml"), &LoadOptions::default());
    let spec = spec.unwrap_or_else(|problems| panic!("{}", problems.render(false, 100)));
    insta::assert_snapshot!(graph::text(&spec));
}

#[test]
fn a_unit_comes_after_its_file_its_drop_ins_and_what_restarts_it() {
    let spec = spec(
        r#"
resources:
  - unit: app
    state: active
    restart_on: [file:/etc/app.conf, /etc/app.env]
    reload_on: [unit:other]
  - file: /etc/systemd/system/app.service
    content: x
  - file: /etc/systemd/system/app.service.d/limits.conf
    content: x
  - file: /etc/systemd/system/app.service-d
  - file: /etc/app.conf
    content: x
  - file: /etc/app.env
    content: x
  - unit: other.service
    content: x
  - file: /end
    depends_on: [unit:app, "unit:other"]
"#,
    );
    let edges = edges(&spec);
    let before: Vec<_> = edges.iter().filter(|edge| edge.contains(" < unit:app:")).collect();
    assert_eq!(
        before,
        [
            "file:/etc/app.conf < unit:app: restart_on",
            "file:/etc/app.env < unit:app: restart_on",
            "unit:other < unit:app: reload_on",
            "file:/etc/systemd/system/app.service < unit:app: its unit file",
            "file:/etc/systemd/system/app.service.d/limits.conf < unit:app: its drop-ins",
        ]
    );
    let shown = serde_json::to_string(&spec.items[0].resource).unwrap();
    assert!(shown.contains(r#""restart_on":["/etc/app.conf","/etc/app.env"]"#), "{shown}");
    assert!(shown.contains(r#""reload_on":["/etc/systemd/system/other.service"]"#), "{shown}");
    assert_eq!(edges.iter().filter(|edge| edge.contains(" < file:/end:")).count(), 2);
}

#[test]
fn what_a_journey_captures_is_left_for_its_run() {
    let spec = spec(
        r#"
vars: {site: "https://example.com"}
resources:
  - http: a journey
    timeout: 3s
    steps:
      - get: "{{ site }}/login"
        capture: {csrf: "csrf=(.*)"}
      - get: "{{ site }}/account"
        headers: {csrf: "{{ captured.csrf }}", both: "{{ site }} {{ captured.csrf }}"}
"#,
    );
    let shown = serde_json::to_string(&spec.items[0].resource).unwrap();
    assert!(shown.contains(r#""csrf":"{{ captured.csrf }}""#), "{shown}");
    assert!(shown.contains(r#""both":"https://example.com {{ captured.csrf }}""#), "{shown}");
    assert_eq!(spec.items[0].timeout, None);
}

#[test]
fn every_types_example_is_a_spec() {
    for word in converge::resource::TYPES {
        let example = converge::resource::example(word).unwrap();
        let indented: String = example.lines().map(|line| format!("  {line}\n")).collect();
        let spec = spec(&format!("resources:\n{indented}"));
        assert!(spec.items.iter().any(|item| item.resource.type_word() == *word), "{word}");
    }
}
