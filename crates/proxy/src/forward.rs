//! To a service and back to its response's head: prepare, pick, connect, send, read, and replay where that is safe.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use narthex_contract::{Detail, Reply, ServiceId, core};
use narthex_net::{HeadError, Inbound};

use crate::exchange::{Interrupt, Line, Run};
use crate::forwarded;
use crate::pump::Broken;
use crate::service::{Call, Calling, Failure, HostRule, Service};
use crate::snapshot::{PathEdit, Route};
use crate::stream::{client_fault, poll_upload};

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
        forwarded::forward(line.plan.forwarded, exchange, line.peer.text.as_bytes(), &mut run.scratch);
        let edited = match &route.edit {
            PathEdit::Keep => Ok(()),
            PathEdit::Strip(prefix) => exchange.request.set_path(stripped(&exchange.path, prefix)),
            PathEdit::Rewrite(_) => exchange.request.set_path(&run.rewritten),
        };
        debug_assert!(edited.is_ok(), "a part of a normalised path is a valid path");
        let upgraded = exchange.request.set_upgrade(None);
        debug_assert!(upgraded.is_ok(), "removing cannot fail");
    }
    let host = match &service.settings.host {
        HostRule::Keep => &exchange.authority,
        HostRule::Fixed(host) => &**host,
    };
    if !host.is_empty() {
        let stored = exchange.request.set_authority(host);
        debug_assert!(stored.is_ok(), "hosts are checked where they are configured or parsed");
    }
}

fn stripped<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// How a try ended well.
enum Attempt {
    Answered(Call),
    /// Not the service's failure: the request's body is refused.
    Refused(Reply),
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
        Err(calling) => {
            let due = line.due(route.service_times.over(&service.settings.times).connect);
            let worker = line.worker;
            match line.wait_for(due, calling.connect(worker, &run.exchange.request)).await {
                Ok(Ok(call)) => call,
                Ok(Err(failure)) => return Ok(Err((failure, Some(instance)))),
                Err(Interrupt::TimedOut) => {
                    let failure = Failure::new(core::CONNECT_TIMEOUT, "no connection within `connect`");
                    return Ok(Err((failure.unprocessed(), Some(instance))));
                }
                Err(interrupt) => return Err(interrupt),
            }
        }
    };
    run.exchange.timings.connected = line.worker.now();
    let outcome = converse(run, line, service, route, call).await?;
    Ok(outcome.map_err(|failure| (failure, Some(instance))))
}

/// What one turn of the conversation brought.
enum Turn {
    Head(Result<(), HeadError>),
    Upload(Broken),
}

