//! `converge explain TYPE`

use std::io::Write;

use crate::manual::{self, Attribute, Manual, Type};
use crate::spec::did_you_mean;

/// Show what a type of resource takes: its attributes, their defaults, an example
#[derive(clap::Args)]
pub struct Args {
    /// A type, or one attribute of it, as in `file.mode`; without it the types are listed.
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
    let Some(name) = attribute else { return Ok(manual::whole(manual, one)) };
    let all = attributes(manual, one);
    let found = all.iter().find(|attribute| attribute.name == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|attribute| attribute.name.as_str()).collect();
        format!("`{word}` has no `{name}`\nhelp: {}", did_you_mean(name, &names, "it has"))
    })?;
    Ok(manual::attribute(manual, one, found))
}

fn attributes<'a>(manual: &'a Manual, one: &'a Type) -> Vec<&'a Attribute> {
    one.attributes.iter().chain(manual.common_of(one)).collect()
}
