//! Parses the head of a response (RFC 9112 sections 4 and 6.3). The buffer becomes the head's arena.

use super::fields::{Collected, Side};
use super::line::{Bound, Cursor, Next};
use super::request::version;
use super::{Limits, Progress};
use crate::chars;
use crate::error::ParseError;
use crate::head::Span;
use crate::message::ResponseHead;
use crate::method::{Framing, Method, Version};

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
            let Some(line) = self.cursor.line(&head.head.arena, bound)? else {
                return Ok(Progress::Partial);
            };
            let (version, status, reason) = status_line(line)?;
            (head.version, head.status, head.reason) = (version, status, reason);
            self.stage = Stage::Fields;
        }
        if self.stage == Stage::Fields {
            loop {
                match self.cursor.field(&head.head.arena, bound)? {
                    Next::Partial => return Ok(Progress::Partial),
                    Next::Field(line) => {
                        let fields = &mut head.head;
                        self.collected.take(fields, line, Side::Response, head.version, limits.fields)?;
                    }
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

fn status_line(line: &[u8]) -> Result<(Version, u16, Option<Span>), ParseError> {
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
        [b' ', reason @ ..] if chars::find_control(reason, 0).is_none() => Some(Span::new(13, line.len())),
        _ => return Err(ParseError::InvalidStatusLine),
    };
    if !(100..=599).contains(&status) {
        return Err(ParseError::InvalidStatus);
    }
    Ok((version, status, reason))
}
