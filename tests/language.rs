//! The language as its page tells it, sentence by sentence: what must load, and what it means.

use std::fs;
use std::path::Path;

use converge::resource::AnyResource;
use converge::spec::{LoadOptions, Spec, load};
use serde_json::Value;

/// Examples of the page with features that this version does not have: they must be refused
/// until it does, and leave this list then.
const NOT_YET: &[&str] = &[];

/// Writes files beside each other and loads the first.
fn load_files(files: &[(&str, &str)]) -> Result<Spec, String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    load(&directory.path().join(files[0].0), &LoadOptions::default())
        .map_err(|problems| problems.render(false, 100))
}

fn spec(text: &str) -> Spec {
    load_files(&[("spec.yaml", text)]).unwrap_or_else(|problems| panic!("{problems}"))
}

fn json(resource: &AnyResource) -> Value {
    let whole = serde_json::to_value(resource).unwrap();
    whole.as_object().unwrap().values().next().unwrap().clone()
}

/// `host/type:name` of every item, in their order.
fn ids(spec: &Spec) -> Vec<String> {
    (0..spec.items.len()).map(|item| spec.id(item)).collect()
}

#[test]
fn every_example_of_the_page_loads() {
    let mut seen = 0;
    for entry in fs::read_dir("tests/specs/good").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match (load(&path, &LoadOptions::default()), NOT_YET.contains(&name.as_str())) {
            (Ok(_), true) => panic!("{name} loads by now"),
            (Err(problems), false) => panic!("{name}\n{}", problems.render(false, 100)),
            _ => seen += 1,
        }
    }
    assert!(seen >= 6);
}

#[test]
fn the_example_spec_of_the_repository_is_that_of_the_page() {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    assert_eq!(read("specs/prod.yaml"), read("tests/specs/good/language-whole.yaml"));
}

#[test]
fn values_have_the_spellings_that_the_page_allows() {
    let spec = load(Path::new("tests/specs/good/language-values.yaml"), &LoadOptions::default()).unwrap();
    let item = |id: &str| {
        let found = (0..spec.items.len()).find(|item| spec.id(*item) == id);
        &spec.items[found.unwrap_or_else(|| panic!("no {id} in {:#?}", ids(&spec)))]
    };
    for name in ["www", "b", "c", "d"] {
        assert_eq!(json(&item(&format!("web1/directory:/srv/{name}")).resource)["mode"], "0755", "{name}");
    }
    let file = json(&item("web2/file:/srv/www/b").resource);
    assert_eq!((&file["mode"], &file["backup"]), (&Value::from("0644"), &Value::from(true)));
    assert_eq!(file["content"], "web2 b");
    assert_eq!(json(&item("web1/file:/srv/www/https.port").resource)["content"], "443");
    assert_eq!(json(&item("web1/unit:app").resource)["enabled"], true);
    assert_eq!(item("web1/command:put the label").tags, ["a"]);
    let make = item("web1/command:make");
    assert_eq!(make.evidence.len(), 2);
    let wait = make.wait.as_ref().unwrap();
    assert_eq!(wait.timeout.to_string(), "5m");
    assert_eq!(item("web1/file:/etc/apt/app.conf").skipped_by_when, None);
    assert!(item("web1/directory:/etc/apt/app.conf").skipped_by_when.is_some());
    assert!(item("web2/file:/etc/apk/app.conf").skipped_by_when.is_some());
}

#[test]
fn vars_of_an_include_hold_for_the_hosts_vars_and_resources_of_that_file() {
    let main = "include:\n  - {file: parts/site.yaml, vars: {name: one, zone: example.com}}\nresources:\n  web:\n    - file: /x\n";
    let site = "include: [more.yaml]\nvars: {url: \"https://{{ zone }}/\"}\nhosts:\n  h1: {address: \"{{ name }}.{{ zone }}\"}\ngroups: {web: [h1]}\nresources:\n  web:\n    - file: \"/srv/{{ name }}\"\n      content: \"{{ url }}\"\n";
    let more = "resources:\n  web:\n    - file: \"/more/{{ name }}\"\n";
    let spec =
        load_files(&[("main.yaml", main), ("parts/site.yaml", site), ("parts/more.yaml", more)]).unwrap();
    assert_eq!(spec.hosts[0].address.as_deref(), Some("one.example.com"));
    assert_eq!(ids(&spec), ["h1/file:/more/one", "h1/file:/srv/one", "h1/file:/x"]);
    assert_eq!(json(&spec.items[1].resource)["content"], "https://example.com/");
}

