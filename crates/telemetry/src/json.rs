//! Writing one flat JSON object by hand: no allocation beyond the buffer's growth.

/// Appends fields to a line.
pub(crate) struct Line<'a>(pub &'a mut Vec<u8>);

impl Line<'_> {
    pub fn text(&mut self, key: &str, value: &[u8], limit: usize) {
        self.key(key);
        self.0.push(b'"');
        escape(self.0, value, limit);
        self.0.push(b'"');
    }

    pub fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Nanoseconds as milliseconds with three decimals.
    pub fn millis(&mut self, key: &str, nanos: u64) {
        self.key(key);
        let micros = nanos / 1_000;
        self.0.extend_from_slice(itoa::Buffer::new().format(micros / 1_000).as_bytes());
        let rest = (micros % 1_000) as u16;
        let digit = |of: u16| b'0' + (of % 10) as u8;
        self.0.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }

    fn key(&mut self, key: &str) {
        let before: &[u8] = if self.0.last() == Some(&b'{') { b"\"" } else { b",\"" };
        self.0.extend_from_slice(before);
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}

/// JSON string escaping; bytes that are not UTF-8 become U+FFFD; cut at `limit` bytes with an ellipsis.
pub(crate) fn escape(out: &mut Vec<u8>, value: &[u8], limit: usize) {
    let (value, is_cut) = if value.len() > limit { (&value[..limit], true) } else { (value, false) };
    if value.iter().all(|byte| (0x20..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\') {
        out.extend_from_slice(value);
    } else {
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
    }
    if is_cut {
        out.extend_from_slice("…".as_bytes());
    }
}
