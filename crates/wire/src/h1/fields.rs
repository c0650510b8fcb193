//! What the framing and hop-by-hop fields of a head say (RFC 9112 section 6, RFC 9110 section 7.6.1).
//! They are taken out here and never become entries; every other field does.

use super::line::FieldLine;
use crate::chars;
use crate::error::ParseError;
use crate::head::{Entry, Head, Span};
use crate::index::Index;
use crate::message::{Connection, is_end_to_end};
use crate::method::Version;
use crate::name::Known;

/// More options of `Connection` than this are an attack on whoever removes the fields they name.
const MAX_CONNECTION_OPTIONS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    pub length: Option<u64>,
    pub chunked: bool,
    pub host: Option<Span>,
    pub upgrade: Option<Span>,
    pub trailer: Option<Span>,
    pub connection: Connection,
    pub te_trailers: bool,
    pub expect_continue: bool,
    lines: usize,
    options: usize,
    /// Custom fields that `Connection` names.
    nominated: Vec<Span>,
}

impl Collected {
    /// Forgets everything and keeps the capacity.
    pub fn clear(&mut self) {
        let mut nominated = std::mem::take(&mut self.nominated);
        nominated.clear();
        *self = Collected { nominated, ..Collected::default() };
    }

    /// Takes one field line in.
    #[inline(always)]
    pub fn take(
        &mut self,
        arena: &[u8],
        index: &mut Index,
        line: FieldLine,
        side: Side,
        version: Version,
        max_lines: usize,
    ) -> Result<(), ParseError> {
        self.lines += 1;
        if self.lines > max_lines {
            return Err(ParseError::TooManyFields);
        }
        if Known::is_reserved_number(line.known) {
            return self.reserved(arena, line.value, line.known, side, version);
        }
        index.enter(Entry::new(line.name, line.value, line.known, line.plain));
        Ok(())
    }

    /// After the last line: removes what `Connection` named, settles `Upgrade`.
    #[inline(always)]
    pub fn finish(&mut self, head: &mut Head, version: Version) {
        if !self.nominated.is_empty() {
            self.remove_nominated(head);
        }
        // RFC 9110 section 7.8: ignored in HTTP/1.0, and without the connection option.
        if !self.connection.upgrade || version == Version::Http10 {
            self.upgrade = None;
        }
        self.connection.upgrade = self.upgrade.is_some();
    }

    #[cold]
    fn remove_nominated(&mut self, head: &mut Head) {
        for option in std::mem::take(&mut self.nominated) {
            let name = option.of(&head.arena).to_vec();
            head.remove_custom(&name);
        }
    }

    fn reserved(
        &mut self,
        arena: &[u8],
        field: Span,
        known: u8,
        side: Side,
        version: Version,
    ) -> Result<(), ParseError> {
        let value = field.of(arena);
        let Some(known) = Known::from_number(known) else { return Ok(()) };
        match known {
            Known::Connection => return self.connection(arena, field),
            Known::ContentLength => return self.content_length(value),
            Known::TransferEncoding => return self.transfer_encoding(value, version),
            Known::Host if side == Side::Request => return self.host(field),
            Known::Upgrade => self.upgrade = self.upgrade.or(Some(field)),
            Known::Trailer => self.trailer = self.trailer.or(Some(field)),
            Known::Te => {
                let member = |part: &[u8]| chars::trim(part).eq_ignore_ascii_case(b"trailers");
                self.te_trailers |= value.split(|&b| b == b',').any(member);
            }
            Known::Expect if side == Side::Request && version != Version::Http10 => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(ParseError::UnknownExpectation);
                }
                self.expect_continue = true;
            }
            // Keep-Alive and Proxy-Connection mean nothing here; Host, Expect and TE nothing in a response.
            _ => {}
        }
        Ok(())
    }

    fn host(&mut self, value: Span) -> Result<(), ParseError> {
        if self.host.replace(value).is_some() { Err(ParseError::RepeatedHost) } else { Ok(()) }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), ParseError> {
        let length = decimal(value).ok_or(ParseError::InvalidContentLength)?;
        if self.length.replace(length).is_some() {
            return Err(ParseError::RepeatedContentLength);
        }
        if self.chunked { Err(ParseError::ConflictingLength) } else { Ok(()) }
    }

    fn transfer_encoding(&mut self, value: &[u8], version: Version) -> Result<(), ParseError> {
        if version == Version::Http10 {
            return Err(ParseError::TransferEncodingInHttp10);
        }
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(ParseError::InvalidTransferEncoding);
        }
        self.chunked = true;
        if self.length.is_some() { Err(ParseError::ConflictingLength) } else { Ok(()) }
    }

    fn connection(&mut self, arena: &[u8], value: Span) -> Result<(), ParseError> {
        // All that most say. Compared as a whole, not byte by byte.
        let (keep_alive, close) = (value.of(arena) == b"keep-alive", value.of(arena) == b"close");
        if (keep_alive || close) && self.options < MAX_CONNECTION_OPTIONS {
            self.options += 1;
            self.connection.keep_alive |= keep_alive;
            self.connection.close |= close;
            return Ok(());
        }
        let mut start = value.start as usize;
        for part in value.of(arena).split(|&b| b == b',') {
            let lead = part.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
            let option = chars::trim(part);
            let span = Span::new(start + lead, start + lead + option.len());
            start += part.len() + 1;
            self.options += 1;
            if self.options > MAX_CONNECTION_OPTIONS {
                return Err(ParseError::InvalidConnection);
            }
            self.option(option, span)?;
        }
        Ok(())
    }

    fn option(&mut self, option: &[u8], span: Span) -> Result<(), ParseError> {
        if option.is_empty() {
            return Ok(());
        }
        if option.eq_ignore_ascii_case(b"keep-alive") {
            self.connection.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"close") {
            self.connection.close = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            self.connection.upgrade = true;
        } else if !chars::is_token(option) {
            return Err(ParseError::InvalidConnection);
        } else {
            let known = Known::lookup(option);
            if is_end_to_end(option, known) {
                return Err(ParseError::ForbiddenConnectionOption);
            }
            if known.is_none() {
                self.nominated.push(span);
            }
        }
        Ok(())
    }
}

/// One or more digits that fit 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    // So few of them always fit.
    if let [first, rest @ ..] = digits
        && rest.len() < 18
    {
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        return rest.iter().try_fold(digit(first)?, |n, d| Some(n * 10 + digit(d)?));
    }
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &d| {
        if !d.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(d - b'0'))
    })
}
