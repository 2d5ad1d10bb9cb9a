//! `git` from every start, with a real git over file, ssh and http.

mod access;

use std::time::Duration;

use converge::resource::{AnyResource, Check};
use serde_json::{Value, json};

use crate::agent::{Agent, Host, host, resource};
use crate::table::Table;

/// A repository of the test's own, with a work tree beside it.
struct Origin<'a> {
    host: &'a Host,
    /// `/var/tmp/cvg-git-…`.
    base: String,
}

impl<'a> Origin<'a> {
    fn new(host: &'a Host, name: &str) -> Origin<'a> {
        let origin = Origin { host, base: format!("/var/tmp/cvg-git-{name}") };
        origin.must(&format!(
            "rm -rf {0}; mkdir -p {0}; cd {0}; git init -q --bare -b main app.git; git init -q -b main work",
            origin.base
        ));
        origin.commit(
            "echo one > file; mkdir d; echo deep > d/deep; printf '#!/bin/sh\\n' > run; chmod 755 run",
            "one",
        );
        origin.work("git tag -a -m v1 v1; git push -q ../app.git main v1");
        origin
    }

    fn must(&self, line: &str) -> String {
        self.host.must(line)
    }

    /// A line in the work tree.
    fn work(&self, line: &str) -> String {
        let who =
            "export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t";
        self.must(&format!("set -e; {who}; cd {}/work; {line}", self.base)).trim().to_owned()
    }

    /// Commits what the line makes; the commit.
    fn commit(&self, line: &str, message: &str) -> String {
        self.work(&format!("{line}; git add -A; git commit -q -m '{message}'; git rev-parse HEAD"))
    }

    /// The same, pushed to the branch.
    fn push(&self, line: &str, message: &str) -> String {
        let commit = self.commit(line, message);
        self.work("git push -qf ../app.git HEAD:main");
        commit
    }

    fn repository(&self) -> String {
        format!("{}/app.git", self.base)
    }
}

impl Drop for Origin<'_> {
    fn drop(&mut self) {
        self.host.sh(&format!("rm -rf {}", self.base));
    }
}

/// Where checkouts of one test lie.
struct Place<'a> {
    host: &'a Host,
    base: String,
}

