//! The whole file, as a user writes it.

use crate::gateway::Gateway;
use crate::kind::PolicyDef;
use crate::listener::Listener;
use crate::overload::Overload;
use crate::service::Service;
use crate::test_case::Case;
use crate::url::HostPort;
use narthex_document::{ByteSize, NameMap, Rate, Spanned, Table};
use schemars::JsonSchema;
use serde::Deserialize;

/// A Narthex configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The version of the configuration language: 1.
    pub narthex: Spanned<Version>,
    /// How many workers (threads that carry requests), 1 to 1024. Default: the CPU quota.
    #[serde(default)]
    pub workers: Option<Spanned<Workers>>,
    /// The zone that this gateway runs in, usually `{ env: ZONE }`: services' instances there are asked first. Default: none.
    #[serde(default)]
    pub zone: Option<Spanned<String>>,
    /// The addresses to listen on, by name.
    #[serde(default)]
    pub listeners: NameMap<Listener>,
    /// Past which watermarks new requests are shed with 503 `overloaded`.
    #[serde(default)]
    pub overload: Overload,
    /// The administration interface. Default: none.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// The services behind the gateway, by name.
    #[serde(default)]
    pub services: NameMap<Service>,
    /// The tiers of callers with their rates, by name, for `rate_limit`.
    #[serde(default)]
    pub tiers: NameMap<Rate>,
    /// Reusable policies: a name and `{ kind: settings }`.
    #[serde(default)]
    pub policies: NameMap<PolicyDef>,
    /// The gateways, by name: listeners, hosts, policies, routes.
    #[serde(default)]
    pub gateways: NameMap<Gateway>,
    /// What is logged of each request. Default: off.
    #[serde(default)]
    pub access_log: Option<AccessLog>,
    /// Tests of this configuration, by name; `narthex test` runs them.
    #[serde(default)]
    pub tests: NameMap<Case>,
}

/// The version of the configuration language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version;

/// A number of workers, 1 to 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Workers(#[schemars(range(min = 1, max = 1024))] pub u16);

/// The administration interface: status, metrics, configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens. Default: `127.0.0.1:9900`.
    #[serde(default = "admin_address")]
    pub address: Spanned<HostPort>,
    /// The bearer token that every request must carry; needed unless the address is a loopback one.
    #[serde(default)]
    pub token: Option<Spanned<String>>,
}

/// What is logged of each request.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// Where to: `stdout`, `stderr` or the path of a file. Default: `stdout`.
    #[serde(default = "stdout")]
    pub to: Spanned<String>,
    /// One JSON object per line, or text. Default: `json`.
    #[serde(default)]
    pub format: LogFormat,
    /// Which variables are logged, each under the name given, such as `{ user: caller.id }`. Default: the standard set.
    #[serde(default)]
    pub fields: Option<Table<String, Spanned<String>>>,
    /// The share of requests that is logged, such as `10%`; answers of 500 and above are always logged. Default: `100%`.
    #[serde(default)]
    pub sample: Option<narthex_document::Percent>,
    /// The most bytes of one value. Default: `1KiB`.
    #[serde(default = "field_bytes")]
    pub field_bytes: ByteSize,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// The combined log format of the Apache server.
    Combined,
}

fn admin_address() -> Spanned<HostPort> {
    let ip = Some(std::net::Ipv4Addr::LOCALHOST.into());
    Spanned::new(HostPort { ip, port: 9900 }, narthex_document::Span::NONE)
}

fn stdout() -> Spanned<String> {
    Spanned::new("stdout".to_owned(), narthex_document::Span::NONE)
}

fn field_bytes() -> ByteSize {
    ByteSize::kib(1)
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Version),
            other => Err(serde::de::Error::custom(format_args!(
                "version {other} of the configuration language is not known\nhelp: write `narthex: 1`"
            ))),
        }
    }
}

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": 1 })
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u16::deserialize(deserializer)? {
            count @ 1..=1024 => Ok(Workers(count)),
            other => Err(serde::de::Error::custom(format_args!(
                "{other} workers are not possible\nhelp: write 1 to 1024, or leave the key out for one per CPU"
            ))),
        }
    }
}
