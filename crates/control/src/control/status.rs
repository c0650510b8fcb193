//! What `narthex status` and the administration interface show. Plain data, read off what runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use narthex_proxy::Service;
use serde::Serialize;

use super::Source;
use crate::certificates::CertificateStatus;
use crate::feeds::Waiting;

/// What `narthex status` shows.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub version: u64,
    pub hash: String,
    pub source: Source,
    pub applied_unix: u64,
    pub refused: u64,
    pub last_refusal: Option<String>,
    pub ready: bool,
    pub draining: bool,
    pub workers: usize,
    pub connections: usize,
    pub listeners: BTreeMap<String, String>,
    pub services: BTreeMap<String, ServiceStatus>,
    pub certificates: Vec<CertificateStatus>,
    /// Routes that are closed for want of data.
    pub waiting: Vec<Waiting>,
}

/// A service at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceStatus {
    pub requests_in_flight: usize,
    /// Of them, those that were sent before.
    pub retries_in_flight: usize,
    pub connections: usize,
    /// Requests that wait for a connection.
    pub pending: usize,
    /// How its circuit stands: `closed`, `open`, `half_open`, `rising`. Left out: it has no `breaker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<&'static str>,
    /// The limit of requests that `adaptive` has found. Left out: it has no such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    pub instances: Vec<InstanceStatus>,
}

#[derive(Debug, Clone, Serialize)]
pub struct InstanceStatus {
    pub address: SocketAddr,
    pub weight: u32,
    pub in_flight: u32,
}

impl ServiceStatus {
    /// The service's name and how it is now.
    pub(super) fn of(service: &Service) -> (String, Self) {
        let instances = service.instances();
        let instances = instances.all.iter().map(|instance| InstanceStatus {
            address: instance.address,
            weight: instance.weight,
            in_flight: instance.in_flight(),
        });
        let status = Self {
            requests_in_flight: service.state().requests_in_flight(),
            retries_in_flight: service.state().retries_in_flight(),
            circuit: service.circuit().map(narthex_proxy::Circuit::as_str),
            pending: service.state().pending(),
            limit: service.adaptive_limit(),
            connections: service.state().open_connections(),
            instances: instances.collect(),
        };
        (service.name.to_string(), status)
    }
}
