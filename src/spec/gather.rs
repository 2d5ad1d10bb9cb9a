//! The files of a spec: the one that was named and what it includes, each read once, their
//! top-level keys put together.

use std::path::{Path, PathBuf};

use super::at::{At, Place};
use super::desk::{Desk, SPEC_CAP};
use super::near;
use super::problem::Problem;
use super::scope::Vars;
use super::vault::Written;
use super::yaml::{self, Node, Value};

pub const KEYS: &[&str] = &["vars", "secrets", "include", "hosts", "groups", "resources"];

/// What means something of its own in templates: names of the language's, and Jinja's words.
const TAKEN: &[&str] = &[
    "host", "item", "facts", "secrets", "captured", "loop", "self", "true", "false", "none", "True", "False",
    "None",
];

/// How deep files may include each other.
const INCLUDE_DEPTH: usize = 32;

/// All that the files declare, unresolved.
#[derive(Default)]
pub struct Gathered {
    /// Later ones win: an including file comes after what it includes.
    pub vars: Vars,
    pub hosts: Vec<DeclaredHost>,
    pub groups: Vec<(At<String>, Node)>,
    /// Later ones win, as with `vars`.
    pub secrets: Vec<Written>,
    pub blocks: Vec<Block>,
    /// The `vars` that `include` gives to a file, by `Block::overlay`. The first is empty.
    pub overlays: Vec<Vars>,
    /// The files that were given them.
    pub overlaid: Vec<PathBuf>,
}

/// An entry of `hosts`.
pub struct DeclaredHost {
    pub name: At<String>,
    pub node: Node,
    /// The `vars` that its file was included with.
    pub overlay: usize,
}

/// A list of resources and what they are for.
pub struct Block {
    pub target: Target,
    pub items: Vec<Node>,
    pub overlay: usize,
    /// `source` and `template` are relative to it.
    pub directory: PathBuf,
}

pub enum Target {
    /// A plain list: the place of `resources`.
    ThisMachine(Place),
    Named(At<String>),
}

pub fn gather(desk: &mut Desk, path: &Path) -> Gathered {
    let mut gathered =
        Gathered { overlays: vec![Vars::new()], overlaid: vec![path.to_owned()], ..Gathered::default() };
    let mut reading = Reading { desk, gathered: &mut gathered, open: Vec::new(), done: Vec::new() };
    reading.file(path, None, 0);
    gathered
}

pub(super) struct Reading<'a> {
    pub(super) desk: &'a mut Desk,
    pub(super) gathered: &'a mut Gathered,
    /// The files that are being read, outermost first.
    pub(super) open: Vec<Open>,
    /// Files that were included without `vars`: once is enough.
    done: Vec<PathBuf>,
}

/// A file that is being read.
pub(super) struct Open {
    /// One file under two names is still one file.
    identity: PathBuf,
    pub(super) path: PathBuf,
    /// Where `include` names it.
    pub(super) named: Option<Place>,
}

