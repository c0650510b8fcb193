//! The storage of one exchange, and how it waits: every wait ends by an event, a time-out, or the client leaving.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use narthex_contract::Exchange;
use narthex_net::{Deadline, Inbound, Stream};
use narthex_telemetry::TunnelEnd;
use narthex_wire::{Address, RequestParser, ResponseHead};

use crate::chain::Reached;
use crate::deadline;
use crate::forwarded::Told;
use crate::pump::{OwnBody, Pump};
use crate::secure::Secured;
use crate::service::Call;
use crate::snapshot::{Gateway, ListenerPlan, Route};
use crate::worker::{Pinned, Worker};

/// Everything that an exchange owns; recycled per worker.
#[derive(Default)]
pub struct Run {
    pub exchange: Exchange,
    pub response: ResponseHead,
    pub parser: RequestParser,
    pub(crate) upload: Pump,
    pub(crate) download: Pump,
    /// The service that answers, or is about to; the head of its answer is in `response`.
    pub(crate) call: Option<Call>,
    /// The request's body where a policy had to see it whole.
    pub(crate) whole_body: Option<OwnBody>,
    pub(crate) scratch: Vec<u8>,
    /// What `rewrite` made of the path.
    pub(crate) rewritten: String,
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) route: Option<Arc<Route>>,
    /// Of the gateway's API, where it has versions.
    pub(crate) version: Option<u8>,
    /// `rewritten` is the path to send, whatever the route's edit.
    pub(crate) has_own_path: bool,
    pub(crate) before: Reached,
    pub(crate) reached: Reached,
    /// The response's head is on its way: no other answer can be given.
    pub(crate) is_started: bool,
    /// The request's head is already edited for the service.
    pub(crate) is_prepared: bool,
    /// The answer broke off after its head.
    pub(crate) is_cut: bool,
    /// When the service's answer must have begun, monotonic nanoseconds; `u64::MAX` while the request is not sent.
    pub(crate) due: u64,
    /// The client's part in it.
    pub(crate) client_due: u64,
    /// The route's deadline is in `due`.
    pub(crate) has_deadline: bool,
    /// How many exchanges this one is inside of.
    pub(crate) depth: u8,
    /// What ended the tunnel that it became.
    pub(crate) tunnel: Option<TunnelEnd>,
    /// What the client speaks.
    pub(crate) protocol: narthex_wire::Version,
}

impl Run {
    /// Ready for the next request; keeps capacities.
    pub fn reset(&mut self) {
        self.exchange.reset();
        self.response.clear();
        self.parser.reset();
        self.upload.reset();
        self.download.reset();
        self.call = None;
        self.whole_body = None;
        self.gateway = None;
        self.route = None;
        self.version = None;
        self.has_own_path = false;
        self.before = Reached::default();
        self.reached = Reached::default();
        self.is_started = false;
        self.is_prepared = false;
        self.is_cut = false;
        self.due = u64::MAX;
        self.client_due = u64::MAX;
        self.has_deadline = false;
        self.depth = 0;
        self.tunnel = None;
        self.protocol = narthex_wire::Version::Http11;
    }
}

impl Run {
    /// The request is sent, or has nothing to send but its head: the route's time begins, once for all tries.
    pub(crate) fn begin_deadline(&mut self, line: &Line<'_>, route: &Route) {
        if !self.has_deadline {
            self.has_deadline = true;
            self.due = self.due.min(line.due(route.times.deadline));
        }
    }

    /// Follows the client's own deadline from now on, if it has one.
    pub(crate) fn follow_client(&mut self) {
        let began = self.exchange.began.monotonic;
        let due = deadline::of_client(&self.exchange.request.head).map_or(u64::MAX, |time| {
            began.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        });
        (self.due, self.client_due) = (due, due);
    }

    /// The client's own deadline is what counts.
    pub(crate) fn is_clients_due(&self) -> bool {
        self.due == self.client_due
    }
}

