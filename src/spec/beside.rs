//! What a resource says beside its attributes: the files its `source` and `template` name, and
//! whether its attributes go together.

use std::collections::HashMap;
use std::path::Path;

use super::at::Place;
use super::desk::{Desk, SOURCE_CAP, TemplateError};
use super::entry::Draft;
use super::problem::Problem;
use super::scope::{NoValue, Scope};
use crate::attribute::Content;
use crate::resource::{Invalid, can_wait};

/// Validates the resource and fills in its contents; false where something is wrong. `late` are
/// the attributes that stand on facts; a template file that does makes its attribute one of them.
pub fn complete(
    desk: &mut Desk,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
    directory: &Path,
    late: &mut Vec<String>,
) -> bool {
    let mut invalid = draft.resource.as_resource().validate();
    // What stands in for a value that is not known yet is nobody's mistake.
    invalid.retain(|complaint| !late.iter().any(|late| is_about(complaint, late)));
    if scope.gives_placeholders() {
        invalid.retain(|complaint| !is_secret(draft, complaint.attribute));
    }
    let hash_only =
        draft.resource.as_resource_mut().contents().iter().any(|content| content.bytes().is_none());
    for complaint in &invalid {
        report(desk, draft, complaint);
    }
    let in_vain = waits_in_vain(desk, draft);
    if hash_only {
        let place = draft.attribute(desk, "content");
        desk.report(
            Problem::at(place, "`content` must be a text")
                .label("this is a mapping")
                .help("write the text itself, or name a file: source: PATH"),
        );
    }
    invalid.is_empty() && !in_vain && !hash_only && read_sources(desk, scope, draft, directory, late)
}

/// What is wrong with a resource beside the attributes that could not be read, of which the
/// problems from `before` on speak.
pub fn contradictions(desk: &mut Desk, draft: &Draft, before: usize) {
    let told: Vec<Place> = desk.problems[before..]
        .iter()
        .filter_map(|problem| problem.labels.first().map(|(place, _)| *place))
        .collect();
    let is_told = |attribute: &str| {
        let entry = draft.entries.iter().find(|(key, _)| key.value == attribute);
        entry.is_some_and(|(key, value)| {
            let whole = key.place.to(value.place);
            told.iter()
                .any(|place| place.file == whole.file && (whole.start..=whole.end).contains(&place.start))
        })
    };
    for complaint in draft.resource.as_resource().validate() {
        if !complaint.is_lack && !is_told(complaint.attribute) {
            report(desk, draft, &complaint);
        }
    }
    waits_in_vain(desk, draft);
}

fn report(desk: &mut Desk, draft: &Draft, complaint: &Invalid) {
    let place = draft.attribute(desk, complaint.attribute);
    desk.report(Problem::at(place, &complaint.what).label("here").help(&complaint.help));
}

/// `wait` where there is nothing to wait for.
fn waits_in_vain(desk: &mut Desk, draft: &Draft) -> bool {
    if draft.common.wait.is_none() || can_wait(draft.resource.type_word()) {
        return false;
    }
    let word = draft.resource.type_word();
    desk.report(
        Problem::at(draft.attribute(desk, "wait"), format!("a `{word}` does not come true by waiting"))
            .label("nothing to wait for")
            .help("leave it out: what cannot be made at once is a failure; wait for what has to come first"),
    );
    true
}

/// Whether a secret is in what the attribute says.
fn is_secret(draft: &Draft, attribute: &str) -> bool {
    draft.entries.iter().any(|(key, node)| key.value == attribute && node.secret().is_some())
}

fn is_about(complaint: &Invalid, attribute: &str) -> bool {
    let named =
        |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == attribute);
    complaint.attribute == attribute || named(&complaint.what) || named(&complaint.help)
}

fn read_sources(
    desk: &mut Desk,
    scope: &mut Scope<'_>,
    draft: &mut Draft,
    directory: &Path,
    late: &mut Vec<String>,
) -> bool {
    let wanted: Vec<(&'static str, bool, String)> = draft
        .resource
        .as_resource_mut()
        .sources()
        .into_iter()
        .filter_map(|slot| Some((slot.attribute, slot.is_template, slot.path.clone()?)))
        .collect();
    let mut contents: HashMap<&'static str, Content> = HashMap::new();
    let mut good = true;
    for (attribute, is_template, path) in wanted {
        let path = directory.join(&path);
        let content = match is_template {
            // Which file it is will be known later.
            _ if late.iter().any(|late| late == attribute) => Err(NoValue::Late),
            true => template(desk, scope, draft, attribute, &path),
            false => plain(desk, draft, attribute, &path).ok_or(NoValue::Broken),
        };
        match content {
            Ok(content) => drop(contents.insert(attribute, content)),
            Err(NoValue::Late) => {
                contents.insert(attribute, Content::new(&b""[..]));
                late.push(attribute.to_owned());
            }
            Err(NoValue::Broken) => good = false,
        }
    }
    for slot in draft.resource.as_resource_mut().sources() {
        if let Some(content) = contents.remove(slot.attribute) {
            *slot.content = Some(content);
        }
    }
    good
}

fn plain(desk: &mut Desk, draft: &Draft, attribute: &str, path: &Path) -> Option<Content> {
    if let Some(content) = desk.contents.get(path) {
        return Some(content.clone());
    }
    match desk.read(path, SOURCE_CAP) {
        Ok(bytes) => {
            let content = Content::new(bytes);
            desk.contents.insert(path.to_owned(), content.clone());
            Some(content)
        }
        Err((what, help)) => {
            unread(desk, draft, attribute, what, help);
            None
        }
    }
}

fn template(
    desk: &mut Desk,
    scope: &mut Scope<'_>,
    draft: &Draft,
    attribute: &str,
    path: &Path,
) -> Result<Content, NoValue> {
    let whole = match desk.template(path) {
        Ok(whole) => whole,
        Err(TemplateError::Unread(what, help)) => {
            unread(desk, draft, attribute, what, help);
            return Err(NoValue::Broken);
        }
        Err(TemplateError::NotText(problem)) => {
            let place = draft.attribute(desk, attribute);
            desk.report(problem.also(place, "named as a template here"));
            return Err(NoValue::Broken);
        }
    };
    let text = desk.sources.text(whole).to_owned();
    let before = desk.problems.len();
    let rendered = scope.render_file(desk, &text, whole);
    // Whoever reads of an error in a template wants to know what uses it.
    let place = draft.attribute(desk, attribute);
    for problem in desk.problems[before..].iter_mut().filter(|problem| problem.is_in(whole.file)) {
        problem.labels.push((place, "used here".to_owned()));
    }
    let (text, has_secret) = rendered?;
    let content = Content::new(text.into_bytes());
    Ok(if has_secret { content.with_secret() } else { content })
}

fn unread(desk: &mut Desk, draft: &Draft, attribute: &str, what: String, help: &str) {
    let place = draft.attribute(desk, attribute);
    desk.report(Problem::at(place, what).label("named here").help(help));
}
