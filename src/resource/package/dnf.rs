//! dnf: Fedora, RHEL, Rocky, Alma and their kin.

use std::collections::{BTreeMap, HashMap};

use super::locked::{self, Holder};
use super::manager::{Here, Index, Manager, Offer, Words, Work};
use super::{rpm, said, sources};
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};

const WORDS: Words = Words {
    name: "dnf",
    refresh: "dnf makecache --refresh",
    sources: "/etc/yum.repos.d",
    unhold: "dnf versionlock delete",
    pins: "dnf versionlock list; dnf repoquery",
};

/// Where dnf 4 and dnf 5 keep what they read of their sources, each in a directory of its own.
const CACHES: [&str; 2] = ["/var/cache/dnf", "/var/cache/libdnf5"];

/// Each holds the process that has it.
const LOCKS: [&str; 4] = [
    "/var/lib/dnf/rpmdb_lock.pid",
    "/var/cache/dnf/metadata_lock.pid",
    "/var/cache/dnf/download_lock.pid",
    "/run/dnf/rpmdb_lock.pid",
];

pub struct Dnf<'a> {
    system: &'a System,
}

impl<'a> Dnf<'a> {
    pub fn of(system: &'a System) -> Dnf<'a> {
        Dnf { system }
    }

    /// `-C`: from what was read before, and from nowhere else.
    fn ask(&self, argv: &[&str]) -> Result<Output, Failure> {
        let begin = ["dnf", "-q", "-C"];
        self.system.run(&Invocation::new(begin.iter().chain(argv).copied()).whole_output())
    }

    fn run(&self, argv: Vec<String>) -> Result<Output, Failure> {
        self.system.run(&Invocation::new(argv).env("LC_ALL", "C.UTF-8").whole_output())
    }

    fn held(&self) -> Vec<String> {
        let path = self.system.root().join("etc/dnf/plugins/versionlock.list");
        std::fs::read_to_string(path).map(|text| locks(&text)).unwrap_or_default()
    }

    fn arguments(&self, work: &Work) -> Vec<String> {
        // Packages that came only as dependencies stay: nobody has said that they are to go.
        let mut argv: Vec<String> = Vec::new();
        if work.install.is_empty() {
            argv.extend(["--setopt=clean_requirements_on_remove=False", "remove", "--"].map(str::to_owned));
        } else {
            argv.push(if work.takes_along { "--allowerasing" } else { "--setopt=best=True" }.to_owned());
            argv.extend(["install", "--"].map(str::to_owned));
        }
        argv.extend(work.remove.iter().cloned());
        argv.extend(work.install.iter().map(|(name, version)| match (rpm::split(name), version) {
            (_, None) => name.clone(),
            ((bare, Some(architecture)), Some(version)) => format!("{bare}-{version}.{architecture}"),
            ((bare, None), Some(version)) => format!("{bare}-{version}"),
        }));
        argv
    }

    fn metadata(&self) -> Vec<String> {
        let of = |cache: &str| {
            let repos = sources::names_in(self.system, cache).into_iter();
            repos.map(|repo| format!("{cache}/{repo}/repodata/repomd.xml")).collect::<Vec<_>>()
        };
        let all = CACHES.iter().flat_map(|cache| of(cache));
        all.filter(|path| sources::changed(self.system, path).is_some()).collect()
    }
}

impl Manager for Dnf<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn here(&self, names: &[&str]) -> Result<HashMap<String, Here>, Failure> {
        let (database, held) = (rpm::database(self.system)?, self.held());
        let is_held = |name: &str| held.iter().any(|one| one == rpm::split(name).0);
        Ok(names.iter().map(|name| ((*name).to_owned(), database.find(name, is_held(name)))).collect())
    }

