//! To a service and back to its response's head: prepare, pick, connect, send, read, and replay where that is safe.

use std::rc::Rc;
use std::sync::Arc;

use narthex_contract::{Detail, Reply, ServiceId, core};

use narthex_wire::Scheme;

use crate::converse::{Attempt, converse};
use crate::exchange::{Interrupt, Line, Run};
use crate::forwarded;
use crate::service::{Call, Calling, Failure, HostRule, Service};
use crate::snapshot::{PathEdit, Route};
use crate::upgrade;

/// Instances that are tried where none could have begun to process the request.
const TRIES: u16 = 3;

/// `Ok(Ok)`: the response's head is in `run.response`.
pub async fn forward(
    run: &mut Run,
    line: &mut Line<'_>,
    id: ServiceId,
    route: &Arc<Route>,
) -> Result<Result<Call, Reply>, Interrupt> {
    let snapshot = Rc::clone(&line.snapshot);
    let Some(service) = snapshot.service(id) else { return Ok(Err(core::INTERNAL.into())) };
    run.exchange.service = Some(Arc::clone(&service.name));
    prepare(run, line, service, route);
    let mut upgrades = route.upgrades;
    upgrades.websocket &= line.client.takes_tunnels();
    if let Some(refused) = upgrade::settle(run, line.worker, upgrades) {
        return Ok(Err(refused));
    }
    run.exchange.timings.service_begun = line.worker.now();
    let mut avoid = None;
    let mut replays = 0;
    loop {
        run.exchange.attempts += 1;
        let (failure, instance) = match attempt(run, line, service, route, avoid).await? {
            Ok(Attempt::Answered(call)) => {
                run.exchange.answered = narthex_contract::Answered::Service;
                let took = run.exchange.timings.first_byte - run.exchange.timings.service_begun;
                service.series.answered(line.worker.index(), took);
                return Ok(Ok(call));
            }
            Ok(Attempt::Refused(reply)) => return Ok(Err(reply)),
            Err(failed) => failed,
        };
        let may_try = run.exchange.attempts < TRIES && failure.is_unprocessed && instance.is_some();
        let may_replay = failure.may_replay && replays == 0;
        if (may_try || may_replay) && run.upload.rewind().is_ok() {
            replays += u16::from(!may_try);
            avoid = instance;
            continue;
        }
        service.series.failed(line.worker.index());
        return Ok(Err(Reply::problem_with(failure.reason, Detail::operator(failure.detail))));
    }
}

/// Edits the head for the service, once, whatever becomes of the first try.
fn prepare(run: &mut Run, line: &Line<'_>, service: &Service, route: &Route) {
    let exchange = &mut run.exchange;
    if !run.is_prepared {
        run.is_prepared = true;
        forwarded::forward(line.plan.forwarded, exchange, line.peer, &mut run.scratch);
        let edited = match &route.edit {
            PathEdit::Keep => Ok(()),
            PathEdit::Strip(prefix) => exchange.request.set_path(stripped(&exchange.path, prefix)),
            PathEdit::Rewrite(_) => exchange.request.set_path(&run.rewritten),
        };
        debug_assert!(edited.is_ok(), "a part of a normalised path is a valid path");
    }
    exchange.request.scheme = if service.settings.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let stored = match &service.settings.host {
        HostRule::Keep if exchange.authority.is_empty() => {
            exchange.request.point_to(&service.settings.authority)
        }
        HostRule::Keep => exchange.request.set_authority(&exchange.authority),
        HostRule::Fixed(host) => exchange.request.point_to(host),
    };
    debug_assert!(stored.is_ok(), "hosts are checked where they are configured or parsed");
}

fn stripped<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// A new connection: TCP, then TLS where the service wants it, each within its own time.
async fn open(
    run: &Run,
    line: &mut Line<'_>,
    service: &Arc<Service>,
    route: &Route,
    calling: Calling,
) -> Result<Result<Call, Failure>, Interrupt> {
    let times = route.service_times.over(&service.settings.times);
    let late = |reason, text: &'static str| Ok(Err(Failure::new(reason, text).unprocessed()));
    let due = line.due(times.connect);
    let worker = line.worker;
    let mut opened = match line.wait_for(due, calling.connect(worker)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(failure)) => return Ok(Err(failure)),
        Err(Interrupt::TimedOut) => return late(core::CONNECT_TIMEOUT, "no connection within `connect`"),
        Err(interrupt) => return Err(interrupt),
    };
    if let Some(tls) = &service.settings.tls {
        let tls = tls.load_full();
        let due = line.due(times.tls);
        opened = match line.wait_for(due, Box::pin(opened.secure(&tls))).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(failure)) => return Ok(Err(failure)),
            Err(Interrupt::TimedOut) => return late(core::TLS_TIMEOUT, "no TLS handshake within `tls`"),
            Err(interrupt) => return Err(interrupt),
        };
    }
    let due = line.due(times.connect);
    match line.wait_for(due, opened.begin(worker, &run.exchange.request)).await {
        Ok(begun) => Ok(begun),
        Err(Interrupt::TimedOut) => late(core::CONNECT_TIMEOUT, "no HTTP/2 connection within `connect`"),
        Err(interrupt) => Err(interrupt),
    }
}

type Failed = (Failure, Option<u64>);

async fn attempt(
    run: &mut Run,
    line: &mut Line<'_>,
    service: &Arc<Service>,
    route: &Route,
    avoid: Option<u64>,
) -> Result<Result<Attempt, Failed>, Interrupt> {
    run.response.clear();
    let calling = match Calling::begin(service, line.worker, avoid) {
        Ok(calling) => calling,
        Err(failure) => return Ok(Err((failure, None))),
    };
    let instance = calling.instance.id;
    run.exchange.instance = Some(calling.instance.address);
    let call = match calling.reuse(line.worker, &run.exchange.request) {
        Ok(call) => call,
        Err(calling) => match open(run, line, service, route, calling).await? {
            Ok(call) => call,
            Err(failure) => return Ok(Err((failure, Some(instance)))),
        },
    };
    run.exchange.timings.connected = line.worker.now();
    let outcome = converse(run, line, service, route, call).await?;
    Ok(outcome.map_err(|failure| (failure, Some(instance))))
}
