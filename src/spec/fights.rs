//! Fights: pairs of resources that cannot both hold, which are errors before anything runs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::connect::Web;
use super::desk::Desk;
use super::entry::Draft;
use super::problem::Problem;
use crate::attribute::AbsPath;
use crate::resource::common::Presence;
use crate::resource::{AnyResource, Line, Thing};

impl Web {
    /// Pairs that cannot both hold.
    pub fn fights(&self, desk: &mut Desk, drafts: &[Draft]) {
        let mut claimed = HashMap::new();
        for (item, draft) in drafts.iter().enumerate() {
            // What may be away is judged where it is known: see `resolve`.
            if !draft.is_certain() {
                continue;
            }
            for thing in &self.links[item].provides {
                for other in self.others(draft.host, thing.clone(), item) {
                    if other < item {
                        two_kinds(desk, &drafts[other], draft, thing);
                        two_lines(desk, &drafts[other], draft);
                        self.mounted_on_a_link(desk, drafts, other, item);
                        if self.links[other].is_removal != self.links[item].is_removal {
                            here_and_gone(desk, &drafts[other], draft, thing);
                        }
                    }
                }
                if let Thing::Part(path) = thing {
                    for whole in self.others(draft.host, Thing::Path(path.clone()), item) {
                        if !self.links[whole].is_removal {
                            part_of_a_whole(desk, draft, &drafts[whole], path);
                        }
                    }
                }
            }
            claimed_twice(desk, drafts, item, &mut claimed);
            if let Some(file) = self.file_above(drafts, item) {
                below_a_file(desk, draft, &drafts[file]);
                continue;
            }
            for (provider, why) in self.gone_below(draft.host, item) {
                let below = &drafts[provider];
                if below.is_certain() && below.resource.type_word() != "mount" {
                    stands_on_nothing(desk, draft, below, why);
                }
            }
        }
    }

    /// A mount point is a directory (or a file), and no link to one.
    fn mounted_on_a_link(&self, desk: &mut Desk, drafts: &[Draft], first: usize, second: usize) {
        let word = |item: usize| drafts[item].resource.type_word();
        let (mount, link) = match (word(first), word(second)) {
            ("mount", "symlink") => (first, second),
            ("symlink", "mount") => (second, first),
            _ => return,
        };
        let comes_off = self.links[mount].provides.iter().any(|thing| matches!(thing, Thing::Uncovered(_)));
        if comes_off || self.links[link].is_removal || !drafts[first].is_certain() {
            return;
        }
        let (mount, link) = (&drafts[mount], &drafts[link]);
        desk.report(
            Problem::at(mount.place, format!("`{}` is on `{}`", mount.resource.id(), link.resource.id()))
                .label("nothing is mounted on a link")
                .also(link.place, "declared as a link here")
                .help("mount it on the path that the link leads to"),
        );
    }

    /// Something that is declared a file, or a part of one, and that this one would lie in.
    fn file_above(&self, drafts: &[Draft], item: usize) -> Option<usize> {
        let draft = &drafts[item];
        let paths = self.links[item].provides.iter().filter_map(|thing| match thing {
            Thing::Path(path) | Thing::Part(path) => Some(path),
            _ => None,
        });
        let at = |path: AbsPath| {
            let parts = self.others(draft.host, Thing::Part(path.clone()), item);
            let whole = self.others(draft.host, Thing::Path(path), item).into_iter();
            whole
                .filter(|other| ["file", "download"].contains(&drafts[*other].resource.type_word()))
                .chain(parts)
                .collect::<Vec<_>>()
        };
        // A file of which only a line is to be gone is a file.
        let is_file = |other: &usize| {
            let is_part = self.links[*other].provides.iter().any(|thing| matches!(thing, Thing::Part(_)));
            !self.links[*other].is_removal || is_part && !self.links[item].is_removal
        };
        let mut files = paths.flat_map(AbsPath::ancestors).flat_map(at);
        files.find(|other| is_file(other) && drafts[*other].is_certain())
    }

    /// What is declared to be gone, and is what `item`, which is not, stands on.
    fn gone_below(&self, host: usize, item: usize) -> Vec<(usize, &'static str)> {
        if self.links[item].is_removal || self.links[item].yields {
            return Vec::new();
        }
        let below = |(thing, why): &(Thing, &'static str)| {
            let why = *why;
            self.below(host, thing, item).into_iter().map(move |provider| (provider, why)).collect::<Vec<_>>()
        };
        let all = self.links[item].stands_on.iter().flat_map(below);
        all.filter(|(provider, _)| self.links[*provider].is_removal).collect()
    }
}

