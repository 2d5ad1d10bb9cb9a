//! What the next boot would set: the files of sysctl.d(5), in the order in which they are read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::key::Key;
use crate::attribute::AbsPath;
use crate::failure::Failure;
use crate::resource::text::Text;
use crate::system::System;

/// In this order: a file hides those of the same name in the directories after its own.
pub const DIRECTORIES: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// systemd reads it only by a link in one of these directories; others read it last.
pub const CLASSIC: &str = "/etc/sysctl.conf";

/// Whether it lies where files are read at boot.
pub fn may_be_read(file: &AbsPath) -> bool {
    let is_conf = file.as_str().ends_with(".conf") && !file.file_name().starts_with('.');
    file.as_str() == CLASSIC || is_conf && rank(file).is_some()
}

/// Which of the directories it lies in.
fn rank(file: &AbsPath) -> Option<usize> {
    let directory = file.parent()?;
    DIRECTORIES.iter().position(|other| *other == directory.as_str())
}

/// A line that sets a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The line's number, from 0.
    pub at: usize,
    pub key: Key,
    pub value: String,
    /// `-`: that it cannot be set is no error.
    pub is_lenient: bool,
}

/// A file that is read at boot.
#[derive(Debug)]
struct BootFile {
    path: AbsPath,
    /// Behind links.
    real: PathBuf,
    assignments: Vec<Assignment>,
}

/// The lines of a file that set something. A pattern sets only what no line names.
pub fn assignments(text: &Text) -> Vec<Assignment> {
    let read = |(at, line): (usize, &[u8])| {
        let line = std::str::from_utf8(line).ok()?.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (is_lenient, line) = line.strip_prefix('-').map_or((false, line), |line| (true, line));
        let (key, value) = line.split_once('=')?;
        let key = key.trim().parse().ok()?;
        Some(Assignment { at, key, value: value.trim().to_owned(), is_lenient })
    };
    text.lines().enumerate().filter_map(read).collect()
}

/// Whether what `file` says of `key` is what counts at boot.
pub fn judge(
    system: &System,
    file: &AbsPath,
    key: &Key,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    let files: Arc<Vec<BootFile>> = system.shared("sysctl.d", || files(system).map(Arc::new))?;
    let real = real(system, file);
    let Some(own) = files.iter().position(|other| other.real == real).or(position(&files, file)) else {
        return Err(unread(file, &files));
    };
    // A file of the same name it hides, once it is there.
    let is_hidden =
        |other: &BootFile| other.path.file_name() == file.file_name() && rank(&other.path).is_some();
    let later = files[own..].iter().filter(|other| other.real != real && !is_hidden(other));
    let mut lines = later.flat_map(|other| other.assignments.iter().map(move |it| (other, it)));
    match lines.rfind(|(_, it)| it.key == *key) {
        Some((other, it)) if !is_wanted(&it.value) => Err(overridden(key, file, other, it)),
        _ => Ok(()),
    }
}

/// Before which of the others a file is read that does not exist yet; None: it is not read at all.
fn position(files: &[BootFile], file: &AbsPath) -> Option<usize> {
    let (own, name) = (rank(file)?, file.file_name());
    let hides = |other: &BootFile| other.path.file_name() == name && rank(&other.path) < Some(own);
    if files.iter().any(|other| rank(&other.path).is_some() && hides(other)) {
        return None;
    }
    let before = |other: &&BootFile| rank(&other.path).is_some() && other.path.file_name() < name;
    Some(files.iter().take_while(before).count())
}

