//! The one machine under real Xen that these tests share, one after the other.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::record;
use crate::support::lab::{Lab, Output};
use crate::support::{Ran, converge_in, run};

pub struct Machine {
    pub lab: Lab,
}

/// The machine as it was when its dom0 had just booted. None, which is said, where this test is not
/// wanted: it takes minutes and a whole core.
pub fn machine() -> Option<MutexGuard<'static, Machine>> {
    static MACHINE: OnceLock<Mutex<Machine>> = OnceLock::new();
    if std::env::var("CONVERGE_XEN").as_deref() != Ok("1") {
        eprintln!("left out: real Xen is for `make test-xen` (CONVERGE_XEN=1)");
        return None;
    }
    if let Err(reason) = Lab::real_xen_available() {
        panic!("real Xen was asked for, and is not to be had: {reason}");
    }
    // The lab goes with this process: a static is never dropped.
    let mut is_fresh = false;
    let machine = MACHINE.get_or_init(|| {
        is_fresh = true;
        let begun = Instant::now();
        let machine = Machine { lab: Lab::up_real_xen("real-xen") };
        let mut took = begun.elapsed();
        let how = std::fs::read_to_string(machine.lab.dir().join("begun")).expect("it says how it came up");
        if how.trim() != "from the snapshot" {
            let begun = Instant::now();
            machine.load("booted");
            took = begun.elapsed();
        }
        record::versions(&machine, took);
        Mutex::new(machine)
    });
    let machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_fresh {
        machine.load("booted");
    }
    Some(machine)
}

impl Machine {
    pub fn load(&self, snapshot: &str) {
        let loaded = self.lab.xen(&["load", snapshot]);
        assert!(loaded.ok(), "load {snapshot}: {}{}", loaded.stdout, loaded.stderr);
    }

    pub fn save(&self, snapshot: &str) {
        let saved = self.lab.xen(&["save", snapshot]);
        assert!(saved.ok(), "save {snapshot}: {}{}", saved.stdout, saved.stderr);
    }

    pub fn has(&self, snapshot: &str) -> bool {
        self.lab.xen(&["has", snapshot]).ok()
    }

    pub fn dom0(&self, line: &str) -> Output {
        self.lab.ssh("dom0", line)
    }

    pub fn must(&self, line: &str) -> String {
        self.lab.must("dom0", line)
    }

    pub fn put(&self, path: &str, text: &str) {
        self.must(&format!("cat >{path} <<'END-OF-FILE'\n{text}\nEND-OF-FILE"));
    }

    /// Power is cut: qemu is killed. Then it boots, from its disks alone.
    pub fn power_cut_and_boot(&self) {
        self.lab.power_cut("dom0");
        self.lab.boot("dom0");
    }

    /// The state column of a domain; empty where it is not listed.
    pub fn flags(&self, list: &str, name: &str) -> String {
        let row = list.lines().find(|line| line.split_whitespace().next() == Some(name));
        row.and_then(|row| row.split_whitespace().nth(4)).unwrap_or_default().to_owned()
    }

    pub fn spec(&self, name: &str, text: &str) -> PathBuf {
        let path = self.lab.dir().join(name);
        std::fs::write(&path, text).expect("the lab's directory is there");
        path
    }

    pub fn converge(&self, verb: &str, spec: &std::path::Path) -> Ran {
        run(self.command(verb, spec).args(["--format", "json"]))
    }

    pub fn command(&self, verb: &str, spec: &std::path::Path) -> Command {
        let mut command = converge_in(&self.lab);
        command.arg(verb).arg(spec);
        command
    }
}
