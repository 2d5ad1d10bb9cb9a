//! Where a repository is, and how to get in.

use crate::attribute::AbsPath;
use crate::resource::fetch::{unescape, without_user};

/// A repository as git is told of it.
#[derive(Clone, PartialEq)]
pub struct Repository {
    /// Without user and password where it is a URL of the web: what git is told is on its command
    /// line, and in the checkout's configuration.
    pub address: String,
    pub login: Option<Login>,
    /// It lies on the host itself.
    pub local: Option<AbsPath>,
    pub is_ssh: bool,
}

/// What stands before the `@` of a URL.
#[derive(Clone, PartialEq)]
pub struct Login {
    /// The URL that it is for: no other server is told of it.
    pub at: String,
    pub user: String,
    pub password: Option<String>,
}

/// Nothing of a login is ever shown.
impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address)
    }
}

const HELP: &str =
    "write it as in https://host/app.git, ssh://git@host/app.git, git@host:app.git or /srv/git/app.git";

/// What a complaint is made of: what is wrong, and the way out.
type Wrong = (String, String);

fn wrong(what: &str) -> Wrong {
    (format!("`repository` {what}"), HELP.to_owned())
}

impl Repository {
    pub fn parse(text: &str) -> Result<Repository, Wrong> {
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong("is empty"));
        }
        if text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(wrong("is no repository"));
        }
        let plain = Repository { address: text.to_owned(), login: None, local: None, is_ssh: false };
        if text.starts_with('/') {
            let local = text.parse().map_err(|_| wrong("is no path without `..`"))?;
            return Ok(Repository { local: Some(local), ..plain });
        }
        let Some((scheme, rest)) = text.split_once("://") else { return scp_like(text, plain) };
        match scheme {
            "file" => {
                let path = unescape(rest).and_then(|path| path.parse().ok());
                let local = path.ok_or_else(|| wrong("names no absolute path on the host"))?;
                Ok(Repository { local: Some(local), ..plain })
            }
            "https" | "http" => web(text, plain),
            "ssh" => {
                let (_, user) = without_user(text);
                if user.is_some_and(|user| user.contains(':')) {
                    let help = "give the user a key that the server knows, and leave the password out";
                    return Err(("ssh takes no password from a URL".to_owned(), help.to_owned()));
                }
                must_name_a_host(rest)?;
                Ok(Repository { is_ssh: true, ..plain })
            }
            "git" => must_name_a_host(rest).map(|()| plain),
            other => Err(wrong(&format!("is of a kind that is not known here (`{other}`)"))),
        }
    }
}

fn must_name_a_host(rest: &str) -> Result<(), Wrong> {
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    // To ssh, a name that begins so would be an option.
    if host.is_empty() || host.starts_with([':', '-']) { Err(wrong("names no host")) } else { Ok(()) }
}

/// `git@host:app.git`.
fn scp_like(text: &str, plain: Repository) -> Result<Repository, Wrong> {
    let Some((host, path)) = text.split_once(':').filter(|(host, _)| !host.contains('/')) else {
        return Err(wrong("is no URL, and no absolute path"));
    };
    if path.starts_with(':') {
        // `ext::…` runs any command.
        return Err(wrong(&format!("is of a kind that is not known here (`{host}::`)")));
    }
    must_name_a_host(host)?;
    if path.is_empty() {
        return Err(wrong("names no repository on its host"));
    }
    Ok(Repository { is_ssh: true, ..plain })
}

fn web(text: &str, plain: Repository) -> Result<Repository, Wrong> {
    let (address, user) = without_user(text);
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    must_name_a_host(rest)?;
    let login = match user {
        None => None,
        Some(user) => {
            let (name, password) = match user.split_once(':') {
                Some((name, password)) => (name, Some(password)),
                None => (user, None),
            };
            let read = |text: &str| unescape(text).filter(|text| !text.contains(['\n', '\0']));
            let broken =
                || wrong("holds a user or password that cannot be read: `%` stands before two digits");
            Some(Login {
                at: format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
                user: read(name).ok_or_else(broken)?,
                password: password.map(|password| read(password).ok_or_else(broken)).transpose()?,
            })
        }
    };
    Ok(Repository { address, login, ..plain })
}

/// A remote's address as it is compared and shown: whoever logs in there, it is the same one.
pub fn comparable(address: &str) -> String {
    match address.starts_with("http") {
        true => without_user(address).0,
        false => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_read_and_passwords_kept_out_of_their_addresses() {
        for (text, address, is_ssh) in [
            ("https://host/app.git", "https://host/app.git", false),
            ("https://me:pa%40ss@host:8443/app.git", "https://host:8443/app.git", false),
            ("https://token@host/app.git", "https://host/app.git", false),
            ("ssh://git@host:2222/app.git", "ssh://git@host:2222/app.git", true),
            ("git@host:team/app.git", "git@host:team/app.git", true),
            ("host:app", "host:app", true),
            ("git://host/app", "git://host/app", false),
            ("/srv/git/app.git", "/srv/git/app.git", false),
            ("file:///srv/git/app.git", "file:///srv/git/app.git", false),
        ] {
            let repository = Repository::parse(text).unwrap();
            assert_eq!((repository.address.as_str(), repository.is_ssh), (address, is_ssh), "{text}");
            assert_eq!(repository.local.is_some(), address.contains("/srv/"), "{text}");
        }
        let login = Repository::parse("https://me:pa%40ss@host:8443/app.git").unwrap().login.unwrap();
        assert_eq!((&*login.at, &*login.user), ("https://host:8443", "me"));
        assert_eq!(login.password.as_deref(), Some("pa@ss"));
        assert_eq!(comparable("https://me:x@host/a"), comparable("https://host/a"));
        assert_eq!(comparable("git@host:a"), "git@host:a");
    }

    #[test]
    fn what_is_no_repository_says_so_and_shows_no_password() {
        for text in [
            "",
            "app.git",
            "../app.git",
            "~/app.git",
            "/srv/../app.git",
            "-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "--upload-pack=x",
            "ext::sh -c x",
            "ssh://me:secret@host/app",
            "https:///app",
            "https://me:sec%ret@host/app",
            "svn://host/app",
            "host:",
            "file://host/app",
            "https://a\nb/c",
        ] {
            let (what, help) = Repository::parse(text).expect_err(text);
            assert!(!what.contains("sec") && !help.is_empty(), "{text}: {what}");
        }
    }
}
