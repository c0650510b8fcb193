//! Cuts a buffer into lines and field lines (RFC 9112 sections 2.2 and 5). Knows no field's meaning.
//! Invariant: a fault is reported only once its line is complete, so the outcome never depends on how
//! the bytes were cut; and no byte is looked at more than a fixed number of times.

use crate::chars;
use crate::error::ParseError;
use crate::head::Span;
use crate::name::{Known, UNKNOWN};
use crate::scan;

/// Where the next line begins and how far a line end has been looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    pub pos: usize,
    scanned: usize,
}

/// One field line; the value has no surrounding whitespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldLine {
    pub name: Span,
    pub value: Span,
    /// The number of a known name.
    pub known: u8,
    /// Written as this codec writes: `name: value` and CRLF, with one space and no more.
    pub plain: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Partial,
    Field(FieldLine),
    /// The empty line; the cursor stands behind it.
    End,
}

/// The bound of a section and what exceeding it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub end: usize,
    pub error: ParseError,
}

enum Scan {
    Partial,
    Field(FieldLine, usize),
    End,
}

impl Cursor {
    pub fn at(pos: usize) -> Cursor {
        Cursor { pos, scanned: pos }
    }

    /// Up to where no line end was found; at most the position when the line was not looked at yet.
    #[inline]
    pub fn scanned(&self) -> usize {
        self.scanned
    }

    /// A whole line without its CRLF, or `None` when it is not complete yet.
    pub fn line<'a>(&mut self, buffer: &'a [u8], bound: Bound) -> Result<Option<&'a [u8]>, ParseError> {
        let from = self.scanned.max(self.pos);
        let Some(lf) = memchr::memchr(b'\n', buffer.get(from..).unwrap_or_default()) else {
            return self.wait(buffer, bound).map(|()| None);
        };
        let lf = from + lf;
        if lf >= bound.end {
            return Err(bound.error);
        }
        let line = buffer.get(self.pos..lf).unwrap_or_default();
        let [line @ .., b'\r'] = line else { return Err(ParseError::BareLf) };
        *self = Cursor::at(lf + 1);
        Ok(Some(line))
    }

    /// Gives out the field lines that follow as long as they are complete and plain ones, as nearly all are;
    /// then [`Cursor::field`] has to be asked.
    #[inline(always)]
    pub fn plain_fields<E>(
        &mut self,
        buffer: &[u8],
        bound: Bound,
        mut take: impl FnMut(FieldLine) -> Result<(), E>,
    ) -> Result<(), E> {
        // A line that crosses the bound is not complete here; the long way sees why.
        let buffer = buffer.get(..bound.end).unwrap_or(buffer);
        // A buffer of less than a block is scanned differently; told here, it is not asked for each line.
        if self.scanned > self.pos || buffer.len() < 16 {
            return Ok(());
        }
        let mut pos = self.pos;
        while let Some((line, next)) = plain_field(buffer, pos) {
            pos = next;
            take(line)?;
        }
        *self = Cursor::at(pos);
        Ok(())
    }

    /// The next field line of any kind, the end, or what is wrong. This judges alone:
    /// [`Cursor::plain_fields`] takes nothing that this would not take in the same way.
    #[inline(always)]
    pub fn field(&mut self, buffer: &[u8], bound: Bound) -> Result<Next, ParseError> {
        if buffer.get(self.pos..).and_then(<[u8]>::first_chunk) == Some(b"\r\n") && self.pos + 2 <= bound.end
        {
            *self = Cursor::at(self.pos + 2);
            return Ok(Next::End);
        }
        self.any_field(buffer, bound)
    }

    /// The same but for an end that is there whole.
    #[inline(never)]
    fn any_field(&mut self, buffer: &[u8], bound: Bound) -> Result<Next, ParseError> {
        // A line that was incomplete before is looked at again only when its end is there.
        if self.scanned > self.pos
            && memchr::memchr(b'\n', buffer.get(self.scanned..).unwrap_or_default()).is_none()
        {
            return self.wait(buffer, bound).map(|()| Next::Partial);
        }
        match scan_field(buffer, self.pos) {
            Ok(Scan::Field(line, next)) => {
                if next > bound.end {
                    return Err(bound.error);
                }
                *self = Cursor::at(next);
                Ok(Next::Field(line))
            }
            Ok(Scan::End) => {
                if self.pos + 2 > bound.end {
                    return Err(bound.error);
                }
                *self = Cursor::at(self.pos + 2);
                Ok(Next::End)
            }
            Ok(Scan::Partial) => self.wait(buffer, bound).map(|()| Next::Partial),
            Err(fault) => match memchr::memchr(b'\n', buffer.get(self.pos..).unwrap_or_default()) {
                None => self.wait(buffer, bound).map(|()| Next::Partial),
                Some(lf) if self.pos + lf >= bound.end => Err(bound.error),
                Some(_) => Err(fault),
            },
        }
    }

    fn wait(&mut self, buffer: &[u8], bound: Bound) -> Result<(), ParseError> {
        self.scanned = buffer.len();
        if buffer.len() > bound.end { Err(bound.error) } else { Ok(()) }
    }
}

