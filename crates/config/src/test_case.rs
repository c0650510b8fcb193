//! `tests:`: requests with what they should meet, run against the real router and policies.

use narthex_document::{NameMap, Node, Spanned, Table};
use schemars::JsonSchema;
use serde::Deserialize;

/// One test: a request and what is expected of it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// `"METHOD URL"`, such as `"POST https://shop.example/v1/orders"`.
    pub request: Spanned<String>,
    /// Headers of the request, by name.
    #[serde(default)]
    pub headers: Table<String, Spanned<String>>,
    /// The request's body: a text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<Node>,
    /// Who asks, in place of authentication. Default: nobody, authentication runs.
    #[serde(default)]
    pub caller: Option<CallerStub>,
    /// What services answer, by their names. Default: 200 with an empty body.
    #[serde(default)]
    pub answers: NameMap<Stub>,
    /// What must come out; only what is given is compared.
    pub expect: Expect,
}

/// Who asks, as authentication would have found out.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallerStub {
    /// The caller's id.
    pub id: String,
    /// Its kind, such as `user` or `service`.
    pub kind: Option<String>,
    /// Its tier.
    pub tier: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// Further claims.
    pub claims: Table<String, Node>,
}

/// What a service answers in a test.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stub {
    /// The status. Default: 200.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Headers, by name.
    #[serde(default)]
    pub headers: Table<String, String>,
    /// The body: a text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<Node>,
}

fn ok() -> u16 {
    200
}

/// What must come out of a test.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The status.
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// The reason of an answer that the gateway made.
    pub reason: Option<String>,
    /// The name of the route that took the request.
    pub route: Option<Spanned<String>>,
    /// The version of the API that was found.
    pub version: Option<Spanned<String>>,
    /// The name of the service that answered.
    pub service: Option<Spanned<String>>,
    /// Headers that the answer carries, by name; null for one that it must not carry.
    pub headers: Table<String, Option<String>>,
    /// The body: a text as it is, anything else as JSON.
    pub body: Option<Node>,
}
