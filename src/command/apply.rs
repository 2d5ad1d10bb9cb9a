//! `converge apply SPEC`, and `converge apply PLANFILE`

use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::running::{self, RunArgs};
use super::{SpecArgs, refuse, refuse_with};
use crate::attribute::Span;
use crate::lock::{self, MachineLock};
use crate::lock::{Holder, LockRefusal};
use crate::plan::SavedPlan;
use crate::run::{Options, Purpose, Selection};
use crate::spec::Spec;
use crate::system::System;

/// Another run holds the lock of this spec or of a host.
const LOCKED: u8 = 4;

/// Make the changes, in dependency order, in parallel, verifying each
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArgs,

    #[command(flatten)]
    run: RunArgs,

    /// Show the plan, then ask.
    #[arg(long)]
    ask: bool,

    /// How long to wait where another run holds the lock of this spec, or of a host.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    wait_lock: Span,

    /// Exit with 2 where changes were made and all is well.
    #[arg(long)]
    detailed_exitcode: bool,
}

pub fn run(args: &Args) -> u8 {
    if args.ask && !std::io::stdin().is_terminal() {
        return refuse("--ask needs a terminal to ask on; leave it out to apply without asking");
    }
    let plan = match SavedPlan::read(&args.spec.spec) {
        None => None,
        Some(Ok(plan)) => Some(plan),
        Some(Err(damaged)) => return refuse(damaged),
    };
    let (spec, selection) = match prepare(args, plan.as_ref()) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let holder = running::holder(&spec);
    let until = Instant::now() + args.wait_lock.get();
    let _lock = match lock_spec(&spec.path, &holder, until) {
        Ok(lock) => lock,
        Err(code) => return code,
    };
    if args.ask {
        let options = args.run.options(Purpose::Plan, holder.clone());
        let planned = running::walk(&spec, &selection, &args.run, &options, &mut |_| ());
        let code = planned.map_or_else(|code| code, |summary| summary.exit_code(false));
        if code != 2 {
            return code;
        }
        if !asked() {
            let _ = writeln!(std::io::stdout(), "Nothing was changed.");
            return 0;
        }
    }
    let wait_lock = until.saturating_duration_since(Instant::now());
    let options = Options { wait_lock, plan, ..args.run.options(Purpose::Apply, holder) };
    let applied = running::walk(&spec, &selection, &args.run, &options, &mut |_| ());
    applied.map_or_else(|code| code, |summary| summary.exit_code(args.detailed_exitcode))
}

/// The spec and what of it the run is about: what the command line selects, or what a saved
/// plan covers.
fn prepare(args: &Args, plan: Option<&SavedPlan>) -> Result<(Spec, Selection), u8> {
    let Some(plan) = plan else { return running::prepare(&args.spec, &args.run) };
    if args.run.selects() || !args.spec.vars.is_empty() {
        return Err(refuse(
            "a saved plan has its selection and its variables: give them to `converge plan --out`",
        ));
    }
    let spec = SpecArgs { spec: plan.spec_path(), vars: plan.vars.clone(), deny: None }.load()?;
    let gone: Vec<&str> =
        plan.ids().filter(|id| !(0..spec.items.len()).any(|item| spec.id(item) == *id)).collect();
    if !gone.is_empty() {
        return Err(refuse(format!(
            "{} does not declare {} any more, which the plan of {} is about\nhelp: make a new plan",
            spec.path.display(),
            gone.join(", "),
            plan.made,
        )));
    }
    let selection = Selection::planned(&spec, plan);
    Ok((spec, selection))
}

fn asked() -> bool {
    let mut stdout = std::io::stdout();
    let _ = write!(stdout, "Make these changes? [y/N] ");
    let _ = stdout.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// One run at a time for a spec, on this machine.
fn lock_spec(spec: &std::path::Path, holder: &Holder, until: Instant) -> Result<Option<MachineLock>, u8> {
    let real = std::fs::canonicalize(spec).unwrap_or_else(|_| spec.to_owned());
    let name = crate::attribute::sha256_hex(real.as_os_str().as_encoded_bytes());
    let path = lock::directory(&System::machine()).join(format!("spec-{}.lock", &name[..16]));
    loop {
        match lock::take(&path, holder) {
            Ok(lock) => return Ok(lock),
            Err(LockRefusal::Held(_)) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(LockRefusal::Held(other)) => {
                let what = format!(
                    "another run of {} is under way: {other}\nhelp: wait for it to end, or give this run `--wait-lock 5m`",
                    spec.display(),
                );
                return Err(refuse_with(LOCKED, what));
            }
            Err(LockRefusal::Failed(failure)) => {
                return Err(refuse_with(1, failure.reason));
            }
        }
    }
}
