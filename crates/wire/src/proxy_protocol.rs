//! The PROXY protocol's header, as a sender writes it: who the client of a connection is. Versions 1 and 2 of
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. It reads none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Address;

/// The header's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, on behalf of a client.
const PROXIED: u8 = 0x21;
/// Version 2, on nobody's behalf.
const LOCAL: u8 = 0x20;
/// Without addresses.
const UNSPECIFIED: u8 = 0;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

impl ProxyProtocol {
    /// As `header`; a client of a Unix socket has no address, and the header says so (`UNKNOWN`, `AF_UNSPEC`). Where only our
    /// side has none, it is 0.0.0.0 or `::`.
    pub fn header_of(self, client: Address, own: Address) -> Vec<u8> {
        let nowhere = |client: SocketAddr| match client.ip().to_canonical() {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        match (client, self) {
            (Address::Ip(client), _) => self.header(client, own.socket().unwrap_or_else(|| nowhere(client))),
            (Address::Unix(_), Self::V1) => b"PROXY UNKNOWN\r\n".to_vec(),
            (Address::Unix(_), Self::V2) => [SIGNATURE, &[PROXIED, UNSPECIFIED, 0, 0]].concat(),
        }
    }

    /// The header of a connection on nobody's behalf, such as a health check's.
    pub fn header_of_own(self) -> Vec<u8> {
        match self {
            Self::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
            Self::V2 => [SIGNATURE, &[LOCAL, UNSPECIFIED, 0, 0]].concat(),
        }
    }

    /// The header of a TCP connection: where its client is, and which address of ours it came to.
    pub fn header(self, client: SocketAddr, own: SocketAddr) -> Vec<u8> {
        let (from, to) = match (client.ip().to_canonical(), own.ip().to_canonical()) {
            // Both are of one family on the wire.
            (IpAddr::V4(from), IpAddr::V6(to)) => (from.to_ipv6_mapped().into(), to.into()),
            (IpAddr::V6(from), IpAddr::V4(to)) => (from.into(), to.to_ipv6_mapped().into()),
            same => same,
        };
        match self {
            Self::V1 => {
                let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), own.port()).into_bytes()
            }
            Self::V2 => {
                let (family, addresses) = match (from, to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => (TCP4, [from.octets(), to.octets()].concat()),
                    (from, to) => (TCP6, [sixteen(from), sixteen(to)].concat()),
                };
                let length = (addresses.len() as u16 + 4).to_be_bytes();
                let ports = [client.port().to_be_bytes(), own.port().to_be_bytes()].concat();
                [SIGNATURE, &[PROXIED, family], &length, &addresses, &ports].concat()
            }
        }
    }
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: ProxyProtocol, client: &str, own: &str) -> Vec<u8> {
        version.header(client.parse().unwrap(), own.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line() {
        for (client, own, line) in [
            ("192.0.2.7:56324", "198.51.100.1:443", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"),
            ("[::ffff:192.0.2.7]:1", "[::ffff:198.51.100.1]:2", "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n"),
            ("[2001:db8::7]:1", "[2001:db8::1]:2", "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n"),
        ] {
            assert_eq!(header(ProxyProtocol::V1, client, own), line.as_bytes());
        }
    }

    #[test]
    fn a_client_without_an_address_is_unknown() {
        let own = Address::Ip("192.0.2.1:80".parse().unwrap());
        assert_eq!(ProxyProtocol::V1.header_of(Address::UNNAMED, own), b"PROXY UNKNOWN\r\n");
        let two = ProxyProtocol::V2.header_of(Address::UNNAMED, own);
        assert_eq!(two, [SIGNATURE, &[0x21, 0, 0, 0]].concat());
        assert_eq!(ProxyProtocol::V2.header_of_own(), [SIGNATURE, &[0x20, 0, 0, 0]].concat());
        let known = ProxyProtocol::V1.header_of(own, Address::UNNAMED);
        assert_eq!(known, b"PROXY TCP4 192.0.2.1 0.0.0.0 80 0\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let four = header(ProxyProtocol::V2, "192.0.2.7:258", "198.51.100.1:443");
        let expected =
            [SIGNATURE, &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 1, 187]].concat();
        assert_eq!(four, expected);
        let six = header(ProxyProtocol::V2, "[2001:db8::7]:258", "192.0.2.1:443");
        assert_eq!(six[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(six.len(), 16 + 36);
    }
}
