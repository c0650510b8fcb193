//! The conversation with one instance: the request goes out while the response's head is awaited, interim responses
//! go on to the client, and each way to fail gets its reason. Picks no instance and tries no second one.

use std::sync::Arc;
use std::task::Poll;

use narthex_contract::{core, grpc};
use narthex_net::{HeadError, Inbound};

use crate::ServiceTimes;
use crate::exchange::{Interrupt, Line, Run};
use crate::pump::{Broken, WaitsFor};
use crate::service::{Failure, Service};
use crate::snapshot::Route;
use crate::stream::{client_fault, poll_upload, slow_body};
use crate::upgrade;

/// How a conversation ended well.
pub enum Attempt {
    /// The head is in `Run::response`.
    Answered,
    /// Not the service's failure: the request's body is refused.
    Refused(narthex_contract::Reply),
}

/// What one turn of the conversation brought.
enum Turn {
    Head(Result<(), HeadError>),
    Upload(Broken),
}

/// What it depends on, and how far it has come.
struct Conversation<'c> {
    service: &'c Service,
    route: &'c Route,
    times: ServiceTimes,
    /// Nanoseconds that the service has from the request's last byte.
    first_byte: u64,
    /// The route's deadline is shorter than the service's own time.
    is_deadline: bool,
    interim: u32,
    /// The instance takes no more of the request: it may have answered already.
    is_broken: bool,
    /// How far the request's body had come, and when.
    moved: (u64, u64),
    has_waited: bool,
    /// When the try is over, however it stands.
    limit: u64,
    /// From when on the request's body must come at its rate, and since when the service takes no more of it.
    rated: (u64, Option<u64>),
}

/// Sends the request by `Run::call` and reads the response's head, both at once, until `limit` (monotonic nanoseconds) at
/// most.
pub async fn converse(
    run: &mut Run,
    line: &mut Line<'_>,
    service: &Arc<Service>,
    route: &Route,
    limit: u64,
) -> Result<Result<Attempt, Failure>, Interrupt> {
    let times = route.service_times.over(&service.settings.times);
    let mut conversation = Conversation {
        service,
        route,
        times,
        first_byte: times.first_byte.min(route.times.deadline).as_nanos() as u64,
        is_deadline: route.times.deadline < times.first_byte,
        interim: 0,
        is_broken: false,
        moved: (0, line.worker.now()),
        has_waited: false,
        limit,
        rated: (line.worker.now(), None),
    };
    loop {
        let turn = conversation.turn(run, line).await;
        run.exchange.bytes_in = run.exchange.bytes_in.max(run.upload.carried);
        match turn {
            Ok(Turn::Head(Ok(()))) if run.response.status == 101 => {
                if let Err(what) = upgrade::check(run) {
                    return Ok(Err(Failure::new(core::SERVICE_PROTOCOL, what)));
                }
                run.exchange.timings.first_byte = line.worker.refresh();
                return Ok(Ok(Attempt::Answered));
            }
            Ok(Turn::Head(Ok(()))) if run.response.is_interim() => {
                if let Err(failure) = conversation.relay_interim(run, line).await? {
                    return Ok(Err(failure));
                }
            }
            Ok(Turn::Head(Ok(()))) => {
                run.exchange.timings.first_byte = line.worker.refresh();
                return Ok(Ok(Attempt::Answered));
            }
            Ok(Turn::Head(Err(error))) => return Ok(Err(conversation.no_head(run, &error))),
            Ok(Turn::Upload(Broken::Refused(reply))) => return Ok(Ok(Attempt::Refused(reply))),
            Ok(Turn::Upload(Broken::Source(fault))) => {
                return client_fault(fault).map(|reply| Ok(Attempt::Refused(reply)));
            }
            Ok(Turn::Upload(Broken::Sink)) => conversation.is_broken = true,
            Err(Interrupt::ClientGone) => return Err(Interrupt::ClientGone),
            Err(Interrupt::TimedOut) => return Ok(conversation.late(run, line)),
        }
    }
}

