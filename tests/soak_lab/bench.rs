//! A host of the lab and converge on its controller: how a round acts on them, and what it sees.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::lab::Lab;
use crate::support::{Ran, converge_in, run};
use crate::world::Goal;

/// What a thread works on.
pub struct Bench<'a> {
    pub lab: &'a Lab,
    pub host: String,
    /// Its spec, its way to the host, and what that leaves.
    pub notes: PathBuf,
}

/// What lies at a path: its kind, mode and content (a hash; of a link, its target).
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    pub kind: char,
    pub mode: u32,
    pub content: String,
}

/// What a unit or program said of one of its starts.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// `start`, `reload`, `begin`, `end`; `hand`: somebody restarted it.
    pub what: String,
    pub boot: String,
    /// Its file's version, the other file's, and its own unit's.
    pub versions: [String; 3],
}

const STARTS: &str = "#!/bin/sh
# NAME: says on the disk what it was started with.
say() { echo \"$1 $(cat /proc/sys/kernel/random/boot_id) $(cat /etc/soak/$2.conf) $(cat /etc/soak/hand.conf) ${OWN:-0}\" >> /var/log/soak/$2; }
case ${0##*/} in
  soak-starts) say start $1; exec sleep infinity ;;
  soak-reloads) say reload $1 ;;
  soak-runs) say begin $1; sleep 0.2; say end $1 ;;
esac
";

const LOOK: &str = "
cd /
for path in $(find srv/soak etc/soak etc/systemd/system/soak-* etc/supervisor/conf.d -mindepth 0 2>/dev/null); do
  if [ -L $path ]; then content=$(readlink $path); elif [ -f $path ]; then content=$(sha256sum < $path); else content=-; fi
  echo $(stat -c '%A %a' $path) /$path ${content% *}
done";

impl Bench<'_> {
    pub fn new<'a>(lab: &'a Lab, host: &str) -> Bench<'a> {
        let notes = lab.dir().join("soak").join(host);
        std::fs::create_dir_all(&notes).unwrap();
        let config = std::fs::read_to_string(lab.ssh_config()).unwrap();
        let relay = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/soak_lab/relay.py");
        let proxy = format!("ProxyCommand python3 {} %h {}\n", relay.display(), notes.display());
        std::fs::write(notes.join("ssh_config"), format!("{proxy}{config}")).unwrap();
        for name in ["soak-starts", "soak-reloads", "soak-runs"] {
            lab.put_mode(host, &format!("/usr/local/bin/{name}"), STARTS, "755");
        }
        lab.put(host, "/etc/soak/hand.conf", "0\n");
        lab.sh(["root", host, "mkdir", "-p", "/var/log/soak"]);
        Bench { lab, host: host.to_owned(), notes }
    }

    /// The command line of converge, for this host's spec. `relay`: what happens on its way.
    pub fn converge(&self, verb: &str, goal: &Goal, relay: &str) -> Command {
        let spec = self.notes.join("spec.yaml");
        std::fs::write(&spec, goal.spec(&self.lab.ip(&self.host))).unwrap();
        for left in ["caller", "relay", "happened", "bytes"] {
            let _ = std::fs::remove_file(self.notes.join(left));
        }
        let mut command = converge_in(self.lab);
        command.arg(verb).args(["--format", "json"]).arg(spec).env("SOAK_RELAY", relay);
        command.env("CONVERGE_SSH_CONFIG", self.notes.join("ssh_config"));
        command.env("CONVERGE_RUNTIME_DIR", self.notes.join("runtime"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, verb: &str, goal: &Goal) -> Ran {
        run(&mut self.converge(verb, goal, "count"))
    }

    /// What the relay has noted: None: it did not come to that.
    pub fn noted(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.notes.join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    pub fn noted_number(&self, name: &str) -> Option<i32> {
        self.noted(name)?.parse().ok()
    }

    /// A shell line on the host, without ssh, and also while it is off.
    pub fn on_host(&self, line: &str) -> String {
        self.lab.sh(["root", &self.host, "sh", "-c", line])
    }

    pub fn files(&self) -> BTreeMap<String, Found> {
        let mut found = BTreeMap::new();
        for line in self.on_host(LOOK).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            // A run that is not over yet may take away what was listed just now.
            let (access, mode, path, content) = match words[..] {
                [access, mode, path, content] => (access, mode, path, content),
                [_path, "-"] => continue,
                _ => panic!("{line}"),
            };
            let mode = u32::from_str_radix(mode, 8).unwrap();
            let kind = access.chars().next().unwrap();
            found.insert(path.to_owned(), Found { kind, mode, content: content.to_owned() });
        }
        found
    }

    pub fn told_by(&self, name: char) -> Vec<Told> {
        let text = self.on_host(&format!("cat /var/log/soak/{name} 2>/dev/null || true"));
        let read = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let mut next = || words.next().unwrap_or_default();
            Told { what: next(), boot: next(), versions: [next(), next(), next()] }
        };
        text.lines().map(read).collect()
    }

    /// What should not be there when a run is over: an agent, a lock, programs of either.
    pub fn left_behind(&self) -> Option<String> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let left = self.on_host(
                "pgrep -af 'converge-agent-|soak-runs|supervisorctl|systemctl|touch /srv/soak' | grep -v pgrep; \
                 [ ! -e /run/converge/lock ] || flock -n /run/converge/lock true || echo the lock is held; true",
            );
            if left.is_empty() {
                return None;
            }
            if Instant::now() > end {
                return Some(left);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
