//! Writing one flat JSON object by hand: no allocation beyond the buffer's growth, and eight bytes at a time where
//! nothing needs escaping.

/// The text between a value and the next one: `key!("name")` before a number, `key!(text "name")` before a text and, for
/// the first field, which is a text, `key!(first "name")`. Made at compile time: a line is mostly such text.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
    (text $name:literal) => {
        concat!(",\"", $name, "\":\"")
    };
    (first $name:literal) => {
        concat!("{\"", $name, "\":\"")
    };
}
pub(crate) use key;

/// Appends fields to a line; keys are made by [`key!`].
pub(crate) struct Line<'a>(pub &'a mut Vec<u8>);

impl Line<'_> {
    #[inline(always)]
    pub fn text(&mut self, key: &'static str, value: &[u8], limit: usize) {
        self.0.extend_from_slice(key.as_bytes());
        quoted(self.0, value, limit);
    }

    /// A text of which it is known that nothing in it needs escaping.
    #[inline(always)]
    pub fn plain(&mut self, key: &'static str, value: &[u8]) {
        debug_assert!(is_plain(value), "digits, letters, punctuation");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'"');
    }

    #[inline(always)]
    pub fn number(&mut self, key: &'static str, value: u64) {
        self.0.extend_from_slice(key.as_bytes());
        if value < 10 {
            self.0.push(b'0' + value as u8);
        } else {
            self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
    }

    /// Nanoseconds as milliseconds with three decimals.
    #[inline(always)]
    pub fn millis(&mut self, key: &'static str, nanos: u64) {
        let micros = nanos / 1_000;
        self.number(key, micros / 1_000);
        let rest = (micros % 1_000) as u16;
        let digit = |of: u16| b'0' + (of % 10) as u8;
        self.0.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }
}

#[inline(never)]
fn quoted(out: &mut Vec<u8>, value: &[u8], limit: usize) {
    if value.len() <= limit && is_plain(value) {
        out.extend_from_slice(value);
    } else {
        escape(out, value, limit);
    }
    out.push(b'"');
}

/// Printable ASCII without `"` and `\`.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    let (words, rest) = value.as_chunks::<8>();
    let mut last = *b"        ";
    last[..rest.len()].copy_from_slice(rest);
    let strange = words.iter().fold(strange(last), |all, word| all | strange(*word));
    strange == 0
}

/// Not 0 where one of eight bytes is a control character, `"`, `\` or not ASCII.
///
/// A byte below n leaves its high bit set in `word - n * ONES` (Hacker's Delight 6-1); a borrow reaches a neighbour only
/// from a byte that is strange itself.
#[inline(always)]
fn strange(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(bytes);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    // 0x7F and what is not ASCII; a carry leaves only a byte that is not.
    let high = word | word.wrapping_add(ONES);
    (control | quote | backslash | high) & (ONES * 0x80)
}

/// JSON string escaping; bytes that are not UTF-8 become U+FFFD; cut at `limit` bytes with an ellipsis.
#[cold]
fn escape(out: &mut Vec<u8>, value: &[u8], limit: usize) {
    let (value, is_cut) = if value.len() > limit { (&value[..limit], true) } else { (value, false) };
    for character in String::from_utf8_lossy(value).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            control if (control as u32) < 0x20 || control == '\u{7f}' => {
                out.extend_from_slice(format!("\\u{:04x}", control as u32).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if is_cut {
        out.extend_from_slice("…".as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_every_byte_that_needs_escaping_at_every_place() {
        for len in 0..20 {
            assert!(is_plain(&vec![b'a'; len]));
            for place in 0..len {
                for byte in 0..=255u8 {
                    let mut text = vec![b'~'; len];
                    text[place] = byte;
                    let is_printable = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&text), is_printable, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn escapes_what_json_wants_escaped_and_cuts_what_is_long() {
        for (value, limit, expected) in [
            (&b"plain"[..], 10, r#"{"k":"plain""#),
            (b"q\"b\\n\nt\tz\x7f", 20, r#"{"k":"q\"b\\n\nt\u0009z\u007f""#),
            (b"0123456789", 4, r#"{"k":"0123…""#),
            ("ä€".as_bytes(), 10, r#"{"k":"ä€""#),
            (b"a\xffb", 10, "{\"k\":\"a\u{fffd}b\""),
        ] {
            let mut out = Vec::new();
            Line(&mut out).text(key!(first "k"), value, limit);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
