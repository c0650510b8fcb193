//! A client's connection: requests are read, answers written.

use std::io;
use std::task::{Context, Poll, ready};

use narthex_wire::{
    BodyDecoder, Framing, Head, Limits, Method, Progress, RequestHead, RequestParser, ResponseHead, Version,
};

use super::half::{Half, Sending};
use super::{HEAD_READ, HeadError, PollFill, PollSend};
use crate::buffer::Pooled;
use crate::{BodyBuffer, Stream};

/// Bytes that a client may send ahead while its request is answered.
const AHEAD_BYTES: usize = 16 * 1024;

/// HTTP/2's connection preface (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's connection.
#[derive(Debug)]
pub struct H1Server {
    half: Half,
    keep_alive: bool,
    /// The client asked for the end of the connection.
    is_last: bool,
    gone: bool,
    /// Nothing was read yet: it may be HTTP/2.
    is_fresh: bool,
    /// The body of the response is ended by closing the connection.
    ends_by_close: bool,
    pub half_close: bool,
}

impl H1Server {
    pub fn new(stream: Stream) -> Self {
        Self {
            half: Half::new(stream),
            keep_alive: true,
            is_last: false,
            gone: false,
            is_fresh: true,
            ends_by_close: false,
            half_close: false,
        }
    }

