//! Decodes bodies (RFC 9112 sections 6 and 7): finds data in the input, copies nothing but trailers.

use std::ops::Range;

use super::Limits;
use super::line::{Bound, Cursor, Next};
use crate::chars;
use crate::error::ParseError;
use crate::head::{Entry, Head};
use crate::method::Framing;
use crate::name::Known;

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Body bytes: this range of the input.
    Data(Range<usize>),
    /// All input was consumed and the body goes on.
    NeedInput,
    /// The body is complete; bytes that were not consumed belong to what follows.
    End,
}

/// How much of the input a step used up, data included, and what it found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub consumed: usize,
    pub event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Size {
        value: u64,
        digits: u8,
    },
    Extension(Extension),
    SizeLf {
        value: u64,
    },
    ChunkData(u64),
    DataCr,
    DataLf,
    Trailers,
    Done,
    /// A fault is final.
    Failed(ParseError),
}

/// Inside a chunk extension, of a chunk of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extension {
    value: u64,
    text: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Plain,
    Quoted,
    Escaped,
}

/// Finds the data of one body. Linear in its input, however that is cut.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Extension bytes, less a sixteenth of the data; clients that sign chunks send both.
    excess: u64,
    max_excess: u64,
    trailers: Option<Box<Trailers>>,
    trailer_bound: (usize, usize),
}

#[derive(Debug, Default)]
struct Trailers {
    head: Head,
    cursor: Cursor,
    lines: usize,
}

impl BodyDecoder {
    pub fn new(framing: Framing, limits: &Limits) -> BodyDecoder {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        BodyDecoder {
            state,
            excess: 0,
            max_excess: limits.chunk_extensions as u64,
            trailers: None,
            trailer_bound: (limits.trailer_bytes.min(u32::MAX as usize - 1), limits.trailer_fields),
        }
    }

