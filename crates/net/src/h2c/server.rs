//! A client's connection, and each of its streams.

use std::task::{Context, Poll};

use h2::{RecvStream, SendStream, server};
use narthex_wire::{Framing, Head, Limits, Method, RequestHead, ResponseHead};

use super::H2Limits;
use super::fields::{read_request, within, write_fields, write_response};
use super::half::{Receiving, end_stream, send_data};
use crate::frames::FrameCounts;
use crate::lazy::Lazy;
use crate::{BodyBuffer, Chunk, Fault, HeadError, PollFill, PollSend, Stream};

/// A client's HTTP/2 connection.
pub struct H2Server {
    connection: server::Connection<Lazy, Chunk>,
    io: Lazy,
}

/// Answers the preface. `first`: bytes that were read already.
pub async fn accept_h2(stream: Stream, first: Vec<u8>, limits: &H2Limits) -> Result<H2Server, h2::Error> {
    let io = Lazy::watched(stream, first);
    let connection = server::Builder::new()
        .max_concurrent_streams(limits.streams)
        // A list over the bound, but not by far, is read and refused with its reason (`within`); beyond, `h2` answers.
        .max_header_list_size(limits.head_bytes.saturating_mul(2))
        .max_pending_accept_reset_streams(limits.pending_resets)
        .max_concurrent_reset_streams(limits.pending_resets)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buffer_size(limits.stream_window as usize)
        .enable_connect_protocol()
        .handshake(io.clone())
        .await?;
    Ok(H2Server { connection, io })
}

/// A stream as `h2` accepts it.
pub type Accepted = (http::Request<RecvStream>, server::SendResponse<Chunk>);

impl H2Server {
    /// The next stream; drives all others meanwhile, and writes out what they have to say before it waits.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, h2::Error>>> {
        let accepted = self.connection.poll_accept(cx);
        if accepted.is_pending() {
            // A broken socket shows itself to `h2` when it reads.
            let _ = self.io.poll_write_out(cx);
            self.io.end_turn();
        }
        accepted
    }

    /// What the client has sent so far of what costs it nothing.
    pub fn frames(&self) -> FrameCounts {
        self.io.frames()
    }

    /// The number of the header block that the client has begun and not ended: nothing else comes until it has.
    pub fn open_block(&self) -> Option<u64> {
        self.io.open_block()
    }

    /// GOAWAY with ENHANCE_YOUR_CALM: `poll_accept` ends as soon as that is out.
    pub fn calm(&mut self) {
        self.connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
    }

    /// Which flood `h2` itself has ended the connection for: its error does not tell, the GOAWAY does.
    pub fn flood_of(&self, error: &h2::Error) -> Option<&'static str> {
        if !error.is_library() || error.reason() != Some(h2::Reason::ENHANCE_YOUR_CALM) {
            return None;
        }
        let kinds = [
            ("too_many_continuations", "continuation"),
            ("too_many_resets", "reset"),
            ("too_many_internal_resets", "made_reset"),
            ("too_many_data_frames", "empty"),
            ("header_list_way_too_large", "head"),
        ];
        Some(kinds.iter().find(|(words, _)| self.io.has_said(words)).map_or("other", |(_, kind)| kind))
    }

    /// Reads and drops what the client still sends after the end; `Ok(0)` when it has ended too.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.io.poll_discard(cx)
    }

    /// GOAWAY: no new streams; `poll_accept` ends when those that are open do.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }
}

/// One exchange's stream, the client's side.
///
/// Dropped when the response is over before its request was, it tells the client to stop sending (RFC 9113 8.1): `h2`
/// schedules that reset behind the response, where one that was sent by hand would destroy what is not out yet.
pub struct H2ServerStream {
    receiving: Receiving,
    respond: server::SendResponse<Chunk>,
    send: Option<SendStream<Chunk>>,
    ended: bool,
    /// The response's head until something follows it, or nothing does for now: so long it can be taken back.
    head: Option<Box<http::Response<()>>>,
}

impl H2ServerStream {
    /// Takes a stream over and fills `request`, which must be clear.
    pub fn adopt(
        accepted: Accepted,
        request: &mut RequestHead,
        limits: &Limits,
    ) -> (Self, Result<(), HeadError>) {
        let (message, respond) = accepted;
        let (parts, body) = message.into_parts();
        let read = within(&parts, limits).and_then(|()| read_request(&parts, body.is_end_stream(), request));
        let is_held = request.upgrade().is_some();
        let receiving = Receiving { is_held, ..Receiving::request(body) };
        let stream = Self { receiving, respond, send: None, ended: false, head: None };
        (stream, read.map_err(HeadError::Malformed))
    }

    pub fn body_is_done(&self) -> bool {
        self.receiving.done || self.receiving.is_held
    }

    /// The stream's data are a tunnel's bytes from now on.
    pub fn become_tunnel(&mut self) {
        self.receiving.is_held = false;
    }

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
        self.receiving.poll_fill(cx, buffer)
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        self.receiving.trailers.take()
    }

    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(_) if self.ended => Poll::Pending,
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    pub fn interim(&mut self, head: &ResponseHead) {
        if let Some(message) = write_response(head) {
            // The stream was reset: `poll_gone` says so.
            let _ = self.respond.send_informational(message);
        }
    }

    pub fn start(&mut self, head: &ResponseHead, request: &RequestHead) -> bool {
        if head.status == 101 {
            return self.start_tunnel(head);
        }
        let bodiless = head.status < 200 || head.status == 204 || head.status == 304;
        let has_body = request.method != Method::Head && head.framing != Framing::None && !bodiless;
        self.head = write_response(head).map(Box::new);
        self.ended = !has_body;
        if !has_body {
            self.send_head();
        }
        has_body
    }

    /// What fails here is seen by whoever sends the body: the stream was reset.
    fn send_head(&mut self) {
        if let Some(head) = self.head.take() {
            self.send = self.respond.send_response(*head, self.ended).ok();
        }
    }

    /// Takes a head back that nothing has followed yet. `false`: it is on its way.
    pub fn take_back(&mut self) -> bool {
        self.head.take().is_some()
    }

    /// In place of 101 an extended CONNECT is answered with 200 (RFC 8441 5).
    fn start_tunnel(&mut self, head: &ResponseHead) -> bool {
        let mut message = http::Response::new(());
        *message.headers_mut() = write_fields(&head.head);
        message.headers_mut().remove(http::header::SEC_WEBSOCKET_ACCEPT);
        self.send = self.respond.send_response(message, false).ok();
        true
    }

    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
        self.send_head();
        let Some(send) = &mut self.send else {
            // After an interim response there is nothing to send yet; after `start`, the stream was reset.
            let is_before_start = !last && buffer.is_empty() && !self.ended;
            return Poll::Ready(if is_before_start { Ok(()) } else { Err(Fault::Closed) });
        };
        send_data(send, &mut self.ended, cx, buffer, last)
    }

    pub fn end(&mut self, trailers: Option<&Head>) {
        self.send_head();
        if let Some(send) = &mut self.send {
            end_stream(send, &mut self.ended, trailers);
        }
    }

    pub fn cut(&mut self) {
        match &mut self.send {
            Some(send) => send.send_reset(h2::Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(h2::Reason::INTERNAL_ERROR),
        }
    }
}
