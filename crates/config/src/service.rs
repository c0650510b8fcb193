//! Services: where their instances are, how they are spoken to and for how long.

use crate::bounds::ServiceBounds;
use crate::tls::ServiceTls;
use crate::url::{HostPort, ServiceUrl, is_host};
use narthex_document::{Node, Spanned, Time, Value, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;

/// A named service: one address or several.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Scheme, host and port. A DNS name may stand for several instances. Either this or `instances`.
    #[serde(default)]
    pub url: Option<Spanned<ServiceUrl>>,
    /// The instances: urls, or `{ address: url, weight: 1 }`.
    #[serde(default)]
    pub instances: Vec<Spanned<Instance>>,
    /// How an instance is chosen. Default: `round_robin`.
    #[serde(default)]
    pub balance: Balance,
    /// The protocol, where the scheme leaves it open. Default: as the scheme says, `http1` for `http://` and `https://`.
    #[serde(default)]
    pub protocol: Option<Spanned<Protocol>>,
    /// How TLS is spoken, for `https://` and `grpcs://`.
    #[serde(default)]
    pub tls: Option<Spanned<ServiceTls>>,
    /// Which `Host` the service sees: `keep` (the client's), `service` (the url's) or a name. Default: `service`.
    #[serde(default)]
    pub host: HostRule,
    /// How long each step may take.
    #[serde(default)]
    pub timeouts: ServiceTimeouts,
    /// Connections to the service, of all workers. Default: no maximum.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_connections: Option<std::num::NonZeroU32>,
    /// Requests in flight to the service, of all workers. Default: no maximum.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_requests: Option<std::num::NonZeroU32>,
    /// How DNS names are looked up.
    #[serde(default)]
    pub dns: Dns,
    /// Active health checks. Default: none.
    #[serde(default)]
    pub health: Option<Health>,
    /// The path of a `.proto` file or a descriptor set, relative to the configuration, for gRPC methods.
    #[serde(default)]
    pub proto: Option<Spanned<String>>,
    /// What its answers may cost.
    #[serde(default)]
    pub bounds: ServiceBounds,
}

/// One address of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Where it is.
    pub address: ServiceUrl,
    /// Its share of the requests, 0 (none) to 65535. Default: 1.
    pub weight: u16,
}

/// How an instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The less busy of two chosen at random.
    LeastRequest,
}

/// The protocol spoken to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 on plain TCP, with prior knowledge.
    H2c,
    /// HTTP/2: with prior knowledge on plain TCP, by ALPN on TLS.
    Http2,
    /// What the instance chooses by ALPN, HTTP/2 preferred. TLS only.
    Auto,
}

/// Which `Host` a service sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostRule {
    /// The client's.
    Keep,
    /// The one of the service's url.
    #[default]
    Service,
    /// This one.
    Name(String),
}

/// How long each step to a service may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceTimeouts {
    /// To connect. Default: `1s`.
    pub connect: Time,
    /// For the TLS handshake. Default: `2s`.
    pub tls: Time,
    /// From the whole request sent to the first byte of the response. Default: `5s`.
    pub first_byte: Time,
    /// Between two reads of the response's body; of server-sent events, `tunnel_idle` if that is longer. Default: `60s`.
    pub idle: Time,
    /// That the service may take nothing of the request. Default: `60s`.
    pub write: Time,
    /// That a WebSocket may carry nothing, in both directions, and that server-sent events may not come. Default: `1h`.
    pub tunnel_idle: Time,
}

impl Default for ServiceTimeouts {
    fn default() -> Self {
        ServiceTimeouts {
            connect: Time::from_secs(1),
            tls: Time::from_secs(2),
            first_byte: Time::from_secs(5),
            idle: Time::from_secs(60),
            write: Time::from_secs(60),
            tunnel_idle: Time::from_secs(3_600),
        }
    }
}

/// How a service's DNS name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Answers are kept at least so long, whatever their TTL says. Default: `1s`.
    pub min_ttl: Time,
    /// Answers are kept at most so long. Default: `5m`.
    pub max_ttl: Time,
    /// Time for one look-up. Default: `5s`.
    pub timeout: Time,
    /// The DNS server to ask, such as `127.0.0.1:53`. Default: the system's.
    pub server: Option<HostPort>,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            min_ttl: Time::from_secs(1),
            max_ttl: Time::from_secs(300),
            timeout: Time::from_secs(5),
            server: None,
        }
    }
}

/// Active health checks: a GET to every instance.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path that is asked. Default: `/`.
    #[serde(default = "root")]
    pub path: Spanned<String>,
    /// How often. Default: `10s`.
    #[serde(default = "ten_seconds")]
    pub every: Time,
    /// Time for one answer. Default: `1s`.
    #[serde(default = "one_second")]
    pub timeout: Time,
    /// So many good answers in a row make an instance healthy. Default: 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub healthy: std::num::NonZeroU8,
    /// So many bad ones in a row make it unhealthy. Default: 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub unhealthy: std::num::NonZeroU8,
}

fn root() -> Spanned<String> {
    Spanned::new("/".to_owned(), narthex_document::Span::NONE)
}
fn ten_seconds() -> Time {
    Time::from_secs(10)
}
fn one_second() -> Time {
    Time::from_secs(1)
}
const fn two() -> std::num::NonZeroU8 {
    std::num::NonZeroU8::new(2).expect("2 is not 0")
}
const fn three() -> std::num::NonZeroU8 {
    std::num::NonZeroU8::new(3).expect("3 is not 0")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstanceMap {
    address: ServiceUrl,
    #[serde(default = "weight_one")]
    weight: u16,
}

fn weight_one() -> u16 {
    1
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        match &node.value {
            Value::Map(_) => {
                let map: InstanceMap = read(&node)?;
                Ok(Instance { address: map.address, weight: map.weight })
            }
            _ => Ok(Instance { address: read(&node)?, weight: 1 }),
        }
    }
}

impl JsonSchema for Instance {
    fn schema_name() -> Cow<'static, str> {
        "Instance".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let url = generator.subschema_for::<ServiceUrl>();
        json_schema!({
            "description": "A url, or `{ address: url, weight: 1 }`.",
            "anyOf": [
                url,
                {
                    "type": "object",
                    "properties": { "address": url, "weight": { "type": "integer", "minimum": 0, "maximum": 65535 } },
                    "required": ["address"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

impl<'de> Deserialize<'de> for HostRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "keep" => Ok(HostRule::Keep),
            "service" => Ok(HostRule::Service),
            name => {
                let (host, port) = name.split_once(':').unwrap_or((name, "80"));
                if is_host(host) && port.parse::<u16>().is_ok() {
                    return Ok(HostRule::Name(text));
                }
                Err(D::Error::custom(format_args!(
                    "`{name}` is not a host\nhelp: write `keep` (the client's), `service` (the url's) or a host name"
                )))
            }
        }
    }
}

impl JsonSchema for HostRule {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "HostRule".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Service {
    /// Whether it has no HTTP: only listeners that pass connections through may name it.
    pub fn is_raw(&self) -> bool {
        let first = self.url.as_ref().map(|url| url.scheme);
        let scheme = first.or_else(|| self.instances.first().map(|instance| instance.address.scheme));
        scheme == Some(crate::url::Scheme::Tcp)
    }

    /// Every instance as written: `url`, or the list.
    pub fn addresses(&self) -> Vec<Spanned<Instance>> {
        let url = self.url.iter().map(|url| url.clone().map(|address| Instance { address, weight: 1 }));
        url.chain(self.instances.iter().cloned()).collect()
    }
}
