//! Variables: one typed catalogue, resolved when configuration is compiled, used by headers, keys, templates and logs.
//!
//! Reading one neither parses nor, but for decoded path captures and queries, allocates.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use narthex_wire::Name;

use crate::compile::{ReadsCaller, nearest};
use crate::{ClientCertificate, Exchange, Place};

/// A line of the reference.
#[derive(Debug)]
pub struct VariableDoc {
    pub name: &'static str,
    pub meaning: &'static str,
}

/// Every variable, for the reference and for suggestions. `x` stands for a name of the user's.
pub const VARIABLES: &[VariableDoc] = &[
    VariableDoc {
        name: "api.version",
        meaning: "the version of the API that was found, where the gateway has `versions`; nothing before routing",
    },
    VariableDoc { name: "caller.id", meaning: "who asks, as authentication found out" },
    VariableDoc { name: "caller.kind", meaning: "how they proved it" },
    VariableDoc { name: "caller.tier", meaning: "the caller's tier" },
    VariableDoc {
        name: "client.cert.fingerprint",
        meaning: "SHA-256 of the client's verified certificate, 64 hexadecimal digits",
    },
    VariableDoc {
        name: "client.cert.san",
        meaning: "its alternative names, such as `DNS:a.example,URI:spiffe://example/a`",
    },
    VariableDoc { name: "client.cert.serial", meaning: "its serial number, hexadecimal" },
    VariableDoc { name: "client.cert.spiffe", meaning: "its SPIFFE id, where it has one" },
    VariableDoc { name: "client.cert.subject", meaning: "its subject, such as `CN=shop, O=Example`" },
    VariableDoc {
        name: "client.ip",
        meaning: "the client's address, trusted hops considered; `unix:` on a Unix socket",
    },
    VariableDoc { name: "cookie.x", meaning: "the first cookie `x`" },
    VariableDoc { name: "gateway", meaning: "the gateway's name" },
    VariableDoc { name: "header.x", meaning: "the request's first header `x`" },
    VariableDoc { name: "host", meaning: "the request's host, without its port" },
    VariableDoc { name: "method", meaning: "the request's method" },
    VariableDoc { name: "path", meaning: "the normalised path" },
    VariableDoc { name: "path.x", meaning: "what the route's `{x}` captured, decoded" },
    VariableDoc { name: "query", meaning: "the query, without its `?`" },
    VariableDoc { name: "query.x", meaning: "the first query parameter `x`, decoded" },
    VariableDoc { name: "request.id", meaning: "the correlation id" },
    VariableDoc { name: "route", meaning: "the route's name" },
    VariableDoc { name: "scheme", meaning: "`http` or `https`, as the client came" },
    VariableDoc { name: "service", meaning: "the service that was asked" },
    VariableDoc { name: "tls.cipher", meaning: "the cipher suite of the client's connection" },
    VariableDoc { name: "tls.sni", meaning: "the name that the client asked for in its handshake" },
    VariableDoc { name: "tls.version", meaning: "`TLSv1.2` or `TLSv1.3`; nothing on a plain connection" },
    VariableDoc { name: "trace.id", meaning: "the trace's id, 32 hexadecimal digits" },
];

/// One resolved variable, with its fallbacks (`a ?? b`).
#[derive(Debug, Clone)]
pub struct Variable {
    sources: Vec<Source>,
}

#[derive(Debug, Clone)]
enum Source {
    ApiVersion,
    CallerId,
    CallerKind,
    CallerTier,
    CertFingerprint,
    CertSan,
    CertSerial,
    CertSpiffe,
    CertSubject,
    ClientIp,
    Cookie(Box<str>),
    Gateway,
    Header(Name),
    Host,
    Method,
    Path,
    Capture(Box<str>),
    Query,
    QueryParameter(Box<str>),
    RequestId,
    Route,
    Scheme,
    Service,
    TlsCipher,
    TlsSni,
    TlsVersion,
    TraceId,
    /// `?? "text"`
    Literal(Box<str>),
}

