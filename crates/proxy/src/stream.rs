//! Streaming: the response to the client, the rest of the request to the service, both at once; and reading a
//! request's body whole where a policy asked for that. Decides nothing about what is streamed.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use narthex_contract::{Body, Detail, Reason, Reply, core, grpc};
use narthex_net::{BodyBuffer, Fault, Fill, Inbound, Outbound};
use narthex_telemetry::TunnelEnd;
use narthex_wire::{Framing, Head, Known, ResponseHead, Version};

use crate::answer::{Answer, refusal};
use crate::exchange::{Interrupt, Line, Run};
use crate::finish::call_status;
use crate::problem::end_fields;
use crate::pump::{Broken, OwnBody, Pump, WaitsFor};
use crate::routing::leaves_much_unread;
use crate::service::Call;
use crate::snapshot::{DeadlineScope, Route};
use crate::tunnel::{Rules, Tunnel, drained};

/// For so long the end of a stream is waited for whose length is reached (HTTP/2 ends it apart from that): the client has
/// its answer, and its next request waits behind it.
const END: Duration = Duration::from_millis(200);

/// The request's whole body, at most `bound` bytes. The gateway answers `100-continue` itself, because it buffers.
pub async fn read_whole(
    run: &mut Run,
    line: &mut Line<'_>,
    bound: usize,
) -> Result<Result<Vec<u8>, Reply>, Interrupt> {
    let mut body = Vec::new();
    let mut buffer = BodyBuffer::default();
    if run.exchange.request.expect_continue {
        line.client.interim(&ResponseHead::new(100), &run.exchange.request);
        let due = line.due(line.plan.bounds.write);
        let sent = line.wait(due, |cx, client| client.poll_send(cx, &mut buffer, false)).await?;
        if sent.is_err() {
            return Err(Interrupt::ClientGone);
        }
    }
    let (began, rate) = (line.worker.now(), line.plan.bounds.body_rate);
    loop {
        let (idle_due, rate_due) = (line.due(line.plan.bounds.body), rate.due(began, body.len() as u64));
        let due = idle_due.min(rate_due);
        let filled = match line.wait(due, |cx, client| client.poll_fill(cx, &mut buffer)).await {
            Ok(filled) => filled,
            Err(Interrupt::TimedOut) => {
                return Ok(Err(slow_body(if due == idle_due { "body_idle_time" } else { "body_rate" })));
            }
            Err(interrupt) => return Err(interrupt),
        };
        let fill = match filled {
            Ok(fill) => fill,
            Err(fault) => return client_fault(fault).map(Err),
        };
        if body.len() + buffer.data().len() > bound {
            let detail = Detail::operator(format!(
                "a policy must see the body whole, which is bounded by {bound} bytes"
            ));
            return Ok(Err(Reply::problem_with(core::BODY_TOO_LARGE, detail)));
        }
        body.extend_from_slice(buffer.data());
        buffer.advance(usize::MAX);
        buffer.reset();
        run.exchange.bytes_in = body.len() as u64;
        if fill == Fill::End {
            return Ok(Ok(body));
        }
    }
}

/// The refusal of a body that does not come, or not fast enough. `bound`: which one it was.
pub fn slow_body(bound: &'static str) -> Reply {
    Reply::problem_with(core::BODY_TIMEOUT, Detail::client(bound))
}

/// What a broken request body means: the client is gone, or sent what is no body.
pub fn client_fault(fault: Fault) -> Result<Reply, Interrupt> {
    match fault {
        Fault::Malformed(error) => {
            let detail = Detail {
                operator: Detail::operator(error.to_string()).operator,
                ..Detail::client(error.code())
            };
            Ok(Reply::problem_with(core::BAD_REQUEST, detail))
        }
        _ => Err(Interrupt::ClientGone),
    }
}

