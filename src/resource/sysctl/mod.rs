//! `sysctl`: a kernel parameter, now and at the next boot.

mod boot;
mod key;
mod missing;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::common::{Presence, Surroundings};
use super::text::{Part, Place, PlaceInFile, Text, Verdict, gap, mark_of_line};
use super::{Action, Change, Check, Failure, Invalid, Links, Needed, Resource, Thing};
use crate::attribute::AbsPath;
use crate::system::System;
use boot::Assignment;
pub use key::Key;

/// Where a parameter is written that names no other file.
const FILE: &str = "/etc/sysctl.d/99-converge.conf";

/// Other files there may set the same: what is declared of them comes first.
pub const BOOT_FILES: &str = "what else is read at boot";

/// A kernel parameter: its value now, and at the next boot.
///
/// The value that the kernel has is compared as the kernel reads it: blanks and tabs are one
/// (`net.ipv4.tcp_rmem`), and 0x10 is 16. For the next boot it is written to `file`; other lines
/// there, comments and their order stay as they are.
///
/// Where another file that is read later at boot sets the parameter to something else, this fails
/// and names that line: the value would not outlive a reboot. The files and their order are those of
/// sysctl.d(5): `*.conf` in /etc/sysctl.d, /run/sysctl.d, /usr/local/lib/sysctl.d and
/// /usr/lib/sysctl.d by their names; /etc/sysctl.conf counts where systemd has a link to it there
/// (as on Debian 12), and comes last where there is no systemd.
///
/// The value is given to the kernel first, so that one that it refuses is not written down. What
/// lists this in `restart_on` is restarted when `file` changes: where that matters, give the
/// parameter a file of its own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::needed_unless_absent("value")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["value"])))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::matches("value", r"^[^\r\n]*$", "A value has no line end in it.")))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::matches("file", r"^/((etc|run|usr/local/lib|usr/lib|lib)/sysctl\.d/[^/.][^/]*\.conf|etc/sysctl\.conf)$", "Not read at boot: write it as in /etc/sysctl.d/90-net.conf.")))]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// The parameter's name, as in `net.ipv4.ip_forward`. Where a part of it holds a dot (an
    /// interface eth0.1), that is written as a slash: `net.ipv4.conf.eth0/1.forwarding`.
    #[serde(rename = "sysctl")]
    pub key: Key,

    /// Its value. Needed, unless it is to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,

    /// The file that sets it at boot: a path in /etc/sysctl.d that ends with `.conf`, or
    /// /etc/sysctl.conf. It is made (0644) where it is missing.
    #[serde(default = "default_file")]
    pub file: AbsPath,

    /// `absent`: `file` does not set it. The value that the kernel has stays until the next boot.
    #[serde(default)]
    pub state: Presence,

    /// Filled in by the loader.
    #[serde(default, rename = "_surroundings", skip_serializing_if = "Surroundings::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub surroundings: Surroundings,
}

fn default_file() -> AbsPath {
    FILE.parse().expect("it is an absolute path")
}

impl Sysctl {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- sysctl: net.ipv4.tcp_keepalive_time
  value: 600
";

