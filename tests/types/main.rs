//! The types on a real host, from many starts each: one module a type, see `table`.

#[path = "../support/agent.rs"]
#[allow(dead_code)]
mod agent;
mod archive;
mod authorized_key;
mod block;
mod bugs;
mod command;
mod cron;
mod database;
mod directory;
mod domain;
mod download;
mod file;
mod git;
mod group;
mod hostname;
mod http;
mod libvirt;
mod line;
#[path = "../support/loops.rs"]
mod loops;
mod many;
mod mount;
mod package;
mod port;
mod process;
mod process_life;
mod program;
mod symlink;
mod sysctl;
mod table;
mod timezone;
mod unit;
mod user;
mod user_bugs;
mod web;
