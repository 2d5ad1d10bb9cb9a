//! `converge plan SPEC`

use std::path::PathBuf;

use super::refuse;
use super::running::{self, RunArgs};
use crate::event::Event;
use crate::plan::{SavedPlan, cannot_save};
use crate::run::Purpose;

/// Check everything and show what apply would change, and why; change nothing
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: super::SpecArgs,

    #[command(flatten)]
    run: RunArgs,

    /// Save the plan: `converge apply FILE` makes just these changes.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> u8 {
    let (spec, selection) = match running::prepare(&args.spec, &args.run) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let mut saved = match SavedPlan::new(&args.spec.spec, &args.spec.vars) {
        Ok(saved) => saved,
        Err(error) => return refuse(format!("this directory is not there any more: {error}")),
    };
    let options = args.run.options(Purpose::Plan, running::holder(&spec));
    let planned = running::walk(&spec, &selection, &args.run, &options, &mut |event| {
        if let Event::Resource(report) = event {
            saved.add(report);
        }
    });
    let summary = match planned {
        Ok(summary) => summary,
        Err(code) => return code,
    };
    if let Some(path) = &args.out
        && let Err(error) = saved.save(path)
    {
        refuse(cannot_save(path, &error));
        return 1;
    }
    summary.exit_code(false)
}