/// A variable that does not exist here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableError {
    pub message: String,
    pub help: String,
}

impl Variable {
    pub fn parse(text: &str, place: &Place<'_>) -> Result<Self, VariableError> {
        let sources =
            text.split("??").map(|part| parse_source(part.trim(), place)).collect::<Result<_, _>>()?;
        Ok(Self { sources })
    }

    /// The value, or `None` where the request has none (and no fallback does).
    pub fn read<'x>(&'x self, exchange: &'x Exchange) -> Option<Cow<'x, [u8]>> {
        self.sources.iter().find_map(|source| source.read(exchange))
    }

    /// Appends the value without a detour through memory of its own; says whether there was one.
    pub fn append(&self, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
        self.sources.iter().any(|source| source.append(exchange, out))
    }
}

impl ReadsCaller for Variable {
    fn needs_caller(&self) -> bool {
        self.sources
            .iter()
            .all(|source| matches!(source, Source::CallerId | Source::CallerKind | Source::CallerTier))
    }
}

fn parse_source(text: &str, place: &Place<'_>) -> Result<Source, VariableError> {
    if let Some(literal) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(Source::Literal(literal.into()));
    }
    let fixed = match text {
        "api.version" => Some(Source::ApiVersion),
        "caller.id" => Some(Source::CallerId),
        "caller.kind" => Some(Source::CallerKind),
        "caller.tier" => Some(Source::CallerTier),
        "client.cert.fingerprint" => Some(Source::CertFingerprint),
        "client.cert.san" => Some(Source::CertSan),
        "client.cert.serial" => Some(Source::CertSerial),
        "client.cert.spiffe" => Some(Source::CertSpiffe),
        "client.cert.subject" => Some(Source::CertSubject),
        "tls.cipher" => Some(Source::TlsCipher),
        "tls.sni" => Some(Source::TlsSni),
        "tls.version" => Some(Source::TlsVersion),
        "client.ip" => Some(Source::ClientIp),
        "gateway" => Some(Source::Gateway),
        "host" => Some(Source::Host),
        "method" => Some(Source::Method),
        "path" => Some(Source::Path),
        "query" => Some(Source::Query),
        "request.id" => Some(Source::RequestId),
        "route" => Some(Source::Route),
        "scheme" => Some(Source::Scheme),
        "service" => Some(Source::Service),
        "trace.id" => Some(Source::TraceId),
        _ => None,
    };
    if let Some(source) = fixed {
        return Ok(source);
    }
    match text.split_once('.') {
        Some(("cookie", name)) if is_token(name) => Ok(Source::Cookie(name.into())),
        Some(("header", name)) => Name::parse(name)
            .map(Source::Header)
            .map_err(|_| unknown(text, format!("`{name}` is not a header's name"))),
        Some(("query", name)) if !name.is_empty() => Ok(Source::QueryParameter(name.into())),
        Some(("path", name)) => parse_capture(name, place),
        _ => Err(unknown(text, format!("there is no variable `{text}`"))),
    }
}

fn parse_capture(name: &str, place: &Place<'_>) -> Result<Source, VariableError> {
    match place {
        Place::Route { route, captures, .. } if !captures.iter().any(|known| known == name) => {
            Err(VariableError {
                message: format!("route `{route}` captures no `{{{name}}}`"),
                help: match nearest(name, captures.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `path.{near}`?"),
                    None if captures.is_empty() => {
                        "its path captures nothing: write `{name}` in `match`".into()
                    }
                    None => format!("its path captures: {}", captures.join(", ")),
                },
            })
        }
        _ => Ok(Source::Capture(name.into())),
    }
}

fn unknown(text: &str, message: String) -> VariableError {
    let near = nearest(text, VARIABLES.iter().map(|doc| doc.name));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let names: Vec<_> = VARIABLES.iter().map(|doc| doc.name).collect();
            format!("variables are: {}", names.join(", "))
        }
    };
    VariableError { message, help }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte))
}

