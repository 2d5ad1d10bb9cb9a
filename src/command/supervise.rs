//! `converge supervise -- COMMAND`

use std::ffi::OsString;
use std::path::PathBuf;

use crate::attribute::Span;
use crate::resource::process::Restart;
use crate::supervise::{self, DELAY, GRACE, Options, PROBE_EVERY, PROBE_FAILURES};

/// Run a command, and start it again when it ends
#[derive(clap::Args)]
#[command(override_usage = "converge supervise [OPTIONS] -- COMMAND...")]
#[command(after_help = "\
What it does is told on standard error, each line with its time. SIGTERM, SIGINT and SIGQUIT are passed on to the \
command and all that it started, and end it for good; a second one kills it. SIGHUP, SIGUSR1 and SIGUSR2 are passed on. \
The command must stay in the foreground.\n\n\
Exit codes: the command's own (128 and the signal's number where a signal ended it), also when it is given up; 126 and \
127 where it could not be started; 3 for a wrong command line.")]
pub struct Args {
    /// How long after its end it is started again.
    #[arg(long, value_name = "DURATION", default_value_t = DELAY)]
    delay: Span,

    /// Double the delay with each failure in a row, up to this; after it ran well for that long, and
    /// for 10s at least, it begins anew.
    #[arg(long, value_name = "DURATION")]
    max_delay: Option<Span>,

    /// When to start it again; `on-failure`: not where it exited with 0.
    #[arg(long, value_enum, default_value_t = Restart::Always)]
    restart: Restart,

    /// Give up after so many restarts, which are N + 1 starts.
    #[arg(long, value_name = "N")]
    max_restarts: Option<u32>,

    /// Count only restarts within this time.
    #[arg(long, value_name = "DURATION", requires = "max_restarts")]
    within: Option<Span>,

    /// Ask this URL too, and start the command again where it does not answer with 200 to 299, as an
    /// `http` resource would judge it.
    #[arg(long, value_name = "URL")]
    healthy: Option<String>,

    /// How often it is asked.
    #[arg(long, value_name = "DURATION", default_value_t = PROBE_EVERY)]
    probe_every: Span,

    /// After so many failures in a row; twice as many before its first good answer.
    #[arg(long, value_name = "N", default_value_t = PROBE_FAILURES)]
    probe_failures: u32,

    /// How long it may take to end when it is asked to, before it is killed.
    #[arg(long, value_name = "DURATION", default_value_t = GRACE)]
    grace: Span,

    /// For converge's own use.
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "command")]
    process: Option<PathBuf>,

    /// For converge's own use.
    #[arg(long, hide = true, requires = "process")]
    detach: bool,

    /// For converge's own use.
    #[arg(long, hide = true, requires = "process")]
    session: bool,

    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required_unless_present = "process")]
    command: Vec<OsString>,
}

pub fn run(args: Args) -> u8 {
    if let Some(file) = args.process {
        return supervise::process(file, args.detach, args.session);
    }
    supervise::run(&Options {
        delay: args.delay,
        max_delay: args.max_delay,
        restart: args.restart,
        max_restarts: args.max_restarts,
        within: args.within,
        healthy: args.healthy,
        probe_every: args.probe_every,
        probe_failures: args.probe_failures,
        grace: args.grace,
        command: args.command,
    })
}
