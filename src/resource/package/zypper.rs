//! zypper: openSUSE and SLES.

use std::collections::{BTreeMap, HashMap};

use super::locked::{self, Holder};
use super::manager::{Here, Index, Manager, Offer, Words, Work};
use super::{rpm, said, sources};
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};

const WORDS: Words = Words {
    name: "zypper",
    refresh: "zypper refresh",
    sources: "/etc/zypp/repos.d",
    unhold: "zypper removelock",
    pins: "zypper locks; zypper search -s",
};

const RAW: &str = "/var/cache/zypp/raw";
const PID_FILE: &str = "/run/zypp.pid";

/// Of what went well, but for a hint: zypper(8), "Exit codes".
const FINE: [i32; 4] = [0, 102, 103, 106];
/// Nothing of that name was found.
const NOT_FOUND: i32 = 104;

pub struct Zypper<'a> {
    system: &'a System,
}

impl<'a> Zypper<'a> {
    pub fn of(system: &'a System) -> Zypper<'a> {
        Zypper { system }
    }

    fn run(&self, argv: &[&str], more: &[String]) -> Result<Output, Failure> {
        let begin = ["zypper", "--non-interactive", "--no-refresh"];
        let argv = begin.iter().chain(argv).map(|word| (*word).to_owned()).chain(more.iter().cloned());
        // zypper waits for its lock as long as this.
        let patience = self.system.time_left().as_secs().saturating_sub(1).to_string();
        let invocation = Invocation::new(argv).env("ZYPP_LOCK_TIMEOUT", patience).env("LC_ALL", "C.UTF-8");
        self.system.run(&invocation.whole_output())
    }

    fn held(&self) -> Vec<String> {
        let path = self.system.root().join("etc/zypp/locks");
        std::fs::read_to_string(path).map(|text| locks(&text)).unwrap_or_default()
    }

    fn repositories(&self) -> Vec<String> {
        sources::names_in(self.system, RAW).into_iter().map(|name| format!("{RAW}/{name}")).collect()
    }

    fn targets(work: &Work) -> Vec<String> {
        let install = work.install.iter().map(|(name, version)| match version {
            Some(version) => format!("{name}={version}"),
            None => name.clone(),
        });
        work.remove.iter().cloned().chain(install).collect()
    }

    fn change(&self, work: &Work, rehearsal: bool) -> Result<Output, Failure> {
        let mut argv = Vec::new();
        if rehearsal {
            argv.push("--xmlout");
        }
        argv.push(if work.install.is_empty() { "remove" } else { "install" });
        if rehearsal {
            argv.push("--dry-run");
        }
        if !work.install.is_empty() {
            argv.extend(["--oldpackage", "--auto-agree-with-licenses"]);
            argv.push(if work.takes_along { "--force-resolution" } else { "--no-force-resolution" });
        }
        argv.push("--");
        self.run(&argv, &Zypper::targets(work))
    }
}

impl Manager for Zypper<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn here(&self, names: &[&str]) -> Result<HashMap<String, Here>, Failure> {
        let (database, held) = (rpm::database(self.system)?, self.held());
        let is_held = |name: &str| held.iter().any(|one| one == rpm::split(name).0);
        Ok(names.iter().map(|name| ((*name).to_owned(), database.find(name, is_held(name)))).collect())
    }

    fn offers(&self, names: &[&str]) -> Result<HashMap<String, Offer>, Failure> {
        let bare: Vec<String> = names.iter().map(|name| rpm::split(name).0.to_owned()).collect();
        let search = |more: &[&str], names: &[String]| {
            let argv =
                [&["--xmlout", "search", "--details", "--match-exact", "--type", "package"], more, &["--"]];
            let output = self.run(&argv.concat(), names)?;
            let is_fine = output.status.code().is_some_and(|code| FINE.contains(&code) || code == NOT_FOUND);
            if is_fine { Ok(output) } else { Err(failure(&output, "asking zypper which versions there are")) }
        };
        let found = offered(&search(&[], &bare)?.stdout, names);
        let mut offers: HashMap<String, Offer> = HashMap::new();
        for name in names {
            if let Some(versions) = found.get(*name) {
                let candidate = versions.first().cloned();
                let offer = Offer { candidate, versions: versions.clone(), provided_by: Vec::new() };
                offers.insert((*name).to_owned(), offer);
                continue;
            }
            let output = search(&["--provides"], &[(*name).to_owned()])?;
            let mut by: Vec<String> = solvables(&output.stdout)
                .filter_map(|one| Some(attribute(one, "name")?.to_owned()))
                .collect();
            by.sort_unstable();
            by.dedup();
            if !by.is_empty() {
                offers.insert((*name).to_owned(), Offer { provided_by: by, ..Offer::default() });
            }
        }
        Ok(offers)
    }

    fn index(&self) -> Index {
        let repositories = self.repositories();
        let metadata = repositories.iter().map(|repository| format!("{repository}/repodata/repomd.xml"));
        let files: Vec<String> = metadata.chain(repositories.iter().cloned()).collect();
        let declared = sources::and_in(self.system, "/etc/zypp/repos.d", &[".repo"]);
        sources::index(self.system, &files, &declared)
    }

