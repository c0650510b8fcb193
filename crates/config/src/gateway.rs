//! Gateways and their routes.

use crate::kind::PolicyDef;
use crate::matching::Match;
use narthex_document::{Diagnostic, Kind, Name, NameMap, Node, Spanned, Time, Value, located, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;

/// A named entry: listeners, hosts, policies, routes; one per type of client gives a backend for each front end.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The names of the listeners that it answers on.
    pub listeners: Vec<Spanned<Name>>,
    /// The hosts that it answers for, `*.example.com` for one or more labels in front. Default: every host.
    #[serde(default)]
    pub hosts: Vec<Spanned<HostPattern>>,
    /// The policies that every request passes, in order: names or `{ kind: settings }`.
    #[serde(default)]
    pub policies: Vec<Spanned<PolicyRef>>,
    /// The versions of the API. Default: none, and no request is asked for one.
    #[serde(default)]
    pub versions: Option<crate::versions::Versions>,
    /// The routes, by name. Their order does not count.
    #[serde(default)]
    pub routes: NameMap<Route>,
}

/// Which requests go where, and through what.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Which requests: `"GET /users/{id}"` or a map.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What answers: a service's name, or a map with exactly one kind of destination.
    pub to: Spanned<To>,
    /// The policies after those of the gateway, in order: names or `{ kind: settings }`.
    #[serde(default)]
    pub policies: Vec<Spanned<PolicyRef>>,
    /// Names of policies of the gateway that do not apply here.
    #[serde(default)]
    pub without: Vec<Spanned<Name>>,
    /// Whether anybody may call: the gateway's authentication and authorisation do not apply here. Default: false.
    #[serde(default)]
    pub public: bool,
    /// A prefix that is removed from the path before it is sent on, such as `/v1`.
    #[serde(default)]
    pub strip: Option<Spanned<String>>,
    /// The path that is sent on, with the captures of the match: `"/m/{rest}"`.
    #[serde(default)]
    pub rewrite: Option<Spanned<String>>,
    /// Names of routes of this gateway that this one wins over where both match alike.
    #[serde(default)]
    pub over: Vec<Spanned<Name>>,
    /// What answers when the destination does not, tried in order: `stale: 10m`, `service: name`, `reply: { … }`; with
    /// `on: [502, 503]` beside it also in place of a service's answer with one of these statuses, 400 to 599.
    #[serde(default)]
    pub fallback: Vec<Destination>,
    /// The time for the whole exchange up to the response's head; `whole` includes the body. Default: `15s`.
    #[serde(default)]
    pub deadline: Deadline,
    /// Time-outs of the service, overridden for this route.
    #[serde(default)]
    pub timeouts: RouteTimeouts,
    /// Which changes of protocol may be asked for. `[]`: none, a WebSocket's handshake is answered with 501. Any other
    /// `Upgrade` is ignored, as HTTP allows. Default: `[websocket]`.
    #[serde(default = "websocket")]
    pub upgrade: Vec<Spanned<Upgrade>>,
    /// What becomes of open WebSockets when a configuration goes live that does not have this route. Default: `keep`.
    #[serde(default)]
    pub on_route_removed: OnRouteRemoved,
    /// When a failed request is sent once more, in place of what the service says; its budget still counts.
    #[serde(default)]
    pub retry: Option<crate::retry::Retry>,
    /// Another service that gets copies of the requests; nobody sees its answers. Default: none.
    #[serde(default)]
    pub mirror: Option<crate::mirror::Mirror>,
    /// What happens to `%2F` and `%5C` in the path: refused with 400, or kept as they are. Default: `refuse`.
    #[serde(default)]
    pub encoded_slashes: EncodedSlashes,
}

/// A host name in lower case, or `*.` and one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern(pub String);

/// One policy of a list.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyRef {
    /// The name of an entry of `policies`.
    Name(Spanned<Name>),
    /// Written in place.
    Inline(Box<PolicyDef>),
}

/// What answers a route.
#[derive(Debug, Clone, PartialEq)]
pub enum To {
    /// A service; path and query are kept.
    Service(Spanned<Name>),
    /// A destination of another kind.
    Kind(Destination),
}

/// A destination as written: a map in which one key is the kind and the others belong to it, such as
/// `{ reply: { status: 200 } }` or `{ split: { a: 95, b: 5 }, sticky: caller.id }`. Which key is the kind only the registry
/// knows; settings are read from the whole map, in which the kind is a key like the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination(pub Node);

impl Destination {
    /// The kind: the one key that is among `known`.
    ///
    /// # Errors
    /// No key is a known kind, or two are.
    pub fn kind(&self, known: &[&str]) -> Result<Kind, Box<Diagnostic>> {
        Kind::choose(&self.0, known)
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        match node.entries() {
            [] => {
                Kind::from_node(&node).map(|_| Destination(node)).map_err(|problem| located(vec![*problem]))
            }
            _ => Ok(Destination(node)),
        }
    }
}

