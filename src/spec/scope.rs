//! Which value a name has: the variables of the spec, of the host, of `--var`. They are
//! resolved when they are first used, so that they may refer to each other in any order.

mod trial;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use minijinja::{Error, ErrorKind, Value as Jinja};

use super::at::{At, Place};
use super::desk::Desk;
use super::facts::{self, FACTS};
use super::problem::Problem;
use super::template::{self, Anything, Captured, Engine, Kind, from_jinja, inside_braces, is_template};
use super::yaml::{DEPTH, Node, Scalar, Style, Value};

/// So many variables may stand on one another.
const CHAIN: usize = 100;

/// So many values may one variable hold.
const VALUES: usize = 200_000;

/// The name that templates know the secrets by.
const SECRETS: &str = "secrets";

/// A variable's name and value as they are written.
pub type Vars = Vec<(At<String>, Node)>;

/// What a template sees, on one host.
pub struct Scope<'a> {
    engine: &'a Engine,
    declared: Rc<HashMap<&'a str, (Place, &'a Node)>>,
    resolved: HashMap<String, State>,
    /// The names under resolution, outermost first.
    path: Vec<String>,
    /// Resolved variables that are made from a passing name: their values pass with it.
    passing: HashSet<String>,
    /// While no host has told its facts: the same scope with the facts of each of some machines as
    /// there are many. Made when it is first needed.
    trials: Vec<Scope<'a>>,
    /// The last template that stands on facts names what nobody declares.
    is_doubtful: bool,
    /// It is one of those: its own mistakes may be no one else's, but for what is wrong anywhere.
    is_trial: bool,
}

/// What has another value for each element of a `for_each`, or for each resource.
const PASSING: &[&str] = &["item", "captured"];

#[derive(Clone)]
enum State {
    Value(Rc<Node>, Jinja),
    /// What is wrong with it has been reported.
    Broken,
    /// It stands on facts, which no host has told yet.
    Late,
}

/// A problem that has been reported: nothing more is to be said where it shows again.
pub struct Reported;

/// Why there is no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoValue {
    /// A problem that has been reported.
    Broken,
    /// It stands on facts, which no host has told yet.
    Late,
}

/// What a name is, to those who ask for it.
enum Lookup {
    Value(Rc<Node>, Jinja),
    Unknown,
}

