//! What a panic of converge's own says: a bug, and no reason to show a secret.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;

/// From now on panics are told without secrets.
pub fn hide_panics() {
    std::panic::set_hook(Box::new(|info| {
        // Where standard error is closed, nobody reads it.
        let _ = write!(std::io::stderr(), "{}", panic_words(info));
    }));
}

/// As Rust's own hook tells it.
pub fn panic_words(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let said = info.payload_as_str().unwrap_or("no message");
    let backtrace = Backtrace::capture();
    let trace = match backtrace.status() {
        BacktraceStatus::Captured => format!("{backtrace}\n"),
        _ => String::new(),
    };
    let words = format!("thread '{name}' panicked at {place}:\n{said}\n{trace}");
    super::hide(&words).into_owned()
}
