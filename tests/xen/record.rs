//! What a test did and saw, as a chapter of docs/xen.md: scripts/test-xen puts them together.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::machine::Machine;
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

    /// A command as a person would type it, and what it printed.
    pub fn shown(&mut self, typed: &str, printed: &str, took: Duration) {
        let printed = printed.trim_end();
        self.say(&format!("```console\n$ {typed}\n{printed}\n```\n\n({})", seconds(took)));
    }

    /// `xl list` in dom0.
    pub fn xl_list(&mut self, machine: &Machine) -> String {
        let begun = Instant::now();
        let list = machine.must("xl list");
        self.shown("xl list        # in dom0", &list, begun.elapsed());
        list
    }

    /// converge as a person runs it: what it printed is shown, with the lab's paths made short.
    pub fn converge(&mut self, machine: &Machine, verb: &str, spec: &Path) -> Ran {
        let begun = Instant::now();
        let ran = run(&mut machine.command(verb, spec));
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        let directory = format!("{}/", machine.lab.dir().display());
        let name = spec.file_name().unwrap_or_default().to_string_lossy();
        let printed = format!("{}(exit {})", printed.replace(&directory, "specs/"), ran.code);
        self.shown(&format!("converge {verb} specs/{name}"), &printed, begun.elapsed());
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

/// What the machine is, for the table at the head of the page.
pub fn versions(machine: &Machine, took: &str) {
    let says = |line: &str| machine.must(line).trim().to_owned();
    let rows = format!(
        "| until dom0's ssh answered | {took}, {} |\n| Xen | {} |\n| dom0 and guest | {}, Linux {} |\n\n",
        std::fs::read_to_string(machine.lab.dir().join("begun")).unwrap_or_default().trim(),
        says("dpkg-query -Wf '${Version}' xen-hypervisor-4.17-amd64"),
        says(". /etc/os-release; echo \"$PRETTY_NAME\" $(cat /etc/debian_version)"),
        says("uname -r"),
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