    /// Pending while the connection is idle: no buffer is held.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.half.ahead.raw().is_empty() {
            return Poll::Ready(());
        }
        self.half.stream.poll_read_ready(cx)
    }

    /// Gives memory back while the connection is idle.
    pub fn rest(&mut self) {
        self.half.out = Vec::new();
    }

    /// Reads one request's head. `request` must be clear.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut RequestHead,
        parser: &mut RequestParser,
        limits: &Limits,
    ) -> Poll<Result<(), HeadError>> {
        if !self.half.ahead.raw().is_empty() {
            request.buffer_mut().extend_from_slice(self.half.ahead.raw());
            self.half.ahead = BodyBuffer::default();
        }
        loop {
            let read = request.buffer_mut().len();
            let may_be_preface = self.is_fresh && read > 0 && begins_alike(request.buffer_mut(), PREFACE);
            if may_be_preface && read >= PREFACE.len() {
                return Poll::Ready(Err(HeadError::Preface));
            }
            if read > 0 && !may_be_preface {
                match parser.parse(request, limits).map_err(HeadError::Malformed)? {
                    Progress::Complete => break,
                    Progress::Partial => {}
                }
            }
            let count = ready!(self.half.stream.poll_append(cx, request.buffer_mut(), HEAD_READ));
            match count {
                Ok(0) if request.buffer_mut().is_empty() => return Poll::Ready(Err(HeadError::Idle)),
                Ok(0) => return Poll::Ready(Err(HeadError::Closed)),
                Ok(_) => {}
                Err(error) if request.buffer_mut().is_empty() => {
                    drop(error);
                    return Poll::Ready(Err(HeadError::Idle));
                }
                Err(error) => return Poll::Ready(Err(HeadError::Io(error))),
            }
        }
        self.is_fresh = false;
        self.half.keep_surplus(request.surplus());
        self.half.decoder = Some(BodyDecoder::new(request.framing, limits));
        self.half.trailers = None;
        self.half.wrote_any = false;
        self.keep_alive = request.keep_alive();
        self.is_last = !self.keep_alive;
        Poll::Ready(Ok(()))
    }

    /// The socket, for the protocol that `HeadError::Preface` announced.
    pub fn into_stream(self) -> Stream {
        self.half.stream
    }

    pub fn body_is_done(&self) -> bool {
        self.half.body_is_done()
    }

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
        let filled = ready!(self.half.poll_fill(cx, buffer));
        self.gone |= filled.is_err();
        Poll::Ready(filled)
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        self.half.trailers.take()
    }

    /// Ready when the client went away. Reads ahead a bounded number of pipelined bytes to see it.
    /// While the body is not read, its own reader sees it.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gone {
            return Poll::Ready(());
        }
        if self.half_close || !self.body_is_done() {
            return Poll::Pending;
        }
        loop {
            if self.half.ahead.raw().len() >= AHEAD_BYTES {
                return Poll::Pending;
            }
            ready!(self.half.stream.poll_read_ready(cx));
            let raw = self.half.ahead.raw_mut();
            match ready!(self.half.stream.poll_append(cx, raw, AHEAD_BYTES)) {
                Ok(count) if count > 0 => {}
                _ => {
                    self.gone = true;
                    return Poll::Ready(());
                }
            }
        }
    }

    /// An interim (1xx) response, written before the next one.
    pub fn interim(&mut self, head: &ResponseHead, version: Version) {
        if version == Version::Http11 {
            narthex_wire::encode_response(head, version, true, false, self.half.begin_out());
        }
    }

    /// The response's head; `poll_send` writes it. Returns whether a body is to be sent.
    ///
    /// `close`: do not keep the connection whatever the client wants.
    pub fn start(&mut self, head: &ResponseHead, request: &RequestHead, close: bool) -> bool {
        let is_head = request.method == Method::Head;
        self.keep_alive &= !close;
        let keep_alive = self.keep_alive;
        let framing =
            narthex_wire::encode_response(head, request.version, keep_alive, is_head, self.half.begin_out());
        self.half.sending = match framing {
            Framing::None => Sending::Nothing,
            Framing::Chunked => Sending::Chunked,
            Framing::Length(_) => Sending::Plain,
            Framing::UntilClose => {
                self.keep_alive = false;
                self.ends_by_close = true;
                Sending::Plain
            }
        };
        self.half.sending != Sending::Nothing
    }

    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
        let sent = ready!(self.half.poll_send(cx, buffer, last));
        self.gone |= sent.is_err();
        Poll::Ready(sent)
    }

    pub fn end(&mut self, trailers: Option<&Head>) {
        self.half.end_with_trailers(trailers);
    }

    /// What follows the head that was started is a tunnel: raw bytes both ways, and the connection ends with it.
    pub fn become_tunnel(&mut self) {
        self.half.become_tunnel();
        self.keep_alive = false;
        self.ends_by_close = true;
    }

    /// Reads for a tunnel before it begins, appending to `read`, which `unread` gives back. `Ok(0)`: the client is done.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>, read: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        self.half.stream.poll_append(cx, read, HEAD_READ)
    }

    /// These bytes were peeked at: they are the first ones.
    pub fn unread(&mut self, read: &[u8]) {
        self.half.keep_surplus(read);
    }

    /// Takes a head back that `start` made and of which no byte was written. `false`: it is too late.
    pub fn take_back(&mut self) -> bool {
        let is_unsent = !self.half.out.is_empty() && self.half.out_at == 0;
        if is_unsent {
            self.half.out.clear();
            self.half.sending = Sending::Nothing;
            self.ends_by_close = false;
        }
        is_unsent
    }

    /// Whether the connection must end without ceremony, by a reset.
    pub fn must_reset(&self) -> bool {
        self.ends_by_close
    }

    pub fn keeps_alive(&self) -> bool {
        self.keep_alive && !self.gone
    }

    /// Whether the client has said all: it asked for the end, and its request is read. No byte of it can come late and reset
    /// what is on its way, so there is nothing to listen for (RFC 9112 9.6). TLS has an end of its own to say.
    pub fn has_said_all(&self) -> bool {
        let is_read = self.half.body_is_done() && self.half.ahead.raw().is_empty();
        self.is_last && is_read && matches!(self.half.stream, Stream::Plain(_))
    }

    pub fn close_after_this(&mut self) {
        self.keep_alive = false;
    }

    /// The response broke off: the client must see a cut, not an end. Where framing shows it, the bytes that are on
    /// their way still arrive; where only the close marks the end, it becomes a reset.
    pub fn cut(&mut self) {
        self.keep_alive = false;
        if self.ends_by_close {
            self.half.stream.abort_on_drop();
        }
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half.stream.poll_shutdown(cx)
    }

    /// Reads and drops what the client still sends; `Ok(0)` at its end.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = Pooled::new();
        self.half.stream.poll_append(cx, scratch.vec(), AHEAD_BYTES)
    }
}

fn begins_alike(read: &[u8], text: &[u8]) -> bool {
    let common = read.len().min(text.len());
    read[..common] == text[..common]
}