    fn known_names(&self) -> Vec<String> {
        let output = self.run(&["--xmlout", "search", "--type", "package"], &[]);
        let output = output.map(|output| output.stdout).unwrap_or_default();
        solvables(&output).filter_map(|one| Some(attribute(one, "name")?.to_owned())).collect()
    }

    fn takes_along(&self, work: &Work) -> Result<Vec<(String, String)>, Failure> {
        let output = self.change(&Work { takes_along: true, ..work.clone() }, true)?;
        if !output.status.code().is_some_and(|code| FINE.contains(&code)) {
            return Err(failure(&output, &said::told(work)));
        }
        let mut gone = removed(&output.stdout);
        gone.retain(|(name, _)| !work.remove.iter().any(|own| rpm::split(own).0 == name));
        Ok(gone)
    }

    fn locked(&self) -> Option<Holder> {
        locked::by_pid_file(self.system, PID_FILE).or_else(|| locked::by_fcntl(self.system, &rpm::LOCKS))
    }

    fn refresh(&self) -> Result<(), Failure> {
        let argv = ["zypper", "--non-interactive", "refresh"];
        let output = self.system.run(&Invocation::new(argv).env("LC_ALL", "C.UTF-8"))?;
        if !output.succeeded() {
            return Err(failure(&output, "reading zypper's index anew (`zypper refresh`)"));
        }
        sources::touch(self.system, &self.repositories())
    }

    fn mend(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn carry_out(&self, work: &Work) -> Result<(), Failure> {
        locked::wait(self.system, || self.locked())?;
        let output = self.change(work, false)?;
        match output.status.code() {
            Some(code) if FINE.contains(&code) => Ok(()),
            _ => Err(failure(&output, &said::told(work))),
        }
    }
}

/// The `solvable` elements of zypper's XML, which it writes one a line.
fn solvables(xml: &str) -> impl Iterator<Item = &str> {
    xml.lines().map(str::trim_start).filter(|line| line.starts_with("<solvable "))
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

fn offered(xml: &str, names: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in solvables(xml) {
        let [Some(bare), Some(edition), Some(architecture), Some(repository)] =
            ["name", "edition", "arch", "repository"].map(|name| attribute(one, name))
        else {
            continue;
        };
        // What is installed and in no repository.
        if repository.starts_with('(') || repository.starts_with('@') {
            continue;
        }
        let is_asked = |name: &&&str| match rpm::split(name) {
            (asked, Some(of)) => asked == bare && of == architecture,
            (asked, None) => asked == bare,
        };
        for name in names.iter().filter(is_asked) {
            found.entry((*name).to_owned()).or_default().push(rpm::version(edition));
        }
    }
    rpm::sorted(found)
}

fn removed(xml: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = xml.split_once("<to-remove>") else { return Vec::new() };
    let list = rest.split("</to-remove>").next().unwrap_or_default();
    let one = |line| Some((attribute(line, "name")?.to_owned(), rpm::version(attribute(line, "edition")?)));
    solvables(list).filter_map(one).collect()
}

/// The packages that are locked: zypp's stanzas of `key: value`.
fn locks(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("solvable_name:"));
    lines.map(|name| name.trim().to_owned()).collect()
}

fn failure(output: &Output, tried: &str) -> Failure {
    let text = said::text(output).replace("&apos;", "'").replace("&quot;", "\"");
    if let Some(line) = said::line(&text, &["script failed", "scriptlet failed"]) {
        return said::failure(format!("{tried}: a script of the package failed: {line}"), "zypper", output);
    }
    if let Some((reason, help)) = said::common(&text, tried) {
        return said::failure(reason, "zypper", output).help(help);
    }
    let problem = text.lines().find_map(|line| Some(line.split_once("Problem: ")?.1));
    if let Some(problem) = problem {
        let what = format!("{tried}: its dependencies cannot be met: {}", problem.trim());
        return said::failure(what, "zypper", output)
            .help("is a source missing, or is one of them locked (`zypper locks`)?");
    }
    let line = said::line(&text, &["Error: ", "error: ", "locked by"]);
    let line = line.map_or_else(|| output.ending(), str::to_owned);
    said::failure(format!("{tried}: {line}"), "zypper", output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(file: &str) -> String {
        std::fs::read_to_string(format!("tests/data/packages/zypper-{file}.xml")).unwrap()
    }

    #[test]
    fn versions_are_read_newest_first() {
        let found = offered(&recorded("search"), &["cvg-r", "cvg-repoch", "nope", "cvg-r.i686"]);
        assert_eq!(found["cvg-r"], ["2.0-1", "1.1-1", "1.0-1"]);
        assert_eq!(found["cvg-repoch"], ["2:1.0-1"]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_would_go_is_read() {
        let both = [("cvg-r", "1.1-1"), ("cvg-rdep", "1.0-1")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(removed(&recorded("remove")), both);
        assert_eq!(removed(&recorded("erasing")), [("cvg-rmta1".to_owned(), "1.0-1".to_owned())]);
    }

    #[test]
    fn locks_are_read() {
        let text = "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: cvg-r\n\n";
        assert_eq!(locks(text), ["cvg-r"]);
    }
}
