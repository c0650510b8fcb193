//! Services: where their instances are, how they are spoken to and for how long.

use crate::balance::{Balance, Subset};
use crate::bounds::ServiceBounds;
use crate::breaker::Breaker;
use crate::health::{Health, Outliers};
use crate::raw::ProxyProtocol;
use crate::retry::{Retry, RetryBudget};
use crate::tls::ServiceTls;
use crate::url::{HostPort, ServiceUrl, is_host};
use narthex_document::{Node, Percent, Span, Spanned, Time, Value, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// A named service: one address or several.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Scheme, host and port, or a Unix socket as in `http+unix:/run/app.sock`. A DNS name may stand for several instances.
    /// Either this or `instances`.
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
    /// Tell the service who the client is: each connection begins with a header of the PROXY protocol, `v1` or `v2`, and carries
    /// requests of one client's connection only, with which it ends. Default: no.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which `Host` the service sees: `keep` (the client's), `service` (the url's) or a name. Default: `service`.
    #[serde(default)]
    pub host: HostRule,
    /// How long each step may take.
    #[serde(default)]
    pub timeouts: ServiceTimeouts,
    /// Whether the service is told how long its answer is waited for: `grpc-timeout` for gRPC, otherwise `X-Request-Timeout`
    /// in milliseconds. What the client itself said there is handed on as what is left of it in any case. Default: false.
    #[serde(default)]
    pub pass_deadline: bool,
    /// Connections to the service, of all workers. Default: no maximum.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_connections: Option<std::num::NonZeroU32>,
    /// Requests that wait, for `timeouts.pending` at most, until one of `max_connections` comes free; beyond, 503
    /// `service_busy` at once. Default: 1024.
    #[serde(default = "thousand")]
    pub max_pending: u32,
    /// Requests in flight to the service, of all workers; beyond, 503 `service_busy`. Default: no maximum.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_requests: Option<std::num::NonZeroU32>,
    /// When a failed request is sent once more. Default: where no connection came about or the stream was refused, three
    /// tries in all, without a wait.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// How many requests may be retries at the same time.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// A circuit breaker. Default: none.
    #[serde(default)]
    pub breaker: Option<Breaker>,
    /// How many requests the service may have in work, found out by its answers' times. Default: only `max_requests` counts.
    #[serde(default)]
    pub adaptive: Option<Adaptive>,
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

/// A limit of requests in work that follows the service: when answers become slower than they use to be, fewer requests are
/// let through, and more as long as they do not. Beyond it 503 `service_busy`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adaptive {
    /// It never falls below this. Default: 4.
    #[schemars(range(min = 1))]
    pub min: NonZeroU32,
    /// It never rises above this. Default: 1000.
    #[schemars(range(min = 1))]
    pub max: Spanned<NonZeroU32>,
    /// Before anything is known. Default: 20.
    #[schemars(range(min = 1))]
    pub initial: NonZeroU32,
    /// Answers may become slower by this share before fewer requests are let through. Default: `50%`.
    pub slower: Percent,
    /// How long times are gathered before the limit moves. Default: `100ms`.
    pub window: Time,
}

impl Default for Adaptive {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("the defaults are not 0");
        Adaptive {
            min: count(4),
            max: Spanned::new(count(1_000), Span::NONE),
            initial: count(20),
            slower: Percent::from_hundredths(5_000).expect("50 % is a share"),
            window: Time::from_millis(100),
        }
    }
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
    /// Between two reads of the response's body; of server-sent events, `tunnel_idle` if that is longer. Default: `60s`.
    pub idle: Time,
    /// That the service may take nothing of the request. Default: `60s`.
    pub write: Time,
    /// That a WebSocket may carry nothing, in both directions, and that server-sent events may not come. Default: `1h`.
    pub tunnel_idle: Time,
    /// For one of `max_connections` to come free. Default: `1s`.
    pub pending: Time,
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
            pending: Time::from_secs(1),
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

fn thousand() -> u32 {
    1_024
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
    /// Whether it has no HTTP: only listeners that pass connections through may name it.
    pub fn is_raw(&self) -> bool {
        let first = self.url.as_ref().map(|url| url.scheme);
        let scheme = first.or_else(|| self.instances.first().map(|instance| instance.address.scheme));
        scheme == Some(crate::url::Scheme::Tcp)
    }

    /// Every instance as written: `url`, or the list.
    pub fn addresses(&self) -> Vec<Spanned<Instance>> {
        let url = self.url.iter().map(|url| url.clone().map(Instance::plain));
        url.chain(self.instances.iter().cloned()).collect()
    }
}