#[test]
fn a_file_may_be_included_again_with_other_vars() {
    let main = "include:\n  - {file: site.yaml, vars: {name: a}}\n  - {file: site.yaml, vars: {name: b}}\n  - plain.yaml\n  - plain.yaml\nresources: []\n";
    let site = "resources:\n  - file: \"/srv/{{ name }}\"\n";
    let spec =
        load_files(&[("main.yaml", main), ("site.yaml", site), ("plain.yaml", "resources: [{file: /p}]")]);
    assert_eq!(ids(&spec.unwrap()), ["localhost/file:/srv/a", "localhost/file:/srv/b", "localhost/file:/p"]);
}

#[test]
fn a_variable_that_speaks_of_item_is_made_anew_for_each() {
    let spec = spec(
        "vars: {path: \"/srv/{{ item }}\", deep: \"{{ path }}/x\", all: [c, d]}\nresources:\n  - file: \"{{ deep }}\"\n    for_each: [a, b]\n  - file: \"{{ path }}\"\n    for_each: \"{{ all[1:] }}\"\n",
    );
    assert_eq!(ids(&spec), ["localhost/file:/srv/a/x", "localhost/file:/srv/b/x", "localhost/file:/srv/d"]);
}

#[test]
fn groups_of_groups_are_all_their_hosts_each_once() {
    let spec = spec(
        "hosts: {a: , b: , c: , d: }\ngroups:\n  back: [b, c]\n  both: [a, back, b]\n  most: [both, all]\n  none: []\nresources:\n  both:\n    - file: /both\n  most:\n    - file: /most\n  none:\n    - file: /none\n",
    );
    let on = |name: &str| ids(&spec).iter().filter(|id| id.ends_with(name)).cloned().collect::<Vec<_>>();
    assert_eq!(on("/both"), ["a/file:/both", "b/file:/both", "c/file:/both"]);
    assert_eq!((on("/most").len(), on("/none").len()), (4, 0));
}

#[test]
fn for_each_over_nothing_is_nothing_and_over_maps_keeps_their_order() {
    let spec = spec(
        "vars: {nothing: [], ports: {z: {port: 1}, a: {port: 2}}}\nresources:\n  - file: \"/x/{{ item }}\"\n    for_each: \"{{ nothing }}\"\n  - file: \"/y/{{ item.key }}\"\n    for_each: \"{{ ports }}\"\n    content: \"{{ item.value.port }}\"\n    when: item.value.port > 1\n",
    );
    assert_eq!(ids(&spec), ["localhost/file:/y/z", "localhost/file:/y/a"]);
    assert_eq!(spec.items[0].skipped_by_when.as_deref(), Some("item.value.port > 1"));
    assert_eq!(spec.items[1].skipped_by_when, None);
}

#[test]
fn template_files_keep_their_last_newline_and_block_tags_eat_their_line() {
    let main = "vars: {ports: [80, 443], tls: false}\nresources:\n  - file: /a\n    template: conf/a.j2\n  - file: /b\n    source: conf/a.j2\n";
    let template = "# {# a comment #}\n{% for port in ports %}\n  {% if port == 443 %}\nlisten {{ port }} ssl;\n  {% else %}\nlisten {{ port }};\n  {% endif %}\n{% endfor %}\nhost {{ host.name | quote }}\n";
    let spec = load_files(&[("main.yaml", main), ("conf/a.j2", template)]).unwrap();
    assert_eq!(json(&spec.items[0].resource)["content"], "# listen 80;\nlisten 443 ssl;\nhost localhost\n");
    assert_eq!(json(&spec.items[1].resource)["content"], template);
    assert_eq!(spec.files.len(), 2);
}

#[test]
fn what_when_skips_neither_fights_nor_is_a_twin() {
    let spec = spec(
        "resources:\n  - directory: /srv/a\n    when: false\n  - file: /srv/a\n  - directory: /srv/gone\n    state: absent\n    when: 1 > 2\n  - file: /srv/gone/x\n",
    );
    assert_eq!(spec.items.iter().filter(|item| item.skipped_by_when.is_some()).count(), 2);
}

#[test]
fn an_instance_with_a_unit_file_of_its_own_does_not_fight_with_its_template() {
    let spec = spec(
        "resources:\n  - unit: app@one\n    enabled: true\n    content: x\n  - file: /etc/systemd/system/app@.service\n    content: x\n",
    );
    assert_eq!(spec.items.len(), 2);
}
