//! A second opinion: what the declared state is, and what a run may touch, read from the files
//! without the engine's own checks.

use converge::attribute::{AbsPath, Mode, Symlinks, Trigger};
use converge::resource::AnyResource;
use converge::resource::common::Presence;
use converge::spec::Spec;

use crate::engine::{Told, is_settled};
use crate::parts;
use crate::tree::{Entry, Snapshot, real, way};

type Access<'a> = (Option<&'a String>, Option<&'a String>, Option<Mode>);

fn number(name: &str) -> u32 {
    match name {
        "root" => 0,
        "web" => 1001,
        "db" => 1002,
        number => number.parse().unwrap(),
    }
}

fn path_of(resource: &AnyResource) -> Option<&AbsPath> {
    match resource {
        AnyResource::Directory(it) => Some(&it.path),
        AnyResource::File(it) => Some(&it.path),
        AnyResource::Symlink(it) => Some(&it.path),
        AnyResource::Line(it) => Some(&it.file),
        AnyResource::Block(it) => Some(&it.file),
        _ => None,
    }
}

/// Whether a part of the file at this path is declared.
pub fn is_edited(spec: &Spec, snapshot: &Snapshot, path: &str) -> bool {
    let is_part = |it: &AnyResource| matches!(it, AnyResource::Line(_) | AnyResource::Block(_));
    let leads = |it: &AnyResource| path_of(it).is_some_and(|it| real(snapshot, it.as_str()) == path);
    spec.items.iter().any(|item| is_part(&item.resource) && leads(&item.resource))
}

/// What the nearest directory with `recurse` above it leaves to a resource.
fn inherited<'a>(spec: &'a Spec, path: &AbsPath, own: Access<'a>) -> Access<'a> {
    let (mut owner, mut group, mut mode) = own;
    for above in path.ancestors() {
        for item in &spec.items {
            if let AnyResource::Directory(it) = &item.resource
                && it.recurse
                && it.path == above
            {
                owner = owner.or(it.owner.as_ref());
                group = group.or(it.group.as_ref());
                mode = mode.or(it.mode);
            }
        }
    }
    (owner, group, mode)
}

/// The first resource that was told to hold and does not.
pub fn not_as_declared(spec: &Spec, told: &Told, before: &Snapshot, after: &Snapshot) -> Option<String> {
    (0..spec.items.len()).find_map(|index| {
        let id = spec.id(index);
        let settled = is_settled(told.resources[&id].status);
        settled
            .then(|| wrong(spec, &spec.items[index].resource, before, after))?
            .map(|what| format!("{id}: {what}"))
    })
}

fn wrong(spec: &Spec, resource: &AnyResource, before: &Snapshot, after: &Snapshot) -> Option<String> {
    let path = path_of(resource)?;
    let here = real(after, path.as_str());
    let (there, was) = (after.get(&here), before.get(&here));
    match resource {
        AnyResource::Directory(it) if it.state == Presence::Present => {
            let Some(there) = there.filter(|there| there.kind == 'd') else {
                return Some(format!("it is no directory: {there:?}"));
            };
            let own = (it.owner.as_ref(), it.group.as_ref(), it.mode);
            let old = was.filter(|was| was.kind == 'd');
            let wrong = access(inherited(spec, path, own), there, old, 0o755, group_of(before, after, &here));
            wrong.or_else(|| below(spec, resource, &here, after))
        }
        AnyResource::File(it) if it.state == Presence::Present => {
            let Some(there) = there.filter(|there| there.kind == 'f') else {
                return Some(format!("it is no file: {there:?}"));
            };
            let old = was.filter(|was| was.kind == 'f');
            let wanted = match (&it.content, old) {
                (Some(content), _) => content.bytes().unwrap(),
                (None, Some(old)) => &old.content,
                (None, None) => &[],
            };
            let is_left = it.content.is_none() && is_edited(spec, after, &here);
            if !is_left && there.content != wanted {
                return Some(format!("its content is {:?}", String::from_utf8_lossy(&there.content)));
            }
            let own = (it.owner.as_ref(), it.group.as_ref(), it.mode);
            let mut wanted = inherited(spec, path, own);
            if own.2.is_none() {
                let x = Mode::from_bits(old.map_or(0o644, |old| old.mode));
                wanted.2 = wanted.2.map(|mode| mode.for_file_below(x));
            }
            access(wanted, there, old, 0o644, group_of(before, after, &here))
        }
        AnyResource::Symlink(it) if it.state == Presence::Present => {
            let target = it.target.clone().unwrap_or_default();
            let good = there.is_some_and(|there| there.kind == 'l' && there.content == target.as_bytes());
            (!good).then(|| format!("it is no link to {target}: {there:?}"))
        }
        AnyResource::Line(_) | AnyResource::Block(_) => {
            let same = |item: &&converge::spec::Item| path_of(&item.resource) == Some(path);
            let others: Vec<&AnyResource> =
                spec.items.iter().filter(same).map(|item| &item.resource).collect();
            let is_file = others.iter().any(|other| matches!(other, AnyResource::File(_)));
            let (Some(was), Some(now), false) = (was, there, is_file) else {
                return parts::wrong(resource, there);
            };
            let kept = parts::lost(&others, was, now);
            let is_left = inherited(spec, path, (None, None, None)) == (None, None, None);
            let moved =
                is_left && was.kind == 'f' && (was.mode, was.uid, was.gid) != (now.mode, now.uid, now.gid);
            let moved = moved.then(|| format!("owner and mode were {was:?} and are {now:?}"));
            parts::wrong(resource, there).or(kept).or(moved)
        }
        _ => there.map(|there| format!("it is there: {there:?}")),
    }
}

