//! `timezone`: which zone /etc/localtime is of.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::common::no_parent;
use super::{Action, Change, Check, Failure, Lack, Links, Needed, Resource, Thing};
use crate::attribute::AbsPath;
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};

const LINK: &str = "/etc/localtime";

/// Debian's own note of it, up to Debian 12.
const NOTE: &str = "/etc/timezone";

const ZONES: &str = "/usr/share/zoneinfo";

/// The package that has them, by this name nearly everywhere.
const PACKAGE: &str = "tzdata";

/// So many zones are named that may have been meant.
const NEAR: usize = 3;

/// The machine's time zone: where the link /etc/localtime points to.
///
/// The link is replaced in one step, and so is a copy of a zone that lies in its place. A link to the
/// same zone that is written in another way (relative, as systemd writes it) is right. /etc/timezone
/// (Debian up to 12) is written where there is one, and not made where there is none.
///
/// The zone has to be there, in /usr/share/zoneinfo: a package `tzdata` that is declared comes
/// before this. Programs that run keep the zone that they began with: `restart_on: [timezone:ZONE]`
/// restarts them (cron, databases, log daemons).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Timezone {
    /// The zone's name, as in `Europe/Berlin` or `UTC`; `timedatectl list-timezones` prints all
    /// there are. A machine has one: two of them are an error.
    #[serde(rename = "timezone")]
    pub zone: Zone,
}

/// A path below the directory of zones.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(String);

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-.".contains(c))
        };
        match text.split('/').all(is_part) {
            true => Ok(Zone(text.to_owned())),
            false => Err(format!("`{text}` is no zone's name: write it as in Europe/Berlin or UTC")),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

crate::attribute::text_form!(Zone);

crate::attribute::described!(Zone, "time-zone", {
    "title": "time zone",
    "type": ["string", "number"],
    "pattern": r"^[A-Za-z0-9_+][A-Za-z0-9_+.-]*(/[A-Za-z0-9_+][A-Za-z0-9_+.-]*)*$",
    "patternErrorMessage": "No zone's name: write it as in Europe/Berlin or UTC."
});

impl Timezone {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- timezone: Etc/UTC
";

    fn target(&self) -> String {
        format!("{ZONES}/{}", self.zone)
    }

    /// The zone is known here; or what is lacking for that.
    fn known(&self, system: &System) -> Result<Option<Lack>, Failure> {
        let zones = system.locate(&path(ZONES));
        match is_zone(&zones.join(&self.zone.0)) {
            Ok(true) => return Ok(None),
            Ok(false) => {}
            Err(error) => return Err(Failure::io(format!("reading {}", self.target()), &error)),
        }
        let names = names(&zones);
        if names.is_empty() {
            return Ok(Some(Lack {
                thing: Thing::Package(PACKAGE.to_owned()),
                what: format!("there are no time zones in {ZONES}"),
                help: format!("declare the package that has them: `- package: {PACKAGE}`"),
            }));
        }
        let near = near(&self.zone.0, &names);
        let failure =
            Failure::new(format!("there is no time zone {}: {ZONES} has none of that name", self.zone));
        Err(failure.help(match near.as_slice() {
            [] => format!(
                "`timedatectl list-timezones` prints those there are; old names (US/Eastern) are in the \
                 package {PACKAGE}-legacy since Debian 13"
            ),
            [one] => format!("did you mean {one}?"),
            [others @ .., last] => format!("did you mean {} or {last}?", others.join(", ")),
        }))
    }

    fn note(&self, system: &System) -> Result<Option<Change>, Failure> {
        match system.see(&path(NOTE))? {
            Seen::There(Meta { kind: Kind::File, .. }) => {
                let bytes = system.read_file(&path(NOTE))?;
                let text = String::from_utf8_lossy(&bytes);
                let noted = text.trim();
                Ok((noted != self.zone.0).then(|| Change::from_to(NOTE, noted, &self.zone)))
            }
            Seen::There(other) => Err(Failure::new(format!("{NOTE} is {}, and must be a file", other.kind))
                .help("move it away: the zone's name is written there")),
            Seen::Absent | Seen::NoParent(_) => Ok(None),
        }
    }
}

fn path(text: &str) -> AbsPath {
    text.parse().expect("it is an absolute path")
}

/// The zone that a link points to, however it is written.
fn zone_of(target: &str) -> Option<&str> {
    let absolute = target.strip_prefix("../").map(|rest| format!("/{rest}"));
    let is_there = absolute.as_deref().unwrap_or(target).starts_with(&format!("{ZONES}/"));
    is_there.then(|| target.split_once("/zoneinfo/").map(|(_, zone)| zone))?
}

/// tzfile(5): it begins so.
fn is_zone(path: &Path) -> std::io::Result<bool> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) if file.metadata()?.is_file() => file,
        Ok(_) => return Ok(false),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let mut magic = [0; 4];
    Ok(file.read_exact(&mut magic).is_ok() && &magic == b"TZif")
}