    fn offers(&self, names: &[&str]) -> Result<HashMap<String, Offer>, Failure> {
        let format = "--qf=%{name}\t%{epoch}:%{version}-%{release}\t%{arch}\n";
        let output = self.ask(&[&["repoquery", format, "--"], names].concat())?;
        if !output.succeeded() {
            return Err(failure(&output, "asking dnf which versions there are"));
        }
        let found = offered(&output.stdout, names);
        let mut offers: HashMap<String, Offer> = HashMap::new();
        for name in names {
            if let Some(versions) = found.get(*name) {
                let candidate = versions.first().cloned();
                let offer = Offer { candidate, versions: versions.clone(), provided_by: Vec::new() };
                offers.insert((*name).to_owned(), offer);
                continue;
            }
            let output = self.ask(&["repoquery", "--qf=%{name}\n", "--whatprovides", name])?;
            let mut by: Vec<String> = output.stdout.split_whitespace().map(str::to_owned).collect();
            by.sort_unstable();
            by.dedup();
            if !by.is_empty() {
                offers.insert((*name).to_owned(), Offer { provided_by: by, ..Offer::default() });
            }
        }
        Ok(offers)
    }

    fn index(&self) -> Index {
        let declared = sources::and_in(self.system, "/etc/yum.repos.d", &[".repo"]);
        sources::index(self.system, &self.metadata(), &declared)
    }

    fn known_names(&self) -> Vec<String> {
        let output = self.ask(&["repoquery", "--qf=%{name}\n"]);
        output.map(|o| o.stdout.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    }

    fn takes_along(&self, work: &Work) -> Result<Vec<(String, String)>, Failure> {
        let mut argv = ["dnf", "-C", "--assumeno"].map(str::to_owned).to_vec();
        argv.extend(self.arguments(&Work { takes_along: true, ..work.clone() }));
        let output = self.run(argv)?;
        // It ends with 1 either way: that it came to the question is what counts.
        if !output.succeeded() && !said::text(&output).contains("Operation aborted") {
            return Err(failure(&output, &said::told(work)));
        }
        let mut gone = removed(&output.stdout);
        gone.retain(|(name, _)| !work.remove.iter().any(|own| rpm::split(own).0 == name));
        Ok(gone)
    }

    fn locked(&self) -> Option<Holder> {
        let by_pid = LOCKS.iter().find_map(|path| locked::by_pid_file(self.system, path));
        by_pid.or_else(|| locked::by_fcntl(self.system, &rpm::LOCKS))
    }

    fn refresh(&self) -> Result<(), Failure> {
        let output = self.run(["dnf", "-y", "makecache", "--refresh"].map(str::to_owned).to_vec())?;
        if !output.succeeded() || said::text(&output).contains("Failed to download metadata") {
            return Err(failure(&output, "reading dnf's index anew (`dnf makecache --refresh`)"));
        }
        sources::touch(self.system, &self.metadata())
    }

    fn mend(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn carry_out(&self, work: &Work) -> Result<(), Failure> {
        locked::wait(self.system, || self.locked())?;
        let mut argv = ["dnf", "-y"].map(str::to_owned).to_vec();
        argv.extend(self.arguments(work));
        let output = self.run(argv)?;
        if output.succeeded() { Ok(()) } else { Err(failure(&output, &said::told(work))) }
    }
}

/// Versions by the names that were asked for, newest first.
fn offered(text: &str, names: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [bare, edition, architecture] = fields[..] else { continue };
        let is_asked = |name: &&&str| match rpm::split(name) {
            (asked, Some(of)) => asked == bare && of == architecture,
            (asked, None) => asked == bare && architecture != "src",
        };
        for name in names.iter().filter(is_asked) {
            found.entry((*name).to_owned()).or_default().push(rpm::version(edition));
        }
    }
    rpm::sorted(found)
}

/// The names in a versionlock.list: `name-epoch:version-release.*`.
fn locks(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines
        .filter_map(|line| {
            let (rest, _release) = line.rsplit_once('-')?;
            let (name, _version) = rest.rsplit_once('-')?;
            Some(name.to_owned())
        })
        .collect()
}

/// The tables below `Removing:`, `Removing dependent packages:` and their like. A row that is too
/// long for a terminal goes on below, further to the right.
fn removed(text: &str) -> Vec<(String, String)> {
    let (mut gone, mut is_removal, mut row) = (Vec::new(), false, Vec::<&str>::new());
    for line in text.lines() {
        if !line.starts_with(' ') {
            is_removal = line.starts_with("Removing") && line.trim_end().ends_with(':');
            row.clear();
            continue;
        }
        if !is_removal {
            continue;
        }
        if !line.starts_with("  ") {
            row.clear();
        }
        let had = row.len();
        row.extend(line.split_whitespace());
        if let (true, [name, _architecture, version, ..]) = (had < 3, row.as_slice()) {
            gone.push(((*name).to_owned(), rpm::version(version)));
        }
    }
    gone
}

fn failure(output: &Output, tried: &str) -> Failure {
    let text = said::text(output);
    let lines: Vec<&str> = text.lines().collect();
    if let Some(line) = said::line(&text, &["scriptlet in rpm package"]) {
        let before =
            lines.iter().find(|line| line.contains("script failed") || line.contains("scriptlet failed"));
        let before = before.map(|line| format!(": {}", line.trim())).unwrap_or_default();
        return said::failure(format!("{tried}: {line}{before}"), "dnf", output);
    }
    if let Some((reason, help)) = said::common(&text, tried) {
        return said::failure(reason, "dnf", output).help(help);
    }
    let problem: Vec<&str> = lines
        .iter()
        .skip_while(|line| !line.trim_start().starts_with("Problem"))
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim().trim_start_matches("- "))
        .collect();
    if !problem.is_empty() {
        let what = format!("{tried}: its dependencies cannot be met: {}", problem.join("; "));
        return said::failure(what, "dnf", output)
            .help("is a source missing, or is one of them locked (`dnf versionlock list`)?");
    }
    let line = said::line(&text, &["Error: ", "error: "]).map_or_else(|| output.ending(), str::to_owned);
    said::failure(format!("{tried}: {line}"), "dnf", output)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "tests/data/packages";