impl Reading<'_> {
    /// `named` is where `include` names it.
    pub(super) fn file(&mut self, path: &Path, named: Option<Place>, overlay: usize) {
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(place) = named
            && let Some(first) = self.open.iter().position(|open| open.identity == identity)
        {
            return self.circle(first, place, path);
        }
        if let Some(place) = named
            && self.open.len() > INCLUDE_DEPTH
        {
            return self.desk.report(
                Problem::at(place, format!("more than {INCLUDE_DEPTH} files that include one another"))
                    .label("here it becomes too deep")
                    .help("include them all from one file"),
            );
        }
        if overlay == 0 && self.done.contains(&identity) {
            return;
        }
        let whole = match self.read(path) {
            Ok(whole) => whole,
            Err(problem) => {
                // A file that cannot be read is told where it is named.
                let problem = match (named, problem.labels.is_empty()) {
                    (Some(place), true) => {
                        Problem { labels: vec![(place, "named here".to_owned())], ..problem }
                    }
                    _ => problem,
                };
                self.desk.is_incomplete = true;
                return self.desk.report(problem);
            }
        };
        let text = self.desk.sources.text(whole).to_owned();
        let document = yaml::parse(&text, whole);
        self.open.push(Open { identity: identity.clone(), named, path: path.to_owned() });
        match document {
            Err(problem) => {
                self.desk.is_incomplete = true;
                self.desk.report(problem);
            }
            Ok(None) => self.desk.report(
                Problem::at(whole.begin(), "this spec is empty")
                    .label("nothing here")
                    .help("the shortest one is `resources:` with a list of resources below it"),
            ),
            Ok(Some(document)) => self.document(document, path, overlay),
        }
        self.open.pop();
        if overlay == 0 {
            self.done.push(identity);
        }
    }

    fn read(&mut self, path: &Path) -> Result<Place, Problem> {
        let bytes = self.desk.read(path, SPEC_CAP);
        let bytes = bytes.map_err(|(what, help)| Problem::new(what).help(help))?;
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            let whole = self.desk.take(path, bytes)?;
            let start = super::at::small(at);
            return Err(Problem::at(Place { start, end: start + 1, ..whole }, "this file holds a NUL byte")
                .label("here")
                .help("a spec is plain UTF-8 text: is this the right file, or one in UTF-16?"));
        }
        self.desk.take(path, bytes)
    }

    fn document(&mut self, document: Node, path: &Path, overlay: usize) {
        let Value::Mapping(entries) = document.value else {
            let problem = Problem::at(document.place, "a spec is a mapping with the key `resources`");
            let problem = match &document.value {
                Value::Sequence(_) => problem
                    .label("this is a list")
                    .help("write `resources:` above it, for the machine converge runs on"),
                _ => problem
                    .label("this is a text")
                    .help("the shortest spec is `resources:` with a list of resources below it"),
            };
            return self.desk.report(problem);
        };
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        for (key, node) in entries.iter().filter(|(key, _)| key.value == "include") {
            self.includes(key, node, &directory, overlay);
        }
        for (key, node) in entries {
            match key.value.as_str() {
                "include" => {}
                "vars" => {
                    let vars = self.vars(&key, node);
                    self.gathered.vars.extend(vars);
                }
                "hosts" => {
                    let hosts = self.entries(&key, node, "name: {address: …}");
                    let hosts = hosts.into_iter().map(|(name, node)| DeclaredHost { name, node, overlay });
                    self.gathered.hosts.extend(hosts);
                }
                "groups" => {
                    let groups = self.entries(&key, node, "name: [host, host]");
                    self.gathered.groups.extend(groups);
                }
                "resources" => self.resources(&key, node, &directory, overlay),
                "secrets" => {
                    let secrets = self.entries(&key, node, "name: {env: NAME}");
                    let written = |(name, node)| Written { name, node, directory: directory.clone() };
                    self.gathered.secrets.extend(secrets.into_iter().map(written));
                }
                other => {
                    let help = match crate::resource::TYPES.contains(&other) {
                        true => format!("resources stand in a list below `resources`: - {other}: …"),
                        false => near::help(other, KEYS, "it has"),
                    };
                    self.desk.report(
                        Problem::at(key.place, format!("a spec has no `{other}`"))
                            .label("unknown")
                            .help(help),
                    );
                }
            }
        }
    }

    /// The entries of `vars`, whose names are the user's own.
    pub(super) fn vars(&mut self, key: &At<String>, node: Node) -> Vars {
        let vars = self.entries(key, node, "name: value");
        check_names(self.desk, &vars);
        vars
    }

    /// The entries of a top-level mapping; nothing where there is nothing.
    fn entries(&mut self, key: &At<String>, node: Node, shape: &str) -> Vec<(At<String>, Node)> {
        let kind = node.kind();
        match node.value {
            Value::Mapping(entries) => entries,
            _ if node.is_null() => Vec::new(),
            _ => {
                self.desk.report(
                    Problem::at(node.place, format!("`{}` must be a mapping", key.value))
                        .label(format!("this is {kind}"))
                        .help(format!("write `{shape}` below it, one on each line")),
                );
                Vec::new()
            }
        }
    }

    fn resources(&mut self, key: &At<String>, node: Node, directory: &Path, overlay: usize) {
        let mut block = |target, items| {
            let directory = directory.to_owned();
            self.gathered.blocks.push(Block { target, items, overlay, directory });
        };
        let kind = node.kind();
        let is_null = node.is_null();
        let mut wrong = Vec::new();
        match node.value {
            Value::Sequence(items) => block(Target::ThisMachine(key.place), items),
            Value::Mapping(targets) => {
                for (target, node) in targets {
                    let kind = node.kind();
                    let is_null = node.is_null();
                    match node.value {
                        Value::Sequence(items) => block(Target::Named(target), items),
                        _ if is_null => block(Target::Named(target), Vec::new()),
                        _ => {
                            let help = match crate::resource::TYPES.contains(&target.value.as_str()) {
                                true => format!("a resource begins with a dash: - {}: …", target.value),
                                false => "each resource begins with a dash: - file: /path".to_owned(),
                            };
                            wrong.push(
                                Problem::at(
                                    node.place,
                                    format!("`{}` must be a list of resources", target.value),
                                )
                                .label(format!("this is {kind}"))
                                .help(help),
                            );
                        }
                    }
                }
            }
            _ if is_null => {}
            _ => wrong.push(
                Problem::at(node.place, "`resources` must be a list, or lists by host")
                    .label(format!("this is {kind}"))
                    .help("each resource begins with a dash: - file: /path"),
            ),
        }
        self.desk.problems.extend(wrong);
    }
}

/// Names that the language gives a meaning to cannot be variables: nobody could see those.
pub fn check_names(desk: &mut Desk, vars: &Vars) {
    for (name, _) in vars.iter().filter(|(name, _)| TAKEN.contains(&name.value.as_str())) {
        desk.report(
            Problem::at(name.place, format!("`{}` cannot be the name of a variable", name.value))
                .label("templates have a meaning for it")
                .help("give the variable another name"),
        );
    }
}
