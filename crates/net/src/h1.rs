//! HTTP/1.1 connections of both sides: the sans-IO codec of `wire`, driven over a socket by polling.
//!
//! No task, no channel: whoever drives the exchange polls both sides inline. No policy, no routing.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use narthex_wire::{
    BodyDecoder, Event, Framing, Head, Limits, Method, ParseError, Progress, RequestHead, RequestParser,
    ResponseHead, ResponseParser, Version,
};
use thiserror::Error;

use crate::buffer::Pooled;
use crate::tls::ClientTls;
use crate::{BodyBuffer, Stream};

/// Bytes asked for while a head is read: what follows the head in the same read fits in one buffer.
const HEAD_READ: usize = 8 * 1024;
/// Bytes that a client may send ahead while its request is answered.
const AHEAD_BYTES: usize = 16 * 1024;

/// A body's beginning up to this long is written behind the head, in one piece: cheaper than gathering two.
const JOINED_BYTES: usize = 2 * 1024;
/// Memory that a connection at work keeps for its next head.
const KEPT_BYTES: usize = 4 * 1024;

/// What a body's source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// The buffer holds data; more may follow.
    Data,
    /// The body is over; the buffer may hold its last data.
    End,
}

/// Why a body or a write ended early.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("the connection ended")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(ParseError),
    #[error("{0}")]
    H2(h2::Error),
}

/// Why there is no head.
#[derive(Debug, Error)]
pub enum HeadError {
    /// The peer closed without sending a byte: the ordinary end of a kept connection.
    #[error("the connection ended between messages")]
    Idle,
    /// The peer closed in the middle of a head.
    #[error("the connection ended in the middle of a head")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Malformed(ParseError),
    #[error("{0}")]
    H2(h2::Error),
    /// The instance takes no tunnels on HTTP/2 (RFC 8441 3).
    #[error("the instance does not take extended CONNECT")]
    NoTunnel,
    /// The connection begins with HTTP/2's preface: these bytes belong to it.
    #[error("the connection speaks HTTP/2")]
    Preface,
}

/// HTTP/2's connection preface (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the body of the message being sent is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sending {
    #[default]
    Nothing,
    Plain,
    Chunked,
}

/// The half of a connection that both sides share: a socket, a head waiting to be written, a body being read.
#[derive(Debug)]
struct Half {
    stream: Stream,
    /// The head that is being written, and how much of it is out. Its memory stays while the connection is at work.
    out: Vec<u8>,
    out_at: usize,
    sending: Sending,
    decoder: Option<BodyDecoder>,
    /// Raw bytes that came with, or after, the message's head.
    ahead: BodyBuffer,
    trailers: Option<Head>,
    wrote_any: bool,
}

