//! Connections that a balancer passes on: its header says who the client is. Read before anything else, TLS included, from
//! peers that are listed and from nobody else; bounded in bytes and time.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use narthex_net::{Deadline, Proxied, Stream};

use crate::worker::Worker;

/// An IP network.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    pub ip: IpAddr,
    /// Leading bits that count.
    pub bits: u8,
}

impl Network {
    pub fn has(self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0) & (own.to_bits() ^ ip.to_bits())
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0)
                    & (own.to_bits() ^ ip.to_bits())
                    == 0
            }
            _ => false,
        }
    }
}

/// Which peers send the header, and what it may cost.
#[derive(Debug, Clone, Default)]
pub struct ProxiedRules {
    pub from: Vec<Network>,
    pub bytes: usize,
    pub time: Duration,
}

impl ProxiedRules {
    /// Whether this peer must begin with a header.
    pub fn covers(&self, peer: IpAddr) -> bool {
        self.from.iter().any(|network| network.has(peer))
    }

    /// Reads the header. `Err`: there is none, and why.
    pub async fn client(
        &self,
        stream: &mut Stream,
        peer: SocketAddr,
        worker: &Worker,
    ) -> Result<SocketAddr, &'static str> {
        worker.refresh();
        let due = worker.due(self.time);
        let mut deadline = Deadline::default();
        let mut seen = vec![0; self.bytes];
        let mut count = 0;
        poll_fn(|cx| {
            while let Poll::Ready(peeked) = stream.poll_peek(cx, &mut seen, count) {
                let Ok(peeked) = peeked else { return Poll::Ready(Err("the connection broke")) };
                if peeked <= count {
                    return Poll::Ready(Err("the connection ended before its header"));
                }
                count = peeked;
                match narthex_net::read_proxied(&seen[..count], self.bytes) {
                    Proxied::Partial => {}
                    Proxied::Invalid(what) => return Poll::Ready(Err(what)),
                    Proxied::Header { length, client } => {
                        let taken = stream.take(&mut seen[..length]).is_ok();
                        let client = client.unwrap_or(peer);
                        return Poll::Ready(taken.then_some(client).ok_or("the connection broke"));
                    }
                }
            }
            deadline.poll(cx, worker.clock(), due).map(|()| Err("no whole header in time"))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_what_begins_like_it() {
        let network = |ip: &str, bits| Network { ip: ip.parse().unwrap(), bits };
        for (network, ip, is_in) in [
            (network("10.0.0.0", 8), "10.255.0.1", true),
            (network("10.0.0.0", 8), "11.0.0.1", false),
            (network("10.0.0.0", 8), "::ffff:10.1.1.1", true),
            (network("0.0.0.0", 0), "192.0.2.1", true),
            (network("192.0.2.1", 32), "192.0.2.2", false),
            (network("fd00::", 8), "fdff::1", true),
            (network("fd00::", 8), "fe80::1", false),
            (network("::", 0), "2001:db8::1", true),
            (network("::", 0), "192.0.2.1", false),
        ] {
            assert_eq!(network.has(ip.parse().unwrap()), is_in, "{network:?} {ip}");
        }
    }
}
