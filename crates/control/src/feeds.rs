//! Background data of the live configuration: every feed that it reads, and what follows feeds without being asked: the
//! instances of services whose names are looked up again and again.
//!
//! `check` starts none; activation does; what both configurations want goes on undisturbed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use narthex_contract::{AnyFeed, Feed, FeedKey, FeedOutput, FeedTask};
use narthex_discovery::Discovery;
use narthex_discovery::dns::{Dns, DnsSettings};
use narthex_proxy::{Snapshot, State};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::compile::{Discovered, Keep};

/// How long activation waits for the first answer of new feeds.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// What a service's looking-up depends on: unchanged, it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    fixed: Vec<(SocketAddr, u32)>,
    names: Vec<(String, u16, u32)>,
    dns: DnsSettings,
}

/// A service whose instances follow feeds.
struct Followed {
    wanted: Wanted,
    state: Arc<State>,
    /// Held: they end with it.
    _tasks: Vec<Ends>,
}

/// Ends a task when it is dropped.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What somebody waits for: a policy or destination of a route, and a feed that has brought nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub gateway: String,
    /// Empty where it stands before routing.
    pub route: String,
    /// The policy, or the kind of destination.
    pub policy: String,
    pub feed: String,
    /// What the last attempt met with.
    pub trouble: Option<String>,
}

/// All that is closed for want of data.
pub fn waiting(snapshot: &Snapshot) -> Vec<Waiting> {
    let mut all = Vec::new();
    snapshot.each_feed(&mut |label, policy, feed| {
        let core = feed.core();
        if !core.is_available() {
            let one = Waiting {
                gateway: label.gateway.to_string(),
                route: label.route.to_string(),
                policy: policy.to_string(),
                feed: core.key().text.to_string(),
                trouble: core.trouble().map(|trouble| trouble.to_string()),
            };
            if !all.contains(&one) {
                all.push(one);
            }
        }
    });
    all
}

/// What follows feeds, by service.
#[derive(Default)]
pub struct Feeds {
    services: BTreeMap<String, Followed>,
}

impl Feeds {
    /// Gives fixed addresses to their services, starts every feed that has not begun, and returns when each new one was
    /// answered, or has had its time.
    pub async fn start(&mut self, keep: &mut Keep, discovered: Vec<Discovered>, snapshot: &Snapshot) {
        let waits = self.follow(keep, discovered);
        let new: Vec<_> = keep.all_feeds().filter(|feed| feed.core().start(spawn)).collect();
        let all = async {
            for feed in &new {
                feed.core().attempted().await;
            }
            for wait in waits {
                wait.notified().await;
            }
        };
        if tokio::time::timeout(FIRST_ANSWER, all).await.is_err() {
            tracing::warn!("not everything that is looked up was answered in time: going live without it");
        }
        report(snapshot);
        keep.tidy();
    }

    fn follow(&mut self, keep: &mut Keep, discovered: Vec<Discovered>) -> Vec<Arc<Notify>> {
        self.services.retain(|name, followed| {
            let stays = discovered.iter().any(|one| one.service == *name);
            if !stays {
                followed.state.retire();
            }
            stays
        });
        let mut waits = Vec::new();
        for one in discovered {
            let wanted = Wanted { fixed: one.fixed, names: one.names, dns: one.dns };
            if self.services.get(&one.service).is_some_and(|followed| followed.wanted == wanted) {
                continue;
            }
            let (followed, wait) = begin(keep, &one.service, one.state, wanted);
            self.services.insert(one.service, followed);
            waits.extend(wait);
        }
        waits
    }
}

fn spawn(task: FeedTask) -> Box<dyn Send> {
    Box::new(Ends(tokio::spawn(task)))
}

/// Says what is closed, and says so again when it opens.
fn report(snapshot: &Snapshot) {
    for Waiting { gateway, route, policy, feed, trouble } in waiting(snapshot) {
        let trouble = trouble.unwrap_or_else(|| "nothing came yet".to_owned());
        tracing::warn!(gateway, route, policy, feed, trouble, "closed until it is there: policy_unavailable");
    }
    snapshot.each_feed(&mut |label, policy, feed| {
        let core = feed.core();
        if !core.is_available() {
            let (policy, key, label) =
                (policy.to_string(), core.key().text.to_string(), label.route.to_string());
            let available = core.available();
            tokio::spawn(async move {
                if available.await {
                    tracing::info!(route = label, policy, feed = key, "it is there: open");
                }
            });
        }
    });
}

