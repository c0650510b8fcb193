//! Every metric there is. A series is made when configuration is compiled, outlives reloads, and is written
//! by each worker in its own cells.

use std::sync::{Arc, Mutex, OnceLock};

use ahash::AHashMap;

use crate::{Counter, Histogram, VersionSeries};

/// Label sets of one kind that are exposed; what comes later is counted under `other`.
const SERIES: usize = 20_000;

/// Status classes 1xx to 5xx; 0 is "the client went away".
pub(crate) const CLASSES: [&str; 6] = ["gone", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// One worker's cells of a route.
#[derive(Debug, Default)]
pub(crate) struct RouteCells {
    pub classes: [Counter; CLASSES.len()],
    pub total: Histogram,
    pub gateway: Histogram,
    /// Answers that a fallback gave: a reply, a service.
    pub fallbacks: [Counter; 2],
    pub mirrored: [Counter; Mirrored::ALL.len()],
}

/// What became of the copy of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirrored {
    /// The mirror answered, whatever it said.
    Answered,
    /// It gave no answer.
    Failed,
    /// Not sent: the request's body is over the bound.
    TooLarge,
    /// Not sent: as many as may be are under way.
    Busy,
    /// Not sent: the request's body did not come to its end.
    Incomplete,
}

impl Mirrored {
    pub const ALL: [Self; 5] = [Self::Answered, Self::Failed, Self::TooLarge, Self::Busy, Self::Incomplete];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The metrics of one route.
#[derive(Debug)]
pub struct RouteSeries {
    pub(crate) gateway: Box<str>,
    pub(crate) route: Box<str>,
    pub(crate) cells: Box<[OnceLock<Box<RouteCells>>]>,
}

impl RouteSeries {
    /// `status` 499 is a client that went away; durations in nanoseconds.
    pub fn record(&self, worker: usize, status: u16, total: u64, gateway: u64) {
        let Some(cells) = self.cells.get(worker) else { return };
        let cells = cells.get_or_init(Box::default);
        let class = if status == 499 { 0 } else { usize::from(status / 100).min(CLASSES.len() - 1) };
        cells.classes[class].add(1);
        cells.total.record(total);
        cells.gateway.record(gateway);
    }

    /// A fallback answered: another service, or a fixed reply.
    pub fn fell_back(&self, worker: usize, to_service: bool) {
        if let Some(cells) = self.cells.get(worker) {
            cells.get_or_init(Box::default).fallbacks[usize::from(to_service)].add(1);
        }
    }

