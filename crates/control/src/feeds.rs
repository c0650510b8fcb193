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
use narthex_net::Clock;
use narthex_proxy::{Member, Rules, Snapshot, State};
use narthex_wire::Address;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::compile::{Discovered, Keep, Named};
use crate::health::{self, Checks};

/// How long activation waits for the first answer of new feeds.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// What a service's looking-up depends on: unchanged, it goes on.
#[derive(Clone, PartialEq)]
struct Wanted {
    fixed: Vec<Member>,
    names: Vec<Named>,
    dns: DnsSettings,
    rules: Rules,
    checks: Option<Checks>,
}

/// A service whose instances follow feeds.
struct Followed {
    wanted: Wanted,
    state: Arc<State>,
    /// Held: they end with it.
    _tasks: Vec<Ends>,
}

/// Ends a task when it is dropped.
pub struct Ends(JoinHandle<()>);

impl Ends {
    pub fn new(task: JoinHandle<()>) -> Self {
        Self(task)
    }
}

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
    pub async fn start(
        &mut self,
        keep: &mut Keep,
        discovered: Vec<Discovered>,
        snapshot: &Snapshot,
        clock: &Clock,
    ) {
        let Begun { waits, checked } = self.follow(keep, discovered, clock);
        let new: Vec<_> = keep.all_feeds().filter(|feed| feed.core().start(spawn)).collect();
        let all = async {
            for feed in &new {
                feed.core().attempted().await;
            }
            for wait in waits {
                wait.notified().await;
            }
            // Nobody is sent to an instance that was not asked whether it is well.
            for (service, state) in &checked {
                health::first_results(service, state, clock).await;
            }
        };
        if tokio::time::timeout(FIRST_ANSWER, all).await.is_err() {
            tracing::warn!("not everything that is looked up was answered in time: going live without it");
        }
        report(snapshot);
        keep.tidy();
    }

    fn follow(&mut self, keep: &mut Keep, discovered: Vec<Discovered>, clock: &Clock) -> Begun {
        self.services.retain(|name, followed| {
            let stays = discovered.iter().any(|one| one.service == *name);
            if !stays {
                followed.state.retire();
            }
            stays
        });
        let mut begun = Begun::default();
        for one in discovered {
            let Discovered { service, state, fixed, names, dns, rules, checks } = one;
            let wanted = Wanted { fixed, names, dns, rules, checks };
            if self.services.get(&service).is_some_and(|followed| followed.wanted == wanted) {
                continue;
            }
            // The old tasks end before the new ones begin: two would each judge.
            self.services.remove(&service);
            let followed = begin(keep, &service, state, wanted, clock, &mut begun);
            self.services.insert(service, followed);
        }
        begun
    }
}

/// What activation waits for.
#[derive(Default)]
struct Begun {
    waits: Vec<Arc<Notify>>,
    checked: Vec<(String, Arc<State>)>,
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
    fixed: Vec<Member>,
    found: Mutex<Vec<Option<Vec<Member>>>>,
    state: Arc<State>,
}

impl Parts {
    fn publish(&self, at: usize, addresses: Vec<Member>) {
        let mut found = self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        found[at] = Some(addresses);
        let all: Vec<_> = self.fixed.iter().chain(found.iter().flatten().flatten()).cloned().collect();
        self.state.update(&all);
    }
}

fn begin(
    keep: &mut Keep,
    service: &str,
    state: Arc<State>,
    wanted: Wanted,
    clock: &Clock,
    begun: &mut Begun,
) -> Followed {
    // First the rules: who comes under active checks waits for the first one.
    state.govern(wanted.rules.clone(), clock.monotonic());
    let mut tasks = Vec::new();
    if wanted.names.is_empty() || !wanted.fixed.is_empty() {
        state.update(&wanted.fixed);
    }
    if !wanted.names.is_empty() {
        look_up_all(keep, service, &state, &wanted, &mut tasks, begun);
    }
    if wanted.rules.needs_keeper() {
        let keeping = health::keep(service.to_owned(), Arc::clone(&state), clock.clone());
        tasks.push(Ends(tokio::spawn(keeping)));
    }
    if let Some(checks) = &wanted.checks {
        let checking = health::check(service.into(), Arc::clone(&state), Arc::new(checks.clone()));
        tasks.push(Ends(tokio::spawn(checking)));
        begun.checked.push((service.to_owned(), Arc::clone(&state)));
    }
    Followed { wanted, state, _tasks: tasks }
}

fn look_up_all(
    keep: &mut Keep,
    service: &str,
    state: &Arc<State>,
    wanted: &Wanted,
    tasks: &mut Vec<Ends>,
    begun: &mut Begun,
) {
    let parts = Arc::new(Parts {
        fixed: wanted.fixed.clone(),
        found: Mutex::new(vec![None; wanted.names.len()]),
        state: Arc::clone(state),
    });
    for (at, named) in wanted.names.iter().enumerate() {
        let first = Arc::new(Notify::new());
        begun.waits.push(Arc::clone(&first));
        let follower = Follower {
            addresses: addresses_of(keep, &named.name, wanted.dns),
            parts: Arc::clone(&parts),
            at,
            named: named.clone(),
            service: service.to_owned(),
        };
        tasks.push(Ends(tokio::spawn(follower.follow(first))));
    }
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
    named: Named,
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
            let Named { port, weight, place, .. } = &self.named;
            let instance = |ip: &IpAddr| Member {
                address: Address::Ip(SocketAddr::new(*ip, *port)),
                weight: *weight,
                place: place.clone(),
            };
            let addresses: Option<Vec<_>> = self.addresses.read(|all| all.iter().map(instance).collect());
            if let Some(addresses) = addresses.filter(|addresses| *addresses != known) {
                let at: Vec<_> = addresses.iter().map(|member| member.address).collect();
                tracing::info!(service, addresses = ?at, "instances changed");
                self.parts.publish(self.at, addresses.clone());
                known = addresses;
            }
            first.notify_one();
        }
    }
}
