//! Bodies: what one is, where its bytes come from, and the streaming edits of policies.
//!
//! A body is never wholly in memory unless a policy asked to see it whole; a step holds no more than its own window.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use narthex_wire::{Head, ResponseHead};

use crate::{Exchange, Reply};

/// The body of a message that the gateway makes or relays.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Bytes(Bytes),
    Source(Box<dyn BodySource>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Source(_) => f.write_str("Source"),
        }
    }
}

impl Body {
    /// The next frame; `None` at the end. At most one `Trailers` frame, last.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        match self {
            Self::Source(source) => source.poll_frame(cx),
            Self::Empty => Poll::Ready(None),
            Self::Bytes(_) => match std::mem::take(self) {
                Self::Bytes(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::Data(bytes)))),
                _ => Poll::Ready(None),
            },
        }
    }

    /// As [`Body::poll_frame`], waiting.
    pub async fn frame(&mut self) -> Option<Result<Frame, SourceError>> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// The whole body, at most `bound` bytes; trailers are dropped.
    ///
    /// # Errors
    /// It is larger, or breaks off.
    pub async fn whole(mut self, bound: usize) -> Result<Bytes, BodyError> {
        let mut all: Vec<Bytes> = Vec::new();
        let mut length = 0;
        while let Some(frame) = self.frame().await {
            if let Frame::Data(bytes) = frame.map_err(BodyError::Source)? {
                length += bytes.len();
                if length > bound {
                    return Err(BodyError::TooLarge);
                }
                all.push(bytes);
            }
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { all.concat().into() })
    }
}

/// Why a whole body is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    Source(SourceError),
}

/// One piece of a body.
#[derive(Debug)]
pub enum Frame {
    Data(Bytes),
    Trailers(Head),
}

/// Why a source ended before its body did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceError {
    /// The peer closed or reset the connection.
    Closed,
    /// The peer's bytes are not a valid body.
    Malformed,
    /// Nothing came for the time allowed.
    TimedOut,
}

/// Where a streamed body comes from. Polled by the exchange's own task; dropping it cancels the work behind it.
pub trait BodySource {
    /// The next frame; `None` at the end. At most one `Trailers` frame, last.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>>;
}

/// Which of the two bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Request,
    Response,
}

/// What a policy sees when it decides whether to edit a body.
pub struct BodyCx<'x> {
    pub exchange: &'x Exchange,
    pub direction: Direction,
    /// The response's head, on the response side.
    pub response: Option<&'x ResponseHead>,
}

/// A streaming edit of a body, zlib style. One per exchange and direction; no allocation per call.
pub trait BodyStep {
    /// Consumes from `input`, appends to `output`. Returns why it stopped.
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Step;

    /// The fields behind the body (gRPC's status), at most once, before the call with `last`. What it returns goes on behind
    /// the edited body; `None`: the step takes them in.
    fn trailers(&mut self, trailers: Head) -> Option<Head> {
        Some(trailers)
    }

    /// Whether exactly the bytes that went in come out (a counter, a digest). Otherwise the length becomes unknown.
    fn keeps_length(&self) -> bool;
}

/// Why a step stopped.
#[derive(Debug)]
pub enum Step {
    /// All input is consumed (and, where `flush` was asked, all that it led to is in the output).
    NeedInput,
    /// The output is full: call again with room.
    OutputFull,
    /// `last` was set, and everything is out.
    Done,
    /// The body is refused: as the answer where none has begun, as a cut where one has.
    Fail(Reply),
}

/// The bytes that a step may consume.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    consumed: usize,
    /// No bytes follow these.
    pub last: bool,
    /// Nothing more is there for the moment: hold nothing back (server-sent events).
    pub flush: bool,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8], last: bool, flush: bool) -> Self {
        Self { bytes, consumed: 0, last, flush }
    }

    pub fn remaining(&self) -> &'a [u8] {
        self.bytes.get(self.consumed..).unwrap_or_default()
    }

    pub fn consume(&mut self, count: usize) {
        self.consumed = (self.consumed + count).min(self.bytes.len());
    }

    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

/// Where a step writes, with a bound.
#[derive(Debug)]
pub struct Output<'a> {
    buffer: &'a mut Vec<u8>,
    limit: usize,
}

impl<'a> Output<'a> {
    /// `limit`: the length in bytes that `buffer` may grow to.
    pub fn new(buffer: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { buffer, limit }
    }

    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.buffer.len())
    }

    /// Appends as much as there is room for; returns how many bytes were taken.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.buffer.extend_from_slice(&bytes[..count]);
        count
    }
}
