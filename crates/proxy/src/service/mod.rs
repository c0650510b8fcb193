//! A service: its instances, its bounds, its shared accounts. Lives as long as any snapshot names it.

mod adaptive;
mod breaker;
mod budget;
mod call;
mod outcome;
mod pick;
mod pool;
mod queue;
mod retry;

pub use adaptive::{Adaptive, AdaptiveRules};
pub use breaker::{Breaker, BreakerRules, Pass, Phase as Circuit, Slow};
pub use budget::Budget;
pub use call::{Call, Calling, Failure};
pub use outcome::{Outcome, http_of_grpc};
pub use pick::Balance;
pub use pool::Pools;
pub use queue::Queue;
pub use retry::{Cause, Causes, RetryRules, StatusSet, Stop, Tried, Verdict, retry_after};

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use narthex_net::H2Limits;
use narthex_net::tls::ClientTls;
use narthex_telemetry::ServiceSeries;
use narthex_wire::{Authority, Limits};

/// The protocol spoken to a service's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// HTTP/2: by prior knowledge on plain TCP, by ALPN on TLS.
    Http2,
    /// What the instance chooses by ALPN.
    Auto,
}

/// Which host a service is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// What the client asked for.
    Keep,
    /// This text: the service's own name, or one that was configured.
    Fixed(Authority),
}

/// A service's time-outs.
#[derive(Debug, Clone, Copy)]
pub struct ServiceTimes {
    pub connect: Duration,
    /// For the TLS handshake.
    pub tls: Duration,
    /// From the request's last byte to the response's head.
    pub first_byte: Duration,
    /// Between two reads of the response's body.
    pub idle: Duration,
    /// For the service to take the next bytes.
    pub write: Duration,
    /// How long a tunnel may carry nothing.
    pub tunnel_idle: Duration,
    /// For one of the service's connections to come free.
    pub pending: Duration,
    /// How long an unused connection is kept.
    pub keep: Duration,
}

impl Default for ServiceTimes {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            tls: Duration::from_secs(2),
            first_byte: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            pending: Duration::from_secs(1),
            keep: Duration::from_secs(60),
        }
    }
}

/// What a service is made of, fixed for one configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub protocol: Protocol,
    /// TLS to the instances; replaced as a whole when one of its files changes.
    pub tls: Option<Arc<ArcSwap<ClientTls>>>,
    pub host: HostRule,
    /// The service's own host and port: what it is told where the client asked for none (HTTP/1.0).
    pub authority: Authority,
    pub balance: Balance,
    pub times: ServiceTimes,
    pub limits: Limits,
    pub h2: H2Limits,
    pub max_connections: usize,
    pub max_requests: usize,
    /// Requests that wait for one of the connections.
    pub max_pending: usize,
    /// The service is told how long its answer is waited for, even where the client said nothing.
    pub pass_deadline: bool,
    /// 1xx responses before the final one.
    pub max_interim: u32,
    /// Idle connections that one worker keeps to one instance.
    pub idle_connections: usize,
    pub retry: RetryRules,
    pub budget: Budget,
    /// `None`: it is asked however it does.
    pub breaker: Option<BreakerRules>,
    /// `None`: `max_requests` alone counts.
    pub adaptive: Option<AdaptiveRules>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http1,
            tls: None,
            host: HostRule::Keep,
            authority: Authority::parse("localhost").expect("it is a host name"),
            balance: Balance::RoundRobin,
            times: ServiceTimes::default(),
            limits: Limits::default(),
            h2: H2Limits::default(),
            max_connections: 10_000,
            max_requests: 100_000,
            max_pending: 1_024,
            pass_deadline: false,
            max_interim: 16,
            idle_connections: 128,
            retry: RetryRules::default(),
            budget: Budget::default(),
            breaker: None,
            adaptive: None,
        }
    }
}

impl Settings {
    /// Whether anything here learns from the outcome of tries.
    fn is_observed(&self) -> bool {
        self.breaker.is_some() || self.adaptive.is_some()
    }
}

/// A named upstream.
pub struct Service {
    pub name: Arc<str>,
    pub settings: Settings,
    pub series: Arc<ServiceSeries>,
    state: Arc<State>,
    /// Somebody learns from the outcome of each try.
    is_observed: bool,
}

/// What outlives a reload, as long as the service keeps its name.
pub struct State {
    instances: ArcSwap<InstanceSet>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// Of the requests, those that were sent before.
    retries: AtomicUsize,
    /// Requests that wait for a connection.
    pending: AtomicUsize,
    queue: Queue,
    /// Somebody found the service at its maximum of connections: who has an idle one gives it up.
    wanted: AtomicBool,
    breaker: Breaker,
    adaptive: Adaptive,
}