/// In the order in which they are read.
fn files(system: &System) -> Result<Vec<BootFile>, Failure> {
    let mut found: BTreeMap<String, AbsPath> = BTreeMap::new();
    for directory in DIRECTORIES {
        let entries = match std::fs::read_dir(system.root().join(&directory[1..])) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Failure::io(format!("reading {directory}"), &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| Failure::io(format!("reading {directory}"), &error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What begins with a dot is hidden, and in the making.
            if name.ends_with(".conf") && !name.starts_with('.') {
                let path = format!("{directory}/{name}").parse().map_err(Failure::new)?;
                found.entry(name).or_insert(path);
            }
        }
    }
    let mut paths: Vec<AbsPath> = found.into_values().collect();
    if !system.root().join("run/systemd/system").is_dir() {
        paths.push(CLASSIC.parse().map_err(Failure::new)?);
    }
    paths.into_iter().map(|path| read(system, path)).collect()
}

fn read(system: &System, path: AbsPath) -> Result<BootFile, Failure> {
    let bytes = match std::fs::read(system.locate(&path)) {
        Ok(bytes) => bytes,
        // A link that leads nowhere sets nothing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::io(format!("reading {path}"), &error)),
    };
    Ok(BootFile { real: real(system, &path), assignments: assignments(&Text::parse(&bytes)), path })
}

fn real(system: &System, path: &AbsPath) -> PathBuf {
    let located = system.locate(path);
    std::fs::canonicalize(&located).unwrap_or(located)
}

fn overridden(key: &Key, file: &AbsPath, other: &BootFile, it: &Assignment) -> Failure {
    let way = match other.path.as_str() {
        CLASSIC => format!("use `file: {CLASSIC}`, which is read last here, or take the line out of it"),
        _ => format!(
            "take that line out, or give this one a file that comes after: `file: /etc/sysctl.d/{}`",
            after(other.path.file_name())
        ),
    };
    Failure::new(format!(
        "at boot {key} would be {}: line {} of {} comes after {file}",
        if it.value.is_empty() { "empty" } else { &it.value },
        it.at + 1,
        other.path,
    ))
    .help(way)
}

/// A name that sorts behind this one.
fn after(name: &str) -> String {
    let stem = name.strip_suffix(".conf").unwrap_or(name);
    if stem < "zz-converge" { "zz-converge.conf".to_owned() } else { format!("{stem}-converge.conf") }
}

fn unread(file: &AbsPath, files: &[BootFile]) -> Failure {
    let hides = files.iter().find(|other| other.path.file_name() == file.file_name());
    match hides {
        Some(other) => Failure::new(format!(
            "at boot {file} is not read: {} of the same name is read instead",
            other.path
        ))
        .help("give it another name"),
        None => Failure::new(format!("at boot nothing reads {file}"))
            .help("use a file in /etc/sysctl.d whose name ends with .conf"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => std::fs::write(path, text).unwrap(),
            }
        }
        let system = System::under(root.path());
        (root, system)
    }

    /// What is said of `a.b = 1` in this file.
    fn said(files: &[(&str, &str)], file: &str) -> String {
        let (_root, system) = machine(files);
        let judged = judge(&system, &file.parse().unwrap(), &"a.b".parse().unwrap(), |value| value == "1");
        judged
            .err()
            .map_or(String::new(), |failure| format!("{} | {}", failure.reason, failure.help.unwrap()))
    }

    #[test]
    fn lines_that_set_something_are_told_from_others() {
        let text = "# a.b = 0\n;a.b=0\n\n a.b = 1 2 \na/b=3\n-a.c =\n-a.d\na.*.b = 4\nnonsense\n";
        let found: Vec<_> = assignments(&Text::parse(text.as_bytes()))
            .into_iter()
            .map(|it| (it.at, it.key.to_string(), it.value, it.is_lenient))
            .collect();
        let wanted = [(3, "a.b", "1 2", false), (4, "a.b", "3", false), (5, "a.c", "", true)];
        assert_eq!(
            found,
            wanted.map(|(at, key, value, lenient)| (at, key.to_owned(), value.to_owned(), lenient))
        );
    }

    #[test]
    fn what_a_later_file_sets_is_told() {
        const OWN: &str = "/etc/sysctl.d/99-converge.conf";
        let systemd = ("run/systemd/system/x", "");
        assert_eq!(said(&[], OWN), "");
        assert_eq!(said(&[systemd, ("etc/sysctl.d/50-x.conf", "a.b = 0\n")], OWN), "");
        assert_eq!(said(&[systemd, ("etc/sysctl.d/k8s.conf", "a.b = 1\n")], OWN), "");
        assert_eq!(said(&[systemd, ("etc/sysctl.d/k8s.txt", "a.b = 0\n")], OWN), "");
        assert_eq!(said(&[systemd, ("etc/sysctl.conf", "a.b = 0\n")], OWN), "");
        assert_eq!(
            said(&[systemd, ("usr/lib/sysctl.d/k8s.conf", "# x\na/b=0\n")], OWN),
            "at boot a.b would be 0: line 2 of /usr/lib/sysctl.d/k8s.conf comes after \
             /etc/sysctl.d/99-converge.conf | take that line out, or give this one a file that comes after: \
             `file: /etc/sysctl.d/zz-converge.conf`"
        );
        // The same when the file is there already, and where a file hides another one.
        let there = (&OWN[1..], "a.b = 1\n");
        assert!(said(&[systemd, there, ("etc/sysctl.d/k8s.conf", "a.b=0\n")], OWN).contains("k8s.conf"));
        let hidden = [systemd, ("etc/sysctl.d/k8s.conf", ""), ("usr/lib/sysctl.d/k8s.conf", "a.b=0\n")];
        assert_eq!(said(&hidden, OWN), "");
    }

    #[test]
    fn the_classic_file_counts_where_it_is_read() {
        const OWN: &str = "/etc/sysctl.d/99-converge.conf";
        let systemd = ("run/systemd/system/x", "");
        let classic = ("etc/sysctl.conf", "a.b = 0\n");
        let link = ("etc/sysctl.d/99-sysctl.conf", "-> ../sysctl.conf");
        assert!(said(&[classic], OWN).contains("which is read last here"));
        assert!(said(&[systemd, classic, link], OWN).contains("/etc/sysctl.d/99-sysctl.conf"));
        assert_eq!(said(&[systemd, classic, link], CLASSIC), "");
        assert!(said(&[systemd, classic], CLASSIC).contains("nothing reads /etc/sysctl.conf"));
        assert_eq!(said(&[classic], CLASSIC), "");
    }

    #[test]
    fn a_file_that_another_one_hides_is_not_read() {
        let files = [("etc/sysctl.d/x.conf", ""), ("usr/lib/sysctl.d/x.conf", "a.b = 1\n")];
        assert!(said(&files, "/usr/lib/sysctl.d/x.conf").contains("/etc/sysctl.d/x.conf of the same name"));
        let files = [("usr/lib/sysctl.d/x.conf", "a.b = 0\n")];
        assert_eq!(said(&files, "/etc/sysctl.d/x.conf"), "");
    }
}
