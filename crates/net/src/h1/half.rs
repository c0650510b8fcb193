//! What both sides of a connection share: the head that is being written, the body that is being read.

use std::task::{Context, Poll, ready};

use narthex_wire::{BodyDecoder, Event, Framing, Head, Limits, ParseError};

use super::{Fault, Fill, PollFill, PollSend};
use crate::{BodyBuffer, Stream};

/// A body's beginning up to this long is written behind the head, in one piece: cheaper than gathering two.
const JOINED_BYTES: usize = 2 * 1024;
/// Memory that a connection at work keeps for its next head.
const KEPT_BYTES: usize = 4 * 1024;

/// How the body of the message being sent is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sending {
    #[default]
    Nothing,
    Plain,
    Chunked,
}

/// The half of a connection that both sides share: a socket, a head waiting to be written, a body being read.
#[derive(Debug)]
pub struct Half {
    pub stream: Stream,
    /// The head that is being written, and how much of it is out. Its memory stays while the connection is at work.
    pub out: Vec<u8>,
    pub out_at: usize,
    pub sending: Sending,
    pub decoder: Option<BodyDecoder>,
    /// Raw bytes that came with, or after, the message's head.
    pub ahead: BodyBuffer,
    pub trailers: Option<Head>,
    pub wrote_any: bool,
}

impl Half {
    pub fn new(stream: Stream) -> Self {
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
    pub fn keep_surplus(&mut self, surplus: &[u8]) {
        if !surplus.is_empty() {
            self.ahead.prepare().extend_from_slice(surplus);
        }
    }

    pub fn body_is_done(&self) -> bool {
        self.decoder.as_ref().is_none_or(BodyDecoder::is_done)
    }

    /// Fills the empty `buffer` with decoded data.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
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
    pub fn begin_out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes what is left of the head, then `buffer`'s data.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
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
    pub fn become_tunnel(&mut self) {
        self.decoder = Some(BodyDecoder::new(Framing::UntilClose, &Limits::default()));
        self.sending = Sending::Plain;
    }

    /// Ends a chunked body that `poll_send` has not ended with `last`.
    pub fn end_with_trailers(&mut self, trailers: Option<&Head>) {
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
