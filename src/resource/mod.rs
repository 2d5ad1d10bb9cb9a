//! What converge can hold true, one file a type. A resource's code runs on the machine it
//! manages: it sees `system`, and never a host name, SSH or YAML.
//!
//! A new type is its file and its line in the registry below. The struct is what a spec's item
//! deserializes to; its doc comments are the reference page, written for operators.

mod account_tools;
mod archive;
mod authorized_key;
mod block;
mod check;
mod command;
pub mod common;
mod cron;
mod database;
mod debt;
mod directory;
mod domain;
mod download;
mod fetch;
mod file;
mod git;
mod group;
mod hostname;
mod http;
mod line;
mod mount;
mod own_file;
mod package;
mod port;
pub mod process;
mod program;
mod record;
#[cfg(feature = "controller")]
mod rules;
mod symlink;
mod sysctl;
mod text;
mod timezone;
mod tool;
mod unit;
mod user;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::failure::{Detail, Failure, io_words};
pub use check::{Action, Change, Check, Lack, Needed, Thing, Waiting, told};

use crate::attribute::{AbsPath, Content, Symlinks, Trigger};
use crate::system::System;
use crate::system::readings::Reading;
pub use block::Block;
use common::{HandedDown, Surroundings};
pub use line::{Line, Occurrence};
pub use sysctl::BOOT_FILES;
pub use text::PlaceInFile;

/// The limit of one operation where neither the spec nor the type names one.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// What every type can do.
pub trait Resource {
    /// The name that stands after the type in the spec, normalised: `type:name` is the identity.
    fn name(&self) -> String;

    /// What it provides and what it stands on: the graph's implied edges.
    fn links(&self) -> Links;

    /// Reads the machine and says which changes are still needed. Changes nothing.
    fn check(&self, system: &System) -> Result<Check, Failure>;

    /// What its check reads that can be read for many resources in one go.
    fn reads(&self) -> Option<Reading> {
        None
    }

    /// Makes the changes that `check` found. It is checked again afterwards by the caller.
    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure>;

    /// Attributes that exclude each other, or that need each other: each problem names the
    /// attribute it is about and says the way out.
    fn validate(&self) -> Vec<Invalid> {
        Vec::new()
    }

