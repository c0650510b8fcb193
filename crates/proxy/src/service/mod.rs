//! A service: its instances, its bounds, its shared accounts. Lives as long as any snapshot names it.

mod call;
mod pick;
mod pool;

pub use call::{Call, Calling, Failure};
pub use pick::Balance;
pub use pool::Pools;

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
    /// 1xx responses before the final one.
    pub max_interim: u32,
    /// Idle connections that one worker keeps to one instance.
    pub idle_connections: usize,
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
            max_interim: 16,
            idle_connections: 128,
        }
    }
}

/// A named upstream.
pub struct Service {
    pub name: Arc<str>,
    pub settings: Settings,
    pub series: Arc<ServiceSeries>,
    state: Arc<State>,
}

/// What outlives a reload, as long as the service keeps its name.
pub struct State {
    instances: ArcSwap<InstanceSet>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// Somebody found the service at its maximum of connections: who has an idle one gives it up.
    wanted: AtomicBool,
}

impl Service {
    pub fn new(name: Arc<str>, settings: Settings, series: Arc<ServiceSeries>, state: Arc<State>) -> Self {
        Self { name, settings, series, state }
    }

    pub fn state(&self) -> &Arc<State> {
        &self.state
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
            wanted: AtomicBool::new(false),
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

    /// Takes a place among at most `max`; given back on drop.
    fn enter(self: &Arc<Self>, which: fn(&Self) -> &AtomicUsize, max: usize) -> Option<Place> {
        let count = which(self).fetch_add(1, Ordering::AcqRel);
        let place = Place { state: Arc::clone(self), which };
        (count < max).then_some(place)
    }
}

/// One place of a maximum.
pub struct Place {
    state: Arc<State>,
    which: fn(&State) -> &AtomicUsize,
}

impl Place {
    /// Whether somebody was refused for want of a connection; that is answered with this one.
    fn is_wanted(&self) -> bool {
        self.state.wanted.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.which)(&self.state).fetch_sub(1, Ordering::AcqRel);
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
