//! Accepting connections on one worker, within the listener's bounds, and giving one away where another worker is less
//! loaded. Reads nothing of what a client sends.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use narthex_contract::{Detail, core};
use narthex_net::runtime::{Accepting, sleep, spawn};
use narthex_net::{Deadline, H1Server, Inbound, Stream};
use narthex_telemetry::TurnedAway;

use crate::connection::{linger, serve};
use crate::places::Place;
use crate::problem::problem_json;
use crate::snapshot::ListenerPlan;
use crate::worker::Worker;

/// How long accepting rests after an error of the system (no descriptors left).
const REST: Duration = Duration::from_millis(50);
/// A worker gives connections away when it has this many more than the least loaded one, and an eighth.
const UNEVEN: usize = 4;
/// Connections that one worker tells at once why it turns them away; those beyond are closed without a word.
const TOLD: usize = 64;

/// A connection that was accepted and that nobody serves yet.
pub struct Newcomer {
    pub stream: OwnedFd,
    pub peer: SocketAddr,
    pub listener: usize,
    pub place: Place,
}

/// Accepts until the listener is taken away; then what the kernel has queued, to the last one.
pub async fn accept_on(listener: Accepting, index: usize, worker: Rc<Worker>) {
    loop {
        let accepted = poll_fn(|cx| {
            worker.note_acceptor(index, cx.waker());
            match listener.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending if !worker.listens(index) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        match accepted {
            None => return accept_queued(&listener, index, &worker),
            Some(Ok((stream, peer))) => take(stream, peer, index, &worker),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(REST).await;
            }
        }
    }
}

/// The last look into the kernel's queue. Without the reactor: what it has not yet told of is there all the same, and
/// would be reset with the socket.
fn accept_queued(listener: &Accepting, index: usize, worker: &Rc<Worker>) {
    while let Ok(Some((stream, peer))) = listener.accept() {
        if let Some(newcomer) = admit(stream, peer, index, worker) {
            adopt(newcomer, worker);
        }
    }
}

fn take(stream: OwnedFd, peer: SocketAddr, index: usize, worker: &Rc<Worker>) {
    let Some(newcomer) = admit(stream, peer, index, worker) else { return };
    let Some(other) = worker.less_loaded(UNEVEN) else {
        adopt(newcomer, worker);
        return;
    };
    if let Err(newcomer) = worker.hand_over(other, newcomer) {
        adopt(newcomer, worker);
    }
}

/// Within the bounds, or not.
fn admit(stream: OwnedFd, peer: SocketAddr, index: usize, worker: &Rc<Worker>) -> Option<Newcomer> {
    worker.metrics().accepted.add(1);
    let snapshot = worker.snapshot();
    let plan = snapshot.listener(index)?;
    let Some(mut place) = plan.places.take(plan.bounds.connections) else {
        turn_away(stream, plan, TurnedAway::Connections, worker);
        return None;
    };
    let is_proxied = plan.proxied.as_ref().is_some_and(|rules| rules.covers(peer.ip()));
    // On whose behalf it comes is not known yet.
    if !is_proxied && !place.count(peer.ip(), plan.bounds.connections_per_ip) {
        turn_away(stream, plan, TurnedAway::ConnectionsPerIp, worker);
        return None;
    }
    Some(Newcomer { stream, peer, listener: index, place })
}

/// Who the client is of a connection that a balancer passes on; of any other, the peer. `None`: it is turned away.
pub async fn client_of(
    stream: &mut Stream,
    peer: SocketAddr,
    plan: &ListenerPlan,
    place: &mut Place,
    worker: &Worker,
) -> Option<SocketAddr> {
    let Some(rules) = plan.proxied.as_ref().filter(|rules| rules.covers(peer.ip())) else {
        return Some(peer);
    };
    let why = match rules.client(stream, peer, worker).await {
        Ok(client) if place.count(client.ip(), plan.bounds.connections_per_ip) => return Some(client),
        Ok(_) => TurnedAway::ConnectionsPerIp,
        Err(what) => {
            tracing::debug!(%peer, what, "a connection without a header of the PROXY protocol");
            TurnedAway::ProxyProtocol
        }
    };
    worker.metrics().turned_away(why);
    None
}

/// Closes a connection. A client that speaks HTTP in the clear is told why, as long as that is cheap; a handshake, only
/// to refuse what comes after it, is not.
fn turn_away(stream: OwnedFd, plan: &ListenerPlan, why: TurnedAway, worker: &Rc<Worker>) {
    worker.metrics().turned_away(why);
    let telling = worker.turning_away();
    if plan.raw.is_some() || plan.tls.is_some() || telling.get() >= TOLD {
        return;
    }
    worker.count_refusal(core::TOO_MANY_CONNECTIONS.code());
    let Ok(stream) = Stream::adopt(stream) else { return };
    telling.set(telling.get() + 1);
    let worker = Rc::clone(worker);
    spawn(async move {
        tell(stream, why, &worker).await;
        worker.turning_away().set(worker.turning_away().get() - 1);
    });
}

async fn tell(mut stream: Stream, why: TurnedAway, worker: &Worker) {
    let reason = core::TOO_MANY_CONNECTIONS;
    let body = problem_json(reason, &Detail::client(why.as_str()), "");
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Retry-After: 1\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A fresh socket takes so little at once, or its client is no longer there.
    let written = poll_fn(|cx| stream.poll_write_two(cx, head.as_bytes(), &body)).await;
    if written.is_ok() {
        worker.refresh();
        linger(Inbound::H1(H1Server::new(stream)), &mut Deadline::default(), worker).await;
    }
}

/// Serves a connection that this worker, or another one, accepted.
pub fn adopt(newcomer: Newcomer, worker: &Rc<Worker>) {
    let Newcomer { stream, peer, listener, place } = newcomer;
    match Stream::adopt(stream) {
        Ok(stream) => spawn(serve(stream, peer, listener, place, Rc::clone(worker))),
        Err(error) => tracing::warn!(%error, "cannot watch a connection"),
    }
}