impl Half {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            out: Vec::new(),
            out_at: 0,
            sending: Sending::Nothing,
            decoder: None,
            ahead: BodyBuffer::default(),
            trailers: None,
            wrote_any: false,
        }
    }

    /// The raw bytes behind a head begin its body (or the next message).
    fn keep_surplus(&mut self, surplus: &[u8]) {
        if !surplus.is_empty() {
            self.ahead.prepare().extend_from_slice(surplus);
        }
    }

    fn body_is_done(&self) -> bool {
        self.decoder.as_ref().is_none_or(BodyDecoder::is_done)
    }

    /// Fills the empty `buffer` with decoded data.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> Poll<Result<Fill, Fault>> {
        let Some(decoder) = &mut self.decoder else { return Poll::Ready(Ok(Fill::End)) };
        if decoder.is_done() {
            return Poll::Ready(Ok(Fill::End));
        }
        loop {
            if self.ahead.raw().is_empty() {
                let raw = buffer.prepare();
                let limit = crate::buffer::BUFFER_BYTES - 2 * 32;
                let count = match self.stream.poll_append(cx, raw, limit) {
                    Poll::Ready(count) => count?,
                    Poll::Pending => {
                        buffer.keep_all_of_nothing();
                        return Poll::Pending;
                    }
                };
                if count == 0 {
                    buffer.keep_all_of_nothing();
                    return match decoder.eof() {
                        Ok(()) => Poll::Ready(Ok(Fill::End)),
                        Err(ParseError::Truncated) => Poll::Ready(Err(Fault::Closed)),
                        Err(error) => Poll::Ready(Err(Fault::Malformed(error))),
                    };
                }
            } else {
                std::mem::swap(&mut self.ahead, buffer);
            }
            let done = decode(decoder, buffer)?;
            if done {
                if !buffer.raw().is_empty() {
                    let next = buffer.split_raw();
                    self.ahead.prepare().extend_from_slice(&next);
                }
                self.trailers = decoder.take_trailers();
                return Poll::Ready(Ok(Fill::End));
            }
            if !buffer.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
        }
    }

    /// The head to write next. Encoders append to it.
    fn begin_out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes what is left of the head, then `buffer`'s data.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BodyBuffer,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        match self.sending {
            Sending::Chunked => buffer.frame_as_chunk(last),
            Sending::Plain => {}
            Sending::Nothing => buffer.advance(usize::MAX),
        }
        if self.out_at < self.out.len() && !buffer.is_empty() && buffer.data().len() <= JOINED_BYTES {
            self.out.extend_from_slice(buffer.data());
            buffer.advance(usize::MAX);
        }
        loop {
            let head = &self.out[self.out_at..];
            if head.is_empty() && buffer.is_empty() {
                ready!(self.stream.poll_send_rest(cx))?;
                self.out.clear();
                self.out.shrink_to(KEPT_BYTES);
                self.out_at = 0;
                return Poll::Ready(Ok(()));
            }
            let of_head = head.len();
            let count = ready!(self.stream.poll_write_two(cx, head, buffer.data()))?;
            if count == 0 {
                return Poll::Ready(Err(Fault::Closed));
            }
            self.wrote_any = true;
            self.out_at += count.min(of_head);
            buffer.advance(count.saturating_sub(of_head));
        }
    }

    /// From now on all bytes are data, in both directions, until each ends; those that came ahead are the first.
    fn become_tunnel(&mut self) {
        self.decoder = Some(BodyDecoder::new(Framing::UntilClose, &Limits::default()));
        self.sending = Sending::Plain;
    }

    /// Ends a chunked body that `poll_send` has not ended with `last`.
    fn end_with_trailers(&mut self, trailers: Option<&Head>) {
        if self.sending == Sending::Chunked {
            narthex_wire::encode_trailers(trailers, self.begin_out());
        }
        self.sending = Sending::Nothing;
    }
}

