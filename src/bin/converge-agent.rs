//! The agent: what runs on a managed host, for as long as its controller holds the channel.
//! Requests come as frames on standard input, replies go as frames to standard output.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use converge::system::System;
use converge::system::commands::signal_all;
use converge::wire::{self, Hello, MAGIC, Request};
use converge::worker::Workers;
use rustix::process::Signal;

/// What is under way when the channel ends may end by itself for so long; then its programs
/// are asked to end, then killed.
const PATIENCE: Duration = Duration::from_secs(10);
const LAST_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("converge-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(MAGIC)?;
    wire::send(&mut stdout, &hello())?;
    let (replies, outgoing) = channel();
    thread::spawn(move || {
        for reply in outgoing {
            // The controller has gone: the loop below ends too.
            if wire::send(&mut stdout, &reply).is_err() {
                break;
            }
        }
    });
    let workers = Workers::start(System::machine(), replies);
    let mut stdin = io::stdin().lock();
    let ended = loop {
        match wire::receive::<Request>(&mut stdin) {
            Ok(Some(request)) => workers.submit(request),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if !workers.finish(PATIENCE) {
        signal_all(Signal::TERM);
        if !workers.finish(LAST_PATIENCE) {
            signal_all(Signal::KILL);
            workers.finish(Duration::from_millis(200));
        }
    }
    ended
}

fn hello() -> Hello {
    let system = System::machine();
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned();
    let user = system.user_name(rustix::process::geteuid().as_raw());
    Hello { hostname: name, machine_id, user }
}
