//! Places on a listener: how many connections it has, and how many each client has. Shared by all workers, kept over
//! reloads. Held while a connection lives; knows no socket and answers nobody.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::{AHashMap, RandomState};

/// Tables of clients: two that connect at once rarely meet in one.
const SHARDS: usize = 16;

/// A client as it is counted: an IPv4 address, or the /64 of an IPv6 one, which is what one subscriber gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(u64);

impl Client {
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(u64::from(ip.to_bits())),
            // The first bit tells it from the others; of the networks in use none differ in it alone.
            IpAddr::V6(ip) => Self((ip.to_bits() >> 64) as u64 | 1 << 63),
        }
    }
}

/// The connections of one listener.
#[derive(Debug, Default)]
pub struct Places {
    connections: AtomicUsize,
    clients: [Mutex<AHashMap<Client, u32>>; SHARDS],
    hasher: RandomState,
}

impl Places {
    /// A place for a connection, if fewer than `bound` are taken.
    pub fn take(self: &Arc<Self>, bound: usize) -> Option<Place> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= bound {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place { places: Arc::clone(self), client: None })
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, AHashMap<Client, u32>> {
        let at = self.hasher.hash_one(client) as usize % SHARDS;
        // A table that a panic has left is whole all the same: each change is one call.
        self.clients[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; given back on drop.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    client: Option<Client>,
}

impl Place {
    /// Counts the connection as one of its client's. `false`: the client has `bound` already. Without a bound nobody is
    /// counted.
    pub fn count(&mut self, ip: IpAddr, bound: u32) -> bool {
        if bound == u32::MAX {
            return true;
        }
        let client = Client::of(ip);
        let mut clients = self.places.shard(client);
        let count = clients.entry(client).or_default();
        if *count >= bound {
            return false;
        }
        *count += 1;
        self.client = Some(client);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.places.shard(client);
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let places = Arc::new(Places::default());
        let first = places.take(2).unwrap();
        let _second = places.take(2).unwrap();
        assert!(places.take(2).is_none());
        assert_eq!(places.connections(), 2);
        drop(first);
        assert!(places.take(2).is_some());
    }

    #[test]
    fn each_client_has_its_own() {
        let places = Arc::new(Places::default());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut held = Vec::new();
        let mut take = |client: &str| {
            let mut place = places.take(100).unwrap();
            let is_counted = place.count(ip(client), 2);
            held.push(place);
            is_counted
        };
        assert!(take("192.0.2.1") && take("::ffff:192.0.2.1"), "the same client in two forms");
        assert!(!take("192.0.2.1"));
        assert!(take("192.0.2.2"));
        assert!(take("2001:db8::1") && take("2001:db8::2:0:0:1"), "one /64");
        assert!(!take("2001:db8::ffff"));
        assert!(take("2001:db8:0:1::1"));
        drop(held);
        assert!(places.clients.iter().all(|shard| shard.lock().unwrap().is_empty()), "nobody is kept");
        assert_eq!(places.connections(), 0);
    }

    #[test]
    fn without_a_bound_nobody_is_counted() {
        let places = Arc::new(Places::default());
        let mut place = places.take(1).unwrap();
        assert!(place.count("192.0.2.1".parse().unwrap(), u32::MAX));
        assert_eq!(place.client, None);
    }
}
