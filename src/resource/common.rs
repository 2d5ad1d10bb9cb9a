//! What several types share: their `state`, their owner and mode.

use serde::{Deserialize, Serialize};

/// `state: present | absent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    #[default]
    Present,
    Absent,
}

pub fn yes() -> bool {
    true
}

pub fn is_false(value: &bool) -> bool {
    !value
}