impl Service {
    pub fn new(name: Arc<str>, settings: Settings, series: Arc<ServiceSeries>, state: Arc<State>) -> Self {
        let is_observed = settings.is_observed();
        series.show_circuit(settings.breaker.is_some().then(|| state.breaker.phase() as u64));
        Self { name, settings, series, state, is_observed }
    }

    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// How many requests it may have in work as its answers' times say; `None`: that is not looked at.
    pub fn adaptive_limit(&self) -> Option<usize> {
        self.settings.adaptive.as_ref().map(|rules| self.state.adaptive.limit(rules))
    }

    /// How its circuit stands; `None`: it has none.
    pub fn circuit(&self) -> Option<Circuit> {
        self.settings.breaker.is_some().then(|| self.state.breaker.phase())
    }

    /// Whether `observe` does anything: a plain service's tries are not watched.
    pub fn is_observed(&self) -> bool {
        self.is_observed
    }

    pub fn instances(&self) -> Arc<InstanceSet> {
        self.state.instances.load_full()
    }
}

impl State {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            instances: ArcSwap::from_pointee(InstanceSet::default()),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            retries: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            queue: Queue::default(),
            wanted: AtomicBool::new(false),
            breaker: Breaker::default(),
            adaptive: Adaptive::default(),
        })
    }

    /// These addresses are the service from now on. Instances that stay keep their accounts; those that are gone
    /// finish what they have begun.
    pub fn update(&self, addresses: &[(SocketAddr, u32)]) {
        let old = self.instances.load_full();
        let instances: Vec<_> = addresses
            .iter()
            .map(|(address, weight)| {
                let same = old.all.iter().find(|known| known.address == *address && known.weight == *weight);
                same.map_or_else(|| Arc::new(Instance::new(*address, *weight)), Arc::clone)
            })
            .collect();
        for known in &old.all {
            if !instances.iter().any(|kept| Arc::ptr_eq(kept, known)) {
                known.removed.store(true, Ordering::Release);
            }
        }
        self.instances.store(Arc::new(InstanceSet::new(instances)));
    }

    /// No configuration names the service any more: idle connections to it are closed. Exchanges that began before still
    /// find its instances.
    pub fn retire(&self) {
        for instance in &self.instances.load().all {
            instance.removed.store(true, Ordering::Release);
        }
    }

    /// Requests that are being answered.
    pub fn requests_in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn retries_in_flight(&self) -> usize {
        self.retries.load(Ordering::Relaxed)
    }

    /// A place for one more retry, where the budget has one.
    pub fn enter_retry(self: &Arc<Self>, budget: &Budget) -> Option<Place> {
        let retries = self.retries.fetch_add(1, Ordering::AcqRel);
        let place = Place { state: Arc::clone(self), counted: Counted::Retry };
        budget.allows(self.requests_in_flight(), retries).then_some(place)
    }

    /// Requests that wait for a connection.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Who waits for a connection.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    fn count(&self, counted: Counted) -> &AtomicUsize {
        match counted {
            Counted::Request => &self.requests,
            Counted::Connection => &self.connections,
            Counted::Retry => &self.retries,
            Counted::Pending => &self.pending,
        }
    }

    /// Takes a place among at most `max`; given back on drop.
    fn enter(self: &Arc<Self>, counted: Counted, max: usize) -> Option<Place> {
        let count = self.count(counted);
        if count.fetch_add(1, Ordering::AcqRel) < max {
            return Some(Place { state: Arc::clone(self), counted });
        }
        count.fetch_sub(1, Ordering::AcqRel);
        None
    }
}

/// What a place is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Request,
    Connection,
    Retry,
    Pending,
}

/// One place of a maximum.
pub struct Place {
    state: Arc<State>,
    counted: Counted,
}

impl Place {
    /// Whether somebody was refused for want of a connection; that is answered with this one.
    fn is_wanted(&self) -> bool {
        self.state.wanted.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.state.count(self.counted).fetch_sub(1, Ordering::AcqRel);
        if self.counted == Counted::Connection {
            self.state.queue.wake_one();
        }
    }
}

/// One address of a service.
pub struct Instance {
    /// Unique in this process: the key of its pools.
    pub id: u64,
    pub address: SocketAddr,
    pub weight: u32,
    in_flight: AtomicU32,
    removed: AtomicBool,
}

impl Instance {
    fn new(address: SocketAddr, weight: u32) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address,
            weight,
            in_flight: AtomicU32::new(0),
            removed: AtomicBool::new(false),
        }
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// No longer one of its service's: its idle connections are closed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// The instances of a service at one moment.
#[derive(Default)]
pub struct InstanceSet {
    pub all: Vec<Arc<Instance>>,
    /// Indexes in the order of smooth weighted round robin.
    schedule: Box<[u16]>,
}

impl InstanceSet {
    fn new(all: Vec<Arc<Instance>>) -> Self {
        let weights: Vec<_> = all.iter().map(|instance| instance.weight).collect();
        Self { schedule: pick::schedule(&weights), all }
    }
}
