//! No bytes make the loader panic, overflow its stack or run for ever.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use converge::graph;
use converge::spec::{LoadOptions, load};
use libfuzzer_sys::fuzz_target;

/// A place of this process' own: the loader reads files.
static SPEC: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("converge-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory can be made");
    directory.join("spec.yaml")
});

fuzz_target!(|bytes: &[u8]| {
    fs::write(&*SPEC, bytes).expect("the input can be written");
    match load(&SPEC, &LoadOptions::default()) {
        Ok(spec) => drop((graph::text(&spec), spec.warnings.render(false, 100))),
        Err(problems) => {
            assert!(problems.list().iter().all(|problem| problem.help.is_some()), "no way out");
            drop(problems.render(false, 100));
        }
    }
});
