//! A half-pump: one direction of an exchange, from a source through the streaming edits to a sink, with one bounded
//! buffer and back-pressure. Two of them are polled side by side, so that the directions are full duplex.

use std::task::{Context, Poll, ready};

use narthex_contract::{
    Body, BodySource, BodyStep, Frame, Input, Output, Reply, SourceError, Step, core, grpc,
};
use narthex_net::{BodyBuffer, Fault, Fill, Inbound, Outbound, PollFill, PollSend};
use narthex_wire::Head;
use smallvec::SmallVec;

use crate::mirror::Copying;
use crate::replay::Replay;

/// Bytes that a half-pump moves before it lets others have a turn.
const TURN: u64 = 64 * 1024;
/// Room for what a step makes.
const STEP_OUTPUT: usize = 16 * 1024;

/// Where bytes come from.
pub trait Source {
    /// Fills the empty buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill;
    fn take_trailers(&mut self) -> Option<Head>;
}

/// Where bytes go to.
pub trait Sink {
    /// Writes what is pending, then the buffer; `last`: the body ends with it, without trailers.
    fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend;
    fn end(&mut self, trailers: Option<&Head>);
}

macro_rules! through {
    ($type:ty) => {
        impl Source for $type {
            fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
                self.poll_fill(cx, buffer)
            }
            fn take_trailers(&mut self) -> Option<Head> {
                self.take_trailers()
            }
        }
        impl Sink for $type {
            fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
                self.poll_send(cx, buffer, last)
            }
            fn end(&mut self, trailers: Option<&Head>) {
                self.end(trailers);
            }
        }
    };
}
through!(Inbound);
through!(Outbound);

/// A body of the gateway's own as a source.
pub struct OwnBody {
    left: bytes::Bytes,
    source: Option<Box<dyn BodySource>>,
    trailers: Option<Head>,
}

impl OwnBody {
    pub fn new(body: Body) -> Self {
        let (left, source) = match body {
            Body::Empty => (bytes::Bytes::new(), None),
            Body::Bytes(bytes) => (bytes, None),
            Body::Source(source) => (bytes::Bytes::new(), Some(source)),
        };
        Self { left, source, trailers: None }
    }
}

impl Source for OwnBody {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
        loop {
            if !self.left.is_empty() {
                let count = buffer.fill_from(&self.left);
                drop(self.left.split_to(count));
                let is_end = self.left.is_empty() && self.source.is_none();
                return Poll::Ready(Ok(if is_end { Fill::End } else { Fill::Data }));
            }
            let Some(source) = &mut self.source else { return Poll::Ready(Ok(Fill::End)) };
            match ready!(source.poll_frame(cx)) {
                Some(Ok(Frame::Data(bytes))) => self.left = bytes,
                Some(Ok(Frame::Trailers(trailers))) => self.trailers = Some(trailers),
                None => self.source = None,
                Some(Err(SourceError::Closed | SourceError::Malformed | SourceError::TimedOut)) => {
                    return Poll::Ready(Err(Fault::Closed));
                }
            }
        }
    }

    fn take_trailers(&mut self) -> Option<Head> {
        self.trailers.take()
    }
}

/// Why a half-pump stopped before its end.
#[derive(Debug)]
pub enum Broken {
    Source(Fault),
    /// The sink's own reader learns why.
    Sink,
    /// A step refused the body.
    Refused(Reply),
}

/// Whom a half-pump waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    Source,
    Sink,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Fill,
    /// The buffer goes out; `last`: it is the end.
    Send {
        last: bool,
    },
    Trailers(Head),
    Done,
}

/// One direction.
#[derive(Default)]
pub struct Pump {
    buffer: BodyBuffer,
    state: State,
    steps: SmallVec<[Box<dyn BodyStep>; 2]>,
    edit: Edit,
    /// Bytes that went to the sink.
    pub carried: u64,
    /// Bytes after which the body is refused.
    pub bound: Option<u64>,
    fills: u32,
    waits_for: Option<WaitsFor>,
    /// What is kept to send it again. `None`: nothing but what one buffer holds.
    replay: Option<Box<Replay>>,
    /// What is copied for a mirror.
    copying: Option<Box<Copying>>,
    /// What was read before anybody decided to send it on.
    ahead: Option<Box<Ahead>>,
    /// What stood behind the source's body, edited.
    trailers: Option<Head>,
    /// How a gRPC call ended, where the trailers said it.
    pub call_status: Option<u32>,
}

