//! Where a process's parts lie on its host, and what is kept there for its supervisor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Restart;
use crate::attribute::{AbsPath, CommandLine, Mode, Span, sha256_hex};
use crate::resource::{Change, Failure};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};

/// What converge keeps of its processes: descriptions and environments, for root alone.
pub const DIRECTORY: &str = "/etc/converge/processes";

/// The program that supervises where there is no systemd: a copy of what applied the first of them.
pub const SUPERVISOR: &str = "/usr/local/lib/converge/converge-agent";

/// Where its programs are looked for, whoever starts it: as systemd has it.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The paths of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    slug: String,
}

/// What the supervisor reads when it starts. Its environment may hold secrets: the file is root's.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub process: String,
    pub command: CommandLine,
    pub directory: Option<AbsPath>,
    pub user: Option<String>,
    pub environment: BTreeMap<String, String>,
    pub restart: Restart,
    pub delay: Span,
}

impl Places {
    /// A label as a part of file names that systemd, cron and people can read. Two labels never
    /// share one.
    pub fn of(label: &str) -> Places {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let slug: String = label.chars().map(|c| if plain(c) { c } else { '-' }).take(60).collect();
        if slug == label {
            return Places { slug };
        }
        let hash = sha256_hex(label.as_bytes());
        Places { slug: format!("{}-{}", slug.trim_matches('-'), &hash[..8]) }
    }

    /// With its suffix.
    pub fn unit(&self) -> String {
        format!("converge-{}.service", self.slug)
    }

    pub fn unit_file(&self) -> Result<AbsPath, Failure> {
        path(format!("/etc/systemd/system/{}", self.unit()))
    }

    /// What `systemctl enable` makes.
    pub fn wanted_link(&self) -> Result<AbsPath, Failure> {
        path(format!("/etc/systemd/system/multi-user.target.wants/{}", self.unit()))
    }

    pub fn environment(&self) -> Result<AbsPath, Failure> {
        path(format!("{DIRECTORY}/{}.env", self.slug))
    }

    pub fn kept(&self) -> Result<AbsPath, Failure> {
        path(format!("{DIRECTORY}/{}.json", self.slug))
    }

    pub fn cron(&self) -> Result<AbsPath, Failure> {
        path(format!("/etc/cron.d/converge-{}", self.slug))
    }

    /// What it writes, where there is no journal.
    pub fn log(&self) -> Result<AbsPath, Failure> {
        path(format!("/var/log/converge/{}.log", self.slug))
    }

    /// Held by its supervisor for as long as that runs.
    pub fn lock(&self) -> Result<AbsPath, Failure> {
        path(format!("/run/converge/processes/{}.lock", self.slug))
    }

    /// What its supervisor tells of it.
    pub fn state(&self) -> Result<AbsPath, Failure> {
        path(format!("/run/converge/processes/{}.json", self.slug))
    }
}

fn path(text: String) -> Result<AbsPath, Failure> {
    text.parse().map_err(Failure::new)
}

impl Kept {
    pub fn read(bytes: &[u8]) -> Result<Kept, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The same text for the same declaration.
    pub fn text(&self) -> Result<Vec<u8>, Failure> {
        let text = serde_json::to_vec_pretty(self);
        let mut text = text.map_err(|error| Failure::new(format!("writing {}: {error}", self.process)))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The directory of what is kept.
pub fn make_directory(system: &System) -> Result<(), Failure> {
    let parent = path("/etc/converge".to_owned())?;
    for (directory, mode) in [(parent, 0o755), (path(DIRECTORY.to_owned())?, 0o700)] {
        let access = Access { mode: Some(Mode::from_bits(mode)), ..Access::default() };
        system.ensure_directory(&directory, access)?;
    }
    Ok(())
}

/// A file that nobody but root can read. What it says already is not written again: its times
/// tell what was started before it.
pub fn put_private(system: &System, path: &AbsPath, bytes: &[u8]) -> Result<(), Failure> {
    let access = Access { uid: Some(0), gid: Some(0), mode: Some(Mode::from_bits(0o600)) };
    match system.see(path)? {
        Seen::There(Meta { kind: Kind::File, .. }) if system.read_file(path)? == bytes => {
            if is_private(system, path)? { Ok(()) } else { system.set_access(path, access) }
        }
        _ => system.put_file(path, bytes, access, |_| Ok(())),
    }
}

pub fn is_private(system: &System, path: &AbsPath) -> Result<bool, Failure> {
    Ok(match system.see(path)? {
        Seen::There(Meta { kind: Kind::File, mode, uid: 0, .. }) => mode == Mode::from_bits(0o600),
        _ => false,
    })
}

/// What is kept may hold secrets.
pub fn to_be_private() -> Change {
    Change::from_to("environment", "others can read it", "root alone can read it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_becomes_a_name_that_everything_can_read_and_no_other_label_has() {
        let unit = |label: &str| Places::of(label).unit();
        assert_eq!(unit("doorbell"), "converge-doorbell.service");
        assert_eq!(unit("door_bell-2"), "converge-door_bell-2.service");
        let others =
            ["front door", "front-door", "front/door", "front.door", "Front door", "türe", "%i", "a@b"];
        let mut names: Vec<String> = others.iter().map(|label| unit(label)).collect();
        assert_eq!(names[1], "converge-front-door.service");
        assert!(names[0].starts_with("converge-front-door-") && names[0].len() < 40, "{}", names[0]);
        for name in &names {
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), others.len());
        assert!(unit(&"long".repeat(50)).len() < 90);
    }

    #[test]
    fn cron_reads_no_file_with_a_dot_in_its_name() {
        for label in ["a.b", "doorbell", "x y"] {
            let cron = Places::of(label).cron().unwrap();
            assert!(!cron.as_str().trim_start_matches("/etc/cron.d/").contains('.'), "{cron}");
        }
    }
}
