//! `converge validate SPEC`

use std::io::Write;

/// Read a spec, its includes and templates; report every error found; touch no host
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: super::SpecArgs,
}

pub fn run(args: &Args) -> u8 {
    match args.spec.load_without_secrets() {
        Ok(spec) => {
            let (resources, hosts) = (spec.items.len(), spec.hosts.len());
            let plural = |count: usize| if count == 1 { "" } else { "s" };
            let _ = writeln!(
                std::io::stdout(),
                "{}: valid: {resources} resource{} on {hosts} host{}",
                spec.path.display(),
                plural(resources),
                plural(hosts),
            );
            0
        }
        Err(code) => code,
    }
}
