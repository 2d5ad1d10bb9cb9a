//! `converge explain TYPE`

use std::io::Write;

use crate::manual::{self, Attribute, Manual, Type};
use crate::spec::did_you_mean;

/// Show what a type of resource takes: its attributes, their defaults, an example
#[derive(clap::Args)]
pub struct Args {
    /// A type, or one attribute of it, as in `file.mode` or `http.steps.form`; without it the types
    /// are listed.
    #[arg(value_name = "TYPE[.ATTRIBUTE]")]
    what: Option<String>,
}

pub fn run(args: &Args) -> u8 {
    let manual = Manual::new();
    let text = match &args.what {
        None => Ok(manual::list(&manual)),
        Some(what) => explained(&manual, what),
    };
    match text {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            0
        }
        Err(refusal) => super::refuse(refusal),
    }
}

fn explained(manual: &Manual, what: &str) -> Result<String, String> {
    let (word, attribute) = match what.split_once('.') {
        Some((word, attribute)) => (word, Some(attribute)),
        None => (what, None),
    };
    let words: Vec<&str> = manual.types.iter().map(|one| one.word).collect();
    let one = manual.find(word).ok_or_else(|| {
        format!("there is no type `{word}`\nhelp: {}", did_you_mean(word, &words, "the types are"))
    })?;
    let Some(path) = attribute else { return Ok(manual::whole(manual, one)) };
    let all = attributes(manual, one);
    let (name, inner) = path.split_once('.').map_or((path, None), |(name, inner)| (name, Some(inner)));
    let found = named(&all, word, name)?;
    let Some(inner) = inner else { return Ok(manual::attribute(manual, what, found)) };
    let parts = manual.parts(one);
    let of_each = parts.iter().find(|(attribute, _)| attribute.name == name).map(|(_, of_each)| of_each);
    let of_each: Vec<&Attribute> = of_each.into_iter().flatten().collect();
    Ok(manual::attribute(manual, what, named(&of_each, &format!("{word}.{name}"), inner)?))
}

fn named<'a>(all: &[&'a Attribute], of: &str, name: &str) -> Result<&'a Attribute, String> {
    all.iter().find(|attribute| attribute.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|attribute| attribute.name.as_str()).collect();
        let help = match names.is_empty() {
            true => "nothing is told of what is in it".to_owned(),
            false => did_you_mean(name, &names, "it has"),
        };
        format!("`{of}` has no `{name}`\nhelp: {help}")
    })
}

fn attributes<'a>(manual: &'a Manual, one: &'a Type) -> Vec<&'a Attribute> {
    one.attributes.iter().chain(manual.common_of(one)).collect()
}
