//! Running git: as the right user, without a prompt, and telling what it said.

use super::repository::Repository;
use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};
use crate::system::users::Account;

/// What would lead git to another repository than the one in its directory (git rev-parse
/// --local-env-vars).
const ASTRAY: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG_PARAMETERS",
];

/// git, as one user, with the way into one repository.
pub struct Git<'a> {
    pub system: &'a System,
    pub account: Account,
    pub repository: &'a Repository,
    ssh: Option<String>,
}

impl<'a> Git<'a> {
    /// Err: this user cannot run a program as that one.
    pub fn new(system: &'a System, account: Account, repository: &'a Repository) -> Result<Git<'a>, Failure> {
        let me = rustix::process::geteuid();
        if !me.is_root() && me.as_raw() != account.uid {
            let (me, user) = (system.user_name(me.as_raw()), &account.name);
            return Err(Failure::new(format!("only root can run git as {user}, and this is {me}"))
                .help("give the host `become: sudo`, or leave out `user`"));
        }
        let mut git = Git { system, account, repository, ssh: None };
        if repository.is_ssh {
            // What the user has configured, but without a question that nobody would answer.
            let configured = git.run(None, &["config", "--get", "core.sshCommand"])?;
            let command = configured.stdout.trim();
            let command = if configured.succeeded() && !command.is_empty() { command } else { "ssh" };
            git.ssh = Some(format!("{command} -o BatchMode=yes"));
        }
        Ok(git)
    }

    /// In the checkout at `path`, or nowhere.
    pub fn run(&self, path: Option<&AbsPath>, arguments: &[&str]) -> Result<Output, Failure> {
        let mut argv: Vec<String> = vec!["git".to_owned()];
        let located = path.map(|path| self.system.locate(path).display().to_string());
        if let Some(located) = &located {
            argv.extend(["-C".to_owned(), located.clone()]);
        }
        if let Some(login) = &self.repository.login {
            // The helper is asked for this server alone, and finds what to say in its environment.
            let key = format!("credential.{}.helper", login.at);
            if login.password.is_some() {
                argv.extend(["-c".to_owned(), format!("{key}=")]);
            }
            argv.extend(["-c".to_owned(), format!("{key}={HELPER}")]);
        }
        argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let mut invocation = Invocation::new(argv)
            .user(self.account.clone())
            .directory("/")
            .env("GIT_TERMINAL_PROMPT", "0")
            // Empty: nobody is asked by a window either.
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS", "")
            // What only looks writes nothing.
            .env("GIT_OPTIONAL_LOCKS", "0");
        for name in ASTRAY {
            invocation = invocation.unset(name);
        }
        if let Some(located) = located.as_deref().and_then(|path| path.rsplit_once('/')) {
            // A checkout that is broken must not be taken for a part of one above it.
            let above = if located.0.is_empty() { "/" } else { located.0 };
            invocation = invocation.env("GIT_CEILING_DIRECTORIES", above);
        }
        if let Some(ssh) = &self.ssh {
            invocation = invocation.env("GIT_SSH_COMMAND", ssh);
        }
        if let Some(login) = &self.repository.login {
            invocation = invocation.env("CONVERGE_GIT_USER", &login.user);
            if let Some(password) = &login.password {
                invocation = invocation.env("CONVERGE_GIT_PASSWORD", password);
            }
        }
        self.system.run(&invocation)
    }

    /// What it prints; where it fails, `tried` and what it said.
    pub fn must(&self, path: &AbsPath, tried: &str, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.run(Some(path), arguments)?;
        if output.succeeded() { Ok(output.stdout) } else { Err(self.told(&output, tried)) }
    }

    /// One line that it prints, if it has an answer.
    pub fn ask(&self, path: &AbsPath, arguments: &[&str]) -> Result<Option<String>, Failure> {
        let output = self.run(Some(path), arguments)?;
        let line = output.stdout.trim().to_owned();
        Ok((output.succeeded() && !line.is_empty()).then_some(line))
    }

    /// The failure of a command, with the way out where it is a usual one.
    pub fn told(&self, output: &Output, tried: &str) -> Failure {
        let said = complaint(&output.stderr);
        let colon = if said.is_empty() { "" } else { ": " };
        let failure = Failure::new(format!("{tried}: {}{colon}{said}", output.ending()))
            .detail("stderr", output.stderr.trim_end());
        match self.way_out(&output.stderr) {
            Some(help) => failure.help(help),
            None => failure,
        }
    }

    fn way_out(&self, said: &str) -> Option<String> {
        let user = &self.account.name;
        let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
        Some(if says(&["Host key verification failed"]) {
            format!(
                "{user} does not know the server's key: put it into {}/.ssh/known_hosts (`ssh-keyscan HOST` prints it; compare it)",
                self.account.home
            )
        } else if says(&["Permission denied (publickey", "Too many authentication failures"]) {
            format!(
                "the server takes no key of {user}: put one into {}/.ssh, and tell the server",
                self.account.home
            )
        } else if says(&[
            "could not read Username",
            "could not read Password",
            "Authentication failed",
            "terminal prompts disabled",
        ]) {
            "it wants a login, or there is no such repository: a user and token can stand in the URL, as in https://user:{{ secrets.token }}@host/app.git".to_owned()
        } else if says(&["dubious ownership"]) {
            let path = self.repository.local.as_ref().map_or("PATH", AbsPath::as_str);
            format!(
                "git trusts no repository of another user: `git config --system --add safe.directory {path}` says that this one may be trusted"
            )
        } else if says(&[
            "does not appear to be a git repository",
            "Repository not found",
            "not found",
            "does not exist",
        ]) {
            "correct `repository`, or give it a way in: many servers say so too where one may not look"
                .to_owned()
        } else if says(&["insufficient permission", "Permission denied", "cannot open '.git/FETCH_HEAD'"]) {
            format!(
                "something in the checkout does not belong to {user}: `find .git ! -user {user}` shows it; somebody ran git as another"
            )
        } else if says(&["No space left"]) {
            "the disk is full: `df -h` and `df -i` show it".to_owned()
        } else if says(&["Unable to create", ".lock': File exists"]) {
            "another git is at work there, or one was killed: if none runs, remove the lock that it names"
                .to_owned()
        } else if says(&[
            "unable to access",
            "Could not resolve",
            "Connection refused",
            "Connection timed out",
            "Could not read from remote",
        ]) {
            "the repository is asked for what its branches and tags are now: without a network, a commit as `version` needs no answer once it is there".to_owned()
        } else {
            return None;
        })
    }
}

