//! Field names: about seventy known ones are one byte, all others are text.
//! Look-up is by length and a compile-time hash; nothing here allocates on the request path.

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
        }
    };
}

known! {
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
    Connection = "Connection",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLength = "Content-Length",
    ContentLocation = "Content-Location",
    ContentRange = "Content-Range",
    ContentType = "Content-Type",
    Cookie = "Cookie",
    Date = "Date",
    ETag = "ETag",
    Expect = "Expect",
    Expires = "Expires",
    Forwarded = "Forwarded",
    GrpcMessage = "Grpc-Message",
    GrpcStatus = "Grpc-Status",
    GrpcTimeout = "Grpc-Timeout",
    Host = "Host",
    IdempotencyKey = "Idempotency-Key",
    IfMatch = "If-Match",
    IfModifiedSince = "If-Modified-Since",
    IfNoneMatch = "If-None-Match",
    IfRange = "If-Range",
    IfUnmodifiedSince = "If-Unmodified-Since",
    KeepAlive = "Keep-Alive",
    LastModified = "Last-Modified",
    Link = "Link",
    Location = "Location",
    Origin = "Origin",
    Pragma = "Pragma",
    ProxyConnection = "Proxy-Connection",
    Range = "Range",
    RateLimit = "RateLimit",
    RateLimitPolicy = "RateLimit-Policy",
    Referer = "Referer",
    RetryAfter = "Retry-After",
    Server = "Server",
    SetCookie = "Set-Cookie",
    StrictTransportSecurity = "Strict-Transport-Security",
    Te = "TE",
    Traceparent = "Traceparent",
    Tracestate = "Tracestate",
    Trailer = "Trailer",
    TransferEncoding = "Transfer-Encoding",
    Upgrade = "Upgrade",
    UserAgent = "User-Agent",
    Vary = "Vary",
    Via = "Via",
    WwwAuthenticate = "WWW-Authenticate",
    XApiKey = "X-Api-Key",
    XCorrelationId = "X-Correlation-Id",
    XForwardedFor = "X-Forwarded-For",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    XForwardedProto = "X-Forwarded-Proto",
    XRealIp = "X-Real-Ip",
    XRequestId = "X-Request-Id",
}

/// Bytes of the longest known name.
const LONGEST: usize = 32;
const SLOTS: usize = 512;
/// In the slot table: no name here.
const EMPTY: u8 = u8::MAX;

/// A known name prepared for comparing eight bytes at a time: `bytes | masks == words`. A mask has
/// 0x20 only where the name has a letter, so that nothing but the other case of it is let through.
#[derive(Clone, Copy)]
struct Pattern {
    len: u8,
    words: [u64; 4],
    masks: [u64; 4],
}

struct Table {
    factor: u32,
    slots: [u8; SLOTS],
    patterns: [Pattern; Known::ALL.len()],
}

static TABLE: Table = build();

const fn slot(name: &[u8], factor: u32) -> usize {
    let len = name.len();
    let key = (name[0] | 0x20) as u32
        | ((name[len / 2] | 0x20) as u32) << 8
        | ((name[len - 2] | 0x20) as u32) << 16
        | ((name[len - 1] | 0x20) as u32) << 24;
    ((key ^ (len as u32).wrapping_mul(0x9e37_79b1)).wrapping_mul(factor) >> 23) as usize
}

/// Where the `i`th word of a name of `len` bytes starts; the last words overlap.
const fn word_start(i: usize, len: usize) -> usize {
    if i * 8 + 8 <= len { i * 8 } else { len.saturating_sub(8) }
}

const fn build() -> Table {
    let mut patterns = [Pattern { len: 0, words: [0; 4], masks: [0; 4] }; Known::ALL.len()];
    let mut k = 0;
    while k < Known::ALL.len() {
        let name = Known::ALL[k].as_str().as_bytes();
        assert!(name.len() >= 2 && name.len() <= LONGEST);
        patterns[k].len = name.len() as u8;
        let mut i = 0;
        while i < name.len().div_ceil(8) {
            let start = word_start(i, name.len());
            let mut b = 0;
            while b < 8 && start + b < name.len() {
                let byte = name[start + b].to_ascii_lowercase();
                patterns[k].words[i] |= (byte as u64) << (8 * b);
                if byte.is_ascii_alphabetic() {
                    patterns[k].masks[i] |= 0x20 << (8 * b);
                }
                b += 1;
            }
            i += 1;
        }
        k += 1;
    }
    // A factor under which no two names share a slot: found by trying, at compile time.
    let mut factor: u32 = 0x85eb_ca6b;
    loop {
        let mut slots = [EMPTY; SLOTS];
        let mut k = 0;
        while k < Known::ALL.len() {
            let s = slot(Known::ALL[k].as_str().as_bytes(), factor);
            if slots[s] != EMPTY {
                break;
            }
            slots[s] = k as u8;
            k += 1;
        }
        if k == Known::ALL.len() {
            return Table { factor, slots, patterns };
        }
        factor = factor.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35e) | 1;
    }
}

impl Known {
    /// Finds a known name, whatever its case.
    #[inline]
    pub fn lookup(name: &[u8]) -> Option<Known> {
        if name.len() < 2 || name.len() > LONGEST {
            return None;
        }
        let index = TABLE.slots[slot(name, TABLE.factor) % SLOTS] as usize;
        let pattern = TABLE.patterns.get(index)?;
        if pattern.len as usize != name.len() || !pattern.matches(name) {
            return None;
        }
        Known::ALL.get(index).copied()
    }

    /// Framing and hop-by-hop fields: typed fields of a message, never entries of its head.
    pub const fn is_reserved(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::ContentLength
                | Known::Expect
                | Known::Host
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }
}

impl Pattern {
    #[inline]
    fn matches(&self, name: &[u8]) -> bool {
        if name.len() < 8 {
            let word = name.iter().rev().fold(0u64, |word, &b| word << 8 | b as u64);
            return word | self.masks[0] == self.words[0];
        }
        // Two words cover most names; they overlap in names of less than sixteen bytes.
        let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) else {
            return false;
        };
        let end = name.len().div_ceil(8).min(4) - 1;
        let mut differs = (u64::from_le_bytes(*first) | self.masks[0]) ^ self.words[0];
        differs |= (u64::from_le_bytes(*last) | self.masks[end]) ^ self.words[end];
        for i in 1..end {
            let Some(word) = name[i * 8..].first_chunk::<8>() else { return false };
            differs |= (u64::from_le_bytes(*word) | self.masks[i]) ^ self.words[i];
        }
        differs == 0
    }
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
