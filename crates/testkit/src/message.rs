//! A small strict reader of HTTP/1.1 messages, written apart from the gateway's codec on purpose: what both accept was
//! read twice. Bytes above 0x7F stand in texts as the characters of the same number (Latin-1), so nothing is lost.

use crate::wire::{Fault, Fill, MOST_BYTES, Wire};
use std::time::Instant;

/// Fields in wire order, names in their case.
pub type Fields = Vec<(String, String)>;

/// The head of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The request line or the status line.
    pub line: String,
    pub fields: Fields,
    /// As it came, with the empty line at its end.
    pub raw: Vec<u8>,
}

/// How a body's end was marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// There is none.
    Nothing,
    Length,
    Chunks,
    Close,
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub head: Head,
    pub status: u16,
    pub body: Vec<u8>,
    pub body_end: BodyEnd,
    pub trailers: Fields,
    /// The 1xx before it.
    pub interim: Vec<Head>,
}

impl Head {
    /// The first value of a field; the name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let named = self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// Every value of a field, in order.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        let named = self.fields.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// Whether the sender says that the connection ends with this message.
    pub fn says_close(&self) -> bool {
        self.has_option("close") || (self.line.contains("HTTP/1.0") && !self.has_option("keep-alive"))
    }

    fn has_option(&self, option: &str) -> bool {
        self.all("connection")
            .flat_map(|line| line.split(','))
            .any(|it| it.trim().eq_ignore_ascii_case(option))
    }
}

impl Response {
    /// The first value of a field; the name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The body as text, bytes above 0x7F as UTF-8 where they are.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The `reason` of an answer that the gateway made, or nothing.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the sender closes after it.
    pub fn closes(&self) -> bool {
        self.body_end == BodyEnd::Close || self.head.says_close()
    }
}

/// One character per byte.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Reads a head and leaves what follows in the buffer.
pub(crate) fn read_head(wire: &mut Wire, due: Option<Instant>) -> Result<Head, Fault> {
    let mut seen = 0;
    let end = loop {
        if let Some(at) = wire.buffer[seen..].windows(4).position(|four| four == b"\r\n\r\n") {
            break seen + at + 4;
        }
        seen = wire.buffer.len().saturating_sub(3);
        if wire.fill(due)? == Fill::End {
            let got = std::mem::take(&mut wire.buffer);
            return Err(if got.is_empty() { Fault::Closed } else { Fault::Cut { head: None, got } });
        }
    };
    let rest = wire.buffer.split_off(end);
    let raw = std::mem::replace(&mut wire.buffer, rest);
    let lines = lines(&raw[..end - 4])?;
    let (first, lines) = lines.split_first().ok_or_else(|| Fault::malformed("an empty head", &raw))?;
    Ok(Head { line: latin1(first), fields: fields(lines)?, raw })
}

fn lines(block: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let mut lines = Vec::new();
    let mut rest = block;
    loop {
        let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            lines.push(rest);
            return Ok(lines);
        };
        if !rest[at..].starts_with(b"\r\n") {
            return Err(Fault::malformed("a bare CR or LF", block));
        }
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
}

fn fields(lines: &[&[u8]]) -> Result<Fields, Fault> {
    lines.iter().map(|line| field(line)).collect()
}

fn field(line: &[u8]) -> Result<(String, String), Fault> {
    let wrong = |what: &str| Err(Fault::malformed(what, line));
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return wrong("no colon in a field line");
    };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().all(is_token) {
        return wrong("a field name that is no token");
    }
    if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return wrong("a control character in a field value");
    }
    Ok((latin1(name), latin1(value)))
}

/// A body with its trailers.
#[derive(Debug, Default)]
pub(crate) struct ReadBody {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Fields,
}

/// How long a body is, as its head says. `otherwise`: where it says nothing.
pub(crate) fn body_end(head: &Head, otherwise: BodyEnd) -> Result<(BodyEnd, usize), Fault> {
    let codings: Vec<_> = head.all("transfer-encoding").collect();
    let lengths: Vec<_> = head.all("content-length").collect();
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok((otherwise, 0)),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok((BodyEnd::Chunks, 0)),
        ([], [length]) => {
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            match length.parse() {
                Ok(length) if is_number => Ok((BodyEnd::Length, length)),
                _ => Err(Fault::malformed("a Content-Length that is no number", &head.raw)),
            }
        }
        _ => Err(Fault::malformed("framing that can be read in two ways", &head.raw)),
    }
}

