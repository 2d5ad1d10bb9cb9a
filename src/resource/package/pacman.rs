//! pacman: Arch Linux and its kin.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::locked::{self, Holder};
use super::manager::{Here, Index, Manager, Offer, Status, Words, Work};
use super::{said, sources};
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};

const WORDS: Words = Words {
    name: "pacman",
    refresh: "pacman -Sy",
    sources: "/etc/pacman.conf",
    unhold: "edit IgnorePkg in /etc/pacman.conf for",
    pins: "pacman -Si",
};

const SYNC: &str = "/var/lib/pacman/sync";

/// It is there while somebody changes packages, and stays where he was killed.
const LOCK: &str = "/var/lib/pacman/db.lck";

pub struct Pacman<'a> {
    system: &'a System,
}

impl<'a> Pacman<'a> {
    pub fn of(system: &'a System) -> Pacman<'a> {
        Pacman { system }
    }

    fn run(&self, argv: &[&str], more: &[String]) -> Result<Output, Failure> {
        let begin = ["pacman", "--noconfirm", "--color", "never"];
        let argv = begin.iter().chain(argv).map(|word| (*word).to_owned()).chain(more.iter().cloned());
        self.system.run(&Invocation::new(argv).env("LC_ALL", "C.UTF-8").whole_output())
    }

    fn is_locked(&self) -> bool {
        self.system.root().join(LOCK.trim_start_matches('/')).exists()
    }

    fn change(&self, argv: &[&str], names: &[String], tried: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            locked::wait(self.system, || self.locked())?;
            let output = self.run(argv, names)?;
            let said = said::text(&output);
            let was_locked = said.contains("unable to lock database") && !output.succeeded();
            if was_locked
                && self.system.time_left() > Duration::from_secs(2)
                && begun.elapsed().as_secs() < 600
            {
                std::thread::sleep(Duration::from_millis(500));
                continue;
            }
            return if output.succeeded() { Ok(()) } else { Err(failure(&output, tried)) };
        }
    }
}

impl Manager for Pacman<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn here(&self, names: &[&str]) -> Result<HashMap<String, Here>, Failure> {
        let output = self.run(&["-Q"], &[])?;
        // It ends with 1, and says nothing, where nothing is installed at all.
        if !output.succeeded() && !output.stderr.trim().is_empty() {
            return Err(failure(&output, "reading the packages that are installed (`pacman -Q`)"));
        }
        let installed = pairs(&output.stdout);
        let ignored = self.system.tool(["pacman-conf", "IgnorePkg"]).map(|o| o.stdout).unwrap_or_default();
        let mut here: HashMap<String, Here> = HashMap::new();
        let mut is_missing = false;
        for name in names {
            let status = installed.get(*name).cloned().map_or(Status::Absent, Status::There);
            is_missing |= status == Status::Absent;
            let held = ignored.lines().any(|line| line.trim() == *name);
            here.insert((*name).to_owned(), Here { status, held });
        }
        if is_missing {
            let output = self.run(&["-Qi"], &[])?;
            let provided = provides(&output.stdout);
            for (name, one) in &mut here {
                if let (Status::Absent, Some(by)) = (&one.status, provided.get(name.as_str())) {
                    one.status = Status::Provided(by.clone());
                }
            }
        }
        Ok(here)
    }

    fn offers(&self, names: &[&str]) -> Result<HashMap<String, Offer>, Failure> {
        let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        // It says what it knows, and ends with 1 where there is something that it does not.
        let output = self.run(&["-Si", "--"], &all)?;
        let mut offers = offered(&output.stdout);
        for name in names.iter().filter(|name| !offers.contains_key(**name)).collect::<Vec<_>>() {
            let output =
                self.run(&["-S", "-dd", "--print", "--print-format", "%n", "--"], &[(*name).to_string()])?;
            let by: Vec<String> = output.stdout.split_whitespace().map(str::to_owned).collect();
            if output.succeeded() && !by.is_empty() {
                offers.insert((*name).to_owned(), Offer { provided_by: by, ..Offer::default() });
            }
        }
        Ok(offers)
    }

    fn index(&self) -> Index {
        let databases = sources::and_in(self.system, SYNC, &[".db"]);
        if databases.len() < 2 {
            return Index::default();
        }
        let mut declared = vec!["/etc/pacman.conf".to_owned()];
        declared.extend(sources::and_in(self.system, "/etc/pacman.d", &["mirrorlist", ".conf"]));
        // The databases themselves have the time of their source.
        match sources::changed(self.system, SYNC) {
            Some(read) => sources::index_read_at(self.system, read, &declared),
            None => Index::default(),
        }
    }

    fn known_names(&self) -> Vec<String> {
        let output = self.run(&["-Slq"], &[]).map(|output| output.stdout).unwrap_or_default();
        output.lines().map(str::to_owned).collect()
    }

    /// Of an installation nobody can say it before: pacman has no rehearsal of conflicts. Where there are
    /// some, it then changes nothing.
    fn takes_along(&self, work: &Work) -> Result<Vec<(String, String)>, Failure> {
        if work.remove.is_empty() {
            return Ok(Vec::new());
        }
        let argv = ["-Rc", "--print", "--print-format", "%n %v", "--"];
        let output = self.run(&argv, &work.remove)?;
        if !output.succeeded() {
            return Err(failure(&output, &said::told(work)));
        }
        let mut gone: Vec<(String, String)> = pairs(&output.stdout).into_iter().collect();
        gone.retain(|(name, _)| !work.remove.contains(name));
        gone.sort_unstable();
        Ok(gone)
    }

    fn locked(&self) -> Option<Holder> {
        locked::by_open_file(self.system, LOCK)
    }

    fn refresh(&self) -> Result<(), Failure> {
        self.change(&["-Sy", "--noprogressbar"], &[], "reading pacman's index anew (`pacman -Sy`)")?;
        sources::touch(self.system, &[SYNC.to_owned()])
    }

    /// A pacman that was killed leaves its lock: no process has it open then.
    fn mend(&self) -> Result<(), Failure> {
        if !self.is_locked() || self.locked().is_some() {
            return Ok(());
        }
        let path = LOCK.parse().map_err(Failure::new)?;
        self.system.remove_file(&path)
    }

    fn carry_out(&self, work: &Work) -> Result<(), Failure> {
        let tried = said::told(work);
        if !work.remove.is_empty() {
            let verb = if work.takes_along { "-Rc" } else { "-R" };
            return self.change(&[verb, "--noprogressbar", "--"], &work.remove, &tried);
        }
        // It knows one version of each.
        let names: Vec<String> = work.install.iter().map(|(name, _)| name.clone()).collect();
        self.change(&["-S", "--needed", "--noprogressbar", "--"], &names, &tried)
    }
}