/// The parts of a service's set: each name's addresses, in the order of the configuration.
struct Parts {
    fixed: Vec<(SocketAddr, u32)>,
    found: Mutex<Vec<Option<Vec<(SocketAddr, u32)>>>>,
    state: Arc<State>,
}

impl Parts {
    fn publish(&self, at: usize, addresses: Vec<(SocketAddr, u32)>) {
        let mut found = self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        found[at] = Some(addresses);
        let all: Vec<_> =
            self.fixed.iter().copied().chain(found.iter().flatten().flatten().copied()).collect();
        self.state.update(&all);
    }
}

fn begin(keep: &mut Keep, service: &str, state: Arc<State>, wanted: Wanted) -> (Followed, Vec<Arc<Notify>>) {
    if wanted.names.is_empty() {
        state.update(&wanted.fixed);
        return (Followed { wanted, state, _tasks: Vec::new() }, Vec::new());
    }
    if !wanted.fixed.is_empty() {
        state.update(&wanted.fixed);
    }
    let parts = Arc::new(Parts {
        fixed: wanted.fixed.clone(),
        found: Mutex::new(vec![None; wanted.names.len()]),
        state: Arc::clone(&state),
    });
    let (mut tasks, mut waits) = (Vec::new(), Vec::new());
    for (at, (name, port, weight)) in wanted.names.iter().enumerate() {
        let first = Arc::new(Notify::new());
        waits.push(Arc::clone(&first));
        let follower = Follower {
            addresses: addresses_of(keep, name, wanted.dns),
            parts: Arc::clone(&parts),
            at,
            port: *port,
            weight: *weight,
            service: service.to_owned(),
        };
        tasks.push(Ends(tokio::spawn(follower.follow(first))));
    }
    (Followed { wanted, state, _tasks: tasks }, waits)
}

/// The addresses of a name: one feed for all services that look the same name up in the same way.
fn addresses_of(keep: &mut Keep, name: &str, settings: DnsSettings) -> Feed<Vec<IpAddr>> {
    let key = FeedKey::new::<Vec<IpAddr>>(format!("addresses of {name} ({settings:?})"));
    let feed = keep.feed(&key, &mut || -> Arc<dyn AnyFeed> {
        let name = name.to_owned();
        Feed::new(key.clone(), move |output| look_up(Dns::new(name, settings), output)).erased()
    });
    Feed::of(feed).expect("the key holds the type")
}

async fn look_up(mut dns: Dns, output: FeedOutput<Vec<IpAddr>>) {
    loop {
        match dns.next().await {
            Ok(addresses) => output.set(addresses),
            Err(trouble) => output.fail(trouble.0),
        }
    }
}

/// One name of one service.
struct Follower {
    addresses: Feed<Vec<IpAddr>>,
    parts: Arc<Parts>,
    at: usize,
    port: u16,
    weight: u32,
    service: String,
}

impl Follower {
    /// Publishes every answer that differs; a failure keeps what was known and says so.
    async fn follow(self, first: Arc<Notify>) {
        let service = &*self.service;
        let (mut known, mut seen) = (Vec::new(), 0);
        loop {
            seen = self.addresses.next(seen).await;
            if let Some(trouble) = self.addresses.core().trouble() {
                tracing::warn!(service, %trouble, "cannot look a name up: the last known instances stay");
            }
            let instance = |ip: &IpAddr| (SocketAddr::new(*ip, self.port), self.weight);
            let addresses: Option<Vec<_>> = self.addresses.read(|all| all.iter().map(instance).collect());
            if let Some(addresses) = addresses.filter(|addresses| *addresses != known) {
                tracing::info!(service, ?addresses, "instances changed");
                self.parts.publish(self.at, addresses.clone());
                known = addresses;
            }
            first.notify_one();
        }
    }
}
