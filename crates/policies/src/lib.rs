//! Every policy that comes with the gateway: one folder and one line of the registry each.
//!
//! A policy never imports a sibling; what several need is in `shared`. Nothing here opens a socket or spawns a task.

pub mod all_of;
pub mod any_of;
pub mod body_limit;
pub mod compress;
pub mod cors;
pub mod grpc_web;
pub mod headers;
pub mod ip_access;
pub mod request_id;
pub mod security_headers;
mod shared;

#[cfg(test)]
mod conformance;

use narthex_contract::{PolicyEntry, RegisteredPolicy};

/// The registry, in alphabetical order.
pub static POLICIES: &[&dyn RegisteredPolicy] = &[
    &PolicyEntry::<all_of::AllOf>::NEW,
    &PolicyEntry::<any_of::AnyOf>::NEW,
    &PolicyEntry::<body_limit::BodyLimit>::NEW,
    &PolicyEntry::<compress::Compress>::NEW,
    &PolicyEntry::<cors::Cors>::NEW,
    &PolicyEntry::<grpc_web::GrpcWeb>::NEW,
    &PolicyEntry::<headers::Headers>::NEW,
    &PolicyEntry::<ip_access::IpAccess>::NEW,
    &PolicyEntry::<request_id::RequestId>::NEW,
    &PolicyEntry::<security_headers::SecurityHeaders>::NEW,
];

/// The policy kind of that name, as written in configuration.
pub fn policy(name: &str) -> Option<&'static dyn RegisteredPolicy> {
    POLICIES.iter().copied().find(|policy| policy.name() == name)
}
