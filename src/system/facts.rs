//! What a machine says of itself: `facts` in a spec. Gathered with the agent's first answer, so
//! cheaply, and from files of /etc, /usr, /proc, /sys and /run alone: no program, no DNS, no mount
//! that might hang.
//!
//! The doc comments of the fields are docs/facts.md, which a test compares with them.

mod addresses;
mod kind;
mod os_release;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::System;

/// What a file may say, at most: a hosts file with lists of advertisers is the longest of them.
const CAP: u64 = 4 * 1024 * 1024;

/// The facts of a machine. What it does not say is an empty text, or 0.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub os: Os,
    /// The processor's architecture, as `uname -m` has it: `x86_64`, `aarch64`.
    pub arch: String,
    /// The kernel's release, as `uname -r` has it: `6.1.0-18-amd64`.
    pub kernel: String,
    /// The name the kernel goes by, as `hostname` has it.
    pub hostname: String,
    /// The full name: the hostname where it has a dot in it, else what /etc/hosts has for it, else
    /// the hostname alone. DNS is not asked.
    pub fqdn: String,
    /// Its IP addresses, IPv4 first, without those of loopback and without link-local ones.
    pub addresses: Vec<String>,
    /// How many logical processors are online.
    pub cpus: u32,
    /// Its memory in bytes, as far as the kernel has it to give.
    pub memory: u64,
    /// What runs as process 1: `systemd`, `openrc`, `runit`, or else its name.
    pub init: String,
    /// What installs packages: `apt`, `dnf`, `apk`, `pacman` or `zypper`; the system's own where
    /// there are several.
    pub package_manager: String,
    /// What it runs in: `none` for bare metal, `kvm`, `qemu`, `vmware`, `microsoft`, `oracle`,
    /// `xen-dom0`, `xen-pv`, `xen-hvm`, `xen-pvh`, `lxc`, `docker`, `podman`, `systemd-nspawn`,
    /// `wsl`, `openvz`; `vm-other` for a hypervisor that is none of these.
    pub virtualization: String,
}

/// The operating system, as os-release(5) tells it.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Os {
    /// `debian`, `ubuntu`, `rocky`, `fedora`, `alpine`, `arch`, …; `linux` where nothing says it.
    pub id: String,
    /// What it is made from or behaves like, nearest first: `[rhel, centos, fedora]` on Rocky;
    /// empty on Debian, Alpine and Arch.
    pub id_like: Vec<String>,
    /// As people call it: `Debian GNU/Linux`.
    pub name: String,
    /// The version's number, a text: `12`, `24.04`, `9.3`; empty on Arch and on Debian unstable.
    pub version: String,
    /// The release's name: `bookworm`, `noble`; empty where releases have none (Alpine, Rocky).
    pub codename: String,
}

impl Os {
    /// What the machine says it runs.
    pub fn read(system: &System) -> Os {
        os_release::read(&Machine { root: system.root() })
    }
}

impl Facts {
    /// Never fails, and never waits: what cannot be read is not known.
    pub fn gather(system: &System) -> Facts {
        let machine = Machine { root: system.root() };
        let uname = rustix::system::uname();
        let hostname = uname.nodename().to_string_lossy().into_owned();
        let os = os_release::read(&machine);
        Facts {
            arch: uname.machine().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            fqdn: fqdn(&hostname, &machine.read("/etc/hosts")),
            hostname,
            addresses: addresses::all(),
            cpus: cpus(&machine),
            memory: memory(&machine.read("/proc/meminfo")),
            init: kind::init(&machine),
            package_manager: kind::package_manager(&machine, &os),
            virtualization: kind::virtualization(&machine),
            os,
        }
    }
}

/// The `package_manager` of `Facts`, alone.
pub fn package_manager(system: &System) -> String {
    let machine = Machine { root: system.root() };
    kind::package_manager(&machine, &os_release::read(&machine))
}

/// The machine's files, below a root that tests can move.
struct Machine<'a> {
    root: &'a Path,
}

