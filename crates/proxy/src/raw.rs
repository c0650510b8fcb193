//! Listeners without HTTP: a connection goes to an instance as it is, chosen by the listener alone or by the name that
//! a TLS client asks for. Terminates nothing, reads nothing beyond a ClientHello.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ahash::AHashMap;
use narthex_contract::{Reason, ServiceId, core};
use narthex_net::{BodyBuffer, Deadline, H1Server, Inbound, Stream};
use narthex_telemetry::AccessRecord;
use narthex_wire::{Address, ClientHello, ProxyProtocol, client_hello};

use crate::service::{Call, Calling, Failure, Service, Wish};
use crate::snapshot::ListenerPlan;
use crate::tunnel::{Carried, Rules, Tunnel, drained};
use crate::worker::{Phase, Registered, Worker};

/// Instances that are tried for one connection.
const TRIES: u16 = 3;
/// A fatal alert, `unrecognized_name` (RFC 6066 3), as a whole record.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// What a listener without HTTP does.
pub struct RawPlan {
    pub to: RawTo,
    /// The services that `to` counts: a connection goes by the configuration that it came under.
    pub services: Vec<Arc<Service>>,
    /// How long a connection may carry nothing.
    pub idle: Duration,
    /// The header that tells an instance who the client is.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Bytes of a ClientHello.
    pub hello_bytes: usize,
}

/// Which service a connection goes to.
pub enum RawTo {
    Service(ServiceId),
    /// By the name in the ClientHello.
    Names(ServerNames),
}

/// Services by the name that a client asks for.
#[derive(Debug, Default)]
pub struct ServerNames {
    exact: AHashMap<Box<str>, ServiceId>,
    /// Without their `*.`.
    suffixes: AHashMap<Box<str>, ServiceId>,
    default: Option<ServiceId>,
}

impl ServerNames {
    /// `pattern`: a name in lower case, `*.` and one, or `*`.
    pub fn insert(&mut self, pattern: &str, service: ServiceId) {
        match (pattern, pattern.strip_prefix("*.")) {
            ("*", _) => self.default = Some(service),
            (_, Some(suffix)) => drop(self.suffixes.insert(suffix.into(), service)),
            (name, None) => drop(self.exact.insert(name.into(), service)),
        }
    }

    /// The exact name, else the longest pattern, else the one for all others.
    pub fn find(&self, name: Option<&str>) -> Option<ServiceId> {
        let of_name = name.and_then(|name| {
            let parents = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
            let mut parents = parents.filter_map(|parent| self.suffixes.get(parent));
            self.exact.get(name).or_else(|| parents.next()).copied()
        });
        of_name.or(self.default)
    }
}

/// A connection on its way.
struct Passing<'p> {
    plan: &'p ListenerPlan,
    raw: &'p RawPlan,
    worker: &'p Rc<Worker>,
    registered: &'p Registered,
    deadline: Deadline,
    peer: Address,
    own: Address,
    name: Option<String>,
    service: Option<Arc<Service>>,
    attempts: u16,
}

/// Why a connection went nowhere.
struct Refused {
    reason: Reason,
    detail: String,
}

impl Refused {
    fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Serves one connection to its end.
pub async fn serve_raw(
    stream: Stream,
    peer: Address,
    plan: &ListenerPlan,
    raw: &RawPlan,
    worker: &Rc<Worker>,
    registered: &Registered,
) {
    let began = worker.moment();
    let own = stream.local_address();
    let mut client = H1Server::new(stream);
    let deadline = Deadline::default();
    let mut passing = Passing {
        plan,
        raw,
        worker,
        registered,
        deadline,
        peer,
        own,
        name: None,
        service: None,
        attempts: 0,
    };
    let outcome = match passing.choose(&mut client).await {
        Ok(service) => passing.connect(service).await,
        Err(refused) => Err(refused),
    };
    client.become_tunnel();
    let mut client = Inbound::H1(client);
    let (carried, instance, refused) = match outcome {
        Ok(mut call) => {
            let carried = passing.carry(&mut client, &mut call).await;
            (Some(carried), Some(call.instance.address), None)
        }
        Err(refused) => {
            passing.refuse(&mut client, &refused).await;
            (None, None, Some(refused))
        }
    };
    let total = worker.refresh().saturating_sub(began.monotonic);
    if let Some(refused) = &refused {
        worker.count_refusal(refused.reason.code());
    }
    let is_tls = matches!(raw.to, RawTo::Names(_));
    worker.log(|| {
        let record = AccessRecord {
            unix_ms: began.unix_ms,
            client: peer.socket().map(|peer| peer.ip()),
            host: passing.name.as_deref().unwrap_or_default(),
            protocol: if is_tls { "TLS" } else { "TCP" },
            reason: refused.as_ref().map(|refused| refused.reason.code()),
            detail: refused.as_ref().map(|refused| &*refused.detail),
            listener: &plan.name,
            service: passing.service.as_ref().map(|service| &*service.name),
            instance: instance.map(crate::finish::instance),
            attempts: passing.attempts,
            total,
            bytes_in: carried.map_or(0, |carried| carried.from_client),
            bytes_out: carried.map_or(0, |carried| carried.from_service),
            tunnel: carried.map_or("", |carried| carried.end.as_str()),
            ..AccessRecord::default()
        };
        (record, [0; 32])
    });
}

impl Passing<'_> {
    async fn choose(&mut self, client: &mut H1Server) -> Result<Arc<Service>, Refused> {
        let id = match &self.raw.to {
            RawTo::Service(id) => *id,
            RawTo::Names(names) => {
                self.name = self.read_name(client).await?;
                let found = names.find(self.name.as_deref());
                found.ok_or_else(|| Refused::new(core::UNKNOWN_HOST, "no service stands for the name"))?
            }
        };
        let found = self.raw.services.get(id.0 as usize).cloned();
        found.ok_or_else(|| Refused::new(core::INTERNAL, "the service is not there"))
    }

