//! Heads as `h2` has them and as the gateway has them, both ways; what is no valid head is refused here.

use std::sync::LazyLock;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use narthex_wire::{
    Framing, Head, Known, Limits, Method, ParseError, RequestHead, ResponseHead, Scheme, Version,
};

use super::WEBSOCKET;

/// The bounds that `h2` does not hold: it counts the bytes of a field list only.
pub fn within(parts: &http::request::Parts, limits: &Limits) -> Result<(), ParseError> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target {
        return Err(ParseError::TargetTooLong);
    }
    if parts.headers.len() > limits.fields {
        return Err(ParseError::TooManyFields);
    }
    // As RFC 9113 6.5.2 counts them.
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if bytes > limits.head_bytes { Err(ParseError::HeadTooLarge) } else { Ok(()) }
}

pub fn read_request(
    parts: &http::request::Parts,
    ended: bool,
    request: &mut RequestHead,
) -> Result<(), ParseError> {
    let method = Method::from_bytes(parts.method.as_str().as_bytes()).ok_or(ParseError::InvalidMethod)?;
    request.version = Version::Http2;
    let hosts: Vec<_> = parts.headers.get_all(http::header::HOST).iter().collect();
    let authority = match (parts.uri.authority(), hosts.as_slice()) {
        (Some(authority), []) => authority.as_str(),
        (Some(authority), [host]) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            authority.as_str()
        }
        (None, [host]) => host.to_str().map_err(|_| ParseError::InvalidHost)?,
        (None, []) => return Err(ParseError::MissingHost),
        _ => return Err(ParseError::ConflictingHost),
    };
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    if method == Method::Connect && protocol.is_none() {
        request.set_connect(authority).map_err(|_| ParseError::InvalidHost)?;
    } else {
        let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // An extended CONNECT asks for what GET with an upgrade asks for in HTTP/1.1 (RFC 8441 5).
        let method = if protocol.is_some() { Method::Get } else { method };
        request.set_target(method, target).map_err(|_| ParseError::InvalidTarget)?;
        request.set_authority(authority).map_err(|_| ParseError::InvalidHost)?;
    }
    let length = content_length(&parts.headers)?;
    request.framing = if ended { Framing::None } else { length.map_or(Framing::Chunked, Framing::Length) };
    if let Some(protocol) = protocol {
        request.framing = Framing::None;
        request.set_upgrade(Some(protocol.as_str().as_bytes())).map_err(|_| ParseError::InvalidValue)?;
    }
    request.te_trailers = parts.headers.get(http::header::TE).is_some_and(|te| te == "trailers");
    for expected in parts.headers.get_all(http::header::EXPECT) {
        if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(ParseError::UnknownExpectation);
        }
        request.expect_continue = true;
    }
    read_fields(&parts.headers, &mut request.head)
}

pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ParseError> {
    let mut values = headers.get_all(http::header::CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let digits = value.as_bytes();
            let is_number = !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
            let text = value.to_str().ok().filter(|_| is_number);
            text.and_then(|text| text.parse().ok()).map(Some).ok_or(ParseError::InvalidContentLength)
        }
        _ => Err(ParseError::RepeatedContentLength),
    }
}

/// Every field that is not typed; cookie crumbs are joined (RFC 9113 8.2.3).
pub fn read_fields(headers: &HeaderMap, head: &mut Head) -> Result<(), ParseError> {
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in headers {
        if *name == http::header::COOKIE {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else if !is_typed(name) {
            head.append_raw(name.as_str().as_bytes(), value.as_bytes())
                .map_err(|_| ParseError::InvalidValue)?;
        }
    }
    if !cookies.is_empty() {
        head.append_raw(b"cookie", &cookies).map_err(|_| ParseError::InvalidValue)?;
    }
    Ok(())
}

pub fn read_trailers(headers: &HeaderMap) -> Head {
    let mut head = Head::new();
    for (name, value) in headers {
        // A field that may not stand in a trailer is dropped (RFC 9110 6.5.1).
        let _ = head.append_raw(name.as_str().as_bytes(), value.as_bytes());
    }
    head
}

fn is_typed(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-length" | "host" | "te" | "expect" | "trailer")
        || Known::lookup(name.as_str().as_bytes()).is_some_and(Known::is_reserved)
}

pub fn write_request(head: &RequestHead) -> Option<http::Request<()>> {
    let uri = if head.is_authority_form() {
        http::Uri::builder().authority(head.authority()).build().ok()?
    } else {
        let target = match head.query() {
            _ if head.is_asterisk() => "*".to_owned(),
            Some(query) => format!("{}?{query}", head.path()),
            None => head.path().to_owned(),
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(match head.scheme {
            Scheme::Http => http::uri::Scheme::HTTP,
            Scheme::Https => http::uri::Scheme::HTTPS,
        });
        parts.authority = Some(head.authority().parse().ok()?);
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()?);
        http::Uri::from_parts(parts).ok()?
    };
    let mut message = http::Request::new(());
    *message.method_mut() = http::Method::from_bytes(head.method.as_str().as_bytes()).ok()?;
    *message.uri_mut() = uri;
    *message.version_mut() = http::Version::HTTP_2;
    *message.headers_mut() = write_fields(&head.head);
    if head.upgrade().is_some() {
        // RFC 8441 5: the stream does what the key and its answer prove in HTTP/1.1.
        *message.method_mut() = http::Method::CONNECT;
        message.extensions_mut().insert(h2::ext::Protocol::from_static(WEBSOCKET));
        message.headers_mut().remove(http::header::SEC_WEBSOCKET_KEY);
    }
    if let Framing::Length(length) = head.framing {
        message.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if head.te_trailers {
        message.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    if head.expect_continue {
        message.headers_mut().insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    Some(message)
}

pub fn write_response(head: &ResponseHead) -> Option<http::Response<()>> {
    let mut message = http::Response::new(());
    *message.status_mut() = http::StatusCode::from_u16(head.status).ok()?;
    *message.headers_mut() = write_fields(&head.head);
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        _ => head.declared_length,
    };
    if let Some(length) = length.filter(|_| head.status >= 200 && head.status != 204) {
        message.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(message)
}

pub fn write_fields(head: &Head) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(head.len() + 2);
    for field in head.iter() {
        let name = match field.known {
            Some(known) => NAMES.get(known as usize).cloned(),
            None => HeaderName::from_bytes(field.name).ok(),
        };
        // `Head` holds only valid names and values; a name that HTTP/2 forbids is typed, never an entry.
        if let (Some(name), Ok(mut value)) = (name, HeaderValue::from_bytes(field.value)) {
            // What never comes again would drive what does out of the table (RFC 7541 7.1.3).
            value.set_sensitive(matches!(field.known, Some(Known::XRequestId | Known::Traceparent)));
            headers.append(name, value);
        }
    }
    headers
}

/// The known names by their numbers: looking one up by its text costs more than all else of a field.
static NAMES: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    let name = |known: &Known| HeaderName::from_bytes(known.as_str().as_bytes()).expect("they are tokens");
    Known::ALL.iter().map(name).collect()
});
