//! Byte classes, and tests of whole texts against them: one load per byte from a table.
//! No grammar lives here, only sets of bytes; what looks for a byte in a buffer is in `scan`.

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

/// Eight bytes at a time; the last eight may overlap those before.
#[inline(always)]
fn all(bytes: &[u8], class: u8) -> bool {
    let block = |block: &[u8; 8]| block.iter().fold(class, |common, &b| common & CLASSES[b as usize]) != 0;
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(|&b| CLASSES[b as usize] & class != 0);
    };
    let (blocks, _) = bytes.as_chunks::<8>();
    blocks.iter().all(block) && block(last)
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

/// Only bytes that may stand in a request target.
#[inline(always)]
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    all(bytes, TARGET)
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
    fn whole_texts_agree_with_the_table() {
        for len in 1..30 {
            for place in 0..len {
                for byte in 0..=255u8 {
                    let mut text = vec![b'a'; len];
                    text[place] = byte;
                    assert_eq!(is_token(&text), is_token_byte(byte), "{text:?}");
                    assert_eq!(is_target(&text), CLASSES[byte as usize] & TARGET != 0, "{text:?}");
                    assert_eq!(is_host_name(&text), CLASSES[byte as usize] & HOST != 0, "{text:?}");
                }
            }
        }
        assert!(!is_token(b"") && is_target(b"") && is_host_name(b""));
    }
}
