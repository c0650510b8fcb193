//! The client's side of one exchange, whatever the protocol. The data plane above has no protocol branches.

use std::task::{Context, Poll};

use narthex_wire::{Head, RequestHead, ResponseHead};

use crate::{BodyBuffer, Fault, H1Server, H2ServerStream, InnerServer, PollFill, PollSend};

/// Where a request came from and its response goes to.
pub enum Inbound {
    H1(H1Server),
    H2(H2ServerStream),
    /// An exchange inside another one.
    Inner(InnerServer),
}

macro_rules! all {
    ($self:expr, $inner:ident => $call:expr, $within:ident => $inside:expr) => {
        match $self {
            Inbound::H1($inner) => $call,
            Inbound::H2($inner) => $call,
            Inbound::Inner($within) => $inside,
        }
    };
}

impl Inbound {
    /// Ready when the client went away.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever began an inner exchange drops it.
        all!(self, inner => inner.poll_gone(cx), _within => Poll::Pending)
    }

    /// Whether the request's body was read to its end.
    pub fn body_is_done(&self) -> bool {
        all!(self, inner => inner.body_is_done(), within => within.body_is_done())
    }

    /// Fills the empty `buffer` with the next bytes of the request's body.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
        all!(self, inner => inner.poll_fill(cx, buffer), within => within.poll_fill(buffer))
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        all!(self, inner => inner.take_trailers(), _within => None)
    }

    /// An interim (1xx) response.
    pub fn interim(&mut self, head: &ResponseHead, request: &RequestHead) {
        match self {
            Self::H1(inner) => inner.interim(head, request.version),
            Self::H2(inner) => inner.interim(head),
            // Nobody waits for it.
            Self::Inner(_) => {}
        }
    }

    /// The response's head; `poll_send` writes it. Returns whether a body is to be sent.
    pub fn start(&mut self, head: &ResponseHead, request: &RequestHead, close: bool) -> bool {
        match self {
            Self::H1(inner) => inner.start(head, request, close),
            Self::H2(inner) => inner.start(head, request),
            Self::Inner(within) => within.start(head, request),
        }
    }

    /// Writes what is left of the head, then the buffer's data. `last`: the body ends with it, without trailers.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
        all!(self, inner => inner.poll_send(cx, buffer, last), within => within.poll_send(buffer, last))
    }

    /// Ends a body that was not sent with `last`; `poll_send` writes it.
    pub fn end(&mut self, trailers: Option<&Head>) {
        all!(self, inner => inner.end(trailers), within => within.end(trailers));
    }

    /// What follows the head that was started is a tunnel: raw bytes both ways, each direction ended by itself.
    pub fn become_tunnel(&mut self) {
        all!(self, inner => inner.become_tunnel(), _within => ());
    }

    /// Whether it can become a tunnel at all.
    pub fn takes_tunnels(&self) -> bool {
        !matches!(self, Self::Inner(_))
    }

    /// Ends our side of a tunnel of which all is sent; the client may still send.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> PollSend {
        match self {
            Self::H1(inner) => inner.poll_shutdown(cx).map_err(Fault::Io),
            // The end of the stream went out with its last bytes.
            Self::H2(_) | Self::Inner(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ready when a tunnel's client is gone altogether, where neither reading nor writing would tell.
    pub fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(_) | Self::Inner(_) => Poll::Pending,
            Self::H2(inner) => inner.poll_gone(cx),
        }
    }

    /// Takes a head back that `start` made and of which no byte was written. `false`: it is too late.
    pub fn take_back(&mut self) -> bool {
        match self {
            Self::H1(inner) => inner.take_back(),
            Self::H2(inner) => inner.take_back(),
            Self::Inner(within) => within.take_back(),
        }
    }

    /// The response broke off: the client must see a cut, not an end.
    pub fn cut(&mut self) {
        all!(self, inner => inner.cut(), within => within.cut());
    }
}
