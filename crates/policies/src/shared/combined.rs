//! What `any_of` and `all_of` share: their settings, and how the policies inside are asked.

use std::borrow::Cow;

use narthex_contract::{Flow, Hooks, Nested, Reply, RequestCx, Verdict};
use narthex_document::Node;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// Policies in order: names of `policies`, or `{ kind: settings }`.
#[derive(Debug)]
pub struct PolicyList(pub Vec<Node>);

impl<'de> Deserialize<'de> for PolicyList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Node>::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for PolicyList {
    fn schema_name() -> Cow<'static, str> {
        "PolicyList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Policies of one stage, in order: names of `policies`, or `{ kind: settings }`.",
            "type": "array",
            "minItems": 1,
            "items": { "anyOf": [
                { "type": "string" },
                { "type": "object", "minProperties": 1, "maxProperties": 1 }
            ] }
        })
    }
}

/// Every hook that one of the policies has.
pub fn hooks(members: &[Nested]) -> Hooks {
    members.iter().fold(Hooks::REQUEST, |all, member| all.and(member.policy.hooks()))
}

/// What the policies inside are asked about a request.
#[derive(Clone, Copy)]
pub enum Asked<'b> {
    Head,
    Body(&'b [u8]),
}

/// Asks one. What it depends on must be there first.
pub fn ask<'c>(member: &'c Nested, cx: &'c mut RequestCx<'_>, asked: Asked<'c>) -> Flow<'c> {
    match asked {
        Asked::Head => match member.refusal() {
            Some(unavailable) => Flow::Answer(unavailable),
            None if member.policy.hooks().has(Hooks::REQUEST) => member.policy.on_request(cx),
            None => Flow::Continue,
        },
        Asked::Body(body) if member.policy.hooks().has(Hooks::REQUEST_BODY) => {
            member.policy.on_request_body(cx, body)
        }
        Asked::Body(_) => Flow::Continue,
    }
}

/// What a hook says at once. One that waits is dropped unpolled: it has done nothing but edit the exchange.
pub enum AtOnce {
    Continues,
    Answers(Reply),
    Waits,
}

impl From<Flow<'_>> for AtOnce {
    fn from(flow: Flow<'_>) -> Self {
        match flow {
            Flow::Continue => Self::Continues,
            Flow::Answer(reply) => Self::Answers(reply),
            Flow::Suspend(_) => Self::Waits,
        }
    }
}

/// Waits where it has to; `Some`: it answers.
pub async fn settle(flow: Flow<'_>) -> Option<Reply> {
    let verdict = match flow {
        Flow::Continue => return None,
        Flow::Answer(reply) => return Some(reply),
        Flow::Suspend(waiting) => waiting.await,
    };
    match verdict {
        Verdict::Continue => None,
        Verdict::Answer(reply) => Some(reply),
    }
}

/// The same verdict, for a hook that had to wait.
pub fn verdict(answer: Option<Reply>) -> Verdict {
    answer.map_or(Verdict::Continue, Verdict::Answer)
}
