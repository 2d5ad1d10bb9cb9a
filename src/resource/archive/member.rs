//! What is in an archive, looked through before anything of it is written: where each entry will
//! lie, and that none leads out of the directory it is unpacked into.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::attribute::AbsPath;
use crate::resource::Failure;

/// So many refused entries are shown.
const SHOWN: usize = 10;

/// As many links as the kernel follows on the way to a file.
const MOST_LINKS: usize = 40;

/// An entry as the archive has it.
pub struct Raw {
    pub name: Vec<u8>,
    pub kind: RawKind,
    /// All bits of chmod; None where the archive knows of none.
    pub mode: Option<u32>,
    /// Seconds since 1970.
    pub modified: Option<u64>,
}

pub enum RawKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    /// Another name of a file that came before.
    HardLink(Vec<u8>),
    /// What is never unpacked, as in `a device`.
    Other(&'static str),
}

/// An entry that will be unpacked.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Below the directory, as in `bin/app`.
    pub path: String,
    pub kind: Kind,
    pub mode: Option<u32>,
    pub modified: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    File,
    Directory,
    Symlink(String),
    HardLink(String),
}

/// What has been seen of an archive so far.
pub struct Survey<'a> {
    destination: &'a AbsPath,
    strip: usize,
    /// By the entry's number in the archive; None: it is not unpacked.
    members: Vec<Option<Member>>,
    /// The last entry of a path counts, as with tar.
    by_path: HashMap<String, usize>,
    /// All that is, at least once, no directory.
    barriers: HashSet<String>,
    refused: Vec<String>,
}

