//! What a run tells, for people and for programs. Reporters see events and nothing else. Output
//! is never a reason to stop: what cannot be written is let go.

mod human;
mod json;
mod live;
mod style;

use std::io::IsTerminal;

pub use human::{Human, HumanOptions};
pub use json::Json;
pub use style::Style;

use crate::event::Event;

pub trait Reporter {
    fn on(&mut self, event: &Event);
}

/// Whether to use colour and motion on this stream: on a terminal, unless NO_COLOR (no-color.org)
/// or a dumb terminal says otherwise.
pub fn is_lively(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}

/// `1.3 s`, `2m05s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round();
        format!("{}m{:02}s", (whole / 60.0).floor(), whole % 60.0)
    }
}

/// Time left, to the second, rounded up.
pub fn left(left: std::time::Duration) -> String {
    crate::attribute::Span::seconds(left.as_millis().div_ceil(1000) as u64).to_string()
}