/// Sends the request and reads the response's head, both at once.
async fn converse(
    run: &mut Run,
    line: &mut Line<'_>,
    service: &Arc<Service>,
    route: &Route,
    mut call: Call,
) -> Result<Result<Attempt, Failure>, Interrupt> {
    let times = &route.service_times.over(&service.settings.times);
    let mut interim = 0;
    let first_byte = times.first_byte.min(route.times.deadline).as_nanos() as u64;
    let mut broken: Option<Broken> = None;
    let mut moved = (0, line.worker.now());
    let mut has_waited = false;
    loop {
        // Until the service says `100`, or answers, the client owes nothing (RFC 9110 10.1.1).
        let awaits_continue = run.exchange.request.expect_continue && interim == 0;
        let turn = {
            let Run { upload, whole_body, response, exchange, .. } = run;
            std::future::poll_fn(|cx| {
                if broken.is_none()
                    && !upload.is_done()
                    && let Poll::Ready(Err(error)) =
                        poll_upload(upload, whole_body, cx, line.client, &mut call.outbound)
                {
                    return Poll::Ready(Ok(Turn::Upload(error)));
                }
                let method = &exchange.request.method;
                if let Poll::Ready(read) =
                    call.outbound.poll_head(cx, response, method, &service.settings.limits)
                {
                    return Poll::Ready(Ok(Turn::Head(read)));
                }
                let mark = if upload.is_done() { u64::MAX } else { upload.carried };
                if mark != moved.0 {
                    // Before the first wait the time is that of the request's head: close enough.
                    let now = if has_waited { line.worker.refresh() } else { line.worker.now() };
                    moved = (mark, now);
                }
                has_waited = true;
                let is_its_turn = upload.is_done() || (awaits_continue && upload.carried == 0);
                let patience = if is_its_turn { first_byte } else { stall(line, times) };
                line.poll_interrupt(cx, moved.1.saturating_add(patience)).map(Err)
            })
            .await
        };
        run.exchange.bytes_in = run.exchange.bytes_in.max(run.upload.carried);
        match turn {
            Ok(Turn::Head(Ok(()))) if run.response.is_interim() => {
                interim += 1;
                if interim > service.settings.max_interim {
                    return Ok(Err(Failure::new(core::SERVICE_PROTOCOL, "too many interim responses")));
                }
                if let Err(failure) = relay_interim(run, line).await? {
                    return Ok(Err(failure));
                }
            }
            Ok(Turn::Head(Ok(()))) => {
                run.exchange.timings.first_byte = line.worker.refresh();
                return Ok(Ok(Attempt::Answered(call)));
            }
            Ok(Turn::Head(Err(error))) => {
                let mut failure = Failure::of_head(&error);
                let said_nothing = interim == 0 && run.response.buffer_mut().is_empty();
                if failure.reason == core::SERVICE_CLOSED && said_nothing {
                    let is_idempotent = run.exchange.request.method.is_idempotent();
                    failure.may_replay = is_idempotent || (call.is_reused && !call.outbound.wrote_any());
                }
                return Ok(Err(failure));
            }
            Ok(Turn::Upload(Broken::Refused(reply))) => return Ok(Ok(Attempt::Refused(reply))),
            Ok(Turn::Upload(Broken::Source(fault))) => {
                return client_fault(fault).map(|reply| Ok(Attempt::Refused(reply)));
            }
            // The instance takes no more: it may have answered already.
            Ok(Turn::Upload(error @ Broken::Sink)) => broken = Some(error),
            Err(Interrupt::ClientGone) => return Err(Interrupt::ClientGone),
            Err(Interrupt::TimedOut)
                if run.upload.is_done()
                    || broken.is_some()
                    || (awaits_continue && run.upload.carried == 0) =>
            {
                let is_deadline = route.times.deadline < times.first_byte;
                let reason = if is_deadline { core::DEADLINE } else { core::SERVICE_TIMEOUT };
                return Ok(Err(Failure::new(reason, "no response's head in time")));
            }
            Err(Interrupt::TimedOut) => return Ok(stalled(run)),
        }
    }
}

/// How long the request's body may stand still.
fn stall(line: &Line<'_>, times: &crate::ServiceTimes) -> u64 {
    times.write.min(line.plan.bounds.body).as_nanos() as u64
}

fn stalled(run: &Run) -> Result<Attempt, Failure> {
    match run.upload.waits_for() {
        crate::pump::WaitsFor::Source => Ok(Attempt::Refused(core::BODY_TIMEOUT.into())),
        crate::pump::WaitsFor::Sink => {
            Err(Failure::new(core::SERVICE_TIMEOUT, "the instance took no more of the request's body"))
        }
    }
}

/// A 1xx goes on to the client as it comes (RFC 9110 15.2); 101 nobody asked for.
async fn relay_interim(run: &mut Run, line: &mut Line<'_>) -> Result<Result<(), Failure>, Interrupt> {
    if run.response.status == 101 {
        return Ok(Err(Failure::new(core::SERVICE_PROTOCOL, "101 without an upgrade")));
    }
    line.client.interim(&run.response, &run.exchange.request);
    run.response.next_after_interim();
    let due = line.due(line.plan.bounds.write);
    let mut nothing = narthex_net::BodyBuffer::default();
    let sent = line.wait(due, |cx, client: &mut Inbound| client.poll_send(cx, &mut nothing, false)).await?;
    if sent.is_err() { Err(Interrupt::ClientGone) } else { Ok(Ok(())) }
}
