//! How `ssh` itself would reach a host: the user's ssh_config, asked for with `ssh -G`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::Failure;
use crate::inventory::Host;

/// What the spec says, over what ssh_config says, over ssh's own defaults.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Settings {
    /// What a person would give to `ssh`: the spec's `address`, or the host's name.
    pub destination: String,
    /// What is resolved and connected to.
    pub hostname: String,
    pub port: u16,
    pub user: String,
    /// The spec's own, tried before anything else.
    pub identity_file: Option<PathBuf>,
    pub identity_files: Vec<PathBuf>,
    pub identities_only: bool,
    pub agent: KeyAgent,
    pub known_hosts: Vec<PathBuf>,
    /// The name known_hosts has it under, where ssh_config gives one.
    pub host_key_alias: Option<String>,
    pub proxy: Proxy,
    pub connect_timeout: Option<Duration>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum KeyAgent {
    /// The socket of SSH_AUTH_SOCK, where it is set.
    Environment,
    Socket(PathBuf),
    None,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Proxy {
    None,
    /// `ProxyJump`: one or more hosts, comma-separated.
    Jump(String),
    /// `ProxyCommand`, for /bin/sh.
    Command(String),
}

impl Settings {
    /// Asks `ssh -G`; without an ssh program, the spec and ssh's defaults.
    pub fn of(host: &Host, config: Option<&Path>) -> Result<Settings, Failure> {
        let destination = host.address.clone().unwrap_or_else(|| host.name.clone());
        if destination.starts_with('-') || destination.is_empty() {
            return Err(Failure::new(format!("`{destination}` is no address of a host")));
        }
        let mut command = Command::new("ssh");
        if let Some(config) = config {
            command.arg("-F").arg(config);
        }
        let mut option = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                command.arg(flag).arg(value);
            }
        };
        option("-p", host.port.map(|port| port.to_string()));
        option("-l", host.user.clone());
        option("-i", host.identity_file.clone());
        option("-J", host.proxy_jump.clone());
        command.args(["-G", "--", &destination]);
        let text = match command.output() {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                let line = said.lines().last().unwrap_or("it says nothing").to_owned();
                return Err(Failure::new(format!(
                    "`ssh -G {destination}` does not accept its configuration: {line}"
                ))
                .help("`ssh` itself cannot reach the host with this ssh_config either: mend it first")
                .detail("stderr", said));
            }
            // No ssh here: what the spec says has to do.
            Err(_) => String::new(),
        };
        Ok(Settings::read(&text, host, &destination))
    }

    fn read(text: &str, host: &Host, destination: &str) -> Settings {
        let home = home();
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let mut settings = Settings {
            destination: destination.to_owned(),
            hostname: destination.to_owned(),
            port: host.port.unwrap_or(22),
            user: host.user.clone().or(user.ok()).unwrap_or_else(|| "root".into()),
            identity_file: None,
            identity_files: Vec::new(),
            identities_only: false,
            agent: KeyAgent::Environment,
            known_hosts: Vec::new(),
            host_key_alias: None,
            proxy: host.proxy_jump.clone().map_or(Proxy::None, Proxy::Jump),
            connect_timeout: None,
        };
        let (mut identities, mut user_files, mut global_files) = (Vec::new(), Vec::new(), Vec::new());
        for line in text.lines() {
            let Some((key, value)) = line.split_once(' ') else { continue };
            let value = value.trim();
            match key {
                "hostname" => settings.hostname = value.to_owned(),
                "port" => settings.port = value.parse().unwrap_or(settings.port),
                "user" => settings.user = value.to_owned(),
                "identityfile" => identities.push(value.to_owned()),
                "identitiesonly" => settings.identities_only = value == "yes",
                "identityagent" => settings.agent = key_agent(value, &home),
                "userknownhostsfile" => user_files = words(value),
                "globalknownhostsfile" => global_files = words(value),
                "hostkeyalias" => settings.host_key_alias = Some(value.to_owned()),
                "proxyjump" if value != "none" => settings.proxy = Proxy::Jump(value.to_owned()),
                "proxycommand" if value != "none" => settings.proxy = Proxy::Command(value.to_owned()),
                "connecttimeout" => settings.connect_timeout = value.parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        if text.is_empty() {
            let default = |name: &str| format!("~/.ssh/{name}");
            identities = host.identity_file.clone().into_iter().collect();
            identities.extend(["id_ed25519", "id_ecdsa", "id_rsa"].map(default));
            user_files = vec![default("known_hosts")];
            global_files = vec!["/etc/ssh/ssh_known_hosts".into()];
        }
        let path = |text: &String| settings.expanded(text, &home);
        let files = |list: &[String]| -> Vec<PathBuf> {
            list.iter().filter(|name| *name != "none").map(&path).collect()
        };
        let identity_files = files(&identities);
        let known_hosts = files(&[user_files, global_files].concat());
        let identity_file = host.identity_file.as_ref().map(path);
        Settings { identity_file, identity_files, known_hosts, ..settings }
    }

    /// `~` and the tokens of ssh_config(5) that a path or a proxy's command may hold.
    pub fn expanded(&self, text: &str, home: &str) -> PathBuf {
        let text = match text.strip_prefix("~/") {
            Some(rest) => format!("{home}/{rest}"),
            None => text.to_owned(),
        };
        PathBuf::from(self.with_tokens(&text, home))
    }

    pub fn with_tokens(&self, text: &str, home: &str) -> String {
        let mut result = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match (character, if character == '%' { characters.next() } else { None }) {
                ('%', Some('%')) => result.push('%'),
                ('%', Some('h')) => result.push_str(&self.hostname),
                ('%', Some('n')) => result.push_str(&self.destination),
                ('%', Some('p')) => result.push_str(&self.port.to_string()),
                ('%', Some('r')) => result.push_str(&self.user),
                ('%', Some('d')) => result.push_str(home),
                ('%', Some('u')) => result.push_str(&std::env::var("USER").unwrap_or_default()),
                ('%', Some(other)) => result.extend(['%', other]),
                (plain, _) => result.push(plain),
            }
        }
        result
    }
}

