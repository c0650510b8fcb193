//! The streaming step: one encoder behind a small window of output.
//!
//! Invariant: whatever the room of the caller's output, an encoder always sees an empty window, because encoders write
//! flush marks anew each time that their output was exactly full.

use std::io;
use std::ops::Range;

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::zstd::params::CParameter;
use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder};
use narthex_contract::{BodyStep, Detail, Input, Output, Reply, Step, core};
use schemars::JsonSchema;
use serde::Deserialize;

/// Bytes of output that wait for room.
const WINDOW: usize = 8 * 1024;
/// How far back zstd and brotli look, as a power of two: 256 KiB, a bound for the memory of each response.
const LOOK_BACK: u32 = 18;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// As in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    fn encoder(self, level: i32) -> Box<dyn EncodeV2> {
        match self {
            Self::Gzip => Box::new(GzipEncoder::new(Level::Precise(level).into())),
            Self::Zstd => Box::new(ZstdEncoder::new_with_params(level, &[CParameter::window_log(LOOK_BACK)])),
            Self::Br => {
                let params = EncoderParams::default().quality(Level::Precise(level));
                Box::new(BrotliEncoder::new(params.window_size(LOOK_BACK as i32)))
            }
        }
    }
}

/// Compresses one body.
pub struct Encoding {
    encoder: Box<dyn EncodeV2>,
    window: Box<[u8]>,
    /// What of the window is still to go out.
    waiting: Range<usize>,
    /// Whether all that came in is out, or in the window.
    is_flushed: bool,
    is_finished: bool,
}

impl Encoding {
    pub fn new(coding: Coding, level: i32) -> Self {
        Self {
            encoder: coding.encoder(level),
            window: vec![0; WINDOW].into(),
            waiting: 0..0,
            is_flushed: true,
            is_finished: false,
        }
    }

    /// Moves the window out; `false`: there was not room enough.
    fn drain(&mut self, output: &mut Output<'_>) -> bool {
        let bytes = self.window.get(self.waiting.clone()).unwrap_or_default();
        self.waiting.start += output.push(bytes);
        self.waiting.is_empty()
    }

    /// Fills the empty window with what the encoder makes of the input, or of a flush or the end.
    fn fill(&mut self, input: &mut Input<'_>) -> io::Result<()> {
        let mut made = WriteBuffer::new_initialized(&mut self.window);
        let bytes = input.remaining();
        let mut taken = 0;
        if !bytes.is_empty() {
            let mut source = PartialBuffer::new(bytes);
            self.encoder.encode(&mut source, &mut made)?;
            taken = source.written_len();
            self.is_flushed = false;
        } else if input.last {
            self.is_finished = self.encoder.finish(&mut made)?;
        } else {
            self.is_flushed = self.encoder.flush(&mut made)?;
        }
        self.waiting = 0..made.written_len();
        input.consume(taken);
        let is_stuck = taken == 0 && self.waiting.is_empty() && !self.is_finished && !self.is_flushed;
        if is_stuck { Err(io::Error::other("the encoder makes no progress")) } else { Ok(()) }
    }
}

impl BodyStep for Encoding {
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Step {
        loop {
            if !self.drain(output) {
                return Step::OutputFull;
            }
            let is_idle = input.remaining().is_empty();
            if self.is_finished {
                return Step::Done;
            }
            if is_idle && !input.last && (self.is_flushed || !input.flush) {
                return Step::NeedInput;
            }
            if let Err(error) = self.fill(input) {
                let detail = Detail::operator(format!("compress: {error}"));
                return Step::Fail(Reply::problem_with(core::INTERNAL, detail));
            }
        }
    }

    fn keeps_length(&self) -> bool {
        false
    }
}
