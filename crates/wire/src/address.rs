//! Where the other end of a connection is: a TCP address or a Unix socket. A plain value; it looks nothing up and opens
//! nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

/// A TCP address or the path of a Unix socket, shown as `unix:/run/app.sock`; a client of a Unix socket has no path and is
/// shown as `unix:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Ip(SocketAddr),
    Unix(UnixPath),
}

/// The path of a Unix socket. Each is kept once and for as long as the process lives, so that an address is as cheap to
/// copy as a number: only what a configuration names becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixPath(&'static str);

/// The paths that there are.
static PATHS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

impl UnixPath {
    pub fn new(path: &str) -> Self {
        if path.is_empty() {
            return Self("");
        }
        // A list that a panic has left is whole all the same: each change is one call.
        let mut paths = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = paths.iter().find(|known| **known == path).copied();
        Self(known.unwrap_or_else(|| {
            let kept: &'static str = Box::leak(path.into());
            paths.push(kept);
            kept
        }))
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl Address {
    /// A client of a Unix socket.
    pub const UNNAMED: Self = Self::Unix(UnixPath(""));

    pub fn unix(path: &str) -> Self {
        Self::Unix(UnixPath::new(path))
    }

    /// `None`: it is a Unix socket.
    pub fn socket(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix(_) => None,
        }
    }

    pub fn is_unix(self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// As what it is judged by addresses and networks: whoever is on a Unix socket is on this machine.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::Ip(address) => address.ip(),
            Self::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// An IPv4 address that came as an IPv6 one is an IPv4 address.
    #[must_use]
    pub fn to_canonical(self) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
            unix @ Self::Unix(_) => unix,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_once() {
        let (first, second) = (UnixPath::new("/run/a.sock"), UnixPath::new(&String::from("/run/a.sock")));
        assert!(std::ptr::eq(first.as_str(), second.as_str()));
        assert_ne!(first, UnixPath::new("/run/b.sock"));
    }

    #[test]
    fn each_kind_is_shown_and_judged() {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        assert_eq!(Address::unix("/run/a.sock").to_string(), "unix:/run/a.sock");
        assert_eq!(Address::UNNAMED.to_string(), "unix:");
        assert!(Address::UNNAMED.ip().is_loopback());
        assert_eq!(ip("[::ffff:192.0.2.1]:80").to_canonical(), ip("192.0.2.1:80"));
        assert_eq!(ip("[2001:db8::1]:80").to_canonical(), ip("[2001:db8::1]:80"));
        assert!(std::mem::size_of::<Address>() <= 32, "it is copied with each request");
    }
}
