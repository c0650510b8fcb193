//! A client's connection: idle without a buffer, then one exchange after the other (HTTP/1.1) or side by side (HTTP/2).

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use narthex_contract::{Detail, Reason, core};
use narthex_net::{BodyBuffer, Deadline, H1Server, HeadError, Inbound, Stream};
use narthex_wire::{Address, Known, Name, ParseError, Version};

use crate::accept::client_of;
use crate::answer::{refusal, stamp};
use crate::connection_h2::serve_h2;
use crate::exchange::{Interrupt, Line, Peer, Run};
use crate::finish::Finish;
use crate::places::Place;
use crate::raw::serve_raw;
use crate::request::handle;
use crate::routing::identify;
use crate::secure::shake_hands;
use crate::shedding::Excess;
use crate::worker::{Phase, Registered, Worker};

/// How long, and how many bytes, a closing connection still listens so that the last answer is not lost to a reset.
pub const LINGER: Duration = Duration::from_secs(1);
pub const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// When the worker closes idle connections, a request may be on its way already: for so long one is still taken.
const LAST_CALL: Duration = Duration::from_millis(50);
/// The same for a connection that was just accepted: its client has never been answered.
const FIRST_CALL: Duration = Duration::from_secs(1);

/// For so long a connection keeps what it needs for the next request; then it is idle and holds next to nothing.
const WARM: Duration = Duration::from_secs(1);

/// Serves one connection to its end.
///
/// `place`: what it takes up of the listener, until it ends.
#[expect(
    clippy::manual_async_fn,
    reason = "it would hold its arguments twice, for as long as the connection is idle"
)]
pub fn serve(
    stream: Stream,
    peer: Address,
    listener: usize,
    mut place: Place,
    worker: Rc<Worker>,
) -> impl Future<Output = ()> {
    async move {
        let registered = worker.register();
        let entered = Box::pin(enter(stream, peer, listener, &mut place, &worker, &registered)).await;
        let Some((stream, peer)) = entered else { return };
        if stream.speaks_h2() {
            let Some(plan) = worker.snapshot().listener(listener).cloned() else { return };
            worker.refresh();
            Box::pin(serve_h2(stream, Vec::new(), listener, &plan, peer, &worker, &registered)).await;
            return;
        }
        let mut deadline = Deadline::default();
        let mut inbound = Inbound::H1(H1Server::new(stream));
        let mut served = 0;
        worker.refresh();
        loop {
            let Some(plan) = worker.snapshot().listener(listener).cloned() else { return };
            let due = worker.due(if served == 0 { plan.bounds.head } else { plan.bounds.idle });
            let waiting = Waiting {
                inbound: &mut inbound,
                deadline: &mut deadline,
                worker: &worker,
                registered: &registered,
                last_call: if served == 0 { FIRST_CALL } else { LAST_CALL },
            };
            match waiting.request(due, plan.bounds.half_close).await {
                Readiness::Ready => {}
                Readiness::Late | Readiness::Over => return,
            }
            let connection = Connection {
                inbound: &mut inbound,
                deadline: &mut deadline,
                peer: &peer,
                listener,
                worker: &worker,
                registered: &registered,
                served: &mut served,
            };
            match Box::pin(connection.exchanges()).await {
                Next::Another | Next::Nothing => {
                    if let Inbound::H1(server) = &mut inbound {
                        server.rest();
                    }
                    peer.rest();
                }
                Next::Close => break,
                Next::Drop => return,
                Next::Http2(first) => {
                    let Inbound::H1(server) = inbound else { return };
                    if plan.bounds.http2 {
                        let stream = server.into_stream();
                        Box::pin(serve_h2(stream, first, listener, &plan, peer, &worker, &registered)).await;
                    }
                    return;
                }
            }
        }
        Box::pin(linger(inbound, &mut deadline, &worker)).await;
    }
}

