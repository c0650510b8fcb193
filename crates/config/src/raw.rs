//! Listeners without HTTP: raw TCP, and TLS that passes through undecrypted.

use crate::url::is_host;
use narthex_document::{Name, Spanned, Table, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::{Borrow, Cow};

/// Where the connections of a raw TCP listener go.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// The service. Its instances are tried in turn, up to three.
    pub to: Spanned<Name>,
    /// How long a connection may carry nothing, in both directions. Default: `1h`.
    #[serde(default = "one_hour")]
    pub idle: Time,
    /// Tell the service who the client is: `v1` or `v2` of the PROXY protocol. Default: no.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Where TLS connections go, by the name that the client asks for (SNI).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsPassthrough {
    /// Services by host name: `shop.example`, `*.shop.example` for one or more labels in front, `*` for all others and
    /// for clients that name nobody. The exact name wins, then the longest pattern. Without `*`, others are refused.
    pub to: Table<ServerName, Spanned<Name>>,
    /// How long a connection may carry nothing, in both directions. Default: `1h`.
    #[serde(default = "one_hour")]
    pub idle: Time,
    /// Tell the service who the client is: `v1` or `v2` of the PROXY protocol. Default: no.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A host name in lower case, `*.` and one, or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerName(pub String);

impl Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn one_hour() -> Time {
    Time::from_secs(3_600)
}

impl<'de> Deserialize<'de> for ServerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let lower = text.to_ascii_lowercase();
        if lower == "*" || is_host(lower.strip_prefix("*.").unwrap_or(&lower)) {
            return Ok(ServerName(lower));
        }
        Err(D::Error::custom(format_args!(
            "`{text}` is not a host\nhelp: write a host name as in shop.example, \"*.shop.example\", or \"*\" for all others"
        )))
    }
}

impl JsonSchema for ServerName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ServerName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(\\*|(\\*\\.)?[A-Za-z0-9_.-]+)$" })
    }
}
