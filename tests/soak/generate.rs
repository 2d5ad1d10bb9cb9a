//! A round's start: a tree, and a spec over the same few paths, so that they meet.

use crate::rng::Rng;
use crate::tree::GROUND;

/// What a round begins with. `ROOT` in a spec stands for the root's real path.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub tree: Vec<String>,
    pub items: Vec<String>,
}

const NAMES: &[&str] = &["a", "b", "c d", ".e"];
const MODES: &[&str] = &["755", "700", "2775", "644", "600", "4755", "1777", "750"];
const OWNERS: &[&str] = &["0:0", "0:0", "1001:1001", "1002:0"];
const CONTENTS: &[&str] = &[
    "one",
    "two\\xfe\\xff",
    "",
    "a longer content, of more than one block of nothing",
    "one\\x0ak = 1\\x0a\\xff\\x0aend\\x0a",
    "one\\x0d\\x0a#k = 0\\x0d\\x0aend",
    "k = 1\\x0ak = 2\\x0a",
    "one\\x0a# BEGIN converge: 7\\x0apart old\\x0a# END converge: 7\\x0aend\\x0a",
];
const TARGETS: &[&str] = &["a", "b", "nowhere", "/t/a", "/keep/d", "../keep/d", "/t/b/a"];

impl Case {
    pub fn new(rng: &mut Rng) -> Case {
        let tree = tree(rng);
        let mut items: Vec<String> = Vec::new();
        let mut taken: Vec<String> = Vec::new();
        for _ in 0..=rng.below(7) {
            let mut path = path(rng);
            // A parent that is there or declared, mostly.
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
            let is_there =
                tree.iter().any(|line| line.starts_with('d') && line.ends_with(&format!(" {parent}")));
            if parent != "/t" && !is_there && !taken.contains(&parent) && !rng.one_in(4) {
                path = if rng.one_in(2) { parent } else { path.replacen(&parent, "/t", 1) };
            }
            if !taken.contains(&path) || rng.one_in(20) {
                items.push(item(rng, &path));
                taken.push(path);
            }
        }
        // Parts of a file that is declared, there, or made by one of them.
        if rng.one_in(3) {
            let file = |line: &String| {
                Some(line.strip_prefix("f ")?.splitn(3, ' ').nth(2)?.split('|').next()?.to_owned())
            };
            let mut files: Vec<String> = tree.iter().filter_map(file).collect();
            let is_open = |item: &&String| {
                item.starts_with("  - file") && !item.contains("content") && !item.contains("absent")
            };
            let declared = items.iter().filter(is_open).filter_map(|item| item.split('"').nth(1));
            files.extend(declared.map(str::to_owned));
            let path = if files.is_empty() || rng.one_in(4) {
                path(rng)
            } else {
                files[rng.below(files.len())].clone()
            };
            for number in 0..=rng.below(3) {
                items.push(part(rng, number, &path));
            }
            taken.push(path);
        }
        // What a command makes is what no resource says anything of: `recurse` and `purge` are for
        // what is there already.
        let says = |word: &str| items.iter().any(|item| item.contains(word));
        let (recurses, purges) = (says("recurse:"), says("purge:"));
        if rng.one_in(5) && !recurses {
            let around = Around { declared: &taken, purges };
            for number in 0..=rng.below(2) {
                let of_label = OF_LABELS[rng.below(OF_LABELS.len())];
                items.push(of_label(rng, number, &around));
            }
        }
        // Nor does one watch a directory in which another makes what it does not say.
        let makes_unsaid = |item: &String| item.contains("unless:") || item.contains("only_if: \"test");
        if items.iter().any(makes_unsaid) {
            items.retain(|item| !item.contains("on_change_of:"));
        }
        Case { tree, items }
    }

    pub fn spec(&self, root: &str) -> String {
        format!("resources:\n{}", self.items.concat()).replace("ROOT", root)
    }

    /// As it stands in a regression test.
    pub fn shown(&self) -> String {
        format!("tree:\n{}\n{}", self.tree.join("\n"), self.spec("ROOT"))
    }
}

