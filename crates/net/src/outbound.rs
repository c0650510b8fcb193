//! The service's side of one exchange, whatever the protocol.

use std::task::{Context, Poll};

use narthex_wire::{Head, Limits, Method, ResponseHead};

use crate::h2c::H2ClientStream;
use crate::{BodyBuffer, Fault, H1Client, HeadError, PollFill, PollSend};

/// Where a request goes to and its response comes from.
///
/// Boxed: it is handed from the pool through the exchange and back.
pub enum Outbound {
    H1(Box<H1Client>),
    H2(Box<H2ClientStream>),
}

macro_rules! both {
    ($self:expr, $inner:ident => $call:expr) => {
        match $self {
            Outbound::H1($inner) => $call,
            Outbound::H2($inner) => $call,
        }
    };
}

impl Outbound {
    /// Writes what is left of the head, then the buffer's data. `last`: the body ends with it, without trailers.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
        both!(self, inner => inner.poll_send(cx, buffer, last))
    }

    /// Ends a body that was not sent with `last`; `poll_send` writes it.
    pub fn end(&mut self, trailers: Option<&Head>) {
        both!(self, inner => inner.end(trailers));
    }

    /// Reads one response's head, interim ones included (`status < 200`: call `next_after_interim`, read again).
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut ResponseHead,
        method: &Method,
        limits: &Limits,
    ) -> Poll<Result<(), HeadError>> {
        match self {
            Self::H1(inner) => inner.poll_head(cx, response, method, limits),
            Self::H2(inner) => inner.poll_head(cx, response),
        }
    }

    /// Fills the empty `buffer` with the next bytes of the response's body.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
        both!(self, inner => inner.poll_fill(cx, buffer))
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        both!(self, inner => inner.take_trailers())
    }

    /// Ends our side of a tunnel of which all is sent; the instance may still send.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> PollSend {
        match self {
            Self::H1(inner) => inner.poll_shutdown(cx).map_err(Fault::Io),
            Self::H2(_) => Poll::Ready(Ok(())),
        }
    }

    /// The instance must see a cut, not an end.
    pub fn cut(&mut self) {
        match self {
            Self::H1(inner) => inner.cut(),
            // Dropping the stream before its end resets it.
            Self::H2(_) => {}
        }
    }

    /// Whether any byte of the request went out (an HTTP/2 request has always begun).
    pub fn wrote_any(&self) -> bool {
        match self {
            Self::H1(inner) => inner.wrote_any(),
            Self::H2(_) => true,
        }
    }

    /// The connection, where it may carry another request.
    pub fn into_reusable(self) -> Option<Box<H1Client>> {
        match self {
            Self::H1(inner) => inner.is_reusable().then_some(inner),
            Self::H2(_) => None,
        }
    }
}
