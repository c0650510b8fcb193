//! A client's HTTP/2 connection: each stream is an exchange in a task of its own; one driver accepts, drains, ends.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use narthex_net::{Accepted, Deadline, H2Server, H2ServerStream, HeadError, Inbound, Stream, accept_h2};
use narthex_wire::Version;

use crate::connection::{Ended, guarded, refuse_head};
use crate::exchange::{Line, Peer};
use crate::finish::Finish;
use crate::snapshot::ListenerPlan;
use crate::worker::{Phase, Registered, Worker};

/// How long an HTTP/2 client has to acknowledge that its idle connection ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a connection that began with HTTP/2's preface (`first`: what was read of it) to its end.
pub async fn serve_h2(
    stream: Stream,
    first: Vec<u8>,
    listener: usize,
    plan: &ListenerPlan,
    peer: Rc<Peer>,
    worker: &Rc<Worker>,
    registered: &Registered,
) {
    let mut deadline = Deadline::default();
    let due = worker.due(plan.bounds.head);
    let mut accepting = std::pin::pin!(accept_h2(stream, first, &plan.bounds.h2));
    let accepted = poll_fn(|cx| {
        if let Poll::Ready(accepted) = accepting.as_mut().poll(cx) {
            return Poll::Ready(accepted.ok());
        }
        deadline.poll(cx, worker.clock(), due).map(|()| None)
    })
    .await;
    if let Some(server) = accepted {
        h2_streams(server, listener, plan.bounds.idle, peer, worker, registered, deadline).await;
    }
}

async fn h2_streams(
    mut server: H2Server,
    listener: usize,
    idle: Duration,
    peer: Rc<Peer>,
    worker: &Rc<Worker>,
    registered: &Registered,
    mut deadline: Deadline,
) {
    let open = Rc::new(Cell::new(0usize));
    let mut is_drained = false;
    let mut idle_due = worker.due(idle);
    loop {
        let accepted = poll_fn(|cx| {
            registered.note(cx.waker());
            if worker.phase() != Phase::Serving && !is_drained {
                is_drained = true;
                server.drain();
                idle_due = worker.due(GOODBYE).min(idle_due);
            }
            if let Poll::Ready(accepted) = server.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
            if open.get() > 0 {
                worker.refresh();
                idle_due = worker.due(if is_drained { GOODBYE } else { idle });
            }
            if deadline.poll(cx, worker.clock(), idle_due).is_ready() {
                if is_drained {
                    // It never said that it has read the GOAWAY.
                    return Poll::Ready(None);
                }
                is_drained = true;
                server.drain();
                worker.refresh();
                idle_due = worker.due(GOODBYE);
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        let Some(Ok(accepted)) = accepted else { return };
        open.set(open.get() + 1);
        let (worker, peer, open) = (Rc::clone(worker), Rc::clone(&peer), Rc::clone(&open));
        narthex_net::runtime::spawn(async move {
            h2_exchange(accepted, listener, &peer, &worker).await;
            open.set(open.get() - 1);
        });
    }
}

/// One stream.
async fn h2_exchange(accepted: Accepted, listener: usize, peer: &Peer, worker: &Rc<Worker>) {
    let snapshot = worker.snapshot();
    let Some(plan) = snapshot.listener(listener).cloned() else { return };
    let mut finish = Finish::new(worker);
    finish.exchange.began = worker.moment();
    finish.protocol = Version::Http2;
    let (stream, read) = H2ServerStream::adopt(accepted, &mut finish.exchange.request, &plan.bounds.limits);
    let mut inbound = Inbound::H2(stream);
    let mut deadline = worker.take_deadline();
    let mut line = Line {
        client: &mut inbound,
        deadline: &mut deadline,
        peer,
        listener,
        plan,
        snapshot,
        worker,
        close: false,
    };
    match read {
        Ok(()) => finish.is_client_gone = guarded(&mut finish, &mut line).await == Ended::ClientGone,
        Err(HeadError::Malformed(error)) => {
            refuse_head(finish, line, error).await;
        }
        Err(_) => {}
    }
    worker.give_deadline(deadline);
}
