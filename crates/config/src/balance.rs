//! How an instance is chosen, as a user writes it: a word, or a map with exactly one of `hash` and `sticky`.

use std::borrow::Cow;

use narthex_document::{Diagnostic, Node, Spanned, Time, Value, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

/// How an instance is chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The less busy of two chosen at random.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// Of two chosen at random the one that answers sooner: the peak of its latest times by its requests in flight.
    Ewma,
    /// Equal values of a variable go to equal instances; by weight, and with few moves when the instances change.
    Hash(Spanned<String>),
    /// The instance that answered a client first answers it again.
    Sticky(Box<Sticky>),
}

/// The cookie that names an instance.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: Spanned<String>,
    /// What signs it, usually `{ file: sticky.key }` or `{ env: STICKY_KEY }`: 32 characters or more, the same in every
    /// gateway of a fleet.
    pub key: Spanned<String>,
    /// How long a browser keeps it. Default: until it is closed.
    #[serde(default)]
    pub lifetime: Option<Time>,
    /// Its `Path`. Default: `/`.
    #[serde(default)]
    pub path: Option<Spanned<String>>,
    /// Its `Domain`. Default: none, the host that was asked alone.
    #[serde(default)]
    pub domain: Option<Spanned<String>>,
    /// Its `SameSite`. Default: `lax`.
    #[serde(default)]
    pub same_site: SameSite,
    /// Whether browsers send it on encrypted connections alone. Default: `true`.
    #[serde(default = "yes")]
    pub secure: bool,
    /// Whether it is hidden from scripts. Default: `true`.
    #[serde(default = "yes")]
    pub http_only: bool,
}

impl std::fmt::Debug for Sticky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sticky").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// Instances that a header chooses among, by their labels.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    /// The request's header. Without it every instance may answer.
    pub header: Spanned<String>,
    /// The label that must have the header's value.
    pub label: Spanned<String>,
    /// What happens where no usable instance has it: `any` other one answers, or `none`: 503. Default: `any`.
    #[serde(default)]
    pub fallback: SubsetFallback,
}

/// What happens where no usable instance has the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubsetFallback {
    /// Every instance may answer.
    #[default]
    Any,
    /// 503 `no_instance`.
    None,
}

/// When a browser sends a cookie along with requests from other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// When a user follows a link.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always; needs `secure`.
    None,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalanceMap {
    #[serde(default)]
    hash: Option<Spanned<String>>,
    #[serde(default)]
    sticky: Option<Box<Sticky>>,
}

const HELP: &str = "write round_robin, least_request, random, ewma, { hash: header.x-user } or { sticky: { cookie: name, key: … } }";

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        if let Value::Map(_) = &node.value {
            let map: BalanceMap = read(&node)?;
            return match (map.hash, map.sticky) {
                (Some(variable), None) => Ok(Self::Hash(variable)),
                (None, Some(sticky)) => Ok(Self::Sticky(sticky)),
                _ => Err(D::Error::custom(format_args!(
                    "`balance` takes exactly one of `hash` and `sticky`\nhelp: {HELP}"
                ))),
            };
        }
        let word: String = read(&node)?;
        match word.as_str() {
            "round_robin" => Ok(Self::RoundRobin),
            "least_request" => Ok(Self::LeastRequest),
            "random" => Ok(Self::Random),
            "ewma" => Ok(Self::Ewma),
            other => {
                Err(D::Error::custom(format_args!("there is no way to balance `{other}`\nhelp: {HELP}")))
            }
        }
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let sticky = generator.subschema_for::<Sticky>();
        json_schema!({
            "description": "`round_robin`, `least_request`, `random`, `ewma`, `{ hash: variable }` or `{ sticky: settings }`.",
            "anyOf": [
                { "enum": ["round_robin", "least_request", "random", "ewma"] },
                {
                    "type": "object",
                    "properties": { "hash": { "type": "string", "minLength": 1 } },
                    "required": ["hash"],
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "properties": { "sticky": sticky },
                    "required": ["sticky"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// Characters of a key that is not guessed.
const KEY: usize = 32;

impl Balance {
    pub(crate) fn check(&self, problems: &mut Vec<Diagnostic>) {
        let Self::Sticky(sticky) = self else { return };
        let mut wrong = |span, message: &str, help: &str| {
            problems.push(Diagnostic::error("invalid_value", span, message).with_help(help));
        };
        let is_token = |text: &str| {
            let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !text.is_empty() && text.bytes().all(is_of_token)
        };
        if !is_token(&sticky.cookie) {
            let help = "write letters, digits, `-` and `_`";
            wrong(sticky.cookie.span, "this is not a cookie's name (RFC 6265 4.1.1)", help);
        }
        if sticky.key.trim().len() < KEY {
            let help = "make one with `openssl rand -hex 32`, and give it as { file: sticky.key } or { env: STICKY_KEY }";
            wrong(sticky.key.span, "the key is shorter than 32 characters", help);
        }
        let is_value = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b';');
        for (value, message) in [
            (
                sticky.path.as_ref().filter(|path| !path.starts_with('/') || !is_value(path)),
                "this is not a cookie's path",
            ),
            (
                sticky.domain.as_ref().filter(|domain| !crate::url::is_host(domain.trim_start_matches('.'))),
                "this is not a cookie's domain",
            ),
        ] {
            if let Some(value) = value {
                wrong(value.span, message, "write a path such as /, a domain such as shop.example");
            }
        }
        if sticky.same_site == SameSite::None && !sticky.secure {
            let help = "remove `secure: false`, or write another `same_site`";
            wrong(
                sticky.cookie.span,
                "browsers drop a cookie with `same_site: none` that is not secure",
                help,
            );
        }
    }
}
