//! A tunnel: raw bytes both ways between a client and an instance, each direction with one bounded buffer, back-pressure
//! and an end of its own. It knows no bytes' meaning but where a WebSocket's frame ends, for the close frame that is
//! put in when the gateway ends a tunnel. Buffers nothing beyond that, and outlives reloads.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use narthex_net::{BodyBuffer, Deadline, Fill, Inbound, Outbound, PollFill, PollSend};
use narthex_telemetry::TunnelEnd;
use narthex_wire::websocket::{Frames, GOING_AWAY, close_frame};
use slab::Slab;

use crate::worker::{Phase, Worker};

/// Bytes that one direction moves before it lets others have a turn.
const TURN: usize = 64 * 1024;
/// How long one end of a WebSocket may carry nothing after the other one has ended.
const HALF: Duration = Duration::from_secs(10);
/// How long both ends have to take the gateway's leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// One end of a tunnel.
trait Side {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill;
    fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend;
    fn poll_end(&mut self, cx: &mut Context<'_>) -> PollSend;
}

macro_rules! side {
    ($type:ty) => {
        impl Side for $type {
            fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
                self.poll_fill(cx, buffer)
            }
            fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
                self.poll_send(cx, buffer, last)
            }
            fn poll_end(&mut self, cx: &mut Context<'_>) -> PollSend {
                self.poll_end(cx)
            }
        }
    };
}
side!(Inbound);
side!(Outbound);

/// How a tunnel is carried.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long it may carry nothing.
    pub idle: Duration,
    pub is_websocket: bool,
}

/// What became of a tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    pub from_client: u64,
    pub from_service: u64,
    pub end: TunnelEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fill,
    Send {
        last: bool,
    },
    /// All is sent: our side of the sink ends.
    End,
    Done,
}

/// One direction.
struct Flow {
    buffer: BodyBuffer,
    state: State,
    carried: u64,
    frames: Option<Frames>,
    /// What is put in at the next end of a frame, as the last bytes.
    farewell: Option<Vec<u8>>,
    /// The source has ended, or nobody listens to it any more.
    is_read: bool,
}

/// Which end broke.
enum Lost {
    Source,
    Sink,
}

impl Flow {
    fn new(is_websocket: bool) -> Self {
        Self {
            buffer: BodyBuffer::default(),
            state: State::Fill,
            carried: 0,
            frames: is_websocket.then(Frames::default),
            farewell: None,
            is_read: false,
        }
    }

    fn is_over(&self) -> bool {
        self.state == State::Done && self.is_read
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
    ) -> Result<(), Lost> {
        let mut turn = TURN;
        loop {
            let polled = match self.state {
                State::Fill if self.may_leave() => {
                    self.leave();
                    Poll::Ready(Ok(()))
                }
                State::Fill => self.poll_source(cx, source, sink, &mut turn),
                State::Send { last } => self.poll_sink(cx, sink, last),
                State::End => sink.poll_end(cx).map(|ended| {
                    self.state = State::Done;
                    // The sink is gone already: then so is what it might have said.
                    drop(ended);
                    Ok(())
                }),
                State::Done if self.is_read => return Ok(()),
                State::Done => self.poll_discard(cx, source, &mut turn),
            };
            match polled {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(lost)) => return Err(lost),
                Poll::Pending => return Ok(()),
            }
            if turn == 0 {
                cx.waker().wake_by_ref();
                return Ok(());
            }
        }
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
        turn: &mut usize,
    ) -> Poll<Result<(), Lost>> {
        let Poll::Ready(filled) = source.poll_fill(cx, &mut self.buffer) else {
            // A head that is not out yet must not wait for what comes.
            if let Poll::Ready(Err(_)) = sink.poll_send(cx, &mut self.buffer, false) {
                return Poll::Ready(Err(Lost::Sink));
            }
            self.buffer.release();
            return Poll::Pending;
        };
        let Ok(fill) = filled else { return Poll::Ready(Err(Lost::Source)) };
        self.is_read = fill == Fill::End;
        if let Some(frames) = &mut self.frames {
            match &self.farewell {
                None => frames.pass(self.buffer.data()),
                Some(_) => {
                    if let Some(count) = frames.finish(self.buffer.data()) {
                        self.buffer.truncate(count);
                    }
                }
            }
        }
        let count = self.buffer.data().len();
        self.carried += count as u64;
        *turn = turn.saturating_sub(count);
        self.state = State::Send { last: self.is_read };
        Poll::Ready(Ok(()))
    }

    fn poll_sink(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Side,
        last: bool,
    ) -> Poll<Result<(), Lost>> {
        match sink.poll_send(cx, &mut self.buffer, last) {
            Poll::Ready(Ok(())) => {
                self.buffer.reset();
                self.state = if last { State::End } else { State::Fill };
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Lost::Sink)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// What still comes from a source that was taken leave of: an answer to the close frame, data that were on their way.
    fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        turn: &mut usize,
    ) -> Poll<Result<(), Lost>> {
        let Poll::Ready(filled) = source.poll_fill(cx, &mut self.buffer) else { return Poll::Pending };
        *turn = turn.saturating_sub(self.buffer.data().len());
        self.buffer.advance(usize::MAX);
        self.buffer.reset();
        self.is_read = !matches!(filled, Ok(Fill::Data));
        Poll::Ready(Ok(()))
    }

    fn may_leave(&self) -> bool {
        self.farewell.is_some() && self.frames.as_ref().is_none_or(Frames::is_between)
    }

    fn leave(&mut self) {
        let farewell = self.farewell.take().unwrap_or_default();
        if !farewell.is_empty() {
            self.buffer.fill_from(&farewell);
        }
        self.state = State::Send { last: true };
    }
}

