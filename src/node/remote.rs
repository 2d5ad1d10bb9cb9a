//! A machine reached over a byte stream with the agent at its other end. One thread owns the
//! stream: it writes what is queued, and never stops reading while it does.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::push::{Started, wait_for_ending};
use super::transport::Transport;
use super::{FromNode, Node, Tail};
use crate::failure::{Failure, io_words};
use crate::wire::{self, FrameBuffer, Hello, Outcome, Reply, Request};

/// An empty frame goes out so often, and the agent answers it.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The agent gives what is under way 10 s and its programs 2 s; then it is left alone.
const FAREWELL: Duration = Duration::from_secs(13);

pub struct RemoteNode {
    hello: Hello,
    name: String,
    started: Option<Started>,
    commands: Sender<Command>,
    /// Taken by the pump.
    receiver: Option<Receiver<Command>>,
    /// Written to after each command: the pump waits in poll(2).
    wake: Option<OwnedFd>,
    pump: Option<JoinHandle<()>>,
}

enum Command {
    Send(Vec<u8>),
    /// It cannot be put into a frame.
    Refuse(u64, Failure),
    Close,
}

impl RemoteNode {
    pub(super) fn new(name: &str, started: Started) -> RemoteNode {
        let (commands, receiver) = channel();
        RemoteNode {
            hello: started.hello.clone(),
            name: name.to_owned(),
            started: Some(started),
            commands,
            receiver: Some(receiver),
            wake: None,
            pump: None,
        }
    }

    fn command(&self, command: Command) {
        // A pump that has ended has said `Lost`.
        if self.commands.send(command).is_ok()
            && let Some(wake) = &self.wake
        {
            // A full pipe wakes as well.
            let _ = rustix::io::write(wake, b"!");
        }
    }
}

impl Node for RemoteNode {
    fn send(&mut self, requests: Vec<Request>) {
        for batch in wire::batches(requests) {
            match wire::frame(&batch) {
                Ok(frame) => self.command(Command::Send(frame)),
                Err(error) => {
                    let refused = Failure::new(format!("it cannot be sent: {error}"));
                    for request in batch {
                        self.command(Command::Refuse(request.id, refused.clone()));
                    }
                }
            }
        }
    }

    fn listen(&mut self, to: Box<dyn Fn(FromNode) + Send>) {
        let (Some(started), Some(commands)) = (self.started.take(), self.receiver.take()) else { return };
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (woken, wake) = match rustix::pipe::pipe_with(flags) {
            Ok(pipe) => pipe,
            Err(error) => {
                to(FromNode::Lost(Failure::io("making a pipe on this machine", &error.into())));
                return;
            }
        };
        let Started { transport, frames, stderr, .. } = started;
        let mut pump = Pump {
            name: self.name.clone(),
            transport,
            frames,
            stderr,
            commands,
            woken,
            to,
            outgoing: VecDeque::new(),
            sent: 0,
            heard: Instant::now(),
            beat: Instant::now(),
            closing: None,
        };
        self.wake = Some(wake);
        self.pump = Some(std::thread::spawn(move || pump.run()));
    }

    fn close(&mut self) {
        self.command(Command::Close);
        self.started = None;
        if let Some(pump) = self.pump.take() {
            // A panic there has nobody left to tell.
            drop(pump.join());
        }
    }

    fn hello(&self) -> &Hello {
        &self.hello
    }
}

impl Drop for RemoteNode {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread that owns the stream.
struct Pump {
    name: String,
    transport: Box<dyn Transport>,
    frames: FrameBuffer,
    stderr: Tail,
    commands: Receiver<Command>,
    woken: OwnedFd,
    to: Box<dyn Fn(FromNode) + Send>,
    outgoing: VecDeque<Vec<u8>>,
    /// How much of the first of them has gone.
    sent: usize,
    heard: Instant,
    beat: Instant,
    /// Since when the agent is asked to end, and whether its input has ended.
    closing: Option<(Instant, bool)>,
}

/// Why the pump stops.
enum End {
    Closed,
    Lost(Failure),
}

impl Pump {
    fn run(&mut self) {
        loop {
            match self.turn() {
                Ok(()) => {}
                Err(End::Closed) => return,
                // Whoever closes does not want to know any more.
                Err(End::Lost(_)) if self.closing.is_some() => return,
                Err(End::Lost(failure)) => {
                    (self.to)(FromNode::Lost(failure));
                    return;
                }
            }
        }
    }

    /// Everything that can be done without waiting; then waits.
    fn turn(&mut self) -> Result<(), End> {
        self.take_commands();
        let mut moved = self.write()?;
        moved |= self.read()?;
        moved |= self.read_stderr();
        if moved {
            return Ok(());
        }
        let limit = self.keep_alive()?;
        let writing = !self.outgoing.is_empty();
        let waited = self.transport.wait(writing, Some(self.woken.as_fd()), limit);
        waited.map_err(|error| self.broke(&error))?;
        // Emptied before the queue is looked at: a command that comes later wakes again.
        while rustix::io::read(&self.woken, &mut [0; 64]).is_ok_and(|count| count > 0) {}
        Ok(())
    }