    fn recorded(file: &str) -> String {
        std::fs::read_to_string(format!("{DATA}/dnf-{file}.txt")).unwrap()
    }

    #[test]
    fn versions_are_read_newest_first() {
        let found = offered(&recorded("repoquery"), &["cvg-r", "cvg-repoch", "cvg-r.noarch", "cvg-r.i686"]);
        assert_eq!(found["cvg-r"], ["2.0-1", "1.1-1", "1.0-1"]);
        assert_eq!(found["cvg-r.noarch"], found["cvg-r"]);
        assert_eq!(found["cvg-repoch"], ["2:1.0-1"]);
        assert_eq!(found.get("cvg-r.i686"), None);
    }

    #[test]
    fn what_would_go_is_read() {
        let both = |a: (&str, &str), b: (&str, &str)| {
            [a, b].map(|(name, version)| (name.to_owned(), version.to_owned())).to_vec()
        };
        assert_eq!(removed(&recorded("remove")), both(("cvg-r", "1.0-1"), ("cvg-rdep", "1.0-1")));
        assert_eq!(removed(&recorded("erasing")), both(("cvg-rmta1", "1.0-1"), ("x", ""))[..1]);
        let wrapped = "Removing:\n a-very-long-name\n                 x86_64  1:1.0-1  @fedora  5 k\n b x86_64 2-1 @f 1 k\n\n";
        assert_eq!(removed(wrapped), both(("a-very-long-name", "1:1.0-1"), ("b", "2-1")));
    }

    #[test]
    fn locked_versions_are_read() {
        let text =
            "# a comment\n\nnginx-1:1.20.1-14.el9.*\npython3-pip-0:21.2.3-7.*\n!kernel-0:5.14.0-70.*\n";
        assert_eq!(locks(text), ["nginx", "python3-pip"]);
    }
}
