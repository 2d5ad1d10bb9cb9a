//! `git`: a checkout of a repository.

mod bring;
mod judge;
mod look;
mod make;
mod repository;
mod run;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::common::{Presence, in_the_way, is_false, nothing_lacking};
use super::fetch;
use super::record::Record;
use super::tool::Tool;
use super::{Action, Check, Failure, Invalid, Lack, Links, Needed, Resource, Thing};
use crate::attribute::AbsPath;
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};
use crate::system::users::Account;
use repository::Repository;

const GIT: Tool = Tool("git");

/// So many names are in one line; the rest is counted.
const NAMED: usize = 5;

/// A checkout of a git repository.
///
/// It holds where HEAD is the commit that `version` is in the repository now, and the files are as they
/// were committed. For a branch or a tag the repository is asked at every check (`git ls-remote`;
/// nothing is fetched): where it does not answer, that is a failure. **A `version` that is a commit
/// needs no network once it is there.** git asks no questions: no password, and no unknown host key.
///
/// It is checked out with a detached HEAD, so that no local branch is ever moved. A new checkout
/// is made beside its place and moved there when it is whole; an empty directory is taken as it is, with its owner
/// and mode. A branch that was force-pushed is followed. Files that are changed, commits that
/// are nowhere else, and files in the way of what is checked out are a failure that names them, unless
/// `force` is on. Files that git does not know, and that are not in the way, are left alone.
///
/// Submodules are checked out with it, and theirs, as the commit says (but those with `update = none`).
///
/// A `restart_on` or `on_change_of` that names it looks at its `.git/HEAD`: what an application writes
/// into its checkout counts for nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless_absent("repository")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["repository", "version", "depth", "user"])))]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// The checkout's directory: an absolute path. The directory that it lies in must be there, or be
    /// declared.
    #[serde(rename = "git")]
    pub path: AbsPath,

    /// `absent`: the checkout is removed with all that is in it, which takes `force: true`. A directory
    /// that is no checkout is never removed.
    #[serde(default)]
    pub state: Presence,

    /// Where it comes from: `https://host/app.git`, `ssh://git@host/app.git`, `git@host:app.git`,
    /// `/srv/git/app.git`. A user and password of an https URL
    /// (`https://user:{{ secrets.token }}@host/app.git`) are given to git by its environment: they are on no command line,
    /// and not in the checkout. Only there a secret is safe: the rest of the URL is on git's command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Address>,

    /// The branch, tag or commit (all 40 digits of it) to have; of a branch and a tag with one name, the
    /// branch. `refs/…` is a reference by its full name. Without it, the branch that the repository's HEAD
    /// points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Fetch only so many commits of the history. A checkout that has more, or less, is left as it
    /// is. Without it, all of the history is wanted: one that has only a part gets the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "controller", schemars(range(min = 1)))]
    pub depth: Option<u32>,

    /// The user that the checkout belongs to, and that runs git: with its home, and so with its keys and
    /// its known hosts. Without it, that is whoever owns the directory that is there; else the user
    /// that converge runs as on the host. A checkout that belongs to another is given to this one, with all that
    /// is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

    /// Discard changed files, commits that are nowhere else, and files in the way of what is checked
    /// out; replace a file or a symlink in the checkout's place. With `state: absent`, remove it. Without
    /// it each of these is a failure. A directory that is not empty and no checkout is never replaced.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// A repository as it is written, which may hold a password.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Address(
    #[cfg_attr(
        feature = "controller",
        schemars(
            title = "repository",
            regex(pattern = r"^\s*((https?|ssh|git)://[^/\s]+/?.*|file:///.+|/.*|[^-/:\s][^/:\s]*:(?!:|//).+)\s*$"),
            extend("patternErrorMessage" = "No repository: write it as in https://host/app.git, git@host:app.git or /srv/git/app.git.")
        )
    )]
    String,
);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a repository)")
    }
}

/// A run is under way in the checkout.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    /// Files are being changed. Before, only what is git's own can be left.
    switching: bool,
    /// When it began, by the clock of files.
    since: i128,
    /// Of the checkout's `.git`: another one that was put there since has nothing to do with it.
    inode: u64,
}

impl Git {
    pub const SECRETS: &'static [&'static str] = &["repository"];

    pub const EXAMPLE: &'static str = "\
- git: /srv/app
  repository: https://github.com/octocat/Hello-World.git
  version: master
  depth: 1
";

    fn repository(&self) -> Result<Repository, Failure> {
        let text = self.repository.as_ref().map_or("", |address| &address.0);
        Repository::parse(text).map_err(|(what, help)| Failure::new(what).help(help))
    }

    fn record(&self) -> Record {
        Record::of_path("checkouts", &self.path)
    }

    /// A run of ours that was cut off in the checkout that is there.
    fn cut_off(&self, system: &System) -> Result<Option<UnderWay>, Failure> {
        let under_way: Option<UnderWay> = self.record().read(system)?;
        let inode = self.of_git(system)?.inode;
        Ok(under_way.filter(|under_way| under_way.inode == inode))
    }

    /// Beside its place, where a new one is made.
    fn beside(&self) -> Option<AbsPath> {
        Some(self.path.parent()?.join(&format!(".{}.converge", self.path.file_name())))
    }

    /// What must be there before git can be run.
    fn lacks(&self, system: &System) -> Result<Vec<Lack>, Failure> {
        let mut lacks: Vec<Lack> = GIT.lack(system).into_iter().collect();
        if let Some(user) = &self.user
            && system.account(user)?.is_none()
        {
            lacks.push(Lack {
                thing: Thing::User(user.clone()),
                what: format!("there is no user {user}"),
                help: format!("declare it: `- user: {user}`, or correct `user`"),
            });
        }
        Ok(lacks)
    }

    /// Who runs git where `there` is what is there now.
    fn account(&self, system: &System, there: Option<&Meta>) -> Result<Account, Failure> {
        let me = rustix::process::geteuid().as_raw();
        let name = match (&self.user, there) {
            (Some(user), _) => user.clone(),
            (None, Some(there)) => system.user_name(there.uid),
            (None, None) => system.user_name(me),
        };
        system.account(&name)?.ok_or_else(|| {
            Failure::new(format!("{} belongs to {name}, and there is no such user to run git as", self.path))
                .help("name the user that it is to belong to with `user`")
        })
    }
}

