//! `converge vars SPEC`

use std::io::Write;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{WRONG, complain};
use crate::spec::listing::{Section, Variable};
use crate::spec::{self, LoadOptions};

/// docs/variables.md says the same at length.
const PRECEDENCE: &str = "The stronger wins, from weak to strong: vars of an included file, of the file that includes it, \
                          of `include: {vars}`, of the host, --var.";

/// A value is shown up to so many characters; JSON has all of it.
const SHOWN: usize = 60;

/// Show every variable with its value, where that comes from, and what it wins over
#[derive(clap::Args)]
#[command(after_help = PRECEDENCE)]
pub struct Args {
    #[command(flatten)]
    spec: super::SpecArgs,

    /// As this host sees them. Without it: as all do, and what is otherwise on single hosts.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    /// One object, values whole.
    Json,
}

pub fn run(args: &Args) -> u8 {
    let options = LoadOptions { vars: args.spec.vars.clone(), reads_secrets: false };
    let sections = match spec::variables(&args.spec.spec, &options, args.host.as_deref()) {
        Ok(sections) => sections,
        Err(problems) => {
            complain(&problems, &args.spec.spec);
            return WRONG;
        }
    };
    let text = match args.format {
        Format::Human => human(&sections),
        Format::Json => format!("{:#}\n", json!({ "sections": sections })),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

fn human(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections.iter().filter(|section| !section.variables.is_empty()) {
        let title = match (&section.included, &section.host) {
            (Some(file), Some(host)) => format!("in {file}, on {host}"),
            (Some(file), None) => format!("in {file}"),
            (None, Some(host)) => format!("on {host}"),
            (None, None) => "everywhere".to_owned(),
        };
        text.push_str(&format!("{title}\n"));
        let rows: Vec<_> = section.variables.iter().map(row).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (name, value) = (width(0), width(1));
        for row in &rows {
            text.push_str(&format!("  {:name$}  {:value$}  {}\n", row[0], row[1], row[2]));
        }
    }
    match text.is_empty() {
        true => "no variables\n".to_owned(),
        false => format!("{text}\n{PRECEDENCE}\n"),
    }
}

fn row(variable: &Variable) -> [String; 3] {
    let mut from = variable.from.to_string();
    for (index, under) in variable.over.iter().enumerate() {
        from.push_str(&format!("{} {under}", if index == 0 { ", over" } else { "," }));
    }
    [variable.name.clone(), shown(&variable.value), from]
}

/// Bare where nothing else could be meant by it, else as JSON: one line in any case.
fn shown(value: &Value) -> String {
    let bare = |text: &&String| {
        let as_yaml = serde_json::from_str::<Value>(text).is_err();
        as_yaml && !text.is_empty() && text.trim() == *text && !text.contains(char::is_control)
    };
    let text =
        value.as_str().map(str::to_owned).filter(|text| bare(&text)).unwrap_or_else(|| value.to_string());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