/// What comes before HTTP: the balancer's header, the TLS handshake. `None`: one of them failed, or the listener passes connections through and this one
/// is over.
async fn enter(
    mut stream: Stream,
    peer: Address,
    listener: usize,
    place: &mut Place,
    worker: &Rc<Worker>,
    registered: &Registered,
) -> Option<(Stream, Rc<Peer>)> {
    let plan = worker.snapshot().listener(listener).cloned()?;
    let peer = client_of(&mut stream, peer, &plan, place, worker).await?;
    if let Some(raw) = &plan.raw {
        serve_raw(stream, peer, &plan, raw, worker, registered).await;
        return None;
    }
    let tls = plan.tls.clone();
    drop(plan);
    if let Some(tls) = tls {
        stream = shake_hands(stream, &tls, worker).await?;
    }
    let peer = Rc::new(Peer::connected(peer, &stream, worker));
    Some((stream, peer))
}

/// What ended the wait for a request.
enum Readiness {
    Ready,
    /// None came in time.
    Late,
    /// The worker closes idle connections.
    Over,
}

/// A connection between two requests.
struct Waiting<'a> {
    inbound: &'a mut Inbound,
    deadline: &'a mut Deadline,
    worker: &'a Worker,
    registered: &'a Registered,
    /// For so long a request is still taken when the worker closes idle connections.
    last_call: Duration,
}

impl<'a> Waiting<'a> {
    /// No `async fn`: an idle connection holds this future, and it would hold all of it twice.
    fn request(self, due: u64, half_close: bool) -> impl Future<Output = Readiness> + use<'a> {
        let Self { inbound, deadline, worker, registered, last_call } = self;
        let mut closes_at = None;
        poll_fn(move |cx| {
            registered.note(cx.waker());
            let Inbound::H1(server) = &mut *inbound else { return Poll::Ready(Readiness::Over) };
            server.half_close = half_close;
            if server.poll_idle(cx).is_ready() {
                return Poll::Ready(Readiness::Ready);
            }
            if worker.phase() == Phase::Closing {
                let until = *closes_at.get_or_insert_with(|| {
                    worker.refresh();
                    worker.due(last_call)
                });
                return deadline.poll(cx, worker.clock(), until).map(|()| Readiness::Over);
            }
            deadline.poll(cx, worker.clock(), due).map(|()| Readiness::Late)
        })
    }
}

/// A connection at work.
struct Connection<'a> {
    inbound: &'a mut Inbound,
    deadline: &'a mut Deadline,
    peer: &'a Rc<Peer>,
    listener: usize,
    worker: &'a Rc<Worker>,
    registered: &'a Registered,
    served: &'a mut u64,
}

impl Connection<'_> {
    /// One exchange after the other, until the connection ends or is idle for a moment (`Another`).
    async fn exchanges(self) -> Next {
        loop {
            let worker = self.worker;
            let snapshot = worker.snapshot();
            let Some(plan) = snapshot.listener(self.listener).cloned() else { return Next::Close };
            *self.served += 1;
            let close =
                *self.served >= plan.bounds.requests_per_connection || worker.phase() != Phase::Serving;
            let half_close = plan.bounds.half_close;
            let line = Line {
                client: self.inbound,
                deadline: self.deadline,
                peer: self.peer,
                listener: self.listener,
                plan,
                snapshot,
                worker,
                close,
            };
            match h1_exchange(line).await {
                Next::Another => {}
                Next::Nothing => {
                    *self.served -= 1;
                    return Next::Another;
                }
                next => return next,
            }
            let (inbound, deadline) = (&mut *self.inbound, &mut *self.deadline);
            let registered = self.registered;
            let waiting = Waiting { inbound, deadline, worker, registered, last_call: LAST_CALL };
            match waiting.request(worker.due(WARM), half_close).await {
                Readiness::Ready => {}
                Readiness::Late => return Next::Another,
                Readiness::Over => return Next::Drop,
            }
        }
    }
}

