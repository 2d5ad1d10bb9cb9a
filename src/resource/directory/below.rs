//! What lies below a directory: `recurse` and `purge`.

use super::Directory;
use crate::attribute::AbsPath;
use crate::resource::{Change, Failure};
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};

pub const RECURSE: &str = "recurse";
pub const PURGE: &str = "purge";

/// So many are named; the rest is counted.
const NAMED: usize = 5;

/// Calls `visit` for everything below `path` on the same file system, but links, and but what
/// has a resource of its own.
fn walk(
    system: &System,
    directory: &Directory,
    path: &AbsPath,
    device: u64,
    visit: &mut dyn FnMut(&AbsPath, &Meta) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for name in system.list(path)? {
        let inner = path.join(&name);
        let Seen::There(there) = system.see(&inner)? else { continue };
        if there.kind == Kind::Symlink || there.device != device {
            continue;
        }
        let own = directory.surroundings.below.get(&inner);
        // A backup is as the file was.
        if own.is_none() && !is_backup(path, &name, |file| directory.surroundings.below.contains_key(file)) {
            visit(&inner, &there)?;
        }
        if there.kind == Kind::Directory && own != Some(&true) {
            walk(system, directory, &inner, device, visit)?;
        }
    }
    Ok(())
}

/// What `there` still needs to be as declared.
fn needed(access: &Access, there: &Meta) -> Access {
    let mode = access.mode.map(|mode| match there.kind {
        Kind::Directory => mode,
        _ => mode.for_file_below(there.mode),
    });
    let uid = access.uid.filter(|uid| *uid != there.uid);
    let gid = access.gid.filter(|gid| *gid != there.gid);
    let chown = uid.is_some() || gid.is_some();
    Access { uid, gid, mode: mode.filter(|mode| chown || *mode != there.mode) }
}

fn is_needed(access: Access) -> bool {
    access.uid.is_some() || access.gid.is_some() || access.mode.is_some()
}

pub fn drift(
    system: &System,
    directory: &Directory,
    access: &Access,
    device: u64,
) -> Result<Option<Change>, Failure> {
    let mut off = Vec::new();
    walk(system, directory, &directory.path, device, &mut |path, there| {
        if is_needed(needed(access, there)) {
            off.push(path.to_string());
        }
        Ok(())
    })?;
    Ok((!off.is_empty()).then(|| {
        let ownership = directory.ownership();
        let to = [
            ownership.owner.map(|owner| format!("owner {owner}")),
            ownership.group.map(|group| format!("group {group}")),
            ownership.mode.map(|mode| format!("mode {mode}")),
        ];
        let to: Vec<String> = to.into_iter().flatten().collect();
        Change::new(RECURSE, Some(named(&off)), Some(to.join(", ")))
    }))
}

pub fn mend(system: &System, directory: &Directory, access: &Access) -> Result<(), Failure> {
    let Seen::There(top) = system.see(&directory.path)? else { return Ok(()) };
    walk(system, directory, &directory.path, top.device, &mut |path, there| {
        let needed = needed(access, there);
        if is_needed(needed) { system.set_access(path, needed) } else { Ok(()) }
    })
}

/// What is in the directory and neither declared nor above something declared, topmost first.
fn undeclared_paths(system: &System, directory: &Directory, at: &AbsPath) -> Result<Vec<AbsPath>, Failure> {
    let mut paths = Vec::new();
    for name in system.list(at)? {
        let inner = at.join(&name);
        if has_resource(directory, &inner) || is_backup(at, &name, |file| directory.declared.contains(file)) {
            continue;
        }
        if holds_declared(directory, &inner) {
            if let Seen::There(Meta { kind: Kind::Directory, .. }) = system.see(&inner)? {
                paths.extend(undeclared_paths(system, directory, &inner)?);
            }
            continue;
        }
        paths.push(inner);
    }
    Ok(paths)
}

/// It is for its own resource to keep or to remove.
fn has_resource(directory: &Directory, path: &AbsPath) -> bool {
    directory.declared.contains(path) || directory.gone.contains(path)
}

fn holds_declared(directory: &Directory, path: &AbsPath) -> bool {
    directory.declared.iter().any(|declared| declared.is_below(path))
}

/// Whether `path` lies in something undeclared, which goes with all that is in it.
pub fn takes_along(directory: &Directory, path: &AbsPath) -> bool {
    let mut above: Vec<AbsPath> = path.ancestors().filter(|it| it.is_below(&directory.path)).collect();
    above.sort();
    let stays = |it: &AbsPath| has_resource(directory, it);
    let topmost = above.iter().find(|it| stays(it) || !holds_declared(directory, it));
    topmost.is_some_and(|it| !stays(it))
}

/// `NAME.TIME.bak` beside a declared NAME: what `backup: true` keeps.
fn is_backup(at: &AbsPath, name: &str, is_declared: impl Fn(&AbsPath) -> bool) -> bool {
    let kept = name.strip_suffix(".bak").and_then(|rest| rest.rsplit_once('.'));
    kept.is_some_and(|(file, time)| time.len() == 16 && time.ends_with('Z') && is_declared(&at.join(file)))
}

pub fn undeclared(system: &System, directory: &Directory) -> Result<Option<Change>, Failure> {
    let paths = undeclared_paths(system, directory, &directory.path)?;
    let names: Vec<String> = paths.iter().map(AbsPath::to_string).collect();
    Ok((!names.is_empty()).then(|| Change::new(PURGE, Some(named(&names)), None)))
}

pub fn purge(system: &System, directory: &Directory) -> Result<(), Failure> {
    for path in undeclared_paths(system, directory, &directory.path)? {
        match system.see(&path)? {
            Seen::There(Meta { kind: Kind::Directory, .. }) => system.remove_tree(&path)?,
            Seen::There(_) => system.remove_file(&path)?,
            _ => {}
        }
    }
    Ok(())
}

fn named(paths: &[String]) -> String {
    let mut text = paths.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if paths.len() > NAMED {
        text.push_str(&format!(" and {} more", paths.len() - NAMED));
    }
    text
}
