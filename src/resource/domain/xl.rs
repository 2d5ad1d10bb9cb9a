//! Talking to Xen through `xl`, and what its errors mean.

use std::path::Path;
use std::time::Duration;

use super::listed::{AtWork, Row, Situation, find};
use super::memory;
use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};
use crate::system::processes::Process;

/// A domain as it is now.
#[derive(Debug)]
pub struct Now {
    pub situation: Situation,
    pub row: Option<Row>,
}

pub struct Xl<'a> {
    pub system: &'a System,
    pub name: &'a str,
    pub config: &'a AbsPath,
}

impl Xl<'_> {
    pub fn now(&self) -> Result<Now, Failure> {
        // All of them: `xl list NAME` takes a number for an id.
        let output = self.system.tool(["xl", "list"]).map_err(|failure| match &failure.help {
            Some(_) if failure.reason.contains("not installed") => failure.help(
                "a `domain` is declared on the machine that runs Xen (its dom0), with Xen's tools: xen-utils",
            ),
            _ => failure,
        })?;
        if !output.succeeded() {
            return Err(not_usable(&output));
        }
        let row = find(&output.stdout, self.name);
        let work = self.at_work(row.as_ref());
        let situation = memory::with_patience(row.as_ref(), Situation::of(row.as_ref(), work));
        Ok(Now { situation, row })
    }

    /// Creates it, and waits for `xl` to be done: seconds, or minutes on a slow machine. One at a
    /// time, as `xendomains` does it: Xen's tools give each other up after 10 s, and five at once were
    /// seen to do so ("console tty: timed out").
    pub fn create(&self, paused: bool) -> Result<(), Failure> {
        let _turn = self.system.turn("xl create")?;
        let mut argv = vec!["xl", "create"];
        if paused {
            argv.push("-p");
        }
        argv.push(self.config.as_str());
        let output = self.system.run(&Invocation::new(argv)).map_err(|failure| {
            if failure.reason.contains("did not end within") {
                return Failure::new(format!(
                    "domain {}: `xl create` did not end within the timeout, and was killed",
                    self.name
                ))
                .help("give the domain a longer `timeout`; the next run clears away what was half built");
            }
            failure
        })?;
        if output.succeeded() || output.stderr.contains("already exists") {
            // Somebody else's create came first: what it comes to is for the next check to say.
            return Ok(());
        }
        Err(not_created(self.name, self.config, &output))
    }

    /// A call on the domain as it is; one that is gone meanwhile is no failure of the call.
    pub fn call(&self, verb: &str) -> Result<(), Failure> {
        let output = self.system.tool(["xl", verb, self.name])?;
        if output.succeeded() || output.stderr.contains("invalid domain identifier") {
            return Ok(());
        }
        Err(output.failure(format!("`xl {verb} {}`", self.name)))
    }

    /// Asks the guest to shut down; whether it took notice. `xl` waits for that: 60 s on a guest
    /// whose kernel does not answer, but here no longer than `patience`.
    pub fn ask_to_go(&self, patience: Duration) -> Result<bool, Failure> {
        let ask = |argv: &[&str]| {
            let system = self.system.within(patience.max(Duration::from_secs(5)).min(self.time_left()));
            match system.run(&Invocation::new(argv.iter().copied())) {
                Err(failure) if failure.reason.contains("did not end within") => Ok(None),
                asked => asked.map(Some),
            }
        };
        let Some(mut output) = ask(&["xl", "shutdown", self.name])? else { return Ok(false) };
        if output.stderr.contains("PV control interface not available") {
            // A guest without Xen's drivers: press its power button.
            match ask(&["xl", "shutdown", "-F", self.name])? {
                Some(pressed) => output = pressed,
                None => return Ok(false),
            }
        }
        if output.stderr.contains("didn't acknowledge control request") {
            return Ok(false);
        }
        if output.succeeded() || output.stderr.contains("invalid domain identifier") {
            return Ok(true);
        }
        Err(output.failure(format!("`xl shutdown {}`", self.name)))
    }

    /// Looks again and again, as long as this operation may take, until it is as wanted.
    pub fn wait_for(&self, is_so: impl Fn(Situation) -> bool, patience: Duration) -> Result<Now, Failure> {
        let patience = patience.min(self.time_left());
        let begun = std::time::Instant::now();
        loop {
            let now = self.now()?;
            if is_so(now.situation) || begun.elapsed() >= patience {
                return Ok(now);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// How long this operation may still wait: what is left of its timeout, less what it takes to end.
    pub fn time_left(&self) -> Duration {
        self.system.time_left().saturating_sub(Duration::from_secs(2))
    }

    fn at_work(&self, row: Option<&Row>) -> AtWork {
        let mut work = AtWork::default();
        for process in self.system.processes() {
            let Some((verb, arguments)) = verb_of(&process) else { continue };
            match verb {
                "create" if arguments.iter().any(|argument| self.is_config(argument)) => {
                    match self.log_of(process.pid) {
                        None => work.creates = true,
                        Some(log) if is_watching(&log, row) => work.watches = true,
                        Some(_) => work.rebuilds = true,
                    }
                }
                "destroy" => work.destroys |= arguments.iter().any(|argument| self.is_named(argument, row)),
                _ => {}
            }
        }
        work
    }

    fn is_config(&self, argument: &str) -> bool {
        let name = |path: &str| Path::new(path).file_name().map(std::ffi::OsStr::to_owned);
        argument == self.config.as_str()
            // From within its directory, or by a link to it.
            || name(argument) == name(self.config.as_str())
            || name(argument).is_some_and(|name| name == *format!("{}.cfg", self.name))
    }

    fn is_named(&self, argument: &str, row: Option<&Row>) -> bool {
        argument == self.name || row.is_some_and(|row| argument == row.id.to_string())
    }

    /// The `xl create` that stays behind to watch the domain writes to /var/log/xen/xl-NAME.log;
    /// the one in somebody's foreground does not.
    fn log_of(&self, pid: u32) -> Option<String> {
        let output = std::fs::read_link(self.system.root().join(format!("proc/{pid}/fd/1"))).ok()?;
        let name = output.file_name()?.to_str()?;
        if !(name.starts_with("xl-") && name.contains(self.name)) {
            return None;
        }
        let path: AbsPath = output.to_str()?.parse().ok()?;
        Some(std::fs::read_to_string(self.system.locate(&path)).unwrap_or_default())
    }
}

/// The verb and what follows it, of an `xl` (which may be a script).
fn verb_of(process: &Process) -> Option<(&str, &[String])> {
    let is_xl = |word: &String| Path::new(word).file_name().is_some_and(|name| name == "xl");
    let at = process.argv.iter().take(3).position(is_xl)?;
    let rest = &process.argv[at + 1..];
    let verb = rest.iter().position(|word| !word.starts_with('-'))?;
    Some((&rest[verb], &rest[verb + 1..]))
}

/// Whether the watcher's log ends with its watching this very domain: `Waiting for domain vps0
/// (domid 6) to die`. A log that says nothing is taken for one that watches.
fn is_watching(log: &str, row: Option<&Row>) -> bool {
    let mut lines = log.lines().rev();
    match (lines.find(|line| line.contains("Waiting for domain")), row) {
        (Some(line), Some(row)) => line.contains(&format!("(domid {})", row.id)),
        // No row: the domain it watched is gone, and it builds the next one or ends.
        (_, None) => false,
        (None, _) => true,
    }
}

fn not_usable(output: &Output) -> Failure {
    let said = &output.stderr;
    let failure = output.failure("asking Xen with `xl list`");
    if said.contains("Permission denied") {
        failure.help("Xen answers only root: `become: sudo` on the host")
    } else if said.contains("hypervisor information") || said.contains("xencall: error") {
        failure.help("this machine does not run under Xen: boot it with the hypervisor (in grub's menu, `with Xen hypervisor`)")
    } else {
        failure
    }
}

/// Of the many lines that libxl writes, the one that says why.
fn not_created(name: &str, config: &AbsPath, output: &Output) -> Failure {
    let said = &output.stderr;
    let line = |words: &str| said.lines().find(|line| line.contains(words)).map(str::trim);
    let after = |words: &str| line(words)?.split_once(words).map(|(_, rest)| rest.trim());
    let (why, help) = if said.contains("No such process") {
        // The memory that could not be had, of which it speaks as well, is that of a domain that is gone.
        (
            "it was destroyed while it was being built".to_owned(),
            "something else on this machine ends it".to_owned(),
        )
    } else if let Some(bridge) = after("Could not find bridge device ") {
        (
            format!("there is no bridge {bridge}"),
            format!("make the bridge {bridge} on this machine, or correct `bridge=` in {config}"),
        )
    } else if let Some(rest) = after("failed to open file '") {
        let file = rest.split('\'').next().unwrap_or(rest);
        (format!("{file}, which it is to boot, cannot be opened"), format!("install it, or correct {config}"))
    } else if ["Out of memory", "Cannot allocate memory", "not enough free memory", "ot enough memory"]
        .iter()
        .any(|words| said.contains(words))
    {
        (
            "this machine has too little free memory for it".to_owned(),
            format!(
                "`xl info` shows free_memory: give it less (`memory` in {config}), or shut another domain down"
            ),
        )
    } else if said.contains("Domain name must be specified") {
        (format!("{config} has no `name`"), format!("write name = \"{name}\" in it"))
    } else if let Some(line) = line("config parsing error") {
        (line.to_owned(), format!("correct {config}: xl.cfg(5) has its syntax"))
    } else if said.contains("Failed to read config file") {
        (format!("{config} cannot be read"), format!("declare it: `- file: {config}`"))
    } else if said.contains("neither hap nor shadow paging") {
        (
            "this machine's CPU offers no virtualisation for a PVH or HVM guest".to_owned(),
            format!("turn it on in the firmware, or use a PV guest (`type = \"pv\"` in {config})"),
        )
    } else if let Some(line) = line("timed out") {
        (
            line.to_owned(),
            "this machine is too busy, or a daemon of Xen does not run: `systemctl status xen` on it"
                .to_owned(),
        )
    } else {
        let telling = said.lines().map(str::trim).find(|line| line.contains("error"));
        let why = telling.map_or_else(|| output.ending(), str::to_owned);
        (why, format!("`xl -v create {config}` on the host says more; so does /var/log/xen"))
    };
    Failure::new(format!("domain {name} could not be created ({}): {why}", output.ending()))
        .help(help)
        .detail("stderr of xl create", said.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    /// A recorded answer: its exit code and standard error.
    fn recorded(text: &str) -> Output {
        let code: i32 = text.lines().find_map(|line| line.strip_prefix("exit: ")).unwrap().parse().unwrap();
        let (stdout, stderr) = text.split_once("--- stderr\n").unwrap();
        let stdout = stdout.split_once("--- stdout\n").unwrap().1.to_owned();
        let status = std::process::ExitStatus::from_raw(code << 8);
        Output { status, stdout, stderr: stderr.to_owned() }
    }

    fn why(text: &str) -> Failure {
        not_created("vps0", &"/etc/xen/vps0.cfg".parse().unwrap(), &recorded(text))
    }

    #[test]
    fn a_failed_create_says_why_in_one_line() {
        for (text, reason) in [
            (include_str!("../../../tests/data/xl/51-create-missing-bridge.txt"), "there is no bridge nobr"),
            (
                include_str!("../../../tests/data/xl/49-create-missing-kernel.txt"),
                "/boot/nosuch, which it is to boot, cannot be opened",
            ),
            (include_str!("../../../tests/data/xl/53-create-no-memory.txt"), "too little free memory"),
            (include_str!("../../../tests/data/xl/56-create-no-name.txt"), "/etc/xen/vps0.cfg has no `name`"),
            (
                include_str!("../../../tests/data/xl/55-create-syntax-error.txt"),
                "/root/broken.cfg:1: config parsing error near `\"vps0': lexical error",
            ),
            (include_str!("../../../tests/data/xl/11-create-missing-cfg.txt"), "cannot be read"),
            (include_str!("../../../tests/data/xl/create-timed-out.txt"), "console tty: timed out"),
            (
                include_str!("../../../tests/data/xl/152-create-destroyed-meanwhile.txt"),
                "it was destroyed while it was being built",
            ),
            (include_str!("../../../tests/data/xl/82-create-pvh.txt"), "no virtualisation"),
        ] {
            let failure = why(text);
            assert!(failure.reason.contains(reason), "{}", failure.reason);
            assert!(failure.help.is_some());
        }
    }

    #[test]
    fn a_machine_without_xen_and_a_user_without_rights_are_told_the_way_out() {
        let not_root = not_usable(&recorded(include_str!("../../../tests/data/xl/74-not-root.txt")));
        assert!(not_root.help.unwrap().contains("become: sudo"));
        let text = "exit: 1\n--- stdout\n--- stderr\nERROR:  Can't find hypervisor information in sysfs!\n";
        assert!(not_usable(&recorded(text)).help.unwrap().contains("does not run under Xen"));
    }

    #[test]
    fn xl_is_seen_also_as_a_script() {
        let process =
            |words: &[&str]| Process { pid: 1, argv: words.iter().map(|word| (*word).into()).collect() };
        let plain = process(&["/usr/sbin/xl", "-v", "create", "/etc/xen/vps0.cfg"]);
        assert_eq!(verb_of(&plain).unwrap().0, "create");
        let script = process(&["python3", "/usr/sbin/xl", "destroy", "vps0"]);
        assert_eq!(verb_of(&script).unwrap(), ("destroy", &["vps0".to_owned()][..]));
        assert_eq!(verb_of(&process(&["vi", "xl.c"])), None);
    }

    #[test]
    fn a_watcher_is_not_building() {
        let row = Row::read("vps0 6 128 1 --p--- 0.0").unwrap();
        let log = "Waiting for domain vps0 (domid 5) to die [pid 99]\nDomain 5 has shut down, reason code 1 0x1\n\
                   Done. Rebooting now\n";
        assert!(!is_watching(log, Some(&row)));
        assert!(is_watching(
            &format!("{log}Waiting for domain vps0 (domid 6) to die [pid 99]\n"),
            Some(&row)
        ));
        assert!(!is_watching(log, None));
    }
}
