//! The lazily flushing wrapper under HTTP/2: what many streams write in one turn goes out in one call.
//!
//! `h2` flushes its I/O after each small frame; here a flush only takes note, and the connection's driver
//! writes when it has nothing more to do (measured: 11 to 4.3 us per small response).

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Stream;
use crate::buffer::{BUFFER_BYTES, Pooled};
use crate::frames::{FrameCounter, FrameCounts};

/// Bytes read in one turn of a client's connection, before others have theirs: who sends without end delays nobody.
const TURN: usize = 16 * 1024;
/// Bytes gathered before a write is forced.
const GATHERED: usize = 64 * 1024;
/// Bytes of a GOAWAY with what `h2` says in it, and some.
const LAST_WORDS: usize = 64;
/// Capacity that an idle connection keeps.
const KEPT: usize = 4 * 1024;

/// A handle on the socket: `h2` holds one, the driver another.
#[derive(Debug, Clone)]
pub struct Lazy(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    /// Bytes that were read before it was known that this is HTTP/2.
    first: Vec<u8>,
    out: Vec<u8>,
    at: usize,
    /// Of a client's connection.
    watch: Option<Box<Watch>>,
}

/// What is known of a client's bytes.
#[derive(Debug)]
struct Watch {
    frames: FrameCounter,
    /// Bytes that may still be read in this turn.
    turn: usize,
    /// The last bytes that were written: what `h2` said in its GOAWAY.
    last_words: Vec<u8>,
}

impl Lazy {
    pub fn new(stream: Stream, first: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(Inner { stream, first, out: Vec::new(), at: 0, watch: None })))
    }

    /// The same for a connection of a client: its frames are counted, and it has its turns.
    pub fn watched(stream: Stream, first: Vec<u8>) -> Self {
        let mut frames = FrameCounter::default();
        frames.see(&first);
        let lazy = Self::new(stream, first);
        lazy.0.borrow_mut().watch = Some(Box::new(Watch { frames, turn: TURN, last_words: Vec::new() }));
        lazy
    }

    /// What the client has sent so far.
    pub fn frames(&self) -> FrameCounts {
        self.0.borrow().watch.as_ref().map(|watch| watch.frames.counts).unwrap_or_default()
    }

    /// The number of the header block that has begun and not ended.
    pub fn open_block(&self) -> Option<u64> {
        self.0.borrow().watch.as_ref()?.frames.open_block()
    }

    /// Whether our last words hold these.
    pub fn has_said(&self, words: &str) -> bool {
        let inner = self.0.borrow();
        let last = inner.watch.as_ref().map_or(&[][..], |watch| &watch.last_words);
        last.windows(words.len()).any(|part| part == words.as_bytes())
    }

    /// The task lets others have their turn.
    pub fn end_turn(&self) {
        if let Some(watch) = &mut self.0.borrow_mut().watch {
            watch.turn = TURN;
        }
    }

    /// Reads and drops what still comes; `Ok(0)` at its end.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = Pooled::new();
        self.0.borrow_mut().stream.poll_append(cx, scratch.vec(), BUFFER_BYTES)
    }

    /// Writes what was gathered.
    pub fn poll_write_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_write_out(cx)
    }
}

impl Inner {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at < self.out.len() {
            let count = ready!(self.stream.poll_write_two(cx, &self.out[self.at..], &[]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += count;
        }
        if let Some(watch) = &mut self.watch {
            watch.frames.counts.bytes = watch.frames.counts.bytes.wrapping_add(self.out.len() as u64);
        }
        self.out.clear();
        self.out.shrink_to(KEPT);
        self.at = 0;
        self.stream.poll_send_rest(cx)
    }
}

impl AsyncRead for Lazy {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.first.is_empty() {
            let Some(watch) = &mut inner.watch else {
                return Pin::new(&mut inner.stream).poll_read(cx, buffer);
            };
            if watch.turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut inner.stream).poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            watch.frames.see(read);
            watch.turn = watch.turn.saturating_sub(read.len());
            return Poll::Ready(Ok(()));
        }
        let count = inner.first.len().min(buffer.remaining());
        buffer.put_slice(&inner.first[..count]);
        inner.first.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lazy {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if inner.out.len() >= GATHERED {
            ready!(inner.poll_write_out(cx))?;
        }
        inner.out.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(watch) = &mut inner.watch
            && !inner.out.is_empty()
        {
            watch.last_words = inner.out[inner.out.len().saturating_sub(LAST_WORDS)..].to_vec();
        }
        ready!(inner.poll_write_out(cx))?;
        inner.stream.poll_shutdown(cx)
    }
}
