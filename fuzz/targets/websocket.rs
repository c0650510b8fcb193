//! Where the frames of a WebSocket end: as a plain reader of the whole finds it (RFC 6455 5.2), however the bytes are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex_wire::websocket::Frames;

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let cut = usize::from(*cut).max(1);
    let ends = ends(bytes);
    let mut frames = Frames::default();
    let mut at = 0;
    assert!(frames.is_between());
    for piece in bytes.chunks(cut) {
        // How much the frame under way needs of all that follows.
        let next = ends.iter().find(|end| **end >= at && (**end > at || frames.is_between())).copied();
        let mut copy = frames;
        assert_eq!(copy.finish(&bytes[at..]), next.map(|end| end - at));
        frames.pass(piece);
        at += piece.len();
        assert_eq!(frames.is_between(), ends.contains(&at), "at {at} of {ends:?}");
    }
});

/// The place before the first frame, and behind each that is whole.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (vec![0], 0usize);
    loop {
        let rest = &bytes[at..];
        let Some([_, second]) = rest.first_chunk() else { return ends };
        let (length, head) = match second & 0x7f {
            126 => match rest.get(2..4) {
                Some(length) => (u64::from(u16::from_be_bytes([length[0], length[1]])), 4),
                None => return ends,
            },
            127 => match rest.get(2..10).and_then(|length| length.try_into().ok()) {
                Some(length) => (u64::from_be_bytes(length), 10),
                None => return ends,
            },
            short => (u64::from(short), 2),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let frame = length.saturating_add(mask + head);
        if frame > rest.len() as u64 {
            return ends;
        }
        at += frame as usize;
        ends.push(at);
    }
}
