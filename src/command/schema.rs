//! `converge schema`

use std::io::Write;

use crate::manual::{self, Manual};

/// Print the JSON Schema of specs, for editors
///
/// yaml-language-server (in VS Code the YAML extension) takes it from a spec's first line:
/// `# yaml-language-server: $schema=PATH`.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> u8 {
    let text = text();
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

fn text() -> String {
    format!("{:#}\n", manual::schema(&Manual::new()))
}
