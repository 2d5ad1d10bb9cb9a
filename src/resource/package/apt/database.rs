//! What dpkg says is installed: the answer of `dpkg-query -W`.

use std::collections::HashMap;

use super::super::manager::{Here, Status};

/// One line a package, fields between tabs.
pub const FORMAT: &str = "${Package}\\t${Architecture}\\t${Version}\\t${db:Status-Want}\\t\
${db:Status-Status}\\t${db:Status-Eflag}\\t${Provides}\\n";

/// All packages that dpkg knows of.
#[derive(Default)]
pub struct Database {
    packages: HashMap<String, Vec<Record>>,
    /// Virtual packages, and who provides them.
    provided: HashMap<String, Vec<String>>,
    native: String,
}

struct Record {
    architecture: String,
    version: String,
    is_held: bool,
    /// dpkg(1), "Package states".
    state: String,
    needs_reinstallation: bool,
}

impl Database {
    pub fn read(text: &str) -> Database {
        let mut database = Database::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, architecture, version, want, state, flag, provides] = fields[..] else { continue };
            // It is always of the machine's own architecture.
            if name == "dpkg" {
                architecture.clone_into(&mut database.native);
            }
            if state == "installed" {
                for one in provides.split(',').filter_map(|one| one.split_whitespace().next()) {
                    let by = database.provided.entry(one.to_owned()).or_default();
                    if !by.iter().any(|there| there == name) {
                        by.push(name.to_owned());
                    }
                }
            }
            database.packages.entry(name.to_owned()).or_default().push(Record {
                architecture: architecture.to_owned(),
                version: version.to_owned(),
                is_held: want == "hold",
                state: state.to_owned(),
                needs_reinstallation: flag == "reinstreq",
            });
        }
        database
    }

    /// A package by its name, or by `name:architecture`.
    pub fn find(&self, name: &str) -> Here {
        let (bare, architecture) = name.split_once(':').map_or((name, None), |(bare, a)| (bare, Some(a)));
        let records = self.packages.get(bare).map(Vec::as_slice).unwrap_or_default();
        let of = |wanted: &str| records.iter().find(|record| record.architecture == wanted);
        let record = match architecture {
            Some("any") => records.first(),
            Some("native") => of(&self.native),
            Some(architecture) => of(architecture).or_else(|| of("all")),
            None => of(&self.native).or_else(|| of("all")).or_else(|| records.first()),
        };
        let status = record.map(Record::status).unwrap_or_default();
        let status = match (status, self.provided.get(bare)) {
            (Status::Absent, Some(by)) => Status::Provided(by.clone()),
            (status, _) => status,
        };
        Here { status, held: record.is_some_and(|record| record.is_held) }
    }

    /// Whether any package is neither installed nor not.
    pub fn has_half_way(&self) -> bool {
        self.packages.values().flatten().any(|record| matches!(record.status(), Status::Broken { .. }))
    }
}

impl Record {
    fn status(&self) -> Status {
        match self.state.as_str() {
            "not-installed" | "config-files" => Status::Absent,
            "installed" if !self.needs_reinstallation => Status::There(self.version.clone()),
            state => Status::Broken {
                version: self.version.clone(),
                how: if self.needs_reinstallation { "needs reinstallation" } else { state }.to_owned(),
                torn: self.needs_reinstallation || state == "half-installed",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = include_str!("../../../../tests/data/packages/dpkg-query.txt");

    /// States that pass too fast to be recorded, as dpkg-query(1) and dpkg(1) have them.
    const COMPOSED: &str = "\
cvg-held-and-gone\tall\t1.0\thold\tconfig-files\tok\t
cvg-waits\tall\t1.0\tinstall\tunpacked\tok\t
cvg-cut\tall\t1.0\tinstall\thalf-installed\treinstreq\t
cvg-new\tall\t\tinstall\thalf-installed\treinstreq\t
cvg-triggers\tall\t1.0\tinstall\ttriggers-pending\tok\t
cvg-both\ti386\t1.0\tinstall\tinstalled\tok\t
cvg-both\tamd64\t2.0\tinstall\tinstalled\tok\t
cvg-foreign\ti386\t1.0\tinstall\tinstalled\tok\t
cvg-gone\tall\t1.0\tdeinstall\tconfig-files\tok\tcvg-gone-virtual
";

    #[test]
    fn every_state_of_dpkg_is_told_apart() {
        let database = Database::read(&format!("{RECORDED}{COMPOSED}"));
        let there = |version: &str| Status::There(version.to_owned());
        let broken = |version: &str, how: &str| Status::Broken {
            version: version.to_owned(),
            how: how.to_owned(),
            torn: how == "needs reinstallation",
        };
        for (name, status, held) in [
            ("apt", there("2.6.1"), false),
            ("apt:amd64", there("2.6.1"), false),
            ("apt:native", there("2.6.1"), false),
            ("apt:i386", Status::Absent, false),
            ("adduser:amd64", there("3.134"), false),
            ("cvg-held", there("1.0"), true),
            ("cvg-removed", Status::Absent, false),
            ("cvg-held-and-gone", Status::Absent, true),
            ("cvg-half", broken("1.0", "half-configured"), false),
            ("cvg-waits", broken("1.0", "unpacked"), false),
            ("cvg-cut", broken("1.0", "needs reinstallation"), false),
            ("cvg-new", broken("", "needs reinstallation"), false),
            ("cvg-triggers", broken("1.0", "triggers-pending"), false),
            ("cvg-both", there("2.0"), false),
            ("cvg-both:i386", there("1.0"), false),
            ("cvg-foreign", there("1.0"), false),
            ("cvg-mta", Status::Provided(vec!["cvg-mta1".to_owned()]), false),
            // A package that is gone provides nothing.
            ("cvg-gone-virtual", Status::Absent, false),
            ("nothing", Status::Absent, false),
        ] {
            assert_eq!(database.find(name), Here { status, held }, "{name}");
        }
        assert!(database.has_half_way());
        let right = "dpkg\tamd64\t1\tinstall\tinstalled\tok\t\nx\tall\t1\tdeinstall\tconfig-files\tok\t\n";
        assert!(!Database::read(right).has_half_way());
    }
}