impl Source {
    fn read<'x>(&'x self, exchange: &'x Exchange) -> Option<Cow<'x, [u8]>> {
        let caller = exchange.caller.as_deref();
        let label = exchange.label.as_deref();
        let text: &str = match self {
            Self::ApiVersion => exchange.api_version.as_deref()?,
            Self::CallerId => &caller?.id,
            Self::CallerKind => &caller?.kind,
            Self::CallerTier => caller?.tier.as_deref()?,
            Self::CertFingerprint => &certificate(exchange)?.fingerprint,
            Self::CertSan => &certificate(exchange)?.san,
            Self::CertSerial => &certificate(exchange)?.serial,
            Self::CertSpiffe => certificate(exchange)?.spiffe.as_deref()?,
            Self::CertSubject => &certificate(exchange)?.subject,
            Self::TlsCipher => exchange.tls.as_deref()?.cipher,
            Self::TlsSni => exchange.tls.as_deref()?.sni.as_deref()?,
            Self::TlsVersion => exchange.tls.as_deref()?.version,
            Self::Gateway => &label?.gateway,
            Self::Route => &label?.route,
            Self::Service => exchange.service.as_deref()?,
            Self::Host => &exchange.host,
            Self::Method => exchange.request.method.as_str(),
            Self::Path => &exchange.path,
            Self::Query => exchange.request.query()?,
            Self::RequestId => &exchange.request_id,
            Self::Scheme => exchange.scheme(),
            Self::Literal(text) => text,
            Self::Header(name) => return exchange.request.head.get(name).map(Cow::Borrowed),
            Self::Cookie(name) => return cookie(exchange, name).map(Cow::Borrowed),
            Self::ClientIp if exchange.client.is_unix => "unix:",
            Self::ClientIp => return Some(ip_text(exchange.client.ip)),
            Self::TraceId => return Some(Cow::Owned(exchange.trace.trace_id_hex().to_vec())),
            Self::Capture(name) => {
                return exchange.captures.raw(&exchange.path, name).map(|raw| decode(raw.as_bytes(), false));
            }
            Self::QueryParameter(name) => return query_parameter(exchange.request.query()?, name),
        };
        Some(Cow::Borrowed(text.as_bytes()))
    }

    fn append(&self, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
        match self {
            Self::ClientIp => {
                match exchange.client.is_unix {
                    true => out.extend_from_slice(b"unix:"),
                    false => write!(out, "{}", exchange.client.ip).expect("writing to a Vec cannot fail"),
                }
                true
            }
            Self::TraceId => {
                out.extend_from_slice(&exchange.trace.trace_id_hex());
                true
            }
            _ => self.read(exchange).map(|value| out.extend_from_slice(&value)).is_some(),
        }
    }
}

fn certificate(exchange: &Exchange) -> Option<&ClientCertificate> {
    exchange.tls.as_deref()?.client.as_ref()
}

fn ip_text(ip: std::net::IpAddr) -> Cow<'static, [u8]> {
    let mut text = Vec::with_capacity(40);
    write!(text, "{ip}").expect("writing to a Vec cannot fail");
    Cow::Owned(text)
}

fn cookie<'x>(exchange: &'x Exchange, name: &str) -> Option<&'x [u8]> {
    let fields = exchange.request.head.all_str("cookie");
    fields.flat_map(|field| field.split(|byte| *byte == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let rest = pair.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

fn query_parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*decode(key.as_bytes(), true) == *name.as_bytes()).then(|| decode(value.as_bytes(), true))
    })
}

/// Percent-decodes once; `plus`: `+` is a space (queries).
fn decode(text: &[u8], plus: bool) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| *byte == b'%' || (plus && *byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2)).flatten().and_then(hex_pair);
        rest = match escaped {
            Some(decoded) => {
                out.push(decoded);
                &after[2..]
            }
            None => {
                out.push(if plus && byte == b'+' { b' ' } else { byte });
                after
            }
        };
    }
    Cow::Owned(out)
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|text| !text.starts_with('+'))?, 16).ok()
}

/// Text with `{variable}` placeholders, compiled.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Arc<str>),
    Variable(Variable),
}