impl<'a> Scope<'a> {
    /// Later layers win.
    pub fn new(engine: &'a Engine, layers: &[&'a Vars]) -> Scope<'a> {
        let mut declared = HashMap::new();
        for (name, node) in layers.iter().flat_map(|layer| layer.iter()) {
            declared.insert(name.value.as_str(), (name.place, node));
        }
        Scope {
            engine,
            declared: Rc::new(declared),
            resolved: HashMap::new(),
            path: Vec::new(),
            passing: HashSet::new(),
            trials: Vec::new(),
            is_doubtful: false,
            is_trial: false,
        }
    }

    /// Gives a name a value that is final: `host`, `item`, what `--var` says.
    pub fn set(&mut self, name: &str, value: Node) {
        let jinja = self.engine.vault.variable(&value);
        self.put(name, &State::Value(Rc::new(value), jinja));
    }

    fn put(&mut self, name: &str, state: &State) {
        self.forget(name);
        self.resolved.insert(name.to_owned(), state.clone());
        self.trials.iter_mut().for_each(|trial| trial.put(name, state));
    }

    pub fn unset(&mut self, name: &str) {
        self.forget(name);
        self.resolved.remove(name);
        self.trials.iter_mut().for_each(|trial| trial.unset(name));
    }

    /// What was made from the value that `name` had.
    fn forget(&mut self, name: &str) {
        if PASSING.contains(&name) {
            for name in self.passing.drain() {
                self.resolved.remove(&name);
            }
        }
    }

    /// Makes `{{ captured.NAME }}` stay as it stands.
    pub fn keep_captured(&mut self, keep: bool) {
        match keep {
            true => self.set_object("captured", Jinja::from_object(Captured)),
            false => self.unset("captured"),
        }
    }

    /// Nothing but placeholders stands for secrets.
    pub fn gives_placeholders(&self) -> bool {
        self.engine.vault.is_closed()
    }

    /// Makes placeholders stand for secrets, whose values will not be used.
    pub fn pretend(&self, pretends: bool) {
        self.engine.vault.pretend(pretends);
    }

    /// Makes a name mean whatever is asked of it.
    pub fn set_anything(&mut self, name: &str) {
        self.set_object(name, Jinja::from_object(Anything));
    }

    pub fn set_object(&mut self, name: &str, object: Jinja) {
        self.forget(name);
        let nothing = Node::scalar("", Style::Plain, Place { file: 0, start: 0, end: 0 });
        self.put(name, &State::Value(Rc::new(nothing), object));
    }

    /// Resolves every declared variable, for the sake of the problems in them.
    pub fn resolve_all(&mut self, desk: &mut Desk) {
        let mut names: Vec<_> = self.declared.keys().copied().collect();
        names.sort_unstable();
        for name in names {
            drop(self.lookup(desk, name, self.declared[name].0));
        }
    }

    /// A variable's value; None where nothing has this name.
    pub fn value_of(&mut self, desk: &mut Desk, name: &At<String>) -> Result<Option<Rc<Node>>, NoValue> {
        Ok(match self.lookup(desk, &name.value, name.place)? {
            Lookup::Value(node, _) => Some(node),
            Lookup::Unknown => None,
        })
    }

    /// The node with everything in it rendered.
    pub fn render(&mut self, desk: &mut Desk, node: &Node) -> Result<Node, NoValue> {
        match &node.value {
            Value::Scalar(Scalar { text, style })
                if !matches!(style, Style::Rendered | Style::Secret) && is_template(text) =>
            {
                self.render_text(desk, text, node.place)
            }
            Value::Scalar(_) => Ok(node.clone()),
            Value::Sequence(items) => {
                // All of them, so that all problems are found.
                let items: Vec<_> = items.iter().map(|item| self.render(desk, item)).collect();
                let value = Value::Sequence(items.into_iter().collect::<Result<_, _>>()?);
                Ok(Node { value, place: node.place })
            }
            Value::Mapping(entries) => {
                let entries: Vec<_> = entries.iter().map(|entry| self.render_entry(desk, entry)).collect();
                let value = Value::Mapping(entries.into_iter().collect::<Result<_, _>>()?);
                Ok(Node { value, place: node.place })
            }
        }
    }

    fn render_entry(
        &mut self,
        desk: &mut Desk,
        (key, value): &(At<String>, Node),
    ) -> Result<(At<String>, Node), NoValue> {
        let value = self.render(desk, value);
        let mut key = key.clone();
        if is_template(&key.value)
            && let Value::Scalar(scalar) = self.render_text(desk, &key.value, key.place)?.value
        {
            if scalar.style == Style::Secret {
                desk.report(
                    Problem::at(key.place, "a key cannot hold a secret")
                        .label("keys are shown")
                        .help("put the secret into the value"),
                );
                return Err(NoValue::Broken);
            }
            key.value = scalar.text;
        }
        Ok((key, value?))
    }

    fn render_text(&mut self, desk: &mut Desk, text: &str, place: Place) -> Result<Node, NoValue> {
        let watch = self.engine.vault.watch();
        let rendered = self.render_text_now(desk, text, place);
        if matches!(rendered, Err(NoValue::Late)) && self.is_worth_a_trial(desk, place) {
            // For the sake of the problems in it.
            drop(self.tried(|trial| trial.render_text_now(desk, text, place)));
        }
        self.report_unread(desk, place);
        rendered.map(|node| if watch.has_used() { node.made_secret() } else { node })
    }

    /// Secrets that were asked for and cannot be had.
    fn report_unread(&self, desk: &mut Desk, place: Place) {
        for problem in self.engine.vault.take_unread() {
            desk.report(problem.also(place, "needed here"));
        }
    }

    fn render_text_now(&mut self, desk: &mut Desk, text: &str, place: Place) -> Result<Node, NoValue> {
        let expression = inside_braces(text);
        if let Some(path) = expression.map(str::trim).filter(|inside| is_plain_path(inside))
            && let Some(node) = self.plain_lookup(desk, path, place)?
        {
            return Ok(node.moved_to(place));
        }
        let names = self.engine.names(text, Kind::String);
        let names = names.map_err(|error| self.report(desk, &error, text, Kind::String, place))?;
        let context = self.context(desk, &names, text, Kind::String, place)?;
        if let Some(result) = expression.and_then(|inside| self.engine.expression(inside, context.clone())) {
            let result = result.and_then(|value| from_jinja(&value, place, DEPTH));
            return result.map_err(|error| self.report(desk, &error, text, Kind::String, place));
        }
        let rendered = self.engine.render(text, Kind::String, context);
        let rendered = rendered.map_err(|error| self.report(desk, &error, text, Kind::String, place))?;
        Ok(Node::scalar(rendered, Style::Rendered, place))
    }

    /// A template file's text, rendered, and whether a secret is in it. `place` is all of the file.
    pub fn render_file(
        &mut self,
        desk: &mut Desk,
        text: &str,
        place: Place,
    ) -> Result<(String, bool), NoValue> {
        let watch = self.engine.vault.watch();
        let rendered = self.render_file_now(desk, text, place);
        if matches!(rendered, Err(NoValue::Late)) && self.is_worth_a_trial(desk, place) {
            drop(self.tried(|trial| trial.render_file_now(desk, text, place)));
        }
        self.report_unread(desk, desk.sources.first_line(place));
        Ok((rendered?, watch.has_used()))
    }

    fn render_file_now(&mut self, desk: &mut Desk, text: &str, place: Place) -> Result<String, NoValue> {
        let names = self.engine.names(text, Kind::File);
        let names = names.map_err(|error| self.report(desk, &error, text, Kind::File, place))?;
        let context = self.context(desk, &names, text, Kind::File, place)?;
        let rendered = self.engine.render(text, Kind::File, context);
        rendered.map_err(|error| self.report(desk, &error, text, Kind::File, place))
    }

    /// Whether an expression holds (`when`).
    pub fn holds(&mut self, desk: &mut Desk, text: &str, place: Place) -> Result<bool, NoValue> {
        let holds = self.holds_now(desk, text, place);
        if matches!(holds, Err(NoValue::Late)) && self.is_worth_a_trial(desk, place) {
            drop(self.tried(|trial| trial.holds_now(desk, text, place)));
        }
        holds
    }

    fn holds_now(&mut self, desk: &mut Desk, text: &str, place: Place) -> Result<bool, NoValue> {
        let names = self.engine.expression_names(text);
        let names = names.map_err(|error| self.report(desk, &error, text, Kind::Expression, place))?;
        let watch = self.engine.vault.watch();
        let before = self.engine.vault.pretend(true);
        let context = self.context(desk, &names, text, Kind::Expression, place);
        let value = context.map(|context| self.engine.expression(text, context));
        self.engine.vault.pretend(before);
        let value = value?.unwrap_or_else(|| Err(Error::new(ErrorKind::SyntaxError, "not an expression")));
        if watch.has_used() {
            desk.report(
                Problem::at(place, "`when` cannot look at a secret")
                    .label("what is done would tell of it")
                    .help("decide by a variable: when: with_tls, and with_tls: true under `vars`"),
            );
            return Err(NoValue::Broken);
        }
        value
            .map(|value| value.is_true())
            .map_err(|error| self.report(desk, &error, text, Kind::Expression, place))
    }

    /// The values of these names, for one template.
    fn context(
        &mut self,
        desk: &mut Desk,
        names: &[String],
        text: &str,
        kind: Kind,
        place: Place,
    ) -> Result<Jinja, NoValue> {
        let mut values = Vec::new();
        let (mut is_late, mut is_doubtful) = (false, false);
        if names.iter().any(|name| name == FACTS) {
            self.check_facts(desk, text, kind, place)?;
            is_late = !self.resolved.contains_key(FACTS);
        }
        for name in names {
            if name == SECRETS && !self.resolved.contains_key(SECRETS) {
                values.push((SECRETS, self.engine.vault.as_seen()));
                continue;
            }
            match self.lookup(desk, name, place) {
                Ok(Lookup::Value(node, value)) => {
                    if matches!(&node.value, Value::Scalar(scalar) if scalar.style == Style::Secret) {
                        self.engine.vault.note_use();
                    }
                    values.push((name.as_str(), value));
                }
                Ok(Lookup::Unknown) => is_doubtful = true,
                // What is wrong with the others is told all the same.
                Err(NoValue::Late) => is_late = true,
                Err(NoValue::Broken) => return Err(NoValue::Broken),
            }
        }
        if is_late {
            // Rendered later: it is to be known now whether they can be read.
            self.engine.paths(text, kind, SECRETS).iter().for_each(|path| self.engine.vault.need(path));
        }
        self.is_doubtful = is_doubtful;
        if is_late { Err(NoValue::Late) } else { Ok(Jinja::from_pairs(values)) }
    }

    /// A fact that there is not is a mistake wherever it stands, also behind `is defined`.
    fn check_facts(&self, desk: &mut Desk, text: &str, kind: Kind, place: Place) -> Result<(), NoValue> {
        let mut checked = Ok(());
        for path in self.engine.paths(text, kind, FACTS) {
            let Some((what, help)) = facts::unknown(&path) else { continue };
            let at = template::locate(&path, text, text.len(), place, &desk.sources).unwrap_or(place);
            desk.problems.push(Problem::at(at, what).label("no such fact").help(help));
            checked = Err(NoValue::Broken);
        }
        checked
    }

    /// `a.b.c`: the node itself, with the spelling it has.
    fn plain_lookup(
        &mut self,
        desk: &mut Desk,
        path: &str,
        place: Place,
    ) -> Result<Option<Rc<Node>>, NoValue> {
        let mut parts = path.split('.');
        let name = parts.next().unwrap_or(path);
        if matches!(name, "captured" | FACTS | SECRETS) {
            return Ok(None);
        }
        let Lookup::Value(node, _) = self.lookup(desk, name, place)? else { return Ok(None) };
        let mut found = &*node;
        for part in parts {
            match found.get(part) {
                Some(below) => found = below,
                None => return Ok(None),
            }
        }
        Ok(Some(if std::ptr::eq(found, &*node) { node } else { Rc::new(found.clone()) }))
    }

    fn lookup(&mut self, desk: &mut Desk, name: &str, place: Place) -> Result<Lookup, NoValue> {
        if PASSING.contains(&name) || self.passing.contains(name) {
            self.passing.extend(self.path.iter().cloned());
        }
        match self.resolved.get(name) {
            Some(State::Value(node, value)) => return Ok(Lookup::Value(Rc::clone(node), value.clone())),
            Some(State::Broken) => return Err(NoValue::Broken),
            Some(State::Late) => return Err(NoValue::Late),
            None => {}
        }
        if name == FACTS {
            return Err(NoValue::Late);
        }
        let Some((_, node)) = self.declared.get(name).copied() else { return Ok(Lookup::Unknown) };
        if self.path.len() > CHAIN {
            desk.report(
                Problem::at(place, "variables that refer to variables, more than 100 deep")
                    .label("here it becomes too deep")
                    .help("write the value out"),
            );
            return Err(NoValue::Broken);
        }
        if let Some(first) = self.path.iter().position(|other| other == name) {
            self.circle(desk, first, place);
            return Err(NoValue::Broken);
        }
        self.path.push(name.to_owned());
        let mut rendered = self.render(desk, node);
        self.path.pop();
        if rendered.as_ref().is_ok_and(|node| node.size() > VALUES) {
            desk.report(
                Problem::at(place, format!("the variable `{name}` holds more than {VALUES} values"))
                    .label("used here")
                    .help("lists of lists of lists multiply: make it smaller"),
            );
            rendered = Err(NoValue::Broken);
        }
        match rendered {
            Ok(node) => {
                let value = self.engine.vault.variable(&node);
                let node = Rc::new(node);
                if self.engine.vault.is_pretending() && node.secret().is_some() {
                    // A placeholder is in it, which is not to be found by whoever needs the secret.
                    return Ok(Lookup::Value(node, value));
                }
                self.resolved.insert(name.to_owned(), State::Value(Rc::clone(&node), value.clone()));
                Ok(Lookup::Value(node, value))
            }
            Err(why) => {
                let state = if why == NoValue::Late { State::Late } else { State::Broken };
                self.resolved.insert(name.to_owned(), state);
                Err(why)
            }
        }
    }

    fn circle(&mut self, desk: &mut Desk, first: usize, place: Place) {
        let names = &self.path[first..];
        let shown = names.iter().chain(names.first()).map(String::as_str).collect::<Vec<_>>().join(" → ");
        let what = match names.len() {
            1 => format!("the variable `{}` is made from itself", names[0]),
            _ => format!("these variables are made from each other: {shown}"),
        };
        let mut problem = Problem::at(place, what).label("and here the circle closes");
        for name in names {
            if let Some((declared, _)) = self.declared.get(name.as_str()) {
                problem = problem.also(*declared, format!("`{name}` is declared here"));
            }
        }
        desk.problems.push(problem.help("give one of them a value of its own"));
    }

    fn report(&self, desk: &mut Desk, error: &Error, text: &str, kind: Kind, place: Place) -> NoValue {
        if self.is_trial && !self.is_wrong_anywhere(error, text, kind) {
            return NoValue::Broken;
        }
        let secrets: Vec<String> = self.engine.vault.names().collect();
        let mut known: Vec<&str> = self.declared.keys().copied().collect();
        known.extend(secrets.iter().map(String::as_str));
        known.extend(self.resolved.keys().map(String::as_str));
        known.sort_unstable();
        let problem = template::problem(error, text, kind, place, &desk.sources, &known);
        desk.problems.push(problem);
        NoValue::Broken
    }
}

fn is_plain_path(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.split('.').all(is_name) && !matches!(text, "true" | "false" | "none" | "True" | "False" | "None")
}