/// The home directory of the user who runs converge.
pub(super) fn home() -> String {
    std::env::var("HOME").ok().filter(|home| home.starts_with('/')).unwrap_or_else(|| "/root".into())
}

fn key_agent(value: &str, home: &str) -> KeyAgent {
    let path = |text: &str| match text.strip_prefix("~/") {
        Some(rest) => PathBuf::from(format!("{home}/{rest}")),
        None => PathBuf::from(text),
    };
    match value {
        "none" => KeyAgent::None,
        "SSH_AUTH_SOCK" => KeyAgent::Environment,
        _ => match value.strip_prefix('$') {
            Some(name) => {
                let name = name.trim_matches(['{', '}']);
                std::env::var(name).map_or(KeyAgent::None, |text| KeyAgent::Socket(path(&text)))
            }
            None => KeyAgent::Socket(path(value)),
        },
    }
}

/// `ssh -G` writes a list of paths with blanks between them, and quotes those that hold one.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_taken_and_tokens_are_filled_in() {
        let host = Host { identity_file: Some("/keys/%r".into()), ..Host::ssh("vps0") };
        let text = "user admin\nhostname 10.0.0.1\nport 2222\nidentityfile /keys/%r\nidentityfile ~/.ssh/%h\n\
                    identitiesonly yes\nuserknownhostsfile /a \"/b c\"\nglobalknownhostsfile none\n\
                    proxyjump a,b\nconnecttimeout 7\nidentityagent none\nhostkeyalias alias\n";
        let settings = Settings::read(text, &host, "vps0");
        assert_eq!(
            (settings.hostname.as_str(), settings.port, settings.user.as_str()),
            ("10.0.0.1", 2222, "admin")
        );
        assert_eq!(settings.identity_file, Some("/keys/admin".into()));
        assert_eq!(settings.identity_files[1], PathBuf::from(format!("{}/.ssh/10.0.0.1", home())));
        assert_eq!(settings.known_hosts, ["/a", "/b c"].map(PathBuf::from));
        assert_eq!(settings.proxy, Proxy::Jump("a,b".into()));
        assert_eq!(settings.agent, KeyAgent::None);
        assert_eq!(settings.connect_timeout, Some(Duration::from_secs(7)));
        assert!(settings.identities_only);
    }

    #[test]
    fn without_an_ssh_program_the_spec_and_the_defaults_do() {
        let host = Host { user: Some("u".into()), port: Some(99), ..Host::ssh("h") };
        let settings = Settings::read("", &host, "h");
        assert_eq!((settings.hostname.as_str(), settings.port, settings.user.as_str()), ("h", 99, "u"));
        assert!(settings.known_hosts[0].ends_with(".ssh/known_hosts"));
        assert_eq!(settings.identity_files.len(), 3);
    }

    #[test]
    fn an_address_that_looks_like_an_option_is_refused() {
        assert!(Settings::of(&Host::ssh("-oProxyCommand=x"), None).is_err());
    }
}