impl Template {
    /// `{{` and `}}` are braces.
    pub fn parse(text: &str, place: &Place<'_>) -> Result<Self, VariableError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(doubled) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = doubled;
                continue;
            }
            let end = after.find('}').filter(|_| brace == "{").ok_or_else(|| VariableError {
                message: format!("`{text}` has a lone `{brace}`"),
                help: format!("write a variable as `{{client.ip}}`, and a brace itself as `{brace}{brace}`"),
            })?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Variable(Variable::parse(after[..end].trim(), place)?));
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { parts })
    }

    /// The text itself, where there is no placeholder.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text; a variable without a value gives nothing.
    pub fn render(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => {
                    variable.append(exchange, out);
                }
            }
        }
    }

    /// As [`Template::render`], but each value goes through `escape`; the text in between is kept as written.
    pub fn render_escaped(&self, exchange: &Exchange, out: &mut Vec<u8>, escape: fn(&[u8], &mut Vec<u8>)) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => {
                    if let Some(value) = variable.read(exchange) {
                        escape(&value, out);
                    }
                }
            }
        }
    }
}

impl ReadsCaller for Template {
    fn needs_caller(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Variable(variable) if variable.needs_caller()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Place<'static> = Place::Gateway("g");

    fn rendered(text: &str, exchange: &Exchange) -> String {
        let mut out = Vec::new();
        Template::parse(text, &ROUTE).unwrap().render(exchange, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn renders_text_variables_fallbacks_and_braces() {
        let exchange = Exchange { path: "/a".into(), request_id: "r1".into(), ..Exchange::default() };
        assert_eq!(rendered("p={path} id={request.id} {{x}}", &exchange), "p=/a id=r1 {x}");
        assert_eq!(rendered("{caller.id ?? client.ip}", &exchange), "0.0.0.0");
        assert_eq!(rendered("{caller.id ?? \"nobody\"}", &exchange), "nobody");
        assert_eq!(rendered("", &exchange), "");
    }

    #[test]
    fn escapes_values_and_not_the_text_around_them() {
        let exchange = Exchange { path: "/a".into(), ..Exchange::default() };
        let mut out = Vec::new();
        let template = Template::parse("a={path}&{client.ip}", &ROUTE).unwrap();
        template.render_escaped(&exchange, &mut out, |value, out| {
            out.extend(value.iter().map(|byte| if byte.is_ascii_alphanumeric() { *byte } else { b'_' }));
        });
        assert_eq!(out, b"a=_a&0_0_0_0");
    }

    #[test]
    fn appending_and_reading_agree() {
        let exchange = Exchange { path: "/a".into(), ..Exchange::default() };
        for text in ["client.ip", "trace.id", "path", "caller.id", "caller.id ?? client.ip", "query"] {
            let variable = Variable::parse(text, &ROUTE).unwrap();
            let mut out = Vec::new();
            let has_value = variable.append(&exchange, &mut out);
            assert_eq!(has_value.then_some(out), variable.read(&exchange).map(Cow::into_owned), "{text}");
        }
    }

    #[test]
    fn an_unknown_variable_gets_a_suggestion() {
        let error = Variable::parse("client.op", &ROUTE).unwrap_err();
        assert_eq!(error.help, "did you mean `client.ip`?");
        assert!(Template::parse("{path", &ROUTE).is_err());
        assert!(Template::parse("path}", &ROUTE).is_err());
    }

    #[test]
    fn a_capture_must_exist_in_the_route() {
        let captures = ["id".to_owned()];
        let place = Place::Route { gateway: "g", route: "r", captures: &captures };
        assert!(Variable::parse("path.id", &place).is_ok());
        assert_eq!(Variable::parse("path.ix", &place).unwrap_err().help, "did you mean `path.id`?");
    }

    #[test]
    fn decodes_once() {
        assert_eq!(&*decode(b"a%252e+b", true), b"a%2e b");
        assert_eq!(&*decode(b"%zz%4", false), b"%zz%4");
    }
}
