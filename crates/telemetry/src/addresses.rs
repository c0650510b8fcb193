//! Addresses as text for the access log: the same few come again and again, and digits are dear.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

/// Texts that are kept; a power of two.
const PLACES: usize = 64;
/// `[`, an IPv6 address with an embedded IPv4 one, `]:` and a port; a scope makes it longer, and is cut.
const LONGEST: usize = 56;

#[derive(Debug, Clone, Copy)]
struct Kept {
    address: SocketAddr,
    has_port: bool,
    text: [u8; LONGEST],
    len: u8,
}

/// Where each address has one place, that it shares with others: who comes last stays.
#[derive(Debug, Default)]
pub struct Addresses(Vec<Kept>);

impl Addresses {
    /// The address without a port.
    pub fn ip(&mut self, ip: IpAddr) -> &[u8] {
        let key = match ip {
            IpAddr::V4(ip) => ip.octets().into_iter().fold(0, |key, octet| key ^ usize::from(octet)),
            IpAddr::V6(ip) => ip.octets().into_iter().fold(0, |key, octet| key ^ usize::from(octet)),
        };
        self.text(key, SocketAddr::new(ip, 0), false)
    }

    /// The address and its port.
    pub fn socket(&mut self, address: SocketAddr) -> &[u8] {
        let low = match address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        self.text(usize::from(address.port()) ^ usize::from(low) ^ (PLACES / 2), address, true)
    }

    #[inline]
    fn text(&mut self, key: usize, address: SocketAddr, has_port: bool) -> &[u8] {
        if self.0.is_empty() {
            self.0.resize(PLACES, Kept::new(address, has_port));
        }
        let place = &mut self.0[key % PLACES];
        if place.has_port != has_port || place.address != address {
            *place = Kept::new(address, has_port);
        }
        &place.text[..usize::from(place.len)]
    }
}

impl Kept {
    #[cold]
    fn new(address: SocketAddr, has_port: bool) -> Self {
        let mut text = [0; LONGEST];
        let mut rest = &mut text[..];
        // What does not fit is cut: an address of the kernel's fits.
        let _ = match (has_port, address) {
            (true, address) => write!(rest, "{address}"),
            (false, SocketAddr::V4(address)) => write!(rest, "{}", SocketAddrV4::ip(&address)),
            (false, SocketAddr::V6(address)) => write!(rest, "{}", address.ip()),
        };
        let len = (LONGEST - rest.len()) as u8;
        Self { address, has_port, text, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_each_address_as_the_formatter_does_however_they_follow() {
        let mut addresses = Addresses::default();
        let all: Vec<SocketAddr> = (0..300u16)
            .flat_map(|at| {
                [format!("10.{}.2.{}:{at}", at % 7, at % 251), format!("[2001:db8::{at:x}]:{}", at * 7)]
            })
            .map(|text| text.parse().unwrap())
            .collect();
        for round in 0..3 {
            for address in all.iter().skip(round) {
                assert_eq!(addresses.socket(*address), address.to_string().as_bytes());
                assert_eq!(addresses.ip(address.ip()), address.ip().to_string().as_bytes());
                assert_eq!(addresses.socket(*address), address.to_string().as_bytes());
            }
        }
    }
}
