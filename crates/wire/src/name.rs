//! Field names: about seventy known ones are one byte, all others are text.
//! Look-up is by both ends, length and a compile-time hash; nothing here allocates on the request path.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::chars;
use crate::error::InvalidName;

macro_rules! known {
    ($($variant:ident = $text:literal,)*) => {
        /// A field name that the gateway knows; its canonical spelling is [`Known::as_str`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Known { $($variant,)* }

        impl Known {
            /// All known names, in the order of their numbers.
            pub const ALL: &'static [Known] = &[$(Known::$variant,)*];

            /// The canonical spelling, for example `X-Request-Id`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Known::$variant => $text,)* }
            }

            /// The beginning of a field line: the canonical spelling and `: `, and how long that is.
            #[inline(always)]
            pub(crate) fn line_prefix(self) -> (&'static [u8; PREFIX], usize) {
                static PREFIXES: [([u8; PREFIX], u8); Known::ALL.len()] = [$(padded(concat!($text, ": "))),*];
                let (prefix, len) = &PREFIXES[self as usize];
                (prefix, *len as usize)
            }
        }
    };
}

// Invariant: the reserved ones come first, so that one comparison tells them.
known! {
    Connection = "Connection",
    ContentLength = "Content-Length",
    Expect = "Expect",
    Host = "Host",
    KeepAlive = "Keep-Alive",
    ProxyConnection = "Proxy-Connection",
    Te = "TE",
    Trailer = "Trailer",
    TransferEncoding = "Transfer-Encoding",
    Upgrade = "Upgrade",
    Accept = "Accept",
    AcceptCharset = "Accept-Charset",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AcceptRanges = "Accept-Ranges",
    AccessControlAllowCredentials = "Access-Control-Allow-Credentials",
    AccessControlAllowHeaders = "Access-Control-Allow-Headers",
    AccessControlAllowMethods = "Access-Control-Allow-Methods",
    AccessControlAllowOrigin = "Access-Control-Allow-Origin",
    AccessControlExposeHeaders = "Access-Control-Expose-Headers",
    AccessControlMaxAge = "Access-Control-Max-Age",
    AccessControlRequestHeaders = "Access-Control-Request-Headers",
    AccessControlRequestMethod = "Access-Control-Request-Method",
    Age = "Age",
    Allow = "Allow",
    Authorization = "Authorization",
    CacheControl = "Cache-Control",
    CacheStatus = "Cache-Status",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLocation = "Content-Location",
    ContentRange = "Content-Range",
    ContentType = "Content-Type",
    Cookie = "Cookie",
    Date = "Date",
    ETag = "ETag",
    Expires = "Expires",
    Forwarded = "Forwarded",
    GrpcMessage = "Grpc-Message",
    GrpcStatus = "Grpc-Status",
    GrpcTimeout = "Grpc-Timeout",
    IdempotencyKey = "Idempotency-Key",
    IfMatch = "If-Match",
    IfModifiedSince = "If-Modified-Since",
    IfNoneMatch = "If-None-Match",
    IfRange = "If-Range",
    IfUnmodifiedSince = "If-Unmodified-Since",
    LastModified = "Last-Modified",
    Link = "Link",
    Location = "Location",
    Origin = "Origin",
    Pragma = "Pragma",
    Range = "Range",
    RateLimit = "RateLimit",
    RateLimitPolicy = "RateLimit-Policy",
    Referer = "Referer",
    RetryAfter = "Retry-After",
    Server = "Server",
    SetCookie = "Set-Cookie",
    StrictTransportSecurity = "Strict-Transport-Security",
    Traceparent = "Traceparent",
    Tracestate = "Tracestate",
    UserAgent = "User-Agent",
    Vary = "Vary",
    Via = "Via",
    WwwAuthenticate = "WWW-Authenticate",
    XApiKey = "X-Api-Key",
    XCorrelationId = "X-Correlation-Id",
    XForwardedClientCert = "X-Forwarded-Client-Cert",
    XForwardedFor = "X-Forwarded-For",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    XForwardedProto = "X-Forwarded-Proto",
    XRealIp = "X-Real-Ip",
    XRequestId = "X-Request-Id",
    XRequestTimeout = "X-Request-Timeout",
}

/// Bytes of the longest known name.
const LONGEST: usize = 32;
/// Room for the longest one and `: `.
pub(crate) const PREFIX: usize = LONGEST + 2;

