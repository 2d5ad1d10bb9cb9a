//! converge: declarative convergence. ARCHITECTURE.md is the map.

pub mod attribute;
pub mod failure;
pub mod lock;
pub mod resource;
pub mod supervise;
pub mod system;
pub mod wire;
pub mod worker;

#[cfg(feature = "controller")]
pub mod cli;
#[cfg(feature = "controller")]
pub mod command;
#[cfg(feature = "controller")]
pub mod event;
#[cfg(feature = "controller")]
pub mod graph;
#[cfg(feature = "controller")]
pub mod inventory;
#[cfg(feature = "controller")]
pub mod manual;
#[cfg(feature = "controller")]
pub mod node;
#[cfg(feature = "controller")]
pub mod plan;
#[cfg(feature = "controller")]
pub mod redact;
#[cfg(feature = "controller")]
pub mod report;
#[cfg(feature = "controller")]
pub mod run;
#[cfg(feature = "controller")]
pub mod spec;
