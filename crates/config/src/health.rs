//! How a service's instances are watched, as a user writes it: active checks, and ejection of those that do badly.

use std::borrow::Cow;
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};

use narthex_document::{Diagnostic, Percent, Span, Spanned, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use crate::url::is_host;

/// Active health checks: every instance is asked now and then, whoever else asks it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is asked. Default: `http`.
    #[serde(default)]
    pub kind: HealthKind,
    /// The path of `http`. Default: `/`.
    #[serde(default)]
    pub path: Option<Spanned<String>>,
    /// How often, give or take a tenth. Default: `10s`.
    #[serde(default = "ten_seconds")]
    pub every: Spanned<Time>,
    /// Time for one answer, connecting included. Default: `1s`.
    #[serde(default = "one_second")]
    pub timeout: Spanned<Time>,
    /// So many good answers in a row make an unhealthy instance healthy. The first answer of all decides at once. Default: 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub healthy: NonZeroU8,
    /// So many bad ones in a row make it unhealthy. Default: 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub unhealthy: NonZeroU8,
    /// The good answers of `http`. Default: `200-399`.
    #[serde(default)]
    pub status: Vec<Spanned<StatusRange>>,
    /// The port that is asked. Default: that of the instance.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<NonZeroU16>,
    /// The `Host` that `http` and `grpc` send. Default: the service's `host` where it is a name, or that of its url.
    #[serde(default)]
    pub host: Option<Spanned<String>>,
    /// What `grpc` asks for by name. Default: the whole server.
    #[serde(default)]
    pub service: Option<Spanned<String>>,
}

/// What an active check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthKind {
    /// A GET, by the protocol of the service and with its TLS.
    #[default]
    Http,
    /// Whether a TCP connection comes about.
    Tcp,
    /// `grpc.health.v1.Health/Check`.
    Grpc,
}

/// A status, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// The first one.
    pub from: u16,
    /// The last one.
    pub to: u16,
}

/// Instances that do badly get no requests for a while.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outliers {
    /// So many bad answers (5xx) in a row eject an instance; 0: never. Default: 5.
    pub errors: u32,
    /// So many tries in a row without an answer (no connection, a reset, a time-out) eject it; 0: never. Default: 5.
    pub no_answers: u32,
    /// How often the rates are looked at. Default: `10s`.
    pub every: Spanned<Time>,
    /// How long the first ejection takes; the second takes twice as long, and so on. Each interval of good conduct makes
    /// the next one shorter again. Default: `30s`.
    pub eject: Spanned<Time>,
    /// The longest ejection. Default: `5m`.
    pub eject_max: Spanned<Time>,
    /// How many of the instances may be ejected at once; one always, where there are at least two. Default: `10%`.
    pub max_ejected: Percent,
    /// Ejects who succeeds less often than the others. Default: nobody.
    pub success_rate: Option<SuccessRate>,
    /// Ejects who fails so often. Default: nobody.
    pub failures: Option<Failures>,
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            errors: 5,
            no_answers: 5,
            every: ten_seconds(),
            eject: Spanned::new(Time::from_secs(30), Span::NONE),
            eject_max: Spanned::new(Time::from_secs(300), Span::NONE),
            max_ejected: share(1_000),
            success_rate: None,
            failures: None,
        }
    }
}

/// Ejects an instance whose success rate is below the mean of all by more than some standard deviations.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SuccessRate {
    /// Instances with enough requests that there must be. Default: 5.
    #[schemars(range(min = 2))]
    pub instances: Spanned<u32>,
    /// Requests within the interval that an instance must have had. Default: 100.
    #[schemars(range(min = 1))]
    pub requests: NonZeroU32,
    /// How many standard deviations. Default: 1.9.
    #[schemars(range(min = 0))]
    pub deviations: Spanned<f64>,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self {
            instances: Spanned::new(5, Span::NONE),
            requests: const { NonZeroU32::new(100).expect("100 is not 0") },
            deviations: Spanned::new(1.9, Span::NONE),
        }
    }
}

/// Ejects an instance that fails at least so often.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Failures {
    /// The share of its requests. Default: `85%`.
    pub share: Percent,
    /// Instances with enough requests that there must be. Default: 5.
    #[schemars(range(min = 1))]
    pub instances: NonZeroU32,
    /// Requests within the interval that an instance must have had. Default: 50.
    #[schemars(range(min = 1))]
    pub requests: NonZeroU32,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            share: share(8_500),
            instances: const { NonZeroU32::new(5).expect("5 is not 0") },
            requests: const { NonZeroU32::new(50).expect("50 is not 0") },
        }
    }
}