impl<'a> Place<'a> {
    fn new(host: &'a Host, name: &str) -> Place<'a> {
        let place = Place { host, base: format!("/srv/cvg-git-{name}") };
        host.must(&format!("umount -q {0}; rm -rf {0}; mkdir -p {0}", place.base));
        place
    }

    fn app(&self, attributes: Value) -> AnyResource {
        let mut item = attributes;
        item["git"] = json!(format!("{}/app", self.base));
        resource("git", item)
    }

    fn at(&self, line: &str) -> String {
        self.host.must(&format!("cd {}/app; {line}", self.base)).trim().to_owned()
    }

    fn head(&self) -> String {
        self.at("git -c safe.directory='*' rev-parse HEAD")
    }

    /// Everything in it, git's own files too.
    fn look(&self) -> String {
        self.host.must(&format!("cd {}; find . -printf '%p %y %i %T@ %C@ %U %m %l\\n' | sort; find . -type f | sort | xargs -r sha256sum", self.base))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.host.sh(&format!("umount -q {0}; rm -rf {0}", self.base));
    }
}

fn holds(agent: &mut Agent, app: &AnyResource) {
    assert_eq!(agent.converge(app).1, Ok(()));
    assert_eq!(agent.converge(app), (None, Ok(())), "the second run");
}

#[track_caller]
fn fails(agent: &mut Agent, app: &AnyResource, words: &str) {
    let said = agent.converge(app).1.expect_err(words);
    assert!(said.contains(words), "it says {said:?}, and not {words:?}");
}

#[test]
fn a_checkout_of_a_branch_from_every_start() {
    let Some(host) = host() else { return };
    let origin = Origin::new(&host, "starts");
    let url = origin.repository();
    let declared =
        json!({"git": "/srv/cvg-git-starts/app", "repository": url, "version": "main", "force": true});
    let clear = "rm -rf /srv/cvg-git-starts; mkdir -p /srv/cvg-git-starts";
    let look = "cd /srv/cvg-git-starts; find . -printf '%p %y %i %T@ %U %m %l\\n' | sort; find . -type f | sort | xargs -r sha256sum";
    let mut table =
        Table { host: &host, agent: host.agent(), word: "git", declared: declared.clone(), clear, look };
    let new = ["state", "repository", "version"];
    let clone = format!("git clone -q {url} /srv/cvg-git-starts/app; cd /srv/cvg-git-starts/app");
    let mut row = |start: &str, arrange: &str, off: &[&str]| table.row(start, arrange, off);
    row("absent", "true", &new);
    row("an empty directory", "mkdir -m 750 /srv/cvg-git-starts/app", &new);
    row("a file", "touch /srv/cvg-git-starts/app", &new);
    row("a dangling link", "ln -s nowhere /srv/cvg-git-starts/app", &new);
    row(
        "what a killed run left",
        "mkdir -p /srv/cvg-git-starts/.app.converge/.git; touch /srv/cvg-git-starts/.app.converge/file",
        &new,
    );
    row("right, cloned by hand", &clone, &[]);
    row(
        "right, with files that git does not know",
        &format!("{clone}; echo x > mine; touch -d yesterday file"),
        &[],
    );
    row(
        "a clone that was killed",
        &format!("{clone}; rm -rf .git/refs/* .git/packed-refs .git/index; rm -rf file d run"),
        &["version"],
    );
    row("an empty repository", "git init -q /srv/cvg-git-starts/app", &["repository", "version"]);
    row("another repository", &format!("{clone}; git remote set-url origin /elsewhere"), &["repository"]);
    row("no origin", &format!("{clone}; git remote remove origin"), &["repository"]);
    row("a changed file", &format!("{clone}; echo changed >> file"), &["files"]);
    row("a file gone", &format!("{clone}; rm d/deep"), &["files"]);
    row("a file staged", &format!("{clone}; echo s > staged; git add staged"), &["files"]);
    row("a mode changed", &format!("{clone}; chmod -x run"), &["files"]);
    row("a file is a directory", &format!("{clone}; rm file; mkdir -p file/full"), &["files"]);
    row(
        "a shallow one",
        &format!(
            "git clone -q --depth 1 file://{url} /srv/cvg-git-starts/app; cd /srv/cvg-git-starts/app; git remote set-url origin {url}; touch .git/shallow; git rev-parse HEAD > .git/shallow"
        ),
        &["depth"],
    );
    let commit = "git -c user.name=t -c user.email=t@t commit -q";
    row(
        "a commit of its own",
        &format!("{clone}; echo own > own; git add own; {commit} -m own"),
        &["version", "commits"],
    );
    row(
        "a merge that nobody finished",
        &format!(
            "{clone}; git checkout -q -b a; echo a > file; {commit} -am a; git checkout -q main; echo b > file; {commit} -am b; git -c user.name=t -c user.email=t@t merge a || true"
        ),
        &["version", "files", "commits"],
    );
    table.refused(
        "a directory with something else",
        "mkdir -p /srv/cvg-git-starts/app/x",
        "not empty, and no checkout of git",
    );
    table.refused("a broken repository", "mkdir -p /srv/cvg-git-starts/app/.git", "reading the checkout");
    table.declared["force"] = json!(false);
    table.refused("a file, without force", "touch /srv/cvg-git-starts/app", "is a file");
    table.refused(
        "local changes, without force",
        &format!("{clone}; echo changed >> file"),
        "has local changes: 1 file: file",
    );
    table.refused(
        "own commits, without force",
        &format!("{clone}; echo own > own; git add own; {commit} -m own"),
        "has a commit that is nowhere else",
    );
    drop(table);
    host.sh("rm -rf /srv/cvg-git-starts");
}

#[test]
fn branches_tags_and_commits_are_followed() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) =
        (Origin::new(&host, "versions"), Place::new(&host, "versions"), host.agent());
    let first = origin.work("git rev-parse HEAD");
    let of = |version: &str| place.app(json!({"repository": origin.repository(), "version": version}));
    let default = place.app(json!({"repository": origin.repository()}));
    holds(&mut agent, &default);
    assert_eq!(place.head(), first);
    let second = origin.push("echo two > file; git rm -qr d", "two");
    let applied = agent.converge(&default).0.unwrap();
    assert_eq!(applied.changes[0].from.as_deref(), Some(&first[..10]));
    assert_eq!(applied.changes[0].to.as_deref(), Some(&*format!("main ({})", &second[..10])));
    assert_eq!((place.head(), place.at("cat file; ls")), (second.clone(), "two\nfile\nrun".to_owned()));
    holds(&mut agent, &of("v1"));
    assert_eq!(place.head(), first);
    // A tag that was moved, and a branch of the tag's name.
    origin.work("git tag -f -a -m again v1; git push -qf ../app.git v1");
    holds(&mut agent, &of("v1"));
    assert_eq!(place.head(), second);
    holds(&mut agent, &of(&first));
    assert_eq!(place.head(), first);
    holds(&mut agent, &of(&second.to_uppercase()));
    assert_eq!(place.head(), second);
    // A commit that is there needs nobody to ask.
    host.must(&format!("mv {0} {0}.away", origin.repository()));
    assert_eq!(agent.converge(&of(&second)), (None, Ok(())));
    assert_eq!(agent.converge(&of(&first)).1, Ok(()));
    fails(
        &mut agent,
        &of("main"),
        "asking /var/tmp/cvg-git-versions/app.git for its branches and tags: exit 128",
    );
    host.must(&format!("mv {0}.away {0}", origin.repository()));
    fails(&mut agent, &of("none"), "has no branch or tag `none`");
    fails(&mut agent, &of(&"0123456789".repeat(4)), "fetching from");
    assert_eq!(place.head(), first);
    // Not on any branch, as what a merge request is built from.
    let pull = origin.commit("echo pull > file", "pull");
    origin.work("git push -q ../app.git HEAD:refs/pull/1/head");
    holds(&mut agent, &of("refs/pull/1/head"));
    assert_eq!(place.head(), pull);
    holds(&mut agent, &of("refs/heads/main"));
    assert_eq!(place.head(), second);
}