    fn part(&self) -> Part<'_> {
        Part { file: &self.file, state: self.state, create: true, surroundings: &self.surroundings }
    }

    fn wanted(&self) -> String {
        key::plain(self.value.as_deref().unwrap_or_default())
    }

    fn line(&self, is_lenient: bool) -> String {
        let sign = if is_lenient { "-" } else { "" };
        format!("{sign}{} = {}", self.key, self.wanted()).trim_end().to_owned()
    }

    /// What is off in the file.
    fn judge(&self, text: Option<Text>) -> Result<Option<Verdict>, Failure> {
        let mut text = text.unwrap_or_else(|| Text::parse(b""));
        let own: Vec<Assignment> =
            boot::assignments(&text).into_iter().filter(|it| it.key == self.key).collect();
        // The last one counts.
        let from = own.last().map(|it| it.value.clone());
        if self.state == Presence::Absent {
            for it in own.iter().rev() {
                text.remove(it.at, it.at + 1);
            }
            return Ok(
                from.map(|from| Verdict::new(Action::Remove, Change::new("file", Some(from), None), text))
            );
        }
        let change = Change::new("file", from, Some(self.wanted()));
        match own.last() {
            Some(it) if key::is_same(&self.wanted(), &it.value) => return Ok(None),
            Some(it) => text.replace(it.at, self.line(it.is_lenient).as_bytes()),
            None => {
                let at = gap(&text, Place::End, &self.surroundings.siblings);
                text.insert(at, &[self.line(false).as_bytes()]);
            }
        }
        Ok(Some(Verdict::new(Action::Change, change, text)))
    }

    /// From the value that the kernel has.
    fn running(&self, system: &System) -> Result<Option<Change>, Failure> {
        let path = self.key.path();
        let change = |from| Some(Change::new("running", from, Some(self.wanted())));
        match system.kernel_value(&path)? {
            Ok(value) if key::is_same(&self.wanted(), &value) => Ok(None),
            Ok(value) => Ok(change(Some(key::plain(&value)))),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(missing::failure(system, &self.key)),
            Err(Errno::ISDIR) => Err(Failure::new(format!("{} is a directory of parameters", self.key))
                .help(format!("name one of them: `sysctl -a | grep ^{}`", self.key.as_str()))),
            // net.ipv6.conf.*.stable_secret, as long as it has none.
            Err(Errno::IO) => Ok(change(None)),
            Err(Errno::ACCESS) if rustix::process::geteuid().is_root() => Err(Failure::new(format!(
                "{} can only be written: it does something, and has no value",
                self.key
            ))
            .help("use a `command`, which says when that is to be done")),
            Err(errno) => Err(crate::system::files::failure("reading", &path, errno)),
        }
    }

    fn set(&self, system: &System) -> Result<(), Failure> {
        let path = self.key.path();
        let wanted = self.wanted();
        let Err(errno) = system.set_kernel_value(&path, &wanted)? else { return Ok(()) };
        let words = crate::resource::io_words(&errno.into());
        let refused = Failure::new(format!("the kernel refuses {} = {wanted}: {words}", self.key));
        Err(match errno {
            Errno::ROFS => Failure::new(format!("{} cannot be set: {path} is read-only here", self.key)).help(
                "this is a container, or the like: set it where the container is run, or on its host",
            ),
            Errno::ACCESS | Errno::PERM if rustix::process::geteuid().is_root() => refused.help(
                "root may not: the parameter is the whole machine's and this is a container, or the kernel is locked down",
            ),
            Errno::ACCESS | Errno::PERM => crate::system::files::failure("writing", &path, errno),
            Errno::NOENT => refused.help(
                "what the value names is not there: a module may bring it (tcp_bbr for bbr, sch_fq for fq)",
            ),
            _ => refused.help("the parameter takes other values: see `man 5 proc` and the kernel's sysctl documentation"),
        })
    }
}

impl Resource for Sysctl {
    fn name(&self) -> String {
        self.key.to_string()
    }

    fn links(&self) -> Links {
        let directory = self.file.parent().map(Thing::Path);
        let links = self.part().links();
        match directory {
            Some(directory) if self.file.as_str() != boot::CLASSIC => links.stands_on(directory, BOOT_FILES),
            _ => links,
        }
    }

    fn can_wait() -> bool {
        false
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        match (&self.value, self.state) {
            (None, Presence::Present) => invalid.push(Invalid::lack(
                "sysctl",
                "`value` is missing",
                "add `value: …`, or `state: absent` if its file is not to set it",
            )),
            (Some(_), Presence::Absent) => invalid.push(Invalid::new(
                "value",
                "`value` says what it is, and `state: absent` that nothing sets it",
                "leave one of them out",
            )),
            (Some(value), _) if value.contains(['\n', '\r', '\0']) => {
                invalid.push(Invalid::new("value", "a value has no line end in it", "write it on one line"))
            }
            _ => {}
        }
        if !boot::may_be_read(&self.file) {
            invalid.push(Invalid::new(
                "file",
                format!("{} is not read at boot", self.file),
                "name a file in /etc/sysctl.d that ends with .conf, as in /etc/sysctl.d/90-net.conf",
            ));
        }
        invalid
    }

    fn content_paths(&self) -> Vec<AbsPath> {
        vec![self.file.clone()]
    }

    fn surroundings(&mut self) -> Option<&mut Surroundings> {
        Some(&mut self.surroundings)
    }

    fn place_in_file(&self) -> Option<PlaceInFile> {
        let is_there = self.state == Presence::Present;
        let mark = mark_of_line(self.line(false).as_bytes());
        is_there.then(|| PlaceInFile::new(&self.file, Place::End, mark))
    }

    fn makes_file(&self) -> Option<AbsPath> {
        (self.state == Presence::Present).then(|| self.file.clone())
    }

