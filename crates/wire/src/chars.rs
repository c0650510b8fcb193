//! Byte classes and the scans over them: one load per byte from a table, or eight bytes at a time.
//! No grammar lives here, only sets of bytes.

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;
const TEXT: u8 = 8;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || in_set(b, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if b.is_ascii_graphic() && !in_set(b, b"#\"<>\\`") {
            class |= TARGET;
        }
        if b.is_ascii_alphanumeric() || in_set(b, b"-._~") {
            class |= HOST;
        }
        if b == b'\t' || (b >= 0x20 && b != 0x7f) {
            class |= TEXT;
        }
        table[i] = class;
        i += 1;
    }
    table
}

const fn in_set(byte: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

#[inline]
fn all(bytes: &[u8], class: u8) -> bool {
    first_outside(bytes, class).is_none()
}

/// The first byte that is not in the class: one test for eight bytes, and one by one in the last eight.
#[inline(always)]
fn first_outside(bytes: &[u8], class: u8) -> Option<usize> {
    let mut rest = bytes;
    while let Some((block, behind)) = rest.split_first_chunk::<8>() {
        if block.iter().fold(class, |common, &b| common & CLASSES[b as usize]) == 0 {
            break;
        }
        rest = behind;
    }
    let at = rest.iter().position(|&b| CLASSES[b as usize] & class == 0)?;
    Some(bytes.len() - rest.len() + at)
}

/// One or more token characters (RFC 9110 section 5.6.2).
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// The first byte that is not a token character.
pub(crate) fn first_non_token(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| CLASSES[b as usize] & TOKEN == 0)
}

/// The first byte that may not stand in a request target (path or query).
#[inline]
pub(crate) fn first_non_target(bytes: &[u8]) -> Option<usize> {
    first_outside(bytes, TARGET)
}

/// Characters of a host name: letters, digits and `-._~`.
#[inline]
pub(crate) fn is_host_name(bytes: &[u8]) -> bool {
    all(bytes, HOST)
}

/// A byte that may stand in a field value: HTAB, SP, visible, 0x80-0xFF.
#[inline]
pub(crate) fn is_text_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & TEXT != 0
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first control byte (all below 0x20 but HTAB, and 0x7F) from `from` on, and its index.
#[inline(always)]
pub(crate) fn find_control(bytes: &[u8], from: usize) -> Option<(usize, u8)> {
    let mut at = from;
    loop {
        // The lowest flagged byte is exact; higher ones may be borrowed into and are not looked at.
        at = find(
            bytes,
            at,
            |w| (w.wrapping_sub(ONES * 0x20) | ((w & !HIGHS) + ONES)) & !w & HIGHS,
            |b| !is_text_byte(b),
        )?;
        match bytes.get(at) {
            Some(b'\t') => {}
            Some(&byte) => return Some((at, byte)),
            None => return None,
        }
        at += 1;
    }
}

/// Index of the first colon from `from` on.
#[inline(always)]
pub(crate) fn find_colon(bytes: &[u8], from: usize) -> Option<usize> {
    let flag = |word: u64| {
        let diff = word ^ (ONES * b':' as u64);
        diff.wrapping_sub(ONES) & !diff & HIGHS
    };
    find(bytes, from, flag, |b| b == b':')
}

/// Index of the first byte that is in a set: eight bytes at a time, the rest one by one. `flag` sets the
/// high bit of each such byte; only the lowest one that it sets has to be right.
#[inline(always)]
fn find(bytes: &[u8], from: usize, flag: impl Fn(u64) -> u64, in_set: impl Fn(u8) -> bool) -> Option<usize> {
    let mut rest = bytes.get(from..)?;
    while let Some((block, behind)) = rest.split_first_chunk::<8>() {
        let hits = flag(u64::from_le_bytes(*block));
        if hits != 0 {
            return Some(bytes.len() - rest.len() + hits.trailing_zeros() as usize / 8);
        }
        rest = behind;
    }
    rest.iter().position(|&byte| in_set(byte)).map(|i| bytes.len() - rest.len() + i)
}

/// `bytes` without the spaces and tabs around it.
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_control_agrees_with_a_plain_loop() {
        for position in 0..40 {
            for byte in 0..=255u8 {
                for fill in [b'a', b'\t', 0x80, 0xff, b' ', 0x7e] {
                    let mut text = vec![fill; 40];
                    text[position] = byte;
                    let plain = text.iter().position(|&b| (b < 0x20 && b != b'\t') || b == 0x7f);
                    assert_eq!(
                        find_control(&text, 0).map(|hit| hit.0),
                        plain,
                        "byte {byte:#x} at {position}, fill {fill:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn first_non_target_agrees_with_the_table() {
        for position in 0..40 {
            for byte in 0..=255u8 {
                let mut text = vec![b'a'; 40];
                text[position] = byte;
                let plain = text.iter().position(|&b| CLASSES[b as usize] & TARGET == 0);
                assert_eq!(first_non_target(&text), plain, "byte {byte:#x} at {position}");
            }
        }
    }

    #[test]
    fn find_colon_agrees_with_a_plain_loop() {
        for position in 0..24 {
            for byte in 0..=255u8 {
                let mut text = vec![b';'; 24];
                text[position] = byte;
                assert_eq!(find_colon(&text, 0), text.iter().position(|&b| b == b':'));
            }
        }
    }
}
