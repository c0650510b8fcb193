//! Reasons: the stable code of every answer that the gateway itself makes, with what it means and what to do.
//!
//! The same word stands in the answer, the log, the metrics and `narthex explain REASON`. Only [`reason!`] makes one.

use std::fmt;

/// Who is to blame for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Client,
    Service,
    Gateway,
    /// Nobody: a redirect, a preflight, a configured reply.
    Nobody,
}

impl Fault {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Service => "service",
            Self::Gateway => "gateway",
            Self::Nobody => "nobody",
        }
    }
}

/// One entry of the catalogue.
#[derive(Debug)]
pub struct ReasonDef {
    /// Stable, `snake_case`; never renamed once released.
    pub code: &'static str,
    pub status: u16,
    /// A short sentence that a client may see.
    pub title: &'static str,
    pub fault: Fault,
    /// What it means, for the person at 3 a.m.
    pub meaning: &'static str,
    /// What to do about it.
    pub action: &'static str,
}

/// A reference to a catalogue entry.
#[derive(Clone, Copy)]
pub struct Reason(&'static ReasonDef);

impl Reason {
    /// For [`reason!`] alone.
    #[doc(hidden)]
    pub const fn of(def: &'static ReasonDef) -> Self {
        Self(def)
    }

    pub const fn code(self) -> &'static str {
        self.0.code
    }

    pub const fn status(self) -> u16 {
        self.0.status
    }

    pub const fn def(self) -> &'static ReasonDef {
        self.0
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.0.code == other.0.code
    }
}

impl Eq for Reason {}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

/// Declares reasons: for each a constant of type [`Reason`], and `REASONS`, the list of all of them.
///
/// ```
/// narthex_contract::reasons! {
///     IP_DENIED = "ip_denied" 403 Client "This address may not call this API.",
///         means "The client's address is not in the policy's allow list, or is in its deny list.",
///         do "Check `ip_access` and, behind a proxy, `trusted_hops`.";
/// }
/// assert_eq!(IP_DENIED.code(), "ip_denied");
/// assert_eq!(REASONS.len(), 1);
/// ```
#[macro_export]
macro_rules! reasons {
    ($($constant:ident = $code:literal $status:literal $fault:ident $title:literal,
        means $meaning:literal, do $action:literal;)+) => {
        $(pub const $constant: $crate::Reason = $crate::Reason::of(&$crate::ReasonDef {
            code: $code,
            status: $status,
            title: $title,
            fault: $crate::Fault::$fault,
            meaning: $meaning,
            action: $action,
        });)+
        /// Every reason declared here.
        pub const REASONS: &[$crate::Reason] = &[$($constant),+];
    };
}