/// A tunnel between two ends.
pub struct Tunnel<'t> {
    pub worker: &'t Rc<Worker>,
    pub deadline: &'t mut Deadline,
    pub client: &'t mut Inbound,
    pub service: &'t mut Outbound,
    pub rules: Rules,
}

/// How far a tunnel has come.
struct Progress {
    up: Flow,
    down: Flow,
    /// What ended first, by itself.
    first: Option<TunnelEnd>,
    /// Why the gateway takes its leave.
    leaving: Option<TunnelEnd>,
    moved: u64,
    /// Of a WebSocket, which has no half-close, one side has ended.
    has_half: bool,
    due: u64,
}

impl Tunnel<'_> {
    /// Carries until both directions have ended, one end is lost, or nothing moves for too long. `must_end` is asked
    /// whenever something happens, a reload and the drain included.
    pub async fn carry(mut self, mut must_end: impl FnMut() -> Option<TunnelEnd>) -> Carried {
        let place = self.worker.tunnels().enter();
        let worker = self.worker;
        worker.metrics().tunnels.add(1);
        let counted = Counted(worker);
        worker.refresh();
        let mut progress = Progress {
            up: Flow::new(self.rules.is_websocket),
            down: Flow::new(self.rules.is_websocket),
            first: None,
            leaving: None,
            moved: 0,
            has_half: false,
            due: worker.due(self.rules.idle),
        };
        let end = poll_fn(|cx| {
            place.note(cx.waker());
            if progress.leaving.is_none()
                && let Some(reason) = must_end()
            {
                self.take_leave(&mut progress, reason);
            }
            self.poll(cx, &mut progress)
        })
        .await;
        match end {
            TunnelEnd::ClientLost => self.service.cut(),
            TunnelEnd::ServiceLost => self.client.cut(),
            _ => {}
        }
        drop(counted);
        worker.metrics().tunnel_ended(end, progress.up.carried, progress.down.carried);
        Carried { from_client: progress.up.carried, from_service: progress.down.carried, end }
    }

    fn poll(&mut self, cx: &mut Context<'_>, progress: &mut Progress) -> Poll<TunnelEnd> {
        loop {
            let up = progress.up.poll(cx, self.client, self.service);
            let down = progress.down.poll(cx, self.service, self.client);
            let lost = match (up, down) {
                (Err(Lost::Source), _) | (_, Err(Lost::Sink)) => Some(TunnelEnd::ClientLost),
                (Err(Lost::Sink), _) | (_, Err(Lost::Source)) => Some(TunnelEnd::ServiceLost),
                (Ok(()), Ok(())) => self.client.poll_lost(cx).is_ready().then_some(TunnelEnd::ClientLost),
            };
            let Progress { up, down, first, leaving, .. } = &mut *progress;
            if first.is_none() {
                *first = match (up.is_read, down.is_read) {
                    (true, _) => Some(TunnelEnd::ClientClosed),
                    (_, true) => Some(TunnelEnd::ServiceClosed),
                    _ => None,
                };
            }
            let so_far = leaving.or(*first);
            if let Some(lost) = lost {
                return Poll::Ready(so_far.unwrap_or(lost));
            }
            if let Some(end) = so_far
                && up.is_over()
                && down.is_over()
            {
                return Poll::Ready(end);
            }
            let moved = up.carried + down.carried;
            let has_half = self.rules.is_websocket && first.is_some();
            if leaving.is_none() && (moved != progress.moved || has_half != progress.has_half) {
                progress.moved = moved;
                progress.has_half = has_half;
                self.worker.refresh();
                progress.due = self.worker.due(if has_half { HALF } else { self.rules.idle });
            }
            if self.deadline.poll(cx, self.worker.clock(), progress.due).is_pending() {
                return Poll::Pending;
            }
            if let Some(end) = progress.leaving.or(progress.first.filter(|_| progress.has_half)) {
                return Poll::Ready(end);
            }
            self.take_leave(progress, TunnelEnd::Idle);
        }
    }

    /// A WebSocket is told by a close frame in each direction that is still open, other tunnels by their end.
    fn take_leave(&mut self, progress: &mut Progress, why: TunnelEnd) {
        progress.leaving = Some(why);
        self.worker.refresh();
        progress.due = self.worker.due(FAREWELL);
        let mask = (self.worker.random() as u32).to_be_bytes();
        for (flow, mask) in [(&mut progress.up, Some(mask)), (&mut progress.down, None)] {
            flow.farewell = Some(match self.rules.is_websocket {
                true => close_frame(GOING_AWAY, mask),
                false => Vec::new(),
            });
        }
    }
}

/// Counted among the open tunnels, until it is dropped.
struct Counted<'w>(&'w Worker);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics().tunnels.sub(1);
    }
}

/// A worker's tunnels, to wake them: idle ones see neither a reload nor the drain by themselves.
#[derive(Default)]
pub struct Places(RefCell<Slab<Option<Waker>>>);

impl Places {
    fn enter(&self) -> Place<'_> {
        Place { places: self, key: self.0.borrow_mut().insert(None) }
    }

    pub fn wake(&self) {
        for (_, waker) in &*self.0.borrow() {
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
    }
}

struct Place<'p> {
    places: &'p Places,
    key: usize,
}

impl Place<'_> {
    fn note(&self, waker: &Waker) {
        if let Some(noted) = self.places.0.borrow_mut().get_mut(self.key) {
            match noted {
                Some(known) if known.will_wake(waker) => {}
                _ => *noted = Some(waker.clone()),
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.0.borrow_mut().remove(self.key);
    }
}

/// What ends a tunnel from outside: the drain, once the grace time is over.
pub fn drained(worker: &Worker) -> Option<TunnelEnd> {
    (worker.phase() == Phase::Closing).then_some(TunnelEnd::Drained)
}
