//! Reaching machines over SSH, against real sshds: see sshd.rs for their world.

mod conversation;
mod keys;
mod places;
mod speed;
mod sshd;
