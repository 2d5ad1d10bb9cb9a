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
    /// Asks the machine for its facts. From here on programs make files as they do under an agent,
    /// whatever the shell's umask was: what a spec comes to must not depend on who runs it.
    pub fn reach() -> LocalNode {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
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
