//! Secrets: where they come from, when they are read, and that nothing tells of them.

#[path = "../support/mod.rs"]
mod support;

mod case;
mod facts;
mod processes;
mod shown;
mod sources;
