//! placeholder
use super::{Check, Failure, Links, Needed, Resource};
use crate::attribute::AbsPath;
use crate::system::System;
use serde::{Deserialize, Serialize};
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    #[serde(rename = "symlink")]
    pub path: AbsPath,
}
impl Symlink {
    pub const EXAMPLE: &'static str = "";
}
impl Resource for Symlink {
    fn name(&self) -> String {
        self.path.to_string()
    }
    fn links(&self) -> Links {
        Links::default()
    }
    fn check(&self, _: &System) -> Result<Check, Failure> {
        Ok(Check::Holds)
    }
    fn apply(&self, _: &System, _: &Needed) -> Result<(), Failure> {
        Ok(())
    }
}
