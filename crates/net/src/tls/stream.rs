//! An encrypted connection: rustls over a socket, driven by polling as a plain one is.
//!
//! Ciphertext passes through a pooled buffer that is held only while some of it is not decrypted. What a write has
//! encrypted is out when `poll_flush` says so; the next write sends it first.

use std::io::{self, BufRead as _, IoSlice, Write};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustls::Connection;

use super::{ClientTls, TlsFacts};
use crate::buffer::{BUFFER_BYTES, Pooled};
use crate::runtime::Socket;

/// Ciphertext that was read and not yet given to rustls.
#[derive(Debug)]
pub(super) struct Incoming {
    pub bytes: Pooled,
    pub at: usize,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct TlsStream {
    pub(super) socket: Socket,
    pub(super) connection: Connection,
    pub(super) incoming: Option<Incoming>,
    pub(super) facts: Option<Arc<TlsFacts>>,
    /// Of a connection to an instance: under which settings it was opened.
    pub(super) made_by: Option<Arc<ClientTls>>,
    /// The peer broke the protocol: what it sends is not read any more.
    fault: Option<rustls::Error>,
    /// Our close_notify is on its way, or the connection ends by a reset.
    has_ended: bool,
}

/// The socket as rustls writes to it: never blocks.
pub(super) struct Sink<'a>(pub &'a Socket);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    pub(super) fn new(socket: Socket, connection: Connection, incoming: Option<Incoming>) -> Self {
        Self { socket, connection, incoming, facts: None, made_by: None, fault: None, has_ended: false }
    }

    /// What the handshake found out.
    pub fn facts(&self) -> Option<&Arc<TlsFacts>> {
        self.facts.as_ref()
    }

    /// Of a connection to an instance: the settings that it was opened under.
    pub fn made_by(&self) -> Option<&Arc<ClientTls>> {
        self.made_by.as_ref()
    }

    /// Whether HTTP/2 was agreed upon (ALPN).
    pub fn speaks_h2(&self) -> bool {
        self.connection.alpn_protocol() == Some(b"h2")
    }

    /// Whether decrypted bytes wait to be read.
    pub(super) fn has_plaintext(&mut self) -> bool {
        matches!(self.connection.reader().fill_buf(), Ok(chunk) if !chunk.is_empty())
    }

    /// Ready when there are bytes to read, or the end, or an error: not for ciphertext that means nothing to the reader.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.connection.reader().fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Poll::Ready(()),
            }
            if ready!(self.poll_receive(cx)).is_err() {
                return Poll::Ready(());
            }
        }
    }

    /// Hands up to `limit` decrypted bytes to `put`; 0 is the end, which close_notify announced. An end without it is
    /// an error: the bytes may be cut short (RFC 8446 6.1).
    pub fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        mut put: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        loop {
            let mut reader = self.connection.reader();
            let count = match reader.fill_buf() {
                Ok(chunk) => {
                    let count = chunk.len().min(limit - taken);
                    put(&chunk[..count]);
                    Some(count)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) if taken == 0 => return Poll::Ready(Err(error)),
                Err(_) => Some(0),
            };
            match count {
                Some(0) => return Poll::Ready(Ok(taken)),
                Some(count) => {
                    reader.consume(count);
                    taken += count;
                    continue;
                }
                // What is at hand is decrypted without another system call.
                None if taken > 0 && self.incoming.is_none() => return Poll::Ready(Ok(taken)),
                None => {}
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(())) => {}
                _ if taken > 0 => return Poll::Ready(Ok(taken)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Gives rustls ciphertext: what is at hand, or what the socket has.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault.clone())));
        }
        if let Some(incoming) = &mut self.incoming {
            let mut rest = &incoming.bytes.bytes()[incoming.at..];
            let before = rest.len();
            self.connection.read_tls(&mut rest)?;
            let took = before - rest.len();
            incoming.at += took;
            if rest.is_empty() || took == 0 {
                // Nothing is taken behind a close_notify.
                self.incoming = None;
            }
            return Poll::Ready(if took == 0 { self.end() } else { self.process() });
        }
        // No buffer is taken while there is nothing to put into it.
        ready!(self.socket.poll_readable(cx));
        let mut bytes = Pooled::new();
        if ready!(self.socket.poll_append(cx, bytes.vec(), BUFFER_BYTES))? == 0 {
            self.connection.read_tls(&mut io::empty())?;
            return Poll::Ready(self.process().and_then(|()| self.end()));
        }
        self.incoming = Some(Incoming { bytes, at: 0 });
        self.poll_receive(cx)
    }

    /// The end of what the peer sends: the reader is told by rustls, a handshake cannot go on.
    fn end(&self) -> io::Result<()> {
        if self.connection.is_handshaking() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn process(&mut self) -> io::Result<()> {
        let is_quiet = !self.connection.is_handshaking() && !self.connection.wants_write();
        match self.connection.process_new_packets() {
            Ok(_) => {
                // That there is no renegotiation is said now: we may have nothing to write for long. What the socket does
                // not take goes before the next write.
                if is_quiet && self.connection.wants_write() {
                    let _ = self.connection.write_tls(&mut Sink(&self.socket));
                }
                Ok(())
            }
            Err(fault) => {
                // The alert that tells the peer; where the socket takes nothing now, it will never know.
                let _ = self.connection.write_tls(&mut Sink(&self.socket));
                self.fault = Some(fault.clone());
                self.has_ended = true;
                self.incoming = None;
                Err(io::Error::new(io::ErrorKind::InvalidData, fault))
            }
        }
    }

    /// What rustls says of the peer's fault.
    pub(super) fn fault(&self) -> Option<&rustls::Error> {
        self.fault.as_ref()
    }

    /// Encrypts from two slices, as few records as they fit into; returns how many bytes that were.
    pub fn poll_write_two(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let mut writer = self.connection.writer();
        let count = if second.is_empty() {
            writer.write(first)?
        } else if first.is_empty() {
            writer.write(second)?
        } else {
            writer.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?
        };
        // The bytes are taken: what the socket does not take now goes before the next write, or with the flush.
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    /// Sends what is encrypted.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Sink(&self.socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_writable(cx));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether an idle connection has ended or brought what nobody asked for. Tickets are neither.
    pub fn is_stale(&mut self) -> bool {
        self.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    pub fn abort_on_drop(&mut self) {
        self.has_ended = true;
        crate::stream::abort_on_drop(&self.socket);
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            self.connection.send_close_notify();
        }
        ready!(self.poll_flush(cx))?;
        Poll::Ready(self.socket.shut())
    }
}

impl Drop for TlsStream {
    /// An end that the peer can tell from a cut, if the socket takes it at once.
    fn drop(&mut self) {
        if !self.has_ended && !self.connection.is_handshaking() && !self.connection.wants_write() {
            self.connection.send_close_notify();
            let _ = self.connection.write_tls(&mut Sink(&self.socket));
        }
    }
}
