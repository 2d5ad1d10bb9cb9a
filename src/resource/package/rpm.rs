//! What dnf and zypper have in common: the database of rpm, and how it compares versions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::manager::{Here, Status};
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::Invocation;

/// Where rpm keeps its lock, of old and of late.
pub const LOCKS: [&str; 2] = ["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"];

const FORMAT: &str = "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\t%{ARCH}\\t[%{PROVIDENAME} ]\\n";

/// Architectures that may stand behind a package's name.
const ARCHITECTURES: [&str; 10] =
    ["noarch", "x86_64", "i686", "i586", "aarch64", "armv7hl", "ppc64le", "s390x", "riscv64", "loongarch64"];

/// `glibc.i686` is a package and an architecture, `python3.11` is not.
pub fn split(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('.') {
        Some((bare, architecture)) if ARCHITECTURES.contains(&architecture) => (bare, Some(architecture)),
        _ => (name, None),
    }
}

/// The epoch 0 is not written.
pub fn version(text: &str) -> String {
    text.strip_prefix("0:").or_else(|| text.strip_prefix("(none):")).unwrap_or(text).to_owned()
}

#[derive(Default)]
pub struct Database {
    packages: HashMap<String, Vec<(String, String)>>,
    provided: HashMap<String, Vec<String>>,
}

/// All that is installed, in one look.
pub fn database(system: &System) -> Result<Database, Failure> {
    let output = system.run(&Invocation::new(["rpm", "-qa", &format!("--qf={FORMAT}")]).whole_output())?;
    if !output.succeeded() {
        return Err(output.failure("reading the packages that are installed (`rpm -qa`)"));
    }
    Ok(Database::read(&output.stdout))
}

impl Database {
    fn read(text: &str) -> Database {
        let mut database = Database::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, edition, architecture, provides] = fields[..] else { continue };
            let entry = (architecture.to_owned(), version(edition));
            database.packages.entry(name.to_owned()).or_default().push(entry);
            // Files and libraries are no names of packages.
            for one in provides.split(' ').filter(|one| !one.contains(['(', '/']) && *one != name) {
                let by = database.provided.entry(one.to_owned()).or_default();
                if !by.iter().any(|there| there == name) {
                    by.push(name.to_owned());
                }
            }
        }
        database
    }

    pub fn find(&self, name: &str, held: bool) -> Here {
        let (bare, architecture) = split(name);
        let there = self.packages.get(bare).map(Vec::as_slice).unwrap_or_default();
        let there = there.iter().filter(|(of, _)| architecture.is_none_or(|wanted| wanted == of));
        // Several kernels may be installed, and an interrupted upgrade leaves two of anything.
        let newest = there.map(|(_, version)| version).max_by(|a, b| compare(a, b));
        let status = match (newest, self.provided.get(bare)) {
            (Some(version), _) => Status::There(version.clone()),
            (None, Some(by)) => Status::Provided(by.clone()),
            (None, None) => Status::Absent,
        };
        Here { status, held }
    }
}

/// Versions by name, as they were found, to versions in order, newest first, each once.
pub fn sorted(found: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    found
        .into_iter()
        .map(|(name, mut versions)| {
            versions.sort_by(|a, b| compare(b, a));
            versions.dedup();
            (name, versions)
        })
        .collect()
}

/// As rpm orders `epoch:version-release`.
pub fn compare(a: &str, b: &str) -> Ordering {
    let parts = |edition: &str| {
        let (epoch, rest) = edition.split_once(':').unwrap_or(("0", edition));
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse::<u64>().unwrap_or(0), version.to_owned(), release.to_owned())
    };
    let (a, b) = (parts(a), parts(b));
    a.0.cmp(&b.0).then_with(|| segments(&a.1, &b.1)).then_with(|| segments(&a.2, &b.2))
}

/// rpmvercmp: runs of digits and of letters, one after the other; `~` is before the end, `^` after it.
fn segments(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    let is_noise = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
    loop {
        (a, b) = (a.trim_start_matches(is_noise), b.trim_start_matches(is_noise));
        for (mark, then, when_alone) in
            [('~', Ordering::Less, Ordering::Less), ('^', Ordering::Less, Ordering::Greater)]
        {
            match (a.strip_prefix(mark), b.strip_prefix(mark)) {
                (Some(rest_a), Some(rest_b)) => (a, b) = (rest_a, rest_b),
                (Some(_), None) => return if b.is_empty() { when_alone } else { then },
                (None, Some(_)) => return if a.is_empty() { when_alone } else { then }.reverse(),
                (None, None) => {}
            }
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let is_number = a.starts_with(|c: char| c.is_ascii_digit());
        let of_kind = |c: char| if is_number { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
        let run = |text: &str| text.find(|c: char| !of_kind(c)).unwrap_or(text.len());
        let (run_a, run_b) = (a.split_at(run(a)), b.split_at(run(b)));
        if run_b.0.is_empty() {
            // A number is newer than letters.
            return if is_number { Ordering::Greater } else { Ordering::Less };
        }
        let order = if is_number {
            let [x, y] = [run_a.0, run_b.0].map(|digits| digits.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            run_a.0.cmp(run_b.0)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (run_a.1, run_b.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_rpm_orders_them() {
        // From rpm's own tests (rpmvercmp.at).
        for (a, b, order) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.0", "2.0", Ordering::Less),
            ("2.0.1a", "2.0.1", Ordering::Greater),
            ("5.5p1", "5.5p10", Ordering::Less),
            ("10xyz", "10.1xyz", Ordering::Less),
            ("xyz10", "xyz10.1", Ordering::Less),
            ("xyz.4", "8", Ordering::Less),
            ("5.5p2", "5.6p1", Ordering::Less),
            ("6.0.rc1", "6.0", Ordering::Greater),
            ("10b2", "10a1", Ordering::Greater),
            ("7.4.052", "7.4.52", Ordering::Equal),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1.0~rc1", "1.0~rc2", Ordering::Less),
            ("1.0~rc1~git123", "1.0~rc1", Ordering::Less),
            ("1.0^", "1.0", Ordering::Greater),
            ("1.0^git1", "1.0^git2", Ordering::Less),
            ("1.0^git1", "1.01", Ordering::Less),
            ("1.0^20160101", "1.0.1", Ordering::Less),
            ("1.0~rc1^git1", "1.0~rc1", Ordering::Greater),
            ("1.0-1", "1.0-2", Ordering::Less),
            ("1:1.0-1", "2.0-1", Ordering::Greater),
            ("0:1.0-1", "1.0-1", Ordering::Equal),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn the_database_is_read() {
        let database = Database::read(include_str!("../../../tests/data/packages/rpm-qa.txt"));
        let there = |version: &str| Status::There(version.to_owned());
        assert_eq!(database.find("cvg-r", false).status, there("1.0-1"));
        assert_eq!(database.find("cvg-r.noarch", false).status, there("1.0-1"));
        assert_eq!(database.find("cvg-r.i686", false).status, Status::Absent);
        assert_eq!(database.find("cvg-repoch", true), Here { status: there("2:1.0-1"), held: true });
        assert_eq!(database.find("cvg-rmta", false).status, Status::Provided(vec!["cvg-rmta1".to_owned()]));
        assert_eq!(database.find("nothing", false).status, Status::Absent);
        let two = Database::read("k\t(none):1-1\tx86_64\t\nk\t0:2-1\tx86_64\t\n");
        assert_eq!(two.find("k", false).status, there("2-1"));
    }
}
