//! What apt says there is to install: `apt-cache policy`, `apt-cache showpkg`, `apt-get -s`.

use std::collections::HashMap;

use super::super::manager::Offer;

/// Reads `apt-cache policy NAME…`, for names as they were asked for.
pub fn read(text: &str, names: &[&str]) -> HashMap<String, Offer> {
    let mut by_header: HashMap<&str, Offer> = HashMap::new();
    let mut header = "";
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            header = name;
            by_header.insert(name, Offer::default());
            continue;
        }
        let Some(offer) = by_header.get_mut(header) else { continue };
        if let Some(candidate) = line.strip_prefix("  Candidate: ") {
            offer.candidate = Some(candidate.to_owned()).filter(|version| version != "(none)");
        } else if let Some(version) = version_in(line) {
            offer.versions.push(version.to_owned());
        }
    }
    let of = |name: &str| {
        // What is of the machine's own architecture, or of all, is told without it.
        let bare = name.split(':').next().unwrap_or(name);
        by_header.get(name).or_else(|| by_header.get(bare)).cloned()
    };
    names.iter().filter_map(|name| Some(((*name).to_owned(), of(name)?))).collect()
}

/// A line of the version table that begins a version: ` *** 1.0 500`, `     1.0 500`. What the
/// source is follows below, further to the right.
fn version_in(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(" *** ").or_else(|| line.strip_prefix("     "))?;
    (!rest.starts_with(' ')).then(|| rest.split_whitespace().next())?
}

/// Reads `apt-cache showpkg NAME…`: virtual packages, and who provides them.
pub fn providers(text: &str) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Package: ") {
            all.push((name.trim().to_owned(), Vec::new()));
            is_inside = false;
        } else if line.starts_with("Reverse Provides:") {
            is_inside = true;
        } else if let (true, Some((_, by)), Some(one)) =
            (is_inside, all.last_mut(), line.split_whitespace().next())
            && !by.iter().any(|there| there == one)
        {
            by.push(one.to_owned());
        }
    }
    for (_, by) in &mut all {
        by.sort_unstable();
    }
    all
}

/// What `apt-get -s` would remove: `Remv NAME [VERSION] …`.
pub fn removed(text: &str) -> Vec<(String, String)> {
    let removed = text.lines().filter_map(|line| line.strip_prefix("Remv "));
    removed
        .filter_map(|line| {
            let (name, rest) = line.split_once(' ')?;
            let version = rest.strip_prefix('[')?.split(']').next()?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = include_str!("../../../../tests/data/packages/apt-cache-policy.txt");
    const SHOWPKG: &str = include_str!("../../../../tests/data/packages/apt-cache-showpkg.txt");
    const REMOVE: &str = include_str!("../../../../tests/data/packages/apt-get-s-remove.txt");

    #[test]
    fn the_version_table_is_read() {
        let names = ["cvg-a", "cvg-nope", "cvg-mta", "cvg-arch:i386", "cvg-a:amd64", "base-files", "cvg-v1"];
        let offers = read(POLICY, &names);
        let offer = |candidate: Option<&str>, versions: &[&str]| Offer {
            candidate: candidate.map(str::to_owned),
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
            provided_by: Vec::new(),
        };
        assert_eq!(offers["cvg-a"], offer(Some("2.0-1"), &["2.0-1", "1.1", "1.0"]));
        assert_eq!(offers["cvg-a:amd64"], offers["cvg-a"]);
        assert_eq!(offers.get("cvg-nope"), None);
        assert_eq!(offers["cvg-mta"], offer(None, &[]));
        assert_eq!(offers["cvg-arch:i386"], offer(Some("1.0"), &["1.0"]));
        assert_eq!(offers["base-files"], offer(Some("12.4+deb12u15"), &["12.4+deb12u15"]));
        assert_eq!(offers["cvg-v1"], offer(None, &["1.0"]));
    }

    #[test]
    fn who_provides_a_virtual_package_is_read() {
        let told = providers(SHOWPKG);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(told[0], ("cvg-mta".to_owned(), names(&["cvg-mta1", "cvg-mta2"])));
        assert_eq!(told[1], ("cvg-nowhere".to_owned(), names(&[])));
    }

    #[test]
    fn what_would_go_is_read() {
        let both = [("cvg-dep", "1.0"), ("cvg-a", "1.0")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(removed(REMOVE), both);
    }
}
