//! Absolute, normalised paths.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// An absolute path without `//`, `/.`, a trailing `/`, or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AbsPath(String);

impl AbsPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The directory it lies in; none for `/`.
    pub fn parent(&self) -> Option<AbsPath> {
        let (parent, name) = self.0.rsplit_once('/')?;
        match (parent, name) {
            ("", "") => None,
            ("", _) => Some(AbsPath("/".to_owned())),
            _ => Some(AbsPath(parent.to_owned())),
        }
    }

    /// The last component; empty for `/`.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// Every directory above it, nearest first, ending with `/`.
    pub fn ancestors(&self) -> impl Iterator<Item = AbsPath> {
        std::iter::successors(self.parent(), AbsPath::parent)
    }

    /// Whether this lies somewhere below `directory` (not: is it).
    pub fn is_below(&self, directory: &AbsPath) -> bool {
        self.0.len() > directory.0.len()
            && (directory.0 == "/"
                || self.0.strip_prefix(&directory.0).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Where this leads, if `link`, which is it or is above it, points to `target`.
    pub fn behind(&self, link: &AbsPath, target: &AbsPath) -> Option<AbsPath> {
        if self == link {
            return Some(target.clone());
        }
        let rest = self.is_below(link).then(|| self.0.strip_prefix(&link.0))??;
        Some(target.join(rest.trim_start_matches('/')))
    }

    /// This, and all that it leads to by these links, each of them taken once.
    pub fn led_by(&self, links: &Symlinks) -> Vec<AbsPath> {
        let (mut places, mut taken) = (vec![self.clone()], HashSet::new());
        let mut at = 0;
        while let Some(place) = places.get(at).cloned() {
            for link in std::iter::once(place.clone()).chain(place.ancestors()) {
                let Some(targets) = links.0.get(&link) else { continue };
                if taken.insert(link.clone()) {
                    places.extend(targets.iter().filter_map(|target| place.behind(&link, target)));
                }
            }
            at += 1;
        }
        places
    }

    /// All names of what lies here itself: a link that is here is not followed.
    pub fn named_by(&self, links: &Symlinks) -> Vec<AbsPath> {
        let Some(parent) = self.parent() else { return vec![self.clone()] };
        parent.led_by(links).iter().filter_map(|led| self.behind(&parent, led)).collect()
    }

    pub fn join(&self, name: &str) -> AbsPath {
        if self.0 == "/" { AbsPath(format!("/{name}")) } else { AbsPath(format!("{}/{name}", self.0)) }
    }
}

/// Symlinks: where each is, and where it points; of several variants, each.
#[derive(Default)]
pub struct Symlinks(HashMap<AbsPath, Vec<AbsPath>>);

impl FromIterator<(AbsPath, AbsPath)> for Symlinks {
    fn from_iter<I: IntoIterator<Item = (AbsPath, AbsPath)>>(all: I) -> Symlinks {
        let mut links = Symlinks::default();
        for (link, target) in all {
            links.0.entry(link).or_default().push(target);
        }
        links
    }
}

/// Items by the paths that they are at, to find what is at one and what lies below it.
#[derive(Default)]
pub struct ByPath(BTreeMap<AbsPath, Vec<usize>>);

impl ByPath {
    pub fn add(&mut self, path: AbsPath, item: usize) {
        self.0.entry(path).or_default().push(item);
    }

    pub fn at(&self, path: &AbsPath) -> impl Iterator<Item = usize> {
        self.0.get(path).into_iter().flatten().copied()
    }

    pub fn below(&self, path: &AbsPath) -> impl Iterator<Item = usize> {
        // What lies below a path stands together, from where its slash would: not so `/a`, `/a-b`, `/a/b`.
        let beginning = format!("{}/", path.0.trim_end_matches('/'));
        let from = self.0.range(AbsPath(beginning.clone())..).filter(|(other, _)| other.0 != "/");
        from.take_while(move |(other, _)| other.0.starts_with(&beginning))
            .flat_map(|(_, items)| items.iter().copied())
    }
}

impl FromStr for AbsPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(match text {
                "" => "the path is empty: write an absolute one, as in /srv/www".to_owned(),
                _ if text.starts_with('~') => {
                    format!("`{text}`: `~` is not expanded: write the whole path, as in /home/…")
                }
                _ => format!("`{text}` is no absolute path: paths begin with /"),
            });
        }
        if text.contains('\0') {
            return Err("the path holds a NUL byte, which no path can".to_owned());
        }
        let mut normal = String::with_capacity(text.len());
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    return Err(format!(
                        "`{text}` holds `..`, whose meaning depends on links: write the path without it"
                    ));
                }
                part => {
                    normal.push('/');
                    normal.push_str(part);
                }
            }
        }
        if normal.is_empty() {
            normal.push('/');
        }
        Ok(AbsPath(normal))
    }
}

impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

super::text_form!(AbsPath);

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AbsPath {
        text.parse().unwrap()
    }

    #[test]
    fn what_lies_below_a_link_leads_to_below_its_target() {
        let path = |text: &str| text.parse::<AbsPath>().unwrap();
        let behind = |own: &str, link: &str, target: &str| path(own).behind(&path(link), &path(target));
        assert_eq!(behind("/a/b/c", "/a", "/srv"), Some(path("/srv/b/c")));
        assert_eq!(behind("/a", "/a", "/srv"), Some(path("/srv")));
        assert_eq!(behind("/a/b", "/a", "/"), Some(path("/b")));
        assert_eq!(behind("/ab", "/a", "/srv"), None);
        assert_eq!(behind("/", "/a", "/srv"), None);
    }

    #[test]
    fn a_chain_of_links_is_followed_to_its_end_and_a_ring_once() {
        let links = |all: &[(&str, &str)]| -> Symlinks {
            all.iter().map(|(link, target)| (path(link), path(target))).collect()
        };
        let led = |own: &str, all: &[(&str, &str)]| -> Vec<String> {
            path(own).led_by(&links(all)).iter().map(AbsPath::to_string).collect()
        };
        assert_eq!(led("/b/a", &[("/a", "/d"), ("/b", "/a")]), ["/b/a", "/a/a", "/d/a"]);
        assert_eq!(led("/c", &[("/a", "/d")]), ["/c"]);
        assert_eq!(led("/a/x", &[("/a", "/b"), ("/b", "/a")]), ["/a/x", "/b/x", "/a/x"]);
        let named = path("/b/a").named_by(&links(&[("/a", "/d"), ("/b", "/a"), ("/b/a", "/x")]));
        assert_eq!(named, ["/b/a", "/a/a", "/d/a"].map(path));
        let variants = [("/a", "/one"), ("/a", "/two")];
        assert_eq!(led("/a", &variants), ["/a", "/one", "/two"]);
    }

    #[test]
    fn what_lies_below_a_path_is_found_whatever_sorts_between() {
        let mut items = ByPath::default();
        for (item, text) in ["/", "/a", "/a-b", "/a/b", "/a/b/c", "/ab", "/a/b"].iter().enumerate() {
            items.add(path(text), item);
        }
        let below = |text: &str| items.below(&path(text)).collect::<Vec<_>>();
        assert_eq!(below("/a"), [3, 6, 4]);
        assert_eq!(below("/"), [1, 2, 3, 6, 4, 5]);
        assert_eq!(below("/a/b/c"), [0; 0]);
        assert_eq!(items.at(&path("/a/b")).collect::<Vec<_>>(), [3, 6]);
    }

    #[test]
    fn spellings_of_one_path_are_one_path() {
        for text in ["/srv/www", "//srv//www", "/srv/./www", "/srv/www/", "/srv/www/."] {
            assert_eq!(path(text).as_str(), "/srv/www");
        }
        assert_eq!(path("//").as_str(), "/");
    }

    #[test]
    fn relative_paths_and_dotdot_are_refused() {
        for text in ["", "srv", "./srv", "~/x", "/srv/../etc", "/.."] {
            assert!(text.parse::<AbsPath>().is_err(), "{text}");
        }
        assert_eq!(path("/srv/..a").as_str(), "/srv/..a");
    }

    #[test]
    fn below_is_by_component_and_not_by_prefix() {
        assert!(path("/srv/www").is_below(&path("/srv")));
        assert!(path("/srv").is_below(&path("/")));
        assert!(!path("/srvx").is_below(&path("/srv")));
        assert!(!path("/srv").is_below(&path("/srv")));
        let above: Vec<_> = path("/a/b/c").ancestors().map(|p| p.to_string()).collect();
        assert_eq!(above, ["/a/b", "/a", "/"]);
    }
}
