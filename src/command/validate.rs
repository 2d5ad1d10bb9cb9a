//! `converge validate SPEC`

use std::io::Write;

use super::{counted, show};

/// Read a spec, its includes and templates; report every error found; touch no host
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: super::SpecArgs,
}

pub fn run(args: &Args) -> u8 {
    let spec = match args.spec.load_without_secrets() {
        Ok(spec) => spec,
        Err(code) => return code,
    };
    let mut told = format!(
        "{}: valid: {} on {}",
        spec.path.display(),
        counted(spec.items.len(), "resource"),
        counted(spec.hosts.len(), "host"),
    );
    if !spec.warnings.is_empty() {
        show(&spec.warnings);
        let _ = writeln!(std::io::stderr());
        told.push_str(&format!(", {}", counted(spec.warnings.list().len(), "warning")));
    }
    let _ = writeln!(std::io::stdout(), "{told}");
    0
}