    /// What is allowed and likely to bite: each names its attribute and says the way out.
    /// `is_needed`: another resource or host comes after it.
    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        Vec::new()
    }

    /// Whether it can come true by itself, so that a `wait` makes sense. A file cannot: nothing
    /// but converge makes it what is declared.
    fn can_wait() -> bool
    where
        Self: Sized,
    {
        true
    }

    /// What to show when it failed, beside the failure itself: a unit's state and log lines.
    fn evidence(&self, _system: &System) -> Vec<Detail> {
        Vec::new()
    }

    /// The limit of one operation where the spec names none.
    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    /// Looks outward and cannot be applied (a port, a URL): it is checked when its turn comes,
    /// and not with the others when its host is reached.
    fn is_probe(&self) -> bool {
        false
    }

    /// Nothing on the machine shows that it was done (a command that is to run each time): where
    /// `apply` succeeds it holds, and no check follows in this run.
    fn is_proved_by_apply(&self) -> bool {
        false
    }

    /// The paths whose content it stands for where another resource's `restart_on` names it.
    fn content_paths(&self) -> Vec<AbsPath> {
        Vec::new()
    }

    /// Paths besides its own whose presence a check looks at.
    fn looks_at(&self) -> Vec<AbsPath> {
        Vec::new()
    }

    /// Its `source` and `template` attributes, to be read on the controller.
    fn sources(&mut self) -> Vec<SourceSlot<'_>> {
        Vec::new()
    }

    /// Its declared contents, which a check needs only the hashes of.
    fn contents(&mut self) -> Vec<&mut Content> {
        Vec::new()
    }

    /// Its check needs the bytes of its contents.
    fn needs_whole_content(&self) -> bool {
        false
    }

    /// Its lists of triggers (`restart_on`), with the attribute's name.
    fn triggers(&mut self) -> Vec<(&'static str, &mut Vec<Trigger>)> {
        Vec::new()
    }

    /// For what is a part of a file: the file that it makes where there is none.
    fn makes_file(&self) -> Option<AbsPath> {
        None
    }

    /// All that it makes on the machine is in its links. What comes after anything else (a package,
    /// a command) may find there what nobody declares.
    fn makes_only_what_it_provides(&self) -> bool {
        self.is_probe()
    }

    /// The directory of which it holds all that no other resource declares (it clears it, or unpacks
    /// into it), and where the loader puts what the spec declares below it.
    fn purges(&mut self) -> Option<(AbsPath, &mut Vec<AbsPath>)> {
        None
    }

    /// The same, where the loader puts what is declared to be gone: that is for its own resource to
    /// remove.
    fn leaves(&mut self) -> Option<&mut Vec<AbsPath>> {
        None
    }

    /// What it clears away may take this path along, with the directory that it lies in.
    fn takes_along(&self, _path: &AbsPath) -> bool {
        false
    }

    /// For what lies at a path and may lie below a directory with `recurse`: where the loader puts
    /// what is declared around it.
    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        None
    }

    /// Whether it has to know of what else the spec declares on its host.
    fn looks_around(&self) -> bool {
        false
    }

    /// The loader shows it what else is declared on its host.
    fn look_around(&mut self, _others: &[&AnyResource]) {}

    /// What only one resource of a host may say.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// For what is a part of a file: where in it it goes when it is new.
    fn place_in_file(&self) -> Option<PlaceInFile> {
        None
    }

    /// What it says of all that lies below its path.
    fn hands_down(&self) -> Option<HandedDown> {
        None
    }

    /// What is seen at and below its path now is not what will be there: a link may point elsewhere,
    /// and something may be mounted. None: what is to be done to it is not known yet.
    fn leads_elsewhere(&self, _by: Option<&Needed>) -> bool {
        false
    }

    /// It makes more than `links` can name, as a package does that comes with directories and users:
    /// what stands on it may lack things in a plan that will be there then.
    fn brings_more(&self) -> bool {
        false
    }

    /// Of a link: where it is, and where what it points to lies, as it is declared.
    fn link(&self) -> Option<(AbsPath, AbsPath)> {
        None
    }

    /// All names that what it makes at one of its paths has by these links: one that it makes itself is
    /// not followed.
    fn names(&self, path: &AbsPath, links: &Symlinks) -> Vec<AbsPath> {
        if self.link().is_some() { path.named_by(links) } else { path.led_by(links) }
    }

    /// The directory that something is mounted on, and where the loader puts the resource that
    /// declares it.
    fn mount_point(&mut self) -> Option<(AbsPath, &mut Option<Box<directory::Directory>>)> {
        None
    }

    /// In a plan: what follows for it, now in state, when the content behind `attribute`
    /// (`restart_on`, ..., or the reason of an implied edge: `its unit file`) will have been changed
    /// by `cause`.
    fn follows(&self, _attribute: &str, _cause: &str) -> Option<(Action, Change)> {
        None
    }

    /// The same, where that is more than one change.
    fn foreseen(&self, attribute: &str, cause: &str) -> Option<(Action, Vec<Change>)> {
        self.follows(attribute, cause).map(|(action, change)| (action, vec![change]))
    }

    /// In a plan: whether these changes give what it stands for (`content_paths`) another content.
    /// None: that shows only when they are made.
    fn changes_content(&self, needed: &Needed) -> Option<bool> {
        let is_access = |change: &Change| ["owner", "group", "mode", "recurse"].contains(&&*change.attribute);
        match needed.action {
            _ if needed.changes.iter().all(is_access) => Some(false),
            Action::Create => Some(true),
            _ if needed.has("content") && !needed.has("state") => Some(true),
            _ => None,
        }
    }

    /// In a plan: it asks commands, and what they answer may follow from what comes before it.
    fn asks_commands(&self) -> bool {
        false
    }

    /// Whether old and new content may be shown.
    fn shows_diff(&self) -> bool {
        true
    }
}

/// One complaint of `validate`.
#[derive(Debug, PartialEq)]
pub struct Invalid {
    /// The attribute to point at; the item itself where it is not written.
    pub attribute: &'static str,
    /// Where in its value, outermost first; as far as that is there.
    pub inside: Vec<Inside>,
    pub what: String,
    pub help: String,
    /// It misses another attribute, which may be there and unreadable: then nothing is said.
    pub is_lack: bool,
}

/// A step into a list or a mapping.
#[derive(Clone, PartialEq, Debug)]
pub enum Inside {
    /// Counted from 0.
    Element(usize),
    Key(String),
}

impl Invalid {
    pub fn new(attribute: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        let (what, help) = (what.into(), help.into());
        Invalid { attribute, inside: Vec::new(), what, help, is_lack: false }
    }

    /// It needs an attribute that is not there.
    pub fn lack(attribute: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Invalid { is_lack: true, ..Invalid::new(attribute, what, help) }
    }
}

/// Something that a resource says and no other of its host may say as well.
pub struct Claim {
    /// As in `the key SHA256:… of app`.
    pub of: String,
    /// Others may, who share it too.
    pub is_shared: bool,
    /// Why two of them fight, and the way out.
    pub help: &'static str,
}