    /// A request was to be copied for the route's mirror.
    pub fn mirrored(&self, worker: usize, end: Mirrored) {
        if let Some(cells) = self.cells.get(worker) {
            cells.get_or_init(Box::default).mirrored[end as usize].add(1);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ServiceCells {
    pub requests: Counter,
    pub failures: Counter,
    pub connects: Counter,
    pub retries: Counter,
    pub over_budget: Counter,
    pub hedges: Counter,
    pub hedges_won: Counter,
    /// gRPC calls by their status; what is none counts as UNKNOWN.
    pub calls: [Counter; 17],
    pub first_byte: Histogram,
}

/// The metrics of one service.
#[derive(Debug)]
pub struct ServiceSeries {
    pub(crate) service: Box<str>,
    /// How its circuit stands, plus one; 0: it has none.
    pub(crate) circuit: Counter,
    /// Written by all workers, rarely.
    pub(crate) circuit_opened: Counter,
    pub(crate) cells: Box<[OnceLock<Box<ServiceCells>>]>,
}

impl ServiceSeries {
    fn cells(&self, worker: usize) -> Option<&ServiceCells> {
        self.cells.get(worker).map(|cells| &**cells.get_or_init(Box::default))
    }

    pub fn answered(&self, worker: usize, first_byte: u64) {
        if let Some(cells) = self.cells(worker) {
            cells.requests.add(1);
            cells.first_byte.record(first_byte);
        }
    }

    pub fn failed(&self, worker: usize) {
        if let Some(cells) = self.cells(worker) {
            cells.requests.add(1);
            cells.failures.add(1);
        }
    }

    /// 0 closed, 1 open, 2 half open, 3 rising; `None`: the service has no circuit.
    pub fn show_circuit(&self, phase: Option<u64>) {
        self.circuit.set(phase.map_or(0, |phase| phase + 1));
    }

    pub fn circuit_opened(&self) {
        self.circuit_opened.add_shared(1);
    }

    /// A gRPC call ended with this status.
    pub fn called(&self, worker: usize, status: u32) {
        if let Some(cells) = self.cells(worker) {
            let at = usize::try_from(status).ok().filter(|at| *at < cells.calls.len());
            cells.calls[at.unwrap_or(2)].add(1);
        }
    }

    /// A request is sent once more.
    pub fn retried(&self, worker: usize) {
        if let Some(cells) = self.cells(worker) {
            cells.retries.add(1);
        }
    }

    /// A request that is slow is sent to another instance too.
    pub fn hedged(&self, worker: usize) {
        if let Some(cells) = self.cells(worker) {
            cells.hedges.add(1);
        }
    }

    /// That one answered first.
    pub fn hedge_won(&self, worker: usize) {
        if let Some(cells) = self.cells(worker) {
            cells.hedges_won.add(1);
        }
    }

    /// A request would be sent again, but for the budget.
    pub fn over_budget(&self, worker: usize) {
        if let Some(cells) = self.cells(worker) {
            cells.over_budget.add(1);
        }
    }

    pub fn connected(&self, worker: usize) {
        if let Some(cells) = self.cells(worker) {
            cells.connects.add(1);
        }
    }
}

/// One worker's own counters.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    pub accepted: Counter,
    pub handed_over: Counter,
    pub connections: Counter,
    pub exchanges: Counter,
    pub panics: Counter,
    pub stalls: Counter,
    /// Tunnels that are open.
    pub tunnels: Counter,
    pub(crate) tunnel_ends: [Counter; TunnelEnd::ALL.len()],
    pub(crate) tunnel_bytes: [Counter; 2],
    /// Requests refused before a route was known.
    pub unrouted: Counter,
    /// TLS handshakes with clients: finished; of these, sessions taken up again; refused for want of room.
    pub handshakes: Counter,
    pub handshakes_resumed: Counter,
    pub handshakes_refused: Counter,
    pub(crate) floods: [Counter; FloodKind::ALL.len()],
    pub(crate) turned_away: [Counter; TurnedAway::ALL.len()],
}

impl WorkerMetrics {
    /// Bytes from the client and from the service.
    pub fn tunnel_ended(&self, end: TunnelEnd, from_client: u64, from_service: u64) {
        self.tunnel_ends[end as usize].add(1);
        self.tunnel_bytes[0].add(from_client);
        self.tunnel_bytes[1].add(from_service);
    }

    /// An HTTP/2 connection was ended for a flood.
    pub fn flooded(&self, kind: FloodKind) {
        self.floods[kind as usize].add(1);
    }

    /// A connection was closed before its first request.
    pub fn turned_away(&self, why: TurnedAway) {
        self.turned_away[why as usize].add(1);
    }
}

/// What an HTTP/2 client sent too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloodKind {
    /// Streams that it resets.
    Reset,
    /// Streams that it makes the gateway reset.
    MadeReset,
    Continuation,
    /// DATA with little or nothing in it.
    Empty,
    Settings,
    Ping,
    /// A field list far over its bound.
    Head,
    /// PRIORITY and frames that mean nothing.
    Other,
}

impl FloodKind {
    pub const ALL: [Self; 8] = [
        Self::Reset,
        Self::MadeReset,
        Self::Continuation,
        Self::Empty,
        Self::Settings,
        Self::Ping,
        Self::Head,
        Self::Other,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::MadeReset => "made_reset",
            Self::Continuation => "continuation",
            Self::Empty => "empty",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::Head => "head",
            Self::Other => "other",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Why a connection was closed before its first request: the bound, or the setting, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    Connections,
    ConnectionsPerIp,
    /// A listed peer did not begin with a header of the PROXY protocol.
    ProxyProtocol,
}

impl TurnedAway {
    pub const ALL: [Self; 3] = [Self::Connections, Self::ConnectionsPerIp, Self::ProxyProtocol];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerIp => "connections_per_ip",
            Self::ProxyProtocol => "proxy_protocol",
        }
    }
}

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEnd {
    /// The client ended its side first, in good order.
    ClientClosed,
    ServiceClosed,
    /// The client's connection broke.
    ClientLost,
    ServiceLost,
    /// Nothing was carried for `tunnel_idle`.
    Idle,
    /// The gateway ends.
    Drained,
    /// Its route is gone, and says that its tunnels go with it.
    RouteRemoved,
}

impl TunnelEnd {
    pub const ALL: [Self; 7] = [
        Self::ClientClosed,
        Self::ServiceClosed,
        Self::ClientLost,
        Self::ServiceLost,
        Self::Idle,
        Self::Drained,
        Self::RouteRemoved,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ServiceClosed => "service_closed",
            Self::ClientLost => "client_lost",
            Self::ServiceLost => "service_lost",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::RouteRemoved => "route_removed",
        }
    }
}