fn path(rng: &mut Rng) -> String {
    let mut path = "/t".to_owned();
    for _ in 0..=[0, 0, 1, 1, 2][rng.below(5)] {
        path.push('/');
        path.push_str(rng.pick(NAMES));
    }
    path
}

fn tree(rng: &mut Rng) -> Vec<String> {
    let mut directories = vec!["/t".to_owned()];
    let mut taken: Vec<String> = GROUND.iter().map(|line| line.to_string()).collect();
    let mut lines = Vec::new();
    for _ in 0..rng.below(12) {
        let directory = directories[rng.below(directories.len())].clone();
        if directory.matches('/').count() > 4 {
            continue;
        }
        let name = if rng.one_in(8) { "odd \\ 'name' ü" } else { rng.pick(NAMES) };
        let path = format!("{directory}/{name}");
        if taken.contains(&path) {
            continue;
        }
        taken.push(path.clone());
        let (mode, owner) = (rng.pick(MODES), rng.pick(OWNERS));
        lines.push(match rng.below(10) {
            0..4 => {
                directories.push(path.clone());
                format!("d {mode} {owner} {path}")
            }
            4..8 => format!("f {mode} {owner} {path}|{}", rng.pick(CONTENTS)),
            8 => format!("l - {owner} {path}|{}", rng.pick(TARGETS)),
            _ => format!("p {mode} {owner} {path}"),
        });
    }
    lines
}

/// A type whose name is a path: how often it comes, beside the others, and the lines that it says of
/// itself. A new one is a line here and an arm of `oracle::wrong`.
type OfPath = (usize, &'static str, fn(&mut Rng) -> Vec<String>);

const OF_PATHS: &[OfPath] = &[(2, "directory", directory), (2, "file", file), (1, "symlink", symlink)];

/// What stands beside them: commands, and types whose name is a label. Each is given its number and
/// the paths that are declared.
type OfLabel = fn(&mut Rng, usize, &Around) -> String;

const OF_LABELS: &[OfLabel] = &[command, command, command_on_change];

/// What is around an item that is made last.
struct Around<'a> {
    declared: &'a [String],
    purges: bool,
}

