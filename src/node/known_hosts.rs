//! Whether a host is who it says: known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), read as ssh
//! reads it. Nothing is ever accepted that is not written there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use ssh2::{CheckResult, KnownHostFileKind, Session};

use super::settings::Settings;
use crate::failure::Failure;

/// The lines that speak of one host.
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
    /// Lines for the bare name, which ssh takes too where a host has a port of its own.
    without_port: Vec<Entry>,
    /// As known_hosts writes it: `name`, or `[name]:port`.
    name: String,
    files: Vec<PathBuf>,
}

#[derive(Clone, PartialEq, Debug)]
struct Entry {
    marker: Marker,
    key_type: String,
    key: Vec<u8>,
    file: PathBuf,
    line: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Marker {
    None,
    Revoked,
    CertAuthority,
}

impl KnownHosts {
    pub fn of(settings: &Settings) -> KnownHosts {
        let bare = settings.host_key_alias.as_ref().unwrap_or(&settings.hostname).to_lowercase();
        let has_port = settings.port != 22 && settings.host_key_alias.is_none();
        let name = if has_port { format!("[{bare}]:{}", settings.port) } else { bare.clone() };
        let mut known = KnownHosts {
            entries: Vec::new(),
            without_port: Vec::new(),
            name,
            files: settings.known_hosts.clone(),
        };
        for file in &settings.known_hosts {
            // One that cannot be read knows nobody; ssh says no more about it either.
            let Ok(text) = std::fs::read(file) else { continue };
            let text = String::from_utf8_lossy(&text);
            known.entries.extend(entries(&text, file, &known.name));
            if has_port {
                known.without_port.extend(entries(&text, file, &bare));
            }
        }
        known
    }

    /// Every plain algorithm of ours, those of the keys that are known first: a host that is
    /// known by one key must not be asked for another.
    pub fn preferred_algorithms(&self, supported: &[&str]) -> String {
        const ORDER: [&str; 7] = [
            "ssh-ed25519",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "ecdsa-sha2-nistp521",
            "rsa-sha2-512",
            "rsa-sha2-256",
            "ssh-rsa",
        ];
        let known = |algorithm: &str| {
            let key_type = if algorithm.starts_with("rsa-sha2-") { "ssh-rsa" } else { algorithm };
            let entries = self.entries.iter().chain(&self.without_port);
            entries.filter(|entry| entry.marker == Marker::None).any(|entry| entry.key_type == key_type)
        };
        let mut list: Vec<&str> = ORDER.into_iter().filter(|name| supported.contains(name)).collect();
        list.sort_by_key(|name| !known(name));
        list.join(",")
    }

    /// Ok: the key is known for this host. `settings` words the way out.
    pub fn judge(&self, key: &[u8], settings: &Settings) -> Result<(), Failure> {
        let both = || self.entries.iter().chain(&self.without_port);
        let is_key = |entry: &&Entry| entry.key == key;
        if let Some(entry) = both().filter(|entry| entry.marker == Marker::Revoked).find(is_key) {
            return Err(Failure::new(format!(
                "the host key of {} is marked @revoked at {}: {}",
                self.name,
                entry.place(),
                described(key)
            ))
            .help("somebody declared this key stolen or retired: do not go on before you know why"));
        }
        if both().filter(|entry| entry.marker == Marker::None).any(|entry| entry.key == key) {
            return Ok(());
        }
        let plain = || self.entries.iter().filter(|entry| entry.marker == Marker::None);
        match plain().find(|entry| entry.key_type == key_type(key)) {
            Some(old) => Err(self.changed(old, key, settings)),
            None => Err(self.unknown(key, plain().next(), settings)),
        }
    }

    fn changed(&self, old: &Entry, key: &[u8], settings: &Settings) -> Failure {
        let file = old.file.display();
        Failure::new(format!(
            "the host key of {} HAS CHANGED: it shows {}, and {} says {}",
            self.name,
            described(key),
            old.place(),
            described(&old.key)
        ))
        .help(format!(
            "if the machine was installed anew, compare the fingerprint on its console (`ssh-keygen -lf \
             /etc/ssh/ssh_host_{}_key.pub`), then `ssh-keygen -R '{}' -f {file}` and {}; if it was not, \
             somebody may be in between",
            short_type(key),
            self.name,
            self.accepting(settings)
        ))
    }

    fn unknown(&self, key: &[u8], other: Option<&Entry>, settings: &Settings) -> Failure {
        let mut reason = format!("the host key of {} is not known: it shows {}", self.name, described(key));
        let authority = self.entries.iter().find(|entry| entry.marker == Marker::CertAuthority);
        if let Some(other) = other {
            let _ = write!(reason, "; {} has only its {} key", other.place(), short_type(&other.key));
        } else if let Some(authority) = authority {
            let _ = write!(
                reason,
                "; {} has a @cert-authority for it, and converge does not read host certificates",
                authority.place()
            );
        }
        let searched: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        Failure::new(reason)
            .help(format!(
                "compare the fingerprint on the machine's console (`ssh-keygen -lf \
                 /etc/ssh/ssh_host_{}_key.pub`), then {}",
                short_type(key),
                self.accepting(settings)
            ))
            .detail("looked in", searched.join("\n"))
    }

