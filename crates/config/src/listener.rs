//! Listeners: addresses, TLS, protocols, who is trusted in front of them.

use crate::bounds::Bounds;
use crate::raw::{Tcp, TlsPassthrough};
use crate::tls::{Certificate, ListenerTls};
use crate::url::HostPort;
use narthex_document::Spanned;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;
use std::net::IpAddr;

/// An address that clients connect to.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where: `:443` or an IP address and a port.
    pub address: Spanned<HostPort>,
    /// Certificates, chosen by the name that the client asks for (SNI). Default: none, plain TCP.
    #[serde(default)]
    pub certificates: Vec<Spanned<Certificate>>,
    /// How TLS is spoken. Needs `certificates`.
    #[serde(default)]
    pub tls: Option<Spanned<ListenerTls>>,
    /// Answers every request with 308 to `https://` at this port, usually 443: same host, path and query. Default: none.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub redirect_to_https: Option<Spanned<std::num::NonZeroU16>>,
    /// Every connection goes on to a service as it is, whatever it speaks. No gateway answers on such a listener.
    #[serde(default)]
    pub tcp: Option<Spanned<Tcp>>,
    /// TLS goes on undecrypted, to the service that stands for the name that the client asks for. No gateway answers on
    /// such a listener.
    #[serde(default)]
    pub tls_passthrough: Option<Spanned<TlsPassthrough>>,
    /// Which protocols are spoken. Default: `[http1, http2]`.
    #[serde(default = "both")]
    pub http: Vec<Spanned<HttpVersion>>,
    /// How many proxies stand in front: so many entries from the right of `X-Forwarded-For` are believed. Default: 0.
    #[serde(default)]
    pub trusted_hops: u8,
    /// Addresses or networks whose `X-Forwarded-*` and `Forwarded` are believed, such as `10.0.0.0/8`. Default: none.
    #[serde(default)]
    pub trusted_proxies: Vec<Spanned<TrustedProxy>>,
    /// Balancers in front that begin each connection with a header of the PROXY protocol (version 1 or 2): the client that it
    /// names is the client in everything. Default: nobody does.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyFrom>,
    /// Which fields tell services who the client is. Default: `x_forwarded`.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// Tell services of the client's verified certificate in `X-Forwarded-Client-Cert` (`Hash`, `Subject`, `URI`, `DNS`). What
    /// clients themselves write there is removed either way. Default: `false`.
    #[serde(default)]
    pub forward_client_cert: bool,
    /// Whether a client that has closed its sending side still gets its answer. Default: false, it aborts.
    #[serde(default)]
    pub half_close: bool,
    /// What clients may cost.
    #[serde(default)]
    pub bounds: Bounds,
}

/// Who speaks the PROXY protocol to a listener.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyFrom {
    /// Addresses or networks of balancers, such as `10.0.0.0/8`. Each connection from there must begin with the header and is
    /// closed otherwise; from anywhere else a header is a malformed request.
    pub from: Vec<Spanned<TrustedProxy>>,
}

/// Which fields tell services who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forwarded {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// Those, and `Forwarded` (RFC 7239).
    Both,
}

/// A protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HttpVersion {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN on TLS, with prior knowledge on plain TCP.
    Http2,
}

/// An IP network, such as `10.0.0.0/8` or `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrustedProxy {
    /// The network's address.
    pub ip: IpAddr,
    /// How many leading bits count: up to 32 or 128.
    pub bits: u8,
}

fn both() -> Vec<Spanned<HttpVersion>> {
    let no_place = narthex_document::Span::NONE;
    vec![Spanned::new(HttpVersion::Http1, no_place), Spanned::new(HttpVersion::Http2, no_place)]
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            D::Error::custom(format_args!(
                "`{text}` is not an IP address or network\nhelp: write it as in 10.0.0.0/8, 192.0.2.7 or fd00::/8"
            ))
        };
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text.as_str(), None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(wrong()) } else { Ok(TrustedProxy { ip, bits }) }
    }
}

impl JsonSchema for TrustedProxy {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An IP address or network: 10.0.0.0/8, 192.0.2.7, fd00::/8.",
            "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"
        })
    }
}
