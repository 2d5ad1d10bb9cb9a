//! The way to a host behind another: `ssh -W`, or a ProxyCommand, as a child process with one
//! end of a socket pair.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::settings::{Proxy, Settings, home};
use crate::failure::{Failure, io_words};

/// The stream to the host, and the process that carries it.
pub(super) struct ProxyStream {
    stream: UnixStream,
    child: Child,
}

/// The last of what a proxy says: the only trace of why it failed.
#[derive(Clone, Default)]
pub(super) struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Arc<AtomicBool>,
}

impl Said {
    /// Asked for when the stream has ended: the proxy's last words may come a moment later.
    pub fn text(&self) -> String {
        let end = Instant::now() + Duration::from_millis(500);
        while !self.ended.load(Ordering::Acquire) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl ProxyStream {
    /// None: the host is reached directly.
    pub fn open(
        settings: &Settings,
        config: Option<&Path>,
        limit: Duration,
    ) -> Result<Option<(ProxyStream, Said)>, Failure> {
        let mut command = match &settings.proxy {
            Proxy::None => return Ok(None),
            Proxy::Jump(jumps) => jump(jumps, settings, config, limit),
            Proxy::Command(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(format!("exec {}", settings.with_tokens(line, &home())));
                command
            }
        };
        let failed = |error: std::io::Error| {
            Failure::new(format!(
                "the proxy to {} cannot be started: {}",
                settings.hostname,
                io_words(&error)
            ))
            .help("a proxy_jump needs the `ssh` program on this machine")
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let input = OwnedFd::from(theirs.try_clone().map_err(failed)?);
        command.stdin(Stdio::from(input)).stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::piped());
        // Ctrl-C at the terminal is for converge, which still needs the way to the host then.
        let mut child = command.process_group(0).spawn().map_err(failed)?;
        let said = Said::default();
        if let Some(mut pipe) = child.stderr.take() {
            let said = said.clone();
            std::thread::spawn(move || {
                let mut block = [0; 1024];
                while let Ok(count @ 1..) = pipe.read(&mut block) {
                    let mut kept = said.bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&block[..count]);
                    let excess = kept.len().saturating_sub(4096);
                    kept.drain(..excess);
                }
                said.ended.store(true, Ordering::Release);
            });
        }
        Ok(Some((ProxyStream { stream: ours, child }, said)))
    }

    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

impl AsRawFd for ProxyStream {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Drop for ProxyStream {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `ssh -W` to the last of the hosts, through those before it.
fn jump(jumps: &str, settings: &Settings, config: Option<&Path>, limit: Duration) -> Command {
    let (through, last) = match jumps.rsplit_once(',') {
        Some((through, last)) => (Some(through), last),
        None => (None, jumps),
    };
    let mut command = Command::new("ssh");
    if let Some(config) = config {
        command.arg("-F").arg(config);
    }
    // It must not ask at the terminal: an unknown key of the jump host is an error too.
    command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ServerAliveInterval=5"]);
    command.arg("-o").arg(format!("ConnectTimeout={}", limit.as_secs().max(1)));
    if let Some(through) = through {
        command.arg("-J").arg(through);
    }
    let last = last.strip_prefix("ssh://").unwrap_or(last);
    let (user, address) = match last.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, last),
    };
    let (address, port) = match address.rsplit_once(':') {
        // A bare IPv6 address has colons, and no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    for (flag, value) in [("-l", user), ("-p", port)] {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    let target = if settings.hostname.contains(':') {
        format!("[{}]:{}", settings.hostname, settings.port)
    } else {
        format!("{}:{}", settings.hostname, settings.port)
    };
    command.arg("-W").arg(target).arg("--").arg(address.trim_matches(['[', ']']));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Host;

    #[test]
    fn jumps_are_taken_apart_as_ssh_takes_them() {
        let settings =
            Settings::of(&Host { port: Some(23), ..Host::ssh("192.0.2.1") }, Some(Path::new("/dev/null")));
        let settings = settings.unwrap();
        let line = |jumps: &str| {
            let command = jump(jumps, &settings, None, Duration::from_secs(9));
            let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
            words[8..].join(" ")
        };
        assert_eq!(line("gate"), "-W 192.0.2.1:23 -- gate");
        assert_eq!(line("a,u@b:2222"), "-J a -l u -p 2222 -W 192.0.2.1:23 -- b");
        assert_eq!(line("[fe80::1]:22"), "-p 22 -W 192.0.2.1:23 -- fe80::1");
        assert_eq!(line("fe80::1"), "-W 192.0.2.1:23 -- fe80::1");
    }
}
