//! What a test did and saw, as a chapter of docs/xen.md: scripts/test-xen puts them together.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::support::lab::Output;
use crate::support::{Ran, run};

pub struct Record {
    file: &'static str,
    text: String,
    begun: Instant,
}

impl Record {
    pub fn new(file: &'static str, title: &str) -> Record {
        Record { file, text: format!("## {title}\n\n"), begun: Instant::now() }
    }

    pub fn say(&mut self, words: &str) {
        writeln!(self.text, "{words}\n").expect("a string takes it");
    }

    pub fn line(&mut self, words: &str) {
        writeln!(self.text, "{words}").expect("a string takes it");
    }

    /// The part of a spec that declares something, without its hosts.
    pub fn resources(&mut self, text: &str) {
        self.say(&format!(
            "```yaml\n# part of a spec: the host dom0 is reached as admin, with `become: sudo`\n\
             resources:\n  dom0:\n{}\n```",
            text.trim_end()
        ));
    }

    /// A command as a person would type it, what it printed, and how it ended.
    pub fn shown(&mut self, typed: &str, printed: &str, ended: &str) {
        let printed = printed.trim_end();
        self.say(&format!("```console\n$ {typed}\n{printed}\n```\n\n({ended})"));
    }

    /// A command in dom0, as root.
    pub fn in_dom0(&mut self, machine: &Machine, line: &str) -> Output {
        let begun = Instant::now();
        let ran = machine.dom0(line);
        let ended = format!("exit {}, {}", ran.status, seconds(begun.elapsed()));
        self.shown(&format!("ssh dom0 {line}"), &format!("{}{}", ran.stdout, ran.stderr), &ended);
        ran
    }

    pub fn xl_list(&mut self, machine: &Machine) -> String {
        let ran = self.in_dom0(machine, "xl list");
        assert!(ran.ok(), "{}", ran.stderr);
        ran.stdout
    }

    /// converge as a person runs it: what it printed is shown, with the lab's paths made short.
    pub fn converge(&mut self, machine: &Machine, verb: &str, spec: &Path) -> Ran {
        let begun = Instant::now();
        let ran = run(&mut machine.command(verb, spec));
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        let directory = format!("{}/", machine.lab.dir().display());
        let name = spec.file_name().unwrap_or_default().to_string_lossy();
        let ended = format!("exit {}, {}", ran.code, seconds(begun.elapsed()));
        self.shown(&format!("converge {verb} specs/{name}"), &printed.replace(&directory, "specs/"), &ended);
        ran
    }
}

pub fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0 => format!("{} ms", took.as_millis()),
        1..60 => format!("{:.1} s", took.as_secs_f64()),
        more => format!("{} min {} s", more / 60, more % 60),
    }
}

/// What the machine is and how long it takes to have it, for the table at the head of the page.
pub fn versions(machine: &Machine, from_snapshot: Duration) {
    let says = |line: &str| machine.must(line).trim().to_owned();
    let took = machine.lab.xen(&["took"]);
    assert!(took.ok(), "how long making it took is noted: {}", took.stderr);
    let noted = |what: &str| {
        let of = |line: &str| line.strip_prefix(what)?.trim().parse().ok();
        Duration::from_secs(took.stdout.lines().find_map(of).unwrap_or_else(|| panic!("{what}: {took:?}")))
    };
    let (disks, boot) = (noted("disks"), noted("boot"));
    let rows = format!(
        "| Xen | {} |\n| dom0 and guest | {}, Linux {} |\n\
         | the machine from nothing | {}: its disks from Debian's packages in {}, then booted, with a snapshot of that, in {} \
         (wanted: under 10 min) |\n\
         | the machine from its snapshot | {} until dom0's ssh answers (wanted: under 2 min) |\n",
        says("dpkg-query -Wf '${Version}' xen-hypervisor-4.17-amd64"),
        says(". /etc/os-release; echo \"$PRETTY_NAME\" $(cat /etc/debian_version)"),
        says("uname -r"),
        seconds(disks + boot),
        seconds(disks),
        seconds(boot),
        seconds(from_snapshot),
    );
    write("machine", &rows);
}

fn write(file: &str, text: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/xen");
    let written =
        std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(directory.join(file), text));
    if let Err(error) = written {
        eprintln!("the record {file} was not written: {error}");
    }
}

impl Drop for Record {
    /// Also of a test that failed: it shows how far it came.
    fn drop(&mut self) {
        let how = if std::thread::panicking() { "It failed here, after" } else { "This chapter took" };
        let text = format!("{}{how} {}.\n", self.text, seconds(self.begun.elapsed()));
        write(self.file, &text);
    }
}
