//! Reaching machines over SSH, against real sshds: see sshd.rs for their world.

mod keys;

mod sshd;