/// The line that says what is wrong: git says what it is doing too, and where ssh has failed, no
/// more than that it cannot read.
fn complaint(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let of_git = |line: &str| {
        let rest = line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: "))?;
        Some(rest.to_owned())
    };
    let Some(at) = lines.iter().position(|line| of_git(line).is_some()) else {
        return lines.last().copied().unwrap_or_default().to_owned();
    };
    match at.checked_sub(1) {
        Some(before) if lines[at].contains("Could not read from remote repository") => {
            lines[before].trim_end_matches('.').to_owned()
        }
        _ => of_git(lines[at]).unwrap_or_default(),
    }
}

/// A credential helper (gitcredentials(7)): git runs it by a shell.
const HELPER: &str = "!f() { test \"$1\" = get || exit 0; printf 'username=%s\\n' \"$CONVERGE_GIT_USER\"; \
     test -z \"${CONVERGE_GIT_PASSWORD+x}\" || printf 'password=%s\\n' \"$CONVERGE_GIT_PASSWORD\"; }; f";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found_among_what_git_says() {
        for (said, complaint_of_it) in [
            ("Cloning...\nfatal: repository 'x' not found\n", "repository 'x' not found"),
            (
                "Host key verification failed.\r\nfatal: Could not read from remote repository.\n\nPlease make sure\n",
                "Host key verification failed",
            ),
            ("fatal: Could not read from remote repository.\n", "Could not read from remote repository."),
            ("hint: x\nerror: pathspec\nmore\n", "pathspec"),
            ("something else\n\n", "something else"),
            ("", ""),
        ] {
            assert_eq!(complaint(said), complaint_of_it);
        }
    }
}
