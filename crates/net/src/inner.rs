//! A client inside this process: an exchange that another exchange began. No socket, one task, one bounded queue.
//!
//! Whoever reads drives the writer: the writer is polled again only after what it wrote was taken, so nobody needs to be
//! woken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use narthex_wire::{Framing, Head, Method, RequestHead, ResponseHead};

use crate::{BodyBuffer, Fill, PollFill, PollSend};

/// Bytes that may wait to be read; what is written at once may go beyond by one buffer.
const QUEUE_BYTES: usize = 64 * 1024;

/// The gateway's end: as [`crate::H1Server`] to the data plane.
pub struct InnerServer {
    /// What is left of the request's body.
    body: Bytes,
    out: Rc<RefCell<Out>>,
}

/// The other end: reads the response.
pub struct InnerClient {
    out: Rc<RefCell<Out>>,
}

#[derive(Default)]
struct Out {
    head: Option<ResponseHead>,
    data: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<Head>,
    is_over: bool,
    is_cut: bool,
}

/// What the reader finds.
#[derive(Debug)]
pub enum Inner {
    Data(Bytes),
    Trailers(Head),
    End,
    /// It broke off.
    Cut,
    /// The writer has written nothing more yet.
    Nothing,
}

/// Both ends. `body`: the request's, whole.
pub fn inner(body: Bytes) -> (InnerServer, InnerClient) {
    let out = Rc::new(RefCell::new(Out::default()));
    (InnerServer { body, out: Rc::clone(&out) }, InnerClient { out })
}

impl InnerServer {
    pub(crate) fn body_is_done(&self) -> bool {
        self.body.is_empty()
    }

    pub(crate) fn poll_fill(&mut self, buffer: &mut BodyBuffer) -> PollFill {
        if !self.body.is_empty() {
            let count = buffer.fill_from(&self.body);
            drop(self.body.split_to(count));
        }
        Poll::Ready(Ok(if self.body.is_empty() { Fill::End } else { Fill::Data }))
    }

    /// Returns whether a body is to be sent.
    pub(crate) fn start(&mut self, head: &ResponseHead, request: &RequestHead) -> bool {
        let bodiless = head.status < 200 || head.status == 204 || head.status == 304;
        self.out.borrow_mut().head = Some(head.clone());
        request.method != Method::Head && head.framing != Framing::None && !bodiless
    }

    pub(crate) fn poll_send(&mut self, buffer: &mut BodyBuffer, last: bool) -> PollSend {
        let mut out = self.out.borrow_mut();
        if !buffer.is_empty() {
            if out.bytes >= QUEUE_BYTES {
                return Poll::Pending;
            }
            let data = Bytes::copy_from_slice(buffer.data());
            buffer.advance(data.len());
            out.bytes += data.len();
            out.data.push_back(data);
        }
        out.is_over |= last;
        Poll::Ready(Ok(()))
    }

    pub(crate) fn end(&mut self, trailers: Option<&Head>) {
        let mut out = self.out.borrow_mut();
        out.trailers = trailers.cloned();
        out.is_over = true;
    }

    /// Takes a head back that nobody has read. `false`: it is too late.
    pub(crate) fn take_back(&mut self) -> bool {
        let mut out = self.out.borrow_mut();
        let is_unread = out.head.is_some();
        if is_unread {
            *out = Out::default();
        }
        is_unread
    }

    pub(crate) fn cut(&mut self) {
        self.out.borrow_mut().is_cut = true;
    }
}

impl InnerClient {
    /// The response's head, once.
    pub fn take_head(&mut self) -> Option<ResponseHead> {
        self.out.borrow_mut().head.take()
    }

    /// The next piece of the body.
    pub fn take(&mut self) -> Inner {
        let mut out = self.out.borrow_mut();
        if let Some(data) = out.data.pop_front() {
            out.bytes -= data.len();
            return Inner::Data(data);
        }
        match (out.is_cut, out.is_over) {
            (true, _) => Inner::Cut,
            (false, true) => out.trailers.take().map_or(Inner::End, Inner::Trailers),
            (false, false) => Inner::Nothing,
        }
    }

    /// There is nothing to take, and more may come.
    pub fn is_waiting(&self) -> bool {
        let out = self.out.borrow();
        out.data.is_empty() && !out.is_over && !out.is_cut
    }

    /// The whole body is here, and it is empty.
    pub fn is_empty(&self) -> bool {
        let out = self.out.borrow();
        out.is_over && !out.is_cut && out.data.is_empty() && out.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> BodyBuffer {
        let mut buffer = BodyBuffer::default();
        buffer.fill_from(bytes);
        buffer
    }

    #[test]
    fn a_response_passes_through_with_back_pressure() {
        let (mut server, mut client) = inner(Bytes::from_static(b"question"));
        let mut read = BodyBuffer::default();
        assert!(matches!(server.poll_fill(&mut read), Poll::Ready(Ok(Fill::End))));
        assert_eq!(read.data(), b"question");
        let mut head = ResponseHead::new(200);
        head.framing = Framing::Chunked;
        assert!(server.start(&head, &RequestHead::new()));
        assert_eq!(client.take_head().map(|head| head.status), Some(200));
        assert!(matches!(client.take(), Inner::Nothing));
        let mut sent = 0;
        let mut piece = buffer(&[b'x'; 16 * 1024]);
        while server.poll_send(&mut piece, false).is_ready() {
            sent += 1;
            piece = buffer(&[b'x'; 16 * 1024]);
        }
        assert_eq!(sent, 4, "no more than the queue holds");
        assert!(matches!(client.take(), Inner::Data(data) if data.len() == 16 * 1024));
        assert!(server.poll_send(&mut piece, true).is_ready());
        assert!(!client.is_empty());
        (0..4).for_each(|_| assert!(matches!(client.take(), Inner::Data(_))));
        assert!(matches!(client.take(), Inner::End) && client.is_empty());
    }

    #[test]
    fn a_head_is_taken_back_until_it_is_read_and_a_cut_is_no_end() {
        let (mut server, mut client) = inner(Bytes::new());
        server.start(&ResponseHead::new(200), &RequestHead::new());
        assert!(server.take_back() && client.take_head().is_none());
        server.start(&ResponseHead::new(502), &RequestHead::new());
        assert_eq!(client.take_head().map(|head| head.status), Some(502));
        assert!(!server.take_back());
        server.cut();
        assert!(matches!(client.take(), Inner::Cut) && !client.is_empty());
        let head_only = ResponseHead::new(304);
        assert!(!server.start(&head_only, &RequestHead::new()), "304 has no body");
    }
}
