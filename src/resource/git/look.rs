//! What a checkout is now, and what its repository has: without changing or fetching anything.

use super::repository::comparable;
use super::run::Git;
use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::system::files::Seen;

/// A checkout as it is.
#[derive(Debug, PartialEq)]
pub struct Checkout {
    /// None: nothing has been committed or fetched yet.
    pub head: Option<String>,
    /// As it may be compared; None: it has no `origin`.
    pub origin: Option<String>,
    pub is_shallow: bool,
    /// Files that are not as they were committed.
    pub changes: Vec<String>,
    /// Submodules that are not checked out as the commit says.
    pub submodules: Vec<String>,
}

/// What the repository calls by the version's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub commit: String,
    /// Its full name there, as in `refs/heads/main`; None where it was named by its commit.
    pub reference: Option<String>,
}

impl Wanted {
    /// `main (3f2a91c)`.
    pub fn told(&self) -> String {
        let brief = brief(&self.commit);
        match &self.reference {
            None => brief.to_owned(),
            Some(reference) => {
                let short =
                    ["refs/heads/", "refs/tags/"].iter().find_map(|start| reference.strip_prefix(start));
                format!("{} ({brief})", short.unwrap_or(reference))
            }
        }
    }
}

/// The first digits of a commit.
pub fn brief(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

pub fn is_commit(version: &str) -> bool {
    matches!(version.len(), 40 | 64) && version.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Asks the repository; a commit needs no question.
pub fn wanted(git: &Git<'_>, version: Option<&str>) -> Result<Wanted, Failure> {
    if let Some(commit) = version.filter(|version| is_commit(version)) {
        return Ok(Wanted { commit: commit.to_ascii_lowercase(), reference: None });
    }
    let address = git.repository.address.as_str();
    let mut names: Vec<String> = vec!["HEAD".to_owned()];
    match version {
        None => {}
        Some(full) if full.starts_with("refs/") => names = vec![full.to_owned(), format!("{full}^{{}}")],
        Some(short) => {
            names = ["refs/heads/", "refs/tags/"].map(|start| format!("{start}{short}")).to_vec();
            names.push(format!("refs/tags/{short}^{{}}"));
        }
    }
    let arguments = ["ls-remote", "--symref", "--", address].map(str::to_owned);
    let arguments: Vec<String> = arguments.into_iter().chain(names.iter().cloned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = git.run(None, &arguments)?;
    if !output.succeeded() {
        return Err(git.told(&output, &format!("asking {address} for its branches and tags")));
    }
    choose(&output.stdout, version, &names).ok_or_else(|| match version {
        None => Failure::new(format!("{address} has no commit yet"))
            .help("push something to it first, or name another branch with `version`"),
        Some(version) => {
            let failure = Failure::new(format!("{address} has no branch or tag `{version}`"));
            let looks_like_one = version.len() >= 7 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
            failure.help(match looks_like_one {
                true => {
                    "if it is a commit, write all 40 digits of it: only then it is one for ever".to_owned()
                }
                false => format!("`git ls-remote {address}` shows those that there are"),
            })
        }
    })
}

/// From the lines of ls-remote. A branch goes before a tag of the same name, a tag stands for the
/// commit that it is on.
fn choose(lines: &str, version: Option<&str>, names: &[String]) -> Option<Wanted> {
    let lines: Vec<(&str, &str)> = lines.lines().filter_map(|line| line.split_once('\t')).collect();
    let commit = |name: &str| {
        let found = lines.iter().find(|(id, found)| *found == name && is_commit(id));
        found.map(|(id, _)| (*id).to_owned())
    };
    if version.is_none() {
        let branch =
            lines.iter().find(|(_, name)| *name == "HEAD").and_then(|(id, _)| id.strip_prefix("ref: "));
        return Some(Wanted {
            commit: commit("HEAD")?,
            reference: Some(branch.unwrap_or("HEAD").to_owned()),
        });
    }
    names.iter().filter(|name| !name.ends_with("^{}")).find_map(|name| {
        let commit = commit(&format!("{name}^{{}}")).or_else(|| commit(name))?;
        Some(Wanted { commit, reference: Some(name.clone()) })
    })
}

/// None: there is no `.git` in it.
pub fn checkout(git: &Git<'_>, path: &AbsPath) -> Result<Option<Checkout>, Failure> {
    if !matches!(git.system.see(&path.join(".git"))?, Seen::There(_)) {
        return Ok(None);
    }
    let output = git.run(Some(path), &["rev-parse", "--is-shallow-repository"])?;
    if !output.succeeded() {
        let failure = git.told(&output, &format!("reading the checkout {path}"));
        let help = "move it away: then it is checked out anew".to_owned();
        return Err(Failure { help: failure.help.clone().or(Some(help)), ..failure });
    }
    let is_shallow = output.stdout.trim() == "true";
    let head = git.ask(path, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?;
    let origin = git.ask(path, &["config", "--get", "remote.origin.url"])?;
    let arguments = [
        "status",
        "--porcelain=v2",
        "-z",
        "--untracked-files=no",
        "--ignore-submodules=none",
        "--no-renames",
    ];
    let status = git.must(path, &format!("looking for changes in {path}"), &arguments)?;
    let submodules = if head.is_some() { submodules(git, path)? } else { Vec::new() };
    Ok(Some(Checkout {
        head,
        origin: origin.map(|origin| comparable(&origin)),
        is_shallow,
        changes: changes(&status),
        submodules,
    }))
}

/// The paths in the porcelain format 2 of git-status(1), with NULs.
fn changes(status: &str) -> Vec<String> {
    let mut changes = Vec::new();
    for line in status.split('\0') {
        let mut words = line.splitn(9, ' ');
        let Some(kind @ ("1" | "u")) = words.next() else { continue };
        let (state, submodule) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rest = words.last().unwrap_or_default();
        // An entry that is not merged has two fields more.
        let path = if kind == "u" { rest.splitn(3, ' ').last().unwrap_or_default() } else { rest };
        let is_at_another_commit = submodule.starts_with("SC.") && state.starts_with('.');
        let has_only_untracked = submodule.starts_with("S..");
        if submodule.starts_with('S')
            && kind == "1"
            && (is_at_another_commit || has_only_untracked && state == ".M")
        {
            continue;
        }
        changes.push(path.to_owned());
    }
    changes
}

/// Those that are not as the commit says, with a word on each.
fn submodules(git: &Git<'_>, path: &AbsPath) -> Result<Vec<String>, Failure> {
    if !matches!(git.system.see(&path.join(".gitmodules"))?, Seen::There(_)) {
        return Ok(Vec::new());
    }
    let tried = format!("looking at the submodules of {path}");
    let listed = git.must(path, &tried, &["submodule", "status", "--recursive"])?;
    // git leaves these alone too.
    let never = git.run(
        Some(path),
        &["config", "-f", ".gitmodules", "--get-regexp", r"^submodule\..*\.(path|update)$"],
    )?;
    let never = not_updated(&never.stdout);
    Ok(listed.lines().filter_map(|line| off(line, &never)).collect())
}

/// Submodules with `update = none`.
fn not_updated(config: &str) -> Vec<String> {
    let mut never = Vec::new();
    for line in config.lines() {
        if let Some((key, "none")) = line.split_once(' ')
            && let Some(name) = key.strip_suffix(".update")
        {
            let path = config.lines().find_map(|line| line.strip_prefix(&format!("{name}.path ")));
            never.extend(path.map(str::to_owned));
        }
    }
    never
}

/// ` SHA path (describe)`, `-SHA path`, `+SHA path (describe)`, `USHA path`.
fn off(line: &str, never: &[String]) -> Option<String> {
    let what = match line.as_bytes().first()? {
        b'-' => "not checked out",
        b'+' => "at another commit",
        b'U' => "not merged",
        _ => return None,
    };
    let (_, path) = line.split_once(' ')?;
    let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
    (!never.iter().any(|name| name == path)).then(|| format!("{path} ({what})"))
}

/// Commits that only this checkout has, one a line.
pub fn own_commits(git: &Git<'_>, path: &AbsPath) -> Result<Vec<String>, Failure> {
    let arguments = [
        "log",
        "--oneline",
        "--max-count=100",
        "HEAD",
        "--not",
        "--remotes",
        "--tags",
        "--glob=refs/converge/*",
    ];
    let log = git.must(path, &format!("looking for commits of {path} that are nowhere else"), &arguments)?;
    Ok(log.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    fn chosen(lines: &str, version: Option<&str>) -> Option<String> {
        let names = match version {
            None => vec!["HEAD".to_owned()],
            Some(full) if full.starts_with("refs/") => vec![full.to_owned(), format!("{full}^{{}}")],
            Some(v) => {
                vec![format!("refs/heads/{v}"), format!("refs/tags/{v}"), format!("refs/tags/{v}^{{}}")]
            }
        };
        choose(lines, version, &names).map(|wanted| wanted.told())
    }

    #[test]
    fn a_version_is_a_branch_a_tags_commit_or_the_default_branch() {
        let head = format!("ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n");
        assert_eq!(chosen(&head, None).unwrap(), "trunk (aaaaaaaaaa)");
        assert_eq!(chosen(&format!("{A}\tHEAD\n"), None).unwrap(), "HEAD (aaaaaaaaaa)");
        let both = format!("{A}\trefs/heads/v1\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n");
        assert_eq!(chosen(&both, Some("v1")).unwrap(), "v1 (aaaaaaaaaa)");
        let annotated = format!("{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n");
        assert_eq!(chosen(&annotated, Some("v1")).unwrap(), "v1 (cccccccccc)");
        assert_eq!(chosen(&both, Some("refs/tags/v1")).unwrap(), "v1 (cccccccccc)");
        let pull = format!("{A}\trefs/pull/1/head\n");
        assert_eq!(chosen(&pull, Some("refs/pull/1/head")).unwrap(), "refs/pull/1/head (aaaaaaaaaa)");
        for (lines, version) in [("", None), ("", Some("v1")), (&both, Some("v2"))] {
            assert_eq!(chosen(lines, version), None);
        }
        assert!(is_commit(A) && !is_commit("aaaaaaa") && !is_commit(&A.replace('a', "g")));
    }

    #[test]
    fn changed_files_are_listed_and_submodules_told_apart() {
        let status = format!(
            "1 .M N... 100644 100644 100644 {A} {A} a file.txt\0\
             1 A. N... 000000 100644 100644 {A} {A} new\0\
             1 .D N... 100644 100644 000000 {A} {A} gone\0\
             1 .M SC.. 160000 160000 160000 {A} {A} at another commit\0\
             1 .M S..U 160000 160000 160000 {A} {A} untracked in it\0\
             1 .M S.M. 160000 160000 160000 {A} {A} changed in it\0\
             1 .M SCM. 160000 160000 160000 {A} {A} both\0\
             1 M. S... 160000 160000 160000 {A} {A} staged\0\
             u UU N... 100644 100644 100644 100644 {A} {A} {A} not merged\0\
             ? untracked\0"
        );
        let wanted = ["a file.txt", "new", "gone", "changed in it", "both", "staged", "not merged"];
        assert_eq!(changes(&status), wanted);
        assert_eq!(changes(""), [""; 0]);
    }

    #[test]
    fn submodules_that_are_off_are_named() {
        let config = "submodule.lib.path libs/lib\nsubmodule.big.path big\nsubmodule.big.update none\n";
        let never = not_updated(config);
        assert_eq!(never, ["big"]);
        for (line, told) in [
            (format!(" {A} libs/lib (v1)"), None),
            (format!("-{A} libs/lib"), Some("libs/lib (not checked out)")),
            (format!("-{A} big"), None),
            (format!("+{A} libs/a b (heads/main)"), Some("libs/a b (at another commit)")),
            (format!("U{A} x"), Some("x (not merged)")),
            (String::new(), None),
        ] {
            assert_eq!(off(&line, &never).as_deref(), told, "{line}");
        }
    }
}
