//! Who the client is, and what the service learns of it: `X-Forwarded-*`, `Forwarded` (RFC 7239), `Via`.
//!
//! What a client claims about itself is believed only as far as `trusted_hops` says.

use std::net::IpAddr;

use narthex_contract::Exchange;
use narthex_wire::{Head, Known, Lines, Name, Version};

use crate::exchange::Peer;
use crate::problem::put_known;

/// How a listener treats forwarding fields.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForwardedRules {
    /// Proxies in front that are our own: the client is the entry that the outermost of them added. 0: believe nobody.
    pub trusted_hops: u8,
    /// Also write RFC 7239 `Forwarded`.
    pub standard: bool,
    /// Write `X-Forwarded-Client-Cert` from the verified certificate.
    pub client_cert: bool,
}

/// How often a request may pass through this gateway.
pub const MAX_PASSES: usize = 8;
/// Our name in `Via`.
const PSEUDONYM: &[u8] = b"narthex";

const HOST: Name = Name::known(Known::XForwardedHost);
const PROTO: Name = Name::known(Known::XForwardedProto);
const PORT: Name = Name::known(Known::XForwardedPort);
const STANDARD: Name = Name::known(Known::Forwarded);

/// The client's address: with n trusted hops, the n-th entry of `X-Forwarded-For` from the right. `None`: the client is the
/// peer.
pub fn client_ip(rules: ForwardedRules, head: &Head) -> Option<IpAddr> {
    if rules.trusted_hops == 0 {
        return None;
    }
    let entries = head.all_known(Known::XForwardedFor).flat_map(|line| line.split(|byte| *byte == b','));
    let mut last = [None; 256];
    let mut count = 0usize;
    for entry in entries {
        last[count % 256] = parse_ip(entry.trim_ascii());
        count += 1;
    }
    let hops = usize::from(rules.trusted_hops);
    // Fewer entries than trusted proxies: the outermost entry there is.
    let back = hops.min(count);
    if back == 0 {
        return None;
    }
    last[(count - back) % 256]
}

fn parse_ip(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    text.parse().ok().or_else(|| {
        // With a port, as some proxies write it.
        text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip())
    })
}

/// Whether the request has been here too often.
pub fn goes_in_circles(head: &Head) -> bool {
    if head.get_known(Known::Via).is_none() {
        return false;
    }
    let passes = head
        .all_known(Known::Via)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .filter(|entry| entry.trim_ascii().ends_with(PSEUDONYM))
        .count();
    passes >= MAX_PASSES
}

/// The fields of an ordinary request of a connection, for as long as its requests ask for the same host.
#[derive(Debug)]
pub struct Told {
    authority: Box<str>,
    scheme: &'static str,
    version: Version,
    lines: Lines,
}

impl Told {
    fn new(peer: &str, authority: &str, scheme: &'static str, version: Version) -> Self {
        let lines = Lines::new([
            (Known::XForwardedFor, peer.as_bytes()),
            (Known::XForwardedProto, scheme.as_bytes()),
            (Known::XForwardedHost, authority.as_bytes()),
            (Known::Via, pass(version)),
        ]);
        debug_assert!(lines.is_ok(), "addresses, schemes and hosts are visible text");
        Self { authority: authority.into(), scheme, version, lines: lines.unwrap_or_default() }
    }
}

/// Our entry in `Via`.
fn pass(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"1.0 narthex",
        Version::Http11 => b"1.1 narthex",
        Version::Http2 => b"2.0 narthex",
    }
}

/// Writes what the service should know.
pub fn forward(rules: ForwardedRules, exchange: &mut Exchange, peer: &Peer, scratch: &mut Vec<u8>) {
    let is_trusted = rules.trusted_hops > 0;
    let scheme = exchange.scheme();
    let proto = scheme.as_bytes();
    let version = exchange.request.version;
    let authority = exchange.authority.as_str();
    let head = &mut exchange.request.head;
    if !is_trusted && !rules.standard && !authority.is_empty() && head.get_known(Known::Via).is_none() {
        // As nearly always: all in one go.
        head.remove(&PORT);
        head.remove(&STANDARD);
        let mut told = peer.told.borrow_mut();
        let is_same = |told: &&mut Box<Told>| {
            told.version == version && told.scheme == scheme && *told.authority == *authority
        };
        let told = match told.as_mut().filter(is_same) {
            Some(told) => told,
            None => told.insert(Box::new(Told::new(&peer.text, authority, scheme, version))),
        };
        let stored = head.put_lines(&told.lines);
        debug_assert!(stored.is_ok(), "a head that was read has room for four fields");
        return;
    }
    let peer_text = peer.text.as_bytes();
    if is_trusted {
        scratch.clear();
        join(head, Known::XForwardedFor, scratch);
        scratch.extend_from_slice(peer_text);
        put_known(head, Known::XForwardedFor, scratch);
    } else {
        head.remove(&PORT);
        put_known(head, Known::XForwardedFor, peer_text);
    }
    if !is_trusted || !head.contains(&PROTO) {
        put_known(head, Known::XForwardedProto, proto);
    }
    match authority {
        "" if is_trusted => {}
        "" => drop(head.remove(&HOST)),
        _ if is_trusted && head.contains(&HOST) => {}
        _ => put_known(head, Known::XForwardedHost, authority.as_bytes()),
    }
    scratch.clear();
    if is_trusted {
        join(head, Known::Forwarded, scratch);
    } else if !rules.standard {
        head.remove(&STANDARD);
    }
    if rules.standard {
        write_standard(peer_text, authority, proto, scratch);
        put_known(head, Known::Forwarded, scratch);
    }
    if head.get_known(Known::Via).is_none() {
        put_known(head, Known::Via, pass(version));
        return;
    }
    scratch.clear();
    join(head, Known::Via, scratch);
    scratch.extend_from_slice(pass(version));
    put_known(head, Known::Via, scratch);
}

/// The values of all lines, each followed by a comma.
fn join(head: &Head, name: Known, out: &mut Vec<u8>) {
    for line in head.all_known(name) {
        out.extend_from_slice(line);
        out.extend_from_slice(b", ");
    }
}

fn write_standard(peer: &[u8], authority: &str, proto: &[u8], out: &mut Vec<u8>) {
    let (before, node, behind): (&[u8], _, &[u8]) = match peer {
        // RFC 7239 6.2: it has no address.
        b"unix:" => (b"for=", &b"unknown"[..], b";host=\""),
        v6 if v6.contains(&b':') => (b"for=\"[", v6, b"]\";host=\""),
        v4 => (b"for=", v4, b";host=\""),
    };
    [before, node, behind].into_iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(authority.as_bytes());
    out.extend_from_slice(b"\";proto=");
    out.extend_from_slice(proto);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(hops: u8, lines: &[&str]) -> String {
        let mut head = Head::new();
        for line in lines {
            head.append(&Name::known(Known::XForwardedFor), line.as_bytes()).unwrap();
        }
        let rules = ForwardedRules { trusted_hops: hops, ..ForwardedRules::default() };
        client_ip(rules, &head).map_or_else(|| "peer".to_owned(), |ip| ip.to_string())
    }

    #[test]
    fn believes_only_trusted_hops() {
        assert_eq!(ip(0, &["1.1.1.1"]), "peer");
        assert_eq!(ip(1, &["6.6.6.6, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(ip(2, &["6.6.6.6", "1.1.1.1, 2.2.2.2"]), "1.1.1.1");
        assert_eq!(ip(3, &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(ip(1, &["nonsense"]), "peer");
        assert_eq!(ip(1, &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(ip(1, &[]), "peer");
    }
}
