//! What outlives a configuration: states, feeds, listeners' and services' indexes by name, and routes that did not change.
//!
//! Invariant: compiling works on a copy; a configuration that is refused, or only checked, leaves no trace here.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use ahash::AHashMap;
use narthex_contract::{
    AnyFeed, FeedKey, Fingerprint, KeepKey, RegisteredDestination, RegisteredPolicy, ServiceId,
};
use narthex_proxy::{Places, Route, State};

use super::Secured;
use super::chains::{GatewayPolicies, Placed};

/// The kinds of policies and destinations that a configuration may name.
#[derive(Clone)]
pub struct Kinds {
    pub policies: Vec<&'static dyn RegisteredPolicy>,
    pub destinations: Vec<&'static dyn RegisteredDestination>,
}

impl Default for Kinds {
    /// Those that come with the gateway.
    fn default() -> Self {
        Self {
            policies: narthex_policies::POLICIES.to_vec(),
            destinations: narthex_destinations::DESTINATIONS.to_vec(),
        }
    }
}

impl Kinds {
    /// The names of the kinds of destinations.
    pub fn destination_names(&self) -> Vec<&'static str> {
        self.destinations.iter().map(|kind| kind.name()).collect()
    }
}

impl std::fmt::Debug for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.policies.iter().map(|kind| kind.name()))
            .entries(self.destination_names())
            .finish()
    }
}

/// By name. What policies keep is held weakly: it lives as long as a snapshot that uses it.
#[derive(Default)]
pub struct Keep {
    pub kinds: Kinds,
    pub services: AHashMap<String, Arc<State>>,
    /// The indexes of listeners, by (name, address): stable as long as both are.
    pub listeners: Vec<(String, SocketAddr)>,
    /// Who is connected to a listener, by its name.
    pub places: AHashMap<String, Arc<Places>>,
    /// What holds certificates, as it is in use, by kind and name.
    pub secured: AHashMap<(&'static str, String), Secured>,
    /// The indexes of services, by name: stable as long as it is; a free one is `None`.
    pub(super) service_ids: Vec<Option<String>>,
    kept: AHashMap<KeepKey, Weak<dyn Any + Send + Sync>>,
    feeds: AHashMap<FeedKey, Weak<dyn AnyFeed>>,
    pub(super) gateways: AHashMap<String, Arc<KeptGateway>>,
}

/// A gateway as it was compiled last.
pub(super) struct KeptGateway {
    pub fingerprint: Fingerprint,
    pub reads: Reads,
    pub policies: Arc<GatewayPolicies>,
    pub routes: AHashMap<String, Arc<KeptRoute>>,
}

/// A route as it was compiled last, and all that this depended on.
pub(super) struct KeptRoute {
    pub fingerprint: Fingerprint,
    pub reads: Reads,
    /// The same policies of the gateway, not equal ones.
    pub policies: Arc<GatewayPolicies>,
    pub buffered_body: usize,
    pub route: Arc<Route>,
    pub placed: Vec<Placed>,
}

/// What was looked up by name while something was compiled, and what it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub policies: Vec<(String, Option<Fingerprint>)>,
    pub services: Vec<(String, Option<ServiceId>, Option<Fingerprint>)>,
}

impl Keep {
    /// A copy to compile with: a configuration that is refused must leave no trace.
    pub fn copy(&self) -> Self {
        Self {
            kinds: self.kinds.clone(),
            services: self.services.clone(),
            listeners: self.listeners.clone(),
            places: self.places.clone(),
            secured: self.secured.clone(),
            service_ids: self.service_ids.clone(),
            kept: self.kept.clone(),
            feeds: self.feeds.clone(),
            gateways: self.gateways.clone(),
        }
    }

    /// What this listener or service holds, as it is in use.
    pub(super) fn secured(&self, kind: &'static str, name: &str) -> Option<Secured> {
        self.secured.get(&(kind, name.to_owned())).cloned()
    }

    /// The state of this key, made where there is none or nothing holds it any more.
    pub(super) fn state(
        &mut self,
        key: KeepKey,
        make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync> {
        if let Some(alive) = self.kept.get(&key).and_then(Weak::upgrade) {
            return alive;
        }
        let made = make();
        self.kept.insert(key, Arc::downgrade(&made));
        made
    }

    /// The feed of this key, made where there is none or nothing reads it any more.
    pub fn feed(&mut self, key: &FeedKey, make: &mut dyn FnMut() -> Arc<dyn AnyFeed>) -> Arc<dyn AnyFeed> {
        if let Some(alive) = self.feeds.get(key).and_then(Weak::upgrade) {
            return alive;
        }
        let made = make();
        self.feeds.insert(key.clone(), Arc::downgrade(&made));
        made
    }

    /// Every feed that somebody reads.
    pub fn all_feeds(&self) -> impl Iterator<Item = Arc<dyn AnyFeed>> {
        self.feeds.values().filter_map(Weak::upgrade)
    }

    /// Forgets what nothing holds any more.
    pub fn tidy(&mut self) {
        self.kept.retain(|_, state| state.strong_count() > 0);
        self.feeds.retain(|_, feed| feed.strong_count() > 0);
        self.places.retain(|_, places| Arc::strong_count(places) > 1);
    }

    /// Gives each of these services its index: the one that it had, or a free one.
    pub(super) fn number_services(&mut self, names: &[&str]) {
        let wanted: ahash::AHashSet<&str> = names.iter().copied().collect();
        let mut known = ahash::AHashSet::new();
        let mut free = Vec::new();
        for (index, entry) in self.service_ids.iter_mut().enumerate() {
            match entry {
                Some(name) if wanted.contains(name.as_str()) => drop(known.insert(name.clone())),
                _ => {
                    *entry = None;
                    free.push(index);
                }
            }
        }
        free.reverse();
        for name in names.iter().copied().filter(|name| !known.contains(*name)) {
            match free.pop() {
                Some(index) => self.service_ids[index] = Some(name.to_owned()),
                None => self.service_ids.push(Some(name.to_owned())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narthex_contract::{Feed, FeedOutput};

    #[test]
    fn a_service_keeps_its_index_and_a_free_one_is_used_again() {
        let mut keep = Keep::default();
        let mut numbered = |names: &[&str]| {
            keep.number_services(names);
            keep.service_ids.iter().map(|name| name.as_deref().unwrap_or("-").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(numbered(&["a", "b", "c"]), ["a", "b", "c"]);
        assert_eq!(numbered(&["x", "c", "a"]), ["a", "x", "c"]);
        assert_eq!(numbered(&["c"]), ["-", "-", "c"]);
        assert_eq!(numbered(&["c", "d", "e", "f"]), ["d", "e", "c", "f"]);
    }

    #[test]
    fn a_copy_leaves_no_trace_and_nothing_is_held() {
        let keep = Keep::default();
        let key = FeedKey::new::<u32>("n");
        let mut make = || -> Arc<dyn AnyFeed> {
            Feed::new(FeedKey::new::<u32>("n"), |_: FeedOutput<u32>| std::future::ready(())).erased()
        };
        let mut copy = keep.copy();
        let one = copy.feed(&key, &mut make);
        let other = copy.feed(&key, &mut make);
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((keep.all_feeds().count(), copy.all_feeds().count()), (0, 1));
        drop((one, other));
        copy.tidy();
        assert_eq!((copy.all_feeds().count(), copy.feeds.len()), (0, 0));
    }
}