impl Resource for Git {
    fn name(&self) -> String {
        self.path.to_string()
    }

    fn links(&self) -> Links {
        let links = Links::default().provides(Thing::Path(self.path.clone()));
        let mut links = links.removal(self.state == Presence::Absent);
        // A directory of the same path, or else what is nearest above.
        links = links.stands_on(Thing::Path(self.path.clone()), "the directory it lies in");
        if self.state == Presence::Absent {
            return links;
        }
        links = GIT.link(links);
        if let Some(user) = &self.user {
            links = links.stands_on(Thing::User(user.clone()), "the user it belongs to");
        }
        match self.repository().ok().and_then(|repository| repository.local) {
            Some(local) => links.stands_on(Thing::Path(local), "the repository it comes from"),
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
        let mut invalid = Vec::new();
        if self.path.as_str() == "/" {
            invalid.push(Invalid::new("git", "/ cannot be a checkout", "name another directory"));
        }
        if self.state == Presence::Absent {
            let said = [
                ("repository", self.repository.is_some()),
                ("version", self.version.is_some()),
                ("depth", self.depth.is_some()),
                ("user", self.user.is_some()),
            ];
            for (name, _) in said.iter().filter(|(_, given)| *given) {
                let what = format!("`{name}` says something of a checkout that `state: absent` says is gone");
                invalid.push(Invalid::new(name, what, "leave one of them out"));
            }
            return invalid;
        }
        match &self.repository {
            None => invalid.push(Invalid::lack(
                "git",
                "`repository` is missing: where is it to come from?",
                "add `repository: URL`, or `state: absent` if the checkout is to go",
            )),
            Some(address) => {
                if let Err((what, help)) = Repository::parse(&address.0) {
                    invalid.push(Invalid::new("repository", what, help));
                }
            }
        }
        if let Some(version) = self.version.as_ref().filter(|version| !is_version(version)) {
            let what = format!("`{version}` is no name of a branch, a tag or a commit");
            invalid.push(Invalid::new(
                "version",
                what,
                "write it as in main, v1.2 or all 40 digits of a commit",
            ));
        }
        if self.depth == Some(0) {
            let what = "a history of no commits is none";
            invalid.push(Invalid::new(
                "depth",
                what,
                "write 1 for the commit alone, or leave it out for all",
            ));
        }
        invalid
    }

    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        let is_plain =
            self.repository.as_ref().is_some_and(|address| address.0.trim().starts_with("http://"));
        let has_login = self.repository().is_ok_and(|repository| repository.login.is_some());
        if !is_plain || !has_login {
            return Vec::new();
        }
        vec![Invalid::new(
            "repository",
            "the password is sent where everybody on the way can read it",
            "use https",
        )]
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.path.join(".git").join("HEAD")]
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        if self.state == Presence::Absent {
            return self.check_absent(system, &system.see_to_remove(&self.path)?);
        }
        match system.see(&self.path)? {
            Seen::There(there) if there.kind == Kind::Directory => {
                match system.list(&self.path)?.is_empty() {
                    true => self.creation(system, judge::EMPTY, None, Some(&there)),
                    false => self.check_there(system, &there),
                }
            }
            Seen::There(there) if self.force => self.creation(system, &there.kind.to_string(), None, None),
            Seen::There(there) => Err(in_the_way(&self.path, there.kind, "a checkout")),
            Seen::Absent => self.creation(system, "absent", None, None),
            Seen::NoParent(missing) => self.creation(system, "absent", Some(&missing), None),
        }
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        if needed.action == Action::Remove {
            system.remove_tree(&self.path)?;
            return self.record().remove(system);
        }
        nothing_lacking(&self.lacks(system)?)?;
        let repository = self.repository()?;
        match system.see(&self.path)? {
            Seen::There(there) if there.kind == Kind::Directory && !system.list(&self.path)?.is_empty() => {
                self.update(system, &repository, &there)
            }
            Seen::There(there) if there.kind != Kind::Directory && !self.force => {
                Err(in_the_way(&self.path, there.kind, "a checkout"))
            }
            Seen::There(there) => self.create(system, &repository, Some(&there)),
            _ => self.create(system, &repository, None),
        }
    }
}

/// By the rules of git-check-ref-format(1), as far as they keep it from being something else.
fn is_version(version: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    !version.is_empty()
        && !version.starts_with(['-', '/', '.'])
        && !version.ends_with(['/', '.'])
        && !version.contains(forbidden)
        && !version.contains("..")
        && !version.contains("@{")
}
