//! The agent: what runs on a managed host, for as long as its controller holds the channel.
//! Requests come as frames on standard input, replies go as frames to standard output.
//!
//! It ends when its input ends, when nobody reads its output any more, on SIGHUP, SIGINT and
//! SIGTERM, and when nothing was heard for a minute (the controller sends a heartbeat every
//! five seconds): what is under way then is finished, or ended by force.
//!
//! `converge-agent supervise` is another program under the same name: see `supervise`.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use converge::resource::Failure;
use converge::supervise;
use converge::system::System;
use converge::system::commands::signal_all;
use converge::wire::{self, FrameBuffer, Hello, MAGIC, Outcome, Reply, Request};
use converge::worker::Workers;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What is under way when the channel ends may end by itself for so long; then its programs
/// are asked to end, then killed.
const PATIENCE: Duration = Duration::from_secs(10);
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// A network that vanished closes no channel.
const SILENCE: Duration = Duration::from_secs(60);

/// Replies with these ids, which no request has, are for the writer itself.
const BEAT: u64 = u64::MAX;
const LAST: u64 = u64::MAX - 1;

const WRITE_AT_ONCE: usize = 256 * 1024;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        // The bootstrap asks whether programs can be run where this one lies.
        Some("--probe") => return ExitCode::SUCCESS,
        // Where no systemd keeps a `process` alive, a copy of this program does.
        Some("supervise") => return ExitCode::from(supervise::main(words)),
        _ => {}
    }
    let ended = serve();
    if let Err(error) = &ended {
        // Standard error may be closed too.
        drop(writeln!(io::stderr(), "converge-agent: {error}"));
    }
    let_go();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve() -> io::Result<()> {
    // The same wherever it was started from: nothing here depends on a login shell.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    std::env::set_current_dir("/")?;
    let (mut ending, end) = UnixStream::pair()?;
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, end.try_clone()?)?;
    }
    let mut stdout = io::stdout();
    stdout.write_all(MAGIC)?;
    wire::send(&mut stdout, &Hello::of_this_machine())?;
    let (replies, outgoing) = channel();
    let (done, written) = channel();
    thread::spawn(move || write_replies(stdout, &outgoing, &end, &done));
    let workers = Workers::start(System::machine(), replies.clone());
    let ended = read_requests(&workers, &replies, &mut ending);
    workers.is_ending();
    if !workers.finish(PATIENCE) {
        signal_all(Signal::TERM);
        if !workers.finish(LAST_PATIENCE) {
            signal_all(Signal::KILL);
            workers.finish(Duration::from_millis(200));
        }
    }
    // And with them the machine's lock.
    drop(workers);
    // The last replies may still be on their way out, where somebody reads them.
    drop(replies.send(Reply { id: LAST, outcome: Outcome::Explained(Vec::new()) }));
    let _ = written.recv_timeout(Duration::from_secs(1));
    ended
}

/// Where a thread hangs in the kernel this process cannot end yet, and would keep its channel open:
/// nobody is to wait for it.
fn let_go() {
    if let Ok(nothing) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        // Where that fails, the channel ends with the process.
        let _ = rustix::stdio::dup2_stdin(&nothing);
        let _ = rustix::stdio::dup2_stdout(&nothing);
        let _ = rustix::stdio::dup2_stderr(&nothing);
    }
}

/// Until the channel ends, in one way or another.
fn read_requests(workers: &Workers, replies: &Sender<Reply>, ending: &mut UnixStream) -> io::Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut frames = FrameBuffer::default();
    let mut block = vec![0; 64 * 1024];
    let mut heard = Instant::now();
    loop {
        let left = SILENCE.saturating_sub(heard.elapsed());
        if left.is_zero() {
            return Err(io::Error::other("nothing was heard from the controller for a minute"));
        }
        let limit = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(60) + 1, tv_nsec: 0 };
        let (input, output) = (stdin.as_fd(), stdout.as_fd());
        // Without events asked for, an output that nobody reads any more is still told.
        let mut waited = [
            PollFd::new(&input, PollFlags::IN),
            PollFd::new(&output, PollFlags::empty()),
            PollFd::new(&*ending, PollFlags::IN),
        ];
        match poll(&mut waited, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [input_ready, output_closed, asked] = waited.map(|one| !one.revents().is_empty());
        if asked {
            drop(ending.read(&mut block));
            return Err(io::Error::other("it was asked to end, or nobody reads its answers"));
        }
        if output_closed {
            return Err(io::Error::other("nobody reads its answers any more"));
        }
        if !input_ready {
            continue;
        }
        match rustix::io::read(input, &mut block) {
            Ok(0) if frames.is_empty() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => frames.extend(&block[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
        }
        heard = Instant::now();
        while let Some(requests) = frames.take_frame::<Vec<Request>>()? {
            workers.submit(requests);
        }
        if frames.take_heartbeats() > 0 {
            drop(replies.send(Reply { id: BEAT, outcome: Outcome::Explained(Vec::new()) }));
        }
    }
}

/// Writes what is there in one go: a packet for each small reply would cost more than the checks.
fn write_replies(mut stdout: io::Stdout, replies: &Receiver<Reply>, end: &UnixStream, done: &Sender<()>) {
    let mut last = false;
    while !last && let Ok(first) = replies.recv() {
        let mut bytes = Vec::new();
        let mut next = Some(first);
        while let Some(reply) = next {
            match reply.id {
                BEAT => bytes.extend(wire::HEARTBEAT),
                LAST => last = true,
                _ => bytes.extend(framed(&reply)),
            }
            next = if bytes.len() < WRITE_AT_ONCE { replies.try_recv().ok() } else { None };
        }
        if stdout.write_all(&bytes).and_then(|()| stdout.flush()).is_err() {
            // The controller has gone.
            drop((&mut &*end).write(b"!"));
            break;
        }
    }
    let _ = done.send(());
}

/// A reply that fits into no frame is answered with its failure.
fn framed(reply: &Reply) -> Vec<u8> {
    let frame = wire::frame(reply).or_else(|error| {
        let failure = Failure::new(format!("the answer cannot be sent: {error}"));
        wire::frame(&Reply { id: reply.id, outcome: Outcome::Checked(Err(failure)) })
    });
    frame.unwrap_or_default()
}
