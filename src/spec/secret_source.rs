//! Where a secret comes from: an environment variable, a file, a command, a file encrypted with
//! age.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::desk::Desk;
use super::problem::Problem;
use super::read::Entry;
use super::template::is_template;
use super::vault::Written;
use super::whole::read_all;
use super::yaml::{Node, Value};
use crate::attribute::CommandLine;
use crate::failure::{Failure, io_words};
use crate::redact::{self, SHORTEST, Secret};
use crate::system::System;
use crate::system::commands::{Invocation, Output};

/// A command that gives a secret may ask a vault across the world, or wait for a key to be touched.
const PATIENCE: Duration = Duration::from_secs(60);

/// Larger ones are no secrets: a key is a few kilobytes.
const CAP: u64 = 64 * 1024;

/// Of what a command says on standard error, so much is shown.
const SAID: usize = 240;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    env: Option<String>,
    file: Option<String>,
    command: Option<CommandLine>,
    age: Option<String>,
    identity: Option<String>,
}

pub enum Source {
    Variable(String),
    File(PathBuf),
    Command { line: CommandLine, directory: PathBuf },
    Age { file: PathBuf, identity: PathBuf },
}

/// Why a secret cannot be had, and the way out.
pub struct Unread {
    pub what: String,
    pub help: String,
}

impl Unread {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Unread {
        Unread { what: what.into(), help: help.into() }
    }
}

const HELP: &str =
    "write one of {env: NAME}, {file: PATH}, {command: [PROGRAM, ARGUMENT]} and {age: FILE, identity: PATH}";

impl Source {
    /// As it is declared; None where that is wrong, which has been reported.
    pub fn of(desk: &mut Desk, written: &Written) -> Option<Source> {
        let Written { name, node, directory } = written;
        let Value::Mapping(entries) = &node.value else {
            let place = if node.is_null() { name.place } else { node.place };
            let problem =
                Problem::at(place, format!("the secret `{}` must say where it comes from", name.value));
            desk.report(match node.value {
                // Whoever writes it here means its value, which is not to be shown for that.
                Value::Scalar(ref scalar) if !node.is_null() => {
                    learn_written(&name.value, &scalar.text);
                    problem.label("a secret in the spec is none").help(HELP)
                }
                _ => problem.label(format!("this is {}", node.kind())).help(HELP),
            });
            return None;
        };
        if let Some(place) = template_in(node) {
            desk.report(
                Problem::at(place, "where a secret comes from cannot be a template")
                    .label("is not resolved here")
                    .help("write it out; for several of them, declare several secrets"),
            );
            return None;
        }
        let entries: Vec<&Entry> = entries.iter().collect();
        let about = format!("the secret `{}`", name.value);
        let read = read_all(&entries, name.place, &about, &[], &[], &mut desk.problems, |entries| {
            Attributes::deserialize(entries)
        })?;
        let path = |text: &str| directory.join(at_home(text));
        let problem = match read {
            Attributes { env: Some(name), file: None, command: None, age: None, identity: None }
                if !name.is_empty() && !name.contains(['=', '\0']) =>
            {
                return Some(Source::Variable(name));
            }
            Attributes { env: Some(variable), file: None, command: None, age: None, identity: None } => {
                Problem::at(node.place, format!("`{variable}` is no name of an environment variable"))
            }
            Attributes { env: None, file: Some(file), command: None, age: None, identity: None } => {
                return Some(Source::File(path(&file)));
            }
            Attributes { env: None, file: None, command: Some(line), age: None, identity: None } => {
                return Some(Source::Command { line, directory: directory.clone() });
            }
            Attributes {
                env: None,
                file: None,
                command: None,
                age: Some(file),
                identity: Some(identity),
            } => {
                return Some(Source::Age { file: path(&file), identity: path(&identity) });
            }
            Attributes { env: None, file: None, command: None, age: Some(_), identity: None } => {
                Problem::at(node.place, format!("{about} needs the `identity` that decrypts it"))
                    .label("`identity` is missing")
            }
            Attributes { env: None, file: None, command: None, age: None, .. } => {
                Problem::at(node.place, format!("{about} must say where it comes from"))
            }
            _ => Problem::at(node.place, format!("{about} comes from one place"))
                .label("more than one is named"),
        };
        desk.report(problem.help(HELP));
        None
    }

    /// The environment variable that it is.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Source::Variable(name) => Some(name),
            _ => None,
        }
    }

    pub fn read(&self) -> Result<Secret, Unread> {
        let text = match self {
            Source::Variable(name) => return variable(name),
            Source::File(path) => file(path)?,
            Source::Command { line, directory } => command(line, directory)?,
            Source::Age { file, identity } => age(file, identity)?,
        };
        if text.len() as u64 > CAP {
            return Err(Unread::new("it is larger than 64 kB", "is it the right one?"));
        }
        let text =
            text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
        Ok(Secret::from(text))
    }
}

