//! Pooled buffers: one pool per worker thread, so that a request allocates none and an idle connection holds none.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Buf;

/// Bytes that one buffer holds.
pub const BUFFER_BYTES: usize = 32 * 1024;
/// Buffers that a worker's pool keeps; more are given back to the allocator.
const POOLED: usize = 256;
/// A chunk of fewer bytes gets memory of its own size. The peer decides how long a chunk is kept and how small it is: it
/// must not make a byte cost a buffer.
const SMALL: usize = BUFFER_BYTES / 4;
/// Room in front of the data for a chunk's size line, so that a chunk is written with one call.
const HEADROOM: usize = 20;
/// Room behind the data for CRLF and the last chunk.
const TAILROOM: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn take() -> Vec<u8> {
    POOL.with(|pool| pool.borrow_mut().pop()).unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
}

fn give_back(mut bytes: Vec<u8>) {
    if bytes.capacity() < BUFFER_BYTES || bytes.capacity() > 2 * BUFFER_BYTES {
        return;
    }
    bytes.clear();
    // The pool is gone while its thread ends: then the buffer is simply dropped.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOLED {
            pool.push(bytes);
        }
    });
}

/// A pooled vector of at least [`BUFFER_BYTES`] capacity, empty when taken.
#[derive(Debug)]
pub struct Pooled(Vec<u8>);

impl Pooled {
    #[expect(clippy::new_without_default, reason = "taking from a pool is not a default")]
    pub fn new() -> Self {
        Self(take())
    }

    pub fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

/// The one bounded buffer of a half-pump: decoded body bytes on their way from a source to a sink.
///
/// Invariant: `start <= end <= bytes.len()`; bytes past `end` are raw, not yet decoded.
#[derive(Debug, Default)]
pub struct BodyBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    framed: bool,
    /// Where the data began once it was framed.
    begun: usize,
}

