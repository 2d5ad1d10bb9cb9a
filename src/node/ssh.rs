//! A connection to sshd: found, connected, its host key judged, the user let in. Every step
//! ends at one deadline.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ssh2::{ErrorCode, MethodType, Session};

use super::known_hosts::KnownHosts;
use super::proxy::{ProxyStream, Said};
use super::settings::Settings;
use super::transport::{Socket, SshChannel};
use super::{Unreachable, auth};
use crate::failure::{Failure, io_words};

/// libssh2.h: LIBSSH2_ERROR_*.
pub(super) const EAGAIN: i32 = -37;
const KEX_FAILURE: i32 = -5;

/// A host that stops answering in the middle is gone after so long, in milliseconds (tcp(7),
/// TCP_USER_TIMEOUT); the heartbeat sees to it that there is always something to answer.
const SILENCE: u32 = 15_000;

/// What is on its way into the network at most: what is lost or slow is noticed in time.
const SEND_BUFFER: usize = 256 * 1024;

/// A session under way.
pub(super) struct Connection {
    pub session: Session,
    socket: Socket,
    deadline: Instant,
    limit: Duration,
    proxy: Option<Said>,
    /// `vps0 (10.0.0.1 port 22)`.
    shown: String,
}

impl Connection {
    /// Up to a session that is let in.
    pub fn open(
        settings: &Settings,
        config: Option<&Path>,
        limit: Duration,
    ) -> Result<Connection, Unreachable> {
        let limit = settings.connect_timeout.map_or(limit, |own| own.max(Duration::from_secs(1)));
        let deadline = Instant::now() + limit;
        let session =
            Session::new().map_err(|error| Unreachable::for_good(Failure::new(error.to_string())))?;
        let known = KnownHosts::of(settings);
        let mut connection = connect(session, settings, config, deadline, limit)?;
        connection.handshake(&known)?;
        let key = connection.session.host_key().map(|(key, _)| key.to_vec()).unwrap_or_default();
        known.judge(&key, settings).map_err(Unreachable::for_good)?;
        auth::authenticate(&connection, settings)?;
        Ok(connection)
    }

    /// Runs `command`, without a terminal.
    pub fn exec(self, command: &str) -> Result<SshChannel, Unreachable> {
        let mut channel =
            self.drive(|| self.session.channel_session()).map_err(|e| self.broke("opening a channel", &e))?;
        self.drive(|| channel.exec(command)).map_err(|e| self.broke("starting a program", &e))?;
        let Connection { session, socket, .. } = self;
        Ok(SshChannel { channel, session, socket })
    }

    fn handshake(&mut self, known: &KnownHosts) -> Result<(), Unreachable> {
        let supported = self.session.supported_algs(MethodType::HostKey).unwrap_or_default();
        let preferred = known.preferred_algorithms(&supported);
        let session = self.session.clone();
        let set = session.method_pref(MethodType::HostKey, &preferred);
        // The others are there for old hosts; this one costs the least.
        let kex = session.supported_algs(MethodType::Kex).unwrap_or_default();
        let (fast, rest): (Vec<&str>, Vec<&str>) =
            kex.into_iter().partition(|name| name.starts_with("curve25519"));
        let set = set.and_then(|()| session.method_pref(MethodType::Kex, &[fast, rest].concat().join(",")));
        set.map_err(|error| self.broke("choosing algorithms", &error))?;
        self.drive(|| session.clone().handshake()).map_err(|error| {
            let what = if session.banner().is_none() { "waiting for sshd's greeting" } else { "agreeing on keys" };
            let mut unreachable = self.broke(what, &error);
            if error.code() == ErrorCode::Session(KEX_FAILURE) {
                unreachable.retry = false;
                unreachable.failure.help = Some(format!(
                    "its sshd and libssh2 have no algorithm in common: `ssh -vv` shows what it offers; host keys asked \
                     for: {preferred}"
                ));
            }
            unreachable
        })
    }