    /// Reads the ClientHello and leaves it unread.
    async fn read_name(&mut self, client: &mut H1Server) -> Result<Option<String>, Refused> {
        let mut read = Vec::new();
        self.worker.refresh();
        let due = self.worker.due(self.plan.bounds.head);
        let found = poll_fn(|cx| {
            self.registered.note(cx.waker());
            while let Poll::Ready(count) = client.poll_peek(cx, &mut read) {
                match (count, client_hello(&read)) {
                    (Ok(0) | Err(_), _) => {
                        return Poll::Ready(Err(Refused::new(
                            core::CLIENT_GONE,
                            "closed before its ClientHello",
                        )));
                    }
                    (_, ClientHello::Whole(name)) => return Poll::Ready(Ok(name)),
                    (_, ClientHello::Partial) if read.len() < self.raw.hello_bytes => {}
                    (_, ClientHello::Partial) => {
                        return Poll::Ready(Err(Refused::new(
                            core::BAD_REQUEST,
                            "the ClientHello is over the bound",
                        )));
                    }
                    (_, ClientHello::Invalid) => {
                        return Poll::Ready(Err(Refused::new(core::BAD_REQUEST, "this is no ClientHello")));
                    }
                }
            }
            if self.worker.phase() == Phase::Closing {
                return Poll::Ready(Err(Refused::new(
                    core::HEAD_TIMEOUT,
                    "no ClientHello before the gateway ended",
                )));
            }
            let late = self.deadline.poll(cx, self.worker.clock(), due);
            late.map(|()| Err(Refused::new(core::HEAD_TIMEOUT, "no whole ClientHello in time")))
        })
        .await;
        client.unread(&read);
        found
    }

    /// A connection of its own to an instance; where one cannot be reached, to another.
    async fn connect(&mut self, service: Arc<Service>) -> Result<Call, Refused> {
        self.service = Some(Arc::clone(&service));
        let mut avoid = None;
        loop {
            self.attempts += 1;
            let (failure, instance) =
                match Calling::begin(&service, self.worker, avoid.as_slice(), Wish::default()) {
                    Ok(calling) => {
                        let instance = calling.instance.id;
                        match self.open(calling, &service).await {
                            Ok(call) => return Ok(call),
                            Err(failure) => (failure, Some(instance)),
                        }
                    }
                    Err(failure) => (failure, None),
                };
            if self.attempts < TRIES && failure.is_unprocessed && instance.is_some() {
                avoid = instance;
                continue;
            }
            service.series.failed(self.worker.index());
            return Err(Refused::new(failure.reason, failure.detail));
        }
    }

    async fn open(&mut self, calling: Calling, service: &Service) -> Result<Call, Failure> {
        let Some(place) = calling.place(self.worker) else {
            return Err(Failure::new(core::SERVICE_BUSY, "max_connections is reached").unprocessed());
        };
        let mut connecting = std::pin::pin!(calling.connect(place, self.worker));
        self.worker.refresh();
        let due = self.worker.due(service.settings.times.connect);
        let opened = poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(connected);
            }
            let late = || Failure::new(core::CONNECT_TIMEOUT, "no connection within `connect`").unprocessed();
            self.deadline.poll(cx, self.worker.clock(), due).map(|()| Err(late()))
        })
        .await?;
        let version = self.raw.proxy_protocol.or(service.settings.proxy_protocol);
        let header = version.map(|version| version.header_of(self.peer, self.own));
        Ok(opened.pass_through(&header.unwrap_or_default()))
    }

    async fn carry(&mut self, client: &mut Inbound, call: &mut Call) -> Carried {
        let worker = self.worker;
        let tunnel = Tunnel {
            worker,
            deadline: &mut self.deadline,
            client,
            service: &mut call.outbound,
            rules: Rules { idle: self.raw.idle, is_websocket: false },
        };
        tunnel.carry(|| drained(worker)).await
    }

    /// A TLS client is told that nobody has its name; all others see a cut.
    async fn refuse(&mut self, client: &mut Inbound, refused: &Refused) {
        if refused.reason != core::UNKNOWN_HOST {
            client.cut();
            return;
        }
        let mut alert = BodyBuffer::default();
        alert.fill_from(UNRECOGNIZED_NAME);
        let due = self.worker.due(self.plan.bounds.write);
        poll_fn(|cx| {
            if let Poll::Ready(Ok(())) = client.poll_send(cx, &mut alert, true) {
                return client.poll_end(cx).map(drop);
            }
            self.deadline.poll(cx, self.worker.clock(), due)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_wins_then_the_longest_pattern() {
        let mut names = ServerNames::default();
        for (at, pattern) in
            ["a.example", "*.example", "*.b.example", "x.b.example", "*"].into_iter().enumerate()
        {
            names.insert(pattern, ServiceId(at as u32));
        }
        for (name, wanted) in [
            (Some("a.example"), 0),
            (Some("c.example"), 1),
            (Some("c.a.example"), 1),
            (Some("example"), 4),
            (Some("c.b.example"), 2),
            (Some("d.c.b.example"), 2),
            (Some("x.b.example"), 3),
            (Some("b.example"), 1),
            (Some("a.test"), 4),
            (None, 4),
        ] {
            assert_eq!(names.find(name), Some(ServiceId(wanted)), "{name:?}");
        }
        assert_eq!(ServerNames::default().find(Some("a")), None);
    }
}
