//! Which responses are compressed, what their heads say, and that what comes out is what went in.

use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder};
use narthex_wire::{Framing, Method, ResponseHead};
use proptest::prelude::*;

use super::encoder::{Coding, Encoding};
use crate::shared::testing::{Compiled, compile, drive, drive_one, field, problems, response};

const CODINGS: [(Coding, i32); 6] = [
    (Coding::Gzip, 5),
    (Coding::Br, 4),
    (Coding::Zstd, 3),
    (Coding::Gzip, 9),
    (Coding::Br, 2),
    (Coding::Zstd, 12),
];

fn decoder(coding: Coding) -> Box<dyn DecodeV2> {
    match coding {
        Coding::Gzip => Box::new(GzipDecoder::new()),
        Coding::Br => Box::new(BrotliDecoder::new()),
        Coding::Zstd => Box::new(ZstdDecoder::new()),
    }
}

/// What can be read of these bytes by now, and whether the stream has ended.
fn decoded(decoder: &mut dyn DecodeV2, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut input = PartialBuffer::new(bytes);
    let mut all = Vec::new();
    if bytes.is_empty() {
        return (all, false);
    }
    loop {
        let mut room = vec![0; 4096];
        let mut output = WriteBuffer::new_initialized(&mut room);
        let is_done = decoder.decode(&mut input, &mut output).unwrap();
        let count = output.written_len();
        all.extend_from_slice(&room[..count]);
        if is_done || (count < room.len() && input.unwritten().is_empty()) {
            assert!(input.unwritten().is_empty(), "bytes after the end");
            return (all, is_done);
        }
    }
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"the quick brown fox, "[(at * at / 7 + at) % 21]).collect()
}

#[test]
fn what_comes_out_is_what_went_in() {
    for (coding, level) in CODINGS {
        for length in [0, 1, 100, 10_000, 300_000] {
            for room in [1, 7, 16 * 1024] {
                if room == 1 && length > 10_000 {
                    continue;
                }
                let body = text(length);
                let mut step = Encoding::new(coding, level);
                let pieces: Vec<&[u8]> = body.chunks(5000).chain([&[][..]]).collect();
                let made = drive(&mut step, &pieces, room).unwrap();
                assert_eq!(decoded(&mut *decoder(coding), &made), (body, true), "{coding:?} {length} {room}");
                assert!(
                    length < 10_000 || made.len() < length / 2,
                    "{coding:?} makes {} of {length}",
                    made.len()
                );
            }
        }
    }
}

#[test]
fn a_flush_lets_everything_through() {
    for (coding, level) in CODINGS {
        for room in [1, 5, 16 * 1024] {
            let mut step = Encoding::new(coding, level);
            let mut decoder = decoder(coding);
            for event in 0..20 {
                let event = format!("data: event number {event}\n\n");
                let (made, _) = drive_one(&mut step, event.as_bytes(), false, true, room).unwrap();
                assert_eq!(decoded(&mut *decoder, &made), (event.into_bytes(), false), "{coding:?} {room}");
                let (again, _) = drive_one(&mut step, b"", false, true, room).unwrap();
                assert!(again.is_empty(), "{coding:?}: nothing new, nothing flushed");
            }
            let (end, is_done) = drive_one(&mut step, b"", true, false, room).unwrap();
            assert!(is_done);
            assert_eq!(decoded(&mut *decoder, &end), (Vec::new(), true));
        }
    }
}

#[test]
fn without_a_flush_small_pieces_are_held_back() {
    for (coding, level) in CODINGS {
        let mut step = Encoding::new(coding, level);
        let mut made = 0;
        for _ in 0..100 {
            made += drive_one(&mut step, b"0123456789", false, false, 1000).unwrap().0.len();
        }
        assert!(made < 100, "{coding:?} made {made} bytes of 1000 that repeat");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_in_any_pieces(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..3000), any::<bool>()), 0..12),
        which in 0usize..3,
        room in 1usize..5000,
    ) {
        let (coding, level) = CODINGS[which];
        let mut step = Encoding::new(coding, level);
        let mut made = Vec::new();
        for (piece, flush) in &pieces {
            made.extend(drive_one(&mut step, piece, false, *flush, room).unwrap().0);
        }
        made.extend(drive_one(&mut step, b"", true, true, room).unwrap().0);
        let all: Vec<u8> = pieces.into_iter().flat_map(|(piece, _)| piece).collect();
        prop_assert_eq!(decoded(&mut *decoder(coding), &made), (all, true));
    }
}

