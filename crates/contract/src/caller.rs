//! Who asks, as authentication found out.

use serde_json::{Map, Value};

/// The caller of an exchange; shared, immutable, often cached with the credential that proved it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caller {
    pub id: Box<str>,
    /// How they proved it: the policy's name (`jwt`, `api_key`…), or `test` in a configuration's own tests.
    pub kind: Box<str>,
    pub tier: Option<Box<str>>,
    pub roles: Vec<Box<str>>,
    pub scopes: Vec<Box<str>>,
    pub claims: Map<String, Value>,
}
