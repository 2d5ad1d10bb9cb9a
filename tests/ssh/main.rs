//! Reaching machines over SSH, against real sshds: see sshd.rs for their world.

mod conversation;
mod keys;
mod lab;
#[path = "../support/lab.rs"]
mod lab_hosts;
mod places;
mod speed;
mod sshd;
