//! Counting the frames that an HTTP/2 client sends, by what they could be a flood of. Sans-IO: sees bytes as they come and
//! reads frame headers alone (RFC 9113 4.1). Judges nothing, and what it cannot read is `h2`'s to refuse.

/// Bytes of the connection preface (RFC 9113 3.4).
const PREFACE_BYTES: u64 = 24;
const HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;

/// How many frames a client has sent, of those that cost it nothing and bring nobody anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameCounts {
    /// RST_STREAM.
    pub resets: u32,
    pub settings: u32,
    pub pings: u32,
    /// DATA without data and without an end.
    pub empty: u32,
    /// PRIORITY and whatever has no meaning here.
    pub others: u32,
    /// Bytes in both directions.
    pub bytes: u64,
}

/// Reads frame headers out of a stream of bytes.
#[derive(Debug)]
pub(crate) struct FrameCounter {
    /// Bytes that are no frame header: the preface, then payloads.
    skip: u64,
    header: [u8; HEADER_BYTES],
    have: usize,
    pub counts: FrameCounts,
}

impl Default for FrameCounter {
    fn default() -> Self {
        Self { skip: PREFACE_BYTES, header: [0; HEADER_BYTES], have: 0, counts: FrameCounts::default() }
    }
}

impl FrameCounter {
    /// Takes the bytes that came next, cut wherever they were.
    pub fn see(&mut self, mut bytes: &[u8]) {
        self.counts.bytes = self.counts.bytes.wrapping_add(bytes.len() as u64);
        loop {
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes = &bytes[skipped as usize..];
            if bytes.is_empty() {
                return;
            }
            let count = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + count].copy_from_slice(&bytes[..count]);
            self.have += count;
            bytes = &bytes[count..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                self.frame();
            }
        }
    }

    fn frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = u64::from(length);
        let counts = &mut self.counts;
        let count = match kind {
            DATA if length == 0 && flags & END_STREAM == 0 => &mut counts.empty,
            RST_STREAM => &mut counts.resets,
            // Those that answer ours are as many as we sent.
            SETTINGS | PING if flags & ACK != 0 => return,
            SETTINGS => &mut counts.settings,
            PING => &mut counts.pings,
            // What a header block may be made of, `h2` bounds; a window is updated as often as data come.
            DATA | HEADERS | CONTINUATION | WINDOW_UPDATE => return,
            _ => &mut counts.others,
        };
        *count = count.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = (payload as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(9 + payload, 0xaa);
        frame
    }

    fn session() -> (Vec<u8>, FrameCounts) {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, payload) in [
            (SETTINGS, 0, 12),
            (SETTINGS, ACK, 0),
            (HEADERS, 4, 30),
            (DATA, 0, 0),
            (DATA, END_STREAM, 0),
            (DATA, 0, 70_000),
            (PING, 0, 8),
            (PING, ACK, 8),
            (PING, 0, 8),
            (RST_STREAM, 0, 4),
            (WINDOW_UPDATE, 0, 4),
            (2, 0, 5),
            (0x77, 0, 3),
        ] {
            bytes.extend(frame(kind, flags, payload));
        }
        let counts =
            FrameCounts { resets: 1, settings: 1, pings: 2, empty: 1, others: 2, bytes: bytes.len() as u64 };
        (bytes, counts)
    }

    proptest! {
        #[test]
        fn counts_the_same_however_the_bytes_are_cut(cuts in prop::collection::vec(1usize..400, 1..40)) {
            let (bytes, counts) = session();
            let mut counter = FrameCounter::default();
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = (*cuts.next().unwrap()).min(rest.len());
                counter.see(&rest[..cut]);
                rest = &rest[cut..];
            }
            prop_assert_eq!(counter.counts, counts);
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut counter = FrameCounter::default();
            counter.see(&bytes);
            prop_assert_eq!(counter.counts.bytes, bytes.len() as u64);
        }
    }
}