/// The names of all zones. What cannot be read has none.
fn names(zones: &Path) -> Vec<String> {
    let (mut names, mut open) = (Vec::new(), vec![String::new()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(zones.join(&directory)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // posix/ and right/ have all of them once more; tables have a dot in their names.
            if !name.starts_with(|c: char| c.is_ascii_uppercase()) || name.contains('.') {
                continue;
            }
            let name = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(name),
                _ => names.push(name),
            }
        }
    }
    names.sort();
    names
}

/// Those that may have been meant, the likeliest first: the same but for upper and lower case; the
/// city alone; some letters off.
fn near<'a>(zone: &str, names: &'a [String]) -> Vec<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace([' ', '-'], "_");
    let (wanted, allowed) = (plain(zone), (zone.len() / 3).clamp(1, 4));
    let city = |name: &str| plain(name.rsplit('/').next().unwrap_or_default());
    let distance = |name: &&'a String| {
        let whole = strsim::damerau_levenshtein(&wanted, &plain(name));
        let own = strsim::damerau_levenshtein(&city(zone), &city(name)) + 1;
        whole.min(own)
    };
    let mut found: Vec<(usize, &str)> = names.iter().map(|name| (distance(&name), name.as_str())).collect();
    found.retain(|(distance, _)| *distance <= allowed);
    found.sort();
    let best = found.first().map_or(0, |(distance, _)| *distance);
    found.into_iter().filter(|(distance, _)| *distance <= best + 1).map(|(_, name)| name).take(NEAR).collect()
}

impl Resource for Timezone {
    fn name(&self) -> String {
        self.zone.to_string()
    }

    fn links(&self) -> Links {
        Links::default()
            .provides(Thing::Path(path(LINK)))
            .provides(Thing::Path(path(NOTE)))
            .stands_on(Thing::Path(path("/etc")), "its link lies there")
            .stands_on(Thing::Package(PACKAGE.to_owned()), "the zones are in it")
    }

    fn can_wait() -> bool {
        false
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![path(LINK)]
    }

