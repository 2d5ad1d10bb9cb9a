//! Reaching a machine: the only seam between the controller and the code that manages one.
//! A node takes requests and gives back replies, in any order, until it is closed or lost.

mod local;
pub mod remote;

use std::sync::mpsc::Sender;

pub use local::LocalNode;

use crate::resource::Failure;
use crate::wire::{Reply, Request};

/// What a node says to the run.
#[derive(Debug)]
pub enum FromNode {
    Reply(Reply),
    /// The machine was lost after it had been reached: nothing more comes.
    Lost(Failure),
}

/// A machine that has been reached.
pub trait Node: Send {
    /// Hands requests on, all in one go; never waits for the machine.
    fn send(&mut self, requests: Vec<Request>);

    /// What to call when something comes back. Given once, before the first request.
    fn listen(&mut self, to: Box<dyn Fn(FromNode) + Send>);

    /// Ends the conversation: what is under way there is finished or undone.
    fn close(&mut self);
}

/// Turns a plain channel of replies into calls of a listener.
pub(crate) fn replies_to(to: Box<dyn Fn(FromNode) + Send>) -> Sender<Reply> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for reply in receiver {
            to(FromNode::Reply(reply));
        }
    });
    sender
}

/// Reaches this machine directly, and all others by SSH.
#[derive(Default)]
pub struct Connector {}

impl crate::run::Reach for Connector {
    fn reach(
        &self,
        host: &crate::inventory::Host,
        _patience: std::time::Duration,
    ) -> Result<Box<dyn Node>, crate::run::Unreachable> {
        match host.connection {
            crate::inventory::Connection::Local => Ok(Box::new(LocalNode::default())),
            crate::inventory::Connection::Ssh => Err(crate::run::Unreachable {
                failure: crate::resource::Failure::new("not yet"),
                retry: false,
            }),
        }
    }
}