/// The group that the system gives to what is new there: that of a setgid directory.
fn group_of(before: &Snapshot, after: &Snapshot, path: &str) -> u32 {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    // What is declared of the directory itself came before.
    let seen = after.get(parent).or(before.get(parent));
    let setgid = seen.into_iter();
    setgid
        .filter(|parent| parent.kind == 'd' && parent.mode & 0o2000 != 0)
        .map(|parent| parent.gid)
        .next()
        .unwrap_or(0)
}

/// Whether the directory of everything that is declared is there or is declared: then any order
/// that the graph allows is as good as another.
pub fn has_all_parents(spec: &Spec, before: &Snapshot) -> bool {
    // Who makes the file that a part is in is awaited as well.
    let awaits = |resource: &AnyResource| match resource {
        AnyResource::Line(it) => !it.create,
        AnyResource::Block(it) => !it.create,
        _ => false,
    };
    let is_there = |path: &AbsPath| before.get(&real(before, path.as_str())).is_some_and(|it| it.kind == 'f');
    let makes = |path: &AbsPath| {
        spec.items.iter().any(|item| matches!(&item.resource, AnyResource::File(it) if it.path == *path))
    };
    let lacks_file = |item: &converge::spec::Item| {
        awaits(&item.resource) && path_of(&item.resource).is_some_and(|path| !is_there(path) && !makes(path))
    };
    if spec.items.iter().any(lacks_file) {
        return false;
    }
    spec.items.iter().filter_map(|item| path_of(&item.resource)).all(|path| has_parent(spec, before, path))
}

/// Whether nothing that commands create lies in a directory that is only made as another's parent: that
/// comes after the command or before it.
pub fn have_places(spec: &Spec, before: &Snapshot) -> bool {
    let commands = spec.items.iter().filter_map(|item| match &item.resource {
        AnyResource::Command(it) => Some(it),
        _ => None,
    });
    let links = declared_links(spec);
    let makes_parents = |parent: &AbsPath| {
        spec.items.iter().any(|item| match &item.resource {
            AnyResource::Directory(it) => it.path.led_by(&links).iter().any(|name| name.is_below(parent)),
            _ => false,
        })
    };
    let is_made =
        |path: &AbsPath| path.parent().is_some_and(|it| it.led_by(&links).iter().any(&makes_parents));
    commands.flat_map(|it| &it.creates).all(|path| has_parent(spec, before, path) || !is_made(path))
}

fn declared_links(spec: &Spec) -> Symlinks {
    spec.items.iter().filter_map(|item| item.resource.as_resource().link()).collect()
}

/// It is declared, or there, and nobody puts a link in its place.
fn has_parent(spec: &Spec, before: &Snapshot, path: &AbsPath) -> bool {
    let Some(parent) = path.parent() else { return true };
    let is_it = |item: &converge::spec::Item| matches!(&item.resource, AnyResource::Directory(it) if it.path == parent);
    let is_there = |there: &Snapshot| {
        there.get(&real(there, &format!("{parent}/."))).is_some_and(|there| there.kind == 'd')
    };
    spec.items.iter().any(is_it) || is_there(before) && is_there(&with_declared_links(spec, before))
}