/// The beginning of a body, read to look at it.
#[derive(Default)]
pub struct Ahead {
    buffer: BodyBuffer,
    fill: Option<Fill>,
    trailers: Option<Head>,
}

impl Pump {
    /// Ready for the next body.
    pub fn reset(&mut self) {
        self.buffer = BodyBuffer::default();
        self.state = State::Fill;
        if !self.steps.is_empty() {
            self.steps.clear();
            self.edit = Edit::default();
        }
        self.carried = 0;
        self.bound = None;
        self.fills = 0;
        self.waits_for = None;
        self.replay = None;
        self.copying = None;
        self.ahead = None;
        self.trailers = None;
        self.call_status = None;
    }

    /// Up to `bound` bytes are kept from now on, for `rewind`.
    pub fn keep_for_replay(&mut self, bound: usize) {
        if self.replay.is_none() && self.fills == 0 {
            self.replay = Some(Box::new(Replay::new(bound)));
        }
    }

    /// What passes from now on is copied.
    pub fn copy_to(&mut self, copying: Box<Copying>) {
        self.copying = Some(copying);
    }

    /// Nothing will be sent again.
    pub fn forget_replay(&mut self) {
        self.replay = None;
    }

    /// Waits for the first bytes or the end of the source's body and keeps them for `poll`. `Some`: the body ended
    /// without a byte, with these trailers, if any.
    pub fn poll_ahead(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Source,
    ) -> Poll<Result<Option<&Option<Head>>, Fault>> {
        let ahead = self.ahead.get_or_insert_default();
        if ahead.fill.is_none() {
            let fill = ready!(source.poll_fill(cx, &mut ahead.buffer))?;
            ahead.fill = Some(fill);
            if fill == Fill::End {
                ahead.trailers = source.take_trailers();
            }
        }
        let is_empty = ahead.fill == Some(Fill::End) && ahead.buffer.is_empty();
        Poll::Ready(Ok(is_empty.then_some(&ahead.trailers)))
    }

    /// Takes out what was looked at: it belongs to an answer that is put aside, or is of no use.
    pub fn take_ahead(&mut self) -> Option<Box<Ahead>> {
        self.ahead.take()
    }

    /// What was looked at is wanted after all.
    pub fn restore_ahead(&mut self, ahead: Option<Box<Ahead>>) {
        self.ahead = ahead;
    }

    /// There is no body: its end is all that is sent.
    pub fn skip(&mut self) {
        if matches!(self.state, State::Fill) {
            self.state = State::Send { last: true };
        }
    }

    /// The body was sent, whatever became of a second time.
    pub fn finish(&mut self) {
        self.buffer.advance(usize::MAX);
        self.buffer.release();
        self.state = State::Done;
    }