/// Of a secret that is written where it should not be.
pub fn learn_written(name: &str, text: &str) {
    if text.chars().count() >= SHORTEST {
        redact::learn(name, &Secret::from(text));
    }
}

/// The first template in it.
fn template_in(node: &Node) -> Option<super::at::Place> {
    match &node.value {
        Value::Scalar(scalar) => is_template(&scalar.text).then_some(node.place),
        Value::Sequence(items) => items.iter().find_map(template_in),
        Value::Mapping(entries) => entries.iter().find_map(|(_, value)| template_in(value)),
    }
}

/// `~/…` is where keys lie.
fn at_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(below), Some(home)) => Path::new(&home).join(below),
        _ => PathBuf::from(text),
    }
}

fn variable(name: &str) -> Result<Secret, Unread> {
    match std::env::var(name) {
        Ok(value) => Ok(Secret::from(value)),
        Err(std::env::VarError::NotPresent) => Err(Unread::new(
            format!("the environment variable {name} is not set"),
            format!("set it for converge, as in `read -rs {name} && export {name}`"),
        )),
        Err(std::env::VarError::NotUnicode(_)) => Err(not_text(&format!("the environment variable {name}"))),
    }
}

fn not_text(what: &str) -> Unread {
    Unread::new(format!("{what} is not UTF-8 text"), "a secret is text: base64 carries other bytes")
}

fn file(path: &Path) -> Result<String, Unread> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(CAP + 3).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path: it is relative to the file that names it",
            std::io::ErrorKind::PermissionDenied => "give the user who runs converge the right to read it",
            _ => "name a plain file",
        };
        Unread::new(format!("{}: {}", path.display(), io_words(&error)), help)
    })?;
    String::from_utf8(bytes).map_err(|_| not_text(&path.display().to_string()))
}

fn command(line: &CommandLine, directory: &Path) -> Result<String, Unread> {
    let shown = line.to_string();
    // Relative paths begin where the spec lies, as those of `file` do.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let output = run(Invocation::of(line).directory(directory))?;
    let said = said(&output);
    if !output.succeeded() {
        let help = "run it by hand, in the spec's directory: it must exit 0 and print the secret, and cannot ask on the terminal";
        return Err(Unread::new(format!("`{shown}` ended with {}{said}", output.ending()), help));
    }
    if output.stdout.trim().is_empty() {
        let help = "it must print the secret on its standard output";
        return Err(Unread::new(format!("`{shown}` printed nothing{said}"), help));
    }
    text_of(output, &format!("what `{shown}` printed"))
}

fn age(file: &Path, identity: &Path) -> Result<String, Unread> {
    for (path, what) in [(file, "the encrypted file"), (identity, "the identity")] {
        if let Err(error) = std::fs::File::open(path) {
            return Err(Unread::new(
                format!("{what} {}: {}", path.display(), io_words(&error)),
                "check the path: it is relative to the file that names it",
            ));
        }
    }
    // `--` would be an argument to some versions: a path that begins with a dash is made another.
    let word = |path: &Path| match path.to_string_lossy() {
        word if word.starts_with('-') => format!("./{word}"),
        word => word.into_owned(),
    };
    let argv = ["age".to_owned(), "--decrypt".into(), "--identity".into(), word(identity), word(file)];
    let output = run(Invocation::new(argv))?;
    if !output.succeeded() {
        let what = format!("age cannot decrypt {}: {}{}", file.display(), output.ending(), said(&output));
        let help = format!(
            "encrypt it for this identity: age -R <(age-keygen -y {}) -o {} …; an identity with a passphrase cannot be used",
            identity.display(),
            file.display()
        );
        return Err(Unread::new(what, help));
    }
    text_of(output, &format!("what is in {}", file.display()))
}

fn run(invocation: Invocation) -> Result<Output, Unread> {
    let failed = |failure: Failure| {
        let help = match failure.reason.contains("`age` is not installed") {
            true => "install it: the package is called `age` (apt install age, dnf install age, apk add age)"
                .to_owned(),
            false if failure.reason.contains("did not end") => {
                format!(
                    "it has {} seconds, and cannot ask on the terminal: run it by hand",
                    PATIENCE.as_secs()
                )
            }
            false => failure.help.unwrap_or_else(|| "run it by hand".to_owned()),
        };
        Unread::new(failure.reason, help)
    };
    System::machine().within(PATIENCE).run(&invocation.whole_environment()).map_err(failed)
}

fn text_of(output: Output, what: &str) -> Result<String, Unread> {
    match output.stdout.contains(char::REPLACEMENT_CHARACTER) {
        true => Err(not_text(what)),
        false => Ok(output.stdout),
    }
}

/// The end of what it said on standard error.
fn said(output: &Output) -> String {
    let lines: Vec<&str> = output.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    let skipped = text.chars().count().saturating_sub(SAID);
    match (text.is_empty(), skipped) {
        (true, _) => String::new(),
        (false, 0) => format!(": {text}"),
        (false, skipped) => format!(": …{}", text.chars().skip(skipped).collect::<String>()),
    }
}
