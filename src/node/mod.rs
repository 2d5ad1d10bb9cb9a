//! Reaching a machine: the only seam between the controller and the code that manages one.
//! A node takes requests and gives back replies, in any order, until it is closed or lost.

pub mod agents;
mod auth;
mod known_hosts;
mod local;
mod proxy;
mod push;
mod remote;
mod settings;
mod ssh;
mod transport;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

pub use agents::Agents;
pub use local::LocalNode;
pub use remote::RemoteNode;

use crate::failure::Failure;
use crate::inventory::{Connection, Host, Privilege};
use crate::redact::Secret;
use crate::wire::{Hello, Reply, Request};
use push::Push;
use settings::Settings;
use transport::ChildPipes;

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

    /// Ends the conversation: what is under way there is finished or undone. Waits for it.
    fn close(&mut self);

    /// What the machine said of itself when it was reached.
    fn hello(&self) -> &Hello;
}

/// What is the same for every host of a run.
#[derive(Clone, Debug)]
pub struct ReachOptions {
    /// For one attempt, from the name's resolution to the user's being let in; ssh_config's
    /// ConnectTimeout goes before it.
    pub connect_timeout: Duration,
    pub agents: Arc<Agents>,
    /// An ssh_config other than the user's, as `ssh -F` takes it.
    pub ssh_config: Option<PathBuf>,
    /// For sudo, where it wants one and the host has none of its own.
    pub become_password: Option<Secret>,
}

impl ReachOptions {
    /// Finds the agents. Fails where one of them cannot be read; that there are none is told by
    /// `reach`, for a run may need none.
    pub fn new() -> Result<ReachOptions, Failure> {
        Ok(ReachOptions {
            connect_timeout: Duration::from_secs(10),
            agents: Arc::new(Agents::find()?),
            ssh_config: None,
            become_password: None,
        })
    }
}

/// Why a machine was not reached.
#[derive(Clone, PartialEq, Debug)]
pub struct Unreachable {
    pub failure: Failure,
    /// It may work in a moment: the machine is off, booting, or busy. Else somebody has to mend
    /// something first.
    pub retry: bool,
}

impl Unreachable {
    fn for_now(failure: Failure) -> Self {
        Unreachable { failure, retry: true }
    }

    fn for_good(failure: Failure) -> Self {
        Unreachable { failure, retry: false }
    }
}

/// Reaches a machine, in one attempt.
pub fn reach(host: &Host, options: &ReachOptions) -> Result<Box<dyn Node>, Unreachable> {
    if host.connection == Connection::Local && has_rights_already(host) {
        return Ok(Box::new(LocalNode::reach()));
    }
    options.agents.any().map_err(Unreachable::for_good)?;
    let mut push = Push {
        host,
        agents: &options.agents,
        password: host.become_password.as_ref().or(options.become_password.as_ref()),
        shown: host.name.clone(),
        user: std::env::var("USER").unwrap_or_else(|_| "this user".into()),
    };
    let started = match host.connection {
        Connection::Local => {
            let argv = push.argv();
            let child =
                ChildPipes::spawn(Command::new(&argv[0]).args(&argv[1..])).map_err(Unreachable::for_good)?;
            push.start(Box::new(child))?
        }
        Connection::Ssh => {
            let config = options.ssh_config.as_deref();
            let settings = Settings::of(host, config).map_err(Unreachable::for_good)?;
            let connection = ssh::Connection::open(&settings, config, options.connect_timeout)?;
            push.shown = connection.shown().to_owned();
            push.user = settings.user;
            let channel = connection.exec(&push.line()?)?;
            push.start(Box::new(channel))?
        }
    };
    Ok(Box::new(RemoteNode::new(&push.shown, started)))
}

/// Whether this process is the user that the host's resources want.
fn has_rights_already(host: &Host) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    host.privilege == Privilege::None || (is_root && host.become_user == "root")
}

/// The last 8 kB of what a program wrote to standard error.
#[derive(Clone, Default, Debug)]
struct Tail(Vec<u8>);

impl Tail {
    fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let excess = self.0.len().saturating_sub(8 * 1024);
        self.0.drain(..excess);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).trim().to_owned()
    }
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
