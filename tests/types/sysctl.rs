//! `sysctl` from every start, on the parameters of a host's own network namespace.

use serde_json::{Value, json};

use crate::agent::{host, resource};
use crate::table::Table;

#[test]
fn a_parameter_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"sysctl": "net.ipv4.tcp_keepalive_time", "value": "600", "file": "/etc/sysctl.d/50-cvg-a.conf"});
    let clear = "rm -f /etc/sysctl.d/*cvg-a*; sysctl -qw net.ipv4.tcp_keepalive_time=7200";
    let look = "sysctl net.ipv4.tcp_keepalive_time; stat -c '%n %i %Y %Z %U %a' /etc/sysctl.d/*cvg-a* 2>&1; \
                cat /etc/sysctl.d/*cvg-a* 2>&1; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "sysctl", declared, clear, look };
    let set = "sysctl -qw net.ipv4.tcp_keepalive_time=600";
    let file = |text: &str| format!("printf '{text}' > /etc/sysctl.d/50-cvg-a.conf; {set}");
    table.row("absent", "", &["running", "file"]);
    table.row("it runs, and is not written", set, &["file"]);
    table.row("right", &file("net.ipv4.tcp_keepalive_time = 600\\n"), &[]);
    table.row("right, in the other spelling", &file("# x\\n -net/ipv4/tcp_keepalive_time=600\\n"), &[]);
    table.row("right, in hexadecimal", &file("net.ipv4.tcp_keepalive_time=0x258"), &[]);
    table.row("commented out", &file("#net.ipv4.tcp_keepalive_time = 600\\n"), &["file"]);
    table.row("another value in the file", &file("net.ipv4.tcp_keepalive_time = 60\\n# x\\n"), &["file"]);
    table.row(
        "twice, the last one wrong",
        &file("net.ipv4.tcp_keepalive_time=600\\nnet.ipv4.tcp_keepalive_time=6\\n"),
        &["file"],
    );
    table.row("other parameters there", &file("vm.x = 1\\n; y\\n"), &["file"]);
    table.row(
        "written, and it does not run",
        &(file("net.ipv4.tcp_keepalive_time = 600\\n") + "; sysctl -qw net.ipv4.tcp_keepalive_time=60"),
        &["running"],
    );
    table.row(
        "what a killed run left",
        "echo half > /etc/sysctl.d/.50-cvg-a.conf.converge",
        &["running", "file"],
    );
    table.row(
        "an earlier file says something else",
        "echo net.ipv4.tcp_keepalive_time=5 > /etc/sysctl.d/10-cvg-a.conf",
        &["running", "file"],
    );
    table.refused(
        "a later file says something else",
        "echo net.ipv4.tcp_keepalive_time=5 > /etc/sysctl.d/99-cvg-a.conf",
        "at boot net.ipv4.tcp_keepalive_time would be 5: line 1 of /etc/sysctl.d/99-cvg-a.conf",
    );
    table.refused("a link in the file's place", "ln -s /tmp/x /etc/sysctl.d/50-cvg-a.conf", "is a symlink");
    table.declared = json!({"sysctl": "net/ipv4/tcp_keepalive_time", "state": "absent", "file": "/etc/sysctl.d/50-cvg-a.conf"});
    table.row("no file, and it is to be gone", "", &[]);
    table.row("others in the file, and it is to be gone", &file("vm.x = 1\\n"), &[]);
    let among = file("# x\\nnet.ipv4.tcp_keepalive_time = 600\\nvm.x = 1\\n");
    table.row("it is to be gone", &among, &["file"]);
    assert_eq!(host.must("cat /etc/sysctl.d/50-cvg-a.conf"), "# x\nvm.x = 1\n");
}

