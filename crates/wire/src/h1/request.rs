//! Parses the head of a request (RFC 9112 sections 2, 3 and 6). The buffer becomes the head's arena.

use super::fields::{Collected, Side};
use super::line::{Bound, Cursor, Next};
use super::target::{self, ParsedTarget};
use super::{Limits, Progress};
use crate::error::ParseError;
use crate::head::{Head, Span};
use crate::message::{Form, RequestHead, Target};
use crate::method::{Framing, Method, Version};
use crate::scan;

/// Bytes of a request line besides its target: the longest method, two spaces, the version, CRLF.
const AROUND_TARGET: usize = Method::MAX_BYTES + 12;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    Fields,
    Done,
}

/// Resumable state of parsing one request head.
#[derive(Clone, Debug, Default)]
pub struct RequestParser {
    stage: Stage,
    cursor: Cursor,
    skipped_empty_line: bool,
    collected: Collected,
    /// A fault is final: asked again, the parser gives the same answer.
    fault: Option<ParseError>,
}

impl RequestParser {
    /// Ready for the next head; capacity is kept.
    pub fn reset(&mut self) {
        self.stage = Stage::Start;
        self.cursor = Cursor::default();
        self.skipped_empty_line = false;
        self.collected.clear();
        self.fault = None;
    }

    /// Looks at what was appended to [`RequestHead::buffer_mut`] since the last call.
    ///
    /// # Errors
    /// As soon as the line with the fault is complete. The connection cannot be used any more.
    pub fn parse(&mut self, head: &mut RequestHead, limits: &Limits) -> Result<Progress, ParseError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let result = self.advance(head, limits);
        self.fault = result.err();
        result
    }

    fn advance(&mut self, head: &mut RequestHead, limits: &Limits) -> Result<Progress, ParseError> {
        if self.stage == Stage::Start && !self.start(head, limits)? {
            return Ok(Progress::Partial);
        }
        if self.stage == Stage::Fields {
            let bound = Bound { end: limits.head_end(), error: ParseError::HeadTooLarge };
            let (version, Head { arena, index, .. }) = (head.version, &mut head.head);
            let (collected, most, arena) = (&mut self.collected, limits.fields, &arena[..]);
            let mut take = |line| collected.take(arena, index, line, Side::Request, version, most);
            loop {
                self.cursor.plain_fields(arena, bound, &mut take)?;
                match self.cursor.field(arena, bound)? {
                    Next::Partial => return Ok(Progress::Partial),
                    Next::Field(line) => take(line)?,
                    Next::End => break,
                }
            }
            self.finish(head)?;
            self.stage = Stage::Done;
        }
        Ok(Progress::Complete)
    }

    /// The request line, after at most one empty line (RFC 9112 section 2.2).
    #[inline(always)]
    fn start(&mut self, head: &mut RequestHead, limits: &Limits) -> Result<bool, ParseError> {
        if self.cursor.scanned() <= self.cursor.pos
            && let Some((line, next)) = plain_request_line(&head.head.arena, self.cursor.pos, limits.target)
            && next <= limits.head_end()
        {
            self.cursor = Cursor::at(next);
            self.take_line(head, line);
            return Ok(true);
        }
        self.any_start(head, limits)
    }

    #[inline(always)]
    fn take_line(&mut self, head: &mut RequestHead, line: RequestLine) {
        head.method = line.method;
        head.version = line.version;
        head.target = Target {
            form: line.target.form,
            raw: line.raw,
            path: line.target.path,
            query: line.target.query,
            authority: line.target.authority.unwrap_or_default(),
            scheme: line.target.scheme,
        };
        self.stage = Stage::Fields;
    }

    /// A start of any kind. It judges alone: [`plain_request_line`] takes nothing that this would not
    /// take in the same way.
    #[inline(never)]
    fn any_start(&mut self, head: &mut RequestHead, limits: &Limits) -> Result<bool, ParseError> {
        loop {
            let end = self.cursor.pos.saturating_add(limits.target).saturating_add(AROUND_TARGET);
            let bound = if end < limits.head_end() {
                Bound { end, error: ParseError::TargetTooLong }
            } else {
                Bound { end: limits.head_end(), error: ParseError::HeadTooLarge }
            };
            let start = self.cursor.pos;
            let Some(line) = self.cursor.line(&head.head.arena, bound)? else { return Ok(false) };
            if line.is_empty() {
                if std::mem::replace(&mut self.skipped_empty_line, true) {
                    return Err(ParseError::LeadingEmptyLines);
                }
                continue;
            }
            let parsed = request_line(line, start, limits.target)?;
            self.take_line(head, parsed);
            return Ok(true);
        }
    }

    fn finish(&mut self, head: &mut RequestHead) -> Result<(), ParseError> {
        self.host(head)?;
        let collected = &mut self.collected;
        collected.finish(&mut head.head, head.version);
        head.framing = match (collected.chunked, collected.length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::None,
        };
        head.connection = collected.connection;
        head.expect_continue = collected.expect_continue;
        head.te_trailers = collected.te_trailers;
        head.extras.upgrade = collected.upgrade;
        head.extras.trailer = collected.trailer;
        head.extras.surplus = Span::new(self.cursor.pos, head.head.arena.len());
        Ok(())
    }

    /// RFC 9112 section 3.2: exactly one valid Host in HTTP/1.1, and no contradiction with the target.
    fn host(&self, head: &mut RequestHead) -> Result<(), ParseError> {
        let arena = &head.head.arena;
        let target = &mut head.target;
        let Some(host) = self.collected.host else {
            return if head.version == Version::Http10 { Ok(()) } else { Err(ParseError::MissingHost) };
        };
        let text = host.of(arena);
        let absolute = target.authority.len > 0;
        if text.is_empty() {
            // Without an authority there is nothing that an http URI could be made of; only the server
            // as a whole, and HTTP/1.0, can do without. (RFC 9112 section 3.3)
            let allowed = !absolute && (target.form == Form::Asterisk || head.version == Version::Http10);
            return if allowed { Ok(()) } else { Err(ParseError::MissingHost) };
        }
        if !target::is_authority_at(arena, host) {
            return Err(ParseError::InvalidHost);
        }
        if absolute {
            let default_port = target.scheme.map(crate::method::Scheme::default_port);
            let same = target::same_authority(target.authority.of(arena), text, default_port)
                // Clients leave the port of CONNECT out of Host when it is the default of https or http.
                || target.form == Form::Authority
                    && [80, 443]
                        .iter()
                        .any(|&port| target::same_authority(target.authority.of(arena), text, Some(port)));
            if !same {
                return Err(ParseError::ConflictingHost);
            }
        } else {
            target.authority = host;
        }
        Ok(())
    }
}

