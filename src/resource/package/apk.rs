//! apk: Alpine Linux. Written after apk's manual pages and its source; no test has run it.

use std::collections::HashMap;

use super::locked::Holder;
use super::manager::{Here, Index, Manager, Offer, Status, Words, Work};
use super::{said, sources};
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};

const WORDS: Words = Words {
    name: "apk",
    refresh: "apk update",
    sources: "/etc/apk/repositories",
    unhold: "apk add",
    pins: "apk policy",
};

/// What is installed: of apk 2, and of apk 3 on a merged /usr.
const INSTALLED: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
const CACHES: [&str; 2] = ["/var/cache/apk", "/etc/apk/cache"];

pub struct Apk<'a> {
    system: &'a System,
}

impl<'a> Apk<'a> {
    pub fn of(system: &'a System) -> Apk<'a> {
        Apk { system }
    }

    fn run(&self, argv: &[&str], more: &[String]) -> Result<Output, Failure> {
        // apk waits so long for its lock.
        let patience = format!("--wait={}", self.system.time_left().as_secs().saturating_sub(1));
        let begin = ["apk", "--no-progress", "--no-interactive", &patience];
        let argv = begin.iter().chain(argv).map(|word| (*word).to_owned()).chain(more.iter().cloned());
        self.system.run(&Invocation::new(argv).env("LC_ALL", "C.UTF-8").whole_output())
    }

    fn indexes(&self) -> Vec<String> {
        let of = |cache: &str| {
            let names = sources::names_in(self.system, cache).into_iter();
            let names = names.filter(|name| name.starts_with("APKINDEX."));
            names.map(|name| format!("{cache}/{name}")).collect::<Vec<_>>()
        };
        CACHES.iter().flat_map(|cache| of(cache)).collect()
    }

    /// A version that is not declared is not written into /etc/apk/world, which would keep it there.
    fn targets(work: &Work) -> Vec<String> {
        let install = work.install.iter().map(|(name, version)| match version {
            Some(version) if work.exact => format!("{name}={version}"),
            _ => name.clone(),
        });
        work.remove.iter().cloned().chain(install).collect()
    }

    fn change(&self, work: &Work, simulate: bool) -> Result<Output, Failure> {
        let mut argv = if work.install.is_empty() { vec!["del"] } else { vec!["add", "--upgrade"] };
        if simulate {
            argv.push("--simulate");
        }
        argv.push("--");
        let output = self.run(&argv, &Apk::targets(work))?;
        let stays = said::text(&output).contains("are not removed due to");
        if output.succeeded() && !stays { Ok(output) } else { Err(failure(&output, &said::told(work))) }
    }
}

impl Manager for Apk<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn here(&self, names: &[&str]) -> Result<HashMap<String, Here>, Failure> {
        let read = |place: &&str| std::fs::read_to_string(self.system.root().join(place)).ok();
        let text = match INSTALLED.iter().find_map(read) {
            Some(text) => text,
            // It says itself that it is not there.
            None => {
                return Err(self
                    .run(&["--version"], &[])?
                    .failure("reading the packages that are installed"));
            }
        };
        let (versions, provided) = installed(&text);
        let one = |name: &str| match (versions.get(name), provided.get(name)) {
            (Some(version), _) => Status::There((*version).to_owned()),
            (None, Some(by)) => Status::Provided(by.clone()),
            (None, None) => Status::Absent,
        };
        Ok(names.iter().map(|name| ((*name).to_owned(), Here { status: one(name), held: false })).collect())
    }

    fn offers(&self, names: &[&str]) -> Result<HashMap<String, Offer>, Failure> {
        let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let output = self.run(&["policy", "--"], &all)?;
        Ok(offered(&output.stdout))
    }

    fn index(&self) -> Index {
        sources::index(self.system, &self.indexes(), &["/etc/apk/repositories".to_owned()])
    }

    fn known_names(&self) -> Vec<String> {
        let output = self.run(&["search", "--quiet"], &[]).map(|output| output.stdout).unwrap_or_default();
        output.lines().map(str::to_owned).collect()
    }

    fn takes_along(&self, work: &Work) -> Result<Vec<(String, String)>, Failure> {
        let mut gone = purged(&self.change(work, true)?.stdout);
        gone.retain(|(name, _)| !work.remove.contains(name));
        Ok(gone)
    }

    /// apk locks in a way that only trying would show, and waits by itself.
    fn locked(&self) -> Option<Holder> {
        None
    }

