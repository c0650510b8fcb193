//! One connected socket. The only place where the kinds of transport are told apart.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::runtime::Socket;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
}

impl Stream {
    /// Connects, with TCP_NODELAY.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::Plain(Socket::connect(address).await?))
    }

    /// Adopts an accepted, non-blocking socket; sets TCP_NODELAY.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        // It can only fail on a socket that is broken already: the first read will say so.
        let _ = SockRef::from(&fd).set_tcp_nodelay(true);
        Ok(Self::Plain(Socket::adopt(fd)?))
    }

    /// Which address of ours the peer is connected to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => {
                let address = SockRef::from(socket).local_addr()?;
                address.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
            }
        }
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(socket) => socket.poll_readable(cx),
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
        }
    }

    /// Writes from two slices; returns how many bytes went out.
    pub fn poll_write_two(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_two(cx, first, second),
        }
    }

    /// Whether an idle connection has become readable: the peer closed it or sent what nobody asked for.
    /// Costs no system call while nothing happened.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_readable(),
        }
    }

    /// Sends RST when dropped, so that the peer sees a cut and not an end.
    pub fn abort_on_drop(&self) {
        match self {
            // It can only fail on a socket that is broken already.
            Self::Plain(socket) => drop(SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO))),
        }
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
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
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }
}