/// What the process says about itself when it is asked.
#[derive(Debug, Default, Clone)]
pub struct ProcessState {
    pub resident_bytes: u64,
    pub open_descriptors: u64,
    pub cpu_seconds: f64,
    pub threads: u64,
    pub config_version: u64,
    pub config_applied_unix: u64,
    pub config_refused: u64,
    pub log_dropped: u64,
    pub services: Vec<ServiceState>,
    /// New requests are shed.
    pub is_overloaded: bool,
    /// Times that this began.
    pub overloads: u64,
}

/// A service's instances at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ServiceState {
    pub service: String,
    /// Too few instances are well, and all are used.
    pub is_panic: bool,
    pub instances: Vec<InstanceState>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    pub address: String,
    pub is_healthy: bool,
    pub is_ejected: bool,
    /// The peak-EWMA of its answers' times in nanoseconds, where requests go by that.
    pub ewma: Option<u64>,
}

/// A certificate in use.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CertificateState {
    /// `listener` or `service`, and its name.
    pub kind: &'static str,
    pub owner: String,
    /// The certificate's first name.
    pub name: String,
    /// Seconds since 1970.
    pub not_after: i64,
    /// The file on the disk is not the one in use, because it is not good.
    pub is_stale: bool,
}

/// The registry of series.
#[derive(Debug)]
pub struct Metrics {
    pub workers: Box<[WorkerMetrics]>,
    routes: Mutex<AHashMap<(Box<str>, Box<str>), Arc<RouteSeries>>>,
    services: Mutex<AHashMap<Box<str>, Arc<ServiceSeries>>>,
    versions: Mutex<AHashMap<(Box<str>, Box<str>), Arc<VersionSeries>>>,
    reasons: Mutex<AHashMap<&'static str, Arc<Box<[Counter]>>>>,
    handshake_failures: Mutex<AHashMap<&'static str, u64>>,
    certificates: Mutex<Vec<CertificateState>>,
}