impl<'a> Survey<'a> {
    pub fn new(destination: &'a AbsPath, strip: u32) -> Survey<'a> {
        Survey {
            destination,
            strip: usize::try_from(strip).unwrap_or(usize::MAX),
            members: Vec::new(),
            by_path: HashMap::new(),
            barriers: HashSet::new(),
            refused: Vec::new(),
        }
    }

    /// The next entry.
    pub fn add(&mut self, raw: &Raw) {
        let member = self.read(raw).unwrap_or_else(|why| {
            self.refused.push(format!("{}: {why}", String::from_utf8_lossy(&raw.name)));
            None
        });
        if let Some(member) = &member {
            if member.kind != Kind::Directory {
                self.barriers.insert(member.path.clone());
            }
            if let Some(earlier) = self.by_path.insert(member.path.clone(), self.members.len()) {
                self.members[earlier] = None;
            }
        }
        self.members.push(member);
    }

    fn read(&self, raw: &Raw) -> Result<Option<Member>, String> {
        // What is stripped off is looked at too: an archive with such a name is nobody's friend.
        let parts = parts(&raw.name)?;
        let path = self.stripped(&parts);
        let kind = match &raw.kind {
            RawKind::Other(what) => return Err(format!("it is {what}, which is never unpacked")),
            RawKind::File => Kind::File,
            RawKind::Directory => Kind::Directory,
            RawKind::Symlink(target) => Kind::Symlink(text(target)?.to_owned()),
            RawKind::HardLink(original) => {
                let original = self::parts(original).map_err(|why| format!("a hard link to what {why}"))?;
                let original = self.stripped(&original).unwrap_or_default();
                let found = self.by_path.get(&original).and_then(|number| self.members[*number].as_ref());
                match found.map(|member| &member.kind) {
                    _ if path.is_none() => return Ok(None),
                    Some(Kind::File | Kind::HardLink(_)) if path.as_ref() != Some(&original) => {
                        Kind::HardLink(original)
                    }
                    _ => return Err("a hard link to what is no file of the archive".to_owned()),
                }
            }
        };
        let Some(path) = path else { return Ok(None) };
        Ok(Some(Member { path, kind, mode: raw.mode, modified: raw.modified }))
    }

    fn stripped(&self, parts: &[&str]) -> Option<String> {
        parts.get(self.strip..).filter(|rest| !rest.is_empty()).map(|rest| rest.join("/"))
    }

    /// What will be unpacked, by the entries' numbers; a failure where anything in the archive is
    /// refused.
    pub fn finish(mut self) -> Result<Vec<Option<Member>>, Failure> {
        let mut refused = std::mem::take(&mut self.refused);
        let targets: HashMap<&str, &str> = self
            .members
            .iter()
            .flatten()
            .filter_map(|member| match &member.kind {
                Kind::Symlink(target) => Some((member.path.as_str(), target.as_str())),
                _ => None,
            })
            .collect();
        for member in self.members.iter().flatten() {
            if let Some(above) = above(&member.path).find(|above| self.barriers.contains(*above)) {
                refused.push(format!("{}: it lies below {above}, which is no directory", member.path));
            }
            if let Kind::Symlink(target) = &member.kind
                && self.leads_out(&member.path, &targets)
            {
                refused.push(format!("{}: a link to {target}, which is outside", member.path));
            }
            if let Kind::HardLink(original) = &member.kind
                && !self.is_file(original)
            {
                refused.push(format!("{}: a hard link to {original}, which is no file", member.path));
            }
        }
        if let Some(first) = refused.first() {
            let mut shown: Vec<&str> = refused.iter().map(String::as_str).take(SHOWN).collect();
            let more = format!("and {} more", refused.len().saturating_sub(SHOWN));
            if refused.len() > SHOWN {
                shown.push(&more);
            }
            return Err(Failure::new(format!(
                "the archive is refused, and nothing of it was written: {first}"
            ))
            .help(
                "make it anew without such entries, or unpack it with a `command`, where you answer for them",
            )
            .detail("refused entries", shown.join("\n")));
        }
        if self.members.iter().all(Option::is_none) {
            let what = match self.members.len() {
                0 => "the archive is empty".to_owned(),
                count => format!("`strip: {}` leaves nothing of the archive's {count} entries", self.strip),
            };
            return Err(Failure::new(what).help("`tar tf` or `unzip -l` shows what is in it"));
        }
        Ok(self.members)
    }

    fn is_file(&self, path: &str) -> bool {
        let member = self.by_path.get(path).and_then(|number| self.members[*number].as_ref());
        member.is_some_and(|member| matches!(member.kind, Kind::File | Kind::HardLink(_)))
    }

    /// Whether following the link at `path`, and all links of the archive on that way, comes out of
    /// the directory.
    fn leads_out(&self, path: &str, targets: &HashMap<&str, &str>) -> bool {
        let mut here: Vec<&str> = path.split('/').collect();
        let mut open: VecDeque<&str> = VecDeque::new();
        let mut links = 0;
        // As if the link itself had just been walked onto.
        loop {
            if let Some(target) = targets.get(here.join("/").as_str()) {
                links += 1;
                if links > MOST_LINKS {
                    return false;
                }
                here.pop();
                let inside = match target.strip_prefix('/') {
                    None => target,
                    Some(_) => match inside(target, self.destination) {
                        Some(inside) => {
                            here.clear();
                            inside
                        }
                        None => return true,
                    },
                };
                inside.split('/').rev().for_each(|part| open.push_front(part));
            }
            match open.pop_front() {
                None => return false,
                Some("" | ".") => {}
                Some("..") => {
                    if here.pop().is_none() {
                        return true;
                    }
                }
                Some(part) => here.push(part),
            }
        }
    }
}

/// What of an absolute target lies below the directory.
fn inside<'t>(target: &'t str, destination: &AbsPath) -> Option<&'t str> {
    let rest = target.strip_prefix(destination.as_str().trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "its name is not UTF-8".to_owned())
}

/// The parts of an entry's name, without `.` and doubled slashes.
fn parts(name: &[u8]) -> Result<Vec<&str>, String> {
    let name = text(name)?;
    if name.starts_with('/') {
        return Err("has an absolute name".to_owned());
    }
    if name.contains('\0') {
        return Err("has a NUL byte in its name".to_owned());
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err("leads out of the directory with `..`".to_owned());
    }
    Ok(parts)
}

