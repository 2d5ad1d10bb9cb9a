//! Why a kernel may not have a parameter.

use super::key::Key;
use crate::failure::Failure;
use crate::system::System;

/// Parameters by how their names begin, and the module that brings them.
const MODULES: &[(&str, &str)] = &[
    ("net.bridge.", "br_netfilter"),
    ("net.netfilter.nf_conntrack", "nf_conntrack"),
    ("net.nf_conntrack", "nf_conntrack"),
    ("net.ipv4.vs.", "ip_vs"),
    ("net.sctp.", "sctp"),
    ("net.rds.", "rds"),
    ("net.mpls.", "mpls_router"),
    ("net.tipc.", "tipc"),
    ("fs.nfs.", "lockd"),
    ("fs.xfs.", "xfs"),
    ("sunrpc.", "sunrpc"),
    ("dev.cdrom.", "cdrom"),
    ("dev.raid.", "md_mod"),
    ("dev.hpet.", "hpet"),
];

/// Directories of which each interface has one.
const INTERFACES: &[&str] =
    &["net.ipv4.conf.", "net.ipv4.neigh.", "net.ipv6.conf.", "net.ipv6.neigh.", "net.mpls.conf."];

/// There is no such parameter: what is known of the reason.
pub fn failure(system: &System, key: &Key) -> Failure {
    let name = key.as_str();
    let mut there = system.root().join("proc/sys");
    let mut known: Vec<String> = Vec::new();
    let mut absent = String::new();
    for part in key.parts() {
        if !there.join(&part).exists() {
            absent = part;
            break;
        }
        there.push(&part);
        known.push(part);
    }
    let reason = match known.as_slice() {
        [] if !there.is_dir() => "there is no /proc/sys: the kernel's parameters cannot be seen".to_owned(),
        [] => format!("the kernel has no parameter {name}: there is no /proc/sys/{absent}"),
        known => {
            format!("the kernel has no parameter {name}: /proc/sys/{} has no `{absent}`", known.join("/"))
        }
    };
    let module = MODULES.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, module)| module);
    let interface = INTERFACES.iter().any(|begin| name.starts_with(begin)) && known.len() == 3;
    let help = if let Some(module) = module {
        format!(
            "the module {module} brings it: `modprobe {module}`, and for each boot a file \
             /etc/modules-load.d/{module}.conf with its name; then let this come after them by `depends_on`"
        )
    } else if name.starts_with("net.ipv6.") && known.len() == 1 {
        "IPv6 is not there: is it switched off on the kernel's command line (`ipv6.disable=1`)?".to_owned()
    } else if interface {
        let what = if known.iter().any(|part| part == "conf" || part == "neigh") { &absent } else { name };
        format!(
            "there is no interface {what} (`ip link` shows those there are): let this come after what makes \
             it by `depends_on`; for interfaces to come there is `default`"
        )
    } else {
        "is the name right (`sysctl -a` prints all there are)? Some come with a module that is not \
         loaded, some only with other kernels"
            .to_owned()
    };
    Failure::new(reason).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_reason_is_told() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/sys/net/ipv4/conf/lo")).unwrap();
        let system = System::under(root.path());
        let said = |key: &str| {
            let failure = failure(&system, &key.parse().unwrap());
            format!("{} | {}", failure.reason, failure.help.unwrap())
        };
        assert!(said("net.bridge.bridge-nf-call-iptables").contains("/proc/sys/net has no `bridge`"));
        assert!(said("net.bridge.bridge-nf-call-iptables").contains("modprobe br_netfilter"));
        assert!(said("net.ipv4.conf.wg0.forwarding").contains("there is no interface wg0"));
        assert!(said("net.ipv4.conf.eth0/1.forwarding").contains("there is no interface eth0.1"));
        assert!(said("net.ipv6.conf.all.forwarding").contains("ipv6.disable=1"));
        assert!(said("net.ipv4.ip_fwd").contains("/proc/sys/net/ipv4 has no `ip_fwd`"));
        assert!(said("vm.x").contains("there is no /proc/sys/vm"));
        assert!(said("net.ipv4.conf.lo.x").contains("is the name right"));
        let nothing = System::under(root.path().join("none"));
        assert!(super::failure(&nothing, &"a.b".parse().unwrap()).reason.contains("there is no /proc/sys:"));
    }
}
