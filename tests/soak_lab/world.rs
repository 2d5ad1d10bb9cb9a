//! What a round declares: files, units, a program, a command, all of them in a version. Everything
//! follows from the seed.

use std::collections::BTreeMap;

use crate::rng::Rng;

const FILES: usize = 12;

/// A file in one of its versions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Version {
    pub number: u32,
    pub lines: usize,
}

/// The end that a spec is about.
#[derive(Clone, PartialEq, Debug)]
pub struct Goal {
    /// By name, in /srv/soak. None: it is declared absent.
    pub files: BTreeMap<String, Option<Version>>,
    /// Of /etc/soak/NAME.conf.
    pub confs: BTreeMap<char, u32>,
    /// Of the unit file and the program file.
    pub unit: u32,
    pub program: u32,
    /// A command that takes its time, and whether the first unit waits for it: that parts its
    /// change and its restart.
    pub slow: u32,
    pub is_gated: bool,
}

/// What reads a file of its name in /etc/soak: `a` restarts on it (a unit), `b` reloads (a unit), `p`
/// restarts (a program), `c` runs (a command).
pub const READERS: [char; 4] = ['a', 'b', 'p', 'c'];

impl Version {
    pub fn content(self) -> String {
        let line = format!("version {}, and so on to the end of the line\n", self.number);
        line.repeat(self.lines) + "the end\n"
    }

    /// Each version has its own, so that half of one and half of the other shows.
    pub fn mode(self) -> u32 {
        if self.number.is_multiple_of(2) { 0o640 } else { 0o604 }
    }
}

fn version(rng: &mut Rng) -> Option<Version> {
    if rng.one_in(6) {
        return None;
    }
    // From what goes along with a check to what needs many packets.
    let lines = [0, 3, 50, 400, 8_000][rng.below(5)];
    Some(Version { number: number(rng), lines })
}

fn number(rng: &mut Rng) -> u32 {
    u32::try_from(rng.below(1_000_000)).unwrap_or_default()
}

impl Goal {
    pub fn new(rng: &mut Rng) -> Goal {
        Goal {
            files: (0..FILES).map(|file| (format!("f{file}"), version(rng))).collect(),
            confs: READERS.map(|reader| (reader, number(rng))).into(),
            unit: number(rng),
            program: number(rng),
            slow: number(rng),
            is_gated: rng.one_in(2),
        }
    }

    /// Some of it otherwise.
    pub fn changed(&self, rng: &mut Rng) -> Goal {
        let mut goal = self.clone();
        for file in goal.files.values_mut() {
            if !rng.one_in(3) {
                *file = version(rng);
            }
        }
        for conf in goal.confs.values_mut() {
            if !rng.one_in(3) {
                *conf = number(rng);
            }
        }
        for (often, of) in [(3, &mut goal.unit), (3, &mut goal.program), (2, &mut goal.slow)] {
            if rng.one_in(often) {
                *of = number(rng);
            }
        }
        goal
    }

    /// What units and programs bring along, by path.
    pub fn own_files(&self) -> BTreeMap<String, String> {
        let unit = |name: char, more: &str| {
            let path = format!("/etc/systemd/system/soak-{name}.service");
            let start = format!("ExecStart=/usr/local/bin/soak-starts {name}");
            (path, format!("[Service]\n{start}\n{more}\n[Install]\nWantedBy=multi-user.target\n"))
        };
        let program = format!(
            "[program:soak-p]\ncommand=/usr/local/bin/soak-starts p\nenvironment=OWN=\"{}\"\nstartsecs=0\n",
            self.program
        );
        BTreeMap::from([
            unit('a', &format!("Environment=OWN={}", self.unit)),
            unit('b', "ExecReload=/usr/local/bin/soak-reloads b"),
            ("/etc/supervisor/conf.d/soak-p.conf".to_owned(), program),
        ])
    }

    pub fn spec(&self, address: &str) -> String {
        let mut text = format!(
            "hosts:\n  h:\n    address: {address}\n    user: root\nresources:\n  h:\n    - directory: /srv/soak\n      purge: true\n    \
             - directory: /etc/soak\n"
        );
        let mut say = |lines: &str| {
            text.push_str(&lines.lines().map(|line| format!("    {line}\n")).collect::<String>())
        };
        for (name, version) in &self.files {
            match version {
                None => say(&format!("- file: /srv/soak/{name}\n  state: absent")),
                Some(version) => {
                    let (content, mode) = (serde_json::json!(version.content()), version.mode());
                    say(&format!("- file: /srv/soak/{name}\n  mode: {mode:o}\n  content: {content}"));
                }
            }
        }
        for (reader, version) in &self.confs {
            say(&format!("- file: /etc/soak/{reader}.conf\n  content: \"{version}\\n\""));
        }
        say(&format!("- symlink: /srv/soak/current\n  target: {}", self.slow));
        let own: Vec<(String, String)> = self.own_files().into_iter().collect();
        let content_of = |name: &str| {
            let found = own.iter().find(|(path, _)| path.contains(name));
            serde_json::json!(found.expect("it has one").1)
        };
        let unit = |name: &str, watches: &str| {
            let content = content_of(&format!("{name}.service"));
            format!("- unit: {name}\n  enabled: true\n  settle: 100ms\n  content: {content}\n  {watches}")
        };
        let gate = if self.is_gated { "\n  depends_on: command:slow" } else { "" };
        let watches = format!("restart_on: [\"file:/etc/soak/a.conf\", /etc/soak/hand.conf]{gate}");
        say(&unit("soak-a", &watches));
        say(&unit("soak-b", "reload_on: [\"file:/etc/soak/b.conf\"]"));
        say("- unit: supervisor\n  enabled: true\n  settle: 100ms");
        say(&format!(
            "- program: soak-p\n  settle: 100ms\n  content: {}\n  restart_on: [\"file:/etc/soak/p.conf\", /etc/soak/hand.conf]",
            content_of("soak-p.conf")
        ));
        say("- command: soak-runs c\n  on_change_of: \"file:/etc/soak/c.conf\"");
        say(&format!(
            "- command: slow\n  run: sleep 0.3; touch /srv/soak/slow-{0}\n  creates: /srv/soak/slow-{0}",
            self.slow
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_round() {
        let of = |seed| {
            let mut rng = Rng::new(seed);
            let goal = Goal::new(&mut rng);
            (goal.changed(&mut rng), goal)
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }
}
