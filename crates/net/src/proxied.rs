//! The PROXY protocol's header as a receiver reads it: who the client of a connection is that a balancer passes on.
//! Versions 1 and 2 of <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. Sans-IO, the standard library alone:
//! strict, because whoever writes the header says who a client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Version 1's longest line.
const LINE_BYTES: usize = 107;
const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 before its addresses.
const FIXED_BYTES: usize = 16;

/// What the beginning of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// More must come.
    Partial,
    /// A whole header of so many bytes. `client`: none where the sender speaks for itself, or for no TCP client.
    Header { length: usize, client: Option<SocketAddr> },
    /// No header, or a broken one: what is wrong.
    Invalid(&'static str),
}

/// Reads the header that `bytes` begin with; `bound`: its most bytes.
pub fn read(bytes: &[u8], bound: usize) -> Proxied {
    let begins = |text: &[u8]| {
        let common = bytes.len().min(text.len());
        bytes[..common] == text[..common]
    };
    let read = if begins(WORD) {
        read_line(bytes)
    } else if begins(SIGNATURE) {
        read_binary(bytes)
    } else {
        Err("no header of the PROXY protocol")
    };
    match read {
        Ok(Some((length, _))) if length > bound => Proxied::Invalid("the header is over the bound"),
        Ok(Some((length, client))) if length <= bytes.len() => Proxied::Header { length, client },
        Ok(_) if bytes.len() >= bound => Proxied::Invalid("the header is over the bound"),
        Ok(_) => Proxied::Partial,
        Err(what) => Proxied::Invalid(what),
    }
}

/// How long the header is, and whose; `None`: not known yet.
type Found = Option<(usize, Option<SocketAddr>)>;

fn read_line(bytes: &[u8]) -> Result<Found, &'static str> {
    let line = &bytes[..bytes.len().min(LINE_BYTES)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return if line.len() == LINE_BYTES { Err("the line has no end") } else { Ok(None) };
    };
    let text = std::str::from_utf8(&line[WORD.len().min(end)..end]).map_err(|_| "the line is not text")?;
    let length = end + 2;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(Some((length, None)));
    }
    let mut words = text.split(' ');
    let mut next = || words.next().ok_or("the line is too short");
    let (family, from, to, from_port, to_port) = (next()?, next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err("the line is too long");
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (Some(from), Some(_)) = (address(from), address(to)) else { return Err("the line has no address") };
    let (Some(port), Some(_)) = (port(from_port), port(to_port)) else { return Err("the line has no port") };
    Ok(Some((length, Some(SocketAddr::new(from, port)))))
}

/// Digits alone, without a needless zero in front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

fn read_binary(bytes: &[u8]) -> Result<Found, &'static str> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else { return Ok(None) };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let whole = FIXED_BYTES + length;
    match command {
        // The balancer's own, a health check for example.
        0x20 => return Ok(Some((whole, None))),
        0x21 => {}
        _ => return Err("no version or command of the PROXY protocol"),
    }
    let needed = match family {
        0x11 => 12,
        0x21 => 36,
        // UDP, a Unix socket, nothing: whoever is connected is the client.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Ok(Some((whole, None))),
        _ => return Err("no family of the PROXY protocol"),
    };
    if length < needed {
        return Err("the header is too short for its addresses");
    }
    let Some(block) = rest.get(..needed) else { return Ok(Some((whole, None))) };
    let two = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let client = if family == 0x11 {
        let [a, b, c, d, ..] = *block else { return Ok(None) };
        SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), two(8))
    } else {
        let mut octets = [0; 16];
        octets.copy_from_slice(&block[..16]);
        SocketAddr::new(Ipv6Addr::from(octets).into(), two(32))
    };
    Ok(Some((whole, Some(client))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use narthex_wire::ProxyProtocol;
    use proptest::prelude::*;

    const BOUND: usize = 512;

    fn address() -> impl Strategy<Value = SocketAddr> {
        let four = any::<[u8; 4]>().prop_map(IpAddr::from);
        // Mapped ones are written as what they stand for.
        let six =
            any::<[u8; 16]>().prop_map(IpAddr::from).prop_filter("mapped", |ip| ip.to_canonical() == *ip);
        (prop_oneof![four, six], any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_every_part_of_it_is_partial(
            client in address(),
            own in address(),
            version in prop_oneof![Just(ProxyProtocol::V1), Just(ProxyProtocol::V2)],
        ) {
            let header = version.header(client, own);
            let mut sent = header.clone();
            sent.extend(b"GET / HTTP/1.1\r\n");
            let Proxied::Header { length, client: Some(read_client) } = read(&sent, BOUND) else {
                panic!("{:?}", read(&sent, BOUND));
            };
            prop_assert_eq!(length, header.len());
            prop_assert_eq!((read_client.ip().to_canonical(), read_client.port()), (client.ip(), client.port()));
            for end in 0..header.len() {
                prop_assert_eq!(read(&header[..end], BOUND), Proxied::Partial);
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..600), bound in 0usize..600) {
            if let Proxied::Header { length, .. } = read(&bytes, bound) {
                prop_assert!(length <= bytes.len() && length <= bound);
            }
        }
    }

    #[test]
    fn what_is_not_one_is_refused() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        let binary = |command: u8, family: u8, length: u16, rest: &[u8]| {
            [SIGNATURE, &[command, family], &length.to_be_bytes(), rest].concat()
        };
        for bytes in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY \r\n",
            b"PROXY\r\n",
            &long,
            &binary(0x11, 0x11, 12, &[0; 12]),
            &binary(0x22, 0x11, 12, &[0; 12]),
            &binary(0x21, 0x41, 12, &[0; 12]),
            &binary(0x21, 0x11, 11, &[0; 11]),
            &binary(0x21, 0x21, 35, &[0; 35]),
            &binary(0x21, 0x11, 600, &[0; 12]),
        ] {
            assert!(matches!(read(bytes, BOUND), Proxied::Invalid(_)), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn who_speaks_for_itself_is_the_client() {
        let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
        assert_eq!(read(&local, BOUND), Proxied::Header { length: 16, client: None });
        let unknown = b"PROXY UNKNOWN ffff::1 what ever\r\n";
        assert_eq!(read(unknown, BOUND), Proxied::Header { length: unknown.len(), client: None });
        let unix = [SIGNATURE, &[0x21, 0x31, 0, 3, 1, 2, 3]].concat();
        assert_eq!(read(&unix, BOUND), Proxied::Header { length: 19, client: None });
    }
}
