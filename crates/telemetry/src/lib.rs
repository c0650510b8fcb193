//! The catalogue of metrics and log events: typed handles, no free strings. A leaf: it knows no configuration and no socket.

mod access;
mod addresses;
mod catalogue;
mod counter;
mod date;
mod exposition;
mod json;
mod versions;

pub use access::{AccessLog, AccessRecord, AccessSink, AccessWriter, InstanceAddress, TlsRecord};
pub use catalogue::{
    CertificateState, FloodKind, InstanceState, Metrics, Mirrored, ProcessState, RouteSeries, ServiceSeries,
    ServiceState, TunnelEnd, TurnedAway, WorkerMetrics,
};
pub use counter::{Counter, Histogram, SHARED_BUCKETS};
pub use date::{DateCache, http_date};
pub use versions::VersionSeries;
