//! The HTTP/1.1 codec (RFC 9112), strict by construction: what could be read in two ways is refused.
//! Parsers are resumable and take linear time however the bytes are cut.

mod body;
mod encode;
mod fields;
mod line;
pub(crate) mod reason;
mod request;
mod response;
pub(crate) mod target;

pub use body::{BodyDecoder, Event, Step};
pub use encode::{CHUNK_END, LAST_CHUNK, chunk_prefix, encode_request, encode_response, encode_trailers};
pub use request::RequestParser;
pub use response::ResponseParser;

/// How far a parser has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// The head is complete; bytes behind it are its surplus.
    Complete,
}

/// Bounds of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head with its start line and the empty line at its end. Default 60 KiB.
    pub head_bytes: usize,
    /// Field lines of a head. Default 100.
    pub fields: usize,
    /// Bytes of a request target. Default 16 KiB.
    pub target: usize,
    /// Bytes by which chunk extensions may outweigh a sixteenth of the data so far. Default 4 KiB.
    pub chunk_extensions: usize,
    /// Bytes of a trailer section. Default 8 KiB.
    pub trailer_bytes: usize,
    /// Field lines of a trailer section. Default 32.
    pub trailer_fields: usize,
}

impl Limits {
    /// The bound of a head: positions in it are 32 bits wide, whatever was configured.
    pub(crate) fn head_end(&self) -> usize {
        self.head_bytes.min(u32::MAX as usize)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 60 * 1024,
            fields: 100,
            target: 16 * 1024,
            chunk_extensions: 4 * 1024,
            trailer_bytes: 8 * 1024,
            trailer_fields: 32,
        }
    }
}
