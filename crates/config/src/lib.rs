//! What a user may write: text -> tree -> `File`, with includes, overlays, `{ env: }`, `{ file: }`, and every check that
//! needs no registry. Names of policies and destinations stay `(kind, Node)`. No async, no sockets; files and the
//! environment are read through what the caller hands in.

mod balance;
mod bounds;
mod breaker;
mod check;
mod date;
mod file;
mod gateway;
mod health;
mod hedge;
mod kind;
mod listener;
mod load;
mod matching;
mod merge;
mod mirror;
mod overload;
mod pem;
mod raw;
mod resolve;
mod retry;
mod schema;
mod service;
mod show;
mod test_case;
mod tls;
mod url;
mod versions;

pub use balance::{Balance, SameSite, Sticky, Subset, SubsetFallback};
pub use bounds::{Bounds, BoundsRow, MirrorBounds, ServiceBounds, VersionBounds, table as bounds_table};
pub use breaker::{Breaker, Latency};
pub use check::check;
pub use date::Date;
pub use file::{AccessLog, Admin, File, LogFormat, Version, Workers};
pub use gateway::{
    Deadline, DeadlineScope, Destination, EncodedSlashes, Gateway, HostPattern, OnRouteRemoved, PolicyRef,
    Route, RouteTimeouts, To, Upgrade,
};
pub use health::{Failures, Health, HealthKind, Outliers, StatusRange, SuccessRate};
pub use hedge::{Hedge, HedgeAfter};
pub use kind::{Mode, PolicyDef, no_settings};
pub use listener::{Forwarded, HttpVersion, Listener, ProxyFrom, SocketMode, TrustedProxy};
pub use load::{LoadOptions, Loaded, load, load_text};
pub use matching::{ClientKind, Match, MatchMap, Method, Methods, Predicate};
pub use mirror::Mirror;
pub use narthex_document::Kind;
pub use overload::Overload;
pub use raw::{ProxyProtocol, ServerName, Tcp, TlsPassthrough};
pub use retry::{Backoff, ErrorStatus, Retry, RetryBudget, RetryOn};
pub use schema::{PolicySchema, schema};
pub use service::{Adaptive, Dns, HostRule, Instance, Protocol, Service, ServiceTimeouts};
pub use show::show;
pub use test_case::{CallerStub, Case, Expect, Stub};
pub use tls::{Certificate, ClientProof, ListenerTls, Pem, ServiceTls, TlsVersion, UnknownName, Verify};
pub use url::{HostPort, ListenAddress, Scheme, ServiceUrl};
pub use versions::{
    HeaderName, MediaTypeVersion, PathVersion, Reference, Version as ApiVersion, VersionLinks, VersionName,
    VersionPlace, Versions,
};

#[cfg(test)]
mod tests;