/// Moves the request's body on, from where it is: the client, or memory.
pub fn poll_upload(
    upload: &mut Pump,
    whole_body: &mut Option<OwnBody>,
    cx: &mut Context<'_>,
    client: &mut Inbound,
    outbound: &mut Outbound,
) -> Poll<Result<(), Broken>> {
    match whole_body {
        Some(body) => upload.poll(cx, body, outbound),
        None => upload.poll(cx, client, outbound),
    }
}

/// How streaming ended, where the client is still there.
pub enum Streamed {
    /// The answer is out, or visibly cut.
    Over,
    /// The body is invalid and nothing of the answer was written yet: this one instead.
    Instead(Answer),
}

/// Step 6. The response's body goes to the client; what is left of the request's goes on to the service.
pub async fn stream(run: &mut Run, line: &mut Line<'_>, answer: Answer) -> Result<Streamed, Interrupt> {
    let close =
        line.close || leaves_much_unread(line.client, &run.exchange.request, line.plan.bounds.drain_bytes);
    let body = match answer {
        Answer::Own(body) => body,
        Answer::Service => Body::Empty,
        Answer::Tunnel => {
            Box::pin(tunnel(run, line)).await;
            return Ok(Streamed::Over);
        }
    };
    run.is_started = true;
    let has_body = line.client.start(&run.response, &run.exchange.request, close);
    let ended = carry(run, line, has_body, body).await;
    run.exchange.bytes_in = run.exchange.bytes_in.max(run.upload.carried);
    run.exchange.bytes_out = run.download.carried;
    run.exchange.timings.service_done = line.worker.refresh();
    match ended {
        Ok(Ok(())) => {
            if let Some(call) = run.call.take() {
                call.end(call_status(run), line.worker);
            }
            Ok(Streamed::Over)
        }
        _ if is_whole(run, line, &ended) => Box::pin(end_whole(run, line)).await,
        Ok(Err(broken)) => fall_short(run, line, Ok(broken)),
        Err(interrupt) => fall_short(run, line, Err(interrupt)),
    }
}

/// Moves both bodies until the response's is through.
fn carry(
    run: &mut Run,
    line: &mut Line<'_>,
    has_body: bool,
    body: Body,
) -> impl Future<Output = Result<Result<(), Broken>, Interrupt>> {
    let mut own = OwnBody::new(if has_body { body } else { Body::Empty });
    // Most answers are through before anybody has to wait.
    let mut patience: Option<Patience> = None;
    let Run { upload, download, whole_body, response, route, exchange, call, .. } = run;
    let began = exchange.began.monotonic;
    let mut is_broken = false;
    std::future::poll_fn(move |cx| {
        if let Some(call) = call
            && !upload.is_done()
            && !is_broken
        {
            // A request that breaks off now cannot change the answer: it only ends the connections. Nothing of it may
            // follow, for the service would see a body with a hole.
            let polled = poll_upload(upload, whole_body, cx, line.client, &mut call.outbound);
            is_broken = matches!(polled, Poll::Ready(Err(_)));
        }
        let polled = match call {
            Some(call) if has_body => download.poll(cx, &mut call.outbound, line.client),
            _ => download.poll(cx, &mut own, line.client),
        };
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(Ok(ended));
        }
        let patience = patience
            .get_or_insert_with(|| Patience::of(response, route.as_deref(), began, line, call.as_ref()));
        let is_whole = response.framing == Framing::Length(download.carried);
        let due = patience.due(line, upload.carried + download.carried, download.waits_for(), is_whole);
        line.poll_interrupt(cx, due).map(Err)
    })
}

/// The answer did not come through whole.
fn fall_short(
    run: &mut Run,
    line: &mut Line<'_>,
    ended: Result<Broken, Interrupt>,
) -> Result<Streamed, Interrupt> {
    let is_clients = run.download.waits_for() == WaitsFor::Sink;
    let (reason, detail) = match ended {
        Ok(broken) => why_broken(broken)?,
        Err(Interrupt::TimedOut) => {
            let whom = if is_clients { "the client" } else { "the service" };
            (core::DEADLINE, format!("the response's body stalled: waited for {whom}"))
        }
        Err(Interrupt::ClientGone) => return Err(Interrupt::ClientGone),
    };
    run.call = None;
    if !is_clients && may_end_call(run) {
        return Ok(end_call(run, line, reason, detail));
    }
    Ok(break_off(run, line, reason, detail))
}