    /// Calls `step` until it is done or the deadline is over.
    pub fn drive<T>(&self, mut step: impl FnMut() -> Result<T, ssh2::Error>) -> Result<T, ssh2::Error> {
        loop {
            match step() {
                Err(error) if error.code() == ErrorCode::Session(EAGAIN) => {}
                done => return done,
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            let woken = !left.is_zero() && self.socket.wait(&self.session, None, left).unwrap_or(false);
            if !woken && Instant::now() >= self.deadline {
                return Err(ssh2::Error::from_errno(ErrorCode::Session(libssh2_sys::LIBSSH2_ERROR_TIMEOUT)));
            }
        }
    }

    /// A step that failed because of the connection, not of what it asked for.
    pub fn broke(&self, doing: &str, error: &ssh2::Error) -> Unreachable {
        let Connection { shown, limit, .. } = self;
        let timed_out = error.code() == ErrorCode::Session(libssh2_sys::LIBSSH2_ERROR_TIMEOUT);
        let reason = if timed_out {
            format!("{shown} was connected to, but did not answer within {}s ({doing})", limit.as_secs())
        } else {
            format!("the connection to {shown} broke while {doing}: {}", error.message())
        };
        let help = if timed_out {
            "the machine may be paused, overloaded, or still booting"
        } else {
            "sshd may be starting or stopping, or refuses this address: its log says more"
        };
        let said = self.proxy.as_ref().map(Said::text).unwrap_or_default();
        Unreachable::for_now(Failure::new(reason).help(help).detail("the proxy said", said))
    }

    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// Whether an error is the connection's, and not an answer of sshd's.
pub(super) fn is_broken(error: &ssh2::Error) -> bool {
    use libssh2_sys::{
        LIBSSH2_ERROR_SOCKET_DISCONNECT, LIBSSH2_ERROR_SOCKET_RECV, LIBSSH2_ERROR_SOCKET_SEND,
        LIBSSH2_ERROR_SOCKET_TIMEOUT, LIBSSH2_ERROR_TIMEOUT,
    };
    let ErrorCode::Session(code) = error.code() else { return false };
    [
        LIBSSH2_ERROR_SOCKET_DISCONNECT,
        LIBSSH2_ERROR_SOCKET_RECV,
        LIBSSH2_ERROR_SOCKET_SEND,
        LIBSSH2_ERROR_SOCKET_TIMEOUT,
        LIBSSH2_ERROR_TIMEOUT,
    ]
    .contains(&code)
}

fn connect(
    mut session: Session,
    settings: &Settings,
    config: Option<&Path>,
    deadline: Instant,
    limit: Duration,
) -> Result<Connection, Unreachable> {
    let failed = |error: io::Error| Unreachable::for_now(Failure::io("preparing the connection", &error));
    let left = deadline.saturating_duration_since(Instant::now());
    let shown;
    let (mut proxy, is_tcp) = (None, settings.proxy == super::settings::Proxy::None);
    let fd = match ProxyStream::open(settings, config, left).map_err(Unreachable::for_good)? {
        Some((stream, said)) => {
            shown = format!("{} port {} through its proxy", settings.hostname, settings.port);
            proxy = Some(said);
            let fd = stream.stream().as_fd().try_clone_to_owned().map_err(failed)?;
            session.set_tcp_stream(stream);
            fd
        }
        None => {
            let (stream, address) = reach_port(settings, deadline, limit)?;
            shown = if address.ip().to_string() == settings.hostname {
                format!("{} port {}", settings.hostname, settings.port)
            } else {
                format!("{} ({}) port {}", settings.hostname, address.ip(), settings.port)
            };
            let fd = stream.as_fd().try_clone_to_owned().map_err(failed)?;
            prepare(&stream).map_err(failed)?;
            session.set_tcp_stream(stream);
            fd
        }
    };
    session.set_blocking(false);
    Ok(Connection { session, socket: Socket { fd, is_tcp }, deadline, limit, proxy, shown })
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_quickack(stream, true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, SILENCE)?;
    rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER)?;
    Ok(())
}

/// Tries every address the name has; none may eat the time of the others.
fn reach_port(
    settings: &Settings,
    deadline: Instant,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Unreachable> {
    let addresses = resolve(settings, deadline)?;
    let mut tried = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tried.push(format!("{address}: no answer within {}s", limit.as_secs()));
            }
            Err(error) => tried.push(format!("{address}: {}", io_words(&error).to_lowercase())),
        }
    }
    let name = if settings.destination == settings.hostname {
        settings.hostname.clone()
    } else {
        format!("{} ({})", settings.destination, settings.hostname)
    };
    let help = if tried.iter().all(|line| line.ends_with("connection refused")) {
        "the machine is up, but no sshd listens there: it may be booting, or `port` is wrong"
    } else {
        "the machine may be off, booting, or behind a firewall"
    };
    Err(Unreachable::for_now(
        Failure::new(format!("{name} cannot be connected to: {}", tried.join("; "))).help(help),
    ))
}

/// The resolver has timeouts of its own, longer than ours: it is asked in a thread.
fn resolve(settings: &Settings, deadline: Instant) -> Result<Vec<SocketAddr>, Unreachable> {
    let (sender, receiver) = mpsc::channel();
    let (name, port) = (settings.hostname.clone(), settings.port);
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody waits any more: the deadline was over.
        drop(sender.send(found));
    });
    let hostname = &settings.hostname;
    let reason = match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Ok(found)) if !found.is_empty() => return Ok(found),
        Ok(Ok(_)) => "it has no address".to_owned(),
        Ok(Err(error)) => error.to_string().replace("failed to lookup address information: ", ""),
        Err(_) => "the name server does not answer".to_owned(),
    };
    let unknown = reason.contains("not known") || reason.contains("no address");
    let failure = Failure::new(format!("the name {hostname} cannot be resolved: {reason}"));
    let failure = failure.help("give the host an `address`, or a Host entry in ~/.ssh/config");
    Err(if unknown { Unreachable::for_good(failure) } else { Unreachable::for_now(failure) })
}
