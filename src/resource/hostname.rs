//! `hostname`: the name of the machine, now and at the next boot.

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::common::no_parent;
use super::{Action, Change, Check, Failure, Lack, Links, Needed, Resource, Thing, io_words};
use crate::attribute::AbsPath;
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};

/// What is read at boot, on systems with systemd and on others.
const FILE: &str = "/etc/hostname";

/// As many characters as the kernel takes.
const MOST: usize = 64;

/// The name of the machine: the one the kernel goes by now, and the one in /etc/hostname that it
/// gets at the next boot.
///
/// Both are set without systemd, so it is the same with and without it: what `hostnamectl` calls the
/// static and the transient name. A pretty name (/etc/machine-info) is left alone.
///
/// Programs that have read the name already keep the old one until they are restarted
/// (`restart_on: [hostname:NAME]` for a log daemon). /etc/hosts is not touched: where the name has
/// to have an address without DNS (`sudo` and mail servers look it up), declare a `line` for it, as
/// in the example of `line`: `127.0.1.1 web1.example.com web1`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Hostname {
    /// The name: letters, digits and hyphens, with dots between its parts where it is a full one; 64
    /// characters at most. Most systems expect the short name here. A machine has one: two of them
    /// are an error.
    #[serde(rename = "hostname")]
    pub name: HostName,
}

/// A name that a host may have: RFC 1123, and no longer than the kernel takes.
#[derive(Clone, PartialEq, Eq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("`{text}` is no host's name: {why}"));
        if text.len() > MOST {
            return refused(&format!("it has {} characters, and {MOST} are the most", text.len()));
        }
        if let Some(other) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-.".contains(*c)) {
            return refused(&format!("{other:?} cannot be in it, only letters, digits, hyphens and dots"));
        }
        for part in text.split('.') {
            if part.is_empty() {
                return refused("a part of it is empty");
            }
            if part.starts_with('-') || part.ends_with('-') {
                return refused("no part of it begins or ends with a hyphen");
            }
            if part.len() > 63 {
                return refused("a part of it has more than 63 characters");
            }
        }
        Ok(HostName(text.to_owned()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

crate::attribute::text_form!(HostName);

crate::attribute::described!(HostName, "host-name", {
    "title": "host name",
    "type": ["string", "number"],
    "maxLength": 64,
    "pattern": r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
    "patternErrorMessage": "No host's name: letters, digits and hyphens, with dots between its parts."
});

impl Hostname {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- hostname: web1
";

    fn wanted(&self) -> &str {
        &self.name.0
    }

    /// The name in the file, and the directory that is missing for it.
    fn in_file(&self, system: &System) -> Result<(Option<String>, Option<Lack>), Failure> {
        let file = file();
        match system.see(&file)? {
            Seen::There(Meta { kind: Kind::File, .. }) => {
                let bytes = system.read_file(&file)?;
                Ok((name_in(&String::from_utf8_lossy(&bytes)), None))
            }
            Seen::There(other) => Err(Failure::new(format!("{FILE} is {}, and must be a file", other.kind))
                .help("move it away: the name is written there")),
            Seen::Absent => Ok((None, None)),
            Seen::NoParent(missing) => Ok((None, Some(no_parent(&file, &missing)))),
        }
    }
}

fn file() -> AbsPath {
    FILE.parse().expect("it is an absolute path")
}

/// hostname(5): comments and empty lines may stand before it.
fn name_in(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
}

impl Resource for Hostname {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn links(&self) -> Links {
        let links = Links::default().provides(Thing::Path(file()));
        match file().parent() {
            Some(parent) => links.stands_on(Thing::Path(parent), "its file lies there"),
            None => links,
        }
    }

    fn can_wait() -> bool {
        false
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![file()]
    }

    fn makes_only_what_it_provides(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let mut changes = Vec::new();
        let (written, lack) = self.in_file(system)?;
        if written.as_deref() != Some(self.wanted()) {
            changes.push(Change::new("static", written, Some(self.wanted().to_owned())));
        }
        let running = system.node_name()?;
        if running != self.wanted() {
            changes.push(Change::from_to("running", running, self.wanted()));
        }
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        Ok(Check::Needs(Needed { action: Action::Change, changes, lacks: lack.into_iter().collect() }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        if needed.has("static") {
            let access = match system.see(&file())? {
                Seen::There(old) => Access { uid: Some(old.uid), gid: Some(old.gid), mode: Some(old.mode) },
                _ => Access::default(),
            };
            system.put_file(&file(), format!("{}\n", self.wanted()).as_bytes(), access, |_| Ok(()))?;
        }
        if !needed.has("running") {
            return Ok(());
        }
        system.set_node_name(self.wanted())?.map_err(|errno| {
            let failure = Failure::new(format!(
                "the kernel refuses the name {}: {}",
                self.name,
                io_words(&errno.into())
            ));
            match errno {
                Errno::PERM if rustix::process::geteuid().is_root() => {
                    failure.help("root may not: this is a container whose name is given where it is run")
                }
                Errno::PERM => {
                    failure.help("this user may not: give the host `become: sudo`, or run converge as root")
                }
                _ => failure,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_host_may_have() {
        for text in ["a", "web1", "web-1.example.com", "1", "W", &"a".repeat(63)] {
            assert!(text.parse::<HostName>().is_ok(), "{text}");
        }
        let long = format!("{}.{}", "a".repeat(32), "b".repeat(32));
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a.-b",
            "a_b",
            "a b",
            "ä",
            "a/b",
            &"a".repeat(64),
            &long,
        ] {
            let refused = text.parse::<HostName>().unwrap_err();
            assert!(refused.contains("is no host's name"), "{refused}");
        }
    }

    #[test]
    fn the_name_in_the_file_is_its_first_line_that_says_something() {
        assert_eq!(name_in("web1\n").as_deref(), Some("web1"));
        assert_eq!(name_in("# which\n\n  web1 \nweb2\n").as_deref(), Some("web1"));
        assert_eq!(name_in("# none\n"), None);
    }

    #[test]
    fn both_names_are_brought_about_from_every_start() {
        let it: Hostname = serde_json::from_value(serde_json::json!({"hostname": "web1"})).unwrap();
        for (file, running, off) in [
            (None, "web1", &["static"][..]),
            (Some("web1\n"), "web1", &[]),
            (Some("# x\nweb1"), "web1", &[]),
            (Some("web2\n"), "web1", &["static"]),
            (Some("web1\n"), "web2", &["running"]),
            (Some(""), "(none)", &["static", "running"]),
            (Some("WEB1\n"), "web1", &["static"]),
        ] {
            let root = tempfile::tempdir().unwrap();
            for directory in ["etc", "proc/sys/kernel"] {
                std::fs::create_dir_all(root.path().join(directory)).unwrap();
            }
            std::fs::write(root.path().join("proc/sys/kernel/hostname"), format!("{running}\n")).unwrap();
            if let Some(file) = file {
                std::fs::write(root.path().join("etc/hostname"), file).unwrap();
            }
            let system = System::under(root.path());
            let needed = match it.check(&system).unwrap() {
                Check::Needs(needed) => Some(needed),
                _ => None,
            };
            let found: Vec<_> = needed
                .iter()
                .flat_map(|needed| &needed.changes)
                .map(|change| change.attribute.as_str())
                .collect();
            assert_eq!(found, off, "{file:?} {running}");
            if let Some(needed) = needed {
                it.apply(&system, &needed).unwrap();
            }
            assert_eq!(it.check(&system).unwrap(), Check::Holds);
        }
    }
}
