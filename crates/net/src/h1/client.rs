//! A connection to an instance: requests are written, answers read.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use narthex_wire::{
    BodyDecoder, Framing, Head, Limits, Method, Progress, RequestHead, ResponseHead, ResponseParser,
};

use super::half::{Half, Sending};
use super::{HEAD_READ, HeadError, PollFill, PollSend};
use crate::tls::ClientTls;
use crate::{BodyBuffer, Stream};

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

    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
        let sent = ready!(self.half.poll_send(cx, buffer, last));
        self.keep_alive &= sent.is_ok();
        self.request_done |= last && sent.is_ok();
        Poll::Ready(sent)
    }

    pub fn end(&mut self, trailers: Option<&Head>) {
        self.half.end_with_trailers(trailers);
    }

    /// The connection is a tunnel: raw bytes both ways.
    pub fn become_tunnel(&mut self) {
        self.half.become_tunnel();
        self.keep_alive = false;
    }

    /// These bytes go out before all others.
    pub fn send_first(&mut self, bytes: &[u8]) {
        self.half.begin_out().extend_from_slice(bytes);
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

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
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