const fn padded(text: &str) -> ([u8; PREFIX], u8) {
    let mut out = [b' '; PREFIX];
    let mut at = 0;
    while at < text.len() {
        out[at] = text.as_bytes()[at];
        at += 1;
    }
    (out, text.len() as u8)
}
const SLOTS: usize = 512;
/// In place of the number of a known name: it is not one.
pub(crate) const UNKNOWN: u8 = u8::MAX;
/// Makes letters lower case, and turns some other bytes into others: for finding, not for comparing.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// A known name prepared for comparing: `ends(name) | masks == words`. A mask has 0x20 only where the
/// name has a letter, so that nothing but the other case of it is let through.
#[derive(Clone, Copy)]
struct Pattern {
    words: [u64; 2],
    masks: [u64; 2],
    len: usize,
}

const PATTERNS: [Pattern; Known::ALL.len()] = patterns();
/// Known names below this number are reserved.
const RESERVED: u8 = Known::Upgrade as u8 + 1;
const INDEX: (u64, [u8; SLOTS]) = index();
const FACTOR: u64 = INDEX.0;
const BY_SLOT: [u8; SLOTS] = INDEX.1;

/// The first and the last eight bytes of a name. They overlap in names of less than sixteen bytes; in
/// those of less than eight both words are made of two overlapping parts and are equal.
#[inline(always)]
const fn ends(name: &[u8]) -> Option<[u64; 2]> {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        return Some([u64::from_le_bytes(*first), u64::from_le_bytes(*last)]);
    }
    let word = if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32
    } else if let (Some(first), Some(last)) = (name.first_chunk::<2>(), name.last_chunk::<2>()) {
        u16::from_le_bytes(*first) as u64 | (u16::from_le_bytes(*last) as u64) << 32
    } else {
        return None;
    };
    Some([word, word])
}

#[inline(always)]
const fn slot(words: [u64; 2], len: usize, factor: u64) -> usize {
    let key = (words[0] ^ words[1].rotate_left(24)) | LOWER;
    (key.wrapping_add((len as u64) << 40).wrapping_mul(factor) >> 55) as usize
}

const fn patterns() -> [Pattern; Known::ALL.len()] {
    let mut patterns = [Pattern { words: [0; 2], masks: [0; 2], len: 0 }; Known::ALL.len()];
    let mut k = 0;
    while k < Known::ALL.len() {
        let text = Known::ALL[k].as_str().as_bytes();
        assert!(text.len() >= 2 && text.len() <= LONGEST);
        let (mut lower, mut mask) = ([0u8; LONGEST], [0u8; LONGEST]);
        let mut i = 0;
        while i < text.len() {
            lower[i] = text[i].to_ascii_lowercase();
            mask[i] = if text[i].is_ascii_alphabetic() { 0x20 } else { 0 };
            i += 1;
        }
        let (Some(words), Some(masks)) =
            (ends(lower.split_at(text.len()).0), ends(mask.split_at(text.len()).0))
        else {
            panic!("a known name has two bytes or more");
        };
        patterns[k] = Pattern { words, masks, len: text.len() };
        k += 1;
    }
    patterns
}

/// The slots of all names, and the factor that they are found with.
const fn index() -> (u64, [u8; SLOTS]) {
    let patterns = patterns();
    // A factor under which no two names share a slot: found by trying, at compile
    // time. The first one does, as long as the list of names stays as it is.
    let mut factor: u64 = 0xcc4c_a906_84ac_e9f5;
    loop {
        let mut slots = [UNKNOWN; SLOTS];
        let mut k = 0;
        while k < Known::ALL.len() {
            let s = slot(patterns[k].words, patterns[k].len, factor);
            if slots[s] != UNKNOWN {
                break;
            }
            slots[s] = k as u8;
            k += 1;
        }
        if k == Known::ALL.len() {
            return (factor, slots);
        }
        factor = factor.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f) | 1;
    }
}

impl Known {
    /// Finds a known name, whatever its case.
    #[inline]
    pub fn lookup(name: &[u8]) -> Option<Known> {
        Known::from_number(Known::number(name))
    }

    /// The number of a known name, or [`UNKNOWN`].
    #[inline(always)]
    pub(crate) fn number(name: &[u8]) -> u8 {
        let Some(words) = ends(name) else { return UNKNOWN };
        let by_slot: &'static [u8; SLOTS] = &BY_SLOT;
        let patterns: &'static [Pattern] = &PATTERNS;
        let number = by_slot[slot(words, name.len(), FACTOR) % SLOTS];
        let Some(&Pattern { words: lower, masks, len }) = patterns.get(number as usize) else {
            return UNKNOWN;
        };
        let differs = (words[0] | masks[0]) ^ lower[0] | (words[1] | masks[1]) ^ lower[1];
        if differs | (len ^ name.len()) as u64 != 0 || (name.len() > 16 && !is_named(number, name)) {
            return UNKNOWN;
        }
        number
    }

    #[inline]
    pub(crate) fn from_number(number: u8) -> Option<Known> {
        Known::ALL.get(number as usize).copied()
    }

