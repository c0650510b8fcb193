//! Every bound of the gateway: name, default, what it holds, in one table from which structs, defaults and documentation
//! come. A bound that is not here does not exist.

use narthex_document::{ByteSize, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// One bound, for documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundsRow {
    /// Where it is written: `listeners.*.bounds` or `services.*.bounds`.
    pub scope: &'static str,
    /// The key.
    pub name: &'static str,
    /// The default as one would write it.
    pub default: String,
    /// What it bounds and what happens beyond.
    pub meaning: &'static str,
}

macro_rules! bounds {
    ($(#[$doc:meta])* $name:ident, $scope:literal { $($field:ident: $kind:ty = $default:expr, $meaning:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(#[doc = $meaning] pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $name {
            /// The rows of the table of bounds.
            pub fn rows() -> Vec<BoundsRow> {
                vec![$(BoundsRow {
                    scope: $scope,
                    name: stringify!($field),
                    default: ($default as $kind).to_string(),
                    meaning: $meaning.trim_ascii(),
                },)*]
            }
        }
    };
}

bounds! {
    /// What clients of a listener may cost.
    Bounds, "listeners.*.bounds" {
        connections: u32 = 20_000, " Open connections of the listener; beyond, new ones are closed at once, in plain HTTP with 503 `too_many_connections`.";
        connections_per_ip: u32 = u32::MAX, " Of these, connections of one client: an IPv4 address or the /64 of an IPv6 one; beyond, the same. Default: no bound.";
        header_bytes: ByteSize = ByteSize::kib(60), " Bytes of a request's header block; beyond, 431.";
        header_fields: u32 = 100, " Fields of a request's header block; beyond, 431.";
        hello_bytes: ByteSize = ByteSize::kib(16), " Bytes of a TLS ClientHello that is passed through; beyond, the connection is cut.";
        uri_bytes: ByteSize = ByteSize::kib(16), " Bytes of a request's target; beyond, 414.";
        trailer_bytes: ByteSize = ByteSize::kib(8), " Bytes of a request's trailers; beyond, 400.";
        chunk_extension_bytes: ByteSize = ByteSize::kib(4), " Bytes of all chunk extensions of one body; beyond, 400.";
        body_bytes: ByteSize = ByteSize(i64::MAX as u64), " Bytes of a request's body that is streamed, counted while it passes; beyond, 413. Default: no bound.";
        buffered_body_bytes: ByteSize = ByteSize::mib(1), " Bytes of a body that a policy needs whole; beyond, 413.";
        dispatch_depth: u8 = 3, " Routes that destinations may ask inside one another; beyond, 508.";
        drain_bytes: ByteSize = ByteSize::kib(256), " Bytes of an unread body that are read and dropped to keep the connection.";
        header_time: Time = Time::from_secs(10), " Time for a whole header block, from its first byte; beyond, 408. Where TLS is passed through, time for its ClientHello.";
        idle_time: Time = Time::from_secs(60), " Time that a connection may be idle between two requests.";
        body_idle_time: Time = Time::from_secs(60), " Time between two reads of a request's body; beyond, 408.";
        body_rate: ByteSize = ByteSize(100), " Bytes per second that a request's body must bring, on average and while it is waited for; below, 408. `0`: no bound. Calls of gRPC are free of it.";
        body_grace: Time = Time::from_secs(20), " Time of a request's body before `body_rate` counts.";
        write_time: Time = Time::from_secs(60), " Time that a client may take nothing of a response; beyond, the connection is reset.";
        requests_per_connection: u32 = 100_000, " Requests on one connection, which is then closed in good order: `Connection: close`, GOAWAY.";
        handshakes: u32 = 1_000, " TLS handshakes of the listener that may be under way; beyond, new connections are closed at once.";
        handshake_time: Time = Time::from_secs(10), " Time for a whole TLS handshake; beyond, the connection is closed.";
        proxy_header_bytes: ByteSize = ByteSize::kib(1), " Bytes of a header of the PROXY protocol; beyond, the connection is closed.";
        proxy_header_time: Time = Time::from_secs(5), " Time for a whole header of the PROXY protocol; beyond, the connection is closed.";
        sessions: u32 = 10_000, " TLS sessions without tickets that are remembered, for each entry of `clients`.";
        streams: u32 = 100, " Concurrent HTTP/2 streams of one connection (SETTINGS_MAX_CONCURRENT_STREAMS).";
        reset_streams: u32 = 50, " HTTP/2 streams that the client has reset before the gateway looked at them; beyond, GOAWAY `ENHANCE_YOUR_CALM` (rapid reset).";
        resets: u32 = 1_000, " HTTP/2 streams of one connection that the client resets within ten seconds; beyond, GOAWAY `ENHANCE_YOUR_CALM` (rapid reset).";
        control_frames: u32 = 1_000, " HTTP/2 frames of one connection within ten seconds, of SETTINGS, of PING, of empty DATA, of frames without a meaning each, and one more for each KiB that it carries; beyond, GOAWAY `ENHANCE_YOUR_CALM`.";
        stream_window: ByteSize = ByteSize::kib(256), " Bytes in flight on one HTTP/2 stream.";
        connection_window: ByteSize = ByteSize::mib(1), " Bytes in flight on one HTTP/2 connection.";
    }
}

bounds! {
    /// What answers of a service may cost.
    ServiceBounds, "services.*.bounds" {
        header_bytes: ByteSize = ByteSize::kib(60), " Bytes of a response's header block; beyond, 502.";
        header_fields: u32 = 200, " Fields of a response's header block; beyond, 502.";
        interim_responses: u32 = 16, " Responses of 1xx before the final one; beyond, 502.";
        idle_connections: u32 = 128, " Idle connections that one worker keeps to one instance.";
        idle_time: Time = Time::from_secs(55), " Time that an idle connection is kept.";
        streams: u32 = 100, " Concurrent HTTP/2 streams on one connection to the service.";
        health_checks: u32 = 10, " Active health checks of the service under way at once; beyond, they wait for each other.";
    }
}

bounds! {
    /// What the versions of a gateway may cost.
    VersionBounds, "gateways.*.versions.bounds" {
        callers: u32 = 1_000, " Callers that are counted by name, for each version; beyond, they are counted as `other`.";
    }
}

bounds! {
    /// What the copies of a route's requests may cost.
    MirrorBounds, "gateways.*.routes.*.mirror.bounds" {
        requests: u32 = 100, " Copies under way at once, over all workers; beyond, no copy is made.";
        body_bytes: ByteSize = ByteSize::kib(64), " Bytes of a copied request's body, kept until it is whole; a request with a longer one is not copied.";
        answer_bytes: ByteSize = ByteSize::kib(64), " Bytes of the body of an answer to a copy that are read, to keep its connection; beyond, it is closed.";
    }
}

/// The table of all bounds.
pub fn table() -> Vec<BoundsRow> {
    let mut rows = Bounds::rows();
    rows.extend(ServiceBounds::rows());
    rows.extend(VersionBounds::rows());
    rows.extend(MirrorBounds::rows());
    rows
}
