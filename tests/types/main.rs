//! The types on a real host, from many starts each: one module a type, see `table`.

#[path = "../support/agent.rs"]
#[allow(dead_code)]
mod agent;
mod archive;
mod database;
mod download;
mod git;
mod symlink;
mod table;
mod web;
