//! What is wrong with a spec, told with the excerpt where it is. The only file that names miette.

use super::at::Place;

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    pub what: String,
    /// The first is where the problem is; the others help to understand it.
    pub labels: Vec<(Place, String)>,
    /// The way out.
    pub help: Option<String>,
}

/// All that is wrong with a spec, in the order of the file.
#[derive(Default, Debug)]
pub struct Problems {
    pub list: Vec<Problem>,
}

impl Problems {
    /// As it is shown to a person; `width` in columns.
    pub fn render(&self, _color: bool, _width: usize) -> String {
        String::new()
    }
}
