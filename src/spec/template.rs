//! `{{ … }}`: the Jinja engine, and how its errors point into the file.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, LazyLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value as Jinja};
use regex::Regex;

use super::at::{At, Place, Sources, small};
use super::near;
use super::problem::Problem;
use super::scalar::{Core, core};
use super::vault::Vault;
use super::yaml::{Node, Scalar, Style, Value};
use crate::attribute::quote;

/// What one template may grow to: as much as a source file may hold.
const OUTPUT_CAP: usize = 64 * 1024 * 1024;

/// Steps of one template: minutes of looping are a mistake.
const FUEL: u64 = 20_000_000;

pub struct Engine {
    strings: Environment<'static>,
    files: Environment<'static>,
    /// What templates see as `secrets`.
    pub vault: Vault,
}

impl Engine {
    pub fn new(vault: Vault) -> Engine {
        // `${#list[@]}` is a shell's length of a list, and no string of a spec needs comments.
        let strings = environment("{##", "##}");
        Engine { strings, files: environment("{#", "#}"), vault }
    }

    fn of(&self, kind: Kind) -> &Environment<'static> {
        match kind {
            Kind::String | Kind::Expression => &self.strings,
            Kind::File => &self.files,
        }
    }

    /// The names that a template takes from outside.
    pub fn names(&self, text: &str, kind: Kind) -> Result<Vec<String>, Error> {
        let template = self.of(kind).template_from_str(text)?;
        Ok(with_sliced(template.undeclared_variables(false), text))
    }

    /// What a template takes from `name`, as far as that is written out: `name.a.b`. In the order
    /// of the alphabet.
    pub fn paths(&self, text: &str, kind: Kind, name: &str) -> Vec<String> {
        let taken = match kind {
            Kind::Expression => self.strings.compile_expression(text).map(|e| e.undeclared_variables(true)),
            _ => self.of(kind).template_from_str(text).map(|t| t.undeclared_variables(true)),
        };
        let of_name = |path: &String| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let mut paths: Vec<String> = taken.unwrap_or_default().into_iter().filter(of_name).collect();
        paths.sort();
        paths
    }

    pub fn render(&self, text: &str, kind: Kind, context: Jinja) -> Result<String, Error> {
        let template = self.of(kind).template_from_str(text)?;
        let mut output = Capped(Vec::new());
        template.render_captured_to(context, &mut output)?;
        String::from_utf8(output.0)
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the result is not UTF-8"))
    }

    /// The value of `text` where it is one expression and nothing else; None where it is not.
    pub fn expression(&self, text: &str, context: Jinja) -> Option<Result<Jinja, Error>> {
        let expression = self.strings.compile_expression(text).ok()?;
        Some(expression.eval(context).and_then(|value| {
            if !value.is_undefined() {
                return Ok(value);
            }
            Err(Error::new(ErrorKind::UndefinedError, format!("`{}` is undefined", text.trim())))
        }))
    }

    /// Whether it can be understood at all, and which names it takes.
    pub fn expression_names(&self, text: &str) -> Result<Vec<String>, Error> {
        let expression = self.strings.compile_expression(text)?;
        Ok(with_sliced(expression.undeclared_variables(false), text))
    }
}

/// minijinja 3.0 does not count the `a` of `a[1:]` among a template's names.
fn with_sliced(mut names: HashSet<String>, text: &str) -> Vec<String> {
    for (at, _) in text.match_indices('[') {
        let inside = text[at + 1..].split(']').next().unwrap_or("");
        let before = &text[..at];
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let path = &before[before.trim_end_matches(is_word).len()..];
        let name = path.split('.').next().unwrap_or("");
        if inside.contains(':') && name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            names.insert(name.to_owned());
        }
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort();
    names
}

/// The name that is undefined, as the engine tells it.
pub fn undefined(error: &Error) -> &str {
    let detail = error.detail().unwrap_or_default();
    detail.strip_prefix('`').and_then(|rest| rest.split('`').next()).unwrap_or(detail)
}