    /// The commands that accept it.
    fn accepting(&self, settings: &Settings) -> String {
        let port = if settings.port == 22 { String::new() } else { format!(" -p {}", settings.port) };
        let by_ssh = format!("`ssh{port} {}@{}` once", settings.user, settings.destination);
        // ssh-keyscan knows neither aliases nor proxies.
        if settings.host_key_alias.is_some() || settings.proxy != super::settings::Proxy::None {
            return by_ssh;
        }
        let file = self.files.first().map_or("~/.ssh/known_hosts".into(), |file| file.display().to_string());
        format!("`ssh-keyscan -H{port} {} >> {file}`, or {by_ssh}", settings.hostname)
    }
}

impl Entry {
    fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// The entries of a file that match `name`.
fn entries(text: &str, file: &Path, name: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut fields = line.split_whitespace();
        let Some(mut hosts) = fields.next().filter(|first| !first.starts_with('#')) else { continue };
        let marker = match hosts {
            "@revoked" => Marker::Revoked,
            "@cert-authority" => Marker::CertAuthority,
            _ => Marker::None,
        };
        if marker != Marker::None {
            let Some(next) = fields.next() else { continue };
            hosts = next;
        }
        let (Some(kind), Some(encoded)) = (fields.next(), fields.next()) else { continue };
        let Ok(key) = STANDARD.decode(encoded) else { continue };
        if matches(hosts, name, kind, encoded, &key) {
            let (file, line) = (file.to_owned(), index + 1);
            found.push(Entry { marker, key_type: key_type(&key), key, file, line });
        }
    }
    found
}

fn matches(hosts: &str, name: &str, kind: &str, encoded: &str, key: &[u8]) -> bool {
    if hosts.starts_with('|') {
        return matches_hashed(hosts, name, kind, encoded, key);
    }
    let mut matched = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if like(&pattern.to_lowercase(), name) => return false,
            None if like(&pattern.to_lowercase(), name) => matched = true,
            _ => {}
        }
    }
    matched
}

/// `|1|salt|hash`: libssh2 compares it, with the line's own key, so that only the name decides.
fn matches_hashed(hosts: &str, name: &str, kind: &str, encoded: &str, key: &[u8]) -> bool {
    let Ok(session) = Session::new() else { return false };
    let Ok(mut one) = session.known_hosts() else { return false };
    let line = format!("{hosts} {kind} {encoded}\n");
    one.read_str(&line, KnownHostFileKind::OpenSSH).is_ok()
        && matches!(one.check(name, key), CheckResult::Match)
}

/// ssh_config(5)'s patterns: `*` and `?`.
fn like(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            like(&pattern[1..], text)
                || text.chars().next().is_some_and(|c| like(pattern, &text[c.len_utf8()..]))
        }
        (Some('?'), Some(c)) => like(&pattern[1..], &text[c.len_utf8()..]),
        (Some(p), Some(c)) if p == c => like(&pattern[p.len_utf8()..], &text[c.len_utf8()..]),
        _ => false,
    }
}

/// The type's name stands first in a key (RFC 4253, 6.6).
pub(super) fn key_type(key: &[u8]) -> String {
    let length = key.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
    let name = key.get(4..4 + length.min(64)).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// As in the file names of sshd's keys.
fn short_type(key: &[u8]) -> &'static str {
    match key_type(key).as_str() {
        "ssh-ed25519" => "ed25519",
        "ssh-rsa" => "rsa",
        name if name.starts_with("ecdsa-") => "ecdsa",
        _ => "*",
    }
}

/// `ED25519 key SHA256:…`, as ssh prints it.
pub(super) fn described(key: &[u8]) -> String {
    format!("{} key {}", short_type(key).to_uppercase(), fingerprint(key))
}

pub(super) fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd";

    fn found(line: &str, name: &str) -> bool {
        !entries(&format!("# comment\n{line} ssh-ed25519 {KEY}\n"), Path::new("f"), name).is_empty()
    }

    #[test]
    fn patterns_match_as_ssh_matches_them() {
        for (hosts, name, expected) in [
            ("a,b", "b", true),
            ("a,b", "c", false),
            ("HOST", "host", true),
            ("*.example.org", "x.example.org", true),
            ("*.example.org,!x.example.org", "x.example.org", false),
            ("host?", "host1", true),
            ("host?", "host", false),
            ("[h]:2222", "[h]:2222", true),
            ("h", "[h]:2222", false),
        ] {
            assert_eq!(found(hosts, name), expected, "{hosts} and {name}");
        }
    }

    #[test]
    fn a_key_of_a_name_is_described_as_ssh_describes_it() {
        let key = STANDARD.decode(KEY).unwrap();
        assert!(described(&key).starts_with("ED25519 key SHA256:"));
        assert_eq!(key_type(&key), "ssh-ed25519");
        assert_eq!(key_type(b"\0\0\0\xff"), "");
    }

    #[test]
    fn broken_lines_know_nobody() {
        for line in ["", "host", "host ssh-rsa", "@revoked", "host ssh-rsa !!", "|1|x|y ssh-rsa AAAA"] {
            assert_eq!(entries(line, Path::new("f"), "host"), []);
        }
    }
}