/// What follows an exchange.
pub enum Next {
    Another,
    /// There was no request: the reactor had announced bytes that are not there (a fresh socket is announced so).
    Nothing,
    Close,
    /// Nothing is owed to the client: it is gone, was cut off, or has said all and been told all.
    Drop,
    Http2(Vec<u8>),
}

async fn h1_exchange(mut line: Line<'_>) -> Next {
    let mut finish = Finish::new(line.worker);
    let run = &mut *finish;
    run.exchange.began = line.worker.moment();
    let head_due = line.due(line.plan.bounds.head);
    let read = poll_fn(|cx| {
        let Inbound::H1(server) = &mut *line.client else { return Poll::Ready(Err(Interrupt::ClientGone)) };
        let Run { exchange, parser, .. } = &mut *run;
        if let Poll::Ready(read) =
            server.poll_head(cx, &mut exchange.request, parser, &line.plan.bounds.limits)
        {
            return Poll::Ready(Ok(Some(read)));
        }
        if exchange.request.buffer_mut().is_empty() {
            return Poll::Ready(Ok(None));
        }
        line.deadline.poll(cx, line.worker.clock(), head_due).map(|()| Err(Interrupt::TimedOut))
    })
    .await;
    let Some(read) = read.transpose() else {
        finish.is_void = true;
        return Next::Nothing;
    };
    match read {
        Ok(Ok(())) => {}
        Ok(Err(HeadError::Preface)) => {
            finish.is_void = true;
            let first = std::mem::take(finish.exchange.request.buffer_mut());
            return Next::Http2(first);
        }
        Ok(Err(HeadError::Malformed(error))) => return refuse_head(finish, line, error).await,
        Ok(Err(HeadError::Idle)) => {
            finish.is_void = true;
            return Next::Drop;
        }
        Err(Interrupt::TimedOut) => {
            let next = answer_bare(&mut finish, &mut line, core::HEAD_TIMEOUT, Detail::default()).await;
            finish.is_client_gone = next.is_err();
            return Next::Close;
        }
        Ok(Err(_)) | Err(_) => return Next::Drop,
    }
    finish.protocol = finish.exchange.request.version;
    if let Some(excess) = line.worker.shedding().excess() {
        finish.is_client_gone = shed(&mut finish, &mut line, excess).await.is_err();
        return Next::Close;
    }
    let ended = guarded(&mut finish, &mut line).await;
    finish.is_client_gone = ended == Ended::ClientGone;
    drop(finish);
    let Inbound::H1(server) = &mut *line.client else { return Next::Drop };
    match ended {
        Ended::ClientGone => return Next::Drop,
        Ended::Cut if server.must_reset() => return Next::Drop,
        Ended::Cut => return Next::Close,
        Ended::Answered => {}
    }
    if !server.keeps_alive() {
        return if server.has_said_all() { Next::Drop } else { Next::Close };
    }
    if !server.body_is_done() && drain_body(&mut line).await.is_err() {
        return Next::Close;
    }
    Next::Another
}

/// How the handling of a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Answered,
    /// The answer broke off, visibly.
    Cut,
    ClientGone,
}

/// Handles the request; a panic or a time-out of a policy ends this exchange only.
pub async fn guarded(run: &mut Run, line: &mut Line<'_>) -> Ended {
    let handled = {
        let mut handling = std::pin::pin!(handle(run, line));
        poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(ended)) => Poll::Ready(Some(ended)),
            Err(_) => Poll::Ready(None),
        })
        .await
    };
    if !matches!(handled, Some(Ok(()))) {
        // What a service still works on is given up.
        run.call = None;
    }
    let reason = match handled {
        Some(Ok(())) => {
            let is_cut = run.is_started && run.is_cut;
            return if is_cut { Ended::Cut } else { Ended::Answered };
        }
        Some(Err(Interrupt::ClientGone)) => return Ended::ClientGone,
        Some(Err(Interrupt::TimedOut)) => core::DEADLINE,
        None => {
            line.worker.metrics().panics.add(1);
            core::INTERNAL
        }
    };
    if run.is_started {
        run.exchange.answered = narthex_contract::Answered::Gateway(reason);
        line.client.cut();
        return Ended::Cut;
    }
    match answer_bare(run, line, reason, Detail::default()).await {
        Ok(()) => Ended::Answered,
        Err(()) => Ended::ClientGone,
    }
}

