//! Talking to libvirt through `virsh`, and what it says of a domain.

use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};

/// What `virsh` names for others: then it is asked without one of ours.
const URI_VARIABLE: &str = "LIBVIRT_DEFAULT_URI";
const URI: &str = "qemu:///system";

/// Where a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    Absent,
    ShutOff,
    /// Being started: it shows as paused meanwhile.
    Starting,
    Running,
    Paused,
    /// The guest has put itself to sleep.
    Asleep,
    /// The guest is shutting down, or the domain is being taken apart.
    Stopping,
    /// Kept after its crash (`on_crash` is `preserve`): the guest does not run.
    Crashed,
}

/// A domain as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Now {
    pub situation: Situation,
    /// As libvirt says it: `running (booted)`.
    pub told: String,
    /// Of this one start.
    pub id: Option<String>,
    /// It has a definition that outlives it.
    pub persistent: bool,
    pub autostart: bool,
}

impl Now {
    fn absent() -> Now {
        let told = "absent".to_owned();
        Now { situation: Situation::Absent, told, id: None, persistent: false, autostart: false }
    }

    /// From what `domstate --reason` and `dominfo` say.
    fn read(text: &str) -> Option<Now> {
        let told = text.lines().map(str::trim).find(|line| !line.is_empty())?.to_owned();
        let value = |key: &str| {
            let found =
                text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == key);
            found.map(|(_, value)| value.trim())
        };
        let (state, reason) = told.split_once(" (").unwrap_or((&told, ""));
        let situation = match (state, reason.trim_end_matches(')')) {
            ("running" | "idle", _) => Situation::Running,
            ("paused", "starting up") | ("no state", _) => Situation::Starting,
            ("paused", "shutting down") | ("in shutdown", _) => Situation::Stopping,
            ("paused", "crashed") | ("crashed", _) => Situation::Crashed,
            ("paused", _) => Situation::Paused,
            ("pmsuspended", _) => Situation::Asleep,
            ("shut off", _) => Situation::ShutOff,
            _ => return None,
        };
        Some(Now {
            situation,
            id: value("Id").filter(|id| *id != "-").map(str::to_owned),
            persistent: value("Persistent") == Some("yes"),
            autostart: value("Autostart") == Some("enable"),
            told,
        })
    }
}

pub struct Virsh<'a> {
    pub system: &'a System,
    pub name: &'a str,
}

impl Virsh<'_> {
    pub fn now(&self) -> Result<Now, Failure> {
        let output = self.run(&[&format!("domstate {0} --reason; dominfo {0}", self.name)], None)?;
        if output.stderr.contains("failed to get domain") {
            return Ok(Now::absent());
        }
        if !output.succeeded() {
            return Err(not_usable(&output));
        }
        Now::read(&output.stdout).ok_or_else(|| {
            Failure::new(format!("virsh says of domain {} what converge does not understand", self.name))
                .detail("virsh", output.stdout.trim_end())
        })
    }

    /// A call on the domain.
    pub fn call(&self, verb: &str, options: &[&str]) -> Result<(), Failure> {
        let output = self.output(verb, options)?;
        if output.succeeded() { Ok(()) } else { Err(self.failed(verb, &output)) }
    }

    /// Started, and where the hypervisor cannot begin paused, paused right after.
    pub fn start_paused(&self) -> Result<(), Failure> {
        let output = self.output("start", &["--paused"])?;
        if output.succeeded() {
            return Ok(());
        }
        if !output.stderr.contains("unsupported flags") {
            return Err(self.failed("start", &output));
        }
        self.call("start", &[])?;
        self.call("suspend", &[])
    }

    /// Takes its definition away, with what libvirt itself keeps beside it; its disks, and the
    /// variables of its firmware, stay.
    pub fn undefine(&self) -> Result<(), Failure> {
        let all = ["--managed-save", "--snapshots-metadata", "--checkpoints-metadata", "--keep-nvram"];
        let output = self.output("undefine", &all)?;
        if output.succeeded() || output.stderr.contains("failed to get domain") {
            return Ok(());
        }
        if output.stderr.contains("unsupported flags") || output.stderr.contains("unsupported option") {
            return self.call("undefine", &[]);
        }
        Err(self.failed("undefine", &output))
    }

    pub fn define(&self, config: &AbsPath) -> Result<(), Failure> {
        let output = self.run(&["define", config.as_str()], None)?;
        if output.succeeded() {
            return Ok(());
        }
        let said = output.stderr.lines().map(|line| line.trim_start_matches("error: ")).nth(1);
        let why = said.map_or_else(|| output.ending(), str::to_owned);
        Err(Failure::new(format!("domain {} could not be defined from {config}: {why}", self.name))
            .help(format!("`virt-xml-validate {config}` says what is wrong in it"))
            .detail("stderr of virsh define", output.stderr.trim_end()))
    }

    /// One that was created without a definition gets that by which it runs.
    pub fn define_as_it_runs(&self) -> Result<(), Failure> {
        let shown = self.output("dumpxml", &["--inactive", "--security-info"])?;
        if !shown.succeeded() {
            return Err(self.failed("dumpxml", &shown));
        }
        let output = self.run(&["define", "/dev/stdin"], Some(shown.stdout.as_bytes()))?;
        if output.succeeded() { Ok(()) } else { Err(self.failed("define", &output)) }
    }

    fn output(&self, verb: &str, options: &[&str]) -> Result<Output, Failure> {
        let argv: Vec<&str> = [verb, self.name].into_iter().chain(options.iter().copied()).collect();
        self.run(&argv, None)
    }

    fn run(&self, arguments: &[&str], stdin: Option<&[u8]>) -> Result<Output, Failure> {
        let mut argv = vec!["virsh", "-q"];
        if std::env::var_os(URI_VARIABLE).is_none_or(|uri| uri.is_empty()) {
            argv.extend(["-c", URI]);
        }
        argv.extend(arguments);
        let mut invocation = Invocation::new(argv);
        if let Some(bytes) = stdin {
            invocation = invocation.stdin(bytes);
        }
        self.system.run(&invocation).map_err(|failure| match failure.reason.contains("not installed") {
            true => failure.help("a libvirt `domain` is declared on the machine that runs it, with libvirt's tools: `- package: libvirt-clients`"),
            false => failure,
        })
    }

    fn failed(&self, verb: &str, output: &Output) -> Failure {
        output.failure(format!("`virsh {verb} {}`", self.name))
    }
}

