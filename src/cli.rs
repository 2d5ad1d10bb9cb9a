//! The command line: its words and their meaning. cli.md is the contract; each command has a file
//! of its own below `command`.

use clap::builder::Styles;
use clap::{ColorChoice, Parser, Subcommand};

use crate::command::{
    WRONG, apply, completions, explain, graph, plan, schema, supervise, validate, vars, why,
};
use crate::redact;

#[derive(Parser)]
#[command(
    name = "converge",
    version,
    about = "Declarative convergence: a YAML spec says what is true; converge makes it so, proves it, and says what it did",
    max_term_width = 100,
    styles = Styles::plain(),
    after_help = "Exit codes: 0 converged; 1 something failed or a host was out of reach; 2 plan: changes are needed; \
                  3 the spec or the command line is wrong; 4 another run holds the lock.",
    color = ColorChoice::Never,
    subcommand_required = true,
    arg_required_else_help = true,
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Validate(validate::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Why(why::Args),
    Graph(graph::Args),
    Vars(vars::Args),
    Explain(explain::Args),
    Supervise(supervise::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// Reads the command line, does what it says, and returns the exit code.
pub fn main() -> u8 {
    redact::hide_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where nobody reads it any more, there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { WRONG } else { 0 };
        }
    };
    match cli.command {
        Command::Validate(args) => validate::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Apply(args) => apply::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Vars(args) => vars::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Supervise(args) => supervise::run(args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run::<Cli>(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