pub async fn refuse_head(mut finish: Finish, mut line: Line<'_>, error: ParseError) -> Next {
    let reason = match (error, error.status()) {
        (ParseError::UnknownExpectation, _) => core::EXPECTATION_FAILED,
        (_, 414) => core::URI_TOO_LONG,
        (_, 431) => core::HEAD_TOO_LARGE,
        (_, 505) => core::VERSION_UNSUPPORTED,
        _ => core::BAD_REQUEST,
    };
    let detail =
        Detail { operator: Detail::operator(error.to_string()).operator, ..Detail::client(error.code()) };
    let sent = answer_bare(&mut finish, &mut line, reason, detail).await;
    finish.is_client_gone = sent.is_err();
    Next::Close
}

/// Refuses a request before anything is done for it, because the gateway has too much to do.
pub async fn shed(run: &mut Run, line: &mut Line<'_>, excess: Excess) -> Result<(), ()> {
    let seconds = line.worker.shedding().retry_after().to_string();
    let detail = Detail::client(excess.as_str()).field(Name::known(Known::RetryAfter), seconds);
    answer_bare(run, line, core::OVERLOADED, detail).await
}

/// An answer outside of any route: no policies, and the connection closes.
async fn answer_bare(run: &mut Run, line: &mut Line<'_>, reason: Reason, detail: Detail) -> Result<(), ()> {
    if run.exchange.request_id.is_empty() {
        identify(run, line);
    }
    let answer = refusal(run, reason, detail);
    let crate::answer::Answer::Own(body) = answer else { return Err(()) };
    stamp(run, line);
    run.is_started = true;
    if run.exchange.request.version == Version::Http2 {
        run.exchange.request.version = run.protocol;
    }
    let has_body = line.client.start(&run.response, &run.exchange.request, true);
    let mut buffer = BodyBuffer::default();
    if let narthex_contract::Body::Bytes(bytes) = &body
        && has_body
    {
        buffer.fill_from(bytes);
        run.exchange.bytes_out = bytes.len() as u64;
    }
    let due = line.due(line.plan.bounds.write);
    let sent = poll_fn(|cx| {
        if let Poll::Ready(sent) = line.client.poll_send(cx, &mut buffer, true) {
            return Poll::Ready(sent.map_err(drop));
        }
        line.deadline.poll(cx, line.worker.clock(), due).map(|()| Err(()))
    });
    sent.await
}

/// Reads the little that is left of a request's body, so that the connection can be kept.
async fn drain_body(line: &mut Line<'_>) -> Result<(), ()> {
    let due = line.due(LINGER);
    let mut buffer = BodyBuffer::default();
    loop {
        let filled = line.wait(due, |cx, client| client.poll_fill(cx, &mut buffer)).await;
        buffer.advance(usize::MAX);
        buffer.reset();
        match filled {
            Ok(Ok(narthex_net::Fill::End)) => return Ok(()),
            Ok(Ok(narthex_net::Fill::Data)) => {}
            _ => return Err(()),
        }
    }
}

/// Ends our side, then listens for a moment: a reset would destroy the answer that is still on its way.
pub async fn linger(inbound: Inbound, deadline: &mut Deadline, worker: &Worker) {
    let Inbound::H1(mut server) = inbound else { return };
    let due = worker.due(LINGER);
    let mut discarded = 0;
    let mut is_shut = false;
    poll_fn(|cx| {
        if !is_shut {
            match server.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => is_shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        while let Poll::Ready(read) = server.poll_discard(cx) {
            match read {
                Ok(count) if count > 0 && discarded < LINGER_BYTES => discarded += count,
                _ => return Poll::Ready(()),
            }
        }
        deadline.poll(cx, worker.clock(), due)
    })
    .await;
}
