//! This machine: the workers of the agent, called without a wire.

use super::{FromNode, Node, replies_to};
use crate::system::System;
use crate::wire::Request;
use crate::worker::Workers;

pub struct LocalNode {
    system: System,
    workers: Option<Workers>,
}

impl Default for LocalNode {
    fn default() -> Self {
        LocalNode::on(System::machine())
    }
}

impl LocalNode {
    pub fn on(system: System) -> LocalNode {
        LocalNode { system, workers: None }
    }
}

impl Node for LocalNode {
    fn send(&mut self, requests: Vec<Request>) {
        if let Some(workers) = &self.workers {
            for request in requests {
                workers.submit(request);
            }
        }
    }

    fn listen(&mut self, to: Box<dyn Fn(FromNode) + Send>) {
        self.workers = Some(Workers::start(self.system.clone(), replies_to(to)));
    }

    fn close(&mut self) {
        self.workers = None;
    }
}
