//! `include`: which files it names, with which `vars`, and that they do not include each other.

use std::path::Path;

use super::at::{At, Place};
use super::gather::Reading;
use super::near;
use super::problem::Problem;
use super::yaml::{Node, Value};

impl Reading<'_> {
    pub(super) fn includes(&mut self, key: &At<String>, node: &Node, directory: &Path, overlay: usize) {
        let one = std::slice::from_ref(node);
        let files = match &node.value {
            Value::Sequence(files) => files.as_slice(),
            _ if node.is_null() => return,
            _ => one,
        };
        for file in files {
            match &file.value {
                Value::Scalar(scalar) if !file.is_null() => {
                    self.file(&directory.join(&scalar.text), Some(file.place), overlay);
                }
                Value::Mapping(entries) => self.include_with_vars(file, entries, directory, overlay),
                _ => self.desk.report(
                    Problem::at(if file.is_null() { key.place } else { file.place }, "`include` takes files")
                        .label(format!("this is {}", file.kind()))
                        .help("write a path, or {file: PATH, vars: {name: value}}"),
                ),
            }
        }
    }

    fn include_with_vars(
        &mut self,
        include: &Node,
        entries: &[(At<String>, Node)],
        directory: &Path,
        overlay: usize,
    ) {
        let mut vars = self.gathered.overlays[overlay].clone();
        for (key, node) in entries {
            match key.value.as_str() {
                "file" => {}
                "vars" => {
                    let own = self.vars(key, node.clone());
                    vars.extend(own);
                }
                other => self.desk.report(
                    Problem::at(key.place, format!("`include` has no `{other}`"))
                        .label("unknown")
                        .help(near::help(other, &["file", "vars"], "it has")),
                ),
            }
        }
        let Some((Value::Scalar(file), place)) = include.get("file").map(|node| (&node.value, node.place))
        else {
            return self.desk.report(
                Problem::at(include.place, "`include` needs the `file`")
                    .label("`file` is missing")
                    .help("write {file: PATH, vars: {name: value}}"),
            );
        };
        let overlay = match include.get("vars") {
            Some(_) => {
                self.gathered.overlays.push(vars);
                self.gathered.overlaid.push(directory.join(&file.text));
                self.gathered.overlays.len() - 1
            }
            None => overlay,
        };
        self.file(&directory.join(&file.text), Some(place), overlay);
    }

    /// `place` names a file that is open: the `first` of them that are.
    pub(super) fn circle(&mut self, first: usize, place: Place, path: &Path) {
        let steps = &self.open[first..];
        let what = match steps {
            [only] => format!("{} includes itself", only.path.display()),
            _ => "these files include each other in a circle".to_owned(),
        };
        let mut problem = Problem::at(place, what).label(format!("leads back to {}", path.display()));
        for step in &steps[1..] {
            if let Some(named) = step.named {
                problem = problem.also(named, format!("leads to {}", step.path.display()));
            }
        }
        self.desk.report(problem.help("remove one of these includes"));
    }
}