#[test]
fn sysctl_lines_keep_order_and_comments() {
    let Some(host) = host() else { return };
    let path = "/etc/sysctl.d/50-cvg-order.conf";
    let text = "# the head\n\nnet.ipv4.tcp_fin_timeout=30\n; Ada's, do not touch\n  vm.ada = 1  \n\
                #net.ipv4.tcp_retries2 = 3\n-net/ipv4/tcp_retries1 = 3\n# caf\u{e9}, and no newline";
    host.put(path, text.as_bytes());
    host.must(&format!("chmod 640 {path}"));
    let mut agent = host.agent();
    let mut go = |declared: Value| {
        let mut declared = declared;
        declared["file"] = json!(path);
        let declared = resource("sysctl", declared);
        assert_eq!(agent.converge(&declared).1, Ok(()));
        assert_eq!(agent.converge(&declared), (None, Ok(())));
        assert_eq!(host.must(&format!("stat -c %a {path}")), "640\n");
        host.must(&format!("cat {path}"))
    };
    let changed = text.replace("tcp_fin_timeout=30", "tcp_fin_timeout = 40");
    assert_eq!(go(json!({"sysctl": "net.ipv4.tcp_fin_timeout", "value": "40"})), changed);
    let added = format!("{changed}\nnet.ipv4.tcp_retries2 = 9");
    assert_eq!(go(json!({"sysctl": "net.ipv4.tcp_retries2", "value": "9"})), added);
    let less = added.replace("-net/ipv4/tcp_retries1 = 3\n", "");
    assert_eq!(go(json!({"sysctl": "net.ipv4.tcp_retries1", "state": "absent"})), less);
    let less = less.replace("net.ipv4.tcp_fin_timeout = 40\n", "");
    assert_eq!(go(json!({"sysctl": "net.ipv4.tcp_fin_timeout", "state": "absent"})), less);
    host.must(&format!("rm {path}; sysctl -qw net.ipv4.tcp_fin_timeout=60 net.ipv4.tcp_retries2=15"));
}

#[test]
fn values_of_several_numbers_and_names_with_dots_are_the_kernels() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    host.must("ip link add cvg.7 type veth peer name cvg-7 2>&1 || ip link show cvg.7");
    let file = "/etc/sysctl.d/50-cvg-b.conf";
    for (key, value, seen) in [
        ("net.ipv4.tcp_rmem", "4096  131073\t6291456", "4096\t131073\t6291456\n"),
        ("net.ipv4.conf.cvg/7.forwarding", "1", "1\n"),
        ("net/ipv4/conf/cvg.7/rp_filter", "2", "2\n"),
        ("net.ipv4.ip_local_reserved_ports", "", "\n"),
        ("net.ipv4.ip_local_reserved_ports", "8080,9000-9010", "8080,9000-9010\n"),
    ] {
        let declared = resource("sysctl", json!({"sysctl": key, "value": value, "file": file}));
        assert_eq!(agent.converge(&declared).1, Ok(()), "{key}");
        assert_eq!(agent.converge(&declared), (None, Ok(())), "{key}");
        let converge::resource::AnyResource::Sysctl(it) = &declared else { unreachable!() };
        assert_eq!(host.must(&format!("cat {}", it.key.path())), seen, "{key}");
    }
    // What was written is what systemd reads.
    host.must("sysctl -qw net.ipv4.tcp_rmem='4096 131072 6291456' net.ipv4.conf.cvg/7.forwarding=0");
    host.must(&format!("/lib/systemd/systemd-sysctl {file}"));
    assert_eq!(
        host.must("cat /proc/sys/net/ipv4/tcp_rmem /proc/sys/net/ipv4/conf/cvg.7/forwarding"),
        "4096\t131073\t6291456\n1\n"
    );
    host.must(&format!("ip link del cvg.7; rm {file}; sysctl -qw net.ipv4.ip_local_reserved_ports="));
}

#[test]
fn what_the_kernel_does_not_have_or_does_not_take_is_told() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let file = "/etc/sysctl.d/50-cvg-c.conf";
    host.sh(&format!("rm -f {file}"));
    for (key, value, words) in [
        ("net.ipv4.no_such_thing", "1", "/proc/sys/net/ipv4 has no `no_such_thing`"),
        ("net.ipv4.conf.nowhere.forwarding", "1", "/proc/sys/net/ipv4/conf has no `nowhere`"),
        ("net.nothing.at.all", "1", "/proc/sys/net has no `nothing`"),
        ("net.ipv4", "1", "is a directory of parameters"),
        ("net.ipv4.route.flush", "1", "can only be written"),
        (
            "net.ipv4.ip_default_ttl",
            "many",
            "the kernel refuses net.ipv4.ip_default_ttl = many: Invalid argument",
        ),
        ("net.ipv4.ip_default_ttl", "1000", "the kernel refuses net.ipv4.ip_default_ttl = 1000"),
        ("net.ipv4.tcp_congestion_control", "nonesuch", "No such file or directory"),
        ("net.core.rmem_max", "4242", "Permission denied"),
        ("vm.swappiness", "42", "is read-only here"),
    ] {
        let declared = json!({"sysctl": key, "value": value, "file": file});
        let (_, end) = agent.converge(&resource("sysctl", declared));
        let said = end.expect_err(key);
        assert!(said.contains(words), "{key}: {said}");
        assert_ne!(host.sh(&format!("test -e {file}")).0, 0, "{key}: what is refused is not written down");
    }
}