const HTML: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");

/// Runs the response side for a client that takes gzip.
fn ran(policy: &Compiled, answer: &mut ResponseHead) -> bool {
    let mut exchange = policy.exchange(&[("Accept-Encoding", "gzip")]);
    assert!(policy.response(&mut exchange, answer).is_none());
    let has_step = policy.step(&exchange, Some(answer)).is_some();
    assert_eq!(has_step, field(&answer.head, "Content-Encoding") == "gzip");
    assert!(policy.step(&exchange, None).is_none(), "requests are left alone");
    has_step
}

#[test]
fn which_responses_are_compressed() {
    let long = Framing::Length(5000);
    for (status, framing, fields, expected, varies) in [
        (200, long, &[HTML][..], true, true),
        (200, Framing::Chunked, &[HTML], true, true),
        (200, Framing::UntilClose, &[HTML], true, true),
        (404, long, &[("Content-Type", "application/problem+json")], true, true),
        (200, Framing::Length(1024), &[HTML], true, true),
        (200, Framing::Length(1023), &[HTML], false, false),
        (200, Framing::Length(0), &[HTML], false, false),
        (200, Framing::None, &[HTML], false, false),
        (200, long, &[], false, false),
        (200, long, &[("Content-Type", "image/png")], false, false),
        (200, long, &[("Content-Type", "APPLICATION/JSON")], true, true),
        (200, Framing::Chunked, &[("Content-Type", "text/event-stream")], false, false),
        (200, Framing::Chunked, &[("Content-Type", "application/grpc")], false, false),
        (200, long, &[HTML, ("Content-Encoding", "br")], false, false),
        (200, long, &[HTML, ("Cache-Control", "public, No-Transform")], false, false),
        (206, long, &[HTML, ("Content-Range", "bytes 0-4999/9999")], false, false),
        (200, long, &[HTML, ("Content-Range", "bytes 0-4999/9999")], false, false),
        (204, Framing::None, &[HTML], false, false),
        (304, Framing::None, &[HTML], false, false),
    ] {
        let policy = compile("compress", "{}");
        let mut answer = response(status, framing, fields);
        let before = field(&answer.head, "Content-Encoding");
        let is_compressed = before.is_empty() && ran(&policy, &mut answer);
        assert_eq!(is_compressed, expected, "{status} {framing:?} {fields:?}");
        assert_eq!(
            field(&answer.head, "Vary") == "Accept-Encoding",
            varies,
            "{status} {framing:?} {fields:?}"
        );
    }
}

#[test]
fn what_the_head_says() {
    let policy = compile("compress", "{}");
    let described = [
        HTML,
        ("ETag", "\"abc\""),
        ("Accept-Ranges", "bytes"),
        ("Content-MD5", "x"),
        ("Digest", "sha-256=x"),
        ("Content-Digest", "sha-256=:x:"),
        ("Repr-Digest", "sha-256=:x:"),
        ("Digest-Other", "stays"),
        ("Vary", "Origin"),
    ];
    let mut answer = response(200, Framing::Length(5000), &described);
    assert!(ran(&policy, &mut answer));
    assert_eq!(field(&answer.head, "Content-Encoding"), "gzip");
    assert_eq!(field(&answer.head, "ETag"), "W/\"abc\"");
    assert_eq!(field(&answer.head, "Vary"), "Origin, Accept-Encoding");
    for gone in ["Accept-Ranges", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"] {
        assert_eq!(field(&answer.head, gone), "", "{gone}");
    }
    assert_eq!(field(&answer.head, "Digest-Other"), "stays");
    let mut weak = response(200, Framing::Length(5000), &[HTML, ("ETag", "W/\"abc\"")]);
    assert!(ran(&policy, &mut weak));
    assert_eq!(field(&weak.head, "ETag"), "W/\"abc\"");
}