/// Reads the body behind `head`. What had come of it is in `into` also when it fails.
pub(crate) fn read_body(
    wire: &mut Wire,
    head: &Head,
    (end, length): (BodyEnd, usize),
    due: Option<Instant>,
    into: &mut ReadBody,
) -> Result<(), Fault> {
    let read = match end {
        BodyEnd::Nothing => Ok(()),
        BodyEnd::Length => take(wire, length, due, &mut into.data),
        BodyEnd::Chunks => chunks(wire, due, into),
        BodyEnd::Close => until_close(wire, due, &mut into.data),
    };
    read.map_err(|fault| match fault {
        Fault::Cut { got, .. } => {
            let got = [&into.data[..], &got].concat();
            Fault::Cut { head: Some(Box::new(head.clone())), got }
        }
        other => other,
    })
}

fn cut() -> Fault {
    Fault::Cut { head: None, got: Vec::new() }
}

fn take(wire: &mut Wire, length: usize, due: Option<Instant>, out: &mut Vec<u8>) -> Result<(), Fault> {
    if length > MOST_BYTES {
        return Err(Fault::TooLarge);
    }
    let mut left = length;
    loop {
        let now = left.min(wire.buffer.len());
        out.extend(wire.buffer.drain(..now));
        left -= now;
        if left == 0 {
            return Ok(());
        }
        if wire.fill(due)? == Fill::End {
            return Err(cut());
        }
    }
}

fn line(wire: &mut Wire, due: Option<Instant>) -> Result<Vec<u8>, Fault> {
    loop {
        if let Some(at) = wire.buffer.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = wire.buffer.drain(..at + 2).take(at).collect();
            if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                return Err(Fault::malformed("a bare CR or LF", &line));
            }
            return Ok(line);
        }
        if wire.fill(due)? == Fill::End {
            return Err(cut());
        }
    }
}

fn chunks(wire: &mut Wire, due: Option<Instant>, into: &mut ReadBody) -> Result<(), Fault> {
    loop {
        let size = line(wire, due)?;
        let digits = size.split(|byte| *byte == b';').next().unwrap_or_default();
        let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let parsed = usize::from_str_radix(&latin1(digits), 16);
        let (true, Ok(length)) = (is_hex, parsed) else {
            return Err(Fault::malformed("a chunk size that is no hexadecimal number", &size));
        };
        if length == 0 {
            break;
        }
        take(wire, length, due, &mut into.data)?;
        if !line(wire, due)?.is_empty() {
            return Err(Fault::malformed("no CRLF behind a chunk", &size));
        }
    }
    loop {
        let trailer = line(wire, due)?;
        if trailer.is_empty() {
            return Ok(());
        }
        into.trailers.push(field(&trailer)?);
    }
}

fn until_close(wire: &mut Wire, due: Option<Instant>, out: &mut Vec<u8>) -> Result<(), Fault> {
    loop {
        out.append(&mut wire.buffer);
        if wire.fill(due)? == Fill::End {
            return Ok(());
        }
    }
}

/// Reads one response, a 1xx as one of its own.
pub(crate) fn read_response(wire: &mut Wire, method: &str, due: Instant) -> Result<Response, Fault> {
    let head = read_head(wire, Some(due))?;
    let status = status(&head)?;
    let otherwise = BodyEnd::Close;
    let has_none = method == "HEAD" || status < 200 || status == 204 || status == 304;
    let end = body_end(&head, otherwise)?;
    let end = if has_none { (BodyEnd::Nothing, 0) } else { end };
    let mut body = ReadBody::default();
    read_body(wire, &head, end, Some(due), &mut body)?;
    let ReadBody { data, trailers } = body;
    Ok(Response { head, status, body: data, body_end: end.0, trailers, interim: Vec::new() })
}

fn status(head: &Head) -> Result<u16, Fault> {
    let wrong = || Fault::malformed("no status line", &head.raw);
    let rest = head
        .line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.line.strip_prefix("HTTP/1.0 "))
        .ok_or_else(wrong)?;
    let (digits, after) = rest.split_at_checked(3).ok_or_else(wrong)?;
    let is_status =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (after.is_empty() || after.starts_with(' '));
    digits.parse().ok().filter(|status| is_status && *status >= 100).ok_or_else(wrong)
}