/// A place for content that lies beside the spec: the loader reads `path`, renders it where it
/// is a template, and puts it into `content`.
pub struct SourceSlot<'a> {
    /// `source` or `template`.
    pub attribute: &'static str,
    pub is_template: bool,
    pub path: &'a mut Option<String>,
    pub content: &'a mut Option<Content>,
}

/// What a resource provides and what it stands on.
#[derive(Default, Debug)]
pub struct Links {
    pub provides: Vec<Thing>,
    pub stands_on: Vec<(Thing, &'static str)>,
    /// Declared to be gone: what stands on it goes first.
    pub is_removal: bool,
    /// Declared to rest, so that what it stands on may be gone: then it rests first.
    pub yields: bool,
}

impl Links {
    pub fn provides(mut self, thing: Thing) -> Self {
        self.provides.push(thing);
        self
    }

    /// `why` completes the sentence "A comes first because B is ...": `its parent directory`.
    pub fn stands_on(mut self, thing: Thing, why: &'static str) -> Self {
        self.stands_on.push((thing, why));
        self
    }

    pub fn removal(mut self, is_removal: bool) -> Self {
        self.is_removal = is_removal;
        self
    }

    pub fn yielding(mut self, yields: bool) -> Self {
        self.yields = yields;
        self
    }
}

/// The registry: type word, struct. The word is also the key under which the name stands.
macro_rules! registry {
    ($($word:literal => $module:ident::$type:ident,)*) => {
        /// Any resource, as it crosses the wire.
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        pub enum AnyResource {
            $(#[serde(rename = $word)] $type(Box<$module::$type>),)*
        }

        /// The type words, in the order of the reference.
        pub const TYPES: &[&str] = &[$($word),*];

        impl AnyResource {
            /// Reads the attributes of a resource of the type `word`; None for an unknown word.
            pub fn read<'de, D: serde::Deserializer<'de>>(
                word: &str,
                attributes: D,
            ) -> Option<Result<AnyResource, D::Error>> {
                match word {
                    $($word => Some(<$module::$type>::deserialize(attributes).map(|r| AnyResource::$type(Box::new(r)))),)*
                    _ => None,
                }
            }

            pub fn type_word(&self) -> &'static str {
                match self { $(AnyResource::$type(_) => $word,)* }
            }

            pub fn as_resource(&self) -> &dyn Resource {
                match self { $(AnyResource::$type(resource) => resource.as_ref(),)* }
            }

            pub fn as_resource_mut(&mut self) -> &mut dyn Resource {
                match self { $(AnyResource::$type(resource) => resource.as_mut(),)* }
            }
        }

        /// The attributes of the type `word` that may hold a secret: what they say is on no command
        /// line, in no path and in no name, and is kept nowhere but where it belongs.
        pub fn secret_attributes(word: &str) -> &'static [&'static str] {
            match word { $($word => <$module::$type>::SECRETS,)* _ => &[] }
        }

        /// The JSON Schema of the type's struct, doc comments and all; None for an unknown word.
        #[cfg(feature = "controller")]
        pub fn described(word: &str, generator: &mut schemars::SchemaGenerator) -> Option<schemars::Schema> {
            match word {
                $($word => Some(<$module::$type as schemars::JsonSchema>::json_schema(generator)),)*
                _ => None,
            }
        }

        /// Whether a resource of the type can come true by itself, so that `wait` has a meaning.
        pub fn can_wait(word: &str) -> bool {
            match word { $($word => <$module::$type as Resource>::can_wait(),)* _ => true }
        }

        /// An example of the type that plans, applies, and applies again without a change.
        pub fn example(word: &str) -> Option<&'static str> {
            match word { $($word => Some(<$module::$type>::EXAMPLE),)* _ => None }
        }
    };
}

registry! {
    "command" => command::Command,
    "directory" => directory::Directory,
    "file" => file::File,
    "line" => line::Line,
    "block" => block::Block,
    "sysctl" => sysctl::Sysctl,
    "hostname" => hostname::Hostname,
    "timezone" => timezone::Timezone,
    "http" => http::Http,
    "mount" => mount::Mount,
    "port" => port::Port,
    "symlink" => symlink::Symlink,
    "git" => git::Git,
    "download" => download::Download,
    "archive" => archive::Archive,
    "database" => database::Database,
    "unit" => unit::Unit,
    "program" => program::Program,
    "process" => process::Process,
    "domain" => domain::Domain,
    "package" => package::Package,
    "user" => user::User,
    "group" => group::Group,
    "authorized_key" => authorized_key::AuthorizedKey,
    "cron" => cron::Cron,
}

impl AnyResource {
    /// `type:name`.
    pub fn id(&self) -> String {
        format!("{}:{}", self.type_word(), self.as_resource().name())
    }
}
