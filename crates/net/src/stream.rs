//! One connected socket. The only place where the kinds of transport are told apart.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use crate::tls::{ClientTls, HandshakeError, ServerTls, TlsFacts, TlsStream, accept, connect};

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Connects, with TCP_NODELAY.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Adopts an accepted socket: non-blocking, TCP_NODELAY.
    pub fn adopt(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(TcpStream::from_std(stream)?))
    }

    /// The server's side of TLS. Whoever awaits it sets the time-out.
    pub async fn accept_tls(self, tls: &ServerTls) -> Result<Self, HandshakeError> {
        match self {
            Self::Tcp(stream) => accept(stream, tls).await.map(|stream| Self::Tls(Box::new(stream))),
            tls => Ok(tls),
        }
    }

    /// The client's side of TLS. Whoever awaits it sets the time-out.
    pub async fn connect_tls(self, tls: &Arc<ClientTls>) -> Result<Self, HandshakeError> {
        match self {
            Self::Tcp(stream) => connect(stream, tls).await.map(|stream| Self::Tls(Box::new(stream))),
            tls => Ok(tls),
        }
    }

    /// What the handshake with a client found out.
    pub fn tls(&self) -> Option<&Arc<TlsFacts>> {
        match self {
            Self::Tcp(_) => None,
            Self::Tls(stream) => stream.facts(),
        }
    }

    /// The settings under which TLS to an instance was begun; `None` on a plain connection.
    pub fn made_by(&self) -> Option<&Arc<ClientTls>> {
        match self {
            Self::Tcp(_) => None,
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
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
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
        buffer.reserve(limit);
        match self {
            Self::Tcp(stream) => poll_read_buf(Pin::new(stream), cx, &mut buffer.limit(limit)),
            Self::Tls(stream) => stream.poll_take(cx, limit, |bytes| buffer.extend_from_slice(bytes)),
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
            Self::Tcp(stream) => {
                let stream = Pin::new(stream);
                if second.is_empty() {
                    stream.poll_write(cx, first)
                } else if first.is_empty() {
                    stream.poll_write(cx, second)
                } else {
                    stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)])
                }
            }
            Self::Tls(stream) => stream.poll_write_two(cx, first, second),
        }
    }

    /// Whether an idle connection has become readable: the peer closed it or sent what nobody asked for.
    /// Costs no system call while nothing happened.
    pub fn is_stale(&mut self) -> bool {
        match self {
            Self::Tcp(stream) => {
                let mut byte = [0];
                !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => stream.is_stale(),
        }
    }

    /// Sends RST when dropped, so that the peer sees a cut and not an end.
    pub fn abort_on_drop(&mut self) {
        match self {
            // It can only fail on a socket that is broken already.
            Self::Tcp(stream) => drop(stream.set_zero_linger()),
            Self::Tls(stream) => stream.abort_on_drop(),
        }
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
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
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
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