/// One path declared as two kinds of file, or as a file and as what writes its own.
fn two_kinds(desk: &mut Desk, first: &Draft, second: &Draft, thing: &Thing) {
    const KINDS: &[&str] = &["directory", "file", "symlink", "git", "download", "archive"];
    const WRITERS: &[&str] = &["unit", "program", "process", "cron", "hostname", "timezone"];
    const SINGLE: &[&str] = &["hostname", "timezone"];
    let Thing::Path(path) = thing else { return };
    let (a, b) = (first.resource.type_word(), second.resource.type_word());
    let is_told_here = first.resource.as_resource().content_paths().contains(path);
    let is_another = a == b && first.resource.id() != second.resource.id();
    if SINGLE.contains(&a) && is_another && is_told_here && first.is_certain() {
        let what = format!("`{}` and `{}` are both declared", first.resource.id(), second.resource.id());
        desk.report(
            Problem::at(second.place, what)
                .label(format!("a machine has one {a}"))
                .also(first.place, "another one here")
                .help("keep one of them, or give each a `when`"),
        );
    }
    let both = |of: &[&str]| of.contains(&a) && of.contains(&b);
    if a == b || !both(&[KINDS, WRITERS].concat()) || !first.is_certain() {
        return;
    }
    // What a checkout or an archive is put into may be declared too.
    if [a, b].contains(&"directory") && (both(&["directory", "git"]) || both(&["directory", "archive"])) {
        return purged_again(desk, first, second, path);
    }
    let what = match both(KINDS) {
        true => format!("{path} is declared as a `{a}` and as a `{b}`"),
        false => format!("{path} is declared by a `{a}` and by a `{b}`"),
    };
    desk.report(
        Problem::at(second.place, what)
            .label(format!("a `{b}` here"))
            .also(first.place, format!("a `{a}` here"))
            .help("a path is one thing: keep one of them"),
    );
}

/// What only one resource of a host may say, by host and thing; and whether who said it shares it.
type Claimed = HashMap<(usize, String), (usize, bool)>;

fn claimed_twice(desk: &mut Desk, drafts: &[Draft], item: usize, claimed: &mut Claimed) {
    let draft = &drafts[item];
    for claim in draft.resource.as_resource().claims() {
        match claimed.entry((draft.host, claim.of.clone())) {
            Entry::Vacant(entry) => drop(entry.insert((item, claim.is_shared))),
            Entry::Occupied(mut entry) => {
                let (first, is_shared) = *entry.get();
                entry.get_mut().1 = is_shared && claim.is_shared;
                if is_shared && claim.is_shared {
                    continue;
                }
                let (first, id) = (&drafts[first], draft.resource.id());
                let what = format!("`{}` and `{id}` both declare {}", first.resource.id(), claim.of);
                desk.report(
                    Problem::at(draft.place, what)
                        .label("and here again")
                        .also(first.place, "first here")
                        .help(claim.help),
                );
            }
        }
    }
}

/// A line or a block in what is declared as a whole, or as no file at all.
fn part_of_a_whole(desk: &mut Desk, part: &Draft, whole: &Draft, path: &AbsPath) {
    let (id, whole_id) = (part.resource.id(), whole.resource.id());
    let (what, label, help) = match &whole.resource {
        AnyResource::File(file)
            if file.content.is_none() && file.source.is_none() && file.template.is_none() =>
        {
            return;
        }
        _ if !whole.is_certain() => return,
        AnyResource::Directory(_) | AnyResource::Symlink(_) => (
            format!("`{id}` is to be in {path}, which is declared as a `{}`", whole.resource.type_word()),
            "nothing is written into it",
            "name the file that is meant",
        ),
        _ => (
            format!("`{id}` is to be in {path}, whose content `{whole_id}` declares"),
            "each run would write both",
            "put it into the content that is declared, or leave that content out",
        ),
    };
    desk.report(
        Problem::at(part.place, what)
            .label(label)
            .also(whole.place, format!("declared as a `{}` here", whole.resource.type_word()))
            .help(help),
    );
}

/// Two lines of one file of which one takes the other's away.
fn two_lines(desk: &mut Desk, first: &Draft, second: &Draft) {
    let (AnyResource::Line(a), AnyResource::Line(b)) = (&first.resource, &second.resource) else { return };
    // What stands on facts is judged again where they are known.
    if first.skipped_by_when.is_some() || first.late.is_some() || second.late.is_some() {
        return;
    }
    let (id, other) = (first.resource.id(), second.resource.id());
    let what = if a.pattern.is_some() && a.pattern == b.pattern {
        format!("`{id}` and `{other}` have the same `match`: each would take the other's line for its own")
    } else if takes(a, b) {
        format!("`{id}` takes away the line of `{other}`")
    } else if takes(b, a) {
        format!("`{other}` takes away the line of `{id}`")
    } else {
        return;
    };
    desk.report(
        Problem::at(second.place, what)
            .label(format!("a line of {}", b.file))
            .also(first.place, "another one of the same file")
            .help("make their `match` find different lines, or keep one of them"),
    );
}

