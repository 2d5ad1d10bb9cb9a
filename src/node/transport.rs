//! The byte streams to an agent: an SSH channel, or the pipes of a child process. Nothing here
//! ever blocks but `wait`.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use ssh2::{BlockDirections, Channel, Session};

use crate::failure::Failure;

pub(super) trait Transport: Send {
    /// Standard output of the far end; 0 at its end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// To its standard input. After `WouldBlock`, the same bytes have to be tried next.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends its standard input.
    fn end_input(&mut self) -> io::Result<()>;

    /// Waits until there may be something to read, or room to write, or `wake` is readable.
    fn wait(&mut self, writing: bool, wake: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<()>;

    /// How the far end's program ended, as in `exit 3`; None while it is not known.
    fn ending(&mut self) -> Option<String>;

    /// How long the far end may be silent while it owes an answer.
    fn patience(&self) -> Duration;
}

/// Waits for any of `sockets`.
pub(super) fn wait_for(sockets: &mut [PollFd<'_>], limit: Duration) -> io::Result<bool> {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    match poll(sockets, Some(&limit)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The socket below a session: TCP, or a socket pair to a proxy.
pub(super) struct Socket {
    pub fd: OwnedFd,
    pub is_tcp: bool,
}

impl Socket {
    /// Waits until the session can go on.
    pub fn wait(&self, session: &Session, wake: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<bool> {
        let outbound =
            matches!(session.block_directions(), BlockDirections::Outbound | BlockDirections::Both);
        let events = if outbound { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut waited = vec![PollFd::new(&self.fd, events)];
        waited.extend(wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
        let ready = wait_for(&mut waited, limit)?;
        if self.is_tcp {
            // The kernel forgets it after each exchange: a delayed ACK costs 40 ms (tcp(7)).
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.fd, true);
        }
        Ok(ready)
    }
}

/// One exec channel of a session in non-blocking mode.
pub(super) struct SshChannel {
    pub channel: Channel,
    pub session: Session,
    pub socket: Socket,
}

impl Transport for SshChannel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.channel.read(buffer)
    }

    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.channel.stderr().read(buffer) {
            // At the end of both streams; before it, there is just nothing yet.
            Ok(0) if !self.channel.eof() => Err(io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.channel.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            written => written,
        }
    }

    fn end_input(&mut self) -> io::Result<()> {
        Ok(self.channel.send_eof()?)
    }

    fn wait(&mut self, _writing: bool, wake: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<()> {
        // Room to write is the far end's window, which it opens by a packet, or the socket's,
        // which the session knows to be in its way.
        self.socket.wait(&self.session, wake, limit).map(drop)
    }

    fn ending(&mut self) -> Option<String> {
        self.channel.wait_close().ok()?;
        // A killed program has exit status 0.
        if let Some(signal) = self.channel.exit_signal().ok().and_then(|ended| ended.exit_signal) {
            return Some(format!("killed by SIG{signal}"));
        }
        self.channel.exit_status().ok().map(|code| format!("exit {code}"))
    }

    fn patience(&self) -> Duration {
        // A host that is gone is noticed by TCP_USER_TIMEOUT; one that answers TCP may be busy.
        Duration::from_secs(if self.socket.is_tcp { 60 } else { 30 })
    }
}

impl Drop for SshChannel {
    fn drop(&mut self) {
        // libssh2 says goodbye where it can; a connection that is gone must not hold it up.
        self.session.set_timeout(500);
        self.session.set_blocking(true);
    }
}

/// A child process, spoken to over its pipes.
pub(super) struct ChildPipes {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: ChildStderr,
    stderr_ended: bool,
}

impl ChildPipes {
    pub fn spawn(command: &mut Command) -> Result<ChildPipes, Failure> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error: io::Error| Failure::io(format!("cannot run {program}"), &error);
        // A group of its own: Ctrl-C at the terminal is for converge, which ends it in good order.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        crate::system::commands::without_withheld(command);
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::new("the child has no pipes"));
        };
        for pipe in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        }
        Ok(ChildPipes { child, stdin: Some(stdin), stdout, stderr, stderr_ended: false })
    }
}

impl Transport for ChildPipes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(buffer)
    }

    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stderr.read(buffer);
        self.stderr_ended |= matches!(read, Ok(0));
        read
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn end_input(&mut self) -> io::Result<()> {
        self.stdin = None;
        Ok(())
    }

    fn wait(&mut self, writing: bool, wake: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<()> {
        let mut waited = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        if !self.stderr_ended {
            waited.push(PollFd::new(&self.stderr, PollFlags::IN));
        }
        waited.extend(wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
        if let Some(stdin) = self.stdin.as_ref().filter(|_| writing) {
            waited.push(PollFd::new(stdin, PollFlags::OUT));
        }
        wait_for(&mut waited, limit).map(drop)
    }

    fn ending(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

impl Drop for ChildPipes {
    fn drop(&mut self) {
        // Its input ends, so it does; one that hangs is killed, as far as we may (sudo's is root's).
        self.stdin = None;
        for _ in 0..50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.try_wait());
    }
}
