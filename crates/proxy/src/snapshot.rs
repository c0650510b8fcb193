//! A compiled configuration: immutable, shared by all workers, swapped by pointer.

use std::sync::Arc;
use std::time::Duration;

use narthex_contract::{AnyFeed, Attached, Destination, LocalSpec, Reply, Response, RouteLabel, ServiceId};
use narthex_net::H2Limits;
use narthex_router::{HostTable, PathRules, Rewrite, Router};
use narthex_telemetry::RouteSeries;
use narthex_wire::Limits;

use crate::versioning::ApiVersions;
use crate::{
    Chain, FloodRules, ForwardedRules, ListenerTls, Mirror, Places, ProxiedRules, RawPlan, RetryRules,
    Service, ServiceTimes, StatusSet,
};

/// Everything that the data plane needs to answer requests.
pub struct Snapshot {
    /// Counts the configurations that went live.
    pub version: u64,
    /// By the listener's index, which is stable over reloads.
    pub listeners: Vec<Option<Arc<ListenerPlan>>>,
    /// By the service's index, which is stable over reloads.
    pub services: Vec<Option<Arc<Service>>>,
}

impl Snapshot {
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id.0 as usize)?.as_ref()
    }

    /// Every gateway, once for each listener that it answers on.
    pub fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.listeners.iter().flatten().flat_map(|plan| &plan.gateways)
    }

    /// Calls `see` with everything that something here depends on, and with who does: gateway, route, policy or kind of
    /// destination.
    fn each_attached<'s>(&'s self, see: &mut dyn FnMut(&'s RouteLabel, &'s Arc<str>, &'s Arc<Attached>)) {
        for gateway in self.gateways() {
            let links = gateway.before.links().map(|link| (&gateway.label, link));
            let of_routes = gateway.routes.iter();
            let of_routes = of_routes.flat_map(|route| route.chain.links().map(|link| (&route.label, link)));
            for (label, link) in links.chain(of_routes) {
                if let Some(attached) = &link.attached {
                    see(label, &link.name, attached);
                }
            }
            for route in &gateway.routes {
                if let Some((name, attached)) = &route.attached {
                    see(&route.label, name, attached);
                }
            }
        }
    }

    /// What each worker makes for itself.
    pub fn locals(&self) -> Vec<Arc<LocalSpec>> {
        let mut locals = Vec::new();
        self.each_attached(&mut |_, _, attached| {
            attached.each_local(&mut |spec| locals.push(Arc::clone(spec)))
        });
        locals
    }

    /// Calls `see` with each use of background data: route, policy or kind of destination, feed.
    pub fn each_feed(&self, see: &mut dyn FnMut(&RouteLabel, &Arc<str>, &Arc<dyn AnyFeed>)) {
        self.each_attached(&mut |label, name, attached| {
            attached.each_feed(name, &mut |name, feed| see(label, name, feed));
        });
    }

    pub fn listener(&self, index: usize) -> Option<&Arc<ListenerPlan>> {
        self.listeners.get(index)?.as_ref()
    }
}

impl Snapshot {
    /// Whether a route of this name answers on the listener.
    pub fn has_route(&self, listener: usize, label: &RouteLabel) -> bool {
        self.listener(listener).is_some_and(|plan| {
            let gateways = plan.gateways.iter().filter(|gateway| gateway.name == label.gateway);
            gateways.flat_map(|gateway| &gateway.routes).any(|route| route.label.route == label.route)
        })
    }
}

/// What answers on one listener.
pub struct ListenerPlan {
    pub name: Arc<str>,
    pub hosts: HostTable,
    pub gateways: Vec<Arc<Gateway>>,
    pub forwarded: ForwardedRules,
    pub bounds: ListenerBounds,
    /// Connections are passed through: no HTTP, no gateways.
    pub raw: Option<RawPlan>,
    /// The listener speaks TLS.
    pub tls: Option<Arc<ListenerTls>>,
    /// Every request is sent to `https://` at this port.
    pub redirect: Option<u16>,
    /// Who connects on behalf of clients, and says so.
    pub proxied: Option<ProxiedRules>,
    /// Who is connected.
    pub places: Arc<Places>,
}

/// The static maxima and time-outs of a listener.
#[derive(Debug, Clone)]
pub struct ListenerBounds {
    pub limits: Limits,
    pub h2: H2Limits,
    pub http1: bool,
    pub http2: bool,
    /// For a request's whole head, from its first byte.
    pub head: Duration,
    /// Between two requests of a kept connection.
    pub idle: Duration,
    /// For the next bytes of a request's body.
    pub body: Duration,
    /// For the client to take the next bytes.
    pub write: Duration,
    /// A client that ends its side of the connection still wants its answer.
    pub half_close: bool,
    pub connections: usize,
    /// Of one client; `u32::MAX`: no bound.
    pub connections_per_ip: u32,
    pub requests_per_connection: u64,
    pub floods: FloodRules,
    pub body_rate: BodyRate,
    /// Bytes of a request's body that is streamed.
    pub body_bytes: u64,
    /// Bytes of an unread body that are read and dropped to keep the connection.
    pub drain_bytes: u64,
    /// Exchanges that may begin inside one another.
    pub dispatch_depth: u8,
}

