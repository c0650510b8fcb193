//! Parses the head of a response (RFC 9112 sections 4 and 6.3). The buffer becomes the head's arena.

use super::fields::{Collected, Side};
use super::line::{Bound, Cursor, Next};
use super::request::version;
use super::{Limits, Progress};
use crate::error::ParseError;
use crate::head::{Head, Span};
use crate::message::ResponseHead;
use crate::method::{Framing, Method, Version};
use crate::scan;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    Fields,
    Done,
}

/// Resumable state of parsing one response head.
#[derive(Clone, Debug, Default)]
pub struct ResponseParser {
    stage: Stage,
    cursor: Cursor,
    collected: Collected,
    /// A fault is final: asked again, the parser gives the same answer.
    fault: Option<ParseError>,
}

impl ResponseParser {
    /// Ready for the next head; capacity is kept.
    pub fn reset(&mut self) {
        self.stage = Stage::Start;
        self.cursor = Cursor::default();
        self.collected.clear();
        self.fault = None;
    }

    /// Looks at what was appended to [`ResponseHead::buffer_mut`] since the last call. An interim
    /// response (1xx) is `Complete` too: skip it with [`ResponseHead::next_after_interim`].
    ///
    /// # Errors
    /// As soon as the line with the fault is complete. The connection cannot be used any more.
    pub fn parse(
        &mut self,
        head: &mut ResponseHead,
        request_method: &Method,
        limits: &Limits,
    ) -> Result<Progress, ParseError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let result = self.advance(head, request_method, limits);
        self.fault = result.err();
        result
    }

    fn advance(
        &mut self,
        head: &mut ResponseHead,
        request_method: &Method,
        limits: &Limits,
    ) -> Result<Progress, ParseError> {
        let bound = Bound { end: limits.head_end(), error: ParseError::HeadTooLarge };
        if self.stage == Stage::Start {
            let plain = if self.cursor.scanned() == 0 { plain_status_line(&head.head.arena) } else { None };
            let (line, next) = match plain {
                Some((line, next)) if next <= bound.end => (line, next),
                _ => {
                    let Some(line) = self.cursor.line(&head.head.arena, bound)? else {
                        return Ok(Progress::Partial);
                    };
                    (status_line(line)?, self.cursor.pos)
                }
            };
            self.cursor = Cursor::at(next);
            (head.version, head.status, head.reason) = line;
            self.stage = Stage::Fields;
        }
        if self.stage == Stage::Fields {
            let (version, Head { arena, index, .. }) = (head.version, &mut head.head);
            let (collected, most, arena) = (&mut self.collected, limits.fields, &arena[..]);
            let mut take = |line| collected.take(arena, index, line, Side::Response, version, most);
            loop {
                self.cursor.plain_fields(arena, bound, &mut take)?;
                match self.cursor.field(arena, bound)? {
                    Next::Partial => return Ok(Progress::Partial),
                    Next::Field(line) => take(line)?,
                    Next::End => break,
                }
            }
            self.finish(head, request_method)?;
            self.stage = Stage::Done;
        }
        Ok(Progress::Complete)
    }

    fn finish(&mut self, head: &mut ResponseHead, method: &Method) -> Result<(), ParseError> {
        let collected = &mut self.collected;
        collected.finish(&mut head.head, head.version);
        head.connection = collected.connection;
        head.extras.upgrade = collected.upgrade;
        head.extras.trailer = collected.trailer;
        head.extras.surplus = Span::new(self.cursor.pos, head.head.arena.len());
        let status = head.status;
        let length = collected.length;
        head.framing = match status {
            100..=199 | 204 => {
                if collected.chunked {
                    return Err(ParseError::TransferEncodingWithoutBody);
                }
                // The service may send the body that it promised: what follows is not the next response.
                head.connection.close |= length.is_some_and(|length| length > 0);
                Framing::None
            }
            200..=299 if *method == Method::Connect => Framing::None,
            304 => {
                head.declared_length = length;
                Framing::None
            }
            _ if *method == Method::Head => {
                head.declared_length = length;
                Framing::None
            }
            _ => match (collected.chunked, length) {
                (true, _) => Framing::Chunked,
                (false, Some(length)) => Framing::Length(length),
                (false, None) => Framing::UntilClose,
            },
        };
        Ok(())
    }
}

type StatusLine = (Version, u16, Option<Span>);

/// A status line as nearly all are written, and where the next line begins: 1.1 and a reason phrase. It
/// takes nothing that [`status_line`] would not take in the same way.
#[inline(always)]
fn plain_status_line(buffer: &[u8]) -> Option<(StatusLine, usize)> {
    let (version, [b' ', a, b, c, b' ', ..]) = buffer.split_first_chunk::<8>()? else { return None };
    if version != b"HTTP/1.1" {
        return None;
    }
    if !(matches!(a, b'1'..=b'5') && b.is_ascii_digit() && c.is_ascii_digit()) {
        return None;
    }
    let end = scan::control(buffer, 13);
    if end == 13 || buffer.get(end..)?.first_chunk() != Some(b"\r\n") {
        return None;
    }
    let digit = |d: &u8| u16::from(d - b'0');
    let status = digit(a) * 100 + digit(b) * 10 + digit(c);
    Some(((Version::Http11, status, Some(Span::new(13, end))), end + 2))
}

#[inline(never)]
fn status_line(line: &[u8]) -> Result<StatusLine, ParseError> {
    if line.contains(&b'\r') {
        return Err(ParseError::BareCr);
    }
    let (Some(name), Some(b' ')) = (line.get(..8), line.get(8)) else {
        return Err(ParseError::InvalidStatusLine);
    };
    let version = version(name)?;
    let (digits, rest) = match line.get(9..) {
        Some([a, b, c, rest @ ..]) => ([*a, *b, *c], rest),
        _ => return Err(ParseError::InvalidStatusLine),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(ParseError::InvalidStatusLine);
    }
    let status = digits.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
    let reason = match rest {
        [] | [b' '] => None,
        [b' ', reason @ ..] if scan::control(reason, 0) == reason.len() => Some(Span::new(13, line.len())),
        _ => return Err(ParseError::InvalidStatusLine),
    };
    if !(100..=599).contains(&status) {
        return Err(ParseError::InvalidStatus);
    }
    Ok((version, status, reason))
}
