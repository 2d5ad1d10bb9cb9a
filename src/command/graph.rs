//! `converge graph SPEC`

use std::io::Write;

use clap::ValueEnum;

use crate::graph;

/// Show the dependency graph with the reason for each edge
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: super::SpecArgs,

    /// `dot` is for Graphviz, `mermaid` for Markdown.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Dot,
    Mermaid,
}

pub fn run(args: &Args) -> u8 {
    let spec = match args.spec.load_without_secrets() {
        Ok(spec) => spec,
        Err(code) => return code,
    };
    let text = match args.format {
        Format::Text => graph::text(&spec),
        Format::Dot => graph::dot(&spec),
        Format::Mermaid => graph::mermaid(&spec),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}