#[test]
fn a_force_pushed_branch_is_followed_and_a_deleted_one_is_told() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) =
        (Origin::new(&host, "forced"), Place::new(&host, "forced"), host.agent());
    let app = place.app(json!({"repository": origin.repository(), "version": "main"}));
    origin.push("echo two > file", "two");
    holds(&mut agent, &app);
    origin.work("git reset -q --hard HEAD~1");
    let other = origin.push("echo other > file", "other");
    holds(&mut agent, &app);
    assert_eq!((place.head(), place.at("cat file")), (other, "other".to_owned()));
    // Names that cannot both be, one after the other.
    for (push, version) in
        [("main:refs/heads/a", "a"), (":refs/heads/a", "main"), ("main:refs/heads/a/b", "a/b")]
    {
        origin.work(&format!("git push -q ../app.git {push}"));
        holds(&mut agent, &place.app(json!({"repository": origin.repository(), "version": version})));
    }
    origin.work("git push -q ../app.git :refs/heads/a/b");
    fails(
        &mut agent,
        &place.app(json!({"repository": origin.repository(), "version": "a/b"})),
        "has no branch or tag `a/b`",
    );
}

#[test]
fn a_git_checkout_with_local_changes_is_left_alone_and_they_are_listed() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "local"), Place::new(&host, "local"), host.agent());
    let app = place.app(json!({"repository": origin.repository()}));
    let forced = place.app(json!({"repository": origin.repository(), "force": true}));
    holds(&mut agent, &app);
    place.at("echo changed >> file; rm d/deep; echo mine > mine");
    let was = place.look();
    fails(&mut agent, &app, "has local changes: 2 files: d/deep, file");
    assert_eq!(place.look(), was);
    let third = origin.push("echo three > file; echo theirs > mine", "three");
    fails(&mut agent, &app, "has local changes");
    assert_eq!(place.look(), was);
    // Without the changes, the file that git does not know is still in the way.
    place.at("git checkout -q .");
    fails(
        &mut agent,
        &app,
        "files that git does not know are in the way in /srv/cvg-git-local/app: mine; nothing was changed",
    );
    assert_eq!(place.at("cat file mine"), "one\nmine");
    fails(&mut agent, &app, "in the way");
    place.at("echo changed >> file");
    let applied = agent.converge(&forced).0.unwrap();
    let told: Vec<_> = applied.changes.iter().map(|change| change.attribute.as_str()).collect();
    assert_eq!(told, ["version", "files"]);
    assert_eq!((place.head(), place.at("cat file mine")), (third, "three\ntheirs".to_owned()));
    assert_eq!(agent.converge(&app), (None, Ok(())));
}