/// With every declared link in its place, though another resource may have put something there; one
/// below another link is where that leads.
pub fn with_declared_links(spec: &Spec, after: &Snapshot) -> Snapshot {
    let mut with_links = after.clone();
    let Some(like) = after.values().next() else { return with_links };
    let mut links: Vec<(&str, &str)> = Vec::new();
    for item in &spec.items {
        if let AnyResource::Symlink(link) = &item.resource
            && let (Presence::Present, Some(target)) = (&link.state, &link.target)
        {
            links.push((link.path.as_str(), target));
        }
    }
    links.sort_by_key(|(path, _)| path.len());
    for (path, target) in links {
        let entry = Entry { kind: 'l', content: target.as_bytes().to_vec(), ..like.clone() };
        with_links.insert(real(&with_links, path), entry);
    }
    with_links
}

/// Whether links make two declared paths meet that are apart as they are written: no spec can
/// say then which of them is right.
pub fn meet_by_links(spec: &Spec, snapshot: &Snapshot) -> bool {
    let of_commands = spec.items.iter().filter_map(|item| match &item.resource {
        AnyResource::Command(it) => Some(it),
        _ => None,
    });
    let created = of_commands.flat_map(|it| {
        let watched = it.on_change_of.iter().filter_map(|trigger| match trigger {
            Trigger::Path(path) => Some(path),
            Trigger::Reference(_) => None,
        });
        it.creates.first().or(it.directory.as_ref()).into_iter().chain(watched)
    });
    let paths: Vec<&AbsPath> =
        spec.items.iter().filter_map(|item| path_of(&item.resource)).chain(created).collect();
    let is_at_or_below = |path: &str, top: &str| {
        path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
    };
    let links = declared_links(spec);
    let meets = |item: &converge::spec::Item| {
        let Some(own) = path_of(&item.resource) else { return false };
        let names = item.resource.as_resource().names(own, &links);
        names
            .iter()
            .any(|name| name != own && spec.items.iter().any(|it| path_of(&it.resource) == Some(name)))
    };
    if spec.items.iter().any(meets) {
        return true;
    }
    paths.iter().any(|one| {
        let (leads, way) = way(snapshot, one.as_str());
        let names = one.led_by(&links);
        // A link that nobody declares leads over one that is: there is no order between the two.
        let is_unforeseen = |step: &String| {
            paths.iter().any(|it| it.as_str() == step)
                && !names.iter().any(|name| is_at_or_below(name.as_str(), step))
        };
        if way.iter().any(is_unforeseen) {
            return true;
        }
        // A purge knows of the links that are declared.
        let is_known = names.iter().any(|name| name.as_str() == leads);
        let clears = |resource: &AnyResource| match resource {
            AnyResource::Directory(it) => {
                (it.purge && !is_known || it.recurse)
                    && is_at_or_below(&leads, &real(snapshot, it.path.as_str()))
            }
            _ => false,
        };
        leads != one.as_str() && spec.items.iter().any(|item| clears(&item.resource))
            || paths.iter().any(|other| {
                // Its parents too: it may make them.
                let led = real(snapshot, other.as_str());
                let parent =
                    |path: &str| path.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
                is_at_or_below(&leads, &led) && !is_at_or_below(one.as_str(), other.as_str())
                    || is_at_or_below(&leads, &parent(&led))
                        && !is_at_or_below(one.as_str(), &parent(other.as_str()))
            })
    })
}

/// As declared; else as it was; else as new things are.
fn access(wanted: Access<'_>, there: &Entry, was: Option<&Entry>, new: u32, group: u32) -> Option<String> {
    let uid = wanted.0.map(|name| number(name)).or(was.map(|was| was.uid)).unwrap_or(0);
    let gid = wanted.1.map(|name| number(name)).or(was.map(|was| was.gid)).unwrap_or(group);
    let mode = wanted.2.map(Mode::bits).or(was.map(|was| was.mode)).unwrap_or(new);
    // The kernel takes the setuid bits of what gets another owner.
    let is_given = was.is_some_and(|was| (was.uid, was.gid) != (uid, gid)) && wanted.2.is_none();
    let is_mode = there.mode == mode || is_given && there.mode == mode & !0o6000;
    let good = (there.uid, there.gid) == (uid, gid) && is_mode;
    let seen = (there.uid, there.gid, there.mode);
    (!good)
        .then(|| format!("owner and mode are {seen:?}, and {:?} is right (mode {mode:o})", (uid, gid, mode)))
}

