//! Step 7 of a request's life: counted, logged, given back. From a drop guard, so that it always happens.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use narthex_contract::{EndCx, Tls, Verdicted, grpc};
use narthex_telemetry::{AccessRecord, InstanceAddress, TlsRecord, TunnelEnd};
use narthex_wire::{Address, Version};

use crate::exchange::Run;
use crate::worker::Worker;

/// The status that stands in the log for a client that left.
pub const CLIENT_GONE: u16 = 499;

/// An exchange in work. Dropping it ends it, however that came.
pub struct Finish {
    run: Option<Box<Run>>,
    worker: Rc<Worker>,
    /// Nothing happened that anybody would want to know.
    pub is_void: bool,
    pub is_client_gone: bool,
}

impl Finish {
    pub fn new(worker: &Rc<Worker>) -> Self {
        worker.metrics().exchanges.add(1);
        Self { run: Some(worker.take_run()), worker: Rc::clone(worker), is_void: false, is_client_gone: true }
    }
}

impl Deref for Finish {
    type Target = Run;

    fn deref(&self) -> &Run {
        self.run.as_deref().expect("it is there until the drop")
    }
}

impl DerefMut for Finish {
    fn deref_mut(&mut self) -> &mut Run {
        self.run.as_deref_mut().expect("it is there until the drop")
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return };
        self.worker.metrics().exchanges.sub(1);
        if !self.is_void {
            end(&run, &self.worker, self.is_client_gone);
            crate::versioning::count(&run, &self.worker);
        }
        self.worker.give_run(run);
    }
}

fn end(run: &Run, worker: &Worker, is_client_gone: bool) {
    let exchange = &run.exchange;
    let status = if is_client_gone { CLIENT_GONE } else { run.response.status };
    let now = worker.now();
    let total = now.saturating_sub(exchange.began.monotonic);
    let times = &exchange.timings;
    let gateway_time = total.saturating_sub(in_service(times, now));
    let cx = EndCx { exchange, status, duration: total };
    if let Some(route) = &run.route {
        route.chain.on_end(&cx);
        // An exchange that became a tunnel was answered when that began: its hours would say nothing about the gateway.
        let answered = if run.tunnel.is_some() { times.first_byte } else { now };
        let took = answered.saturating_sub(exchange.began.monotonic);
        route.series.record(worker.index(), status, took, gateway_time);
    }
    match &run.gateway {
        Some(gateway) => {
            gateway.before.on_end(&cx);
            if run.route.is_none() {
                gateway.series.record(worker.index(), status, total, gateway_time);
            }
        }
        None => worker.metrics().unrouted.add(1),
    }
    let reason = if is_client_gone { Some(narthex_contract::core::CLIENT_GONE) } else { exchange.reason() };
    if let Some(reason) = reason {
        worker.count_refusal(reason.code());
    }
    worker.log(|| {
        let first_byte = times.first_byte.saturating_sub(times.service_begun);
        let label = exchange.label.as_deref();
        (
            AccessRecord {
                unix_ms: exchange.began.unix_ms,
                request_id: &exchange.request_id,
                trace_id: &[],
                client: (!exchange.client.is_unix).then_some(exchange.client.ip),
                caller: exchange.caller.as_deref().map(|caller| &*caller.id),
                method: exchange.request.method.as_str(),
                host: &exchange.host,
                path: if exchange.path.is_empty() { exchange.request.path() } else { &exchange.path },
                protocol: protocol(run.protocol),
                status,
                grpc_status: call_status(run),
                reason: reason.map(narthex_contract::Reason::code),
                detail: exchange.operator_detail.as_ref().map(|detail| &*detail.0),
                listener: "",
                gateway: label.map_or("", |label| &label.gateway),
                route: label.map_or("", |label| &label.route),
                api_version: exchange.api_version.as_deref(),
                service: exchange.service.as_deref(),
                instance: exchange.instance.map(instance),
                attempts: exchange.attempts,
                not_retried: exchange.not_retried,
                fallback: exchange.fallback,
                total,
                service_time: first_byte,
                connect: times.connected.saturating_sub(times.service_begun),
                gateway_time,
                bytes_in: exchange.bytes_in,
                bytes_out: exchange.bytes_out,
                shadowed: shadowed(run),
                tunnel: run.tunnel.map_or("", TunnelEnd::as_str),
                tls: exchange.tls.as_deref().map(record_tls),
            },
            exchange.trace.trace_id_hex(),
        )
    });
}

/// Nanoseconds that the service had.
fn in_service(times: &narthex_contract::Timings, now: u64) -> u64 {
    let until = if times.service_done > 0 { times.service_done } else { now };
    if times.service_begun > 0 { until.saturating_sub(times.service_begun) } else { 0 }
}

/// How a gRPC call ended, where its answer says it.
pub(crate) fn call_status(run: &Run) -> Option<u32> {
    if !grpc::is_call(&run.exchange.request) {
        return None;
    }
    run.download.call_status.or_else(|| grpc::status(&run.response.head))
}

fn record_tls(tls: &Tls) -> TlsRecord<'_> {
    TlsRecord {
        version: tls.version,
        cipher: tls.cipher,
        sni: tls.sni.as_deref(),
        client: tls.client.as_ref().map(|client| (&*client.subject, &*client.fingerprint)),
    }
}

/// An instance's address as the log has it.
pub fn instance(address: Address) -> InstanceAddress<'static> {
    match address {
        Address::Ip(address) => InstanceAddress::Ip(address),
        Address::Unix(path) => InstanceAddress::Unix(path.as_str()),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
    }
}

/// The reason that a shadow would have answered with.
fn shadowed(run: &Run) -> &'static str {
    run.exchange
        .trail
        .iter()
        .find_map(|entry| match entry.verdict {
            Verdicted::WouldAnswer(reason) => Some(reason.map_or("answer", narthex_contract::Reason::code)),
            _ => None,
        })
        .unwrap_or("")
}
