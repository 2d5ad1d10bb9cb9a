//! Connecting, within the time there is, and telling what came of it.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Endpoint;
use crate::attribute::AbsPath;
use crate::resource::io_words;
use crate::system::System;

/// One address gets no longer than this: who listens answers at once, and a firewall never.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of connecting to one address.
#[derive(Clone, PartialEq, Debug)]
pub struct Attempt {
    pub address: String,
    pub seen: Seen,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Seen {
    Accepted,
    Refused,
    /// There was no answer for so long.
    Silent(Duration),
    NoSuchSocket,
    /// A file of another kind lies there.
    NoSocket,
    /// Nobody can connect, in the system's words: no route, no IPv6 here.
    Unreachable(String),
    /// It cannot be told whether others could connect: no permission, no more descriptors.
    Undecided(String),
}

impl Attempt {
    pub fn is_open(&self) -> bool {
        self.seen == Seen::Accepted
    }

    pub fn is_undecided(&self) -> bool {
        matches!(self.seen, Seen::Undecided(_))
    }
}

impl Endpoint {
    /// Tries every address until one accepts. Err: there is none to try, and why.
    pub fn connect(&self, system: &System) -> Result<Vec<Attempt>, String> {
        let addresses = match self {
            Endpoint::Unix(path) => return Ok(vec![connect_unix(system, path)]),
            Endpoint::Local(port) => {
                let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                loopback.map(|address| SocketAddr::new(address, *port)).to_vec()
            }
            Endpoint::Remote(host, port) => resolve(host, *port, system.time_left())?,
        };
        let mut attempts = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let still_to_try = u32::try_from(addresses.len() - index).unwrap_or(1);
            let attempt = connect_tcp(address, PATIENCE.min(system.time_left() / still_to_try));
            let is_open = attempt.is_open();
            attempts.push(attempt);
            if is_open {
                break;
            }
        }
        Ok(attempts)
    }
}

/// The addresses of a name. The system's resolver knows no time limit, so it is asked from a
/// thread of its own, which is left behind if it does not answer.
fn resolve(host: &str, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (answer, answered) = channel();
    let asked = host.to_owned();
    thread::spawn(move || answer.send((asked.as_str(), port).to_socket_addrs().map(Vec::from_iter)));
    let unresolved = |why: String| format!("the name {host} does not resolve: {why}");
    match answered.recv_timeout(patience.min(PATIENCE * 2)) {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(unresolved("it has no addresses".to_owned())),
        Ok(Ok(mut addresses)) => {
            let mut known = Vec::new();
            addresses.retain(|address| {
                let is_new = !known.contains(address);
                known.push(*address);
                is_new
            });
            Ok(addresses)
        }
        Ok(Err(error)) => {
            let words = io_words(&error);
            Err(unresolved(words.trim_start_matches("failed to lookup address information: ").to_owned()))
        }
        Err(_) => Err(unresolved("the resolver does not answer".to_owned())),
    }
}

fn connect_tcp(address: &SocketAddr, patience: Duration) -> Attempt {
    // Zero is no timeout to `connect_timeout`, but an error.
    let patience = patience.max(Duration::from_millis(1));
    let seen = match TcpStream::connect_timeout(address, patience) {
        Ok(stream) => accepted(&stream),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Seen::Refused,
            ErrorKind::TimedOut => Seen::Silent(patience),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
                Seen::Unreachable(io_words(&error))
            }
            // A kernel without IPv6.
            _ if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
                Seen::Unreachable(io_words(&error))
            }
            _ => Seen::Undecided(io_words(&error)),
        },
    };
    Attempt { address: address.to_string(), seen }
}

/// Where nothing listens on a port that the kernel also gives to clients, a socket can by chance
/// be connected to itself.
fn accepted(stream: &TcpStream) -> Seen {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(here), Ok(there)) if here == there => Seen::Refused,
        _ => Seen::Accepted,
    }
}

fn connect_unix(system: &System, path: &AbsPath) -> Attempt {
    let seen = try_unix(system, path).unwrap_or_else(|error| match error {
        Errno::NOENT | Errno::NOTDIR => Seen::NoSuchSocket,
        Errno::CONNREFUSED if is_no_socket(system, path) => Seen::NoSocket,
        Errno::CONNREFUSED => Seen::Refused,
        // It is bound, for datagrams or packets: whoever is behind it is there (unix(7)).
        Errno::PROTOTYPE => Seen::Accepted,
        error => Seen::Undecided(io_words(&error.into())),
    });
    Attempt { address: path.to_string(), seen }
}

/// A blocking connect(2) waits without end where the queue of connections is full.
fn try_unix(system: &System, path: &AbsPath) -> Result<Seen, Errno> {
    let address = SocketAddrUnix::new(system.locate(path))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let patience = PATIENCE.min(system.time_left());
    let end = Instant::now() + patience;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(Seen::Accepted),
            Err(Errno::AGAIN) if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
            Err(Errno::AGAIN) => return Ok(Seen::Silent(patience)),
            Err(error) => return Err(error),
        }
    }
}

fn is_no_socket(system: &System, path: &AbsPath) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(system.locate(path)).is_ok_and(|there| !there.file_type().is_socket())
}

/// One line about attempts that all failed, addresses with the same fate together.
pub fn told(attempts: &[Attempt]) -> String {
    let mut fates: Vec<(&Seen, Vec<&str>)> = Vec::new();
    for attempt in attempts {
        match fates.iter_mut().find(|(seen, _)| alike(seen, &attempt.seen)) {
            Some((_, addresses)) => addresses.push(&attempt.address),
            None => fates.push((&attempt.seen, vec![&attempt.address])),
        }
    }
    let told = fates.iter().map(|(seen, addresses)| {
        let addresses = addresses.join(" and ");
        match seen {
            Seen::Accepted => format!("{addresses} accepts connections"),
            Seen::Refused => format!("connection refused by {addresses}"),
            Seen::Silent(patience) => {
                format!("timed out: no answer from {addresses} within {:.1} s", patience.as_secs_f64())
            }
            Seen::NoSuchSocket => format!("no such socket: {addresses}"),
            Seen::NoSocket => format!("{addresses} is no socket"),
            Seen::Unreachable(words) | Seen::Undecided(words) => {
                format!("cannot connect to {addresses}: {words}")
            }
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

fn alike(one: &Seen, other: &Seen) -> bool {
    matches!((one, other), (Seen::Silent(_), Seen::Silent(_))) || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_met_itself_is_nobody_listening() {
        use rustix::net::{bind, connect, getsockname, socket};
        let itself = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&itself, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        connect(&itself, &getsockname(&itself).unwrap()).unwrap();
        assert_eq!(accepted(&TcpStream::from(itself)), Seen::Refused);
    }
}
