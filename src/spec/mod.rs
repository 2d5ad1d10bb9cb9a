//! Reads a spec and everything beside it: YAML with positions, variables and templates, hosts,
//! resources, references. What comes out is complete and valid; what is wrong comes out as
//! problems, all in one go, each with its excerpt and a way out.

use std::path::{Path, PathBuf};

use crate::attribute::Span;
use crate::graph::Graph;
use crate::inventory::{Host, Wait};
use crate::resource::AnyResource;
use crate::wire::Evidence;

pub mod at;
mod beside;
mod complaint;
mod connect;
mod desk;
mod early;
mod entry;
pub mod facts;
mod fights;
mod gather;
mod host;
mod hosts;
mod include;
mod lint;
pub mod listing;
mod load;
mod near;
mod parts;
mod placement;
pub mod problem;
mod read;
mod reference;
mod resolve;
mod scalar;
mod scope;
mod secret_source;
mod stand_in;
mod surround;
mod template;
mod triggers;
mod vault;
mod whole;
mod yaml;
mod yaml_words;

pub(crate) use entry::Common as CommonAttributes;
pub(crate) use host::Attributes as HostAttributes;
pub(crate) use near::help as did_you_mean;
/// The keys that the loader knows.
#[cfg(test)]
pub(crate) mod names {
    pub use super::entry::COMMON;
    pub use super::gather::KEYS as TOP_LEVEL;
    pub use super::host::OTHERS as OF_HOSTS_BY_HAND;
}
pub use problem::Problems;
use resolve::Unresolved;

/// What the command line adds to a spec.
#[derive(Clone, Default, Debug)]
pub struct LoadOptions {
    /// `--var name=value`: over every other variable. The value is a YAML scalar.
    pub vars: Vec<(String, String)>,
    /// Whether secrets are read, those that are used. Else a placeholder stands for each.
    pub reads_secrets: bool,
}

/// A spec, read, resolved and found valid.
#[derive(Debug)]
pub struct Spec {
    /// As the user gave it.
    pub path: PathBuf,
    /// Every file that was read: the spec, its includes, its sources and templates.
    pub files: Vec<PathBuf>,
    /// The hosts that take part, in the order of their declaration.
    pub hosts: Vec<Host>,
    /// The resources, in the order of their declaration.
    pub items: Vec<Item>,
    pub graph: Graph,
    /// What is allowed and likely to bite.
    pub warnings: Problems,
    /// What waits for the facts of a host.
    unresolved: Unresolved,

    /// Placeholders stand where secrets belong: it is to be looked at, and not to be run.
    pub lacks_secrets: bool,
}

/// A resource on a host, with what the spec says about dealing with it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Index into the spec's hosts.
    pub host: usize,
    pub resource: AnyResource,
    pub wait: Option<Wait>,
    pub timeout: Option<Span>,
    pub tags: Vec<String>,
    pub evidence: Vec<Evidence>,
    /// The `when` that is false, as it is written: the item is reported and not touched.
    pub skipped_by_when: Option<String>,
    /// Where it is declared, as in `specs/prod.yaml:27`.
    pub location: String,
}

impl Spec {
    /// `host/type:name`.
    pub fn id(&self, item: usize) -> String {
        let item = &self.items[item];
        format!("{}/{}", self.hosts[item.host].name, item.resource.id())
    }
}

/// The variables of a spec, for everywhere and for its hosts, or for one host.
pub fn variables(
    path: &Path,
    options: &LoadOptions,
    host: Option<&str>,
) -> Result<Vec<listing::Section>, Problems> {
    listing::variables(path, options, host)
}

/// Reads, resolves and validates a spec. The problems are all that were found, not only the
/// first.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Spec, Problems> {
    load::load(path, options)
}