fn not_usable(output: &Output) -> Failure {
    let failure = output.failure("asking libvirt");
    let said = &output.stderr;
    if said.contains("authentication unavailable")
        || said.contains("Permission denied")
        || said.contains("authentication failed")
    {
        failure.help("libvirt lets only root and its own group do this: `become: sudo` on the host")
    } else if said.contains("Failed to connect socket") {
        failure.help("libvirt does not run here: declare `- unit: libvirtd` (or virtqemud.socket, where its daemons are many)")
    } else {
        failure
    }
}

/// The name that a domain's XML gives it; None: there is none, or it is no domain.
pub fn name_in(xml: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = xml;
    // What stands in comments counts for nothing.
    while let Some((before, after)) = rest.split_once("<!--") {
        text.push_str(before);
        rest = after.split_once("-->")?.1;
    }
    text.push_str(rest);
    let (_, inside) = text.split_once("<domain")?;
    let (_, after) = inside.split_once("<name>")?;
    let name = after.split_once("</name>")?.0.trim();
    Some(name.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn every_state_and_reason_has_its_situation() {
        for (told, situation) in [
            ("running (booted)", Situation::Running),
            ("idle (unknown)", Situation::Running),
            ("running (unpaused)", Situation::Running),
            ("paused (user)", Situation::Paused),
            ("paused (I/O error)", Situation::Paused),
            ("paused (starting up)", Situation::Starting),
            ("no state (no state)", Situation::Starting),
            ("paused (shutting down)", Situation::Stopping),
            ("in shutdown (user)", Situation::Stopping),
            ("paused (crashed)", Situation::Crashed),
            ("crashed (panicked)", Situation::Crashed),
            ("pmsuspended (unknown)", Situation::Asleep),
            ("shut off (shutdown)", Situation::ShutOff),
            ("shut off (crashed)", Situation::ShutOff),
            ("shut off (saved)", Situation::ShutOff),
        ] {
            assert_eq!(Now::read(told).unwrap().situation, situation, "{told}");
        }
        assert_eq!(Now::read("laeuft (gestartet)\n"), None);
        assert_eq!(Now::read("\n"), None);
    }

    #[test]
    fn the_recorded_answers_are_read() {
        let running = Now::read(include_str!("../../../tests/data/virsh/running.txt")).unwrap();
        assert_eq!((running.situation, running.id.as_deref()), (Situation::Running, Some("45")));
        assert!(running.persistent && running.autostart);
        let off = Now::read(include_str!("../../../tests/data/virsh/shut-off.txt")).unwrap();
        assert_eq!((off.situation, off.id.as_deref(), off.autostart), (Situation::ShutOff, None, false));
        let transient = Now::read(include_str!("../../../tests/data/virsh/transient.txt")).unwrap();
        assert!(!transient.persistent);
    }

    #[test]
    fn why_libvirt_cannot_be_used_comes_with_the_way_out() {
        let said = |stderr: &str| {
            let status = std::process::ExitStatus::from_raw(1 << 8);
            let stderr = format!("error: failed to connect to the hypervisor\nerror: {stderr}\n");
            not_usable(&Output { status, stdout: String::new(), stderr }).help.unwrap()
        };
        let polkit = "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'";
        assert!(said(polkit).contains("become: sudo"));
        let socket = "Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory";
        assert!(said(socket).contains("- unit: libvirtd"));
    }

    #[test]
    fn the_name_in_a_domains_xml_is_found() {
        for (xml, name) in [
            ("<domain type='kvm'>\n  <name>vps0</name>\n</domain>", Some("vps0")),
            (
                "<?xml version='1.0'?><!-- <name>old</name> --><domain><name> a&amp;b </name></domain>",
                Some("a&b"),
            ),
            ("<network><name>default</name></network>", None),
            ("<domain type='kvm'></domain>", None),
            ("<domain><!-- <name>x</name>", None),
            ("", None),
        ] {
            assert_eq!(name_in(xml).as_deref(), name, "{xml}");
        }
    }
}