struct RequestLine {
    method: Method,
    version: Version,
    raw: Span,
    target: ParsedTarget,
}

/// A request line as nearly all are written, and where the next line begins: a common method, a path, 1.1.
#[inline(always)]
fn plain_request_line(buffer: &[u8], pos: usize, max_target: usize) -> Option<(RequestLine, usize)> {
    let (method, len) = match buffer.get(pos..)? {
        [b'G', b'E', b'T', b' ', b'/', ..] => (Method::Get, 4),
        [b'P', b'O', b'S', b'T', b' ', b'/', ..] => (Method::Post, 5),
        [b'P', b'U', b'T', b' ', b'/', ..] => (Method::Put, 4),
        [b'H', b'E', b'A', b'D', b' ', b'/', ..] => (Method::Head, 5),
        [b'D', b'E', b'L', b'E', b'T', b'E', b' ', b'/', ..] => (Method::Delete, 7),
        [b'P', b'A', b'T', b'C', b'H', b' ', b'/', ..] => (Method::Patch, 6),
        _ => return None,
    };
    let start = pos + len;
    let path_end = scan::non_path(buffer, start);
    let question = buffer.get(path_end) == Some(&b'?');
    let end = if question { scan::non_target(buffer, path_end + 1) } else { path_end };
    if end - start > max_target || buffer.get(end..)?.first_chunk() != Some(b" HTTP/1.1\r\n") {
        return None;
    }
    let (raw, path) = (Span::new(start, end), Span::new(start, path_end));
    let query = question.then(|| Span::new(path_end + 1, end));
    let target = ParsedTarget { path, query, ..ParsedTarget::default() };
    Some((RequestLine { method, version: Version::Http11, raw, target }, end + 11))
}

fn request_line(line: &[u8], start: usize, max_target: usize) -> Result<RequestLine, ParseError> {
    let method_end = memchr::memchr(b' ', line).ok_or_else(|| {
        if line.contains(&b'\r') { ParseError::BareCr } else { ParseError::InvalidRequestLine }
    })?;
    let method = Method::from_bytes(&line[..method_end]).ok_or_else(|| method_fault(&line[..method_end]))?;
    let rest = &line[method_end + 1..];
    let target_end = scan::non_target(rest, 0);
    match rest.get(target_end) {
        Some(b' ') if target_end > 0 => {}
        Some(b'\r') => return Err(ParseError::BareCr),
        None | Some(b' ' | b'\t') => return Err(ParseError::InvalidRequestLine),
        Some(_) => return Err(ParseError::InvalidTarget),
    }
    if target_end > max_target {
        return Err(ParseError::TargetTooLong);
    }
    let version = version(&rest[target_end + 1..])?;
    let from = start + method_end + 1;
    let target = target::parse(&method, &rest[..target_end], from)?;
    Ok(RequestLine { method, version, raw: Span::new(from, from + target_end), target })
}

#[cold]
fn method_fault(method: &[u8]) -> ParseError {
    if method.contains(&b'\r') {
        ParseError::BareCr
    } else if method.is_empty() {
        ParseError::InvalidRequestLine
    } else {
        ParseError::InvalidMethod
    }
}

/// `HTTP/1.0` or `HTTP/1.1`; any other pair of digits is a version that is not supported.
#[inline]
pub(super) fn version(bytes: &[u8]) -> Result<Version, ParseError> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(ParseError::UnsupportedVersion)
        }
        other if other.contains(&b'\r') => Err(ParseError::BareCr),
        other if other.contains(&b' ') => Err(ParseError::InvalidRequestLine),
        _ => Err(ParseError::InvalidVersion),
    }
}