    fn refresh(&self) -> Result<(), Failure> {
        let output = self.run(&["update"], &[])?;
        if !output.succeeded() || output.stderr.contains("unavailable") {
            return Err(failure(&output, "reading apk's index anew (`apk update`)"));
        }
        sources::touch(self.system, &self.indexes())
    }

    fn mend(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn carry_out(&self, work: &Work) -> Result<(), Failure> {
        self.change(work, false).map(|_| ())
    }
}

/// `P:` name, `V:` version, `p:` what it provides; an empty line after each package.
fn installed(text: &str) -> (HashMap<&str, &str>, HashMap<&str, Vec<String>>) {
    let (mut versions, mut provided) = (HashMap::new(), HashMap::<&str, Vec<String>>::new());
    for stanza in text.split("\n\n") {
        let get = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key));
        let (Some(name), Some(version)) = (get("P:"), get("V:")) else { continue };
        versions.insert(name, version);
        for one in get("p:").unwrap_or_default().split_whitespace() {
            // Commands and libraries are no names of packages.
            if !one.contains(':') {
                let one = one.split('=').next().unwrap_or(one);
                provided.entry(one).or_default().push(name.to_owned());
            }
        }
    }
    (versions, provided)
}

/// `NAME policy:`, then each version with where it is from, the preferred one first. What is from a
/// tagged repository is installed only by its tag.
fn offered(text: &str) -> HashMap<String, Offer> {
    let mut offers: HashMap<String, Offer> = HashMap::new();
    let (mut name, mut version) = ("", "");
    for line in text.lines() {
        if let Some(head) = line.strip_suffix(" policy:") {
            name = head;
        } else if let Some(from) = line.strip_prefix("    ") {
            let is_source = !from.contains("apk/db/installed") && !from.starts_with('@');
            let offer = offers.entry(name.to_owned()).or_default();
            if is_source && !offer.versions.iter().any(|there| there == version) {
                offer.versions.push(version.to_owned());
                offer.candidate.get_or_insert_with(|| version.to_owned());
            }
        } else if let Some(head) = line.trim().strip_suffix(':') {
            version = head;
        }
    }
    offers.retain(|_, offer| !offer.versions.is_empty());
    offers
}

/// `(1/2) Purging NAME (VERSION)`.
fn purged(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once(") Purging "));
    let lines = lines.filter_map(|(_, rest)| rest.split_once(" ("));
    lines.map(|(name, version)| (name.to_owned(), version.trim_end_matches(')').to_owned())).collect()
}

fn failure(output: &Output, tried: &str) -> Failure {
    let text = said::text(output);
    if text.contains("are not removed due to") {
        let needed: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.contains("are not removed due to"))
            .skip(1)
            .take(5)
            .collect();
        let needed: Vec<&str> = needed.into_iter().map(str::trim).filter(|line| line.contains(':')).collect();
        return said::failure(format!("{tried}: others need it: {}", needed.join("; ")), "apk", output)
            .help("declare those absent too");
    }
    if let Some((reason, help)) = said::common(&text, tried) {
        return said::failure(reason, "apk", output).help(help);
    }
    let line = said::line(&text, &["ERROR: "]).map_or_else(|| output.ending(), str::to_owned);
    said::failure(format!("{tried}: {line}"), "apk", output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apk_writes_is_read() {
        let text = "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\np:so:libc.musl-x86_64.so.1=1\nF:lib\n\n\
                    C:Q1y=\nP:busybox\nV:1.36.1-r15\np:/bin/sh cmd:busybox=1.36.1-r15 sh=1\n\n";
        let (versions, provided) = installed(text);
        assert_eq!((versions["musl"], versions["busybox"]), ("1.2.4-r2", "1.36.1-r15"));
        assert_eq!(provided["sh"], ["busybox"]);
        let policy = "zlib policy:\n  2.0-r0:\n    @testing http://example.com/edge/testing\n  1.7-r1:\n    \
                      http://example.com/main\n  1.6-r0:\n    lib/apk/db/installed\n    http://example.com/old\n";
        let offers = offered(policy);
        assert_eq!(offers["zlib"].candidate.as_deref(), Some("1.7-r1"));
        assert_eq!(offers["zlib"].versions, ["1.7-r1", "1.6-r0"]);
        let said = "(1/2) Purging cvg-dep (1.0-r0)\n(2/2) Purging cvg-a (2.0-r1)\nOK: 8 MiB in 15 packages\n";
        let gone = [("cvg-dep", "1.0-r0"), ("cvg-a", "2.0-r1")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(purged(said), gone);
    }
}
