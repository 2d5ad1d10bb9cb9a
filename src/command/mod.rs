//! One file a command: its arguments and what it does. What plan and apply share is `running`.

pub mod apply;
pub mod completions;
pub mod explain;
pub mod graph;
pub mod plan;
mod running;
pub mod schema;
pub mod validate;
pub mod why;

use std::io::Write;
use std::path::Path;

use clap::Args;

use crate::cli::WRONG;
use crate::redact;
use crate::report::is_lively;
use crate::spec::{self, LoadOptions, Problems, Spec};

/// How a spec is named on the command line.
#[derive(Args)]
pub struct SpecArgs {
    /// The spec: a YAML file.
    #[arg(value_name = "SPEC")]
    spec: std::path::PathBuf,

    /// A variable of the spec, over all others: a YAML scalar.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = assignment)]
    vars: Vec<(String, String)>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

impl SpecArgs {
    /// The spec with those of its secrets that it uses, or the exit code after telling what is
    /// wrong with it.
    fn load(&self) -> Result<Spec, u8> {
        self.load_as(true)
    }

    /// The same without secrets: to look at, and not to run.
    fn load_without_secrets(&self) -> Result<Spec, u8> {
        self.load_as(false)
    }

    fn load_as(&self, reads_secrets: bool) -> Result<Spec, u8> {
        let options = LoadOptions { vars: self.vars.clone(), reads_secrets };
        spec::load(&self.spec, &options).map_err(|problems| {
            complain(&problems, &self.spec);
            WRONG
        })
    }
}

/// Errors of the spec go to standard error, in every format.
fn complain(problems: &Problems, spec: &Path) {
    let stderr = std::io::stderr();
    let colour = is_lively(&stderr);
    let count = problems.list().len();
    let told = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
    let text = redact::hide(&problems.render(colour, 100)).into_owned();
    let _ = write!(stderr.lock(), "{text}\n{}: {told}; nothing was touched\n", spec.display());
}

/// One line on standard error, as every complaint about the command line is.
fn refuse(what: impl std::fmt::Display) -> u8 {
    refuse_with(WRONG, what)
}

fn refuse_with(code: u8, what: impl std::fmt::Display) -> u8 {
    let _ = writeln!(std::io::stderr(), "error: {}", redact::hide(&what.to_string()));
    code
}
