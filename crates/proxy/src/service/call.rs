//! One request to one instance: take or open a connection, hold the accounts, give the connection back.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use narthex_contract::{Client, Detail, Reason, Reply, core};
use narthex_net::tls::ClientTls;
use narthex_net::{
    BodyBuffer, Fill, H1Client, H2Client, HeadError, Outbound, Stream, connect_h2, is_unprocessed,
};
use narthex_wire::{Name, ParseError, RequestHead};

use super::balance::{Draw, Wish};
use super::outcome::Unjudged;
use super::pool::{ALONE, StreamPlace};
use super::{Counted, Instance, Place, Protocol, Service, Settings};
use crate::Worker;

/// How often an unwanted answer is read from; what is longer is cut.
const DISCARDED_FILLS: usize = 2;

/// A connection that carries, or is about to carry, one request.
pub struct Call {
    pub outbound: Outbound,
    pub instance: Arc<Instance>,
    service: Arc<Service>,
    connection: Option<Place>,
    stream: Option<StreamPlace>,
    /// On whose behalf alone its connection is open: the number of a client's connection; 0: anybody's.
    guest: u64,
    account: Account,
    /// Its place among the service's retries.
    pub retry: Option<Place>,
    /// It carried requests before: the instance may have closed it meanwhile.
    pub is_reused: bool,
    /// Set where the answer's head does not say how the call ended.
    pub unjudged: Option<Box<Unjudged>>,
}

/// Why a call did not come to a response.
#[derive(Debug)]
pub struct Failure {
    pub reason: Reason,
    /// What the operator reads.
    pub detail: String,
    /// The service has certainly not begun to process the request.
    pub is_unprocessed: bool,
    /// No byte of a response came, and the request may be sent once more (RFC 9110 9.2.2).
    pub may_replay: bool,
    /// When it is worth asking again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), is_unprocessed: false, may_replay: false, retry_after: None }
    }

    pub fn unprocessed(mut self) -> Self {
        self.is_unprocessed = true;
        self
    }

    /// The refusal that it is where nothing else answers.
    pub fn into_reply(self) -> Reply {
        let mut detail = Detail::operator(self.detail);
        if let Some(after) = self.retry_after {
            let name = Name::parse("Retry-After").expect("it is a token");
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            detail = detail.field(name, seconds.max(1).to_string());
        }
        Reply::problem_with(self.reason, detail)
    }

    /// A head that did not come, or is no head.
    pub fn of_head(error: &HeadError) -> Self {
        match error {
            HeadError::Idle | HeadError::Closed => {
                Self::new(core::SERVICE_CLOSED, "the instance closed the connection")
            }
            HeadError::Io(error) => Self::new(core::SERVICE_CLOSED, error.to_string()),
            HeadError::Malformed(ParseError::HeadTooLarge | ParseError::TooManyFields) => {
                Self::new(core::SERVICE_HEAD_TOO_LARGE, "the response's head is over the bound")
            }
            HeadError::Malformed(error) => {
                Self::new(core::SERVICE_PROTOCOL, format!("{}: {error}", error.code()))
            }
            HeadError::H2(error) => {
                let failure = Self::new(core::SERVICE_CLOSED, error.to_string());
                if is_unprocessed(error) { failure.unprocessed() } else { failure }
            }
            HeadError::NoTunnel => Self::new(
                core::SERVICE_PROTOCOL,
                "the instance does not take WebSocket over HTTP/2 (RFC 8441)",
            ),
            HeadError::Preface => Self::new(core::SERVICE_PROTOCOL, "the instance sent a client's preface"),
        }
    }
}

/// A place among the service's requests, and an instance that was picked.
pub struct Calling {
    service: Arc<Service>,
    pub instance: Arc<Instance>,
    account: Account,
    /// Who has a connection of its own.
    client: Option<Box<Client>>,
}

/// This request in the books of its service and of its instance, until it is dropped.
struct Account {
    instance: Arc<Instance>,
    _place: Place,
}

