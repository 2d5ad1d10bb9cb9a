//! `port` in every situation: it changes nothing, it holds or is waited for.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

/// A socket of its own on this port, and nobody else's: there when the shell goes on, however slow the machine.
const LISTEN: &str = "listen() { systemd-run -q --unit=cvg-port-$1 python3 -c \"$2\"; \
                      until test -e /run/cvg-port-$1; do systemctl is-active -q cvg-port-$1 || \
                      { journalctl -n 20 -u cvg-port-$1; exit 1; }; sleep 0.05; done; }; ";
const CLEAR: &str = "systemctl stop 'cvg-port-*'; systemctl reset-failed 'cvg-port-*'; rm -rf /run/cvg-port*";
const LOOK: &str = "ss -Hltnx src 127.0.0.1:4791; find /run/cvg-port* -printf '%p %y %i %T@\\n'; true";

#[test]
fn a_port_in_every_situation() {
    let Some(host) = host() else { return };
    let mut table = Table {
        host: &host,
        agent: host.agent(),
        word: "port",
        declared: json!(null),
        clear: CLEAR,
        look: LOOK,
    };
    let python = |of: &str| {
        format!(
            "{LISTEN}listen own \"import socket, time; {of}; open('/run/cvg-port-own', 'w'); time.sleep(1000)\""
        )
    };
    let tcp = |address: &str| python(&format!("s = socket.create_server(('{address}', 4791))"));
    let (here, everywhere) = (tcp("127.0.0.1"), tcp("0.0.0.0"));
    let ipv6 = python("s = socket.create_server(('::1', 4791), family=socket.AF_INET6)");
    let udp = python("s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 4791))");
    let bound = python("s = socket.socket(); s.bind(('127.0.0.1', 4791))");
    let unix = python("s = socket.socket(socket.AF_UNIX); s.bind('/run/cvg-port.sock'); s.listen()");
    let left = format!("{unix}; systemctl stop cvg-port-own");

    table.declared = json!({"port": 4791});
    table.row("it listens", &here, &[]);
    table.row("it listens everywhere", &everywhere, &[]);
    table.row("it listens on IPv6 alone", &ipv6, &[]);
    table.waits("nobody listens", "", "connection refused by 127.0.0.1:4791");
    table.waits("only UDP", &udp, "connection refused");
    table.waits("bound, and does not listen", &bound, "connection refused");
    table.waits(
        "its program has gone",
        &format!("{here}; systemctl stop cvg-port-own"),
        "connection refused",
    );
    table.declared = json!({"port": "127.0.0.1:4791"});
    table.waits("it listens on another address", &ipv6, "connection refused by 127.0.0.1:4791");
    table.declared = json!({"port": "no-such-host.invalid:4791"});
    table.waits("its name is unknown", "", "no-such-host.invalid does not resolve");
    table.declared = json!({"port": 4791, "state": "closed"});
    table.row("nobody listens, and nobody is to", "", &[]);
    table.row("only UDP, and nobody is to", &udp, &[]);
    table.waits("it listens, and nobody is to", &here, "accepts connections, wanted closed");
    table.declared = json!({"port": "unix:/run/cvg-port.sock"});
    table.row("a socket in the file system", &unix, &[]);
    table.waits("no such socket", "", "no such socket: /run/cvg-port.sock");
    table.waits("a socket that a dead program left", &left, "connection refused by /run/cvg-port.sock");
    table.waits("a file in its place", "touch /run/cvg-port.sock", "/run/cvg-port.sock is no socket");
}
