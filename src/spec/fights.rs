//! Fights: pairs of resources that cannot both hold, which are errors before anything runs.

use super::connect::Web;
use super::desk::Desk;
use super::entry::Draft;
use super::problem::Problem;
use crate::attribute::AbsPath;
use crate::resource::Thing;

impl Web {
    /// Pairs that cannot both hold.
    pub fn fights(&self, desk: &mut Desk, drafts: &[Draft]) {
        for (item, draft) in drafts.iter().enumerate() {
            // What may be away is judged where it is known: see `resolve`.
            if !draft.is_certain() {
                continue;
            }
            for thing in &self.links[item].provides {
                for other in self.others(draft.host, thing.clone(), item) {
                    if other < item {
                        two_kinds(desk, &drafts[other], draft, thing);
                    }
                }
            }
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

    /// Something that is declared a file, and that this one would lie in.
    fn file_above(&self, drafts: &[Draft], item: usize) -> Option<usize> {
        let draft = &drafts[item];
        let paths = self.links[item].provides.iter().filter_map(|thing| match thing {
            Thing::Path(path) => Some(path),
            _ => None,
        });
        paths
            .flat_map(AbsPath::ancestors)
            .flat_map(|above| self.others(draft.host, Thing::Path(above), item))
            .find(|other| {
                let other_draft = &drafts[*other];
                ["file", "download"].contains(&other_draft.resource.type_word())
                    && !self.links[*other].is_removal
                    && other_draft.is_certain()
            })
    }

    /// What is declared to be gone, and is what `item`, which is not, stands on.
    fn gone_below(&self, host: usize, item: usize) -> Vec<(usize, &'static str)> {
        if self.links[item].is_removal {
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
    const WRITERS: &[&str] = &["unit", "program"];
    let Thing::Path(path) = thing else { return };
    let (a, b) = (first.resource.type_word(), second.resource.type_word());
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
