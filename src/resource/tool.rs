//! Programs of the host that a type works with: what is lacking where one is missing.

use super::{Failure, Lack, Links, Thing};
use crate::system::System;
use crate::system::tools::usual_package_of;

/// A program by its name. `system::tools` knows the packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool(pub &'static str);

impl Tool {
    pub fn is_missing(self, system: &System) -> bool {
        !system.has_program(self.0)
    }

    /// What is lacking where it is missing.
    pub fn lack(self, system: &System) -> Option<Lack> {
        if !self.is_missing(system) {
            return None;
        }
        let package = system.package_of(self.0).unwrap_or_else(|| self.usual_package());
        Some(Lack {
            thing: Thing::Package(package.to_owned()),
            what: format!("`{}` is not installed here", self.0),
            help: format!("it comes with the package {package}: declare `- package: {package}`"),
        })
    }

    pub fn missing(self, system: &System) -> Option<Failure> {
        self.lack(system).map(|lack| Failure::new(lack.what).help(lack.help))
    }

    /// Its package comes before what works with it.
    pub fn link(self, links: Links) -> Links {
        links.stands_on(Thing::Package(self.usual_package().to_owned()), "the program it works with")
    }

    fn usual_package(self) -> &'static str {
        usual_package_of(self.0).unwrap_or(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_package_that_has_it() {
        let root = tempfile::tempdir().unwrap();
        let system = System::under(root.path());
        let lack = Tool("no-such-program-here").lack(&system).unwrap();
        assert_eq!(lack.what, "`no-such-program-here` is not installed here");
        assert_eq!(lack.thing, Thing::Package("no-such-program-here".into()));
        assert!(lack.help.contains("declare `- package: no-such-program-here`"), "{}", lack.help);
        assert_eq!(Tool("sh").lack(&system), None);
    }
}