/// Whether the service broke off, or says nothing more, and all that the head announced was handed to a client on
/// HTTP/1.1, which takes the answer for whole by its length.
fn is_whole(run: &Run, line: &Line<'_>, ended: &Result<Result<(), Broken>, Interrupt>) -> bool {
    let is_services = match ended {
        Ok(Err(Broken::Source(_))) => true,
        Err(Interrupt::TimedOut) => run.download.waits_for() == WaitsFor::Source,
        _ => false,
    };
    let is_all = run.response.framing == Framing::Length(run.download.carried);
    is_services && is_all && matches!(line.client, Inbound::H1(_))
}

/// The service's stream broke behind the body (HTTP/2 ends it apart from its length): no cut would show the client
/// anything, a close would only cost it its next request.
async fn end_whole(run: &mut Run, line: &mut Line<'_>) -> Result<Streamed, Interrupt> {
    run.call = None;
    let due = line.due(line.plan.bounds.write);
    let mut nothing = BodyBuffer::default();
    let sent = line.wait(due, |cx, client| client.poll_send(cx, &mut nothing, true)).await?;
    sent.map_err(|_| Interrupt::ClientGone)?;
    run.exchange.operator_detail = Detail::operator("the service broke off behind the whole body").operator;
    Ok(Streamed::Over)
}

/// Whether the answer under way is one to a gRPC client that reads trailers, and nobody edits it.
fn may_end_call(run: &mut Run) -> bool {
    run.protocol == Version::Http2
        && run.download.steps().is_empty()
        && grpc::is_call(&run.exchange.request)
        && grpc::content_type(&run.response.head).is_some()
}

/// A call whose service broke off ends with a status of the gateway's: its client learns why, where a reset says nothing.
fn end_call(run: &mut Run, line: &mut Line<'_>, reason: Reason, detail: String) -> Streamed {
    let mut trailers = Head::new();
    end_fields(&mut trailers, reason, None);
    run.download.call_status = grpc::status(&trailers);
    run.exchange.answered = narthex_contract::Answered::Gateway(reason);
    run.exchange.operator_detail = Detail::operator(detail).operator;
    line.client.end(Some(&trailers));
    Streamed::Over
}

/// Step 6, where the service has changed the protocol. Whatever goes live meanwhile, the route stays the one that the
/// tunnel began with.
async fn tunnel(run: &mut Run, line: &mut Line<'_>) {
    let Some(mut call) = run.call.take() else { return };
    // No policy unmakes what the service has begun.
    run.response.set_status(101);
    run.is_started = true;
    line.client.start(&run.response, &run.exchange.request, true);
    line.client.become_tunnel();
    let times = call.service().settings.times;
    let route = run.route.clone();
    let idle = route.as_ref().map_or(times.tunnel_idle, |route| route.service_times.over(&times).tunnel_idle);
    let Line { client, deadline, worker, listener, snapshot, plan, .. } = line;
    let tunnel = Tunnel {
        worker,
        deadline,
        client,
        service: &mut call.outbound,
        rules: Rules { idle, is_websocket: true },
    };
    let carried = tunnel
        .carry(|| {
            let live = worker.snapshot();
            if Rc::ptr_eq(&live, snapshot) {
                return drained(worker);
            }
            // The configuration that it began with is let go, but for its route.
            let own = route.as_ref().filter(|route| route.upgrades.close_when_removed);
            let is_removed = own.is_some_and(|route| !live.has_route(*listener, &route.label));
            if let Some(now) = live.listener(*listener) {
                *plan = Arc::clone(now);
            }
            *snapshot = live;
            if is_removed { Some(TunnelEnd::RouteRemoved) } else { drained(worker) }
        })
        .await;
    run.exchange.bytes_in = carried.from_client;
    run.exchange.bytes_out = carried.from_service;
    run.exchange.timings.service_done = line.worker.refresh();
    run.tunnel = Some(carried.end);
    run.is_cut = matches!(carried.end, TunnelEnd::ClientLost | TunnelEnd::ServiceLost);
}