impl Conversation<'_> {
    /// Until the service says `100`, or answers, the client owes nothing (RFC 9110 10.1.1).
    fn is_services_turn(&self, run: &Run) -> bool {
        let awaits_continue = run.exchange.request.expect_continue && self.interim == 0;
        run.upload.is_done() || self.is_broken || (awaits_continue && run.upload.carried == 0)
    }

    async fn turn(&mut self, run: &mut Run, line: &mut Line<'_>) -> Result<Turn, Interrupt> {
        std::future::poll_fn(|cx| {
            let Run { upload, whole_body, response, exchange, call: Some(call), .. } = &mut *run else {
                return Poll::Ready(Ok(Turn::Head(Err(HeadError::Closed))));
            };
            if !self.is_broken && !upload.is_done() {
                let polled = poll_upload(upload, whole_body, cx, line.client, &mut call.outbound);
                if let Poll::Ready(Err(error)) = polled {
                    return Poll::Ready(Ok(Turn::Upload(error)));
                }
            }
            let (method, limits) = (&exchange.request.method, &self.service.settings.limits);
            if let Poll::Ready(read) = call.outbound.poll_head(cx, response, method, limits) {
                return Poll::Ready(Ok(Turn::Head(read)));
            }
            let mark = if run.upload.is_done() { u64::MAX } else { run.upload.carried };
            if mark != self.moved.0 {
                if mark == u64::MAX {
                    run.begin_deadline(line, self.route);
                }
                // Before the first wait the time is that of the request's head: close enough.
                let now = if self.has_waited { line.worker.refresh() } else { line.worker.now() };
                self.moved = (mark, now);
            }
            self.has_waited = true;
            let due = if self.is_services_turn(run) {
                self.moved.1.saturating_add(self.first_byte)
            } else {
                self.moved.1.saturating_add(self.stall(line)).min(self.rate_due(run, line))
            };
            let due = due.min(self.limit).min(run.due);
            line.poll_interrupt(cx, due).map(Err)
        })
        .await
    }

    /// How long the request's body may stand still.
    fn stall(&self, line: &Line<'_>) -> u64 {
        self.times.write.min(line.plan.bounds.body).as_nanos() as u64
    }

    /// When the request's body is too slow. What the service does not take, nobody need send.
    fn rate_due(&mut self, run: &Run, line: &Line<'_>) -> u64 {
        let rate = line.plan.bounds.body_rate;
        if rate.rate == 0 || grpc::is_call(&run.exchange.request) {
            return u64::MAX;
        }
        match (run.upload.waits_for(), self.rated.1) {
            (WaitsFor::Sink, since) => {
                if since.is_none() {
                    self.rated.1 = Some(line.worker.refresh());
                }
                u64::MAX
            }
            (WaitsFor::Source, since) => {
                if let Some(since) = since {
                    let blocked = line.worker.refresh().saturating_sub(since);
                    self.rated = (self.rated.0.saturating_add(blocked), None);
                }
                rate.due(self.rated.0, run.upload.carried)
            }
        }
    }

    fn no_head(&self, run: &mut Run, error: &HeadError) -> Failure {
        let mut failure = Failure::of_head(error);
        let Some(call) = &run.call else { return failure };
        let said_nothing = self.interim == 0 && run.response.buffer_mut().is_empty();
        if failure.reason == core::SERVICE_CLOSED && said_nothing {
            let is_idempotent = run.exchange.request.method.is_idempotent();
            failure.may_replay = is_idempotent || (call.is_reused && !call.outbound.wrote_any());
        }
        failure
    }

    fn late(&self, run: &Run, line: &Line<'_>) -> Result<Attempt, Failure> {
        let now = line.worker.refresh();
        if now >= run.due {
            return Err(Failure::new(core::DEADLINE, "no response's head before the deadline"));
        }
        if now >= self.limit {
            return Err(Failure::new(core::SERVICE_TIMEOUT, "no response's head within `per_try`"));
        }
        if self.is_services_turn(run) {
            let reason = if self.is_deadline { core::DEADLINE } else { core::SERVICE_TIMEOUT };
            return Err(Failure::new(reason, "no response's head in time"));
        }
        match run.upload.waits_for() {
            WaitsFor::Source => {
                let stalled = now.saturating_sub(self.moved.1) >= self.stall(line);
                Ok(Attempt::Refused(slow_body(if stalled { "body_idle_time" } else { "body_rate" })))
            }
            WaitsFor::Sink => {
                Err(Failure::new(core::SERVICE_TIMEOUT, "the instance took no more of the request's body"))
            }
        }
    }

    /// A 1xx goes on to the client as it comes (RFC 9110 15.2).
    async fn relay_interim(
        &mut self,
        run: &mut Run,
        line: &mut Line<'_>,
    ) -> Result<Result<(), Failure>, Interrupt> {
        self.interim += 1;
        if self.interim > self.service.settings.max_interim {
            return Ok(Err(Failure::new(core::SERVICE_PROTOCOL, "too many interim responses")));
        }
        line.client.interim(&run.response, &run.exchange.request);
        run.response.next_after_interim();
        let due = line.due(line.plan.bounds.write);
        let mut nothing = narthex_net::BodyBuffer::default();
        let sent =
            line.wait(due, |cx, client: &mut Inbound| client.poll_send(cx, &mut nothing, false)).await?;
        if sent.is_err() { Err(Interrupt::ClientGone) } else { Ok(Ok(())) }
    }
}