fn item(rng: &mut Rng, path: &str) -> String {
    let mut chosen = rng.below(OF_PATHS.iter().map(|(often, ..)| often).sum());
    let is_it = |(often, ..): &&OfPath| match chosen.checked_sub(*often) {
        Some(rest) => {
            chosen = rest;
            false
        }
        None => true,
    };
    let (_, kind, says) = OF_PATHS.iter().find(is_it).expect("the sum of all");
    let mut lines = vec![format!("- {kind}: \"{path}\"")];
    if !rng.one_in(3) {
        lines.push("  force: true".into());
    }
    let is_absent = rng.one_in(4);
    if is_absent {
        lines.push("  state: absent".into());
    }
    // What is to be gone has no more to say, mostly.
    if !is_absent || rng.one_in(30) {
        lines.extend(says(rng).into_iter().map(|line| format!("  {line}")));
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

fn symlink(rng: &mut Rng) -> Vec<String> {
    vec![format!("target: \"{}\"", rng.pick(TARGETS))]
}

fn access(rng: &mut Rng) -> Vec<String> {
    let mut lines = Vec::new();
    for (word, values) in [("owner", ["web", "db", "0"]), ("group", ["db", "root", "1001"])] {
        if rng.one_in(4) {
            lines.push(format!("{word}: \"{}\"", rng.pick(&values)));
        }
    }
    if rng.one_in(2) {
        lines.push(format!("mode: {}", rng.pick(MODES)));
    }
    lines
}

fn directory(rng: &mut Rng) -> Vec<String> {
    let mut lines = access(rng);
    if !lines.is_empty() && rng.one_in(3) {
        lines.push("recurse: true".into());
    }
    if rng.one_in(4) {
        lines.push("purge: true".into());
    }
    if rng.one_in(20) {
        lines.push("tmpfiles: true".into());
    }
    lines
}

fn file(rng: &mut Rng) -> Vec<String> {
    let mut lines = access(rng);
    if rng.one_in(4) {
        return lines;
    }
    if rng.one_in(12) {
        // One that travels by its hash, and one that is shown without a difference.
        let length = [5000, 70_000][rng.below(2)];
        lines.push(format!("content: \"{{{{ 'x' * {length} }}}}\""));
    } else {
        let content = ["one", "three", "", "a content that is longer than the others are"];
        lines.push(format!("content: \"{}\"", rng.pick(&content)));
    }
    if rng.one_in(5) {
        lines.push("backup: true".into());
    }
    if rng.one_in(12) {
        let test = ["test -f {}", "grep -q one {}"];
        lines.push(format!("validate: \"{}\"", rng.pick(&test)));
    }
    if rng.one_in(10) {
        lines.push("sensitive: true".into());
    }
    lines
}

/// A line or a block. What they write begins with `part`, or is a marker.
fn part(rng: &mut Rng, number: usize, path: &str) -> String {
    let is_gone = rng.one_in(5);
    let (head, body) = match rng.below(3) {
        0 => (
            format!("block: {}", rng.pick(&["7", "8"])),
            format!("    content: \"part b{number}\\npart c\\n\"\n"),
        ),
        1 => (format!("line: l{number}"), format!("    text: part {number}\n")),
        _ => {
            let pattern = rng.pick(&["^#?k =", "^(one|part x)", "^part k", "longer"]);
            let occurrence = if rng.one_in(3) { "    occurrence: all\n" } else { "" };
            (
                format!("line: l{number}"),
                format!("    text: part k{number}\n    match: \"{pattern}\"\n{occurrence}"),
            )
        }
    };
    let body = if is_gone && head.starts_with("block") { String::new() } else { body };
    let rest = match (is_gone, rng.below(5)) {
        (true, _) => "    state: absent\n",
        (false, 0) => "    create: true\n    after: ^one\n",
        (false, 1) => "    before: ^end\n",
        (false, 2) => "",
        (false, _) => "    create: true\n",
    };
    format!("  - {head}\n    file: \"{path}\"\n{body}{rest}")
}

/// In a directory of its own or beside the others: what it makes is called `made`, what it
/// removes `old`.
fn command(rng: &mut Rng, number: usize, around: &Around) -> String {
    let Around { declared, purges } = around;
    let directory =
        if declared.is_empty() || rng.one_in(2) { "/t" } else { &declared[rng.below(declared.len())] };
    let (made, old) = (format!("{directory}/made{number}"), format!("{directory}/a/old{number}"));
    match if *purges { rng.below(2) } else { rng.below(4) } {
        0 => format!("  - command: \"touch 'ROOT{made}'\"\n    creates: \"{made}\"\n"),
        1 => format!("  - command: \"rm -f 'ROOT{old}'\"\n    removes: \"{old}\"\n"),
        2 => format!(
            "  - command: \"touch 'ROOT{made}'\"\n    directory: \"{directory}\"\n    unless: \"test -e 'ROOT{made}'\"\n"
        ),
        _ => format!(
            "  - command: \"rm -f 'ROOT{old}'\"\n    directory: \"{directory}\"\n    only_if: \"test -e 'ROOT{old}'\"\n"
        ),
    }
}

/// For each content of a path, whatever becomes of it, and with other guards.
fn command_on_change(rng: &mut Rng, number: usize, around: &Around) -> String {
    let declared = around.declared;
    let of =
        if declared.is_empty() || rng.one_in(4) { "/keep/d/a" } else { &declared[rng.below(declared.len())] };
    let made = format!("/t/made{number}");
    let more = match rng.below(4) {
        0 => format!("    creates: \"{made}\"\n"),
        1 => "    only_if: \"true\"\n".to_owned(),
        _ => String::new(),
    };
    format!("  - command: \"touch 'ROOT{made}'\"\n    on_change_of: \"{of}\"\n{more}")
}
