//! The typed heads of requests and responses: what framing, routing and the connection need is a
//! field here, everything else is an entry of the [`Head`] inside.

mod request;
mod response;

pub use request::{Authority, RequestHead, RequestMark};
pub use response::ResponseHead;

pub(crate) use request::{Form, Target};

use crate::head::{Head, Span};
use crate::name::Known;

/// The tokens of `Connection` that mean something to this gateway (RFC 9110 section 7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    pub close: bool,
    pub keep_alive: bool,
    /// `Connection: upgrade` together with an `Upgrade` field.
    pub upgrade: bool,
}

/// What the parser found besides entries; ranges of the head's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    pub upgrade: Option<Span>,
    pub trailer: Option<Span>,
    /// Bytes in the buffer behind the head.
    pub surplus: Span,
}

/// Moves the bytes of `surplus` from `consumed` on to the front of the buffer and drops all else.
fn keep_surplus(head: &mut Head, surplus: Span, consumed: usize) {
    let start = (surplus.start as usize + consumed).min(surplus.end());
    let end = surplus.end().min(head.arena.len());
    head.arena.truncate(end);
    head.arena.drain(..start.min(end));
    head.forget();
}

/// Puts a value of a typed field into the arena, checked like any other value.
fn store_value(head: &mut Head, value: &[u8]) -> Result<Span, crate::InvalidValue> {
    let value = crate::chars::trim(value);
    if crate::scan::control(value, 0) < value.len() {
        return Err(crate::InvalidValue::Control);
    }
    if !head.has_room(value.len()) {
        return Err(crate::InvalidValue::TooLong);
    }
    Ok(head.store(value))
}

/// Fields that no `Connection` option may make vanish: those that a recipient further on relies on.
/// Known ones are all meant for every recipient, but for the hop-by-hop fields, which are typed.
pub(crate) fn is_end_to_end(option: &[u8], known: Option<Known>) -> bool {
    match known {
        Some(Known::Host | Known::ContentLength) => true,
        Some(known) => !known.is_reserved(),
        None => [&b"x-forwarded-"[..], b"x-narthex-", b"proxy-auth"]
            .iter()
            .any(|prefix| option.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))),
    }
}
