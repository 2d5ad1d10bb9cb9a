//! `converge plan SPEC`

use std::time::Duration;

use super::running::{self, RunArgs};
use crate::run::Purpose;

/// Check everything and show what apply would change, and why; change nothing
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: super::SpecArgs,

    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> u8 {
    let (spec, selection) = match running::prepare(&args.spec, &args.run) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let holder = running::holder(&spec);
    let planned = running::walk(&spec, &selection, &args.run, Purpose::Plan, holder, Duration::ZERO);
    planned.map_or_else(|code| code, |summary| summary.exit_code(false))
}
