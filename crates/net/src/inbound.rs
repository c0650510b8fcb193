//! The client's side of one exchange, whatever the protocol. The data plane above has no protocol branches.

use std::task::{Context, Poll};

use narthex_wire::{Head, RequestHead, ResponseHead};

use crate::{BodyBuffer, Fault, Fill, H1Server, H2ServerStream};

/// Where a request came from and its response goes to.
pub enum Inbound {
    H1(H1Server),
    H2(H2ServerStream),
}

macro_rules! both {
    ($self:expr, $inner:ident => $call:expr) => {
        match $self {
            Inbound::H1($inner) => $call,
            Inbound::H2($inner) => $call,
        }
    };
}

impl Inbound {
    /// Ready when the client went away.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        both!(self, inner => inner.poll_gone(cx))
    }

    /// Whether the request's body was read to its end.
    pub fn body_is_done(&self) -> bool {
        both!(self, inner => inner.body_is_done())
    }

    /// Fills the empty `buffer` with the next bytes of the request's body.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> Poll<Result<Fill, Fault>> {
        both!(self, inner => inner.poll_fill(cx, buffer))
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        both!(self, inner => inner.take_trailers())
    }

    /// An interim (1xx) response.
    pub fn interim(&mut self, head: &ResponseHead, request: &RequestHead) {
        match self {
            Self::H1(inner) => inner.interim(head, request.version),
            Self::H2(inner) => inner.interim(head),
        }
    }

    /// The response's head; `poll_send` writes it. Returns whether a body is to be sent.
    pub fn start(&mut self, head: &ResponseHead, request: &RequestHead, close: bool) -> bool {
        match self {
            Self::H1(inner) => inner.start(head, request, close),
            Self::H2(inner) => inner.start(head, request),
        }
    }

    /// Writes what is left of the head, then the buffer's data. `last`: the body ends with it, without trailers.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BodyBuffer,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        both!(self, inner => inner.poll_send(cx, buffer, last))
    }

    /// Ends a body that was not sent with `last`; `poll_send` writes it.
    pub fn end(&mut self, trailers: Option<&Head>) {
        both!(self, inner => inner.end(trailers));
    }

    /// Takes a head back that `start` made and of which no byte was written. `false`: it is too late.
    pub fn take_back(&mut self) -> bool {
        match self {
            Self::H1(inner) => inner.take_back(),
            Self::H2(_) => false,
        }
    }

    /// The response broke off: the client must see a cut, not an end.
    pub fn cut(&mut self) {
        both!(self, inner => inner.cut());
    }
}