impl BodyBuffer {
    /// The data that the sink has not taken.
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The sink took `count` bytes. An emptied buffer goes back to the pool when its owner waits (`release`).
    pub fn advance(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Forgets the data behind its first `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        let end = self.start.saturating_add(count).min(self.end);
        self.bytes.truncate(end);
        self.end = end;
    }

    /// Gives the memory back while there is nothing in it.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            self.framed = false;
            give_back(std::mem::take(&mut self.bytes));
        }
    }

    /// What the sink has taken whole is forgotten; the memory stays for the next fill.
    pub fn reset(&mut self) {
        debug_assert!(self.is_empty(), "only what was sent may be forgotten");
        self.start = 0;
        self.end = 0;
        self.bytes.clear();
        self.framed = false;
    }

    /// Whether the data of the last fill is still all there.
    pub fn can_rewind(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Back to where the data began, to send it once more: what `fill_from` or decoding put there since `prepare`.
    pub fn rewind(&mut self) {
        self.start = if self.framed { self.begun } else { HEADROOM.min(self.end) };
    }

    /// Empty and ready to be read into: append raw bytes to the vector, then `decoded` or `keep`.
    pub fn prepare(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.is_empty(), "a buffer is refilled only when it is empty");
        if self.bytes.capacity() == 0 {
            self.bytes = take();
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; HEADROOM]);
        self.start = HEADROOM;
        self.end = HEADROOM;
        self.framed = false;
        &mut self.bytes
    }

    /// How many bytes may be read after `prepare`.
    pub fn room(&self) -> usize {
        BUFFER_BYTES - TAILROOM - self.bytes.len().min(BUFFER_BYTES - TAILROOM)
    }

    /// Raw bytes that were read and not yet decoded.
    pub fn raw(&self) -> &[u8] {
        self.bytes.get(self.end..).unwrap_or_default()
    }

    /// Of the raw bytes, `range` (relative to `raw()`) is data and what is before it is framing: moves it down, and
    /// leaves as many bytes without meaning in front of the raw bytes that follow.
    pub fn keep(&mut self, range: std::ops::Range<usize>) {
        let at = self.end;
        let len = range.len();
        if range.start != 0 {
            self.bytes.copy_within(at + range.start..at + range.end, at);
        }
        self.end += len;
    }

    /// Closes the hole of `count` raw bytes that were framing or were moved.
    pub fn drop_raw(&mut self, count: usize) {
        if count > 0 {
            self.bytes.drain(self.end..self.end + count);
        }
    }

    /// Nothing was read after `prepare`: the memory goes back while its owner waits.
    pub fn keep_all_of_nothing(&mut self) {
        self.bytes.truncate(self.end);
        self.release();
    }

    /// To append raw bytes to those that are there.
    pub fn raw_mut(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.prepare();
        }
        &mut self.bytes
    }

    /// Takes what is raw out, as the beginning of the next message.
    pub fn split_raw(&mut self) -> Vec<u8> {
        self.bytes.split_off(self.end)
    }

    /// Fills with a copy of as much of `bytes` as there is room for; returns how many.
    pub fn fill_from(&mut self, bytes: &[u8]) -> usize {
        self.prepare();
        let count = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..count]);
        self.end = self.bytes.len();
        count
    }

    /// All bytes that were appended since `prepare` are data.
    pub fn keep_all(&mut self) {
        self.end = self.bytes.len();
    }

    /// Makes the data one chunk of the chunked coding, in place; with `last`, the last chunk follows it.
    /// Does nothing where it is framed already. Nothing may be raw.
    pub fn frame_as_chunk(&mut self, last: bool) {
        // Nothing is no chunk: it would be the last one, and the true last one could not follow.
        if self.framed || (self.is_empty() && !last) {
            return;
        }
        self.framed = true;
        if !self.is_empty() {
            let (prefix, len) = narthex_wire::chunk_prefix(self.end - self.start);
            debug_assert!(len <= HEADROOM && self.start >= len, "the headroom is for the size line");
            self.start -= len;
            self.bytes[self.start..self.start + len].copy_from_slice(&prefix[..len]);
            self.bytes.truncate(self.end);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.begun = self.start;
        if last {
            self.bytes.extend_from_slice(narthex_wire::LAST_CHUNK);
        }
        self.end = self.bytes.len();
    }

    pub fn is_framed(&self) -> bool {
        self.framed
    }

    /// Takes up to `limit` bytes of the data as a chunk that owns them: a well-filled buffer without a copy, else by copy.
    pub fn take_chunk(&mut self, limit: usize) -> Chunk {
        let is_whole = limit >= self.end - self.start && self.raw().is_empty();
        if is_whole && self.end - self.start >= SMALL {
            let chunk = Chunk {
                bytes: Rc::new(Owned(std::mem::take(&mut self.bytes))),
                at: self.start,
                end: self.end,
            };
            self.start = 0;
            self.end = 0;
            return chunk;
        }
        let count = limit.min(self.end - self.start);
        let mut bytes = if count >= SMALL { take() } else { Vec::with_capacity(count) };
        bytes.extend_from_slice(&self.bytes[self.start..self.start + count]);
        self.start += count;
        Chunk { end: bytes.len(), bytes: Rc::new(Owned(bytes)), at: 0 }
    }
}

impl Drop for BodyBuffer {
    fn drop(&mut self) {
        if self.bytes.capacity() > 0 {
            give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[derive(Debug)]
struct Owned(Vec<u8>);

impl Drop for Owned {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

/// A pooled slice that a sink may keep until it is sent (HTTP/2).
#[derive(Debug, Clone)]
pub struct Chunk {
    bytes: Rc<Owned>,
    at: usize,
    end: usize,
}

impl Chunk {
    /// No bytes, no memory.
    pub fn empty() -> Self {
        Self { bytes: Rc::new(Owned(Vec::new())), at: 0, end: 0 }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.end - self.at
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes.0[self.at..self.end]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "advanced past the end");
        self.at += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_data_and_closes_the_holes_of_framing() {
        let mut buffer = BodyBuffer::default();
        buffer.prepare().extend_from_slice(b"3\r\nabc\r\n2\r\nde\r\nGET");
        buffer.keep(3..6);
        assert_eq!(buffer.data(), b"abc");
        // The size line of three bytes left a hole of as many, then come CRLF and the next size line.
        buffer.keep(8..10);
        assert_eq!(buffer.data(), b"abcde");
        buffer.drop_raw(10);
        assert_eq!(buffer.split_raw(), b"GET");
    }

    #[test]
    fn frames_in_place() {
        let mut buffer = BodyBuffer::default();
        assert_eq!(buffer.fill_from(&[b'x'; 17]), 17);
        buffer.frame_as_chunk(true);
        assert_eq!(buffer.data(), b"11\r\nxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
        buffer.frame_as_chunk(true);
        assert_eq!(buffer.data().len(), 4 + 17 + 2 + 5);
    }

    #[test]
    fn a_body_that_waited_still_ends() {
        let mut buffer = BodyBuffer::default();
        buffer.frame_as_chunk(false);
        assert!(buffer.is_empty());
        buffer.frame_as_chunk(true);
        assert_eq!(buffer.data(), b"0\r\n\r\n");
        buffer.advance(5);
        buffer.release();
        buffer.frame_as_chunk(true);
        assert_eq!(buffer.data(), b"0\r\n\r\n");
    }

    #[test]
    fn chunks_own_what_they_take() {
        let mut buffer = BodyBuffer::default();
        buffer.fill_from(b"hello world");
        let part = buffer.take_chunk(5);
        let rest = buffer.take_chunk(100);
        assert_eq!((part.chunk(), rest.chunk()), (&b"hello"[..], &b" world"[..]));
        assert!(buffer.is_empty());
    }
}