fn share(hundredths: u16) -> Percent {
    Percent::from_hundredths(hundredths).expect("it is a share")
}
fn ten_seconds() -> Spanned<Time> {
    Spanned::new(Time::from_secs(10), Span::NONE)
}
fn one_second() -> Spanned<Time> {
    Spanned::new(Time::from_secs(1), Span::NONE)
}
const fn two() -> NonZeroU8 {
    NonZeroU8::new(2).expect("2 is not 0")
}
const fn three() -> NonZeroU8 {
    NonZeroU8::new(3).expect("3 is not 0")
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = narthex_document::Node::deserialize(deserializer)?;
        let text: String = match &text.value {
            narthex_document::Value::Number(digits) => digits.clone(),
            _ => narthex_document::read(&text)?,
        };
        let (from, to) = text.split_once('-').unwrap_or((&text, &text));
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|status| digits && (100..=599).contains(status))
        };
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self { from, to }),
            _ => Err(D::Error::custom(format_args!(
                "`{text}` is neither a status nor a range of them\nhelp: write 204, or 200-399"
            ))),
        }
    }
}

impl JsonSchema for StatusRange {
    fn schema_name() -> Cow<'static, str> {
        "StatusRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A status, or a range such as `200-399`.",
            "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" }
            ]
        })
    }
}

impl Health {
    pub(crate) fn check(&self, problems: &mut Vec<Diagnostic>) {
        let mut wrong = |span, message: &str, help: &str| {
            problems.push(Diagnostic::error("invalid_value", span, message).with_help(help));
        };
        if self.every.0.is_zero() {
            wrong(self.every.span, "checks without a pause would never end", "write at least 100ms");
        } else if self.every.0.as_millis() < 100 {
            wrong(self.every.span, "`every` is shorter than 100ms", "write at least 100ms");
        }
        if self.timeout.0.is_zero() {
            wrong(self.timeout.span, "no answer comes within no time", "write a time such as 1s");
        }
        if let Some(path) = &self.path {
            let is_path =
                path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            if !is_path {
                wrong(path.span, "this is not a path", "begin it with `/`, and encode what is not ASCII");
            }
        }
        if let Some(host) = &self.host {
            let (name, port) = host.split_once(':').unwrap_or((host, "80"));
            if !is_host(name) || port.parse::<u16>().is_err() {
                wrong(host.span, "this is not a host", "write a host name, with or without a port");
            }
        }
        let kind = |kind: HealthKind| self.kind == kind;
        let only = "remove it, or write another `kind`";
        let http =
            self.path.as_ref().map(|path| path.span).or_else(|| self.status.first().map(|one| one.span));
        if let Some(span) = http.filter(|_| !kind(HealthKind::Http)) {
            wrong(span, "only `kind: http` has a path and a status", only);
        }
        if let Some(host) = self.host.as_ref().filter(|_| kind(HealthKind::Tcp)) {
            wrong(host.span, "`kind: tcp` sends no host", only);
        }
        if let Some(service) = self.service.as_ref().filter(|_| !kind(HealthKind::Grpc)) {
            wrong(service.span, "only `kind: grpc` asks for a service by name", only);
        }
    }
}

impl Outliers {
    pub(crate) fn check(&self, problems: &mut Vec<Diagnostic>) {
        let mut wrong = |span, message: &str, help: &str| {
            problems.push(Diagnostic::error("invalid_value", span, message).with_help(help));
        };
        for time in [&self.every, &self.eject] {
            if time.0.as_millis() < 100 {
                wrong(time.span, "this is shorter than 100ms", "write at least 100ms");
            }
        }
        if self.eject_max.0 < self.eject.0 {
            let help = format!("write at most {}, or a longer `eject_max`", self.eject_max.value);
            let message = "the first ejection is longer than the longest may be";
            wrong(self.eject.span, message, &help);
        }
        if let Some(rate) = &self.success_rate {
            if *rate.instances < 2 {
                wrong(rate.instances.span, "one instance has none to be compared with", "write at least 2");
            }
            if !(rate.deviations.value >= 0.0 && rate.deviations.value.is_finite()) {
                wrong(rate.deviations.span, "this is no number of deviations", "write a number such as 1.9");
            }
        }
    }
}
