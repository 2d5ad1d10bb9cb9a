//! `converge completions SHELL`

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

/// Print shell completions
#[derive(clap::Args)]
pub struct Args {
    shell: Shell,
}

pub fn run<Cli: CommandFactory>(args: &Args) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "converge", &mut script);
    let _ = std::io::stdout().write_all(&script);
    0
}