impl Account {
    fn open(instance: &Arc<Instance>, place: Place) -> Self {
        instance.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { instance: Arc::clone(instance), _place: place }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Calling {
    /// Picks an instance; fails at once where there is none or the service is at its maximum.
    pub fn begin(
        service: &Arc<Service>,
        worker: &Worker,
        avoid: &[u64],
        wish: Wish,
    ) -> Result<Self, Failure> {
        let max = service.settings.max_requests;
        let limit = service.adaptive_limit().filter(|limit| *limit < max);
        let Some(place) = service.state.enter(Counted::Request, limit.unwrap_or(max)) else {
            let bound = if limit.is_some() {
                "the limit of `adaptive` is reached"
            } else {
                "max_requests is reached"
            };
            return Err(Failure::new(core::SERVICE_BUSY, bound).unprocessed());
        };
        let set = service.state.instances.load();
        let random = worker.random();
        // A further try takes nobody's turn: every other turn would be a slow instance's otherwise.
        let position = if avoid.is_empty() { worker.next_position() } else { random as u32 };
        let draw = Draw { position, random, now: worker.now(), wish, avoid };
        let picked = set.pick(&service.settings.balance, &draw);
        let Some(instance) = picked.cloned() else {
            return Err(Failure::new(core::NO_INSTANCE, "the service has no instance").unprocessed());
        };
        let account = Account::open(&instance, place);
        Ok(Self { service: Arc::clone(service), instance, account, client: None })
    }

    /// For this client: where the service is told by the PROXY protocol who that is, its connections are its own.
    #[must_use]
    pub fn on_behalf_of(mut self, client: &Client) -> Self {
        self.client = self.service.settings.proxy_protocol.map(|_| Box::new(*client));
        self
    }

    fn guest(&self) -> u64 {
        match &self.client {
            None => 0,
            Some(client) if client.connection == 0 => ALONE,
            Some(client) => client.connection,
        }
    }

    /// A kept connection; sends the head into its buffer.
    pub fn reuse(self, worker: &Worker, head: &RequestHead) -> Result<Call, Self> {
        if self.guest() == ALONE {
            return Err(self);
        }
        let Settings { protocol, tls, .. } = &self.service.settings;
        let (protocol, tls) = (*protocol, tls.as_ref().map(|tls| tls.load_full()));
        if protocol != Protocol::Http2 {
            let kept = worker.pools().take(&self.instance, tls.as_ref(), self.guest());
            match kept {
                Some((client, place)) => return Ok(self.into_h1(client, place, head, true)),
                None if protocol == Protocol::Http1 => return Err(self),
                None => {}
            }
        }
        let shared = worker.pools().share(&self.instance, tls.as_ref(), self.guest(), worker.now());
        let Some((client, stream)) = shared else { return Err(self) };
        self.into_h2(client, stream, head, true).map_err(|(calling, _)| calling)
    }

    /// A place for one more connection, if there is one.
    pub fn place(&self, worker: &Worker) -> Option<Place> {
        let max = self.service.settings.max_connections;
        let enter = || self.service.state.enter(Counted::Connection, max);
        // An idle connection, perhaps to another instance, makes room before the request has to wait.
        let made_room = || worker.pools().give_up_one(&self.service).then(enter).flatten();
        let place = enter().or_else(made_room);
        if place.is_none() {
            self.service.state.wanted.store(true, Ordering::Release);
        }
        place
    }

    /// A place among those who wait for a connection.
    pub fn queue_up(&self) -> Result<Place, Failure> {
        let max = self.service.settings.max_pending;
        self.service.state.enter(Counted::Pending, max).ok_or_else(|| {
            Failure::new(core::SERVICE_BUSY, "max_connections and max_pending are reached").unprocessed()
        })
    }

    /// Ready when a connection may have come free.
    pub async fn wait_for_place(&self, worker: &Worker) {
        let state = &self.service.state;
        let mut waiter = state.queue().waiter(worker.index());
        let is_free = || state.open_connections() < self.service.settings.max_connections;
        std::future::poll_fn(|cx| waiter.poll(cx, is_free)).await;
    }

    /// Opens a connection, and says on whose behalf where the service is to know.
    pub async fn connect(self, place: Place, worker: &Rc<Worker>) -> Result<Opened, Failure> {
        let address = self.instance.address;
        let failed = |error: std::io::Error| {
            Failure::new(core::CONNECT_FAILED, format!("{address}: {error}")).unprocessed()
        };
        let mut stream = Stream::connect(address).await.map_err(failed)?;
        if let (Some(client), Some(version)) = (&self.client, self.service.settings.proxy_protocol) {
            introduce(&mut stream, &version.header_of(client.peer, client.own)).await.map_err(failed)?;
        }
        self.service.series.connected(worker.index());
        Ok(Opened { calling: self, stream, place })
    }

    fn into_h1(self, mut client: Box<H1Client>, place: Place, head: &RequestHead, is_reused: bool) -> Call {
        client.start(head);
        self.into_call(Outbound::H1(client), Some(place), None, is_reused)
    }

    fn into_h2(
        self,
        mut client: H2Client,
        stream: StreamPlace,
        head: &RequestHead,
        is_reused: bool,
    ) -> Result<Call, (Self, narthex_net::Fault)> {
        match client.open(head) {
            Ok(opened) => Ok(self.into_call(Outbound::H2(Box::new(opened)), None, Some(stream), is_reused)),
            Err(error) => Err((self, error)),
        }
    }

    fn into_call(
        self,
        outbound: Outbound,
        connection: Option<Place>,
        stream: Option<StreamPlace>,
        is_reused: bool,
    ) -> Call {
        let guest = self.guest();
        let Self { service, instance, account, .. } = self;
        Call {
            outbound,
            instance,
            service,
            connection,
            stream,
            guest,
            account,
            retry: None,
            is_reused,
            unjudged: None,
        }
    }
}

/// Sends the header that comes before everything else, TLS included.
async fn introduce(stream: &mut Stream, mut header: &[u8]) -> std::io::Result<()> {
    while !header.is_empty() {
        let count = std::future::poll_fn(|cx| stream.poll_write_two(cx, header, &[])).await?;
        header = header.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// A connection on which no request was sent yet.
pub struct Opened {
    calling: Calling,
    stream: Stream,
    place: Place,
}

impl Opened {
    /// The TLS handshake: the instance proves who it is.
    pub async fn secure(self, tls: &Arc<ClientTls>) -> Result<Self, Failure> {
        let Self { calling, stream, place } = self;
        let address = calling.instance.address;
        match stream.connect_tls(tls).await {
            Ok(stream) => Ok(Self { calling, stream, place }),
            Err(error) => Err(Failure::new(core::TLS_FAILED, format!("{address}: {error}")).unprocessed()),
        }
    }

    /// Speaks no HTTP: `first` goes out, then raw bytes both ways.
    pub fn pass_through(self, first: &[u8]) -> Call {
        let Self { calling, stream, place } = self;
        let mut client = Box::new(H1Client::new(stream));
        client.become_tunnel();
        client.send_first(first);
        calling.into_call(Outbound::H1(client), Some(place), None, false)
    }

    /// Speaks the service's protocol, or what was agreed upon in the handshake; sends the head into the buffer.
    pub async fn begin(self, worker: &Rc<Worker>, head: &RequestHead) -> Result<Call, Failure> {
        let Self { calling, stream, place } = self;
        let speaks_h2 = match calling.service.settings.protocol {
            Protocol::Http1 => false,
            Protocol::Auto => stream.speaks_h2(),
            Protocol::Http2 => true,
        };
        if !speaks_h2 {
            return Ok(calling.into_h1(Box::new(H1Client::new(stream)), place, head, false));
        }
        let address = calling.instance.address;
        if calling.service.settings.tls.is_some() && !stream.speaks_h2() {
            let text = format!("{address}: the instance does not offer HTTP/2 by ALPN");
            return Err(Failure::new(core::TLS_FAILED, text).unprocessed());
        }
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(core::CONNECT_FAILED, format!("{address}: {error}")).unprocessed()
        };
        let made_by = stream.made_by().cloned();
        let connected = connect_h2(stream, &calling.service.settings.h2).await;
        let (client, drive) = connected.map_err(|error| failed(&error))?;
        narthex_net::runtime::spawn(drive);
        let (service, instance) = (&calling.service, &calling.instance);
        let stream = worker.pools().add_shared(
            service,
            instance,
            (client.clone(), made_by, calling.guest()),
            place,
            worker.now(),
        );
        calling.into_h2(client, stream, head, false).map_err(|(_, error)| failed(&error))
    }
}

impl Call {
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// How a gRPC call ended, once that is known; twice does no harm.
    pub fn learn(&mut self, code: u32) {
        if let Some(unjudged) = &mut self.unjudged {
            unjudged.learn(u8::try_from(code).unwrap_or(u8::MAX));
        }
    }

    /// The answer is whole. `status`: of a gRPC call.
    pub fn end(mut self, status: Option<u32>, worker: &Worker) {
        if let Some(code) = status {
            self.learn(code);
            self.service.series.called(worker.index(), code);
        }
        self.finish(worker);
    }

    /// The answer is not wanted. Its connection is kept where the rest of it is there already.
    pub fn discard(mut self, worker: &Worker) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut buffer = BodyBuffer::default();
        for _ in 0..DISCARDED_FILLS {
            let filled = self.outbound.poll_fill(&mut cx, &mut buffer);
            buffer.advance(usize::MAX);
            buffer.release();
            match filled {
                Poll::Ready(Ok(Fill::Data)) => {}
                Poll::Ready(Ok(Fill::End)) => return self.finish(worker),
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }

    /// Gives the connection back where it may carry another request.
    pub fn finish(self, worker: &Worker) {
        let Self { outbound, instance, service, connection, stream, guest, account, .. } = self;
        if let (Some(client), Some(place)) = (outbound.into_reusable(), connection) {
            worker.pools().keep(&service, &instance, (client, guest), place, worker);
        }
        drop((stream, account));
    }
}
