//! Scans over a buffer, sixteen bytes at a time. They only say where the first byte of a kind is; what it
//! means is for the caller. They take a buffer of any length and give that length when there is none.

use wide::u8x16;

/// Index of the first colon from `from` on.
#[inline(always)]
pub(crate) fn colon(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |block| equal(block, b':'))
}

/// Index of the first question mark.
#[inline(always)]
pub(crate) fn question(bytes: &[u8]) -> usize {
    find(bytes, 0, |block| equal(block, b'?'))
}

/// Index of the first control byte (all below 0x20 but HTAB, and 0x7F) from `from` on.
#[inline(always)]
pub(crate) fn control(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |block| (within(block, 0, 0x1f) | equal(block, 0x7f)) & !equal(block, b'\t'))
}

/// How many control bytes there are, HTAB not counted.
#[inline]
pub(crate) fn count_controls(bytes: &[u8]) -> usize {
    let hits = |block: u8x16| (within(block, 0, 0x1f) | equal(block, 0x7f)) & !equal(block, b'\t');
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut last = [b' '; 16];
    last[..rest.len()].copy_from_slice(rest);
    // A hit is a lane of -1. A lane counts to 255: so many blocks at most before the lanes are added up.
    let mut count = lanes(u8x16::ZERO - hits(u8x16::new(last)));
    for few in blocks.chunks(255) {
        count += lanes(few.iter().fold(u8x16::ZERO, |sum, block| sum - hits(u8x16::new(*block))));
    }
    count
}

/// The sum of all lanes.
#[inline(always)]
fn lanes(counts: u8x16) -> usize {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let bytes = counts.to_array();
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |all, word| {
        let word = u64::from_ne_bytes(*word);
        let pairs = (word & EVEN) + (word >> 8 & EVEN);
        all + (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
    })
}

/// Index of the first control byte, HTAB among them, from `from` on.
#[inline(always)]
pub(crate) fn control_or_tab(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |block| within(block, 0, 0x1f) | equal(block, 0x7f))
}

/// Index of the first byte from `from` on that may not stand in the path of a request target.
#[inline(always)]
pub(crate) fn non_path(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |block| not_in_target(block) | equal(block, b'?'))
}

/// Index of the first byte from `from` on that may not stand in a request target (path or query).
#[inline(always)]
pub(crate) fn non_target(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, not_in_target)
}

/// Index of the first byte from `from` on that no host name holds: other than letters, digits, `-._~`.
#[inline(always)]
pub(crate) fn non_host(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |block| {
        let known = within(block | u8x16::splat(0x20), b'a', b'z')
            | within(block, b'0', b'9')
            | within(block, b'-', b'.')
            | equal(block, b'_')
            | equal(block, b'~');
        !known
    })
}

#[inline(always)]
fn not_in_target(block: u8x16) -> u8x16 {
    // `"` and `#` differ in their lowest bit alone, `<` and `>` in the next one.
    !within(block, 0x21, 0x7e)
        | equal(block | u8x16::splat(1), b'#')
        | equal(block | u8x16::splat(2), b'>')
        | equal(block, b'\\')
        | equal(block, b'`')
}

#[inline(always)]
fn equal(block: u8x16, byte: u8) -> u8x16 {
    block.simd_eq(u8x16::splat(byte))
}

/// Bytes from `first` to `last`, both included.
#[inline(always)]
fn within(block: u8x16, first: u8, last: u8) -> u8x16 {
    let distance = block - u8x16::splat(first);
    distance.min(u8x16::splat(last - first)).simd_eq(distance)
}

/// The first byte from `from` on whose lane `hits` sets; the length if there is none.
#[inline(always)]
fn find(bytes: &[u8], from: usize, hits: impl Fn(u8x16) -> u8x16) -> usize {
    let Some(last) = bytes.len().checked_sub(16) else { return find_in_few(bytes, from, hits) };
    let mut at = from;
    while at <= last {
        let Some(block) = bytes[at..].first_chunk() else { break };
        let mask = hits(u8x16::new(*block)).to_bitmask();
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 16;
    }
    // The last block once more, without those of its bytes that come before.
    let Some(block) = bytes.last_chunk() else { return bytes.len() };
    let mask = hits(u8x16::new(*block)).to_bitmask().checked_shr((at - last) as u32);
    mask.filter(|mask| *mask != 0).map_or(bytes.len(), |mask| at + mask.trailing_zeros() as usize)
}

/// The same in less than sixteen bytes.
#[cold]
fn find_in_few(bytes: &[u8], from: usize, hits: impl Fn(u8x16) -> u8x16) -> usize {
    let mut block = [0; 16];
    block[..bytes.len()].copy_from_slice(bytes);
    let mask = hits(u8x16::new(block)).to_bitmask() & ((1 << bytes.len()) - 1);
    let mask = u32::try_from(from).ok().and_then(|from| mask.checked_shr(from));
    mask.filter(|mask| *mask != 0).map_or(bytes.len(), |mask| from + mask.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chars;

    /// Every byte at every place of texts of every length up to three blocks, from two starts.
    fn agrees(scan: impl Fn(&[u8], usize) -> usize, fill: &[u8], is_hit: impl Fn(u8) -> bool) {
        for len in [1, 5, 15, 16, 17, 31, 33, 40] {
            for place in 0..len {
                for byte in 0..=255u8 {
                    for &fill in fill {
                        let mut text = vec![fill; len];
                        text[place] = byte;
                        for from in [0, len / 2, len, len + 1] {
                            let plain = (from..len).find(|&at| is_hit(text[at])).unwrap_or(len);
                            assert_eq!(scan(&text, from), plain, "{text:?} from {from}");
                        }
                    }
                }
            }
        }
        assert_eq!(scan(b"", 0), 0);
    }

    #[test]
    fn counts_every_control_byte() {
        for len in [0, 1, 15, 16, 17, 40, 5000] {
            for byte in 0..=255u8 {
                let text = vec![byte; len];
                let each = usize::from(!chars::is_text_byte(byte));
                assert_eq!(count_controls(&text), each * len, "{byte} {len} times");
            }
        }
        assert_eq!(count_controls(b"a: b\r\nc:\td\r\n\x7f and more than one block of it"), 5);
    }

    #[test]
    fn scans_agree_with_plain_loops() {
        agrees(colon, b"a;9", |b| b == b':');
        agrees(
            |text, from| text.get(from..).map_or(text.len(), |rest| from + question(rest)),
            b"/",
            |b| b == b'?',
        );
        agrees(control, b"a\t\xff ~", |b| !chars::is_text_byte(b));
        agrees(control_or_tab, b"a\xff ~", |b| b.is_ascii_control());
        agrees(non_target, b"a/~", |b| !chars::is_target(&[b]));
        agrees(non_path, b"a/~", |b| b == b'?' || !chars::is_target(&[b]));
        agrees(non_host, b"aZ9-_", |b| !chars::is_host_name(&[b]));
    }
}