    fn take_commands(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Send(frame)) => self.outgoing.push_back(frame),
                Ok(Command::Refuse(id, failure)) => {
                    (self.to)(FromNode::Reply(Reply { id, outcome: Outcome::Checked(Err(failure)) }));
                }
                Ok(Command::Close) | Err(TryRecvError::Disconnected) => {
                    self.closing.get_or_insert((Instant::now(), false));
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn write(&mut self) -> Result<bool, End> {
        let Some(frame) = self.outgoing.front() else {
            if let Some((_, input_ended @ false)) = &mut self.closing {
                // Not sent for want of room: tried again when something moves.
                *input_ended = !matches!(self.transport.end_input(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            }
            return Ok(false);
        };
        match self.transport.write(&frame[self.sent..]) {
            Ok(count) => {
                self.sent += count;
                if self.sent == frame.len() {
                    self.outgoing.pop_front();
                    self.sent = 0;
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // The agent has ended: standard output and standard error say why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.outgoing.clear();
                self.sent = 0;
                Ok(false)
            }
            Err(error) => Err(self.broke(&error)),
        }
    }

    fn read(&mut self) -> Result<bool, End> {
        // What came together with the hello.
        self.deliver()?;
        let mut block = [0; 64 * 1024];
        match self.transport.read(&mut block) {
            Ok(0) => Err(self.ended()),
            Ok(count) => {
                self.heard = Instant::now();
                self.frames.extend(&block[..count]);
                self.deliver()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(self.broke(&error)),
        }
    }

    fn deliver(&mut self) -> Result<(), End> {
        loop {
            match self.frames.take_frame::<Reply>() {
                Ok(Some(reply)) => (self.to)(FromNode::Reply(reply)),
                Ok(None) => return Ok(()),
                Err(error) => {
                    let failure =
                        Failure::new(format!("the agent on {} speaks another language: {error}", self.name));
                    let failure = failure.help("converge and converge-agent have to be of one release");
                    return Err(End::Lost(failure.detail("its standard error", self.stderr.text())));
                }
            }
        }
    }

    /// Read always, even if nobody wants it: what fills up there stops the whole channel.
    fn read_stderr(&mut self) -> bool {
        let mut block = [0; 8 * 1024];
        match self.transport.read_stderr(&mut block) {
            Ok(count @ 1..) => {
                self.stderr.extend(&block[..count]);
                true
            }
            _ => false,
        }
    }

    /// Sends a heartbeat where one is due; says how long to wait for something to happen.
    fn keep_alive(&mut self) -> Result<Duration, End> {
        if let Some((since, _)) = self.closing {
            let left = FAREWELL.saturating_sub(since.elapsed());
            return if left.is_zero() { Err(End::Closed) } else { Ok(left.min(Duration::from_secs(1))) };
        }
        let silence = self.heard.elapsed();
        if silence > self.transport.patience() {
            let failure = Failure::new(format!("{} has not answered for {}s", self.name, silence.as_secs()));
            let failure = failure.help("the machine, or the network to it, is gone or hangs");
            return Err(End::Lost(failure.detail("the agent's standard error", self.stderr.text())));
        }
        if self.beat.elapsed() >= HEARTBEAT {
            self.beat = Instant::now();
            // Behind a long frame there is no need of it: the bytes themselves are a sign of life.
            if self.outgoing.is_empty() {
                self.outgoing.push_back(wire::HEARTBEAT.to_vec());
                return Ok(Duration::ZERO);
            }
        }
        Ok(HEARTBEAT.saturating_sub(self.beat.elapsed()))
    }

    fn ended(&mut self) -> End {
        let ending = wait_for_ending(&mut *self.transport, &mut self.stderr, Duration::from_secs(2));
        if self.closing.is_some() {
            return End::Closed;
        }
        let how = ending.unwrap_or_else(|| "without an exit status".into());
        let failure = Failure::new(format!("the agent on {} ended in the middle: {how}", self.name));
        let help = "somebody or something there has ended it (the OOM killer, a reboot, an administrator): `journalctl -e` \
                    says more; the next run goes on from whatever state it is in";
        End::Lost(failure.help(help).detail("its standard error", self.stderr.text()))
    }

    fn broke(&self, error: &io::Error) -> End {
        let silence = self.heard.elapsed().as_secs();
        // libssh2 has no more to say than that a read failed.
        let how = match io_words(error) {
            _ if silence >= 10 => format!("nothing has come from there for {silence}s"),
            words if words == "transport read" => "it was reset or closed".to_owned(),
            words => words,
        };
        let failure = Failure::new(format!("the connection to {} was lost: {how}", self.name));
        let help = "the machine, its sshd, or the network to it is gone; the next run goes on from whatever state it is in";
        End::Lost(failure.help(help).detail("the agent's standard error", self.stderr.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::CommandLine;
    use crate::node::transport::ChildPipes;
    use crate::resource::AnyResource;
    use crate::wire::{Evidence, Operation};

    /// `cat` writes while it reads: a pump that would not read before it has written stands still.
    #[test]
    fn what_is_written_never_stops_the_reading() {
        let hello = Hello::of_this_machine();
        let cat = ChildPipes::spawn(&mut std::process::Command::new("cat")).unwrap();
        let started = Started {
            transport: Box::new(cat),
            hello,
            frames: FrameBuffer::default(),
            stderr: Tail::default(),
        };
        let mut node = RemoteNode::new("h", started);
        let (sender, receiver) = channel();
        node.listen(Box::new(move |heard| drop(sender.send(heard))));
        let attributes = serde_json::json!({"directory": "/etc"});
        let directory = AnyResource::read("directory", attributes).unwrap().unwrap();
        let long = Evidence::Run(CommandLine::Argv(vec!["x".repeat(8_000_000)]));
        node.send(vec![Request::new(1, Operation::Explain(directory, vec![long]), Duration::from_secs(9))]);
        // All 8 MB have come back: a request is no reply.
        match receiver.recv_timeout(Duration::from_secs(10)) {
            Ok(FromNode::Lost(failure)) => {
                assert!(failure.reason.contains("speaks another language"), "{failure:?}");
            }
            other => panic!("{other:?}"),
        }
        node.close();
    }
}
