//! One file a command: its arguments and what it does. What plan and apply share is `running`.

pub mod apply;
pub mod completions;
pub mod explain;
pub mod graph;
pub mod plan;
mod running;
pub mod schema;
pub mod supervise;
pub mod validate;
pub mod vars;
pub mod why;

use std::io::Write;
use std::path::Path;

use clap::{Args, ValueEnum};

use crate::redact;
use crate::report::is_lively;
use crate::spec::{self, LoadOptions, Problems, Spec};

/// The spec or the command line is wrong; nothing was touched.
pub const WRONG: u8 = 3;

/// How a spec is named on the command line.
#[derive(Args)]
pub struct SpecArgs {
    /// The spec: a YAML file.
    #[arg(value_name = "SPEC")]
    spec: std::path::PathBuf,

    /// A variable of the spec, over all others: a YAML scalar.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = assignment)]
    vars: Vec<(String, String)>,

    /// Refuse a spec with warnings, which `validate` shows.
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    Warnings,
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
        let spec = spec::load(&self.spec, &options).map_err(|problems| {
            complain(&problems, &self.spec);
            WRONG
        })?;
        if self.deny == Some(Deny::Warnings) && !spec.warnings.is_empty() {
            show(&spec.warnings);
            let told = counted(spec.warnings.list().len(), "warning");
            let _ = writeln!(
                std::io::stderr(),
                "\n{}: {told}, which --deny warnings refuses; nothing was touched",
                self.spec.display()
            );
            return Err(WRONG);
        }
        Ok(spec)
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Each with its excerpt, on standard error.
fn show(problems: &Problems) {
    let stderr = std::io::stderr();
    let text = problems.render(is_lively(&stderr), 100);
    let _ = stderr.lock().write_all(redact::hide(&text).as_bytes());
}

/// Errors of the spec go to standard error, in every format.
fn complain(problems: &Problems, spec: &Path) {
    show(problems);
    let told = counted(problems.list().len(), "error");
    let _ = writeln!(std::io::stderr(), "\n{}: {told}; nothing was touched", spec.display());
}

/// One line on standard error, as every complaint about the command line is.
fn refuse(what: impl std::fmt::Display) -> u8 {
    refuse_with(WRONG, what)
}

fn refuse_with(code: u8, what: impl std::fmt::Display) -> u8 {
    let _ = writeln!(std::io::stderr(), "error: {}", redact::hide(&what.to_string()));
    code
}
