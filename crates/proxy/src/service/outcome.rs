//! What became of one try at an instance, and who is told: the one place from which breakers, limits and health learn.
//! Decides nothing about the request itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use narthex_contract::{Reason, core};

use super::breaker::Change;
use super::{Circuit, Instance, Pass, Service};
use crate::Worker;

/// What became of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response's head came. `status` is that of HTTP; where a gRPC status is known by then, the HTTP status that stands
    /// for it. `took`: nanoseconds from the beginning of the try.
    Answered { status: u16, took: u64 },
    /// No response. `local`: the gateway saw no answer at all (no connection, a reset, a time-out); otherwise what came
    /// was none.
    Failed { reason: Reason, local: bool },
    /// Nobody waited for the end: the client left, or another try was faster. Says nothing about the instance.
    Abandoned,
}

impl Outcome {
    /// The outcome of a try that failed for this reason.
    pub fn failed(reason: Reason) -> Self {
        let is_answered = reason == core::SERVICE_PROTOCOL || reason == core::SERVICE_HEAD_TOO_LARGE;
        Self::Failed { reason, local: !is_answered }
    }

    /// `Some(true)`: the service did badly. `None`: this says nothing about it. A client's fault (4xx) is none of the
    /// service's.
    pub fn is_bad(&self) -> Option<bool> {
        match self {
            Self::Answered { status, .. } => Some(*status >= 500),
            // The gateway's own bounds were in the way, or nothing was asked.
            Self::Failed { reason, .. } if *reason == core::SERVICE_BUSY || *reason == core::NO_INSTANCE => {
                None
            }
            Self::Failed { .. } => Some(true),
            Self::Abandoned => None,
        }
    }
}

/// The HTTP status that stands for a gRPC status (the mapping of `google.rpc.Code`).
pub fn http_of_grpc(code: u8) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

impl Service {
    /// Whether the service's circuit lets a request pass. `Err`: not, and when it is worth asking again.
    pub fn admit(&self, now: u64, random: impl FnOnce() -> u64) -> Result<Pass, Duration> {
        let Some(rules) = &self.settings.breaker else { return Ok(Pass::Plain) };
        let (passes, change) = self.state.breaker.admit(rules, now, random());
        if let Some(change) = change {
            self.tell(change);
        }
        passes
    }

    /// Each try that was admitted ends here exactly once, or by `measure` and later `judge`. `now`: monotonic nanoseconds.
    pub fn observe(&self, instance: &Instance, outcome: &Outcome, pass: Pass, now: u64) {
        self.measure(instance, outcome, now);
        self.judge(instance, outcome, pass, now);
    }

    /// What an answer's head says: the time that it took.
    pub fn measure(&self, instance: &Instance, outcome: &Outcome, now: u64) {
        self.note_time(instance, outcome, now);
        if let (Some(rules), Outcome::Answered { took, status: ..500 }) = (&self.settings.adaptive, outcome) {
            self.state.adaptive.observe(rules, *took, self.state.requests_in_flight(), now);
        }
    }

    /// Whether it was well: for the circuit, and for the ejection of instances.
    fn judge(&self, instance: &Instance, outcome: &Outcome, pass: Pass, now: u64) {
        self.count(instance, outcome);
        if let Some(rules) = &self.settings.breaker {
            let took = match outcome {
                Outcome::Answered { took, .. } => Some(*took),
                _ => None,
            };
            let change = self.state.breaker.observe(rules, pass, outcome.is_bad(), took, now);
            if let Some(change) = change {
                self.tell(change);
            }
        }
    }

    /// Each change of the circuit is known to the metrics and the log.
    #[cold]
    fn tell(&self, change: Change) {
        let Change { from, to, cause } = change;
        self.series.show_circuit(Some(to as u64));
        let (from, to_text, cause) = (from.as_str(), to.as_str(), cause.as_str());
        if to == Circuit::Open {
            self.series.circuit_opened();
            tracing::warn!(service = %self.name, from, to = to_text, cause, "a circuit opened");
        } else {
            tracing::info!(service = %self.name, from, to = to_text, cause, "a circuit changed");
        }
    }
}

/// The answer of a gRPC call whose status is yet to come, behind its messages: judged when it is known, or by its head where
/// nobody reads that far.
pub struct Unjudged {
    service: Arc<Service>,
    instance: Arc<Instance>,
    worker: Rc<Worker>,
    outcome: Outcome,
}

impl Unjudged {
    pub fn new(
        service: &Arc<Service>,
        instance: &Arc<Instance>,
        worker: &Rc<Worker>,
        outcome: Outcome,
    ) -> Self {
        let (service, instance) = (Arc::clone(service), Arc::clone(instance));
        Self { service, instance, worker: Rc::clone(worker), outcome }
    }

    pub fn learn(&mut self, code: u8) {
        if let Outcome::Answered { status, .. } = &mut self.outcome {
            *status = http_of_grpc(code);
        }
    }
}

impl Drop for Unjudged {
    fn drop(&mut self) {
        self.service.judge(&self.instance, &self.outcome, Pass::Plain, self.worker.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_own_faults_count() {
        let answered = |status| Outcome::Answered { status, took: 1 }.is_bad();
        assert_eq!(
            (answered(200), answered(404), answered(429), answered(499)),
            (Some(false), Some(false), Some(false), Some(false))
        );
        assert_eq!((answered(500), answered(503)), (Some(true), Some(true)));
        assert_eq!(Outcome::Abandoned.is_bad(), None);
        for reason in [core::CONNECT_FAILED, core::SERVICE_TIMEOUT, core::SERVICE_CLOSED, core::DEADLINE] {
            assert_eq!(Outcome::failed(reason), Outcome::Failed { reason, local: true });
            assert_eq!(Outcome::failed(reason).is_bad(), Some(true));
        }
        assert_eq!(Outcome::failed(core::SERVICE_BUSY).is_bad(), None);
        assert!(matches!(Outcome::failed(core::SERVICE_PROTOCOL), Outcome::Failed { local: false, .. }));
    }

    #[test]
    fn grpc_has_its_http_statuses() {
        assert_eq!(
            (http_of_grpc(0), http_of_grpc(14), http_of_grpc(3), http_of_grpc(99)),
            (200, 503, 400, 500)
        );
    }
}
