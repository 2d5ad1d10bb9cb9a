//! What plan and apply share: their options, and a run with its reporter.

use std::io::{BufWriter, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{SpecArgs, refuse};
use crate::event::{Event, Summary};
use crate::failure::io_words;
use crate::inventory::Host;
use crate::lock::Holder;
use crate::node::{self, Node, ReachOptions, Unreachable};
use crate::redact::{self, SHORTEST, Secret};
use crate::report::{Human, HumanOptions, Json, Reporter, Style, is_lively};
use crate::run::{self, Options, Purpose, Selection, Selector};
use crate::spec::Spec;
use crate::system::System;
use crate::system::processes::Identity;
use crate::wire::Hello;

#[derive(Args)]
pub struct RunArgs {
    /// Only what is on this host; may be given again.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,

    /// Only these: type:name, host/type:name or tag:NAME, with * and ?; may be given again.
    #[arg(long = "only", value_name = "SELECTOR")]
    only: Vec<String>,

    /// Hosts at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,

    /// Show how contents differ (the default).
    #[arg(long, overrides_with = "no_diff")]
    diff: bool,

    /// Do not show how contents differ.
    #[arg(long)]
    no_diff: bool,

    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    /// Print only where something changed or failed: what cron wants.
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    connection: Connection,
}

/// How hosts are reached, beside what the spec says.
#[derive(Args)]
pub struct Connection {
    /// An ssh_config other than the user's, as `ssh -F` takes it.
    #[arg(long, value_name = "FILE", env = "CONVERGE_SSH_CONFIG")]
    ssh_config: Option<PathBuf>,

    /// A file with the password that sudo asks for, of hosts that have no `become_password`.
    #[arg(long, value_name = "FILE")]
    become_password_file: Option<PathBuf>,
}

/// Reaches hosts as `node` does, an attempt as long as the run wants it.
struct Connector(ReachOptions);

impl run::Reach for Connector {
    fn reach(&self, host: &Host, patience: Duration) -> Result<Box<dyn Node>, Unreachable> {
        node::reach(host, &ReachOptions { connect_timeout: patience, ..self.0.clone() })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    /// One event a line.
    Json,
}

/// The spec and what of it is selected; or the exit code, after telling why not.
pub fn prepare(spec: &SpecArgs, args: &RunArgs) -> Result<(Spec, Selection), u8> {
    let spec = spec.load()?;
    become_password(&args.connection)?;
    let only: Vec<Selector> = args.only.iter().map(|text| Selector::from(text.as_str())).collect();
    let selection = Selection::of(&spec, &args.hosts, &only).map_err(|unmatched| {
        refuse(format!(
            "nothing in {} matches {}\nhelp: `converge graph {}` lists its hosts and resources",
            spec.path.display(),
            unmatched.join(", "),
            spec.path.display(),
        ))
    })?;
    Ok((spec, selection))
}

/// The password of --become-password-file; or the exit code, after telling why not.
fn become_password(connection: &Connection) -> Result<Option<Secret>, u8> {
    let Some(path) = &connection.become_password_file else { return Ok(None) };
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| refuse(format!("--become-password-file {shown}: {}", io_words(&error))))?;
    let password = text.lines().next().unwrap_or_default();
    if password.chars().count() < SHORTEST {
        return Err(refuse(format!(
            "--become-password-file {shown}: a password shorter than {SHORTEST} characters cannot be hidden in what converge prints\nhelp: its first line is the password",
        )));
    }
    let password = Secret::from(password);
    redact::learn("become_password", &password);
    Ok(Some(password))
}

/// This run, for whoever finds its lock.
pub fn holder(spec: &Spec) -> Holder {
    let now = jiff::Timestamp::now();
    let pid = std::process::id();
    Holder {
        run: format!("{pid}-{}", now.as_nanosecond()),
        user: System::machine().user_name(rustix::process::geteuid().as_raw()),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid,
        since: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        spec: spec.path.display().to_string(),
        machine: Hello::machine_id(),
        process: Identity::of_this(),
        ..Holder::default()
    }
}

pub fn walk(
    spec: &Spec,
    selection: &Selection,
    args: &RunArgs,
    options: &Options,
    also_tell: &mut dyn FnMut(&Event),
) -> Result<Summary, u8> {
    let colour = is_lively(&stdout());
    let mut reporter: Box<dyn Reporter> = match args.format {
        Format::Json => Box::new(Json::new(BufWriter::new(stdout()))),
        Format::Human => Box::new(Human::new(
            BufWriter::new(stdout()),
            HumanOptions {
                style: Style { colour },
                is_live: colour,
                shows_diff: args.diff || !args.no_diff,
                is_quiet: args.quiet,
                is_plan: options.purpose == Purpose::Plan,
            },
        )),
    };
    run_with(spec, selection, options, &args.connection, &mut |event| {
        also_tell(&event);
        reporter.on(&event);
    })
}

impl RunArgs {
    pub fn options(&self, purpose: Purpose, holder: Holder) -> Options {
        let parallel = usize::from(self.parallel);
        Options { purpose, parallel, wait_lock: Duration::ZERO, holder, plan: None }
    }

    pub fn selects(&self) -> bool {
        !self.hosts.is_empty() || !self.only.is_empty()
    }
}

/// A run over real connections; whoever listens is told everything.
pub fn run_with(
    spec: &Spec,
    selection: &Selection,
    options: &Options,
    connection: &Connection,
    tell: &mut dyn FnMut(Event),
) -> Result<Summary, u8> {
    if spec.lacks_secrets {
        return Err(refuse("this spec was read without its secrets: a bug in converge, please report it"));
    }
    let reach = ReachOptions::new().map_err(|failure| refuse(failure.reason))?;
    let become_password = become_password(connection)?;
    let reach = ReachOptions { ssh_config: connection.ssh_config.clone(), become_password, ..reach };
    Ok(run::run(spec, selection, options, Arc::new(Connector(reach)), tell))
}
