//! The file that a unit or a program brings along: its unit file, its program file.

use super::common::{in_the_way, no_parent};
use super::{Change, Failure, Invalid, Lack, SourceSlot};
use crate::attribute::{AbsPath, Content, Mode, sha256_hex};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};

/// What is off about it, and what is missing before it can be written.
#[derive(Default)]
pub struct Difference {
    pub change: Option<Change>,
    pub lack: Option<Lack>,
}

/// Compares the file at `path` with what is declared.
pub fn compare(system: &System, path: &AbsPath, wanted: &Content) -> Result<Difference, Failure> {
    let created = Change::new("content", None, Some(wanted.summary()));
    match system.see(path)? {
        Seen::Absent => Ok(Difference { change: Some(created), lack: None }),
        Seen::NoParent(parent) => {
            Ok(Difference { change: Some(created), lack: Some(no_parent(path, &parent)) })
        }
        Seen::There(Meta { kind: Kind::File, .. }) => {
            let bytes = system.read_file(path)?;
            let sha256 = sha256_hex(&bytes);
            if sha256 == wanted.sha256() {
                return Ok(Difference::default());
            }
            let from = wanted.summary_of_old(&sha256, bytes.len() as u64);
            let mut change = Change::from_to("content", from, wanted.summary());
            if !wanted.has_secret() {
                change.old_text = String::from_utf8(bytes).ok();
            }
            Ok(Difference { change: Some(change), lack: None })
        }
        Seen::There(other) => Err(in_the_way(path, other.kind, "a file of its own")
            .help(format!("move {path} away: what is declared as `content` is to lie there"))),
    }
}

/// Writes it: 0644, as such files are, unless it is there with another mode.
pub fn put(system: &System, path: &AbsPath, content: &Content) -> Result<(), Failure> {
    let bytes = content
        .bytes()
        .ok_or_else(|| Failure::new(format!("the content of {path} did not arrive with the request")))?;
    let access = match system.see(path)? {
        Seen::There(old) if old.kind == Kind::File => {
            Access { uid: Some(old.uid), gid: Some(old.gid), mode: Some(old.mode) }
        }
        _ => Access { mode: Some(Mode::from_bits(0o644)), ..Access::default() },
    };
    system.put_file(path, bytes, access, |_| Ok(()))
}

/// At most one of them says what is in it.
pub fn exclude_each_other(given: &[(&'static str, bool)]) -> Option<Invalid> {
    let given: Vec<_> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    let [first, second, ..] = given[..] else { return None };
    Some(Invalid::new(
        second,
        format!("`{first}` and `{second}` both say what is in its file"),
        "keep one of them",
    ))
}

/// The change where what lies there now is taken away first.
pub fn replacing(wanted: &Content) -> Difference {
    let change = Change::new("content", None, Some(wanted.summary()));
    Difference { change: Some(change), lack: None }
}

/// The slots of `source` and `template`; one of them at most is given, so they share `content`.
pub fn sources<'a>(
    source: &'a mut Option<String>,
    template: &'a mut Option<String>,
    content: &'a mut Option<Content>,
) -> Vec<SourceSlot<'a>> {
    if source.is_some() {
        vec![SourceSlot { attribute: "source", is_template: false, path: source, content }]
    } else {
        vec![SourceSlot { attribute: "template", is_template: true, path: template, content }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_content_with_a_secret_replaces_is_not_sent() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("app.service"), "Environment=TOKEN=the-old-one").unwrap();
        let (system, path) = (System::under(root.path()), "/app.service".parse().unwrap());
        let change = |content: &Content| compare(&system, &path, content).unwrap().change.unwrap();
        let wanted = Content::new(*b"Environment=TOKEN=the-new-one");
        assert!(change(&wanted).old_text.is_some());
        let secret = change(&wanted.with_secret());
        assert_eq!(secret, Change::from_to("content", "(not shown)", "(holds a secret)"));
    }
}
