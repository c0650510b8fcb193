//! One connected socket. The only place where the kinds of transport are told apart.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use narthex_wire::Address;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::runtime::Socket;
use crate::tls::{ClientTls, HandshakeError, ServerTls, TlsFacts, TlsStream, accept, connect};

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Connects, by TCP with TCP_NODELAY.
    pub async fn connect(address: Address) -> io::Result<Self> {
        Ok(Self::Plain(match address {
            Address::Ip(address) => Socket::connect(address).await?,
            Address::Unix(path) => Socket::connect_unix(path.as_str()).await?,
        }))
    }

    /// Adopts a non-blocking socket that a [`Listener`](crate::Listener) accepted: TCP_NODELAY it has from that one.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::Plain(Socket::adopt(fd)?))
    }

    /// Which address of ours the peer is connected to. An IPv4 address on an IPv6 socket is an IPv4 address.
    pub fn local_address(&self) -> Address {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        };
        // It can only fail on a socket that is broken already: the first read will say so.
        let address = SockRef::from(socket).local_addr().ok().and_then(|address| address.as_socket());
        address.map_or(Address::UNNAMED, Address::Ip).to_canonical()
    }

    /// Looks at what has come, without taking it; ready when it is more than `known` bytes, at the end, or where no more can
    /// come. Only of a plain connection.
    pub fn poll_peek(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        known: usize,
    ) -> Poll<io::Result<usize>> {
        let Self::Plain(socket) = self else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        socket.poll_peek(cx, buffer, known)
    }

    /// Takes exactly these bytes, which `poll_peek` has shown. Only of a plain connection.
    pub fn take(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Self::Plain(socket) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        socket.take(buffer)
    }

    /// The server's side of TLS. Whoever awaits it sets the time-out.
    pub async fn accept_tls(self, tls: &ServerTls) -> Result<Self, HandshakeError> {
        match self {
            Self::Plain(socket) => accept(socket, tls).await.map(|stream| Self::Tls(Box::new(stream))),
            tls => Ok(tls),
        }
    }

    /// The client's side of TLS. Whoever awaits it sets the time-out.
    pub async fn connect_tls(self, tls: &Arc<ClientTls>) -> Result<Self, HandshakeError> {
        match self {
            Self::Plain(socket) => connect(socket, tls).await.map(|stream| Self::Tls(Box::new(stream))),
            tls => Ok(tls),
        }
    }

    /// What the handshake with a client found out.
    pub fn tls(&self) -> Option<&Arc<TlsFacts>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.facts(),
        }
    }

    /// The settings under which TLS to an instance was begun; `None` on a plain connection.
    pub fn made_by(&self) -> Option<&Arc<ClientTls>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.made_by(),
        }
    }

    /// Whether HTTP/2 was agreed upon in the handshake.
    pub fn speaks_h2(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.speaks_h2())
    }

    /// Sends what was taken and is not out yet. Nothing on a plain connection: what it takes is out.
    pub fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Ready when a read would bring bytes, the end, or an error.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(socket) => socket.poll_readable(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Appends up to `limit` bytes to `buffer`; 0 is the end.
    pub fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_append(cx, buffer, limit),
            Self::Tls(stream) => {
                buffer.reserve(limit);
                stream.poll_take(cx, limit, |bytes| buffer.extend_from_slice(bytes))
            }
        }
    }

    /// Writes from two slices; returns how many bytes were taken (`poll_send_rest`).
    pub fn poll_write_two(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_two(cx, first, second),
            Self::Tls(stream) => stream.poll_write_two(cx, first, second),
        }
    }

    /// Whether an idle connection has become readable: the peer closed it or sent what nobody asked for.
    /// Costs no system call while nothing happened.
    pub fn is_stale(&mut self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_readable(),
            Self::Tls(stream) => stream.is_stale(),
        }
    }

    /// Sends RST when dropped, so that the peer sees a cut and not an end.
    pub fn abort_on_drop(&mut self) {
        match self {
            Self::Plain(socket) => abort_on_drop(socket),
            Self::Tls(stream) => stream.abort_on_drop(),
        }
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}

/// RST instead of FIN when it is dropped.
pub(crate) fn abort_on_drop(socket: &Socket) {
    // It can only fail on a socket that is broken already.
    let _ = SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => {
                let limit = buffer.remaining();
                stream.poll_take(cx, limit, |bytes| buffer.put_slice(bytes)).map_ok(drop)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write_two(cx, bytes, &[]),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send_rest(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }
}
