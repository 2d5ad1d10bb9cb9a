//! What `restart_on`, `reload_on` and `on_change_of` name: a path, or a reference to a resource.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::AbsPath;

/// In a spec a path or a reference; on the wire always a path, since loading has resolved
/// each reference to the paths whose content it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trigger {
    Path(AbsPath),
    Reference(String),
}

impl FromStr for Trigger {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(path) => Trigger::Path(path),
            Err(_) => Trigger::Reference(text.to_owned()),
        })
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Path(path) => path.fmt(f),
            Trigger::Reference(reference) => reference.fmt(f),
        }
    }
}

super::text_form!(Trigger);
