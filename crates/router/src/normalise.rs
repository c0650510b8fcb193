//! The one normalisation of a request path, done once, before matching and before forwarding: what was
//! authorised is what is sent. The rules are the table in this crate's README, which a test executes.
//! It must never be lenient towards a path that two programs could read in two ways: such a path is refused.

use std::borrow::Cow;

/// The longest path that is looked at, in bytes; the listener's bound on the URI is normally far below.
pub const MAX_PATH: usize = 65_536;

/// What to do with `%2F`, `%5C` and a raw `\`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncodedSlashes {
    /// 400 `path_encoded_slash`.
    #[default]
    Refuse,
    /// They stay encoded (`\` becomes `%5C`) and never separate segments.
    Keep,
}

/// The choices a user has; the default is the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules {
    pub encoded_slashes: EncodedSlashes,
}

/// Why a path is refused. The client is to blame, a retry does not help: the answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    #[error("the path is longer than {MAX_PATH} bytes")]
    TooLong,
    #[error("the byte at {0} may not stand in a path: percent-encode it")]
    BadByte(usize),
    #[error("the `%` at {0} is not followed by two hexadecimal digits")]
    BadEscape(usize),
    #[error("the escape at {0} is a control character")]
    Control(usize),
    #[error("the slash or backslash at {0} is encoded, and encoded slashes are refused here")]
    EncodedSlash(usize),
    #[error("`..` leads above the root")]
    AboveRoot,
    #[error("the segment at {0} hides a dot segment or an empty one behind `;` or an encoded slash")]
    HiddenSegment(usize),
    #[error("the percent-encoded bytes of the path are not UTF-8")]
    NotUtf8,
}

impl PathError {
    /// The stable code: logs, metrics and `explain` use it.
    pub fn code(&self) -> &'static str {
        match self {
            PathError::NotAbsolute => "path_not_absolute",
            PathError::TooLong => "path_too_long",
            PathError::BadByte(_) => "path_bad_byte",
            PathError::BadEscape(_) => "path_bad_escape",
            PathError::Control(_) => "path_control",
            PathError::EncodedSlash(_) => "path_encoded_slash",
            PathError::AboveRoot => "path_above_root",
            PathError::HiddenSegment(_) => "path_hidden_segment",
            PathError::NotUtf8 => "path_not_utf8",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays as it is wherever it stands.
    Plain,
    /// `/`, `.`: plain, unless it follows a `/`.
    Path,
    /// Visible, but no path character: percent-encoded.
    Encode,
    /// `%`, `;`, `\`: looked at.
    Special,
    Refused,
}

const fn class_of(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Class::Plain,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => Class::Plain,
        b'/' | b'.' => Class::Path,
        b'%' | b';' | b'\\' => Class::Special,
        b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Encode,
        _ => Class::Refused,
    }
}

static CLASSES: [Class; 256] = {
    let mut table = [Class::Refused; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
};

/// Normalises `raw`, the path as received, without query. A path that is already normal is returned as it
/// is; another one is written into `buffer`, which is cleared first and reused (no allocation when warm).
/// `normalise(normalise(x)) == normalise(x)`.
pub fn normalise<'a>(raw: &'a [u8], rules: PathRules, buffer: &'a mut String) -> Result<&'a str, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if raw.len() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    if is_plain(raw) {
        return std::str::from_utf8(raw).map_err(|_| PathError::NotUtf8);
    }
    rewrite(raw, rules, buffer)?;
    Ok(buffer)
}

/// As [`normalise`], for text: the normal path is in `buffer`; `true` where it is `raw` itself.
pub fn normalise_text(raw: &str, rules: PathRules, buffer: &mut String) -> Result<bool, PathError> {
    if raw.starts_with('/') && raw.len() <= MAX_PATH && is_plain(raw.as_bytes()) {
        buffer.clear();
        buffer.push_str(raw);
        return Ok(true);
    }
    normalise(raw.as_bytes(), rules, buffer).map(|_| false)
}

/// True when nothing in `raw` needs a second look.
fn is_plain(raw: &[u8]) -> bool {
    let mut after_slash = true;
    for &byte in &raw[1..] {
        match CLASSES[byte as usize] {
            Class::Plain => after_slash = false,
            Class::Path if after_slash => return false,
            Class::Path => after_slash = byte == b'/',
            _ => return false,
        }
    }
    true
}

