//! What `narthex status` and the administration interface show. Plain data, read off what runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use narthex_proxy::{Health, Instance, Service};
use narthex_telemetry::{InstanceState, ServiceState};
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
    /// `memory` or `connections`: there is too much of it, and new requests are shed.
    pub overloaded: Option<&'static str>,
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
    /// Too few instances are well, and all are used.
    pub panic: bool,
    pub instances: Vec<InstanceStatus>,
}

#[derive(Debug, Clone, Serialize)]
pub struct InstanceStatus {
    pub address: SocketAddr,
    pub weight: u32,
    pub in_flight: u32,
    /// `healthy`, `unhealthy`, `ejected`, `unknown`.
    pub health: &'static str,
    /// Why it is ejected.
    pub cause: Option<&'static str>,
    /// What it takes to answer, where requests go by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ewma_ms: Option<f64>,
}

impl InstanceStatus {
    fn of(instance: &Instance, now: u64) -> Self {
        let health = instance.standing.health();
        let ewma = instance.standing.ewma.read(now);
        Self {
            address: instance.address,
            weight: instance.weight,
            in_flight: instance.in_flight(),
            health: health.as_str(),
            cause: match health {
                Health::Ejected(cause) => Some(cause.as_str()),
                _ => None,
            },
            ewma_ms: (ewma > 0).then_some(ewma as f64 / 1e6),
        }
    }
}

/// What the metrics say of a service's instances.
pub(super) fn instances_of(service: &Service, now: u64) -> ServiceState {
    let set = service.instances();
    let instances = set.all.iter().map(|instance| {
        let health = instance.standing.health();
        InstanceState {
            address: instance.address,
            is_healthy: health == Health::Well,
            is_ejected: matches!(health, Health::Ejected(_)),
            ewma: Some(instance.standing.ewma.read(now)).filter(|ewma| *ewma > 0),
        }
    });
    ServiceState {
        service: service.name.to_string(),
        is_panic: set.is_panic(),
        instances: instances.collect(),
    }
}

impl ServiceStatus {
    /// The service's name and how it is now.
    pub(super) fn of(service: &Service, now: u64) -> (String, Self) {
        let set = service.instances();
        let status = Self {
            requests_in_flight: service.state().requests_in_flight(),
            retries_in_flight: service.state().retries_in_flight(),
            circuit: service.circuit().map(narthex_proxy::Circuit::as_str),
            pending: service.state().pending(),
            limit: service.adaptive_limit(),
            connections: service.state().open_connections(),
            panic: set.is_panic(),
            instances: set.all.iter().map(|instance| InstanceStatus::of(instance, now)).collect(),
        };
        (service.name.to_string(), status)
    }
}