impl JsonSchema for Destination {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "minProperties": 1 })
    }
}

/// How long an exchange may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// From the request's head on. Default: 15 seconds.
    pub after: Time,
    /// Up to where.
    pub scope: DeadlineScope,
}

/// Up to where a deadline reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineScope {
    /// Up to the response's head.
    #[default]
    Head,
    /// Up to the end of the response's body.
    Whole,
}

/// Time-outs of a service that a route overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// To connect.
    pub connect: Option<Time>,
    /// For the TLS handshake.
    pub tls: Option<Time>,
    /// From the whole request sent to the first byte of the response.
    pub first_byte: Option<Time>,
    /// Between two reads of the response's body.
    pub idle: Option<Time>,
    /// That the service may take nothing of the request.
    pub write: Option<Time>,
    /// That a WebSocket may carry nothing, in both directions.
    pub tunnel_idle: Option<Time>,
}

/// A protocol that a request may change to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Upgrade {
    /// WebSocket: RFC 6455 on HTTP/1.1, RFC 8441 on HTTP/2.
    Websocket,
}

/// What becomes of the open tunnels of a route that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRouteRemoved {
    /// They stay until they end by themselves.
    #[default]
    Keep,
    /// Both ends get a close frame (1001), then the connection ends.
    Close,
}

fn websocket() -> Vec<Spanned<Upgrade>> {
    vec![Spanned::new(Upgrade::Websocket, narthex_document::Span::NONE)]
}

/// What happens to `%2F` and `%5C` in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlashes {
    /// 400.
    #[default]
    Refuse,
    /// Kept as they are, part of their segment.
    Keep,
}

impl PolicyRef {
    /// What `without` and replacement call it: the name, else the inline `name:`, else the kind.
    pub fn name(&self) -> &str {
        match self {
            PolicyRef::Name(name) => name,
            PolicyRef::Inline(policy) => {
                policy.name.as_ref().map_or(policy.kind.as_str(), |name| name.as_str())
            }
        }
    }
}

impl<'de> Deserialize<'de> for PolicyRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        match &node.value {
            Value::Map(_) => read(&node).map(|policy| PolicyRef::Inline(Box::new(policy))),
            _ => read(&node).map(PolicyRef::Name),
        }
    }
}

impl JsonSchema for PolicyRef {
    fn schema_name() -> Cow<'static, str> {
        "PolicyUse".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<Name>();
        let inline = generator.subschema_for::<PolicyDef>();
        json_schema!({ "description": "The name of a policy, or `{ kind: settings }`.", "anyOf": [name, inline] })
    }
}

impl<'de> Deserialize<'de> for To {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        match &node.value {
            Value::Map(_) => read(&node).map(To::Kind),
            _ => read(&node).map(To::Service),
        }
    }
}

impl JsonSchema for To {
    fn schema_name() -> Cow<'static, str> {
        "Destination".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<Name>();
        let kind = generator.subschema_for::<Destination>();
        json_schema!({ "description": "A service's name, or a map with one kind of destination.", "anyOf": [name, kind] })
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Deadline { after: Time::from_secs(15), scope: DeadlineScope::Head }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadlineMap {
    after: Time,
    #[serde(default)]
    scope: DeadlineScope,
}

impl<'de> Deserialize<'de> for Deadline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let deadline = match &node.value {
            Value::Text(text) if text == "whole" => {
                Deadline { scope: DeadlineScope::Whole, ..Deadline::default() }
            }
            Value::Map(_) => {
                let map: DeadlineMap = read(&node)?;
                Deadline { after: map.after, scope: map.scope }
            }
            _ => Deadline { after: read(&node)?, scope: DeadlineScope::Head },
        };
        if deadline.after == Time::default() {
            return Err(D::Error::custom(
                "a deadline of 0 would refuse everything\nhelp: write a time such as 15s",
            ));
        }
        Ok(deadline)
    }
}

impl JsonSchema for Deadline {
    fn schema_name() -> Cow<'static, str> {
        "Deadline".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Time>();
        let scope = generator.subschema_for::<DeadlineScope>();
        json_schema!({
            "description": "A time, `whole` (15s, the body included), or `{ after: 15s, scope: head }`.",
            "anyOf": [
                { "const": "whole" },
                time,
                {
                    "type": "object",
                    "properties": { "after": time, "scope": scope },
                    "required": ["after"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("*.").unwrap_or(&lower);
        if crate::url::is_host(name) {
            return Ok(HostPattern(lower));
        }
        let help = match name.rsplit_once(':') {
            Some((host, _)) if crate::url::is_host(host) => format!("ports do not count: write `{host}`"),
            _ if name == "*" => "leave `hosts` out for every host".to_owned(),
            _ => "write a host name as in shop.example, or *.shop.example".to_owned(),
        };
        Err(D::Error::custom(format_args!("`{text}` is not a host\nhelp: {help}")))
    }
}

impl JsonSchema for HostPattern {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Host".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(\\*\\.)?[A-Za-z0-9_.-]+$" })
    }
}
