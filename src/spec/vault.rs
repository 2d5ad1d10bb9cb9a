//! `secrets`: which there are, and what templates see of them. A secret is read when a template
//! first asks for it, once; where it is not to be read (`validate`, `graph`) a placeholder stands
//! for it. What a template makes of a secret is one itself: `Style::Secret`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::Value as Jinja;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::at::{At, Place};
use super::desk::Desk;
use super::problem::Problem;
use super::secret_source::{Source, Unread};
use super::template::to_jinja;
use super::yaml::{Node, Style, Value};
use crate::redact::{self, SHORTEST, Secret};
use crate::system::commands;

/// A secret as it is written, and the directory that its paths begin in.
#[derive(Clone)]
pub struct Written {
    pub name: At<String>,
    pub node: Node,
    pub directory: PathBuf,
}

/// The secrets of a spec. Clones are the same vault.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    declared: BTreeMap<String, (Place, Source)>,
    /// Else placeholders are all that there is.
    reads: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    values: HashMap<String, Secret>,
    /// Since it was last asked.
    was_used: bool,
    /// What is rendered now will not be used: nothing is read for it.
    pretends: bool,
    unread: Vec<Problem>,
    /// A placeholder was given where a secret was needed.
    lacks: bool,
}

impl Default for Vault {
    fn default() -> Vault {
        Vault(Arc::new(Inner { declared: BTreeMap::new(), reads: false, state: Mutex::default() }))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Later ones win: an including file comes after what it includes.
    pub fn new(desk: &mut Desk, written: &[Written], reads: bool) -> Vault {
        let mut declared = BTreeMap::new();
        for one in written {
            let name = &one.name.value;
            let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                desk.report(
                    Problem::at(one.name.place, format!("`{name}` cannot be the name of a secret"))
                        .label("not a name that a template can use")
                        .help("names are made of letters, digits and `_`, as in `db_password`"),
                );
            } else if let Some(source) = Source::of(desk, one) {
                declared.insert(name.clone(), (desk.sources.first_line(one.node.place), source));
            }
        }
        // What converge starts does not inherit them.
        commands::withhold(declared.values().filter_map(|(_, source)| source.variable()));
        Vault(Arc::new(Inner { declared, reads, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What templates see as `secrets`.
    pub fn as_seen(&self) -> Jinja {
        Jinja::from_object(All(self.clone()))
    }

    /// `secrets.NAME` of each.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.0.declared.keys().map(|name| format!("secrets.{name}"))
    }

    /// Runs `render`, and says whether a secret was used in it.
    pub fn watch(&self) -> Watch<'_> {
        let outer = std::mem::take(&mut self.state().was_used);
        Watch { vault: self, outer }
    }

    pub fn note_use(&self) {
        self.state().was_used = true;
    }

    /// Whether nothing but placeholders is given (`validate`, `graph`).
    pub fn is_closed(&self) -> bool {
        !self.0.reads
    }

    /// Whether placeholders stand for secrets from now on; returns what it was before.
    pub fn pretend(&self, pretends: bool) -> bool {
        std::mem::replace(&mut self.state().pretends, pretends)
    }

    pub fn is_pretending(&self) -> bool {
        self.state().pretends
    }

    /// What could not be read since the last call.
    pub fn take_unread(&self) -> Vec<Problem> {
        std::mem::take(&mut self.state().unread)
    }

    /// A variable as templates see it. Whoever takes a secret out of it has used one.
    pub fn variable(&self, node: &Node) -> Jinja {
        match (&node.value, node.secret()) {
            (Value::Sequence(_) | Value::Mapping(_), Some(_)) => {
                Jinja::from_object(Tracked { vault: self.clone(), node: node.clone() })
            }
            _ => to_jinja(node),
        }
    }

    /// Whether placeholders stand where secrets are needed.
    pub fn lacks_secrets(&self) -> bool {
        self.state().lacks
    }

    /// Reads the secret of `secrets.NAME`, for somebody who will ask for it later.
    pub fn need(&self, path: &str) {
        if let Some(name) = path.split('.').nth(1) {
            drop(self.get(name));
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        let (place, source) = self.0.declared.get(name)?;
        let mut state = self.state();
        state.was_used = true;
        let placeholder = format!("converge_secret_{name}");
        state.lacks |= !state.pretends && !self.0.reads;
        if !self.0.reads || state.pretends {
            return Some(placeholder);
        }
        if let Some(known) = state.values.get(name) {
            return Some(known.expose().to_owned());
        }
        let secret = source.read().and_then(usable).unwrap_or_else(|unread| {
            let what = format!("the secret `{name}` cannot be read: {}", unread.what);
            state.unread.push(Problem::at(*place, what).label("read from here").help(unread.help));
            Secret::from(placeholder)
        });
        redact::learn(name, &secret);
        state.values.insert(name.to_owned(), secret.clone());
        Some(secret.expose().to_owned())
    }
}

/// One template under way.
pub struct Watch<'a> {
    vault: &'a Vault,
    outer: bool,
}

impl Watch<'_> {
    /// Whether it has used a secret.
    pub fn has_used(&self) -> bool {
        self.vault.state().was_used
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.vault.state().was_used = self.outer;
    }
}

/// What no secret can be.
fn usable(secret: Secret) -> Result<Secret, Unread> {
    let text = secret.expose();
    if text.is_empty() {
        return Err(Unread::new("it is empty", "put the value there; what is not needed is not declared"));
    }
    if text.contains('\0') {
        return Err(Unread::new("it holds a NUL byte", "a secret is text: base64 carries other bytes"));
    }
    if text.trim().chars().count() < SHORTEST {
        return Err(Unread::new(
            format!("it is shorter than {SHORTEST} characters, and cannot be hidden in what converge prints"),
            "use a longer one: one so short is soon guessed, too",
        ));
    }
    Ok(secret)
}

/// `secrets`.
struct All(Vault);

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secrets")
    }
}

impl Object for All {
    fn get_value(self: &Arc<Self>, name: &Jinja) -> Option<Jinja> {
        self.0.get(name.as_str()?).map(Jinja::from)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    /// There is no use for all of them at once.
    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

/// A list or mapping that has a secret somewhere in it: `{{ db.host }}` is none, though
/// `db.password` is.
struct Tracked {
    vault: Vault,
    node: Node,
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(with a secret)")
    }
}

impl Object for Tracked {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.node.value {
            Value::Sequence(_) => ObjectRepr::Seq,
            _ => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let below = match &self.node.value {
            Value::Sequence(items) => items.get(key.as_usize()?)?,
            _ => self.node.get(key.as_str()?)?,
        };
        if matches!(&below.value, Value::Scalar(scalar) if scalar.style == Style::Secret) {
            self.vault.note_use();
        }
        Some(self.vault.variable(below))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.node.value {
            Value::Sequence(items) => Enumerator::Seq(items.len()),
            Value::Mapping(entries) => {
                Enumerator::Values(entries.iter().map(|(key, _)| Jinja::from(key.value.as_str())).collect())
            }
            Value::Scalar(_) => Enumerator::NonEnumerable,
        }
    }
}
