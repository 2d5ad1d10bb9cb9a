//! `git`: a checkout of a repository.

mod bring;
mod look;
mod repository;
mod run;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::common::{Presence, in_the_way, is_false, no_parent, nothing_lacking};
use super::fetch;
use super::record::Record;
use super::tool::Tool;
use super::{Action, Change, Check, Failure, Invalid, Lack, Links, Needed, Resource, Thing};
use crate::attribute::{AbsPath, Mode};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};
use crate::system::users::Account;
use bring::{Bringing, Refused};
use look::Checkout;
use repository::Repository;
use run::Git as Runner;

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

    fn creation(
        &self,
        system: &System,
        was: &str,
        missing: Option<&AbsPath>,
        there: Option<&Meta>,
    ) -> Result<Check, Failure> {
        let repository = self.repository()?;
        let mut lacks = self.lacks(system)?;
        let version = match lacks.is_empty() {
            false => self.version.clone(),
            true => {
                let runner = Runner::new(system, self.account(system, there)?, &repository)?;
                Some(look::wanted(&runner, self.version.as_deref())?.told())
            }
        };
        lacks.extend(missing.map(|missing| no_parent(&self.path, missing)));
        let changes = vec![
            Change::from_to("state", was, "present"),
            Change::new("repository", None, Some(repository.address)),
            Change::new("version", None, version),
        ];
        let is_new = matches!(was, "absent" | EMPTY);
        let action = if is_new { Action::Create } else { Action::Change };
        Ok(Check::Needs(Needed { action, changes, lacks }))
    }

    /// What is off about the checkout that is there.
    fn check_there(&self, system: &System, there: &Meta) -> Result<Check, Failure> {
        let repository = self.repository()?;
        let lacks = self.lacks(system)?;
        if !lacks.is_empty() {
            let change = Change::new("version", None, self.version.clone());
            return Ok(Check::Needs(Needed { action: Action::Change, changes: vec![change], lacks }));
        }
        let account = self.account(system, Some(there))?;
        let of_git = self.of_git(system)?.uid;
        let mut changes = Vec::new();
        if let Some(user) = &self.user
            && let Some(other) = [there.uid, of_git].into_iter().find(|uid| *uid != account.uid)
        {
            changes.push(Change::from_to("user", system.user_name(other), user));
        }
        if there.uid != of_git {
            // git would trust none of the two.
            return match changes.is_empty() {
                false => Ok(Check::of(Action::Change, changes)),
                true => Err(Failure::new(format!("{} and its .git belong to different users", self.path))
                    .help("name the one that both are to belong to with `user`")),
            };
        }
        // As long as it belongs to another, git is that one's.
        let looker = if changes.is_empty() { account } else { self.owner(system, there)? };
        let runner = Runner::new(system, looker, &repository)?;
        let Some(checkout) = look::checkout(&runner, &self.path)? else { return Err(self.no_checkout()) };
        let is_cut = self.cut_off(system)?.is_some_and(|under_way| under_way.switching);
        if !is_cut && !self.force {
            self.nothing_changed(&checkout)?;
        }
        let wanted = look::wanted(&runner, self.version.as_deref())?;
        let is_off = checkout.head.as_deref() != Some(&wanted.commit);
        if checkout.origin.as_deref() != Some(&repository.address) {
            changes.push(Change::new("repository", checkout.origin, Some(repository.address.clone())));
        }
        if is_off {
            let from = checkout.head.as_deref().map(|head| look::brief(head).to_owned());
            changes.push(Change::new("version", from, Some(wanted.told())));
        }
        if self.depth.is_none() && checkout.is_shallow {
            changes.push(Change::from_to("depth", "a part of the history", "all of it"));
        }
        if is_cut {
            changes.push(Change::from_to(
                "files",
                "left half done by a run that was cut off",
                "as committed",
            ));
        } else if !checkout.changes.is_empty() {
            changes.push(Change::from_to("files", changed(&checkout.changes), "as committed"));
        }
        if is_off && !is_cut && checkout.head.is_some() {
            changes.extend(self.own_commits(&runner)?);
        }
        if !checkout.submodules.is_empty() {
            changes.push(Change::from_to("submodules", named(&checkout.submodules), "as the commit says"));
        }
        Ok(Check::of(Action::Change, changes))
    }

    fn owner(&self, system: &System, there: &Meta) -> Result<Account, Failure> {
        let name = system.user_name(there.uid);
        system.account(&name)?.ok_or_else(|| {
            Failure::new(format!("{} belongs to {name}, and there is no such user", self.path)).help(format!(
                "give it to its user first: `chown -R {} {}`",
                self.user.as_deref().unwrap_or("USER"),
                self.path
            ))
        })
    }

    fn of_git(&self, system: &System) -> Result<Meta, Failure> {
        match system.see(&self.path.join(".git"))? {
            Seen::There(there) => Ok(there),
            _ => Err(self.no_checkout()),
        }
    }

    fn nothing_changed(&self, checkout: &Checkout) -> Result<(), Failure> {
        if checkout.changes.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("{} has local changes: {}", self.path, changed(&checkout.changes)))
            .help(format!("look at them (`git -C {} diff`), then commit and push or undo them; or let converge discard them with `force: true`", self.path))
            .detail("changed", checkout.changes.join("\n")))
    }

    /// With `force`, what will be left behind; else it is a failure.
    fn own_commits(&self, runner: &Runner<'_>) -> Result<Option<Change>, Failure> {
        let own = look::own_commits(runner, &self.path)?;
        if own.is_empty() {
            return Ok(None);
        }
        let count = if own.len() == 1 {
            "a commit that is".to_owned()
        } else {
            format!("{} commits that are", own.len())
        };
        if self.force {
            return Ok(Some(Change::new("commits", Some(format!("{count} nowhere else")), None)));
        }
        Err(Failure::new(format!("{} has {count} nowhere else: {}", self.path, named(&own)))
            .help("push them, or let converge leave them behind with `force: true` (git keeps them in its reflog for some weeks)")
            .detail("commits", own.join("\n")))
    }

    fn no_checkout(&self) -> Failure {
        Failure::new(format!("{} is a directory that is not empty, and no checkout of git", self.path))
            .help("move it away, or empty it: it is never replaced")
    }

    fn check_absent(&self, system: &System, seen: &Seen) -> Result<Check, Failure> {
        let Seen::There(there) = seen else { return Ok(Check::Holds) };
        let is_checkout =
            there.kind == Kind::Directory && matches!(system.see(&self.path.join(".git"))?, Seen::There(_));
        if !is_checkout {
            let what = if there.kind == Kind::Directory {
                "a directory that is no checkout".to_owned()
            } else {
                there.kind.to_string()
            };
            return Err(Failure::new(format!("{} is {what}, and a checkout is declared absent", self.path))
                .help("declare the thing that it is as absent"));
        }
        if !self.force {
            return Err(Failure::new(format!("{} is a checkout, with all that is in it", self.path))
                .help("remove it with `force: true`"));
        }
        Ok(Check::needs(Action::Remove, vec![Change::from_to("state", "present", "absent")]))
    }

    /// Makes a new one beside the place, and moves it there.
    fn create(&self, system: &System, repository: &Repository, old: Option<&Meta>) -> Result<(), Failure> {
        let stage = self.beside().ok_or_else(|| Failure::new("/ cannot be a checkout"))?;
        clear(system, &stage)?;
        let was_directory = old.filter(|old| old.kind == Kind::Directory);
        let account = self.account(system, was_directory)?;
        let runner = Runner::new(system, account.clone(), repository)?;
        let wanted = look::wanted(&runner, self.version.as_deref())?;
        let is_root = rustix::process::geteuid().is_root();
        let access = Access {
            uid: Some(account.uid).filter(|_| is_root),
            gid: Some(was_directory.map_or(account.gid, |old| old.gid)).filter(|_| is_root),
            mode: Some(was_directory.map_or(Mode::from_bits(0o755), |old| old.mode)),
        };
        system.make_directory(&stage, access)?;
        let bringing = Bringing {
            git: &runner,
            at: &stage,
            depth: self.depth,
            is_shallow: false,
            is_new: true,
            force: false,
        };
        let make = || {
            bringing.begin()?;
            let commit = bringing.fetch(&wanted)?;
            if let Err(Refused(names)) = bringing.check_out(&commit)? {
                return Err(in_the_way_of_git(&stage, &names));
            }
            bringing.submodules()?;
            system.sync(&stage)?;
            if old.is_some_and(|old| old.kind != Kind::Directory) {
                system.remove_file(&self.path)?;
            }
            system.move_to(&stage, &self.path)
        };
        let made = make();
        if made.is_err() {
            // What failed is told; a half checkout is no use to anybody, and goes with the next run.
            let _ = clear(system, &stage);
        }
        made?;
        self.record().remove(system)
    }

    /// Brings the checkout that is there to where it should be.
    fn update(&self, system: &System, repository: &Repository, there: &Meta) -> Result<(), Failure> {
        let account = self.account(system, Some(there))?;
        let record = self.record();
        let cut = self.cut_off(system)?;
        let own = self.path.join(".git");
        if let Some(cut) = &cut {
            remove_leftovers(system, &own, cut.since)?;
        }
        let was_switching = cut.is_some_and(|cut| cut.switching);
        let inode = self.of_git(system)?.inode;
        let since = now();
        record.write(system, &UnderWay { switching: was_switching, since, inode })?;
        if self.user.is_some() {
            own_all(system, &self.path, &account, there.device)?;
        }
        let runner = Runner::new(system, account, repository)?;
        let checkout = look::checkout(&runner, &self.path)?.ok_or_else(|| self.no_checkout())?;
        let force = self.force || was_switching;
        let is_shallow = checkout.is_shallow;
        let bringing =
            Bringing { git: &runner, at: &self.path, depth: self.depth, is_shallow, is_new: false, force };
        let fetch = || {
            // Somebody may have changed them since the check.
            if !force {
                self.nothing_changed(&checkout)?;
            }
            if checkout.origin.as_deref() != Some(&repository.address) {
                bringing.name_origin()?;
            }
            let wanted = look::wanted(&runner, self.version.as_deref())?;
            bringing.fetch(&wanted)
        };
        let fetched = fetch();
        if fetched.is_err() && !was_switching {
            remove_leftovers(system, &own, since)?;
            record.remove(system)?;
        }
        let commit = fetched?;
        record.write(system, &UnderWay { switching: true, since, inode })?;
        if let Err(Refused(names)) = bringing.check_out(&commit)? {
            record.remove(system)?;
            return Err(in_the_way_of_git(&self.path, &names));
        }
        bringing.submodules()?;
        system.sync(&self.path)?;
        record.remove(system)
    }
}

