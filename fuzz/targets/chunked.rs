#![no_main]
//! Chunked bodies: the same however they are cut, data no longer than the input, and what we write we read.

#[path = "../../crates/wire/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use narthex_wire::{CHUNK_END, Framing, LAST_CHUNK, Limits, chunk_prefix};

fuzz_target!(|data: &[u8]| {
    let [first, second, input @ ..] = data else { return };
    let limits = Limits::default();
    let owned = |pieces: Vec<&[u8]>| pieces.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let whole = support::body(Framing::Chunked, vec![input.to_vec()], &limits);
    let places = [usize::from(*first), usize::from(*second) * 3];
    let cut = support::body(Framing::Chunked, owned(support::cut(input, &places)), &limits);
    assert_eq!(cut, whole, "cut at {places:?}");
    if input.len() < 1024 {
        let bytes = support::body(Framing::Chunked, owned(support::bytes(input)), &limits);
        assert_eq!(bytes, whole, "one byte at a time");
    }
    if let Ok(body) = &whole {
        assert!(body.data.len() + body.rest.as_ref().map_or(0, Vec::len) <= input.len());
    }
    round_trip(input, usize::from(*first) + 1, &limits);
});

/// The input as data, written in chunks of `size`.
fn round_trip(data: &[u8], size: usize, limits: &Limits) {
    let mut sent = Vec::new();
    for piece in data.chunks(size) {
        let (prefix, length) = chunk_prefix(piece.len());
        sent.extend_from_slice(&prefix[..length]);
        sent.extend_from_slice(piece);
        sent.extend_from_slice(CHUNK_END);
    }
    sent.extend_from_slice(LAST_CHUNK);
    sent.extend_from_slice(b"next");
    let read = support::body(Framing::Chunked, vec![sent], limits).expect("what we write is right");
    assert_eq!((read.data.as_slice(), read.rest.as_deref()), (data, Some(b"next".as_slice())));
}