#[test]
fn a_check_writes_nothing_at_all() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "check"), Place::new(&host, "check"), host.agent());
    let app = place.app(json!({"repository": origin.repository()}));
    holds(&mut agent, &app);
    origin.push("echo two > file", "two");
    // What git would note in its index.
    place.at("touch file d/deep");
    let was = place.look();
    assert!(matches!(agent.check(&app), Ok(Check::Needs(_))));
    assert_eq!(place.look(), was);
    host.must("rm -r /srv/cvg-git-check/app");
    assert!(matches!(agent.check(&app), Ok(Check::Needs(_))));
    assert_eq!(host.must("ls -A /srv/cvg-git-check"), "");
}

#[test]
fn a_git_that_was_killed_is_made_good_by_the_next_run() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) =
        (Origin::new(&host, "killed"), Place::new(&host, "killed"), host.agent());
    origin.push("echo 'slow filter=slow' > .gitattributes; for i in 1 2 3 4 5; do echo $i > a$i; done; echo s > slow; echo z > z", "files");
    let app = place.app(json!({"repository": origin.repository()}));
    holds(&mut agent, &app);
    let wanted =
        origin.push("for i in 1 2 3 4 5; do echo new $i > a$i; done; echo new > slow; echo new > z", "new");
    // It hangs on one of the files, and is killed with its lock held and half of the files written.
    place.at("git config filter.slow.smudge 'sleep 60; cat'; git config filter.slow.clean cat; git config filter.slow.required true");
    agent.timeout = Duration::from_secs(4);
    fails(&mut agent, &app, "did not end within its timeout");
    assert_eq!(place.at("test -e .git/index.lock; cat a1 z"), "new 1\nz");
    place.at("git config --unset filter.slow.smudge; git config --unset filter.slow.required");
    agent.timeout = Duration::from_secs(60);
    let applied = agent.converge(&app);
    assert_eq!(applied.1, Ok(()));
    let told: Vec<_> = applied.0.unwrap().changes.iter().map(|change| change.attribute.clone()).collect();
    assert_eq!(told, ["version", "files"]);
    assert_eq!(
        (place.head(), place.at("cat a1 slow z; ls .git/*.lock || true")),
        (wanted, place.at("echo new 1; echo new; echo new; ls .git/*.lock || true"))
    );
    assert_eq!(agent.converge(&app), (None, Ok(())));
    // Killed while it makes a new one: the same.
    host.must("rm -r /srv/cvg-git-killed/app; git config --system filter.slow.smudge 'sleep 60; cat'");
    agent.timeout = Duration::from_secs(4);
    fails(&mut agent, &app, "did not end within its timeout");
    host.must("git config --system --unset filter.slow.smudge");
    assert_eq!(host.must("ls -A /srv/cvg-git-killed"), "");
    agent.timeout = Duration::from_secs(60);
    holds(&mut agent, &app);
    // A lock that is not ours is no business of ours.
    origin.push("echo more > more", "more");
    place.at("touch .git/index.lock");
    fails(&mut agent, &app, "index.lock': File exists");
}

#[test]
fn a_part_of_the_history_is_all_that_depth_fetches() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "depth"), Place::new(&host, "depth"), host.agent());
    for i in 0..5 {
        origin.push(&format!("echo {i} > file"), &format!("{i}"));
    }
    let count = || place.at("git rev-list --count HEAD");
    let old = origin.work("git rev-parse HEAD~3");
    let shallow = place.app(json!({"repository": origin.repository(), "depth": 1}));
    holds(&mut agent, &shallow);
    assert_eq!(count(), "1");
    origin.push("echo more > file", "more");
    holds(&mut agent, &shallow);
    assert_eq!(count(), "1");
    let older = place.app(json!({"repository": origin.repository(), "depth": 1, "version": old}));
    holds(&mut agent, &older);
    assert_eq!((place.head(), count().as_str()), (old, "1"));
    holds(&mut agent, &place.app(json!({"repository": origin.repository()})));
    assert_eq!(count(), "7");
    holds(&mut agent, &shallow);
    assert_eq!(count(), "7", "what is there is not thrown away");
}

