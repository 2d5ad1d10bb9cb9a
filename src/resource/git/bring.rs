//! Making a checkout, and bringing it to another commit.

use super::look::{Wanted, is_commit};
use super::run::Git;
use crate::attribute::AbsPath;
use crate::resource::Failure;

/// The commit that converge has checked out last: git keeps what a reference leads to.
const OURS: &str = "refs/converge/checkout";
/// What is neither a branch nor a tag.
const FETCHED: &str = "refs/converge/fetched";

/// What is to be done in a checkout.
pub struct Bringing<'a> {
    pub git: &'a Git<'a>,
    /// Where it lies.
    pub at: &'a AbsPath,
    pub depth: Option<u32>,
    /// It has no more than a part of the history.
    pub is_shallow: bool,
    pub is_new: bool,
    /// What is in the way goes.
    pub force: bool,
}

/// What a checkout refused, before it touched anything.
pub struct Refused(pub Vec<String>);

impl Bringing<'_> {
    fn must(&self, tried: &str, arguments: &[&str]) -> Result<String, Failure> {
        self.git.must(self.at, tried, arguments)
    }

    /// An empty repository that knows where it comes from.
    pub fn begin(&self) -> Result<(), Failure> {
        self.must("making an empty repository", &["init", "--quiet"])?;
        self.name_origin()
    }

    pub fn name_origin(&self) -> Result<(), Failure> {
        let tried = "noting the repository in the checkout's configuration";
        self.must(tried, &["config", "--replace-all", "remote.origin.url", &self.git.repository.address])?;
        let known = self.git.ask(self.at, &["config", "--get-all", "remote.origin.fetch"])?;
        if known.is_none() {
            self.must(tried, &["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"])?;
        }
        Ok(())
    }

    /// Fetches what it takes for the commit that is wanted; that commit.
    pub fn fetch(&self, wanted: &Wanted) -> Result<String, Failure> {
        let Some(reference) = &wanted.reference else { return self.fetch_commit(&wanted.commit) };
        let (from, to) = match reference {
            branch if branch.starts_with("refs/heads/") => {
                (branch.clone(), branch.replacen("refs/heads/", "refs/remotes/origin/", 1))
            }
            tag if tag.starts_with("refs/tags/") => (tag.clone(), tag.clone()),
            other => (other.clone(), FETCHED.to_owned()),
        };
        let refspec = format!("+{from}:{to}");
        match self.part() {
            Some(depth) => self.fetch_these(&[&depth, "--no-tags"], &[&refspec])?,
            None => self.fetch_all(&[&refspec])?,
        }
        let found =
            self.git.ask(self.at, &["rev-parse", "--verify", "--quiet", &format!("{to}^{{commit}}")])?;
        found.ok_or_else(|| {
            Failure::new(format!("{from} of {} is no commit", self.git.repository.address))
                .help("name a branch, a tag of a commit, or a commit as `version`")
        })
    }

    fn fetch_commit(&self, commit: &str) -> Result<String, Failure> {
        let whole = format!("{commit}^{{commit}}");
        let is_there =
            || Ok::<_, Failure>(self.git.run(Some(self.at), &["cat-file", "-e", &whole])?.succeeded());
        let must_deepen = self.is_shallow && self.depth.is_none();
        if !must_deepen && is_there()? {
            return Ok(commit.to_owned());
        }
        // Not every server gives what no branch or tag is on.
        if let Some(depth) = self.part() {
            let refspec = format!("+{commit}:{FETCHED}");
            let arguments =
                [
                    &["fetch", "--quiet", &depth, "--no-tags", "--", &self.git.repository.address, &refspec]
                        [..],
                ];
            if self.git.run(Some(self.at), arguments[0])?.succeeded() && is_there()? {
                return Ok(commit.to_owned());
            }
        }
        self.fetch_all(&[])?;
        if !is_there()? {
            self.fetch_these(&[], &[&format!("+{commit}:{FETCHED}")]).map_err(|failure| {
                let help =
                    "is it pushed? A commit is looked for on the branches and tags, and then by its id";
                Failure { help: Some(help.to_owned()), ..failure }
            })?;
        }
        Ok(commit.to_owned())
    }

    /// `--depth` where only a part of the history is wanted, and no more is there.
    fn part(&self) -> Option<String> {
        self.depth.filter(|_| self.is_new || self.is_shallow).map(|depth| format!("--depth={depth}"))
    }

    /// All branches and tags, as a clone has them.
    fn fetch_all(&self, more: &[&str]) -> Result<(), Failure> {
        let mut options = vec!["--tags", "--force", "--prune"];
        if self.is_shallow {
            options.push("--unshallow");
        }
        let refspecs = [&["+refs/heads/*:refs/remotes/origin/*"][..], more].concat();
        self.fetch_these(&options, &refspecs)
    }

    fn fetch_these(&self, options: &[&str], refspecs: &[&str]) -> Result<(), Failure> {
        // Tidying up goes on in the background otherwise, and a killed one leaves locks.
        let quiet = [
            "-c",
            "gc.autoDetach=false",
            "-c",
            "maintenance.autoDetach=false",
            "fetch",
            "--quiet",
            "--no-recurse-submodules",
        ];
        let address = [&*self.git.repository.address];
        let arguments = [&quiet[..], options, &["--"], &address, refspecs].concat();
        self.must(&format!("fetching from {}", address[0]), &arguments).map(drop)
    }

    /// Checks out the commit, and its submodules. The HEAD is detached: no branch is moved.
    pub fn check_out(&self, commit: &str) -> Result<Result<(), Refused>, Failure> {
        debug_assert!(is_commit(commit));
        let force: &[&str] = if self.force { &["--force"] } else { &[] };
        let arguments =
            [&["checkout", "--quiet", "--no-recurse-submodules"][..], force, &["--detach", commit, "--"]]
                .concat();
        let output = self.git.run(Some(self.at), &arguments)?;
        if !output.succeeded() {
            if output.stderr.contains("would be overwritten") {
                let names = output.stderr.lines().filter_map(|line| line.strip_prefix('\t'));
                return Ok(Err(Refused(names.map(str::to_owned).collect())));
            }
            return Err(self.git.told(&output, &format!("checking out {commit}")));
        }
        self.must("noting what is checked out", &["update-ref", OURS, commit])?;
        Ok(Ok(()))
    }

    pub fn submodules(&self) -> Result<(), Failure> {
        self.must(
            "reading where the submodules come from",
            &["submodule", "--quiet", "sync", "--recursive"],
        )?;
        let depth = self.part();
        let depth: Vec<&str> = depth.iter().map(String::as_str).collect();
        let force: &[&str] = if self.force { &["--force"] } else { &[] };
        let arguments =
            [&["submodule", "--quiet", "update", "--init", "--recursive"][..], &depth, force].concat();
        self.must("checking out the submodules", &arguments).map(drop)
    }
}
