//! A client's HTTP/2 connection: each stream is an exchange in a task of its own; one driver accepts, drains, ends.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use narthex_net::{Accepted, Deadline, H2Server, H2ServerStream, HeadError, Inbound, Stream, accept_h2};
use narthex_telemetry::FloodKind;
use narthex_wire::Version;

use crate::connection::{Ended, LINGER, LINGER_BYTES, guarded, refuse_head, shed};
use crate::exchange::{Line, Peer};
use crate::finish::Finish;
use crate::flood::Floods;
use crate::snapshot::ListenerPlan;
use crate::worker::{Phase, Registered, Worker};

/// How long an HTTP/2 client has to acknowledge that its idle connection ends.
const GOODBYE: Duration = Duration::from_secs(2);
/// Reads of what is dropped, before others have their turn.
const READS_PER_TURN: usize = 8;

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
        let driver = Driver { server, listener, plan, worker, registered, deadline };
        driver.drive(peer).await;
    }
}

/// What accepts streams, and ends the connection.
struct Driver<'d> {
    server: H2Server,
    listener: usize,
    plan: &'d ListenerPlan,
    worker: &'d Rc<Worker>,
    registered: &'d Registered,
    deadline: Deadline,
}

/// What the driver knows of the connection.
#[derive(Default)]
struct Course {
    is_drained: bool,
    idle_due: u64,
    floods: Floods,
    /// The client was told to calm down.
    flooded: Option<FloodKind>,
}

impl Driver<'_> {
    async fn drive(mut self, peer: Rc<Peer>) {
        let open = Rc::new(Cell::new(0usize));
        let mut course = Course { idle_due: self.worker.due(self.plan.bounds.idle), ..Course::default() };
        let mut served = 0;
        loop {
            let accepted = match self.next(&mut course, &open).await {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => {
                    let flood = course.flooded.or_else(|| FloodKind::by_name(self.server.flood_of(&error)?));
                    return self.ended(flood).await;
                }
                None => return self.ended(course.flooded).await,
            };
            served += 1;
            if served == self.plan.bounds.requests_per_connection {
                self.drain(&mut course);
            }
            open.set(open.get() + 1);
            let (worker, peer, open) = (Rc::clone(self.worker), Rc::clone(&peer), Rc::clone(&open));
            let listener = self.listener;
            narthex_net::runtime::spawn(async move {
                h2_exchange(accepted, listener, &peer, &worker).await;
                open.set(open.get() - 1);
            });
        }
    }

    /// The next stream. `None`: there will be no other.
    async fn next(
        &mut self,
        course: &mut Course,
        open: &Cell<usize>,
    ) -> Option<Result<Accepted, narthex_net::H2Error>> {
        poll_fn(|cx| {
            self.registered.note(cx.waker());
            let is_wanted =
                self.worker.phase() == Phase::Serving && self.worker.shedding().excess().is_none();
            if !is_wanted && !course.is_drained {
                self.drain(course);
            }
            let accepted = self.server.poll_accept(cx);
            if course.flooded.is_none() {
                course.flooded =
                    course.floods.look(self.server.frames(), self.plan.bounds.floods, self.worker.now());
                if course.flooded.is_some() {
                    self.server.calm();
                    course.idle_due = self.worker.due(GOODBYE);
                    course.is_drained = true;
                    cx.waker().wake_by_ref();
                }
            }
            if let Poll::Ready(accepted) = accepted {
                return Poll::Ready(accepted);
            }
            if open.get() > 0 && course.flooded.is_none() {
                self.worker.refresh();
                course.idle_due =
                    self.worker.due(if course.is_drained { GOODBYE } else { self.plan.bounds.idle });
            }
            if self.deadline.poll(cx, self.worker.clock(), course.idle_due).is_ready() {
                if course.is_drained {
                    // It never said that it has read the GOAWAY.
                    return Poll::Ready(None);
                }
                self.worker.refresh();
                self.drain(course);
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// GOAWAY: those streams that are open are the last.
    fn drain(&mut self, course: &mut Course) {
        course.is_drained = true;
        self.server.drain();
        course.idle_due = self.worker.due(GOODBYE).min(course.idle_due);
    }

    /// After a flood, listens for a moment to what is still on its way: a reset would destroy the GOAWAY.
    async fn ended(mut self, flood: Option<FloodKind>) {
        let Some(kind) = flood else { return };
        self.worker.metrics().flooded(kind);
        tracing::debug!(kind = kind.as_str(), "an HTTP/2 connection was ended for a flood");
        self.worker.refresh();
        let due = self.worker.due(LINGER);
        let mut discarded = 0;
        poll_fn(|cx| {
            for _ in 0..READS_PER_TURN {
                match self.server.poll_discard(cx) {
                    Poll::Ready(Ok(count)) if count > 0 && discarded < LINGER_BYTES => discarded += count,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll(cx, self.worker.clock(), due),
                }
            }
            cx.waker().wake_by_ref();
            self.deadline.poll(cx, self.worker.clock(), due)
        })
        .await;
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
        Ok(()) if let Some(excess) = worker.shedding().excess() => {
            finish.is_client_gone = shed(&mut finish, &mut line, excess).await.is_err();
        }
        Ok(()) => finish.is_client_gone = guarded(&mut finish, &mut line).await == Ended::ClientGone,
        Err(HeadError::Malformed(error)) => {
            refuse_head(finish, line, error).await;
        }
        Err(_) => {}
    }
    worker.give_deadline(deadline);
}
