//! This machine: the workers of the agent, called without a wire.

use super::{FromNode, Node, replies_to};
use crate::system::System;
use crate::wire::{Hello, Request};
use crate::worker::Workers;

pub struct LocalNode {
    system: System,
    hello: Hello,
    workers: Option<Workers>,
}

impl LocalNode {
    /// Asks the machine for its facts.
    pub fn reach() -> LocalNode {
        LocalNode::on(System::machine(), Hello::of_this_machine())
    }

    pub fn on(system: System, hello: Hello) -> LocalNode {
        LocalNode { system, hello, workers: None }
    }
}

impl Node for LocalNode {
    fn send(&mut self, requests: Vec<Request>) {
        if let Some(workers) = &self.workers {
            workers.submit(requests);
        }
    }

    fn listen(&mut self, to: Box<dyn Fn(FromNode) + Send>) {
        self.workers = Some(Workers::start(self.system.clone(), replies_to(to)));
    }

    fn close(&mut self) {
        self.workers = None;
    }

    fn hello(&self) -> &Hello {
        &self.hello
    }
}