#[test]
fn a_client_that_takes_nothing_gets_vary_alone() {
    let policy = compile("compress", "{}");
    for accepts in ["", "identity", "gzip;q=0", "deflate"] {
        let mut exchange = policy.exchange(&[("Accept-Encoding", accepts)]);
        let mut answer = response(200, Framing::Length(5000), &[HTML, ("ETag", "\"abc\"")]);
        assert!(policy.response(&mut exchange, &mut answer).is_none());
        assert_eq!(field(&answer.head, "Content-Encoding"), "");
        assert_eq!(field(&answer.head, "ETag"), "\"abc\"");
        assert_eq!(field(&answer.head, "Vary"), "Accept-Encoding");
        assert!(policy.step(&exchange, Some(&answer)).is_none());
    }
}

#[test]
fn the_answer_to_head_loses_only_an_untrue_length() {
    let policy = compile("compress", "{}");
    for (accepts, declared) in [("gzip", None), ("identity", Some(5000))] {
        let mut exchange = policy.exchange(&[("Accept-Encoding", accepts)]);
        exchange.request.method = Method::Head;
        let mut answer = response(200, Framing::None, &[HTML]);
        answer.declared_length = Some(5000);
        assert!(policy.response(&mut exchange, &mut answer).is_none());
        assert_eq!(answer.declared_length, declared);
        assert_eq!(field(&answer.head, "Content-Encoding"), "");
        assert_eq!(field(&answer.head, "Vary"), "Accept-Encoding");
        assert!(policy.step(&exchange, Some(&answer)).is_none());
    }
}

#[test]
fn a_response_that_was_replaced_is_not_compressed() {
    let policy = compile("compress", "{}");
    let mut exchange = policy.exchange(&[("Accept-Encoding", "gzip")]);
    let mut answer = response(200, Framing::Length(5000), &[HTML]);
    assert!(policy.response(&mut exchange, &mut answer).is_none());
    let replaced = response(502, Framing::Length(100), &[("Content-Type", "application/problem+json")]);
    assert!(policy.step(&exchange, Some(&replaced)).is_none());
}

#[test]
fn the_settings_count() {
    let policy = compile("compress", "{ codings: [gzip], types: [image/*], min_size: 0, events: true }");
    assert!(ran(&policy, &mut response(200, Framing::Length(1), &[("Content-Type", "image/bmp")])));
    assert!(!ran(&policy, &mut response(200, Framing::Length(5000), &[HTML])));
    assert!(ran(&policy, &mut response(200, Framing::Chunked, &[("Content-Type", "text/event-stream")])));
    assert!(!ran(&policy, &mut response(200, Framing::Length(0), &[("Content-Type", "image/bmp")])));
    let preferred = compile("compress", "{ codings: [gzip, br] }");
    let mut exchange = preferred.exchange(&[("Accept-Encoding", "br, gzip, zstd")]);
    let mut answer = response(200, Framing::Chunked, &[HTML]);
    assert!(preferred.response(&mut exchange, &mut answer).is_none());
    assert_eq!(field(&answer.head, "Content-Encoding"), "gzip");
}

#[test]
fn what_is_refused_at_compile() {
    for (settings, expected) in [
        ("{ codings: [] }", "invalid_codings"),
        ("{ codings: [gzip, gzip] }", "names one twice"),
        ("{ codings: [deflate] }", "deflate"),
        ("{ types: [text] }", "invalid_media_type"),
        ("{ types: ['text/html; charset=utf-8'] }", "invalid_media_type"),
        ("{ level: { gzip: 0 } }", "from 1 to 9"),
        ("{ level: { br: 1 } }", "from 2 to 11"),
        ("{ level: { zstd: -1 } }", "from 1 to 19"),
        ("{ min_size: lots }", "size"),
    ] {
        let told = problems("compress", settings);
        assert!(told.contains(expected), "{settings}: {told}");
    }
}