    /// Looks at the input from its first byte; call it again with what was not consumed.
    ///
    /// # Errors
    /// When the chunks or trailers are malformed; the connection cannot be used any more.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, ParseError> {
        let result = self.advance(input);
        if let Err(fault) = result {
            self.state = State::Failed(fault);
        }
        result
    }

    fn advance(&mut self, input: &[u8]) -> Result<Step, ParseError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Done => return Ok(Step { consumed: at, event: Event::End }),
                State::Failed(fault) => return Err(fault),
                _ if at == input.len() => return Ok(Step { consumed: at, event: Event::NeedInput }),
                State::UntilClose => {
                    return Ok(Step { consumed: input.len(), event: Event::Data(0..input.len()) });
                }
                State::Length(left) => {
                    let (end, left) = take(at, input.len(), left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Step { consumed: end, event: Event::Data(at..end) });
                }
                State::ChunkData(left) => {
                    let (end, left) = take(at, input.len(), left);
                    self.excess = self.excess.saturating_sub((end - at) as u64 / 16);
                    self.state = if left == 0 { State::DataCr } else { State::ChunkData(left) };
                    return Ok(Step { consumed: end, event: Event::Data(at..end) });
                }
                State::Trailers => at += self.trailers(&input[at..])?,
                _ => {
                    self.byte(input[at])?;
                    at += 1;
                }
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] unless the body was complete or lasts until the connection ends.
    pub fn eof(&mut self) -> Result<(), ParseError> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(ParseError::Truncated),
        }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields, once, when the body is complete and had any. Fields that may not be trailers
    /// (RFC 9110 section 6.5.1: framing, routing, authentication and all that is read before the body)
    /// have been dropped.
    pub fn take_trailers(&mut self) -> Option<Head> {
        if !self.is_done() {
            return None;
        }
        self.trailers.take().map(|trailers| trailers.head).filter(|head| !head.is_empty())
    }

    /// One byte of the lines around chunk data.
    fn byte(&mut self, byte: u8) -> Result<(), ParseError> {
        self.state = match (self.state, byte) {
            (State::Size { value, digits }, _) => self.size(value, digits, byte)?,
            (State::Extension(extension), _) => self.extension(extension, byte)?,
            (State::SizeLf { value: 0 }, b'\n') => {
                self.trailers = Some(Box::default());
                State::Trailers
            }
            (State::SizeLf { value }, b'\n') => State::ChunkData(value),
            (State::SizeLf { .. }, _) => return Err(ParseError::BareCr),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            _ => return Err(ParseError::InvalidChunkEnd),
        };
        Ok(())
    }

    fn size(&mut self, value: u64, digits: u8, byte: u8) -> Result<State, ParseError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(State::SizeLf { value }),
            b';' if digits > 0 => return Ok(State::Extension(Extension { value, text: Text::Plain })),
            b'\n' if digits > 0 => return Err(ParseError::BareLf),
            _ => return Err(ParseError::InvalidChunkSize),
        };
        if digits == 16 {
            return Err(ParseError::InvalidChunkSize);
        }
        Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
    }

    /// RFC 9112 section 7.1.1: tokens, `=`, `;`, quoted strings and whitespace; skipped.
    fn extension(&mut self, extension: Extension, byte: u8) -> Result<State, ParseError> {
        self.excess += 1;
        if self.excess > self.max_excess {
            return Err(ParseError::ChunkExtensionsTooLarge);
        }
        let text = match (extension.text, byte) {
            (Text::Plain, b'\r') => return Ok(State::SizeLf { value: extension.value }),
            (_, b'\n') => return Err(ParseError::BareLf),
            (Text::Plain, b'"') => Text::Quoted,
            (Text::Plain, b';' | b'=' | b' ' | b'\t') => Text::Plain,
            (Text::Plain, _) if chars::is_token_byte(byte) => Text::Plain,
            (Text::Quoted, b'"') => Text::Plain,
            (Text::Quoted, b'\\') => Text::Escaped,
            (Text::Quoted | Text::Escaped, _) if chars::is_text_byte(byte) => Text::Quoted,
            _ => return Err(ParseError::InvalidChunkExtension),
        };
        Ok(State::Extension(Extension { text, ..extension }))
    }

    /// Takes trailer lines in; says how many bytes of the input it used.
    fn trailers(&mut self, input: &[u8]) -> Result<usize, ParseError> {
        let (max_bytes, max_lines) = self.trailer_bound;
        let trailers = self.trailers.get_or_insert_default();
        let used = memchr::memchr(b'\n', input).map_or(input.len(), |lf| lf + 1);
        // One byte over the bound is enough to be refused.
        let room = (max_bytes + 1).saturating_sub(trailers.head.arena.len());
        let used = used.min(room.max(1));
        trailers.head.arena.extend_from_slice(&input[..used]);
        let bound = Bound { end: max_bytes, error: ParseError::TrailersTooLarge };
        match trailers.cursor.field(&trailers.head.arena, bound)? {
            Next::Partial => {}
            Next::End => self.state = State::Done,
            Next::Field(line) => {
                trailers.lines += 1;
                if trailers.lines > max_lines {
                    return Err(ParseError::TrailersTooLarge);
                }
                if may_be_trailer(line.name.of(&trailers.head.arena), Known::from_number(line.known)) {
                    let entry = Entry::new(line.name, line.value, line.known, line.plain);
                    trailers.head.enter(entry);
                }
            }
        }
        Ok(used)
    }
}

fn take(at: usize, len: usize, left: u64) -> (usize, u64) {
    let available = (len - at) as u64;
    let taken = left.min(available);
    (at + taken as usize, left - taken)
}

/// Fields that the gateway knows are read before the body; only these few make sense behind it.
fn may_be_trailer(name: &[u8], known: Option<Known>) -> bool {
    match known {
        Some(known) => {
            matches!(known, Known::ETag | Known::GrpcMessage | Known::GrpcStatus | Known::CacheStatus)
        }
        None => !FORBIDDEN
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))),
    }
}

/// Beginnings of names, in lower case, that are not trailers though the gateway does not know them.
const FORBIDDEN: &[&[u8]] = &[
    b"proxy-",
    b"x-forwarded-",
    b"x-narthex-",
    b"authentication-",
    b"content-",
    b"access-control-",
    b"sec-",
    b"max-forwards",
    b"warning",
    b"www-",
    b"set-cookie",
];