/// The directories above a path, the nearest first.
pub fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('/'), |(parent, _)| parent.rsplit_once('/'))
        .map(|(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Raw {
        Raw { name: name.into(), kind: RawKind::File, mode: Some(0o644), modified: None }
    }

    fn of(name: &str, kind: RawKind) -> Raw {
        Raw { kind, ..file(name) }
    }

    fn link(name: &str, target: &str) -> Raw {
        of(name, RawKind::Symlink(target.into()))
    }

    fn survey(strip: u32, entries: &[Raw]) -> Result<Vec<String>, String> {
        let destination = "/opt/app".parse().unwrap();
        let mut survey = Survey::new(&destination, strip);
        entries.iter().for_each(|raw| survey.add(raw));
        let members = survey.finish().map_err(|failure| failure.reason)?;
        Ok(members.into_iter().flatten().map(|member| member.path).collect())
    }

    #[test]
    fn names_are_normalised_and_stripped() {
        let entries = [
            of("./", RawKind::Directory),
            of("./app-1/", RawKind::Directory),
            file("./app-1//bin/app"),
            file("app-1/./README"),
            file("LICENSE"),
            file("app-1/..."),
        ];
        assert_eq!(survey(1, &entries).unwrap(), ["bin/app", "README", "..."]);
        assert_eq!(survey(2, &entries).unwrap(), ["app"]);
        assert_eq!(survey(0, &entries).unwrap().len(), 5);
        let said = survey(5, &entries).unwrap_err();
        assert_eq!(said, "`strip: 5` leaves nothing of the archive's 6 entries");
        assert_eq!(survey(0, &[]).unwrap_err(), "the archive is empty");
    }

    #[test]
    fn whatever_leads_out_is_refused() {
        for (entries, says) in [
            (vec![file("ok"), file("../evil")], "../evil: leads out of the directory with `..`"),
            (vec![file("a/../../evil")], "leads out"),
            (vec![file("a/..")], "leads out"),
            (vec![file("/etc/passwd")], "/etc/passwd: has an absolute name"),
            (vec![link("l", "/etc"), file("l/passwd")], "l: a link to /etc, which is outside"),
            (vec![link("l", "."), file("l/x")], "l/x: it lies below l, which is no directory"),
            (vec![file("f"), file("f/x")], "lies below f"),
            (vec![link("l", "..")], "which is outside"),
            (vec![link("a/l", "../../x")], "which is outside"),
            (vec![link("a/b", ".."), link("c", "a/b/..")], "c: a link to a/b/.., which is outside"),
            (vec![link("a", "b"), link("b", "../../etc")], "which is outside"),
            (vec![link("l", "/opt/application/x")], "which is outside"),
            (vec![link("l", "/opt/app/../x")], "which is outside"),
            (
                vec![of("h", RawKind::HardLink("/etc/passwd".into()))],
                "a hard link to what has an absolute name",
            ),
            (vec![of("h", RawKind::HardLink("../x".into()))], "a hard link to what leads out"),
            (vec![of("h", RawKind::HardLink("later".into())), file("later")], "no file of the archive"),
            (vec![link("l", "x"), of("h", RawKind::HardLink("l".into()))], "no file of the archive"),
            (vec![of("d", RawKind::Other("a device"))], "d: it is a device, which is never unpacked"),
            (vec![Raw { name: b"\xff".to_vec(), ..file("") }], "its name is not UTF-8"),
            (vec![file("x/l"), link("x/l", ".."), link("y", "x/l/..")], "y: a link to x/l/.."),
        ] {
            let said = survey(0, &entries).unwrap_err();
            assert!(said.starts_with("the archive is refused, and nothing of it was written: "), "{said}");
            assert!(said.contains(says), "{said}, wanted {says}");
        }
        assert!(survey(1, &[file("/etc/passwd"), file("a/b")]).is_err(), "stripped or not");
    }

    #[test]
    fn links_that_stay_inside_are_unpacked() {
        let entries = [
            file("lib/libx.so.1.2"),
            link("lib/libx.so.1", "libx.so.1.2"),
            link("bin/x", "../lib/libx.so.1"),
            link("here", "/opt/app/lib"),
            link("self", "self"),
            link("dangling", "nothing/../at/all"),
            of("lib/hard", RawKind::HardLink("lib/libx.so.1.2".into())),
            link("through", "here/../bin"),
        ];
        assert_eq!(survey(0, &entries).unwrap().len(), entries.len());
    }

    #[test]
    fn of_two_entries_with_one_path_the_last_counts() {
        let entries = [file("a"), file("b"), of("./a", RawKind::Directory)];
        assert_eq!(survey(0, &entries).unwrap(), ["b", "a"]);
        let stale = [file("a"), of("h", RawKind::HardLink("a".into())), link("a", "h")];
        assert!(survey(0, &stale).unwrap_err().contains("h: a hard link to a, which is no file"));
    }
}