/// Whether `one` removes or replaces the line that `other` declares to be there.
fn takes(one: &Line, other: &Line) -> bool {
    let Some(text) = other.wanted().filter(|_| other.state == Presence::Present) else { return false };
    let is_equal = one.wanted() == Some(text);
    let finds = one.pattern.as_ref().is_some_and(|pattern| pattern.finds(text));
    match one.state {
        Presence::Present => finds && !is_equal,
        Presence::Absent => finds || is_equal,
    }
}

/// One package that one resource wants, and another does not.
fn here_and_gone(desk: &mut Desk, first: &Draft, second: &Draft, thing: &Thing) {
    let Thing::Package(name) = thing else { return };
    if first.is_certain() {
        let (first_id, id) = (first.resource.id(), second.resource.id());
        desk.report(
            Problem::at(second.place, format!("`{first_id}` and `{id}` fight over the package {name}"))
                .label("and here the other")
                .also(first.place, "one wants it here, the other wants it gone")
                .help("keep one of them, or take the name out of one of them"),
        );
    }
}

/// A directory that is cleared of what another resource puts into it.
fn purged_again(desk: &mut Desk, first: &Draft, second: &Draft, path: &AbsPath) {
    let is_directory = |draft: &&&Draft| draft.resource.type_word() == "directory";
    let pair = [first, second];
    let Some(directory) = pair.iter().find(is_directory) else { return };
    let Some(other) = pair.iter().find(|draft| !is_directory(draft)) else { return };
    if directory.resource.clone().as_resource_mut().purges().is_none() {
        return;
    }
    let word = other.resource.type_word();
    desk.report(
        Problem::at(
            directory.attribute(desk, "purge"),
            format!("`purge` of {path} would remove what the `{word}` puts there"),
        )
        .label("removes all that no resource declares")
        .also(other.place, "puts there what has no resource of its own")
        .help("leave `purge` out"),
    );
}

fn below_a_file(desk: &mut Desk, draft: &Draft, file: &Draft) {
    let (id, file_id) = (draft.resource.id(), file.resource.id());
    desk.report(
        Problem::at(draft.place, format!("`{id}` lies below `{file_id}`, which is no directory"))
            .label("nothing lies below a file")
            .also(file.place, "declared as a file here")
            .help("a path is one thing: keep one of them"),
    );
}

fn stands_on_nothing(desk: &mut Desk, draft: &Draft, below: &Draft, why: &str) {
    let (id, below_id) = (draft.resource.id(), below.resource.id());
    desk.report(
        Problem::at(draft.place, format!("`{id}` needs `{below_id}`, which is declared to be gone"))
            .label(format!("needs it as {why}"))
            .also(below.place, "declared to be gone here")
            .help("remove one of them, or declare both to be gone"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Links;

    fn path(text: &str) -> Thing {
        Thing::Path(text.parse().expect("a path"))
    }

    fn user(name: &str) -> Thing {
        Thing::User(name.to_owned())
    }

    #[test]
    fn what_a_user_owns_and_who_is_in_a_group_needs_them_to_be_there() {
        let web = Web::of(vec![
            (
                0,
                Links::default()
                    .provides(user("app"))
                    .stands_on(Thing::Group("apps".into()), "its group")
                    .removal(true),
            ),
            (0, Links::default().provides(Thing::Group("apps".into())).removal(true)),
            (0, Links::default().provides(path("/srv/app")).stands_on(user("app"), "its owner")),
            (
                0,
                Links::default()
                    .provides(user("web"))
                    .stands_on(Thing::Group("apps".into()), "a group it is in"),
            ),
            (0, Links::default().provides(path("/srv/web")).stands_on(user("web"), "its owner")),
            (1, Links::default().provides(path("/srv/app")).stands_on(user("app"), "its owner")),
            (
                0,
                Links::default().provides(path("/srv/old")).stands_on(user("app"), "its owner").removal(true),
            ),
        ]);
        let gone: Vec<_> = [0, 0, 0, 0, 0, 1, 0]
            .into_iter()
            .enumerate()
            .map(|(item, host)| web.gone_below(host, item))
            .collect();
        let nothing = Vec::new();
        assert_eq!(gone[2], [(0, "its owner")]);
        assert_eq!(gone[3], [(1, "a group it is in")]);
        for item in [0, 1, 4, 5, 6] {
            assert_eq!(gone[item], nothing, "{item}");
        }
    }
}