/// `recurse` and `purge`.
fn below(spec: &Spec, resource: &AnyResource, here: &str, after: &Snapshot) -> Option<String> {
    let AnyResource::Directory(it) = resource else { return None };
    let prefix = format!("{here}/");
    let inside = after.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    let top = it;
    for (path, there) in inside {
        // What is in a directory of its own declaration is for that to say.
        let is_of_another = spec.items.iter().any(|item| {
            path_of(&item.resource).is_some_and(|other| {
                other.is_below(&top.path) && path.starts_with(&format!("{}/", real(after, other.as_str())))
            })
        });
        if is_of_another && top.purge && !top.recurse {
            continue;
        }
        let declared =
            |item: &converge::spec::Item| path_of(&item.resource).map(|it| real(after, it.as_str()));
        let is_declared = spec.items.iter().any(|item| declared(item).as_ref() == Some(path));
        // By its name too: a link that nobody declares may be on its way.
        let holds_declared = spec.items.iter().any(|item| {
            let name = path_of(&item.resource).map(|it| it.to_string());
            [name, declared(item)].into_iter().flatten().any(|it| it.starts_with(&format!("{path}/")))
        });
        let is_ours = path.contains("/made") || path.ends_with(".bak");
        if it.purge && !is_of_another && !is_declared && !holds_declared && !is_ours {
            return Some(format!("{path} is not declared, and still there"));
        }
        if it.recurse && !is_declared && there.kind != 'l' && !is_ours {
            let path: AbsPath = path.parse().unwrap();
            let mut wanted = inherited(spec, &path, (None, None, None));
            if there.kind != 'd' {
                wanted.2 = wanted.2.map(|mode| mode.for_file_below(Mode::from_bits(there.mode)));
            }
            if let Some(wrong) = access(wanted, there, Some(there), 0, 0) {
                return Some(format!("below it, {path}: {wrong}"));
            }
        }
    }
    None
}

/// The first path that was touched and that no resource is about.
pub fn touched(spec: &Spec, before: &Snapshot, after: &Snapshot) -> Option<String> {
    let mut declared: Vec<(String, &AnyResource)> = Vec::new();
    for item in &spec.items {
        if let Some(path) = path_of(&item.resource) {
            for seen in [path.to_string(), real(before, path.as_str()), real(after, path.as_str())] {
                declared.push((seen, &item.resource));
            }
        }
    }
    let lies_below = |path: &str, top: &str| path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
    let may_go = |path: &str| {
        declared.iter().any(|(top, resource)| {
            matches!(resource, AnyResource::Directory(it) if it.purge || (it.force && it.state == Presence::Absent))
                && lies_below(path, top)
        })
    };
    let may_have_access = |path: &str| {
        declared.iter().any(|(top, resource)| {
            matches!(resource, AnyResource::Directory(it) if it.recurse) && lies_below(path, top)
        })
    };
    let is_about = |path: &str| {
        declared.iter().any(|(top, _)| top == path)
            || path.starts_with("/etc/tmpfiles.d/")
            // What commands were last run for.
            || path.starts_with("/var")
            || path.contains("/made")
            || path.contains("/old")
    };
    let is_parent = |path: &str| declared.iter().any(|(it, _)| lies_below(it, path));
    for (path, was) in before {
        let what = match after.get(path) {
            _ if is_about(path) => continue,
            None if may_go(path) => continue,
            None => "is gone".to_owned(),
            Some(there) => {
                let same_access = (was.mode, was.uid, was.gid) == (there.mode, there.uid, there.gid);
                let same_thing =
                    (was.inode, was.kind, &was.content) == (there.inode, there.kind, &there.content);
                let same_times =
                    was.kind == 'd' || (was.modified, was.changed) == (there.modified, there.changed);
                // Cleared away, and then made as a parent.
                let is_made_again = may_go(path) && there.kind == 'd' && is_parent(path);
                if is_made_again || same_thing && (same_access && same_times || may_have_access(path)) {
                    continue;
                }
                format!("was {was:?} and is {there:?}")
            }
        };
        return Some(format!("{path} {what}"));
    }
    let new = after.iter().filter(|(path, _)| !before.contains_key(*path) && !is_about(path));
    for (path, there) in new {
        let is_parent = there.kind == 'd' && is_parent(path);
        let of = |mark: &str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.ends_with(mark)
        };
        if !is_parent && !of(".bak") && !of(".converge") {
            return Some(format!("{path} is new: {there:?}"));
        }
    }
    None
}
