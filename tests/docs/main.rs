//! The reference: that what is written down is what the program says, that its examples work, and
//! that the JSON Schema takes and refuses what converge does.

mod examples;
mod fresh;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod yaml;

use std::path::{Path, PathBuf};

/// The files below a directory of the project, by their endings.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => left.push(entry.path()),
                false if entry.path().to_string_lossy().ends_with(ending) => found.push(entry.path()),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// The whole specs in the documentation: blocks of YAML with `resources`, but those that say they
/// are a part of a spec. With where each is.
fn specs_in_the_docs() -> Vec<(String, String)> {
    let mut specs = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readmes = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name));
    for path in readmes.into_iter().chain(files("docs", ".md")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap().to_owned();
            let is_whole = block.lines().any(|line| line.starts_with("resources:"));
            if is_whole && !block.contains("# part of a spec") {
                specs.push((format!("block {} of {}", number + 1, path.display()), block));
            }
        }
    }
    specs
}

/// The example of a type, as a whole spec.
fn spec_of(example: &str) -> String {
    let lines: Vec<String> = example.lines().map(|line| format!("  {line}").trim_end().to_owned()).collect();
    format!("resources:\n{}\n", lines.join("\n"))
}
