//! What both sides of a stream share: the body that comes in, the body that goes out.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use narthex_wire::Head;

use super::fields::{read_trailers, write_fields};
use crate::{BodyBuffer, Chunk, Fault, Fill, PollFill, PollSend};

/// The receiving side of a stream.
pub struct Receiving {
    pub stream: RecvStream,
    pub left: Bytes,
    /// Of a response: bytes that are still to come, where it says how many there are.
    pub awaited: Option<u64>,
    pub is_response: bool,
    pub trailers: Option<Head>,
    pub done: bool,
    /// Data are a tunnel's, which has not begun: until then there is no body.
    pub is_held: bool,
}

impl Receiving {
    pub fn request(stream: RecvStream) -> Self {
        let done = stream.is_end_stream();
        let left = Bytes::new();
        Self { stream, left, awaited: None, is_response: false, trailers: None, done, is_held: false }
    }

    pub fn response(stream: RecvStream, length: Option<u64>) -> Self {
        Self { awaited: length, is_response: true, ..Self::request(stream) }
    }

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
        if self.is_held {
            return Poll::Ready(Ok(Fill::End));
        }
        loop {
            if !self.left.is_empty() {
                let count = buffer.fill_from(&self.left);
                drop(self.left.split_to(count));
                // Fails only when the stream is gone, which the next read says.
                let _ = self.stream.flow_control().release_capacity(count);
                return Poll::Ready(Ok(self.filled()));
            }
            if self.done {
                return Poll::Ready(Ok(Fill::End));
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(Err(error)) if self.is_over(&error) => {
                    self.done = true;
                }
                Some(data) => {
                    self.left = data.map_err(Fault::H2)?;
                    let count = self.left.len() as u64;
                    self.awaited = self.awaited.map(|left| left.saturating_sub(count));
                }
                None => {
                    let trailers = ready!(self.stream.poll_trailers(cx)).map_err(Fault::H2)?;
                    self.trailers = trailers.as_ref().map(read_trailers);
                    self.done = true;
                }
            }
        }
    }

    /// A complete response whose server wants no more of the request (RFC 9113 8.1): `h2` reports the reset in place of
    /// the end of the stream that came before it.
    pub fn is_over(&self, error: &h2::Error) -> bool {
        let is_wanted_no_more =
            error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::NO_ERROR);
        self.is_response && is_wanted_no_more && self.awaited.is_none_or(|left| left == 0)
    }

    pub fn filled(&mut self) -> Fill {
        if self.left.is_empty() && self.stream.is_end_stream() {
            self.done = true;
            return Fill::End;
        }
        Fill::Data
    }
}

pub fn send_data(
    send: &mut SendStream<Chunk>,
    ended: &mut bool,
    cx: &mut Context<'_>,
    buffer: &mut BodyBuffer,
    last: bool,
) -> PollSend {
    while !buffer.is_empty() {
        send.reserve_capacity(buffer.data().len());
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(Fault::H2)?,
                None => return Poll::Ready(Err(Fault::Closed)),
            };
        }
        let chunk = buffer.take_chunk(send.capacity());
        *ended = last && buffer.is_empty();
        send.send_data(chunk, *ended).map_err(Fault::H2)?;
    }
    if last && !*ended {
        *ended = true;
        send.send_data(Chunk::empty(), true).map_err(Fault::H2)?;
    }
    Poll::Ready(Ok(()))
}

pub fn end_stream(send: &mut SendStream<Chunk>, ended: &mut bool, trailers: Option<&Head>) {
    if *ended {
        return;
    }
    *ended = true;
    // Either fails only when the stream was reset, which its reader learns.
    let _ = match trailers {
        Some(trailers) => send.send_trailers(write_fields(trailers)),
        None => send.send_data(Chunk::empty(), true),
    };
}
