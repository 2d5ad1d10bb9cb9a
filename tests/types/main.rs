//! The types on a real host, from many starts each: one module a type, see `table`.

#[path = "../support/agent.rs"]
#[allow(dead_code)]
mod agent;
mod mount;
mod symlink;
mod table;
