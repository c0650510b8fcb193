//! [`ResponseHead`]: a response without its body; the block that was read is its arena.

use super::{Connection, Extras, keep_surplus, store_value};
use crate::error::InvalidValue;
use crate::h1::reason;
use crate::head::{Head, Span};
use crate::method::{Framing, Version};

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    pub version: Version,
    pub framing: Framing,
    /// `Content-Length` of a response that has no body: what `GET` would have had (HEAD), or what the
    /// stored response has (304).
    pub declared_length: Option<u64>,
    pub connection: Connection,
    pub head: Head,
    pub(crate) reason: Option<Span>,
    pub(crate) extras: Extras,
}

impl Default for ResponseHead {
    fn default() -> ResponseHead {
        ResponseHead::new(200)
    }
}

impl ResponseHead {
    /// A response without fields and body.
    pub fn new(status: u16) -> ResponseHead {
        ResponseHead {
            status,
            version: Version::Http11,
            framing: Framing::None,
            declared_length: None,
            connection: Connection::default(),
            head: Head::new(),
            reason: None,
            extras: Extras::default(),
        }
    }

    /// A head that is read into this vector; its contents are dropped, its capacity is kept.
    pub fn with_buffer(buffer: Vec<u8>) -> ResponseHead {
        ResponseHead { head: Head::with_arena(buffer), ..ResponseHead::new(200) }
    }

    /// Back to `new(200)`, keeping capacity.
    pub fn clear(&mut self) {
        self.head.clear();
        self.reset_fields();
    }

    /// After an interim response (1xx): the surplus becomes the buffer that the next head is parsed
    /// from. The parser has to be reset too. Edits are dropped.
    pub fn next_after_interim(&mut self) {
        self.next_response(0);
    }

    /// Makes this the head of the next response on the connection: the surplus without its first
    /// `consumed` bytes becomes the buffer. Edits are dropped.
    pub fn next_response(&mut self, consumed: usize) {
        keep_surplus(&mut self.head, self.extras.surplus, consumed);
        self.reset_fields();
    }

    fn reset_fields(&mut self) {
        self.status = 200;
        self.version = Version::Http11;
        self.framing = Framing::None;
        self.declared_length = None;
        self.connection = Connection::default();
        self.reason = None;
        self.extras = Extras::default();
    }

    /// The buffer that bytes are read into (appended) until the parser says `Complete`; it is the arena
    /// of the head, so nothing may be appended afterwards, and nothing may ever be removed.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.head.arena
    }

    /// Bytes that were read behind the head.
    pub fn surplus(&self) -> &[u8] {
        self.extras.surplus.of(&self.head.arena)
    }

    /// The reason phrase from the wire, or the usual one of the status when none was sent.
    pub fn reason_phrase(&self) -> &[u8] {
        match self.reason {
            Some(reason) => reason.of(&self.head.arena),
            None => reason::usual(self.status).as_bytes(),
        }
    }

    /// Changes the status; the reason phrase becomes the usual one.
    pub fn set_status(&mut self, status: u16) {
        self.status = status;
        self.reason = None;
    }

    /// 100 to 199: another head follows (but after 101, where the protocol changes).
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The value of `Upgrade`, when `Connection: upgrade` came with it.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.extras.upgrade.map(|upgrade| upgrade.of(&self.head.arena))
    }

    /// Sets or removes `Upgrade` and, with it, `Connection: upgrade`.
    ///
    /// # Errors
    /// When the value holds a control character.
    pub fn set_upgrade(&mut self, protocol: Option<&[u8]>) -> Result<(), InvalidValue> {
        self.extras.upgrade = protocol.map(|value| store_value(&mut self.head, value)).transpose()?;
        self.connection.upgrade = self.extras.upgrade.is_some();
        Ok(())
    }

    /// The value of `Trailer`: the names of trailer fields that the service announced.
    pub fn announced_trailers(&self) -> Option<&[u8]> {
        self.extras.trailer.map(|trailer| trailer.of(&self.head.arena))
    }

    /// Whether the service's connection may carry another request after this response's body.
    pub fn keep_alive(&self) -> bool {
        if self.framing == Framing::UntilClose || self.connection.close || self.status == 101 {
            return false;
        }
        self.version != Version::Http10 || self.connection.keep_alive
    }
}