/// How long a body may stand still.
struct Patience {
    /// For the client to take bytes, and for the service to send them.
    write: Duration,
    idle: Duration,
    /// The end of everything, where the route's deadline covers the body.
    limit: u64,
    /// How much had come through when somebody last waited anew, and until when.
    last: Option<(u64, u64)>,
}

impl Patience {
    fn of(
        response: &ResponseHead,
        route: Option<&Route>,
        began: u64,
        line: &Line<'_>,
        call: Option<&Call>,
    ) -> Self {
        let write = line.plan.bounds.write;
        let idle = call.map_or(write, |call| {
            let times = &call.service().settings.times;
            let times = route.map_or(*times, |route| route.service_times.over(times));
            // Events come when there are some.
            if is_event_stream(response) { times.idle.max(times.tunnel_idle) } else { times.idle }
        });
        let whole = route.filter(|route| route.times.scope == DeadlineScope::Whole);
        let limit =
            whole.map_or(u64::MAX, |route| began.saturating_add(route.times.deadline.as_nanos() as u64));
        Self { write, idle, limit, last: None }
    }

    /// When the wait ends. `is_whole`: all that the answer's head announced is handed on.
    fn due(&mut self, line: &Line<'_>, moved: u64, whom: WaitsFor, is_whole: bool) -> u64 {
        if let Some((before, due)) = self.last
            && before == moved
        {
            return due;
        }
        line.worker.refresh();
        let patience = match whom {
            WaitsFor::Sink => self.write,
            WaitsFor::Source if is_whole && matches!(line.client, Inbound::H1(_)) => END,
            WaitsFor::Source => self.idle,
        };
        let due = line.due(patience).min(self.limit);
        self.last = Some((moved, due));
        due
    }
}

/// Server-sent events.
fn is_event_stream(response: &ResponseHead) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let is_endless = matches!(response.framing, Framing::Chunked | Framing::UntilClose);
    let kind = if is_endless { response.head.get_known(Known::ContentType) } else { None };
    let begins_so = |kind: &[u8]| {
        kind.get(..EVENT_STREAM.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
    };
    kind.is_some_and(begins_so)
}

fn why_broken(broken: Broken) -> Result<(Reason, String), Interrupt> {
    match broken {
        Broken::Sink => Err(Interrupt::ClientGone),
        Broken::Source(Fault::Malformed(error)) => {
            Ok((core::SERVICE_PROTOCOL, format!("{}: {error}", error.code())))
        }
        Broken::Source(fault) => Ok((core::SERVICE_TRUNCATED, fault.to_string())),
        Broken::Refused(Reply::Problem { reason, detail }) => {
            let detail =
                detail.operator.map_or_else(|| "a policy refused the response's body".into(), |text| text.0);
            Ok((reason, detail.into_owned()))
        }
        Broken::Refused(Reply::Response(_)) => {
            Ok((core::INTERNAL, "a policy answered in the middle of a body".into()))
        }
    }
}

/// The body ends before its end. Where the head was not written, the client gets another answer; otherwise it must
/// see that this one is cut.
fn break_off(run: &mut Run, line: &mut Line<'_>, reason: Reason, detail: String) -> Streamed {
    let detail = Detail::operator(detail);
    if line.client.take_back() {
        run.download.reset();
        run.is_started = false;
        return Streamed::Instead(refusal(run, reason, detail));
    }
    run.exchange.answered = narthex_contract::Answered::Gateway(reason);
    run.exchange.operator_detail = detail.operator;
    run.is_cut = true;
    line.client.cut();
    Streamed::Over
}
