//! A stream socket on the runtime's epoll, and a listening one. What the kernel last said of it is remembered, so that
//! nothing is asked whose answer is known.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Core;

/// A read need not end in `WouldBlock`.
const READ: u8 = 1;
/// The same for a write.
const WRITE: u8 = 2;
/// The peer has ended its side, or the socket is broken: `READ` stays until that was read.
const CLOSED: u8 = 4;

/// What is known of a descriptor, and whom to tell more.
pub struct Readiness {
    pub token: u64,
    flags: Cell<u8>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Readiness {
    pub fn new(token: u64, known: u8) -> Self {
        Self { token, flags: Cell::new(known), reader: RefCell::default(), writer: RefCell::default() }
    }

    /// What the kernel says. The wakers stay: the same task waits again, most often.
    pub fn note(&self, flags: EventFlags) {
        let mut known = 0;
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            known |= READ;
        }
        if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
            known |= WRITE;
        }
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            known |= CLOSED;
        }
        let news = known & !self.flags.get();
        self.flags.set(self.flags.get() | known);
        if news & (READ | CLOSED) != 0
            && let Some(waker) = &*self.reader.borrow()
        {
            waker.wake_by_ref();
        }
        if news & WRITE != 0
            && let Some(waker) = &*self.writer.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    fn clear(&self, flags: u8) {
        self.flags.set(self.flags.get() & !flags);
    }

    fn poll(&self, cx: &Context<'_>, flag: u8) -> Poll<()> {
        if self.has(flag) {
            return Poll::Ready(());
        }
        let mut place = if flag == READ { self.reader.borrow_mut() } else { self.writer.borrow_mut() };
        match &mut *place {
            Some(known) if known.will_wake(cx.waker()) => {}
            place => *place = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// A connected stream socket: TCP or Unix.
pub struct Socket {
    fd: OwnedFd,
    ready: Rc<Readiness>,
}

impl Socket {
    /// Takes over a connected, non-blocking socket.
    ///
    /// # Errors
    /// When epoll takes no more descriptors.
    ///
    /// # Panics
    /// On a thread without a runtime.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { ready: Core::current().watch(&fd, WRITE)?, fd })
    }

    /// Connects by TCP, with TCP_NODELAY.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(family, SocketType::STREAM, flags, None)?;
        net::sockopt::set_tcp_nodelay(&fd, true)?;
        Self::connected(fd, |fd| net::connect(fd, &address)).await
    }

    /// Waits until `begin`, a call of `connect`, has come to its end.
    async fn connected(
        fd: OwnedFd,
        begin: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> io::Result<Self> {
        match begin(fd.as_fd()) {
            Ok(()) => return Self::adopt(fd),
            Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = Self { ready: Core::current().watch(&fd, 0)?, fd };
        std::future::poll_fn(|cx| socket.ready.poll(cx, WRITE)).await;
        net::sockopt::socket_error(&socket.fd)??;
        Ok(socket)
    }

    /// Ready when a read would bring bytes, the end, or an error.
    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.ready.poll(cx, READ)
    }

    /// As `poll_readable`, now. Costs no system call where the kernel has announced nothing.
    pub fn is_readable(&self) -> bool {
        if !self.ready.has(READ) {
            return false;
        }
        let peeked = net::recv(&self.fd, &mut [0u8; 1], RecvFlags::PEEK);
        let is_empty = matches!(peeked, Err(Errno::AGAIN));
        if is_empty {
            self.ready.clear(READ | CLOSED);
        }
        !is_empty
    }

    /// Appends up to `limit` bytes to `buffer`; 0 is the end.
    #[expect(unsafe_code, reason = "the kernel has written into the vector's spare capacity")]
    pub fn poll_append(
        &self,
        cx: &Context<'_>,
        buffer: &mut Vec<u8>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        buffer.reserve(limit);
        let spare = &mut buffer.spare_capacity_mut()[..limit];
        let count = ready!(self.poll_receive(cx, spare))?;
        // SAFETY: `count` bytes behind the vector's end were written, and its capacity holds `limit` of them.
        unsafe { buffer.set_len(buffer.len() + count) };
        Poll::Ready(Ok(count))
    }

    fn poll_receive(&self, cx: &Context<'_>, buffer: &mut [MaybeUninit<u8>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.ready.poll(cx, READ));
            let room = buffer.len();
            match net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((_, count)) => {
                    // The socket is empty: what comes next is an event. The end of the stream was one already.
                    if count < room && count > 0 && !self.ready.has(CLOSED) {
                        self.ready.clear(READ);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => self.ready.clear(READ | CLOSED),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Looks at what has come, without taking it; ready when it is more than `known` bytes, at the end, or where no more can
    /// come.
    pub fn poll_peek(&self, cx: &Context<'_>, buffer: &mut [u8], known: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.ready.poll(cx, READ));
            match net::recv(&self.fd, &mut *buffer, RecvFlags::PEEK) {
                // What is known stays in the socket: only news make it ready again.
                Ok((_, count)) if count <= known && count > 0 && !self.ready.has(CLOSED) => {
                    self.ready.clear(READ);
                }
                Ok((_, count)) => return Poll::Ready(Ok(count)),
                Err(Errno::AGAIN) => self.ready.clear(READ | CLOSED),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Takes exactly these bytes, which `poll_peek` has shown.
    pub fn take(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let (_, count) =
                rustix::io::retry_on_intr(|| net::recv(&self.fd, &mut *buffer, RecvFlags::empty()))?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Writes from two slices; returns how many bytes went out.
    pub fn poll_write_two(&self, cx: &Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx));
            let written = if second.is_empty() {
                self.send(first)
            } else if first.is_empty() {
                self.send(second)
            } else {
                self.send_slices(&[IoSlice::new(first), IoSlice::new(second)])
            };
            match self.judge(written, first.len() + second.len()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => return Poll::Ready(ended),
            }
        }
    }

    /// Ready when a write need not end in `WouldBlock`.
    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.ready.poll(cx, WRITE)
    }

    /// Writes what goes out at once. `WouldBlock` costs no system call where it is known.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.ready.has(WRITE) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match slices {
            [one] => self.send(one),
            several => self.send_slices(several),
        };
        self.judge(written, slices.iter().map(|slice| slice.len()).sum())
    }

    fn send(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        rustix::io::retry_on_intr(|| net::send(&self.fd, bytes, SendFlags::NOSIGNAL))
    }

    fn send_slices(&self, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
        let mut nothing = net::SendAncillaryBuffer::default();
        rustix::io::retry_on_intr(|| net::sendmsg(&self.fd, slices, &mut nothing, SendFlags::NOSIGNAL))
    }

    /// What a write of `wanted` bytes says about the next one.
    fn judge(&self, written: rustix::io::Result<usize>, wanted: usize) -> io::Result<usize> {
        match written {
            Ok(count) if count == wanted => {}
            Ok(_) | Err(Errno::AGAIN) => self.ready.clear(WRITE),
            Err(_) => {}
        }
        Ok(written?)
    }

    /// Ends our side.
    pub fn shut(&self) -> io::Result<()> {
        Ok(net::shutdown(&self.fd, net::Shutdown::Write)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Closing the last descriptor ends the registration in the kernel by itself.
        if let Some(core) = Core::try_current() {
            core.forget(self.ready.token);
        }
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.fd).finish()
    }
}

impl AsyncRead for Socket {
    #[expect(unsafe_code, reason = "the kernel has written into the buffer's unfilled part")]
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing is de-initialised: `recv` only writes.
        let count = ready!(self.poll_receive(cx, unsafe { buffer.unfilled_mut() }))?;
        // SAFETY: `recv` has written `count` bytes at the beginning of the unfilled part.
        unsafe { buffer.assume_init(count) };
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_two(cx, bytes, &[])
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shut())
    }
}

/// A listening socket.
pub struct Accepting(Socket);

impl Accepting {
    /// Takes over a listening, non-blocking socket.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Socket { ready: Core::current().watch(&fd, READ)?, fd }))
    }

    /// A connection: non-blocking, on no runtime yet.
    pub fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        loop {
            ready!(self.0.ready.poll(cx, READ));
            match self.accept() {
                Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
                Ok(None) => self.0.ready.clear(READ),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// What the kernel has queued, whether or not it was told of. `None`: nothing.
    pub fn accept(&self) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
        loop {
            match net::acceptfrom_with(&self.0.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((fd, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    let Some(peer) = peer else { continue };
                    return Ok(Some((fd, peer)));
                }
                Err(Errno::AGAIN) => return Ok(None),
                // The client went away while it was queued; the next one may be there.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