/// A field line as nearly all are written: a name, a colon, one space, a value that begins and ends with a
/// visible character, CRLF. Also where the next line begins.
#[inline(always)]
fn plain_field(buffer: &[u8], pos: usize) -> Option<(FieldLine, usize)> {
    // The empty line; without this the body would be searched for a colon.
    if buffer.get(pos) == Some(&b'\r') {
        return None;
    }
    let colon = scan::colon(buffer, pos);
    let name = buffer.get(pos..colon)?;
    let known = Known::number(name);
    if known == UNKNOWN && !is_custom_name(name) {
        return None;
    }
    let start = colon + 2;
    let end = scan::control_or_tab(buffer, start);
    let value = buffer.get(start..end)?;
    // A value with HTAB in it is not plain, so only a space can be a blank at its ends.
    let plain = buffer[colon + 1] == b' ' && *value.first()? != b' ' && *value.last()? != b' ';
    if !plain || buffer.get(end..)?.first_chunk() != Some(b"\r\n") {
        return None;
    }
    let name = Span { start: pos as u32, len: name.len() as u32 };
    let value = Span { start: start as u32, len: value.len() as u32 };
    Some((FieldLine { name, value, known, plain }, end + 2))
}

#[inline(never)]
fn is_custom_name(name: &[u8]) -> bool {
    chars::is_token(name) && name.len() <= u16::MAX as usize
}

fn scan_field(buffer: &[u8], pos: usize) -> Result<Scan, ParseError> {
    match buffer.get(pos) {
        None => return Ok(Scan::Partial),
        Some(b'\r') => {
            return match buffer.get(pos + 1) {
                None => Ok(Scan::Partial),
                Some(b'\n') => Ok(Scan::End),
                Some(_) => Err(ParseError::BareCr),
            };
        }
        Some(b' ' | b'\t') => return Err(ParseError::ObsFold),
        Some(_) => {}
    }
    let colon = scan::colon(buffer, pos);
    if colon == buffer.len() {
        return Err(name_fault(&buffer[pos..], false));
    }
    let name = &buffer[pos..colon];
    let known = Known::number(name);
    if known == UNKNOWN && (!chars::is_token(name) || name.len() > u16::MAX as usize) {
        return Err(name_fault(name, true));
    }
    let mut start = colon + 1;
    let mut end = scan::control(buffer, start);
    if end == buffer.len() {
        return Ok(Scan::Partial);
    }
    let next = end + 2;
    match (buffer[end], buffer.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) => return Ok(Scan::Partial),
        (b'\r', Some(_)) => return Err(ParseError::BareCr),
        (b'\n', _) => return Err(ParseError::BareLf),
        _ => return Err(ParseError::InvalidValue),
    }
    if buffer.get(start) == Some(&b' ') {
        start += 1;
    }
    // More than the one usual space around a value is rare.
    if buffer.get(start).copied().is_some_and(is_blank) || is_blank(buffer[end - 1]) {
        (start, end) = trim(buffer, start.min(end), end);
    }
    let plain = start == colon + 2 && end == next - 2 && buffer[colon + 1] == b' ';
    Ok(Scan::Field(
        FieldLine { name: Span::new(pos, colon), value: Span::new(start, end), known, plain },
        next,
    ))
}

#[cold]
fn trim(buffer: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && is_blank(buffer[start]) {
        start += 1;
    }
    while start < end && is_blank(buffer[end - 1]) {
        end -= 1;
    }
    (start, end)
}

#[inline]
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What is wrong with bytes that should have been a name; `colon` says whether one follows them.
#[cold]
fn name_fault(name: &[u8], colon: bool) -> ParseError {
    let Some(bad) = chars::first_non_token(name) else {
        return match (colon, name.is_empty()) {
            (true, true) => ParseError::EmptyName,
            (true, false) => ParseError::InvalidName,
            (false, _) => ParseError::MissingColon,
        };
    };
    let rest = &name[bad..];
    match rest {
        [b'\n', ..] => ParseError::BareLf,
        [b'\r', b'\n', ..] => ParseError::MissingColon,
        [b'\r', ..] => ParseError::BareCr,
        [b' ' | b'\t', ..] if colon && rest.iter().all(|b| matches!(b, b' ' | b'\t')) => {
            ParseError::SpaceBeforeColon
        }
        _ => ParseError::InvalidName,
    }
}
