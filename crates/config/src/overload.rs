//! When the gateway has too much to do: the watermarks past which new requests are shed.

use narthex_document::{ByteSize, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// Past which watermarks new requests are shed.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overload {
    /// Resident memory of the process. Default: 90 % of the cgroup's limit; none where there is no limit.
    pub memory: Option<ByteSize>,
    /// Open connections of clients, on all listeners together. Default: none.
    #[schemars(range(min = 1))]
    pub connections: Option<std::num::NonZeroU32>,
    /// When clients are told to come back (`Retry-After`). Default: `5s`.
    pub retry_after: Time,
}

impl Default for Overload {
    fn default() -> Self {
        Self { memory: None, connections: None, retry_after: Time::from_secs(5) }
    }
}