/// Where a template stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// In a string of the spec.
    String,
    /// An expression without braces (`when`).
    Expression,
    /// In a file of its own.
    File,
}

fn environment(comment: &'static str, end: &'static str) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .comment_delimiters(comment, end)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    // Delimiters that differ from each other are always taken.
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("quote", |word: Jinja| quote(&word.to_string()));
    environment
}

struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_CAP {
            return Err(io::Error::other("the result is larger than 64 MB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a string has anything to be rendered.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// What stands between the braces of a string that is `{{ … }}` and nothing else, as far as
/// can be seen without understanding it.
pub fn inside_braces(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let inside = inside.strip_prefix(['-', '+']).filter(|rest| rest.starts_with(' ')).unwrap_or(inside);
    Some(inside.strip_suffix(['-', '+']).filter(|rest| rest.ends_with(' ')).unwrap_or(inside))
}

/// A variable as a template sees it. A number keeps its spelling where that is not how it
/// would be printed (`0755`, `1.10`): it is a text then.
pub fn to_jinja(node: &Node) -> Jinja {
    match &node.value {
        Value::Sequence(items) => Jinja::from_iter(items.iter().map(to_jinja)),
        Value::Mapping(entries) => {
            Jinja::from_pairs(entries.iter().map(|(key, value)| (key.value.as_str(), to_jinja(value))))
        }
        Value::Scalar(Scalar { text, style: Style::Plain }) => match core(text) {
            Core::Null => Jinja::from(()),
            Core::Bool(value) => Jinja::from(value),
            Core::Int(value) if value.to_string() == *text => Jinja::from(value),
            Core::Float(value) if Jinja::from(value).to_string() == *text => Jinja::from(value),
            _ => Jinja::from(text.as_str()),
        },
        Value::Scalar(scalar) => Jinja::from(scalar.text.as_str()),
    }
}

/// The value of an expression as if it were written at `place`.
pub fn from_jinja(value: &Jinja, place: Place, depth: usize) -> Result<Node, Error> {
    let too_deep = || Error::new(ErrorKind::InvalidOperation, "the value is too deep");
    let below = depth.checked_sub(1).ok_or_else(too_deep)?;
    let plain = |text: String| Ok(Node::scalar(text, Style::Plain, place));
    match value.kind() {
        ValueKind::None => plain("null".to_owned()),
        ValueKind::Bool | ValueKind::Number => plain(value.to_string()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| from_jinja(&item, place, below));
            Ok(Node { value: Value::Sequence(items.collect::<Result<_, _>>()?), place })
        }
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in value.try_iter()? {
                let entry = from_jinja(&value.get_item(&key)?, place, below)?;
                entries.push((At::new(key.to_string(), place), entry));
            }
            Ok(Node { value: Value::Mapping(entries), place })
        }
        _ => Ok(Node::scalar(value.to_string(), Style::Rendered, place)),
    }
}

/// `captured.NAME` in an `http` journey: known only when it runs, so it stays as it is.
#[derive(Debug)]
pub struct Captured;

impl Object for Captured {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, name: &Jinja) -> Option<Jinja> {
        Some(Jinja::from(format!("{{{{ captured.{name} }}}}")))
    }
}

/// The text without each `{{ captured.NAME }}` that stands there as it is.
pub fn without_captured(text: &str) -> String {
    static PLACE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{\{[-+]?\s*captured\.[A-Za-z_][A-Za-z0-9_]*\s*[-+]?\}\}")
            .expect("it is a regular expression")
    });
    PLACE.replace_all(text, "").into_owned()
}

/// `host` and `item` where no host is meant: a variable is looked through for its own mistakes.
#[derive(Debug)]
pub struct Anything;

impl Object for Anything {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, _name: &Jinja) -> Option<Jinja> {
        Some(Jinja::from_dyn_object(Arc::clone(self)))
    }
}

const CAPTURED_HELP: &str =
    "`captured` is there in the steps of an `http`, for what an earlier step captures";

