//! Letting the user in: with the keys of the SSH agent and with identity files, in the order
//! `ssh` would try them. Passwords are not asked for.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ssh2::PublicKey;

use super::Unreachable;
use super::known_hosts::{fingerprint, key_type};
use super::settings::{KeyAgent, Settings};
use super::ssh::{Connection, is_broken};
use crate::failure::Failure;

/// What was tried, line by line, for the one who finds that nothing worked.
#[derive(Default)]
struct Attempts {
    lines: Vec<String>,
    /// Keys that sshd has seen.
    shown: usize,
    encrypted: Vec<PathBuf>,
}

pub(super) fn authenticate(connection: &Connection, settings: &Settings) -> Result<(), Unreachable> {
    let mut attempts = Attempts::default();
    let files: Vec<IdentityFile> =
        settings.identity_files.iter().map(|path| IdentityFile::look_at(path)).collect();
    let agent = Agent::connect(connection, settings, &mut attempts);
    let in_agent = |file: &IdentityFile| {
        let keys = agent.as_ref().map(|agent| agent.keys.as_slice()).unwrap_or_default();
        file.public.as_ref().and_then(|public| keys.iter().find(|key| key.blob() == public))
    };

    // The spec's own key first, then what ssh_config names, then whatever the agent has, then
    // the files that the agent does not have.
    let is_own = |file: &&IdentityFile| settings.identity_file.as_ref() == Some(&file.path);
    for file in files.iter().filter(is_own).chain(files.iter().filter(|file| !is_own(file))) {
        if let (Some(agent), Some(key)) = (&agent, in_agent(file)) {
            if agent.offer(connection, settings, key, &mut attempts)? {
                return Ok(());
            }
        } else if is_own(&file) && file.offer(connection, settings, &mut attempts)? {
            return Ok(());
        }
    }
    if let Some(agent) = agent.as_ref().filter(|_| !settings.identities_only) {
        let named = |key: &&PublicKey| files.iter().any(|file| file.public.as_deref() == Some(key.blob()));
        for key in agent.keys.iter().filter(|key| !named(key)) {
            if agent.offer(connection, settings, key, &mut attempts)? {
                return Ok(());
            }
        }
    }
    for file in files.iter().filter(|file| !is_own(file) && in_agent(file).is_none()) {
        if file.offer(connection, settings, &mut attempts)? {
            return Ok(());
        }
    }
    Err(attempts.refused(connection, settings, &files))
}

/// The keys of a running ssh-agent.
struct Agent {
    agent: ssh2::Agent,
    keys: Vec<PublicKey>,
}

impl Agent {
    fn connect(connection: &Connection, settings: &Settings, attempts: &mut Attempts) -> Option<Agent> {
        let mut agent = connection.session.agent().ok()?;
        let place = match &settings.agent {
            KeyAgent::None => {
                attempts.lines.push("no ssh-agent: IdentityAgent is none".into());
                return None;
            }
            KeyAgent::Environment => match std::env::var("SSH_AUTH_SOCK") {
                Ok(place) if !place.is_empty() => place,
                _ => {
                    attempts.lines.push("no ssh-agent: SSH_AUTH_SOCK is not set".into());
                    return None;
                }
            },
            KeyAgent::Socket(path) => path.display().to_string(),
        };
        let keys = agent
            .set_identity_path(Path::new(&place))
            .and_then(|()| agent.connect())
            .and_then(|()| agent.list_identities())
            .and_then(|()| agent.identities());
        match keys {
            Ok(keys) => {
                attempts.lines.push(format!("the ssh-agent at {place} has {} keys", keys.len()));
                Some(Agent { agent, keys })
            }
            Err(error) => {
                attempts.lines.push(format!("the ssh-agent at {place} does not answer: {}", error.message()));
                None
            }
        }
    }

    fn offer(
        &self,
        connection: &Connection,
        settings: &Settings,
        key: &PublicKey,
        attempts: &mut Attempts,
    ) -> Result<bool, Unreachable> {
        let outcome = connection.drive(|| self.agent.userauth(&settings.user, key));
        let what = format!(
            "{} {} from the ssh-agent ({})",
            key_type(key.blob()),
            fingerprint(key.blob()),
            key.comment()
        );
        attempts.note(connection, what, outcome)
    }
}

/// A private key on disk.
struct IdentityFile {
    path: PathBuf,
    is_there: bool,
    unreadable: Option<String>,
    encrypted: bool,
    /// From the file beside it, or from its own head.
    public: Option<Vec<u8>>,
}