impl Metrics {
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            routes: Mutex::default(),
            services: Mutex::default(),
            versions: Mutex::default(),
            reasons: Mutex::default(),
            handshake_failures: Mutex::default(),
            certificates: Mutex::default(),
        })
    }

    /// The series of a route: the same for the same names, over reloads.
    pub fn route(&self, gateway: &str, route: &str) -> Arc<RouteSeries> {
        let mut routes = lock(&self.routes);
        let (gateway, route) = if routes.len() < SERIES { (gateway, route) } else { ("other", "other") };
        let series = routes.entry((gateway.into(), route.into())).or_insert_with(|| {
            let cells = (0..self.workers.len()).map(|_| OnceLock::new()).collect();
            Arc::new(RouteSeries { gateway: gateway.into(), route: route.into(), cells })
        });
        Arc::clone(series)
    }

    pub fn service(&self, service: &str) -> Arc<ServiceSeries> {
        let mut services = lock(&self.services);
        let service = if services.len() < SERIES { service } else { "other" };
        let series = services.entry(service.into()).or_insert_with(|| {
            let cells = (0..self.workers.len()).map(|_| OnceLock::new()).collect();
            let (circuit, circuit_opened) = (Counter::default(), Counter::default());
            Arc::new(ServiceSeries { service: service.into(), circuit, circuit_opened, cells })
        });
        Arc::clone(series)
    }

    /// The series of a version of a gateway's API: the same for the same names, over reloads.
    pub fn version(&self, gateway: &str, version: &str) -> Arc<VersionSeries> {
        let mut versions = lock(&self.versions);
        let (gateway, version) =
            if versions.len() < SERIES { (gateway, version) } else { ("other", "other") };
        let series = versions
            .entry((gateway.into(), version.into()))
            .or_insert_with(|| Arc::new(VersionSeries::new(gateway, version, self.workers.len())));
        Arc::clone(series)
    }

    /// Forgets series that nothing uses any more, so that churning names do not grow the table for ever.
    pub fn forget_unused(&self) {
        lock(&self.routes).retain(|_, series| Arc::strong_count(series) > 1);
        lock(&self.services).retain(|_, series| Arc::strong_count(series) > 1);
        lock(&self.versions).retain(|_, series| Arc::strong_count(series) > 1);
    }

    /// Counts a refusal. Not on the path of a request that succeeds.
    pub fn refused(&self, worker: usize, reason: &'static str) {
        let cells = Arc::clone(
            lock(&self.reasons)
                .entry(reason)
                .or_insert_with(|| Arc::new((0..self.workers.len()).map(|_| Counter::default()).collect())),
        );
        if let Some(cell) = cells.get(worker) {
            cell.add(1);
        }
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self, code: &'static str) {
        *lock(&self.handshake_failures).entry(code).or_default() += 1;
    }

    pub(crate) fn all_handshake_failures(&self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<_> =
            lock(&self.handshake_failures).iter().map(|(code, count)| (*code, *count)).collect();
        all.sort_unstable();
        all
    }

    /// These certificates are in use from now on.
    pub fn certificates(&self, all: Vec<CertificateState>) {
        *lock(&self.certificates) = all;
    }

    pub(crate) fn all_certificates(&self) -> Vec<CertificateState> {
        lock(&self.certificates).clone()
    }

    pub(crate) fn all_routes(&self) -> Vec<Arc<RouteSeries>> {
        let mut all: Vec<_> = lock(&self.routes).values().cloned().collect();
        all.sort_by(|a, b| (&a.gateway, &a.route).cmp(&(&b.gateway, &b.route)));
        all
    }

    pub(crate) fn all_services(&self) -> Vec<Arc<ServiceSeries>> {
        let mut all: Vec<_> = lock(&self.services).values().cloned().collect();
        all.sort_by(|a, b| a.service.cmp(&b.service));
        all
    }

    pub(crate) fn all_versions(&self) -> Vec<Arc<VersionSeries>> {
        let mut all: Vec<_> = lock(&self.versions).values().cloned().collect();
        all.sort_by(|a, b| (&a.gateway, &a.version).cmp(&(&b.gateway, &b.version)));
        all
    }

    pub(crate) fn all_reasons(&self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<_> = lock(&self.reasons)
            .iter()
            .map(|(reason, cells)| (*reason, cells.iter().map(Counter::read).sum()))
            .collect();
        all.sort_unstable();
        all
    }
}

/// A poisoned lock guards nothing that could be half written: go on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