/// An error of the engine, at its place in the text that was rendered. `place` is all of the
/// text, and `known` the names that could have been meant.
pub fn problem(
    error: &Error,
    text: &str,
    kind: Kind,
    place: Place,
    sources: &Sources,
    known: &[&str],
) -> Problem {
    let detail = error.detail().unwrap_or("").to_owned();
    let range = error.range().unwrap_or(0..0);
    if error.kind() == ErrorKind::UndefinedError {
        let name = undefined(error);
        let at = locate(name, text, range.start, place, sources).unwrap_or(place);
        let problem = Problem::at(at, format!("`{name}` is not defined")).label("no variable of this name");
        // `ports[facts.os.id]`: the table is there, and has no such entry.
        if !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') {
            let help = format!("add what is missing, or write {{{{ {name} | default(\"…\") }}}}");
            return Problem { help: Some(help), ..problem.label("there is no such value") };
        }
        if let Some(name) = name.strip_prefix("secrets.")
            && near::nearest(&format!("secrets.{name}"), known.iter().copied()).is_none()
        {
            let declared = format!("declare where it comes from: secrets: {{{name}: {{env: NAME}}}}");
            return problem.label("no secret of this name").help(declared);
        }
        let near = near::nearest(name, known.iter().copied()).filter(|_| name != "item");
        return problem.help(match (near, name.rsplit_once('.')) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(("captured", _))) => CAPTURED_HELP.to_owned(),
            (None, Some((whole, part))) => format!("`{whole}` has no `{part}`"),
            (None, None) if name == "captured" => CAPTURED_HELP.to_owned(),
            (None, None) if name == "item" => "`item` is there where the resource has `for_each`".to_owned(),
            (None, None) if kind == Kind::Expression => {
                format!("declare it under `vars`, or write: {name} is defined and …")
            }
            (None, None) => {
                format!("declare it under `vars`, or write {{{{ {name} | default(\"…\") }}}}")
            }
        });
    }
    let snippet = text.get(range.clone()).unwrap_or("");
    let at = locate(snippet, text, range.start, place, sources).unwrap_or(place);
    let (what, help) = match error.kind() {
        ErrorKind::SyntaxError if kind == Kind::Expression && text.contains("{{") => (
            format!("this expression cannot be read: {detail}"),
            "`when` is an expression as it stands, without braces: host.name == \"web1\" and port > 80",
        ),
        ErrorKind::SyntaxError if kind == Kind::Expression => (
            format!("this expression cannot be read: {detail}"),
            "write it as in: host.name == \"web1\" and port > 80",
        ),
        ErrorKind::SyntaxError => (
            format!("this template cannot be read: {detail}"),
            "braces that are meant as they stand are written {% raw %}{{ … }}{% endraw %}",
        ),
        ErrorKind::UnknownFilter => {
            (detail, "the filters are Jinja's own (default, join, upper, …) and `quote`")
        }
        ErrorKind::UnknownFunction => (detail, "templates have Jinja's own functions and no others"),
        ErrorKind::OutOfFuel => {
            ("this template takes far too long".to_owned(), "look for loops inside loops")
        }
        _ if detail.is_empty() => (error.kind().to_string(), "check the expression"),
        _ => (detail, "check the expression and the values it is given"),
    };
    Problem::at(at, what).label("here").help(help)
}

/// Where `snippet`, which stands at `offset` in `text`, is in the file: what the parser did to
/// the text (quotes, escapes, indentation) seldom touches it, so its n-th appearance here is
/// its n-th appearance there.
pub fn locate(snippet: &str, text: &str, offset: usize, place: Place, sources: &Sources) -> Option<Place> {
    if snippet.is_empty() {
        return None;
    }
    // The engine points at `.kk` of `m.kk`: the name may begin a little earlier.
    let positions: Vec<usize> = text.match_indices(snippet).map(|(at, _)| at).collect();
    let nth = positions.iter().rposition(|at| *at <= offset).unwrap_or(0);
    let (start, _) = sources.text(place).match_indices(snippet).nth(nth)?;
    let start = place.start + small(start);
    Some(Place { start, end: start + small(snippet.len()), ..place })
}