    fn makes_only_what_it_provides(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let wanted = self.zone.to_string();
        let change = |from: Option<String>| Change::new(LINK, from, Some(wanted.clone()));
        let mut lacks = Vec::new();
        let mut changes = Vec::new();
        match system.see(&path(LINK))? {
            Seen::There(Meta { kind: Kind::Symlink, .. }) => {
                let target = system.link_target(&path(LINK))?;
                match zone_of(&target) {
                    Some(zone) if zone == wanted => {}
                    zone => changes.push(change(Some(zone.unwrap_or(&target).to_owned()))),
                }
            }
            Seen::There(Meta { kind: Kind::File, .. }) => {
                changes.push(change(Some("a copy of a zone".into())))
            }
            Seen::There(other) => {
                return Err(Failure::new(format!("{LINK} is {}, and must be a link to a zone", other.kind))
                    .help("move it away"));
            }
            Seen::Absent => changes.push(change(None)),
            Seen::NoParent(missing) => {
                lacks.push(no_parent(&path(LINK), &missing));
                changes.push(change(None));
            }
        }
        changes.extend(self.note(system)?);
        match self.known(system)? {
            // The link is right, and leads nowhere.
            Some(lack) if changes.is_empty() => return Err(lack.into_failure()),
            lack => lacks.extend(lack),
        }
        if changes.is_empty() {
            return Ok(Check::Holds);
        }
        Ok(Check::Needs(Needed { action: Action::Change, changes, lacks }))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        if needed.has(NOTE)
            && let Seen::There(old) = system.see(&path(NOTE))?
        {
            let access = Access { uid: Some(old.uid), gid: Some(old.gid), mode: Some(old.mode) };
            system.put_file(&path(NOTE), format!("{}\n", self.zone).as_bytes(), access, |_| Ok(()))?;
        }
        if needed.has(LINK) {
            system.put_link(&path(LINK), &self.target())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_to_a_zone_is_known_however_it_is_written() {
        for (target, zone) in [
            ("/usr/share/zoneinfo/Europe/Berlin", Some("Europe/Berlin")),
            ("../usr/share/zoneinfo/Etc/UTC", Some("Etc/UTC")),
            ("/usr/share/zoneinfo", None),
            ("/etc/zone", None),
            ("../../usr/share/zoneinfo/UTC", None),
            ("usr/share/zoneinfo/UTC", None),
        ] {
            assert_eq!(zone_of(target), zone, "{target}");
        }
    }

    #[test]
    fn names_are_paths_below_the_directory_of_zones() {
        for text in ["UTC", "Europe/Berlin", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "GB-Eire"] {
            assert!(text.parse::<Zone>().is_ok(), "{text}");
        }
        for text in ["", "/UTC", "Europe/", "../x", "Europe/../x", "a b", ".x", "-x"] {
            assert!(text.parse::<Zone>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_zone_that_was_meant_is_named() {
        let names = ["America/New_York", "Asia/Kolkata", "Etc/UTC", "Europe/Berlin", "Europe/Dublin", "UTC"];
        let names = names.map(str::to_owned);
        for (zone, wanted) in [
            ("Berlin", &["Europe/Berlin"][..]),
            ("europe/berlin", &["Europe/Berlin"]),
            ("Europe/Berln", &["Europe/Berlin"]),
            ("America/New-York", &["America/New_York"]),
            ("US/Pacific", &[]),
            ("utc", &["UTC", "Etc/UTC"]),
        ] {
            assert_eq!(near(zone, &names), wanted, "{zone}");
        }
    }

    #[test]
    fn link_and_note_are_brought_about_from_every_start() {
        let it: Timezone = serde_json::from_value(serde_json::json!({"timezone": "Europe/Berlin"})).unwrap();
        let right = "/usr/share/zoneinfo/Europe/Berlin";
        for (link, note, off) in [
            (Some(right), None, &[][..]),
            (Some(right), Some("Europe/Berlin\n"), &[]),
            (Some("../usr/share/zoneinfo/Europe/Berlin"), Some("Europe/Berlin"), &[]),
            (Some("/usr/share/zoneinfo/Etc/UTC"), Some("Etc/UTC\n"), &[LINK, NOTE]),
            (Some("/nowhere"), None, &[LINK]),
            (None, None, &[LINK]),
            (Some(right), Some(""), &[NOTE]),
        ] {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join("etc")).unwrap();
            std::fs::create_dir_all(root.path().join("usr/share/zoneinfo/Europe")).unwrap();
            std::fs::write(root.path().join(&right[1..]), "TZif2").unwrap();
            if let Some(link) = link {
                symlink(link, root.path().join(&LINK[1..])).unwrap();
            }
            if let Some(note) = note {
                std::fs::write(root.path().join(&NOTE[1..]), note).unwrap();
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
            assert_eq!(found, off, "{link:?} {note:?}");
            if let Some(needed) = needed {
                it.apply(&system, &needed).unwrap();
            }
            assert_eq!(it.check(&system).unwrap(), Check::Holds);
            assert_eq!(root.path().join(&NOTE[1..]).exists(), note.is_some(), "the note is not made");
        }
    }

    #[test]
    fn a_zone_that_is_not_there_is_a_failure_and_no_zones_at_all_are_a_lack() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let system = System::under(root.path());
        let it = |zone: &str| -> Timezone {
            serde_json::from_value(serde_json::json!({"timezone": zone})).unwrap()
        };
        let Check::Needs(needed) = it("UTC").check(&system).unwrap() else { panic!() };
        assert_eq!(needed.lacks[0].thing, Thing::Package("tzdata".into()));
        std::fs::create_dir_all(root.path().join("usr/share/zoneinfo/Etc")).unwrap();
        std::fs::write(root.path().join("usr/share/zoneinfo/Etc/UTC"), "TZif2").unwrap();
        std::fs::write(root.path().join("usr/share/zoneinfo/Etc/Text"), "text").unwrap();
        for (zone, help) in
            [("UTC", "did you mean Etc/UTC?"), ("US/Eastern", "tzdata-legacy"), ("Etc/Text", "")]
        {
            let failure = it(zone).check(&system).unwrap_err();
            assert!(failure.reason.contains(&format!("there is no time zone {zone}")), "{}", failure.reason);
            assert!(failure.help.unwrap().contains(help));
        }
    }
}
