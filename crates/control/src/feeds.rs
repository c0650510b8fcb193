//! Background data of the live configuration: names that are looked up again and again.
//!
//! `check` starts none; activation does; what both configurations want goes on undisturbed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use narthex_discovery::Discovery;
use narthex_discovery::dns::{Dns, DnsSettings};
use narthex_proxy::State;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::compile::Discovered;

/// How long activation waits for the first answer of a new name.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// What a service's looking-up depends on: unchanged, it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    fixed: Vec<(SocketAddr, u32)>,
    names: Vec<(String, u16, u32)>,
    dns: DnsSettings,
}

struct Feed {
    wanted: Wanted,
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// By service.
#[derive(Default)]
pub struct Feeds {
    feeds: BTreeMap<String, Feed>,
}

impl Feeds {
    /// Gives fixed addresses to their services and starts looking names up. Returns when each new name was
    /// answered, or has had its time.
    pub async fn start(&mut self, discovered: Vec<Discovered>) {
        self.feeds.retain(|name, feed| {
            let stays = discovered.iter().any(|one| one.service == *name);
            if !stays {
                feed.state.retire();
            }
            stays
        });
        let mut waits = Vec::new();
        for one in discovered {
            let wanted = Wanted { fixed: one.fixed, names: one.names, dns: one.dns };
            if self.feeds.get(&one.service).is_some_and(|feed| feed.wanted == wanted) {
                continue;
            }
            let (feed, wait) = begin(&one.service, one.state, wanted);
            self.feeds.insert(one.service, feed);
            waits.extend(wait);
        }
        let all = async {
            for wait in waits {
                wait.notified().await;
            }
        };
        if tokio::time::timeout(FIRST_ANSWER, all).await.is_err() {
            tracing::warn!("some names are not resolved yet: their services have no instance until they are");
        }
    }
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

fn begin(service: &str, state: Arc<State>, wanted: Wanted) -> (Feed, Vec<Arc<Notify>>) {
    if wanted.names.is_empty() {
        state.update(&wanted.fixed);
        return (Feed { wanted, state, tasks: Vec::new() }, Vec::new());
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
    for (at, (name, port, weight)) in wanted.names.iter().cloned().enumerate() {
        let first = Arc::new(Notify::new());
        waits.push(Arc::clone(&first));
        let (parts, service, dns) = (Arc::clone(&parts), service.to_owned(), Dns::new(name, wanted.dns));
        tasks.push(tokio::spawn(follow(dns, parts, at, (port, weight), service, first)));
    }
    (Feed { wanted, state, tasks }, waits)
}

/// Publishes every answer that differs; a failure keeps what was known and says so.
async fn follow(
    mut dns: Dns,
    parts: Arc<Parts>,
    at: usize,
    (port, weight): (u16, u32),
    service: String,
    first: Arc<Notify>,
) {
    let mut known = Vec::new();
    loop {
        match dns.next().await {
            Ok(addresses) => {
                let addresses: Vec<_> =
                    addresses.into_iter().map(|ip| (SocketAddr::new(ip, port), weight)).collect();
                if addresses != known {
                    tracing::info!(service, ?addresses, "instances changed");
                    parts.publish(at, addresses.clone());
                    known = addresses;
                }
            }
            Err(trouble) => {
                tracing::warn!(service, %trouble, "cannot look a name up: the last known instances stay");
            }
        }
        first.notify_one();
    }
}