    fn makes_only_what_it_provides(&self) -> bool {
        true
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        if self.state == Presence::Absent {
            return self.part().check(system, |text| self.judge(text));
        }
        let running = self.running(system)?;
        let is_wanted = |value: &str| key::is_same(&self.wanted(), value);
        boot::judge(system, &self.file, &self.key, is_wanted)?;
        let file = self.part().check(system, |text| self.judge(text))?;
        let mut needed = match file {
            Check::Needs(needed) => needed,
            _ => Needed { action: Action::Change, changes: Vec::new(), lacks: Vec::new() },
        };
        needed.changes.splice(0..0, running);
        Ok(if needed.changes.is_empty() { Check::Holds } else { Check::Needs(needed) })
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        if needed.has("running") {
            self.set(system)?;
        }
        if needed.has("file") {
            self.part().apply(system, |text| self.judge(text))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FORWARD: &str = "proc/sys/net/ipv4/ip_forward";

    fn machine(file: Option<&str>) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for directory in ["proc/sys/net/ipv4", "etc/sysctl.d", "run/systemd/system"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join(FORWARD), "0\n").unwrap();
        if let Some(text) = file {
            std::fs::write(root.path().join(&FILE[1..]), text).unwrap();
        }
        let system = System::under(root.path());
        (root, system)
    }

    fn sysctl(attributes: serde_json::Value) -> Sysctl {
        let mut attributes = attributes;
        attributes.as_object_mut().unwrap().entry("sysctl").or_insert("net.ipv4.ip_forward".into());
        serde_json::from_value(attributes).unwrap()
    }

    /// What the file is then: in one step, after which it holds.
    #[track_caller]
    fn becomes(it: &Sysctl, before: Option<&str>, after: &str) {
        let (root, system) = machine(before);
        assert_eq!(it.validate(), []);
        if let Check::Needs(needed) = it.check(&system).unwrap() {
            it.apply(&system, &needed).unwrap();
        }
        assert_eq!(it.check(&system).unwrap(), Check::Holds);
        assert_eq!(std::fs::read_to_string(root.path().join(&FILE[1..])).unwrap(), after);
        if it.state == Presence::Present {
            assert_eq!(std::fs::read_to_string(root.path().join(FORWARD)).unwrap().trim(), "1");
        }
    }

    #[test]
    fn other_lines_comments_and_their_order_stay() {
        let it = sysctl(json!({"value": "1"}));
        becomes(&it, None, "net.ipv4.ip_forward = 1\n");
        becomes(&it, Some("# a\nvm.x = 1\n"), "# a\nvm.x = 1\nnet.ipv4.ip_forward = 1\n");
        becomes(&it, Some("net.ipv4.ip_forward=0\n# b"), "net.ipv4.ip_forward = 1\n# b");
        becomes(&it, Some("-net/ipv4/ip_forward = 0\nvm.x=1\n"), "-net.ipv4.ip_forward = 1\nvm.x=1\n");
        becomes(&it, Some("  net.ipv4.ip_forward=1  \n"), "  net.ipv4.ip_forward=1  \n");
        becomes(&it, Some("#net.ipv4.ip_forward=1\n"), "#net.ipv4.ip_forward=1\nnet.ipv4.ip_forward = 1\n");
        // The last one counts.
        becomes(
            &it,
            Some("net.ipv4.ip_forward=1\nnet.ipv4.ip_forward=0\n"),
            "net.ipv4.ip_forward=1\nnet.ipv4.ip_forward = 1\n",
        );
        let gone = sysctl(json!({"state": "absent"}));
        becomes(&gone, Some("# a\nnet.ipv4.ip_forward=1\nvm.x=1\nnet/ipv4/ip_forward=0\n"), "# a\nvm.x=1\n");
    }

    #[test]
    fn the_plan_says_what_runs_and_what_the_file_has() {
        let (_root, system) = machine(Some("net.ipv4.ip_forward = 2\n"));
        let check = sysctl(json!({"value": "1"})).check(&system).unwrap();
        let changes = vec![Change::from_to("running", "0", "1"), Change::from_to("file", "2", "1")];
        assert_eq!(check, Check::needs(Action::Change, changes));
    }

    #[test]
    fn what_is_no_parameter_is_told() {
        let (root, system) = machine(None);
        let said =
            |key: &str| sysctl(json!({"sysctl": key, "value": "1"})).check(&system).unwrap_err().reason;
        assert!(said("net.ipv4.nothing").contains("the kernel has no parameter net.ipv4.nothing"));
        assert!(said("net.ipv4").contains("is a directory of parameters"));
        assert!(said("net.ipv4.ip_forward.x").contains("has no parameter"));
        let later = root.path().join("etc/sysctl.d/zzz.conf");
        std::fs::write(later, "net.ipv4.ip_forward = 0\n").unwrap();
        assert!(said("net.ipv4.ip_forward").contains("at boot net.ipv4.ip_forward would be 0"));
    }

    #[test]
    fn what_boot_would_not_read_is_refused() {
        let invalid =
            |attributes| sysctl(attributes).validate().into_iter().map(|it| it.attribute).collect::<Vec<_>>();
        assert_eq!(invalid(json!({"value": "1", "file": "/etc/sysctl.d/x"})), ["file"]);
        assert_eq!(invalid(json!({"value": "1", "file": "/etc/x.conf"})), ["file"]);
        assert_eq!(invalid(json!({"value": "1", "file": "/etc/sysctl.conf"})), [""; 0]);
        assert_eq!(invalid(json!({})), ["sysctl"]);
        assert_eq!(invalid(json!({"value": "1", "state": "absent"})), ["value"]);
        assert_eq!(invalid(json!({"value": "1\n2"})), ["value"]);
    }
}
