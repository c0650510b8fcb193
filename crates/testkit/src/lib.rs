//! What the tests drive a gateway with: a raw client, a service that misbehaves on command, a steady load, a place for
//! files, the runner of `.case` files, and what every kind of policy and destination is checked with. Dev only: no crate that ships may depend on it.
//!
//! Everything blocks on plain threads and everything has a deadline, so no test can hang. Ports are always chosen by
//! the system, and nothing sleeps in order to wait: a test waits for the thing itself ([`Gate`], [`FakeService::wait_until`],
//! [`Load::wait_for`]).
#![expect(
    clippy::disallowed_methods,
    reason = "real sockets need real deadlines; no data-plane code lives here"
)]

mod allocations;
mod authority;
mod cases;
mod client;
pub mod compiling;
pub mod conformance;
pub mod faults;
mod gate;
mod load;
mod message;
mod secure;
mod service;
mod wire;
mod workspace;

pub use allocations::CountingAllocator;
pub use authority::{Authority, Issued, Wanted};
pub use cases::{Case, CaseError, Subject, SubjectGateway, find_cases, run_case};
pub use client::RawClient;
pub use gate::Gate;
pub use load::{Failure, FailureKind, Load, LoadOptions, Report};
pub use message::{BodyEnd, Fields, Head, Response};
pub use secure::{TlsClient, TlsOptions};
pub use service::{Conversation, FakeService, Next, Progress, Received, answer};
pub use wire::Fault;
pub use workspace::Workspace;

#[cfg(test)]
mod tests;
