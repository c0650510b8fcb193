//! What a gateway must know of WebSocket (RFC 6455): the handshake's key and its answer, and where one frame ends, so
//! that a close frame of its own can stand between two of the peers'. It never looks into a payload.

use data_encoding::BASE64;

/// What is appended to a key before it is hashed (RFC 6455 1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Characters of a key: 16 bytes in base64.
pub const KEY_BYTES: usize = 24;
/// The close code of an end point that goes away (RFC 6455 7.4.1).
pub const GOING_AWAY: u16 = 1001;

/// A `Sec-WebSocket-Key` from 16 random bytes.
pub fn make_key(random: [u8; 16]) -> String {
    BASE64.encode(&random)
}

/// Whether it is 16 bytes in base64 (RFC 6455 4.2.1).
pub fn is_key(value: &[u8]) -> bool {
    value.len() == KEY_BYTES && BASE64.decode(value).is_ok_and(|bytes| bytes.len() == 16)
}

/// The `Sec-WebSocket-Accept` that belongs to a key (RFC 6455 4.2.2).
pub fn accept_of(key: &[u8]) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key);
    hash.update(MAGIC);
    BASE64.encode(&hash.digest().bytes())
}

/// A close frame with a code and no text. A client masks its frames, a server does not (RFC 6455 5.1).
pub fn close_frame(code: u16, mask: Option<[u8; 4]>) -> Vec<u8> {
    let code = code.to_be_bytes();
    match mask {
        None => vec![0x88, 2, code[0], code[1]],
        Some(mask) => {
            let masked = [code[0] ^ mask[0], code[1] ^ mask[1]];
            [&[0x88, 0x80 | 2], &mask[..], &masked[..]].concat()
        }
    }
}

/// Finds the ends of the frames of one direction, however their bytes are cut.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    /// The frame's first bytes, as far as they have come: up to its length.
    head: [u8; 10],
    read: u8,
    /// Bytes of the mask and the payload that are still to come.
    left: u64,
}

impl Frames {
    /// Whether what has come so far ends with a frame's end.
    pub fn is_between(&self) -> bool {
        self.read == 0 && self.left == 0
    }

    /// These bytes come next.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.frame(bytes);
            bytes = bytes.get(count..).unwrap_or_default();
        }
    }

    /// These bytes come next, and as many of them as the frame under way still needs are counted. `None`: all, and it
    /// needs more.
    pub fn finish(&mut self, bytes: &[u8]) -> Option<usize> {
        let count = if self.is_between() { 0 } else { self.frame(bytes) };
        self.is_between().then_some(count)
    }

    /// Goes on to the end of one frame or of the bytes; returns how many that were.
    fn frame(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while self.left == 0 {
            let Some(byte) = bytes.get(at) else { return at };
            at += 1;
            self.head[usize::from(self.read)] = *byte;
            self.read += 1;
            let second = self.head[1];
            let length_bytes = match second & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            if self.read < 2 || usize::from(self.read) < 2 + length_bytes {
                continue;
            }
            let long = self.head[2..2 + length_bytes].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            let payload = if length_bytes == 0 { u64::from(second & 0x7f) } else { long };
            let mask = if second & 0x80 == 0 { 0 } else { 4 };
            self.read = 0;
            self.left = payload.saturating_add(mask);
            if self.left == 0 {
                return at;
            }
        }
        let count = ((bytes.len() - at) as u64).min(self.left);
        self.left -= count;
        at + count as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_key_of_the_rfc() {
        assert_eq!(accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_key(make_key([7; 16]).as_bytes()));
        for wrong in
            [&b""[..], b"dGhlIHNhbXBsZSBub25jZQ", b"dGhlIHNhbXBsZSBub25jZ!==", b"AAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(!is_key(wrong), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn close_frames_are_as_the_rfc_writes_them() {
        assert_eq!(close_frame(GOING_AWAY, None), [0x88, 0x02, 0x03, 0xe9]);
        assert_eq!(close_frame(GOING_AWAY, Some([1, 2, 3, 4])), [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
    }

    /// Frames of every kind of length, masked and not, and where each ends.
    fn frames() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for (length, mask) in [(0u64, 0), (0, 4), (5, 4), (125, 0), (126, 4), (127, 0), (70_000, 4), (3, 0)] {
            let flag = if mask == 4 { 0x80 } else { 0 };
            bytes.push(0x82);
            match length {
                0..=125 => bytes.push(flag | length as u8),
                126..=65_535 => {
                    bytes.push(flag | 126);
                    bytes.extend_from_slice(&(length as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(flag | 127);
                    bytes.extend_from_slice(&length.to_be_bytes());
                }
            }
            bytes.resize(bytes.len() + length as usize + mask, 0x88);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn finds_the_ends_of_frames_however_they_are_cut() {
        let (bytes, ends) = frames();
        for piece in [1, 2, 3, 7, 64, 1_000, bytes.len()] {
            let (mut found, mut at) = (Frames::default(), 0);
            for part in bytes.chunks(piece) {
                found.pass(part);
                at += part.len();
                assert_eq!(found.is_between(), ends.contains(&at), "pieces of {piece}, at {at}");
            }
        }
        for cut in 0..600 {
            let mut found = Frames::default();
            found.pass(&bytes[..cut]);
            let end = *ends.iter().find(|end| **end >= cut).unwrap();
            assert_eq!(found.finish(&bytes[cut..]), Some(end - cut), "cut at {cut}");
        }
    }

    #[test]
    fn a_length_that_no_frame_can_have_ends_nowhere() {
        let mut found = Frames::default();
        found.pass(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
        assert_eq!(found.finish(&[0; 100]), None);
    }
}
