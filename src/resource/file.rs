//! placeholder
use super::{Check, Failure, Links, Needed, Resource};
use crate::attribute::AbsPath;
use crate::system::System;
use serde::{Deserialize, Serialize};
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(rename = "file")]
    pub path: AbsPath,
}
impl File {
    pub const EXAMPLE: &'static str = "";
}
impl Resource for File {
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
