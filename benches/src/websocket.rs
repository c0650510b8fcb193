//! WebSocket frames (RFC 6455 section 5) as the benches send them: whole messages of up to 65,535 bytes, no extension.

use anyhow::ensure;

/// A binary message, in one frame.
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;

/// One frame of the input, its payload still masked.
#[derive(Debug, PartialEq)]
pub struct Frame<'a> {
    pub opcode: u8,
    /// The client's mask; a service sends none.
    pub mask: Option<[u8; 4]>,
    pub payload: &'a [u8],
    /// Bytes of the whole frame.
    pub length: usize,
}

/// The first frame of `input`, or `None` while it is incomplete.
pub fn read(input: &[u8]) -> anyhow::Result<Option<Frame<'_>>> {
    let Some((&[first, second], _)) = input.split_first_chunk() else { return Ok(None) };
    ensure!(first & 0xf0 == 0x80, "the benches send messages in one frame, without extensions");
    let (payload_length, mut at) = match second & 0x7f {
        127 => anyhow::bail!("the benches send messages of up to 65535 bytes"),
        126 => match input.get(2..4) {
            Some(bytes) => (usize::from(bytes[0]) << 8 | usize::from(bytes[1]), 4),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        let Some((key, _)) = input[at..].split_first_chunk() else { return Ok(None) };
        (mask, at) = (Some(*key), at + 4);
    }
    let payload = input.get(at..at + payload_length);
    Ok(payload.map(|payload| Frame { opcode: first & 0xf, mask, payload, length: at + payload_length }))
}

/// Appends a message in one frame; `mask` hides `payload`, or takes the hiding away.
pub fn append(opcode: u8, header_mask: Option<[u8; 4]>, payload: &[u8], mask: [u8; 4], output: &mut Vec<u8>) {
    let bit = if header_mask.is_some() { 0x80 } else { 0 };
    output.push(0x80 | opcode);
    match payload.len() {
        length @ 0..126 => output.push(bit | length as u8),
        length => output.extend([bit | 126, (length >> 8) as u8, length as u8]),
    }
    output.extend(header_mask.iter().flatten());
    let start = output.len();
    output.extend_from_slice(payload);
    for four in output[start..].chunks_mut(4) {
        four.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
    }
}

#[cfg(test)]
mod tests {
    use super::{BINARY, append, read};

    #[test]
    fn a_message_goes_out_hidden_and_comes_back() {
        for length in [0, 5, 125, 126, 1024, 65_535] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let key = [1, 2, 3, 4];
            let mut wire = Vec::new();
            append(BINARY, Some(key), &payload, key, &mut wire);
            assert!((0..wire.len()).all(|cut| read(&wire[..cut]).unwrap().is_none()));
            let frame = read(&wire).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.mask, frame.length), (BINARY, Some(key), wire.len()));
            let mut echo = Vec::new();
            append(frame.opcode, None, frame.payload, key, &mut echo);
            let frame = read(&echo).unwrap().unwrap();
            assert_eq!((frame.mask, frame.payload), (None, &payload[..]));
        }
    }

    #[test]
    fn what_the_benches_do_not_send_is_refused() {
        assert!(read(&[0x02, 0]).is_err(), "a fragment");
        assert!(read(&[0xc2, 0]).is_err(), "an extension");
        assert!(read(&[0x82, 127]).is_err(), "a long message");
    }
}
