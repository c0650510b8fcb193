//! Services: where their instances are, how they are spoken to and for how long.

use crate::balance::{Balance, Subset};
use crate::bounds::ServiceBounds;
use crate::health::{Health, Outliers};
use crate::tls::ServiceTls;
use crate::url::{HostPort, ServiceUrl, is_host};
use narthex_document::{Node, Percent, Spanned, Time, Value, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A named service: one address or several.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Scheme, host and port. A DNS name may stand for several instances. Either this or `instances`.
    #[serde(default)]
    pub url: Option<Spanned<ServiceUrl>>,
    /// The instances: urls, or `{ address: url, weight: 1, priority: 0, zone: name, labels: {} }`.
    #[serde(default)]
    pub instances: Vec<Spanned<Instance>>,
    /// How an instance is chosen. Default: `round_robin`.
    #[serde(default)]
    pub balance: Spanned<Balance>,
    /// Which instances a request may go to, by a header and their labels. Default: all.
    #[serde(default)]
    pub subset: Option<Subset>,
    /// How long an instance takes to its full share of the requests, from a tenth of it on, after it has come or come back.
    /// Default: none.
    #[serde(default)]
    pub slow_start: Option<Time>,
    /// With a smaller share of usable instances all are used, since a few could not carry it all; `0%`: never, and
    /// without a usable one the answer is 503. Default: `50%`.
    #[serde(default)]
    pub panic_below: Option<Percent>,
    /// With a smaller share of usable instances in the nearest zone or the first priority, a part of the requests goes to
    /// the next. Default: `70%`.
    #[serde(default)]
    pub spill_below: Option<Percent>,
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
    /// Ejection of instances whose answers are bad or do not come. Default: none.
    #[serde(default)]
    pub outliers: Option<Outliers>,
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
    /// Lower ones are asked first. Default: 0.
    pub priority: u8,
    /// The zone that it is in: those in the gateway's own zone, or in none, are asked first. Default: none.
    pub zone: Option<String>,
    /// What `subset` may ask for, such as `{ version: v2 }`. Default: none.
    pub labels: BTreeMap<String, String>,
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
    /// Between two reads of the response's body. Default: `60s`.
    pub idle: Time,
    /// That the service may take nothing of the request. Default: `60s`.
    pub write: Time,
}

impl Default for ServiceTimeouts {
    fn default() -> Self {
        ServiceTimeouts {
            connect: Time::from_secs(1),
            tls: Time::from_secs(2),
            first_byte: Time::from_secs(5),
            idle: Time::from_secs(60),
            write: Time::from_secs(60),
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstanceMap {
    address: ServiceUrl,
    #[serde(default = "weight_one")]
    weight: u16,
    #[serde(default)]
    priority: u8,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
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
                let InstanceMap { address, weight, priority, zone, labels } = map;
                Ok(Instance { address, weight, priority, zone, labels })
            }
            _ => Ok(Instance::plain(read(&node)?)),
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
            "description": "A url, or `{ address: url, weight: 1, priority: 0, zone: name, labels: {} }`.",
            "anyOf": [
                url,
                {
                    "type": "object",
                    "properties": {
                        "address": url,
                        "weight": { "type": "integer", "minimum": 0, "maximum": 65535 },
                        "priority": { "type": "integer", "minimum": 0, "maximum": 255 },
                        "zone": { "type": "string" },
                        "labels": { "type": "object", "additionalProperties": { "type": "string" } }
                    },
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

impl Instance {
    fn plain(address: ServiceUrl) -> Self {
        Self { address, weight: 1, priority: 0, zone: None, labels: BTreeMap::new() }
    }
}

impl Service {
    /// Every instance as written: `url`, or the list.
    pub fn addresses(&self) -> Vec<Spanned<Instance>> {
        let url = self.url.iter().map(|url| url.clone().map(Instance::plain));
        url.chain(self.instances.iter().cloned()).collect()
    }
}
