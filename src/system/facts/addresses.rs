//! The machine's addresses, asked from the kernel over rtnetlink(7): one dump, which the kernel
//! writes without waiting for anything. /proc has the IPv4 ones only among all routes, of which a
//! router has a million.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// `struct ifaddrmsg`: family, prefix length, flags, scope, and the interface's index.
const ABOUT: usize = 8;

/// Scopes from here on are of the link and of the host itself.
const LINK: u8 = 253;

/// Messages of a dump, at most: nobody reads a list of 10,000 addresses.
const MESSAGES: usize = 1000;

pub(super) fn all() -> Vec<String> {
    // Without netlink (a sandbox that forbids it) they are not known.
    let mut found = dump().unwrap_or_default();
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    found.iter().map(IpAddr::to_string).collect()
}

fn dump() -> rustix::io::Result<Vec<IpAddr>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let mut request = Vec::with_capacity(HEADER + ABOUT);
    request.extend(24_u32.to_ne_bytes());
    request.extend(RTM_GETADDR.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.extend([0; 8 + ABOUT]);
    send(&socket, &request, SendFlags::empty())?;
    let mut found = Vec::new();
    let mut block = vec![0; 32 * 1024];
    for _ in 0..MESSAGES {
        // The dump is made while it is read: there is nothing to wait for.
        let (length, _) = recv(&socket, &mut block[..], RecvFlags::DONTWAIT)?;
        if length == 0 || !read(&block[..length], &mut found) {
            break;
        }
    }
    Ok(found)
}

/// Takes the addresses out of one block; false where it is the last.
fn read(mut block: &[u8], found: &mut Vec<IpAddr>) -> bool {
    while let Some((kind, body, rest)) = message(block) {
        match kind {
            NLMSG_DONE | NLMSG_ERROR => return false,
            RTM_NEWADDR => found.extend(address(body)),
            _ => {}
        }
        block = rest;
    }
    true
}

fn message(block: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(block.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(block.get(4..6)?.try_into().ok()?);
    let rest = block.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, block.get(HEADER..length)?, rest))
}

fn address(body: &[u8]) -> Option<IpAddr> {
    let scope = *body.get(3)?;
    let (mut local, mut peer) = (None, None);
    let mut attributes = body.get(ABOUT..)?;
    while let Some(head) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let Some(value) = attributes.get(4..length) else { break };
        match u16::from_ne_bytes([head[2], head[3]]) {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => peer = ip(value),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // Of a point-to-point link, IFA_ADDRESS is the other end.
    let found = local.or(peer)?;
    (scope < LINK && !found.is_loopback()).then_some(found)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)))).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_cut_or_senseless_dump_gives_no_address_and_no_panic() {
        let mut good = vec![0; HEADER + ABOUT];
        good.extend([8, 0, 2, 0, 10, 0, 0, 7]);
        let length = u32::try_from(good.len()).unwrap();
        good[..4].copy_from_slice(&length.to_ne_bytes());
        good[4..6].copy_from_slice(&RTM_NEWADDR.to_ne_bytes());
        let mut found = Vec::new();
        assert!(read(&good, &mut found));
        assert_eq!(found, [IpAddr::from([10, 0, 0, 7])]);
        for cut in 0..good.len() {
            let mut found = Vec::new();
            assert!(read(&good[..cut], &mut found) && found.is_empty());
        }
        for byte in 0..good.len() {
            let mut odd = good.clone();
            odd[byte] = 0xff;
            read(&odd, &mut Vec::new());
            odd[byte] = 0;
            read(&odd, &mut Vec::new());
        }
    }

    #[test]
    fn they_are_those_that_ip_shows() {
        let shown = match Command::new("ip").args(["-o", "addr", "show"]).output() {
            Ok(output) => String::from_utf8(output.stdout).unwrap(),
            Err(error) => return eprintln!("left out: no `ip` here: {error}"),
        };
        let mut wanted: Vec<String> = Vec::new();
        for line in shown.lines().filter(|line| !line.contains("scope host") && !line.contains("scope link"))
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| word.starts_with("inet")).unwrap();
            wanted.push(words[at + 1].split('/').next().unwrap().to_owned());
        }
        let mut found = all();
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted);
    }
}
