//! Programs of the host that a type works with, and the packages they come in.

use super::{Failure, Lack, Links, Thing};
use crate::system::System;
use crate::system::facts::Facts;

/// A program, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    pub program: &'static str,
    /// Its package on Debian, and wherever it has no other name.
    pub package: &'static str,
    /// With these managers it has another name.
    pub elsewhere: &'static [(&'static str, &'static str)],
}

impl Tool {
    pub fn is_missing(&self, system: &System) -> bool {
        !system.has_program(self.program)
    }

    /// What is lacking where it is missing.
    pub fn lack(&self, system: &System) -> Option<Lack> {
        if !self.is_missing(system) {
            return None;
        }
        let package = self.package_on(system);
        Some(Lack {
            thing: Thing::Package(package.to_owned()),
            what: format!("`{}` is not installed here", self.program),
            help: format!("it comes with the package {package}: declare `- package: {package}`"),
        })
    }

    pub fn missing(&self, system: &System) -> Option<Failure> {
        self.lack(system).map(|lack| Failure::new(lack.what).help(lack.help))
    }

    /// Its package comes before what works with it.
    pub fn link(&self, links: Links) -> Links {
        links.stands_on(Thing::Package(self.package.to_owned()), "the program it works with")
    }

    fn package_on(&self, system: &System) -> &'static str {
        if self.elsewhere.is_empty() {
            return self.package;
        }
        let manager = Facts::gather(system).package_manager;
        let found = self.elsewhere.iter().find(|(name, _)| *name == manager);
        found.map_or(self.package, |(_, package)| package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_package_that_has_it() {
        let tool =
            Tool { program: "no-such-program-here", package: "such", elsewhere: &[("apk", "suchlike")] };
        let root = tempfile::tempdir().unwrap();
        let system = System::under(root.path());
        let lack = tool.lack(&system).unwrap();
        assert_eq!(lack.what, "`no-such-program-here` is not installed here");
        assert_eq!(lack.thing, Thing::Package("such".into()));
        assert!(lack.help.contains("declare `- package: such`"), "{}", lack.help);
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        std::fs::create_dir_all(root.path().join("sbin")).unwrap();
        std::fs::write(root.path().join("etc/os-release"), "ID=alpine\n").unwrap();
        std::fs::write(root.path().join("sbin/apk"), "").unwrap();
        assert_eq!(tool.lack(&system).unwrap().thing, Thing::Package("suchlike".into()));
        let there = Tool { program: "sh", package: "dash", elsewhere: &[] };
        assert_eq!(there.lack(&system), None);
    }
}