impl Machine<'_> {
    fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file; empty where it cannot be read.
    fn read(&self, path: &str) -> String {
        self.start_of(path, CAP)
    }

    /// As far as it is worth reading: /proc/cpuinfo of a large machine is long, and made anew for
    /// each reader.
    fn start_of(&self, path: &str, cap: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(self.locate(path)) {
            // What was read before an error may still say something.
            let _ = file.take(cap).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn line(&self, path: &str) -> String {
        self.read(path).lines().next().unwrap_or_default().trim().to_owned()
    }

    fn has(&self, path: &str) -> bool {
        self.locate(path).exists()
    }
}

/// hosts(5): an address, its full name, its other names. Only the file: a name server that is
/// down would cost seconds on each host of a run.
fn fqdn(hostname: &str, hosts: &str) -> String {
    if hostname.contains('.') || hostname.is_empty() {
        return hostname.to_owned();
    }
    let full = |line: &str| {
        let names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        let is_full = |name: &&str| {
            name.strip_prefix(hostname).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'))
        };
        let names: Vec<&str> = names.collect();
        let is_ours = names.contains(&hostname) || names.iter().any(is_full);
        names.into_iter().find(is_full).filter(|_| is_ours).map(str::to_owned)
    };
    hosts.lines().find_map(full).unwrap_or_else(|| hostname.to_owned())
}

fn cpus(machine: &Machine<'_>) -> u32 {
    count(&machine.line("/sys/devices/system/cpu/online")).unwrap_or_else(|| {
        // No /sys: what this process may use is the next best.
        std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(0))
    })
}

/// How many there are in `0-3,5`.
fn count(list: &str) -> Option<u32> {
    list.split(',').try_fold(0, |sum: u32, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// proc_meminfo(5) counts in units of 1024 bytes.
fn memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_full_name_comes_from_the_hosts_file_and_never_from_dns() {
        let hosts = "127.0.0.1 localhost # web1.comment.tld web1\n10.0.0.9 web10.a.tld web10\n\
                     127.0.1.1\tweb1.a.tld web1\n10.0.0.1 web1.b.tld\n";
        for (hostname, full) in [
            ("web1", "web1.a.tld"),
            ("web1.c.tld", "web1.c.tld"),
            ("web2", "web2"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(fqdn(hostname, hosts), full, "{hostname}");
        }
        assert_eq!(fqdn("db", "10.0.0.2 db.a.tld\n"), "db.a.tld");
        assert_eq!(fqdn("db", "10.0.0.2 db db. alias.a.tld\n"), "db");
    }

    #[test]
    fn ranges_of_processors_are_counted() {
        for (list, cpus) in
            [("0", Some(1)), ("0-3", Some(4)), ("0-3,8,10-11", Some(7)), ("", None), ("3-1", None)]
        {
            assert_eq!(count(list), cpus, "{list}");
        }
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(memory("MemTotal:       16331316 kB\nMemFree: 1 kB\n"), 16_331_316 * 1024);
        assert_eq!(memory(""), 0);
    }

    #[test]
    fn this_machine_says_the_same_as_its_programs() {
        let facts = Facts::gather(&System::machine());
        let said = |program: &str, word: &str| {
            let output = Command::new(program).arg(word).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(facts.arch, said("uname", "-m"));
        assert_eq!(facts.kernel, said("uname", "-r"));
        assert_eq!(facts.hostname, said("uname", "-n"));
        assert_eq!(facts.cpus.to_string(), said("nproc", "--all"));
        assert!(facts.memory > 64 * 1024 * 1024);
        assert!(!facts.os.id.is_empty() && !facts.init.is_empty() && !facts.virtualization.is_empty());
    }

    #[test]
    fn a_machine_that_says_nothing_has_facts_all_the_same() {
        let empty = tempfile::tempdir().unwrap();
        let facts = Facts::gather(&System::under(empty.path()));
        assert_eq!((facts.os.id.as_str(), facts.memory, facts.package_manager.as_str()), ("linux", 0, ""));
        assert_eq!(facts.virtualization, "none");
    }
}