    pub fn steps(&mut self) -> &mut SmallVec<[Box<dyn BodyStep>; 2]> {
        &mut self.steps
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub fn waits_for(&self) -> WaitsFor {
        self.waits_for.unwrap_or(WaitsFor::Source)
    }

    /// Whether `rewind` would succeed.
    pub fn can_rewind(&self) -> bool {
        match &self.replay {
            Some(replay) if !replay.is_lost() => true,
            _ => match (self.fills, self.steps.is_empty()) {
                (0, _) | (1, true) if self.carried == 0 => true,
                (1, true) => self.buffer.can_rewind(),
                _ => false,
            },
        }
    }

    /// Prepares to send the same body once more. `Err`: bytes are gone that cannot be had again.
    pub fn rewind(&mut self) -> Result<(), ()> {
        if let Some(replay) = self.replay.as_mut().filter(|replay| !replay.is_lost()) {
            replay.rewind();
            self.state = State::Fill;
            self.carried = 0;
            self.buffer.advance(usize::MAX);
            self.buffer.reset();
            return Ok(());
        }
        match (self.fills, self.steps.is_empty()) {
            // Nothing was read, or there was nothing to read: the source says the same again.
            (0, _) | (1, true) if self.carried == 0 => {
                self.state = State::Fill;
                self.fills = 0;
                self.buffer.advance(usize::MAX);
                self.buffer.reset();
                Ok(())
            }
            (1, true) if self.buffer.can_rewind() => {
                if matches!(self.state, State::Done) {
                    self.state = State::Send { last: true };
                }
                self.buffer.rewind();
                self.carried = 0;
                Ok(())
            }
            _ => Err(()),
        }
    }

    /// Moves bytes until the end, or until one side makes it wait.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Source,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), Broken>> {
        let begun = self.carried;
        loop {
            match &mut self.state {
                State::Fill => match self.poll_fill(cx, source) {
                    Poll::Ready(Ok(last)) => {
                        self.fills += 1;
                        let trailers = if last { self.trailers.take() } else { None };
                        self.carried += self.buffer.data().len() as u64;
                        if self.bound.is_some_and(|bound| self.carried > bound) {
                            return Poll::Ready(Err(Broken::Refused(core::BODY_TOO_LARGE.into())));
                        }
                        match trailers {
                            Some(trailers) if self.buffer.is_empty() => {
                                self.state = State::Trailers(trailers)
                            }
                            Some(trailers) => {
                                ready!(self.send_before(cx, sink, trailers))?;
                            }
                            None => self.state = State::Send { last },
                        }
                    }
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => {
                        // What is written so far must not wait for what comes: a head, an event.
                        self.waits_for = Some(WaitsFor::Sink);
                        ready!(sink.poll_send(cx, &mut self.buffer, false)).map_err(|_| Broken::Sink)?;
                        self.buffer.release();
                        self.waits_for = Some(WaitsFor::Source);
                        return Poll::Pending;
                    }
                },
                State::Send { last } => {
                    let last = *last;
                    self.waits_for = Some(WaitsFor::Sink);
                    ready!(sink.poll_send(cx, &mut self.buffer, last)).map_err(|_| Broken::Sink)?;
                    if last {
                        self.state = State::Done;
                        return Poll::Ready(Ok(()));
                    }
                    self.buffer.reset();
                    self.state = State::Fill;
                    if self.carried - begun >= TURN {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                State::Trailers(trailers) => {
                    self.waits_for = Some(WaitsFor::Sink);
                    ready!(sink.poll_send(cx, &mut self.buffer, false)).map_err(|_| Broken::Sink)?;
                    sink.end(Some(trailers));
                    self.buffer.reset();
                    self.state = State::Send { last: true };
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// The source is at its end: what stands behind its body, past every step.
    fn take_trailers(&mut self, source: &mut impl Source) {
        let looked_at = self.ahead.take().and_then(|ahead| ahead.trailers);
        let Some(trailers) = looked_at.or_else(|| source.take_trailers()) else { return };
        if let Some(replay) = &mut self.replay {
            replay.lose();
        }
        self.call_status = grpc::status(&trailers);
        self.trailers = self.steps.iter_mut().try_fold(trailers, |trailers, step| step.trailers(trailers));
    }

    fn send_before(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        trailers: Head,
    ) -> Poll<Result<(), Broken>> {
        let sent = sink.poll_send(cx, &mut self.buffer, false);
        self.state = State::Trailers(trailers);
        self.waits_for = Some(WaitsFor::Sink);
        sent.map_err(|_| Broken::Sink)
    }

    /// Fills the buffer, through the steps where there are any. `true`: that was the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<bool, Broken>> {
        if self.replay.is_none() && self.copying.is_none() {
            return self.poll_fresh(cx, source);
        }
        if let Some(last) = self.replay.as_mut().and_then(|replay| replay.give(&mut self.buffer)) {
            return Poll::Ready(Ok(last));
        }
        let last = ready!(self.poll_fresh(cx, source))?;
        if let Some(replay) = &mut self.replay {
            replay.note(self.buffer.data(), last);
        }
        if let Some(copying) = self.copying.take() {
            self.copying = copying.note(self.buffer.data(), last);
        }
        Poll::Ready(Ok(last))
    }

    /// As `poll_fill`, from the source.
    fn poll_fresh(&mut self, cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<bool, Broken>> {
        if self.steps.is_empty() {
            let fill = ready!(from(&mut self.ahead, cx, source, &mut self.buffer)).map_err(Broken::Source)?;
            if fill == Fill::End {
                self.take_trailers(source);
            }
            return Poll::Ready(Ok(fill == Fill::End));
        }
        self.edit.prepare(self.steps.len());
        loop {
            if let Some((taken, ended)) = self.edit.give(&mut self.buffer)
                && (taken > 0 || ended)
            {
                return Poll::Ready(Ok(ended));
            }
            if self.edit.advance(&mut self.steps, false).map_err(Broken::Refused)? {
                continue;
            }
            let mut raw = BodyBuffer::default();
            match from(&mut self.ahead, cx, source, &mut raw) {
                Poll::Ready(Ok(fill)) => {
                    if fill == Fill::End {
                        self.take_trailers(source);
                    }
                    self.edit.take(raw.data(), fill == Fill::End);
                }
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(Broken::Source(fault))),
                // Nothing comes for the moment: what the steps hold back must go out (an event of a stream).
                Poll::Pending if self.edit.advance(&mut self.steps, true).map_err(Broken::Refused)? => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// What was looked at, then the source.
fn from(
    ahead: &mut Option<Box<Ahead>>,
    cx: &mut Context<'_>,
    source: &mut impl Source,
    buffer: &mut BodyBuffer,
) -> PollFill {
    let looked_at = ahead.as_mut().and_then(|ahead| Some((ahead.fill.take()?, &mut ahead.buffer)));
    match looked_at {
        Some((fill, read)) => {
            *buffer = std::mem::take(read);
            Poll::Ready(Ok(fill))
        }
        None => source.poll_fill(cx, buffer),
    }
}

/// What stands between the steps: `buffers[n]` is step n's input, the last one is the output.
///
/// Invariant: no buffer holds more than what one fill brings, or `STEP_OUTPUT`.
#[derive(Default)]
struct Edit {
    buffers: Vec<Vec<u8>>,
    /// `ended[n]`: nothing follows in `buffers[n]`.
    ended: Vec<bool>,
    /// Step n took bytes that it was not asked to flush.
    dirty: Vec<bool>,
}

impl Edit {
    fn prepare(&mut self, steps: usize) {
        if self.buffers.len() != steps + 1 {
            self.buffers = vec![Vec::new(); steps + 1];
            self.ended = vec![false; steps + 1];
            self.dirty = vec![false; steps];
        }
    }

    fn take(&mut self, bytes: &[u8], ended: bool) {
        self.buffers[0].extend_from_slice(bytes);
        self.ended[0] = ended;
    }

    /// Moves output to the sink's buffer: (how much, whether that is all).
    fn give(&mut self, buffer: &mut BodyBuffer) -> Option<(usize, bool)> {
        let (output, ended) = (self.buffers.last_mut()?, *self.ended.last()?);
        if output.is_empty() {
            return Some((0, ended));
        }
        let taken = buffer.fill_from(output);
        output.drain(..taken);
        Some((taken, ended && output.is_empty()))
    }

    /// Lets each step do what it can, the last one first. Whether any did.
    fn advance(&mut self, steps: &mut [Box<dyn BodyStep>], flush: bool) -> Result<bool, Reply> {
        let mut progress = false;
        for (at, step) in steps.iter_mut().enumerate().rev() {
            let (inputs, outputs) = self.buffers.split_at_mut(at + 1);
            let (source, output) = (&mut inputs[at], &mut outputs[0]);
            let has_cause = !source.is_empty() || self.ended[at] || (flush && self.dirty[at]);
            if self.ended[at + 1] || output.len() >= STEP_OUTPUT || !has_cause {
                continue;
            }
            let before = output.len();
            let mut input = Input::new(source, self.ended[at], flush);
            let stopped = step.step(&mut input, &mut Output::new(output, STEP_OUTPUT));
            let consumed = input.consumed();
            source.drain(..consumed);
            self.dirty[at] =
                (self.dirty[at] || consumed > 0) && !(flush && matches!(stopped, Step::NeedInput));
            progress |= consumed > 0 || output.len() > before;
            match stopped {
                Step::NeedInput | Step::OutputFull => {}
                Step::Done => {
                    self.ended[at + 1] = true;
                    progress = true;
                }
                Step::Fail(reply) => return Err(reply),
            }
        }
        Ok(progress)
    }
}