/// Decodes what is raw in `buffer`, in place. `true`: the body is over, and what is still raw is not its own.
///
/// Takes linear time however small the chunks are: the framing between them is closed up once, at the end.
fn decode(decoder: &mut BodyDecoder, buffer: &mut BodyBuffer) -> Result<bool, Fault> {
    let mut at = 0;
    loop {
        let step = decoder.step(&buffer.raw()[at..]).map_err(Fault::Malformed)?;
        let begun = at;
        at += step.consumed;
        match step.event {
            Event::Data(range) => {
                let count = range.len();
                buffer.keep(begun + range.start..begun + range.end);
                at -= count;
            }
            Event::NeedInput | Event::End => {
                buffer.drop_raw(at);
                return Ok(step.event == Event::End);
            }
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct H1Server {
    half: Half,
    keep_alive: bool,
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
        Poll::Ready(Ok(()))
    }

    /// The socket, for the protocol that `HeadError::Preface` announced.
    pub fn into_stream(self) -> Stream {
        self.half.stream
    }

    pub fn body_is_done(&self) -> bool {
        self.half.body_is_done()
    }

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> Poll<Result<Fill, Fault>> {
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

    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BodyBuffer,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
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

/// A connection to an instance of a service.
#[derive(Debug)]
pub struct H1Client {
    half: Half,
    parser: ResponseParser,
    keep_alive: bool,
    answered: bool,
    request_done: bool,
}

impl H1Client {
    pub fn new(stream: Stream) -> Self {
        Self {
            half: Half::new(stream),
            parser: ResponseParser::default(),
            keep_alive: true,
            answered: false,
            request_done: false,
        }
    }

    /// As [`Stream::made_by`].
    pub fn made_by(&self) -> Option<&Arc<ClientTls>> {
        self.half.stream.made_by()
    }

    /// As [`Stream::is_stale`].
    pub fn is_stale(&mut self) -> bool {
        self.half.stream.is_stale()
    }

    /// The request's head; `poll_send` writes it.
    pub fn start(&mut self, head: &RequestHead) {
        self.parser.reset();
        self.answered = false;
        self.request_done = false;
        self.half.decoder = None;
        self.half.trailers = None;
        self.half.wrote_any = false;
        self.half.sending = match head.framing {
            Framing::None => Sending::Nothing,
            Framing::Length(_) => Sending::Plain,
            _ => Sending::Chunked,
        };
        narthex_wire::encode_request(head, self.half.begin_out());
    }

    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BodyBuffer,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        let sent = ready!(self.half.poll_send(cx, buffer, last));
        self.keep_alive &= sent.is_ok();
        self.request_done |= last && sent.is_ok();
        Poll::Ready(sent)
    }

    pub fn end(&mut self, trailers: Option<&Head>) {
        self.half.end_with_trailers(trailers);
    }

    /// The connection is a tunnel: raw bytes both ways. What `start` prepared is not sent.
    pub fn become_tunnel(&mut self) {
        self.half.become_tunnel();
        self.keep_alive = false;
    }

    /// These bytes go out before all others.
    pub fn send_first(&mut self, bytes: &[u8]) {
        let out = self.half.begin_out();
        out.clear();
        out.extend_from_slice(bytes);
    }

    /// Ends our side; the instance may still send.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half.stream.poll_shutdown(cx)
    }

    /// The instance must see a cut, not an end.
    pub fn cut(&mut self) {
        self.half.stream.abort_on_drop();
    }

    /// Whether any byte of this request went out.
    pub fn wrote_any(&self) -> bool {
        self.half.wrote_any
    }

    /// Whether any byte of the response came.
    pub fn read_any(&self, head: &mut ResponseHead) -> bool {
        self.answered || !head.buffer_mut().is_empty()
    }

    /// Reads one response's head, interim ones included (`response.status < 200`: read again).
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut ResponseHead,
        method: &Method,
        limits: &Limits,
    ) -> Poll<Result<(), HeadError>> {
        loop {
            if !response.buffer_mut().is_empty() {
                let parsed = self.parser.parse(response, method, limits);
                match parsed.map_err(HeadError::Malformed)? {
                    Progress::Complete => break,
                    Progress::Partial => {}
                }
            }
            match ready!(self.half.stream.poll_append(cx, response.buffer_mut(), HEAD_READ)) {
                Ok(0) => return Poll::Ready(Err(HeadError::Closed)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(HeadError::Io(error))),
            }
        }
        self.answered = true;
        if response.status == 101 {
            // What follows is not HTTP/1.1 any more (RFC 9110 15.2.2), whoever asked for it.
            self.become_tunnel();
            self.half.keep_surplus(response.surplus());
            return Poll::Ready(Ok(()));
        }
        if response.is_interim() {
            self.parser = ResponseParser::default();
            return Poll::Ready(Ok(()));
        }
        self.half.keep_surplus(response.surplus());
        self.half.decoder = Some(BodyDecoder::new(response.framing, limits));
        self.keep_alive &= response.keep_alive() && response.framing != Framing::UntilClose;
        Poll::Ready(Ok(()))
    }

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> Poll<Result<Fill, Fault>> {
        self.half.poll_fill(cx, buffer)
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        self.half.trailers.take()
    }

    /// Whether the connection may carry another request: everything sent, everything read, nothing unasked for.
    pub fn is_reusable(&self) -> bool {
        self.keep_alive
            && self.answered
            && self.request_done
            && self.half.out.is_empty()
            && self.half.body_is_done()
            && self.half.ahead.raw().is_empty()
    }
}