    /// Framing and hop-by-hop fields: typed fields of a message, never entries of its head.
    pub const fn is_reserved(self) -> bool {
        Known::is_reserved_number(self as u8)
    }

    /// The same by number; [`UNKNOWN`] is not reserved.
    #[inline(always)]
    pub(crate) const fn is_reserved_number(number: u8) -> bool {
        number < RESERVED
    }
}

/// Compares all of a name, for those of which the ends are not all.
fn is_named(number: u8, name: &[u8]) -> bool {
    Known::from_number(number).is_some_and(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()))
}

/// A field name made from configuration or at compile time. It is written in the spelling it was
/// given and compared without regard to case (RFC 9110 section 5.1).
#[derive(Clone)]
pub struct Name {
    known: Option<Known>,
    text: Cow<'static, str>,
}

impl Name {
    /// The name in its canonical spelling.
    pub const fn known(known: Known) -> Name {
        Name { known: Some(known), text: Cow::Borrowed(known.as_str()) }
    }

    /// Reads a name as a user wrote it.
    ///
    /// # Errors
    /// When it is empty, longer than 65,535 bytes or holds anything but token characters.
    pub fn parse(text: &str) -> Result<Name, InvalidName> {
        if !chars::is_token(text.as_bytes()) || text.len() > u16::MAX as usize {
            return Err(InvalidName);
        }
        Ok(Name { known: Known::lookup(text.as_bytes()), text: Cow::Owned(text.into()) })
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Which known name it is.
    #[inline]
    pub fn as_known(&self) -> Option<Known> {
        self.known
    }

    /// Whether the field is a typed field of the message and can never be an entry of a [`crate::Head`].
    pub fn is_reserved(&self) -> bool {
        self.known.is_some_and(Known::is_reserved)
    }
}

impl From<Known> for Name {
    fn from(known: Known) -> Name {
        Name::known(known)
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Name, InvalidName> {
        Name::parse(text)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        match (self.known, other.known) {
            (None, None) => self.text.eq_ignore_ascii_case(&other.text),
            (a, b) => a == b,
        }
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.bytes().for_each(|b| state.write_u8(b.to_ascii_lowercase()));
        state.write_u8(0xff);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_every_case() {
        for (i, &known) in Known::ALL.iter().enumerate() {
            assert_eq!(known as usize, i);
            let text = known.as_str();
            for spelling in [text.to_string(), text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
                assert_eq!(Known::lookup(spelling.as_bytes()), Some(known), "{spelling}");
            }
        }
    }

    #[test]
    fn no_other_byte_passes_for_one_of_a_known_name() {
        for &known in Known::ALL {
            let text = known.as_str().as_bytes();
            for at in 0..text.len() {
                for byte in 0..=255u8 {
                    let mut other = text.to_vec();
                    other[at] = byte;
                    let expected = other.eq_ignore_ascii_case(text);
                    assert_eq!(Known::lookup(&other) == Some(known), expected, "{other:?}");
                }
            }
            assert_eq!(Known::lookup(&text[..text.len() - 1]).filter(|k| *k == known), None);
            assert_eq!(Known::lookup(&[text, b"x"].concat()), None);
        }
        assert_eq!(Known::lookup(b""), None);
        assert_eq!(Known::lookup(b"x"), None);
    }

    #[test]
    fn reserved_names_are_those_of_framing_and_the_connection() {
        let reserved: Vec<&str> =
            Known::ALL.iter().filter(|known| known.is_reserved()).map(|known| known.as_str()).collect();
        assert_eq!(
            reserved,
            [
                "Connection",
                "Content-Length",
                "Expect",
                "Host",
                "Keep-Alive",
                "Proxy-Connection",
                "TE",
                "Trailer",
                "Transfer-Encoding",
                "Upgrade"
            ]
        );
        assert!(!Known::is_reserved_number(UNKNOWN));
    }

    #[test]
    fn names_keep_their_spelling_and_compare_without_case() {
        let name = Name::parse("x-request-ID").unwrap();
        assert_eq!(name.as_str(), "x-request-ID");
        assert_eq!(name.as_known(), Some(Known::XRequestId));
        assert_eq!(name, Name::known(Known::XRequestId));
        assert_eq!(Name::parse("X-Foo").unwrap(), Name::parse("x-fOO").unwrap());
        assert_ne!(Name::parse("X-Foo").unwrap(), Name::parse("X-Fo").unwrap());
        for bad in ["", " ", "a b", "a:", "a\r", "ä", "a\0", "(x)"] {
            assert_eq!(Name::parse(bad).err(), Some(InvalidName), "{bad:?}");
        }
    }
}
