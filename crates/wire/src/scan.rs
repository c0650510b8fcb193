//! Scans over a buffer, sixteen bytes at a time. They only say where the first byte of a kind is; what it
//! means is for the caller. They never look at a byte more than once, and take a buffer of any length.

use wide::u8x16;

/// Index of the first colon from `from` on.
#[inline(always)]
pub(crate) fn colon(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |block| equal(block, b':'))
}

/// Index of the first question mark.
#[inline(always)]
pub(crate) fn question(bytes: &[u8]) -> Option<usize> {
    find(bytes, 0, |block| equal(block, b'?'))
}

/// Index of the first control byte (all below 0x20 but HTAB, and 0x7F) from `from` on.
#[inline(always)]
pub(crate) fn control(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |block| {
        (within(block, 0, 0x1f) | equal(block, 0x7f)) & !equal(block, b'\t')
    })
}

/// Index of the first byte from `from` on that may not stand in a request target (path or query).
#[inline(always)]
pub(crate) fn non_target(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |block| {
        // `"` and `#` differ in their lowest bit alone, `<` and `>` in the next one.
        !within(block, 0x21, 0x7e)
            | equal(block | u8x16::splat(1), b'#')
            | equal(block | u8x16::splat(2), b'>')
            | equal(block, b'\\')
            | equal(block, b'`')
    })
}

/// Index of the first byte from `from` on that no host name holds: other than letters, digits, `-._~`.
#[inline(always)]
pub(crate) fn non_host(bytes: &[u8], from: usize) -> Option<usize> {
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
fn equal(block: u8x16, byte: u8) -> u8x16 {
    block.simd_eq(u8x16::splat(byte))
}

/// Bytes from `first` to `last`, both included.
#[inline(always)]
fn within(block: u8x16, first: u8, last: u8) -> u8x16 {
    let distance = block - u8x16::splat(first);
    distance.min(u8x16::splat(last - first)).simd_eq(distance)
}

/// The first byte from `from` on whose lane `hits` sets.
#[inline(always)]
fn find(bytes: &[u8], from: usize, hits: impl Fn(u8x16) -> u8x16) -> Option<usize> {
    let mut rest = bytes.get(from..)?;
    while let Some((block, behind)) = rest.split_first_chunk::<16>() {
        let mask = hits(u8x16::new(*block)).to_bitmask();
        if mask != 0 {
            return Some(bytes.len() - rest.len() + mask.trailing_zeros() as usize);
        }
        rest = behind;
    }
    if rest.is_empty() {
        return None;
    }
    let mask = match bytes.last_chunk::<16>() {
        Some(block) => hits(u8x16::new(*block)).to_bitmask() >> (16 - rest.len()),
        None => {
            let mut block = [0; 16];
            block[..rest.len()].copy_from_slice(rest);
            hits(u8x16::new(block)).to_bitmask() & ((1 << rest.len()) - 1)
        }
    };
    (mask != 0).then(|| bytes.len() - rest.len() + mask.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chars;

    /// Every byte at every place of texts of every length up to three blocks, from two starts.
    fn agrees(scan: impl Fn(&[u8], usize) -> Option<usize>, fill: &[u8], is_hit: impl Fn(u8) -> bool) {
        for len in [1, 5, 15, 16, 17, 31, 33, 40] {
            for place in 0..len {
                for byte in 0..=255u8 {
                    for &fill in fill {
                        let mut text = vec![fill; len];
                        text[place] = byte;
                        for from in [0, len / 2, len, len + 1] {
                            let plain = (from..len).find(|&at| is_hit(text[at]));
                            assert_eq!(scan(&text, from), plain, "{text:?} from {from}");
                        }
                    }
                }
            }
        }
        assert_eq!(scan(b"", 0), None);
    }

    #[test]
    fn scans_agree_with_plain_loops() {
        agrees(colon, b"a;9", |b| b == b':');
        agrees(|text, from| question(text.get(from..)?).map(|at| from + at), b"/", |b| b == b'?');
        agrees(control, b"a\t\xff ~", |b| !chars::is_text_byte(b));
        agrees(non_target, b"a/~", |b| !chars::is_target(&[b]));
        agrees(non_host, b"aZ9-_", |b| !chars::is_host_name(&[b]));
    }
}
