//! `download`: a file that comes from a URL.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::common::{
    Ownership, Surroundings, blocks_the_way, in_place_of, no_parent, nothing_lacking, only_changed,
};
use super::fetch::{self, Url};
use super::record::Record;
use super::{Action, Change, Check, Failure, Invalid, Links, Needed, Resource, Thing};
use crate::attribute::{AbsPath, Checksum, Mode, sha256_hex};
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};

/// The mode of a new file.
const NEW: u32 = 0o644;

/// A file that is fetched from a URL, by the host itself.
///
/// With a `checksum` the file's content is what is held true: it is fetched where the file is
/// missing or is not what the checksum says, and what comes is put in place only if it fits. If
/// something else comes, that is a failure that shows both sums, and the old file stays. Without a
/// checksum it is fetched where it is missing, and again where another `url` is declared than it
/// was fetched from last; what is in it, and whether the URL gives something new, is not looked at.
///
/// What comes is written beside the file as it comes, and put in its place by rename when all of it
/// is there, with owner and mode already set: a full disk, a connection that breaks off, a timeout
/// or a power cut leave the old file whole. Owner, group and mode of a file that is there stay as
/// they are unless declared; a new file is 0644 unless declared, whatever the umask.
///
/// Redirects are followed (ten at most), from https to http only with a `checksum`. The server's
/// certificate must be signed by a CA that the host trusts: those in SSL_CERT_FILE, else in the
/// system's bundle (of the package `ca-certificates`). Proxies that the environment names are not used.
/// `timeout` (10m) is the limit of all of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// The file's absolute path. Its directory must be there, or be declared. What is no file in its
    /// place is a failure.
    #[serde(rename = "download")]
    pub path: AbsPath,

    /// Where it comes from: http, https, or `file:///path` on the host itself. A user and password
    /// may stand in it (`https://user:{{ secrets.token }}@host/path`): they are sent as HTTP's basic
    /// authentication, to this host only, and are kept nowhere.
    pub url: Address,

    /// What the file must hash to, as in `sha256:2b1c…` with the 64 digits that `sha256sum` prints, or
    /// `sha512:…` with 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,

    /// The user that owns it: a name or a number. Without it, who owns the file is left alone; a new
    /// file belongs to root, or to the user that converge runs as on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,

    /// Its group: a name or a number. Without it, as for `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,

    /// Its mode, as in `755`, `0755` or `u=rwx,go=rx`. Without it, the mode is left alone; a new file
    /// is 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// Filled in by the loader.
    #[serde(default, rename = "_surroundings", skip_serializing_if = "Surroundings::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub surroundings: Surroundings,
}

/// A URL as it is written, which may hold a password.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Address(
    #[cfg_attr(
        feature = "controller",
        schemars(
            title = "URL",
            regex(pattern = r"^\s*([Hh][Tt][Tt][Pp][Ss]?://[^\s/]+(/\S*)?([?#]\S*)?|file://(localhost)?/\S*)\s*$"),
            extend("patternErrorMessage" = "No URL: write it as in https://host/path or file:///path.")
        )
    )]
    pub String,
);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a URL)")
    }
}

impl Address {
    pub fn read(&self) -> Result<Url, Failure> {
        Url::parse(&self.0).map_err(|(what, help)| Failure::new(what).help(help))
    }

    pub fn complaint(&self) -> Option<Invalid> {
        let (what, help) = Url::parse(&self.0).err()?;
        Some(Invalid::new("url", what, help))
    }

    /// What a record knows it by: the URL itself may hold a password.
    pub fn mark(&self) -> String {
        sha256_hex(self.0.trim().as_bytes())
    }
}

/// What a file was fetched from last.
#[derive(Serialize, Deserialize)]
struct From {
    url: String,
}

impl Download {
    pub const SECRETS: &'static [&'static str] = &["url"];

    pub const EXAMPLE: &'static str = "\
- download: /usr/local/bin/jq
  url: https://github.com/jqlang/jq/releases/download/jq-1.7.1/jq-linux-amd64
  checksum: sha256:5942c9b0934e510ee61eb3e30273f1b3fe2590df93933a93d7c58b81d19c8ff5
  mode: 755