/// A client's connection, for as long as it or one of its streams is there. When it ends, the connections to services end
/// that are open on its behalf alone.
pub struct Guest {
    pub id: u64,
    worker: Rc<Worker>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.worker.pools().leave(self.id);
    }
}

/// The client's end of the socket.
pub struct Peer {
    pub address: Address,
    /// Which address of ours it is connected to.
    pub own: Address,
    /// Of a connection: its number on this worker, and what ends with it.
    pub guest: Option<Guest>,
    /// The address's IP as text, made once per connection; `unix:` of a Unix socket's client.
    pub text: Box<str>,
    /// Where the connection is encrypted.
    pub secured: Option<Secured>,
    /// What services were told of it last.
    pub(crate) told: RefCell<Option<Box<Told>>>,
}

impl Peer {
    pub fn new(address: Address, secured: Option<Secured>) -> Self {
        let text = match address {
            Address::Ip(address) => address.ip().to_canonical().to_string().into(),
            Address::Unix(_) => "unix:".into(),
        };
        Self { address, own: Address::UNNAMED, guest: None, text, secured, told: RefCell::default() }
    }

    /// The peer at the other end of this connection.
    pub fn connected(address: Address, stream: &Stream, worker: &Rc<Worker>) -> Self {
        let guest = Guest { id: worker.next_guest(), worker: Rc::clone(worker) };
        Self { own: stream.local_address(), guest: Some(guest), ..Self::new(address, Secured::of(stream)) }
    }

    /// Gives memory back while the connection is idle.
    pub fn rest(&self) {
        self.told.take();
    }
}

/// The way to the client, for the length of one exchange.
pub struct Line<'a> {
    pub client: &'a mut Inbound,
    pub deadline: &'a mut Deadline,
    pub peer: &'a Peer,
    pub listener: usize,
    /// Of the same snapshot as `snapshot`.
    pub plan: Arc<ListenerPlan>,
    pub snapshot: Rc<Pinned>,
    pub worker: &'a Rc<Worker>,
    /// The connection ends after this exchange.
    pub close: bool,
}

/// Why a wait ended without its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    ClientGone,
    TimedOut,
}

impl Line<'_> {
    /// Takes the configuration that is live now; one without this listener leaves the one that the line has.
    pub fn pin(&mut self) {
        if self.worker.has_live(&self.snapshot) {
            return;
        }
        let snapshot = self.worker.snapshot();
        if let Some(plan) = snapshot.listener(self.listener) {
            self.plan = Arc::clone(plan);
            self.snapshot = snapshot;
        }
    }

    /// Waits for `poll` until `due` (monotonic nanoseconds) or until the client leaves.
    pub async fn wait<T>(
        &mut self,
        due: u64,
        mut poll: impl FnMut(&mut Context<'_>, &mut Inbound) -> Poll<T>,
    ) -> Result<T, Interrupt> {
        let mut has_waited = false;
        poll_fn(|cx| {
            if let Poll::Ready(value) = poll(cx, self.client) {
                if has_waited {
                    self.worker.refresh();
                }
                return Poll::Ready(Ok(value));
            }
            has_waited = true;
            self.poll_interrupt(cx, due).map(Err)
        })
        .await
    }

    /// As `wait`, for a future that does not need the client.
    pub async fn wait_for<T>(&mut self, due: u64, future: impl Future<Output = T>) -> Result<T, Interrupt> {
        let mut future = pin!(future);
        self.wait(due, |cx, _| future.as_mut().poll(cx)).await
    }

    pub fn poll_interrupt(&mut self, cx: &mut Context<'_>, due: u64) -> Poll<Interrupt> {
        if self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Interrupt::ClientGone);
        }
        self.deadline.poll(cx, self.worker.clock(), due).map(|()| Interrupt::TimedOut)
    }

    /// Monotonic nanoseconds `after` from now.
    pub fn due(&self, after: std::time::Duration) -> u64 {
        self.worker.now().saturating_add(after.as_nanos() as u64)
    }
}