/// `NAME VERSION` lines.
fn pairs(text: &str) -> HashMap<String, String> {
    let words = text.lines().filter_map(|line| line.split_once(' '));
    words.map(|(name, version)| (name.to_owned(), version.trim().to_owned())).collect()
}

/// `Key : value` lines, an empty line after each package.
fn stanzas(text: &str) -> impl Iterator<Item = HashMap<&str, &str>> {
    text.split("\n\n").map(|stanza| {
        let fields = stanza.lines().filter_map(|line| line.split_once(" : "));
        fields.map(|(key, value)| (key.trim(), value.trim())).collect()
    })
}

fn provides(text: &str) -> HashMap<&str, Vec<String>> {
    let mut provided: HashMap<&str, Vec<String>> = HashMap::new();
    for stanza in stanzas(text) {
        let (Some(name), Some(provides)) = (stanza.get("Name"), stanza.get("Provides")) else { continue };
        for one in provides.split_whitespace().filter(|one| *one != "None") {
            let one = one.split('=').next().unwrap_or(one);
            provided.entry(one).or_default().push((*name).to_owned());
        }
    }
    provided
}

fn offered(text: &str) -> HashMap<String, Offer> {
    let mut offers: HashMap<String, Offer> = HashMap::new();
    for stanza in stanzas(text) {
        let (Some(name), Some(version)) = (stanza.get("Name"), stanza.get("Version")) else { continue };
        let offer = offers.entry((*name).to_owned()).or_default();
        // The repository that is declared first goes first, and only that one is installed from.
        if offer.candidate.is_none() {
            offer.candidate = Some((*version).to_owned());
            offer.versions = vec![(*version).to_owned()];
        }
    }
    offers
}

fn failure(output: &Output, tried: &str) -> Failure {
    let text = said::text(output);
    if text.contains("are in conflict") {
        let line = text.lines().find(|line| line.contains("are in conflict")).unwrap_or_default();
        let line = line.trim_start_matches(":: ").split(". Remove").next().unwrap_or_default();
        return said::failure(format!("{tried}: {line}"), "pacman", output)
            .help("declare the other one absent, and this one with `depends_on` to come after it");
    }
    if let Some((reason, help)) = said::common(&text, tried) {
        return said::failure(reason, "pacman", output).help(help);
    }
    if let Some(line) = said::line(&text, &["unable to satisfy dependency", "breaks dependency"]) {
        let what = format!("{tried}: its dependencies cannot be met: {}", line.trim_start_matches(":: "));
        return said::failure(what, "pacman", output).help("is a repository missing in /etc/pacman.conf?");
    }
    if let Some(line) = said::line(&text, &["failed retrieving file", "error 404", "returned error: 404"]) {
        return said::failure(format!("{tried}: the source no longer has it: {line}"), "pacman", output)
            .help("the index is older than the source: `refresh: 1h` has it read anew first");
    }
    let line = said::line(&text, &["error: "]).map_or_else(|| output.ending(), str::to_owned);
    said::failure(format!("{tried}: {line}"), "pacman", output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(file: &str) -> String {
        std::fs::read_to_string(format!("tests/data/packages/pacman-{file}.txt")).unwrap()
    }

    #[test]
    fn what_there_is_to_install_is_read() {
        let offers = offered(&recorded("Si"));
        assert_eq!(offers["cvg-p"].candidate.as_deref(), Some("1.0-1"));
        assert_eq!(offers["cvg-p"].versions, ["1.0-1"]);
        assert_eq!(offers.len(), 2);
    }

    #[test]
    fn who_provides_what_is_read() {
        let text = recorded("Qi");
        let provided = provides(&text);
        assert_eq!(provided["cvg-pmta"], ["cvg-pmta2"]);
        assert_eq!(provided.len(), 1);
    }
}