";

    /// As declared here, else by a directory with `recurse` above.
    fn ownership(&self, there: Option<&Meta>) -> Ownership<'_> {
        let handed = &self.surroundings.handed;
        let current = there.map_or(Mode::from_bits(NEW), |there| there.mode);
        Ownership {
            owner: self.owner.as_deref().or(handed.owner.as_deref()),
            group: self.group.as_deref().or(handed.group.as_deref()),
            mode: self.mode.or(handed.mode.map(|mode| mode.for_file_below(current))),
        }
    }

    fn record(&self) -> Record {
        Record::of_path("downloads", &self.path)
    }

    /// What is off about the content of the file that is there.
    fn content_change(&self, system: &System, url: &Url) -> Result<Option<Change>, Failure> {
        let Some(wanted) = &self.checksum else {
            let last: Option<From> = self.record().read(system)?;
            let is_another = last.is_some_and(|last| last.url != self.url.mark());
            return Ok(is_another.then(|| Change::from_to("url", "another one", url)));
        };
        let found = system.checksum(&self.path, wanted.algorithm)?;
        Ok((found != *wanted).then(|| Change::from_to("content", found.brief(), wanted.brief())))
    }
}

impl Resource for Download {
    fn name(&self) -> String {
        self.path.to_string()
    }

    fn links(&self) -> Links {
        let mut links = self.ownership(None).link(Links::default().provides(Thing::Path(self.path.clone())));
        if let Some(thing) = self.url.read().ok().and_then(|url| url.thing()) {
            links = links.stands_on(thing, "the file it is a copy of");
        }
        match self.path.parent() {
            Some(parent) => links.stands_on(Thing::Path(parent), "its parent directory"),
            None => links,
        }
    }

    fn can_wait() -> bool {
        false
    }

    fn timeout(&self) -> Duration {
        fetch::TIMEOUT
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid: Vec<Invalid> = self.url.complaint().into_iter().collect();
        if self.path.as_str() == "/" {
            invalid.push(Invalid::new("download", "/ is a directory", "name a file"));
        }
        if matches!(Url::parse(&self.url.0), Ok(Url::File(path)) if path == self.path) {
            let what = "the file cannot be a copy of itself";
            invalid.push(Invalid::new("url", what, "name another file"));
        }
        invalid
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.path.clone()]
    }

    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        Some(&mut self.surroundings)
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let url = self.url.read()?;
        let (there, missing) = match system.see(&self.path)? {
            Seen::There(there) if there.kind == Kind::File => (Some(there), None),
            Seen::There(there) => return Err(blocks_the_way(&self.path, there.kind, "a file")),
            Seen::Absent => (None, None),
            Seen::NoParent(missing) => (None, Some(missing)),
        };
        let ownership = self.ownership(there.as_ref());
        let mut resolved = ownership.resolve(system)?;
        let mut changes = Vec::new();
        match &there {
            Some(_) => changes.extend(self.content_change(system, &url)?),
            None => {
                changes.push(Change::from_to("state", "absent", "present"));
                let sum = self.checksum.as_ref().map(|sum| format!(", {}", sum.brief())).unwrap_or_default();
                changes.push(Change::new("content", None, Some(format!("from {url}{sum}"))));
            }
        }
        if !changes.is_empty() {
            resolved.lacks.extend(url.lack(system)?);
        }
        resolved.lacks.extend(missing.map(|missing| no_parent(&self.path, &missing)));
        changes.extend(ownership.changes(system, &resolved, there.as_ref()));
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        let action = if there.is_some() { Action::Change } else { Action::Create };
        Ok(Check::Needs(Needed { action, changes, lacks: resolved.lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        let old = match system.see(&self.path)? {
            Seen::There(there) if there.kind != Kind::File => {
                return Err(blocks_the_way(&self.path, there.kind, "a file"));
            }
            Seen::There(there) => Some(there),
            _ => None,
        };
        let resolved = self.ownership(old.as_ref()).resolve(system)?;
        nothing_lacking(&resolved.lacks)?;
        if !["state", "content", "url"].iter().any(|attribute| needed.has(attribute)) {
            return system.set_access(&self.path, only_changed(resolved.access, &needed.changes));
        }
        let access = in_place_of(resolved.access, old.as_ref());
        let url = self.url.read()?;
        let fill = |candidate: &mut crate::system::files::Candidate<'_>| {
            url.fetch_checked(system, self.checksum.as_ref(), &mut |bytes| candidate.write(bytes))
        };
        system.put_streamed(&self.path, access, fill, |_| Ok(()))?;
        self.record().write(system, &From { url: self.url.mark() })
    }
}