/// The core's own reasons: framing, routing, services, the gateway itself.
pub mod core {
    crate::reasons! {
        BAD_REQUEST = "bad_request" 400 Client "The request is malformed.",
            means "The bytes on the wire are not a valid HTTP request: the log's `detail` names the fault (for example `conflicting_length`).",
            do "Fix the client. Narthex is strict on purpose: a request that two parsers could read in two ways is how smuggling begins.";
        BAD_PATH = "bad_path" 400 Client "The path is not acceptable.",
            means "The path has an encoded slash, backslash, NUL or control byte, a malformed percent sign, or leaves the root.",
            do "Fix the client; where the service really needs encoded slashes, set `encoded_slashes: keep` on the route.";
        URI_TOO_LONG = "uri_too_long" 414 Client "The request target is too long.",
            means "The target is longer than the listener's bound `uri_bytes`.",
            do "Send less in the URL, or raise the listener's bound.";
        HEAD_TOO_LARGE = "head_too_large" 431 Client "The request's header fields are too large.",
            means "The header block has more bytes or more fields than the listener's bounds allow; the detail says which.",
            do "Look for cookies that grow; or raise `header_bytes` or `header_fields` in the listener's bounds.";
        HEAD_TIMEOUT = "head_timeout" 408 Client "The request's head took too long.",
            means "The client began a request and did not finish its header block within the listener's bound `header_time`.",
            do "A slow or hostile client; raise the time-out only for clients that you know.";
        BODY_TIMEOUT = "body_timeout" 408 Client "The request's body stalled.",
            means "The client sent no byte of its body for the listener's `body_idle_time`, or fewer than `body_rate` in a second, on average and after `body_grace`; the detail says which.",
            do "A slow client, a broken network, or somebody who wants to hold connections; raise `body_idle_time`, or lower `body_rate`, if such clients are expected.";
        TOO_MANY_CONNECTIONS = "too_many_connections" 503 Client "Too many connections.",
            means "The listener has as many connections as `connections` allows, or the client has as many as `connections_per_ip`; the detail says which. The connection is closed before its first request.",
            do "Look at who is connected: a client without keep-alive, a balancer in front (raise `connections_per_ip`, or let it speak the PROXY protocol), an attack. Otherwise raise the bound.";
        VERSION_UNSUPPORTED = "version_unsupported" 505 Client "This HTTP version is not supported.",
            means "The request line asks for an HTTP version other than 1.0 and 1.1.",
            do "Fix the client.";
        EXPECTATION_FAILED = "expectation_failed" 417 Client "This expectation is not supported.",
            means "The request's Expect is something other than `100-continue`.",
            do "Fix the client.";
        UNKNOWN_HOST = "unknown_host" 404 Client "No such host here.",
            means "No gateway on this listener claims the request's host.",
            do "Compare the Host with the gateways' `hosts`: `narthex routes` lists them.";
        MISDIRECTED = "misdirected_request" 421 Client "This connection is not for this host.",
            means "The request's host is neither the name that the connection was opened for nor one that its certificate stands for, or its clients must prove something else than this connection did.",
            do "An HTTP/2 client that shares connections between hosts opens a new one by itself. Otherwise: is the host among the names of a certificate, and does the client send the right SNI?";
        NO_ROUTE = "no_route" 404 Client "No such resource.",
            means "The gateway has no route that matches the request.",
            do "`narthex explain 'METHOD URL'` shows the nearest routes and the first predicate that fails in each.";
        API_VERSION_MISSING = "api_version_missing" 400 Client "The request names no version of this API.",
            means "The gateway has `versions` without a `default`, and none of the places in `from` names a version.",
            do "Fix the client; or give `versions` a `default`. `narthex explain 'METHOD URL' -H …` shows what is found.";
        API_VERSION_UNKNOWN = "api_version_unknown" 404 Client "This version of the API does not exist.",
            means "The request names a version that is not among the gateway's `versions`; the detail lists those that there are.",
            do "Fix the client; or give `versions` a `fallback` for requests of versions that there are not.";
        API_VERSION_NOT_ACCEPTABLE = "api_version_not_acceptable" 406 Client "None of the acceptable versions exists.",
            means "Accept names versions of the API, none of them is among the gateway's `versions`, and nothing else is acceptable to the client.",
            do "Fix the client: let it accept a version that there is, or `*/*;q=0.1` too.";
        API_VERSION_GONE = "api_version_gone" 410 Client "This version of the API has ended.",
            means "The version's `sunset` in the gateway's `versions` is past.",
            do "Move the client to a newer version: `narthex_api_version_requests_total` says which callers still ask. To give them more time move `sunset`.";
        METHOD_NOT_ALLOWED = "method_not_allowed" 405 Client "This method is not allowed here.",
            means "A route matches in everything but the method; `Allow` lists those that would match.",
            do "Fix the client, or add the method to the route.";
        CONNECT_REFUSED = "connect_not_supported" 501 Client "CONNECT is not supported.",
            means "The client asked for a forward proxy's tunnel.",
            do "Narthex is a reverse proxy: send the request itself.";
        UPGRADE_REFUSED = "upgrade_refused" 501 Client "This protocol upgrade is not supported here.",
            means "The request asks for an upgrade that its route cannot carry.",
            do "Remove the Upgrade header, or use a protocol that the route supports.";
        BODY_TOO_LARGE = "body_too_large" 413 Client "The request's body is too large.",
            means "The body is larger than a `body_limit`, or than the bound for bodies that a policy must see whole.",
            do "Send less, or raise the limit that the log names.";
        NO_INSTANCE = "no_instance" 503 Service "The service is not available.",
            means "The service has no instance at all: its name resolves to nothing.",
            do "Check the service's `url` or `instances` and, for a name, its DNS: `narthex status` shows both.";
        SERVICE_BUSY = "service_busy" 503 Service "The service is busy.",
            means "Every instance of the service is at its bound of connections or requests.",
            do "Add instances or raise `max_connections` or `max_requests`.";
        OVERLOADED = "overloaded" 503 Gateway "The gateway is overloaded.",
            means "The gateway's memory or its connections are past the watermark of `overload`; the detail says which. New requests are shed before anything is done for them, those in work go on. `Retry-After` says when it is worth asking again.",
            do "`narthex status` and the log say since when. More instances of the gateway, more memory, or a lower rate of requests; is a bound (`buffered_body_bytes`, `connections`) set too high for this machine?";
        CIRCUIT_OPEN = "circuit_open" 503 Service "The service is not asked for the moment.",
            means "The service's `breaker` found it failing or slow: its circuit is open, half open or rising. `Retry-After` says when it is worth asking again.",
            do "Look at the service: the log has a line with the cause at each change of its circuit; `narthex status` shows how it stands.";
        CONNECT_FAILED = "connect_failed" 502 Service "The service cannot be reached.",
            means "A TCP connection to the instance was refused or reset.",
            do "Is the instance up, and listening where the log's `instance` says?";
        CONNECT_TIMEOUT = "connect_timeout" 504 Service "The service cannot be reached in time.",
            means "The instance did not accept a connection within `connect` (1 s by default).",
            do "Check the network and the instance's load.";
        TLS_FAILED = "tls_failed" 502 Service "No secure connection to the service.",
            means "The TLS handshake with the instance failed; the log's `detail` says how: an unknown authority, a wrong name, an expired certificate, a client certificate that it did not accept.",
            do "`openssl s_client -connect INSTANCE -servername NAME` shows the instance's certificate; compare it with the service's `tls` settings.";
        TLS_TIMEOUT = "tls_timeout" 504 Service "No secure connection to the service in time.",
            means "The instance did not finish the TLS handshake within `tls` (2 s by default).",
            do "Does the instance speak TLS at this port? Look at its load.";
        SERVICE_TIMEOUT = "service_timeout" 504 Service "The service did not answer in time.",
            means "No byte of an answer within `first_byte` (5 s by default) of the request being sent.",
            do "Look at the service; raise `first_byte` where it is known to be slow.";
        DEADLINE = "deadline_exceeded" 504 Service "The request took too long.",
            means "The route's `deadline` (15 s by default) passed before the response's head.",
            do "Look at the log's durations: what took the time is named there.";
        SERVICE_CLOSED = "service_closed" 502 Service "The service closed the connection.",
            means "The instance closed or reset the connection before its answer's head was complete, and the request could not be replayed safely.",
            do "Look for a crash or a restart of the instance in its own log.";
        SERVICE_PROTOCOL = "service_protocol" 502 Service "The service sent an invalid response.",
            means "The instance's answer is not valid HTTP; the log's `detail` names the fault.",
            do "Fix the service: an answer that can be read in two ways is not forwarded.";
        SERVICE_HEAD_TOO_LARGE = "service_head_too_large" 502 Service "The service's header fields are too large.",
            means "The answer's header block is larger than the service's bounds.",
            do "Look for a growing Set-Cookie, or raise the service's bound.";
        SERVICE_TRUNCATED = "service_truncated" 502 Service "The service's answer broke off.",
            means "The connection ended in the middle of the response's body. The client's connection is cut, so that it sees an incomplete answer.",
            do "Look for a crash of the instance in its own log.";
        CLIENT_GONE = "client_gone" 499 Client "The client went away.",
            means "The client closed its connection before the answer was complete. Nobody sees this status: it stands in the log and the metrics only.",
            do "Nothing, if rare; otherwise look at the client's own time-outs.";
        POLICY_UNAVAILABLE = "policy_unavailable" 503 Gateway "A required check is not available.",
            means "A policy of this route needs something (a key file, a key set, a store) that is not there. Narthex never lets a request pass a policy that it cannot run.",
            do "`narthex status` names the policy and what it waits for.";
        INTERNAL = "internal" 500 Gateway "The gateway failed.",
            means "A defect of the gateway (a panic) ended this request, and this one only.",
            do "Please report it with the log line of this request id.";
        LOOP_DETECTED = "loop_detected" 508 Gateway "The request went in circles.",
            means "The request's Via names this gateway more often than allowed: a service of it is the gateway itself.",
            do "Check the services' addresses.";
        DISPATCH_TOO_DEEP = "dispatch_too_deep" 508 Gateway "The request went in circles inside the gateway.",
            means "A destination asked another route of the gateway, that route's destination the next, and so on, deeper than the listener's `dispatch_depth`.",
            do "Look for routes that ask each other; raise `dispatch_depth` only where so many levels are meant.";
    }
}

/// The core's reasons as a list.
pub const CORE_REASONS: &[Reason] = core::REASONS;