/// What was there is an empty directory.
const EMPTY: &str = "an empty directory";

fn in_the_way_of_git(path: &AbsPath, names: &[String]) -> Failure {
    Failure::new(format!(
        "files that git does not know are in the way in {path}: {}; nothing was changed",
        named(names)
    ))
    .help("move them away, or let converge overwrite them with `force: true`")
    .detail("in the way", names.join("\n"))
}

/// `2 files: a, b`.
fn changed(names: &[String]) -> String {
    let unit = if names.len() == 1 { "file" } else { "files" };
    format!("{} {unit}: {}", names.len(), named(names))
}

fn named(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}

fn clear(system: &System, path: &AbsPath) -> Result<(), Failure> {
    match system.see_to_remove(path)? {
        Seen::There(Meta { kind: Kind::Directory, .. }) => system.remove_tree(path),
        Seen::There(_) => system.remove_file(path),
        Seen::Absent | Seen::NoParent(_) => Ok(()),
    }
}

/// What a git leaves behind that was killed, or had no room: locks, and objects that came in half.
/// Only what is no older than the run it was in: another may be at work there.
fn remove_leftovers(system: &System, at: &AbsPath, since: i128) -> Result<(), Failure> {
    let Seen::There(Meta { kind: Kind::Directory, .. }) = system.see(at)? else { return Ok(()) };
    // Single objects lie in directories of two digits, and are many.
    let is_of_objects = at.file_name().len() == 2;
    for name in system.list(at)? {
        let is_leftover = name.ends_with(".lock") || name.starts_with("tmp_");
        if is_of_objects && !is_leftover {
            continue;
        }
        let inner = at.join(&name);
        let Seen::There(there) = system.see(&inner)? else { continue };
        match there.kind {
            Kind::Directory => remove_leftovers(system, &inner, since)?,
            Kind::File if is_leftover && there.modified >= since => system.remove_file(&inner)?,
            _ => {}
        }
    }
    Ok(())
}

/// Now, as a file's time: that lags a little behind the clock.
fn now() -> i128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(now.saturating_sub(Duration::from_secs(1)).as_nanos()).unwrap_or_default()
}

/// Gives what belongs to others to the user, on the same file system, links themselves.
fn own_all(system: &System, path: &AbsPath, account: &Account, device: u64) -> Result<(), Failure> {
    let Seen::There(there) = system.see(path)? else { return Ok(()) };
    if there.device != device {
        return Ok(());
    }
    if there.kind == Kind::Directory {
        for name in system.list(path)? {
            own_all(system, &path.join(&name), account, device)?;
        }
    }
    if there.uid == account.uid {
        return Ok(());
    }
    let mode = Some(there.mode).filter(|_| there.kind != Kind::Symlink);
    system.set_access(path, Access { uid: Some(account.uid), gid: Some(account.gid), mode })
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
                    true => self.creation(system, EMPTY, None, Some(&there)),
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
