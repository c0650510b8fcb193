//! The small words of a message: method, version, scheme, framing.
//! Plain data; parsing of whole lines happens in `h1`.

use crate::chars;

/// A request method (RFC 9110 section 9). Methods are case-sensitive: `get` is `Other("get")`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Connect,
    Trace,
    /// Any other token, as it was sent.
    Other(Box<str>),
}

impl Method {
    /// Bytes of the longest method that is accepted.
    pub const MAX_BYTES: usize = 32;

    /// The method as it is written on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Patch => "PATCH",
            Method::Options => "OPTIONS",
            Method::Connect => "CONNECT",
            Method::Trace => "TRACE",
            Method::Other(text) => text,
        }
    }

    /// Reads a method: token characters only, at most [`Method::MAX_BYTES`]; else `None`.
    pub fn from_bytes(bytes: &[u8]) -> Option<Method> {
        Some(match bytes {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"PATCH" => Method::Patch,
            b"OPTIONS" => Method::Options,
            b"CONNECT" => Method::Connect,
            b"TRACE" => Method::Trace,
            other => {
                if other.len() > Method::MAX_BYTES || !chars::is_token(other) {
                    return None;
                }
                Method::Other(std::str::from_utf8(other).ok()?.into())
            }
        })
    }

    /// Whether sending it twice means the same as sending it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }

    /// Whether it only reads (RFC 9110 section 9.2.1).
    pub fn is_safe(&self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }

    /// Whether a request without a body says so with `Content-Length: 0` (RFC 9110 section 8.6).
    pub(crate) fn expects_body(&self) -> bool {
        matches!(self, Method::Post | Method::Put | Method::Patch)
    }
}

/// The protocol version that a message was received in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// The scheme of a request's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that is meant when none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// How the end of a body is known (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// No body.
    #[default]
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// Length not known beforehand: chunks on HTTP/1.1, frames on HTTP/2.
    Chunked,
    /// Up to the end of the connection; responses only.
    UntilClose,
}