/// Segment by segment. Invariant: `out` is normal and ends with `/` whenever a segment begins.
fn rewrite(raw: &[u8], rules: PathRules, out: &mut String) -> Result<(), PathError> {
    out.clear();
    out.push('/');
    let mut begin = 1;
    let mut escaped_high = false;
    loop {
        let end = memchr::memchr(b'/', &raw[begin..]).map_or(raw.len(), |i| begin + i);
        let start_of_segment = out.len();
        escaped_high |= push_segment(raw, begin..end, rules, out)?;
        check_segment(&out[start_of_segment..], begin)?;
        let last = end == raw.len();
        match &out[start_of_segment..] {
            // An empty segment is merged away; only the slash before a last one stays.
            "" => {}
            "." => out.truncate(start_of_segment),
            ".." => {
                // Without its `/`, what is left ends in the segment to remove.
                let parent = out[..start_of_segment - 1].rfind('/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent + 1);
            }
            _ if !last => out.push('/'),
            _ => {}
        }
        if last {
            break;
        }
        begin = end + 1;
    }
    // Only escapes can hold bytes beyond ASCII. Overlong forms such as `%C0%AF` (a hidden `/`) end here.
    if escaped_high && matches!(decode_bytes(out), Cow::Owned(bytes) if std::str::from_utf8(&bytes).is_err())
    {
        return Err(PathError::NotUtf8);
    }
    Ok(())
}

/// Appends one segment in its normal encoding; true when it holds an escaped byte beyond ASCII.
fn push_segment(
    raw: &[u8],
    range: std::ops::Range<usize>,
    rules: PathRules,
    out: &mut String,
) -> Result<bool, PathError> {
    let keep = rules.encoded_slashes == EncodedSlashes::Keep;
    let mut high = false;
    let mut at = range.start;
    while at < range.end {
        let byte = raw[at];
        match CLASSES[byte as usize] {
            Class::Plain | Class::Path => out.push(byte as char),
            Class::Encode => push_escape(byte, out),
            Class::Refused => return Err(PathError::BadByte(at)),
            Class::Special => match byte {
                b';' => out.push(';'),
                b'\\' if keep => push_escape(byte, out),
                b'\\' => return Err(PathError::EncodedSlash(at)),
                _ => {
                    let value = escape_at(raw, at, range.end).ok_or(PathError::BadEscape(at))?;
                    match value {
                        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => {
                            out.push(value as char);
                        }
                        0..=0x1F | 0x7F => return Err(PathError::Control(at)),
                        b'/' | b'\\' if !keep => return Err(PathError::EncodedSlash(at)),
                        _ => push_escape(value, out),
                    }
                    high |= value >= 0x80;
                    at += 2;
                }
            },
        }
        at += 1;
    }
    Ok(high)
}

/// Refuses a segment that some program would read as a dot segment or as an empty one, although it is
/// neither as text: `..;x`, `;x`, `..%2Fx`. An encoded `;` counts, for programs that decode first.
fn check_segment(segment: &str, offset: usize) -> Result<(), PathError> {
    let suspicious = memchr::memchr2(b';', b'%', segment.as_bytes()).is_some();
    if !suspicious {
        return Ok(());
    }
    let mut rest = segment;
    loop {
        let cut = ["%2F", "%5C"].iter().filter_map(|s| rest.find(s)).min();
        let piece = &rest[..cut.unwrap_or(rest.len())];
        let params = [";", "%3B"].iter().filter_map(|s| piece.find(s)).min();
        let name = &piece[..params.unwrap_or(piece.len())];
        let hidden = cut.is_some() || params.is_some() || rest.len() < segment.len();
        let empty = name.is_empty() && params.is_some();
        if hidden && (empty || name == "." || name == "..") {
            return Err(PathError::HiddenSegment(offset));
        }
        match cut {
            Some(at) => rest = &rest[at + 3..],
            None => return Ok(()),
        }
    }
}

fn push_escape(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(HEX[usize::from(byte >> 4)] as char);
    out.push(HEX[usize::from(byte & 15)] as char);
}

/// The value of the escape whose `%` stands at `at`; none when it is malformed or passes `end`.
fn escape_at(text: &[u8], at: usize, end: usize) -> Option<u8> {
    if at + 2 >= end {
        return None;
    }
    let high = (text[at + 1] as char).to_digit(16)?;
    let low = (text[at + 2] as char).to_digit(16)?;
    Some((high * 16 + low) as u8)
}

fn decode_bytes(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if memchr::memchr(b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], escape_at(bytes, at, bytes.len())) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// Decodes percent-escapes once (`%2541` becomes `%41`). Part of a normalised path between two separators
/// is always UTF-8 once decoded; other text is decoded with U+FFFD for what is not.
pub fn decode_percent(text: &str) -> Cow<'_, str> {
    match decode_bytes(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => Cow::Owned(
            String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
        ),
    }
}

/// The bytes of one query component, decoded: `+` is a space, a malformed escape stays as text.
pub(crate) fn query_bytes(text: &str) -> impl Iterator<Item = u8> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        at += 1;
        match byte {
            b'+' => Some(b' '),
            b'%' => match escape_at(bytes, at - 1, bytes.len()) {
                Some(value) => {
                    at += 2;
                    Some(value)
                }
                None => Some(b'%'),
            },
            _ => Some(byte),
        }
    })
}

/// The normal form of a path somebody wrote into a configuration: what is beyond ASCII, and a space, are
/// encoded first, as a browser would.
pub(crate) fn normalise_written(path: &str) -> Result<String, PathError> {
    let mut raw = Vec::with_capacity(path.len());
    for &byte in path.as_bytes() {
        if byte >= 0x80 || byte == b' ' {
            let mut escape = String::new();
            push_escape(byte, &mut escape);
            raw.extend_from_slice(escape.as_bytes());
        } else {
            raw.push(byte);
        }
    }
    let mut buffer = String::new();
    let rules = PathRules { encoded_slashes: EncodedSlashes::Keep };
    normalise(&raw, rules, &mut buffer).map(str::to_owned)
}