#[test]
fn submodules_are_checked_out_as_the_commit_says() {
    let Some(host) = host() else { return };
    let (origin, place) = (Origin::new(&host, "sub"), Place::new(&host, "sub"));
    let library = Origin::new(&host, "sublib");
    // Since 2.38.1 a submodule may not come from a path, unless one says so.
    let mut agent =
        host.agent_with("GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=protocol.file.allow GIT_CONFIG_VALUE_0=always");
    let add = format!("git -c protocol.file.allow=always submodule -q add {} lib", library.repository());
    origin.push(&add, "with a submodule");
    let app = place.app(json!({"repository": origin.repository()}));
    holds(&mut agent, &app);
    assert_eq!(place.at("cat lib/file"), "one");
    let off = |agent: &mut Agent| match agent.check(&app) {
        Ok(Check::Needs(needed)) => needed
            .changes
            .iter()
            .map(|change| format!("{} {}", change.attribute, change.from.as_deref().unwrap_or_default()))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    place.at("git submodule -q deinit -f lib");
    assert_eq!(off(&mut agent), ["submodules lib (not checked out)"]);
    holds(&mut agent, &app);
    place.at("cd lib; git -c user.name=t -c user.email=t@t commit -q --allow-empty -m own");
    assert_eq!(off(&mut agent), ["submodules lib (at another commit)"]);
    holds(&mut agent, &app);
    place.at("echo changed > lib/file");
    fails(&mut agent, &app, "has local changes: 1 file: lib");
    holds(&mut agent, &place.app(json!({"repository": origin.repository(), "force": true})));
    assert_eq!(place.at("cat lib/file"), "one");
    let newer = library.push("echo two > file", "two");
    origin.push(&format!("cd lib; git fetch -q; git checkout -q {newer}; cd .."), "newer");
    holds(&mut agent, &app);
    assert_eq!(place.at("cat lib/file"), "two");
    // One that is never to be updated is no hindrance.
    origin.push("git config -f .gitmodules submodule.lib.update none", "never");
    host.must("rm -r /srv/cvg-git-sub/app");
    holds(&mut agent, &app);
    assert_eq!(place.at("ls lib"), "");
}

#[test]
fn a_full_disk_leaves_the_checkout_that_is_there() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "full"), Place::new(&host, "full"), host.agent());
    host.must("mount -t tmpfs -o size=2m none /srv/cvg-git-full");
    let app = place.app(json!({"repository": origin.repository()}));
    holds(&mut agent, &app);
    let head = place.head();
    origin.push("head -c 3000000 /dev/urandom > large", "large");
    fails(&mut agent, &app, "fetching from");
    assert_eq!((place.head(), place.at("cat file; git status --porcelain")), (head, "one".to_owned()));
    host.must("rm -r /srv/cvg-git-full/app");
    fails(&mut agent, &app, "fetching from");
    assert_eq!(host.must("ls -A /srv/cvg-git-full"), "");
    // Room for what is fetched, and not for what is checked out: the next run ends it.
    host.must("mount -o remount,size=5m /srv/cvg-git-full");
    fails(&mut agent, &app, "checking out");
    host.must("mount -o remount,size=20m /srv/cvg-git-full");
    holds(&mut agent, &app);
    origin.push("head -c 4000000 /dev/urandom > large", "larger");
    host.must("mount -o remount,size=10m /srv/cvg-git-full");
    let first = agent.converge(&app).1;
    host.must("mount -o remount,size=40m /srv/cvg-git-full");
    holds(&mut agent, &app);
    assert!(first.is_err(), "there was room for all of it");
}

#[test]
fn a_checkout_goes_only_by_force_and_nothing_else_goes() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "gone"), Place::new(&host, "gone"), host.agent());
    let gone = place.app(json!({"state": "absent", "force": true}));
    assert_eq!(agent.converge(&gone), (None, Ok(())));
    holds(&mut agent, &place.app(json!({"repository": origin.repository()})));
    fails(&mut agent, &place.app(json!({"state": "absent"})), "is a checkout, with all that is in it");
    holds(&mut agent, &gone);
    assert_eq!(host.must("ls -A /srv/cvg-git-gone"), "");
    for (line, words) in [
        ("mkdir -p app/x", "a directory that is no checkout"),
        ("touch app", "is a file"),
        ("ln -s /etc app", "is a symlink"),
    ] {
        host.must(&format!("cd /srv/cvg-git-gone; rm -rf app; {line}"));
        fails(&mut agent, &gone, words);
    }
}
