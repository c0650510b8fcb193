//! A service: its instances, its bounds, its shared accounts. Lives as long as any snapshot names it.

mod adaptive;
mod balance;
mod breaker;
mod budget;
mod call;
mod health;
mod outcome;
mod pool;
mod quantile;
mod queue;
mod retry;
mod state;

pub use adaptive::{Adaptive, AdaptiveRules};
pub use balance::{Balance, CookieRules, InstanceSet, SameSite, Spread, Sticky, StickyKey, Subset, Wish};
pub use breaker::{Breaker, BreakerRules, Pass, Phase as Circuit, Slow};
pub use budget::Budget;
pub use call::{Call, Calling, Failure};
pub use health::{
    CheckRules, EjectCause, FailureShare, Health, HealthChange, OutlierRules, Rules, Standing, SuccessRate,
    Tick,
};
pub use outcome::{Outcome, Unjudged, http_of_grpc};
pub use pool::Pools;
pub use quantile::Quantile;
pub use queue::Queue;
pub use retry::{Cause, Causes, RetryRules, StatusSet, Stop, Tried, Verdict, retry_after};
pub use state::State;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use narthex_net::H2Limits;
use narthex_net::tls::ClientTls;
use narthex_telemetry::ServiceSeries;
use narthex_wire::{Address, Authority, Limits, ProxyProtocol};

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
    /// Each client has connections of its own, which begin by saying who it is.
    pub proxy_protocol: Option<ProxyProtocol>,
    pub host: HostRule,
    /// The service's own host and port: what it is told where the client asked for none (HTTP/1.0).
    pub authority: Authority,
    pub balance: Balance,
    /// A header says which instances a request may go to.
    pub subset: Option<Subset>,
    /// Requests are counted for the ejection of instances.
    pub outliers: Option<OutlierRules>,
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
            proxy_protocol: None,
            host: HostRule::Keep,
            authority: Authority::parse("localhost").expect("it is a host name"),
            balance: Balance::RoundRobin,
            subset: None,
            outliers: None,
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
        let learns = self.outliers.is_some() || matches!(self.balance, Balance::Ewma);
        learns || self.breaker.is_some() || self.adaptive.is_some()
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

/// One address of a service, as discovery or the configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub address: Address,
    pub weight: u32,
    pub place: Whereabouts,
}

/// Where an instance stands among the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Lower comes first.
    pub priority: u8,
    /// `None`: as near as the gateway's own.
    pub zone: Option<Arc<str>>,
    /// What the label says by which the service chooses.
    pub label: Option<Arc<str>>,
}

impl<A: Into<Address>> From<(A, u32)> for Member {
    fn from((address, weight): (A, u32)) -> Self {
        let address = address.into();
        Self { address, weight, place: Whereabouts::default() }
    }
}

/// One address of a service.
pub struct Instance {
    /// Unique in this process: the key of its pools.
    pub id: u64,
    pub address: Address,
    pub weight: u32,
    pub place: Whereabouts,
    pub standing: Arc<Standing>,
    in_flight: AtomicU32,
    removed: AtomicBool,
}

impl Instance {
    /// `standing`: what is known of the address already.
    fn new(member: Member, standing: Option<Arc<Standing>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address: member.address,
            weight: member.weight,
            place: member.place,
            standing: standing.unwrap_or_default(),
            in_flight: AtomicU32::new(0),
            removed: AtomicBool::new(false),
        }
    }

    fn is(&self, member: &Member) -> bool {
        self.address == member.address && self.weight == member.weight && self.place == member.place
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// No longer one of its service's: its idle connections are closed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}
