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

/// Bytes gathered before a write is forced.
const GATHERED: usize = 64 * 1024;
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
}

impl Lazy {
    pub fn new(stream: Stream, first: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(Inner { stream, first, out: Vec::new(), at: 0 })))
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
            return Pin::new(&mut inner.stream).poll_read(cx, buffer);
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
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_write_out(cx))?;
        inner.stream.poll_shutdown(cx)
    }
}
