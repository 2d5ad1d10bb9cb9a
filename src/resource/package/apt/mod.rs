//! apt and dpkg: Debian, Ubuntu and their kin.

mod database;
mod policy;
mod words;

use std::collections::HashMap;
use std::time::Duration;

use super::locked::{self, Holder};
use super::manager::{Here, Index, Manager, Offer, Words, Work};
use super::{said, sources};
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};
use database::Database;

const WORDS: Words = Words {
    name: "apt",
    refresh: "apt-get update",
    sources: "/etc/apt/sources.list and /etc/apt/sources.list.d",
    unhold: "apt-mark unhold",
    pins: "apt-cache policy",
};

/// Where the index lies: the lists as they came, one file a source.
const LISTS: &str = "/var/lib/apt/lists";

/// What apt's own timer leaves where it has read them.
const STAMP: &str = "/var/lib/apt/periodic/update-success-stamp";

/// What is locked for a change of packages.
const LOCKS: [&str; 3] =
    ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/cache/apt/archives/lock"];
const LISTS_LOCK: &str = "/var/lib/apt/lists/lock";

pub struct Apt<'a> {
    system: &'a System,
}

impl<'a> Apt<'a> {
    pub fn of(system: &'a System) -> Apt<'a> {
        Apt { system }
    }

    fn database(&self) -> Result<Database, Failure> {
        let format = format!("-f={}", database::FORMAT);
        let output = self.system.run(&Invocation::new(["dpkg-query", "-W", &format]).whole_output())?;
        if !output.succeeded() {
            return Err(output.failure("reading the packages that are installed (`dpkg-query -W`)"));
        }
        Ok(Database::read(&output.stdout))
    }

    /// With what a run without a person takes; nothing of it waits for an answer.
    fn invocation(argv: Vec<String>) -> Invocation {
        Invocation::new(argv)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBIAN_PRIORITY", "critical")
            .env("APT_LISTCHANGES_FRONTEND", "none")
            // English, as C is; but what makes databases of its own, as PostgreSQL does, takes its encoding
            // from here.
            .env("LC_ALL", "C.UTF-8")
    }

    fn run(&self, argv: Vec<String>) -> Result<Output, Failure> {
        self.system.run(&Apt::invocation(argv))
    }

    /// Runs it when nobody holds the locks: apt itself waits for dpkg's lock, and not for the others.
    fn run_unlocked(&self, argv: &[String], locks: &[&str]) -> Result<Output, Failure> {
        loop {
            locked::wait(self.system, || locked::by_fcntl(self.system, locks))?;
            let output = self.run(argv.to_vec())?;
            let said = said::text(&output);
            let was_locked =
                said.contains("Could not get lock") || said.contains("was locked by another process");
            if output.succeeded() || !was_locked || self.system.time_left() < Duration::from_secs(2) {
                return Ok(output);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What `apt-get install` or `remove` is called with.
    fn arguments(&self, work: &Work, is_rehearsal: bool) -> Vec<String> {
        // With --fix-broken a transaction that was cut short is finished; what would be removed for
        // that is seen in the rehearsal, and else forbidden.
        let mut argv: Vec<String> = ["apt-get", "-q", "-y", "--fix-broken"].map(str::to_owned).to_vec();
        if is_rehearsal {
            argv.push("-s".to_owned());
        } else {
            let patience = self.system.time_left().as_secs().saturating_sub(1);
            argv.push(format!("-oDPkg::Lock::Timeout={patience}"));
            // Else dpkg gets a session of its own, and outlives a killed apt-get.
            argv.push("-oDpkg::Use-Pty=0".to_owned());
            argv.push("-oDpkg::Options::=--force-confdef".to_owned());
            argv.push("-oDpkg::Options::=--force-confold".to_owned());
        }
        if !work.install.is_empty() && !work.takes_along && !is_rehearsal {
            argv.push("--no-remove".to_owned());
        }
        if work.replaces && !work.install.is_empty() {
            argv.push("--allow-downgrades".to_owned());
        }
        if work.reinstalls {
            // (Of what is only not configured, apt would ask for a file that it has no name of.)
            let torn = ["--reinstall", "-oDpkg::Options::=--force-remove-reinstreq"];
            argv.push(torn[usize::from(work.install.is_empty())].to_owned());
        }
        argv.push(if work.install.is_empty() { "remove" } else { "install" }.to_owned());
        argv.push("--".to_owned());
        argv.extend(work.remove.iter().cloned());
        argv.extend(work.install.iter().map(|(name, version)| match version {
            Some(version) => format!("{name}={version}"),
            None => name.clone(),
        }));
        argv
    }
}

impl Manager for Apt<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn here(&self, names: &[&str]) -> Result<HashMap<String, Here>, Failure> {
        let database = self.database()?;
        Ok(names.iter().map(|name| ((*name).to_owned(), database.find(name))).collect())
    }

    fn offers(&self, names: &[&str]) -> Result<HashMap<String, Offer>, Failure> {
        let ask = |verb: &str, names: &[&str]| {
            let begin = ["apt-cache", verb, "--"];
            let argv = begin.iter().chain(names).map(|word| (*word).to_owned());
            self.system.run(&Invocation::new(argv).whole_output())
        };
        let output = ask("policy", names)?;
        if !output.succeeded() {
            return Err(words::failure(&output, "asking apt which versions there are"));
        }
        let mut offers = policy::read(&output.stdout, names);
        let empty: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| offers.get(*name).is_none_or(|offer| offer.versions.is_empty()))
            .collect();
        if !empty.is_empty() {
            let output = ask("showpkg", &empty)?;
            for (name, by) in policy::providers(&output.stdout) {
                offers.entry(name).or_default().provided_by = by;
            }
        }
        Ok(offers)
    }

    fn index(&self) -> Index {
        let is_list = |name: &String| name.contains("_Packages") || name.ends_with("Release");
        if !sources::names_in(self.system, LISTS).iter().any(is_list) {
            return Index::default();
        }
        // The directory changes with its files, and is touched where nothing was new.
        let read = [LISTS, STAMP].map(str::to_owned);
        let mut declared = sources::and_in(self.system, "/etc/apt/sources.list.d", &[".list", ".sources"]);
        declared.push("/etc/apt/sources.list".to_owned());
        sources::index(self.system, &read, &declared)
    }

    fn known_names(&self) -> Vec<String> {
        match self.system.run(&Invocation::new(["apt-cache", "pkgnames"]).whole_output()) {
            Ok(output) => output.stdout.lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }

    fn takes_along(&self, work: &Work) -> Result<Vec<(String, String)>, Failure> {
        let output = self.system.run(&Apt::invocation(self.arguments(work, true)).whole_output())?;
        if !output.succeeded() {
            return Err(words::failure(&output, &said::told(work)));
        }
        let mut gone = policy::removed(&output.stdout);
        gone.retain(|(name, _)| !work.remove.iter().any(|own| own.split(':').next() == Some(name)));
        Ok(gone)
    }

    fn locked(&self) -> Option<Holder> {
        locked::by_fcntl(self.system, &[&LOCKS[..], &[LISTS_LOCK]].concat())
    }

    fn refresh(&self) -> Result<(), Failure> {
        let argv = ["apt-get", "-q", "update", "-oAPT::Update::Error-Mode=any"].map(str::to_owned);
        let output = self.run_unlocked(&argv, &[LISTS_LOCK])?;
        // Older ones end with 0 where they could not reach a source.
        if !output.succeeded() || output.stderr.contains("W: Failed to fetch") {
            return Err(words::failure(&output, "reading apt's index anew (`apt-get update`)"));
        }
        sources::touch(self.system, &[LISTS.to_owned()])
    }

    fn mend(&self) -> Result<(), Failure> {
        let journal = std::fs::read_dir(self.system.root().join("var/lib/dpkg/updates"));
        let is_interrupted = journal.into_iter().flatten().flatten().next().is_some();
        if !is_interrupted && !self.database()?.has_half_way() {
            return Ok(());
        }
        let argv = ["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"].map(str::to_owned);
        // What it cannot mend is told by what follows, package by package.
        self.run_unlocked(&argv, &LOCKS)?;
        Ok(())
    }

    fn carry_out(&self, work: &Work) -> Result<(), Failure> {
        let output = self.run_unlocked(&self.arguments(work, false), &LOCKS)?;
        if output.succeeded() { Ok(()) } else { Err(words::failure(&output, &said::told(work))) }
    }
}