/// How fast a request's body must come, while it is waited for.
#[derive(Debug, Clone, Copy, Default)]
pub struct BodyRate {
    /// Bytes per second; 0: as slow as it likes.
    pub rate: u64,
    /// Nanoseconds before that counts.
    pub grace: u64,
}

impl BodyRate {
    /// When a body is late that began at `began` and has brought `bytes`, both times in monotonic nanoseconds.
    pub fn due(self, began: u64, bytes: u64) -> u64 {
        match bytes.saturating_mul(1_000_000_000).checked_div(self.rate) {
            Some(earned) => began.saturating_add(self.grace).saturating_add(earned),
            None => u64::MAX,
        }
    }
}

impl Default for ListenerBounds {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            h2: H2Limits::default(),
            http1: true,
            http2: true,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(60),
            write: Duration::from_secs(60),
            half_close: false,
            connections: 100_000,
            connections_per_ip: u32::MAX,
            floods: FloodRules::default(),
            body_rate: BodyRate::default(),
            requests_per_connection: u64::MAX,
            body_bytes: u64::MAX,
            drain_bytes: 256 * 1024,
            dispatch_depth: 3,
        }
    }
}

/// One gateway.
pub struct Gateway {
    pub name: Arc<str>,
    pub router: Router,
    /// By the router's indexes.
    pub routes: Vec<Arc<Route>>,
    pub paths: PathRules,
    /// Of the API; `None`: there are none.
    pub versions: Option<ApiVersions>,
    /// The Admit and Cors policies: before routing.
    pub before: Chain,
    /// Slots that `before` uses; a route's own follow.
    pub slots: usize,
    /// The label of requests that found no route.
    pub label: Arc<RouteLabel>,
    pub series: Arc<RouteSeries>,
}

/// One route.
pub struct Route {
    pub label: Arc<RouteLabel>,
    pub captures: Arc<[Arc<str>]>,
    pub chain: Chain,
    pub slots: usize,
    pub to: To,
    pub edit: PathEdit,
    pub fallback: Vec<Rung>,
    pub upgrades: Upgrades,
    pub times: RouteTimes,
    pub service_times: TimesOverride,
    /// In place of the service's.
    pub retry: Option<RetryRules>,
    /// What gets copies of its requests.
    pub mirror: Option<Arc<Mirror>>,
    /// `%2F` and `%5C` may stand in the path.
    pub keeps_encoded_slashes: bool,
    /// Bytes of a body that a policy must see whole.
    pub buffered_body: usize,
    pub series: Arc<RouteSeries>,
    /// What the destination depends on, under its kind's name.
    pub attached: Option<(Arc<str>, Arc<Attached>)>,
}

impl Route {
    /// Another service may have to be sent the request after the first.
    pub fn may_send_again(&self) -> bool {
        self.fallback.iter().any(|rung| matches!(rung.step, FallbackStep::Service(_)))
    }

    /// The refusal where what the destination depends on is not there.
    pub fn refusal(&self) -> Option<Reply> {
        let (name, attached) = self.attached.as_ref()?;
        attached.refusal("the destination", name)
    }
}

/// What answers a route.
pub enum To {
    /// The plain service is built in.
    Service(ServiceId),
    Kind(Box<dyn Destination>),
}

/// Which changes of protocol a route carries, and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgrades {
    pub websocket: bool,
    /// A tunnel ends when a configuration goes live that does not have its route.
    pub close_when_removed: bool,
}

impl Default for Upgrades {
    fn default() -> Self {
        Self { websocket: true, close_when_removed: false }
    }
}

/// What happens to the path before it is forwarded.
#[derive(Debug, Clone)]
pub enum PathEdit {
    Keep,
    /// Removes this prefix of whole segments.
    Strip(Box<str>),
    Rewrite(Rewrite),
}

/// One rung of a route's ladder of fallbacks.
pub struct Rung {
    pub step: FallbackStep,
    /// It stands in for answers of the service with these statuses too.
    pub on: StatusSet,
}

/// What answers when the destination did not.
pub enum FallbackStep {
    Service(ServiceId),
    Reply(Box<dyn Fn() -> Response + Send + Sync>),
}

/// Time-outs of a service that a route sets for itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimesOverride {
    pub connect: Option<Duration>,
    pub tls: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub idle: Option<Duration>,
    pub write: Option<Duration>,
    pub tunnel_idle: Option<Duration>,
}

impl TimesOverride {
    /// The service's times, with the route's in their places.
    pub fn over(&self, times: &ServiceTimes) -> ServiceTimes {
        ServiceTimes {
            connect: self.connect.unwrap_or(times.connect),
            tls: self.tls.unwrap_or(times.tls),
            first_byte: self.first_byte.unwrap_or(times.first_byte),
            idle: self.idle.unwrap_or(times.idle),
            write: self.write.unwrap_or(times.write),
            tunnel_idle: self.tunnel_idle.unwrap_or(times.tunnel_idle),
            pending: times.pending,
            keep: times.keep,
        }
    }
}

/// What the deadline covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadlineScope {
    /// Up to the response's head.
    Head,
    /// The response's body too.
    Whole,
}

/// A route's own times.
#[derive(Debug, Clone, Copy)]
pub struct RouteTimes {
    /// From the request's last byte.
    pub deadline: Duration,
    pub scope: DeadlineScope,
}

impl Default for RouteTimes {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(15), scope: DeadlineScope::Head }
    }
}
