//! `port`: something listens, or nothing does. A check with no apply: it waits.

mod connect;
mod endpoint;

use serde::{Deserialize, Serialize};

pub use endpoint::Endpoint;

use super::{Check, Failure, Links, Needed, Resource, Waiting};
use crate::system::System;

/// Whether something accepts connections: on a TCP port, or on a Unix socket.
///
/// It is a check with no apply. Where it does not hold, it is looked at again for as long as
/// `wait` says, and is a failure when that is over, or at once without a `wait`. It looks from
/// the host it is declared on; to check what others see, declare it on another host, or on
/// `localhost`, which is where converge runs.
///
/// Only a connection is made, and closed again: nothing is sent. For what a server answers,
/// see `http`. One address gets 5 seconds to answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Where to connect: `8080` is this host itself, on 127.0.0.1 or ::1; `host:8080` and
    /// `[::1]:8080` are any of that name's addresses; `unix:/run/x.sock` is a Unix socket.
    #[serde(rename = "port")]
    pub endpoint: Endpoint,

    /// `open`: a connection is accepted, on one of the addresses at least. `closed`: none is
    /// accepted on any of them, be it refused or left without an answer, as firewalls do.
    #[serde(default, skip_serializing_if = "is_open")]
    #[cfg_attr(feature = "controller", schemars(skip_serializing_if = "crate::attribute::schema::never"))]
    pub state: PortState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    #[default]
    Open,
    Closed,
}

fn is_open(state: &PortState) -> bool {
    *state == PortState::Open
}

impl Port {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- port: 23                             # nobody offers telnet here
  state: closed
";
}

impl Resource for Port {
    fn name(&self) -> String {
        self.endpoint.to_string()
    }

    /// None: a socket comes from a program, and which one only the spec's author knows.
    fn links(&self) -> Links {
        Links::default()
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let attempts = match self.endpoint.connect(system) {
            Ok(attempts) => attempts,
            // A name that is unknown may be a typing error: it is no proof of a closed port.
            Err(reason) => return Ok(Check::waits(reason)),
        };
        let open = attempts.iter().find(|attempt| attempt.is_open());
        Ok(match (self.state, open) {
            (PortState::Open, Some(_)) => Check::Holds,
            (PortState::Open, None) => Check::waits(connect::told(&attempts)),
            (PortState::Closed, Some(open)) => {
                Check::waits(format!("{} accepts connections, wanted closed", open.address))
            }
            (PortState::Closed, None) => match attempts.iter().find(|attempt| attempt.is_undecided()) {
                Some(_) => Check::waits(connect::told(&attempts)),
                None => Check::Holds,
            },
        })
    }

    fn apply(&self, system: &System, _: &Needed) -> Result<(), Failure> {
        match self.check(system)? {
            Check::Waits(Waiting { reason, .. }) => Err(Failure::new(reason)),
            _ => Ok(()),
        }
    }

    fn is_probe(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::time::{Duration, Instant};

    fn check(name: &str, state: &str) -> Check {
        let port: Port = serde_json::from_value(serde_json::json!({"port": name, "state": state})).unwrap();
        assert_eq!(port, serde_json::from_str(&serde_json::to_string(&port).unwrap()).unwrap());
        port.check(&System::machine()).unwrap()
    }

    fn reason(check: Check) -> String {
        match check {
            Check::Waits(waiting) => {
                assert!(!waiting.passing);
                waiting.reason
            }
            other => panic!("it does not wait: {other:?}"),
        }
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_listening_port_is_open_by_any_of_its_names() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for name in [format!("{port}"), format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
            assert_eq!(check(&name, "open"), Check::Holds, "{name}");
            assert_eq!(
                reason(check(&name, "closed")),
                format!("127.0.0.1:{port} accepts connections, wanted closed")
            );
        }
    }

    #[test]
    fn a_bare_port_is_open_where_only_ipv6_answers() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        assert_eq!(check(&format!("{port}"), "open"), Check::Holds);
        assert_eq!(check(&format!("[::1]:{port}"), "open"), Check::Holds);
        assert!(reason(check(&format!("127.0.0.1:{port}"), "open")).contains("connection refused"));
    }

    #[test]
    fn a_refused_connection_says_by_which_addresses() {
        let port = free_port();
        let seen = reason(check(&format!("127.0.0.1:{port}"), "open"));
        assert_eq!(seen, format!("connection refused by 127.0.0.1:{port}"));
        let seen = reason(check(&format!("{port}"), "open"));
        assert!(seen.starts_with(&format!("connection refused by 127.0.0.1:{port}")), "{seen}");
        assert_eq!(check(&format!("{port}"), "closed"), Check::Holds);
    }

    #[test]
    fn a_udp_socket_is_no_open_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(check(&format!("127.0.0.1:{port}"), "closed"), Check::Holds);
    }

    #[test]
    fn a_name_that_does_not_resolve_is_neither_open_nor_closed() {
        for state in ["open", "closed"] {
            let seen = reason(check("no-such-host.invalid:80", state));
            assert!(seen.starts_with("the name no-such-host.invalid does not resolve"), "{seen}");
        }
    }

    #[test]
    fn a_unix_socket_is_missing_or_dead_or_alive_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let name = format!("unix:{}", path.display());
        assert_eq!(reason(check(&name, "open")), format!("no such socket: {}", path.display()));
        assert_eq!(check(&name, "closed"), Check::Holds);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(check(&name, "open"), Check::Holds);
        drop(listener);
        assert_eq!(reason(check(&name, "open")), format!("connection refused by {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(check(&name, "open"), Check::Holds);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(reason(check(&name, "open")), format!("{} is no socket", path.display()));
    }

    #[test]
    fn a_silent_address_costs_no_more_than_the_operations_time() {
        // A listener whose queue is full drops what else comes, as a firewall does.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(100);
        let _queue: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&address, patience)).collect();
        let begun = Instant::now();
        for (state, holds) in [("open", false), ("closed", true)] {
            let item = serde_json::json!({"port": address.to_string(), "state": state});
            let port: Port = serde_json::from_value(item).unwrap();
            let check = port.check(&System::machine().within(Duration::from_millis(400))).unwrap();
            match holds {
                true => assert_eq!(check, Check::Holds),
                false => assert!(
                    reason(check).starts_with(&format!("timed out: no answer from {address} within 0.4 s"))
                ),
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_full_queue_of_connections_is_told_as_no_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let port: Port =
            serde_json::from_value(serde_json::json!({"port": format!("unix:{}", path.display())})).unwrap();
        let seen = reason(port.check(&System::machine().within(Duration::from_millis(300))).unwrap());
        assert!(seen.contains("no answer from"), "{seen}");
    }
}