impl IdentityFile {
    fn look_at(path: &Path) -> IdentityFile {
        let read = std::fs::read_to_string(path);
        let (is_there, unreadable) = match &read {
            Ok(_) => (true, None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (false, None),
            Err(error) => (true, Some(crate::failure::io_words(error))),
        };
        let text = read.unwrap_or_default();
        let (own, encrypted) = openssh_head(&text).unwrap_or((None, text.contains("ENCRYPTED")));
        let beside = std::fs::read_to_string(format!("{}.pub", path.display())).ok();
        let beside = beside.and_then(|text| STANDARD.decode(text.split_whitespace().nth(1)?).ok());
        IdentityFile { path: path.to_owned(), is_there, unreadable, encrypted, public: own.or(beside) }
    }

    fn offer(
        &self,
        connection: &Connection,
        settings: &Settings,
        attempts: &mut Attempts,
    ) -> Result<bool, Unreachable> {
        let shown = self.path.display();
        if !self.is_there {
            if settings.identity_file.as_ref() == Some(&self.path) {
                attempts.lines.push(format!("{shown} does not exist"));
            }
            return Ok(false);
        }
        if let Some(why) = &self.unreadable {
            attempts.lines.push(format!("{shown} cannot be read: {why}"));
            return Ok(false);
        }
        if self.encrypted {
            attempts.lines.push(format!("{shown} is encrypted, and no ssh-agent has it"));
            attempts.encrypted.push(self.path.clone());
            return Ok(false);
        }
        let outcome = connection
            .drive(|| connection.session.userauth_pubkey_file(&settings.user, None, &self.path, None));
        let which = self.public.as_ref().map(|key| format!(" ({})", fingerprint(key))).unwrap_or_default();
        attempts.note(connection, format!("{shown}{which}"), outcome)
    }
}

impl Attempts {
    /// Ok(false): on to the next key.
    fn note(
        &mut self,
        connection: &Connection,
        what: String,
        outcome: Result<(), ssh2::Error>,
    ) -> Result<bool, Unreachable> {
        self.shown += 1;
        let Err(error) = outcome else { return Ok(true) };
        if is_broken(&error) {
            return Err(self.disconnected(connection, &what, &error));
        }
        let words = match error.code() {
            ssh2::ErrorCode::Session(
                libssh2_sys::LIBSSH2_ERROR_AUTHENTICATION_FAILED
                | libssh2_sys::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED,
            ) => "refused".to_owned(),
            _ => error.message().to_owned(),
        };
        self.lines.push(format!("{what}: {words}"));
        Ok(false)
    }

    /// sshd hung up: at MaxAuthTries, or because the machine is still booting (pam_nologin).
    fn disconnected(&mut self, connection: &Connection, what: &str, error: &ssh2::Error) -> Unreachable {
        let mut unreachable = connection.broke("offering a key", error);
        self.lines.push(format!("{what}: the connection ended"));
        let said = connection.session.userauth_banner().ok().flatten().unwrap_or_default().to_owned();
        if self.shown > 3 && said.is_empty() {
            unreachable.retry = false;
            unreachable.failure.help = Some(format!(
                "sshd ends the connection after a few keys (MaxAuthTries): of {} keys none was right so far; name the \
                 right one with `identity_file`, or with IdentityFile and `IdentitiesOnly yes` in ~/.ssh/config",
                self.shown
            ));
        }
        unreachable.failure =
            unreachable.failure.detail("keys tried", self.lines.join("\n")).detail("the host said", said);
        unreachable
    }

    fn refused(self, connection: &Connection, settings: &Settings, files: &[IdentityFile]) -> Unreachable {
        let Settings { user, destination, .. } = settings;
        let mut lines = self.lines;
        if !files.iter().any(|file| file.is_there) {
            let names: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
            lines.push(format!("no identity file exists: {}", names.join(", ")));
        }
        let said = connection.session.userauth_banner().ok().flatten().unwrap_or_default().to_owned();
        let booting =
            said.contains("booting up") || said.contains("shutting down") || said.contains("pam_nologin");
        let help = if let Some(file) = self.encrypted.first() {
            format!(
                "converge asks for no passphrase: `ssh-add {}`, with an ssh-agent running",
                file.display()
            )
        } else if self.shown == 0 {
            format!(
                "converge signs in with keys only: `ssh-keygen -t ed25519`, then `ssh-copy-id {user}@{destination}`"
            )
        } else {
            format!(
                "one of these keys has to be in ~{user}/.ssh/authorized_keys there (`ssh-copy-id {user}@{destination}`), \
                 or `user` is another"
            )
        };
        let counted = match self.shown {
            0 => "there is no key to show".to_owned(),
            1 => "the one key shown was refused".to_owned(),
            count => format!("all {count} keys shown were refused"),
        };
        let failure = Failure::new(format!("{} does not let {user} in: {counted}", connection.shown()))
            .help(help)
            .detail("keys tried", lines.join("\n"))
            .detail("the host said", said);
        if booting { Unreachable::for_now(failure) } else { Unreachable::for_good(failure) }
    }
}

/// The public key in a private one, and whether that is encrypted (OpenSSH's PROTOCOL.key).
fn openssh_head(text: &str) -> Option<(Option<Vec<u8>>, bool)> {
    let body = text.trim().strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----")?;
    let body: String = body.split("-----END").next()?.split_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    let mut rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let mut field = || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (value, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        rest = tail;
        Some(value)
    };
    let cipher = field()?;
    let (_derivation, _options) = (field()?, field()?);
    // The count of keys: always 1.
    rest = rest.get(4..)?;
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let public = tail.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?);
    Some((public.map(<[u8]>::to_vec), cipher != b"none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_shows_its_public_half_and_whether_it_is_encrypted() {
        let place = tempfile::tempdir().unwrap();
        for (passphrase, encrypted) in [("", false), ("secret", true)] {
            for kind in ["ed25519", "rsa", "ecdsa"] {
                let path = place.path().join(format!("{kind}{encrypted}"));
                let made = std::process::Command::new("ssh-keygen")
                    .args(["-q", "-t", kind, "-N", passphrase, "-f"])
                    .arg(&path)
                    .status();
                assert!(made.unwrap().success());
                let file = IdentityFile::look_at(&path);
                std::fs::remove_file(path.with_extension("pub")).unwrap();
                let alone = IdentityFile::look_at(&path);
                assert_eq!((file.encrypted, alone.encrypted), (encrypted, encrypted));
                assert!(alone.public.is_some());
                assert_eq!(file.public, alone.public);
            }
        }
        assert!(!IdentityFile::look_at(Path::new("/nonexistent")).is_there);
    }
}
