//! `grpc_web`: lets web pages call gRPC services. gRPC-Web (binary or base64 text) becomes gRPC over HTTP/2 and back.
//!
//! Follows PROTOCOL-WEB.md of the gRPC project. Reads no message and holds none: bytes pass as they come.

mod base64;
mod runtime;
mod steps;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};
use schemars::JsonSchema;
use serde::Deserialize;

narthex_contract::reasons! {
    BAD_GRPC_WEB = "bad_grpc_web" 400 Client "The call's text is malformed.",
        means "The body of an `application/grpc-web-text` request is not base64, or ends in the middle of a group of four.",
        do "Fix the client, or let it send `application/grpc-web+proto`.";
    NOT_GRPC = "not_grpc" 502 Service "The service did not answer as gRPC.",
        means "A gRPC-Web call was answered with something else than `application/grpc`; the log's `detail` has status and content type.",
        do "Is the route's service a gRPC server, spoken to as `grpc://` or `grpcs://`? A proxy between may have answered in its stead.";
}

/// The kind.
pub struct GrpcWeb;

/// There is nothing to set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl PolicyKind for GrpcWeb {
    const NAME: &'static str = "grpc_web";
    const SUMMARY: &'static str = "Lets web pages call gRPC services: translates gRPC-Web to gRPC and back.";
    const STAGES: &'static [Stage] = &[Stage::Transform];
    const REASONS: &'static [Reason] = REASONS;
    type Config = Config;
    type Runtime = runtime::GrpcWeb;

    fn compile(_: Config, cx: &mut CompileCx<'_>) -> Option<runtime::GrpcWeb> {
        Some(runtime::GrpcWeb { form: cx.slot() })
    }
}
