//! To a service and back to its response's head: prepare, pick, connect, send, read, and send once more where that is
//! safe and wanted. What is wanted is decided by `service/retry.rs`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use narthex_contract::{Reply, ServiceId, core};
use narthex_wire::{Framing, Known};
use smallvec::SmallVec;

use narthex_wire::Scheme;

use crate::converse::{Attempt, converse};
use crate::deadline;
use crate::exchange::{Interrupt, Line, Run};
use crate::forwarded;
use crate::grpc;
use crate::hedge::{self, HedgeRules};
use crate::mirror;
use crate::service::{
    Balance, Call, Calling, Cause, Failure, HostRule, Instance, Outcome, Pass, Place, RetryRules, Service,
    Stop, Tried, Unjudged, Verdict, Wish, http_of_grpc, retry_after,
};
use crate::snapshot::{PathEdit, Route};
use crate::upgrade;

/// Bytes of a request's body that are kept for a service that stands in.
const FALLBACK_BODY: usize = 64 * 1024;

/// `Ok(Ok)`: the response's head is in `run.response`, and who sent it in `run.call`.
pub async fn forward(
    run: &mut Run,
    line: &mut Line<'_>,
    id: ServiceId,
    route: &Arc<Route>,
) -> Result<Result<(), Reply>, Interrupt> {
    let snapshot = Rc::clone(&line.snapshot);
    let Some(service) = snapshot.service(id) else { return Ok(Err(core::INTERNAL.into())) };
    run.exchange.service = Some(Arc::clone(&service.name));
    // What is sent to a service that stands in was copied before.
    let mirror = if run.is_prepared { None } else { route.mirror.as_ref() };
    prepare(run, line, service, route);
    let mut upgrades = route.upgrades;
    upgrades.websocket &= line.client.takes_tunnels();
    if let Some(refused) = upgrade::settle(run, line.worker, upgrades) {
        return Ok(Err(refused));
    }
    if let Some(mirror) = mirror {
        mirror::begin(run, line, mirror);
    }
    run.exchange.timings.service_begun = line.worker.now();
    let mut trying = Trying::begin(run, line, service, route);
    loop {
        run.exchange.attempts += 1;
        let ended = match begin(run, line, &mut trying) {
            Err(failure) => Err(failure),
            Ok(begun) => match trying.hedge(run) {
                None => carry_out(run, line, &trying, begun).await?,
                Some(rules) => Box::pin(hedge::race(run, line, &mut trying, begun, rules)).await?,
            },
        };
        let again = match ended {
            Ok(Attempt::Answered) => {
                let again = match trying.rules.watches_answers() {
                    true => Box::pin(trying.weigh_answer(run, line)).await?,
                    false => None,
                };
                let Some(after) = again else {
                    run.exchange.answered = narthex_contract::Answered::Service;
                    let took = run.exchange.timings.first_byte - run.exchange.timings.service_begun;
                    service.series.answered(line.worker.index(), took);
                    trying.end(run);
                    return Ok(Ok(()));
                };
                run.download.take_ahead();
                if let Some(call) = run.call.take() {
                    call.discard(line.worker);
                }
                after
            }
            Ok(Attempt::Refused(reply)) => return Ok(Err(reply)),
            Err(failure) => match trying.weigh_failure(run, line, &failure) {
                Some(after) => after,
                None => {
                    service.series.failed(line.worker.index());
                    return Ok(Err(failure.into_reply()));
                }
            },
        };
        let rewound = run.upload.rewind();
        debug_assert!(rewound.is_ok(), "only what can be had again is sent again");
        if !again.is_zero() {
            Box::pin(pause(line, again)).await?;
        }
    }
}

/// Lets time pass; the client may leave meanwhile.
async fn pause(line: &mut Line<'_>, after: Duration) -> Result<(), Interrupt> {
    let due = line.worker.refresh().saturating_add(after.as_nanos() as u64);
    match line.wait_for(due, std::future::pending::<()>()).await {
        Ok(()) | Err(Interrupt::TimedOut) => {
            line.worker.refresh();
            Ok(())
        }
        Err(interrupt) => Err(interrupt),
    }
}

/// The tries of one request at one service.
pub struct Trying<'t> {
    pub service: &'t Arc<Service>,
    route: &'t Route,
    rules: &'t RetryRules,
    tries: u16,
    /// The one replay that is always allowed was used.
    has_replayed: bool,
    /// When the present try began.
    pub begun: u64,
    /// Instances that were asked.
    pub avoid: SmallVec<[u64; 4]>,
    /// Its place among the service's retries.
    pub place: Option<Place>,
    /// Which instance the request would have.
    wish: Wish,
}

impl<'t> Trying<'t> {
    fn begin(run: &mut Run, line: &Line<'_>, service: &'t Arc<Service>, route: &'t Route) -> Self {
        let rules = route.retry.as_ref().unwrap_or(&service.settings.retry);
        if run.exchange.request.framing == Framing::None {
            run.begin_deadline(line, route);
            run.upload.skip();
        } else {
            let bound = if route.may_send_again() { rules.body.max(FALLBACK_BODY) } else { rules.body };
            let is_longer =
                matches!(run.exchange.request.framing, Framing::Length(length) if length > bound as u64);
            if bound > 0 && !is_longer {
                run.upload.keep_for_replay(bound);
            }
        }
        Self {
            service,
            route,
            rules,
            tries: 0,
            has_replayed: false,
            begun: 0,
            avoid: SmallVec::new(),
            place: None,
            wish: Wish::of(&service.settings, &run.exchange, &mut run.scratch),
        }
    }

    /// `Some`: others are asked too where the first try is slow.
    fn hedge(&self, run: &Run) -> Option<&'t HedgeRules> {
        let rules = self.rules.hedge.as_ref()?;
        (self.tries == 1 && hedge::is_apt(run, self.service)).then_some(rules)
    }

    /// For one more try beside the present one.
    pub fn copy(&self) -> Self {
        let Self { service, route, rules, tries, has_replayed, begun, wish, .. } = *self;
        Self { service, route, rules, tries, has_replayed, begun, avoid: SmallVec::new(), place: None, wish }
    }

    /// `Some`: the answer is not good enough, and the request is sent again after that time.
    async fn weigh_answer(
        &mut self,
        run: &mut Run,
        line: &mut Line<'_>,
    ) -> Result<Option<Duration>, Interrupt> {
        let code =
            if self.rules.on.grpc == 0 { None } else { grpc::status(run, line, self.limit(run)).await? };
        if let (Some(code), Some(call)) = (code, &mut run.call) {
            call.learn(u32::from(code));
        }
        let cause = match code {
            Some(code) if code != 0 => Cause::Grpc(code),
            _ => Cause::Status(run.response.status),
        };
        let said = run.response.head.get_known(Known::RetryAfter);
        let wait = said.and_then(|said| retry_after(said, line.worker.unix_ms()));
        Ok(self.judge(run, line, cause, wait))
    }

    fn weigh_failure(&mut self, run: &mut Run, line: &Line<'_>, failure: &Failure) -> Option<Duration> {
        if failure.may_replay && !self.has_replayed && run.upload.can_rewind() {
            self.has_replayed = true;
            return Some(Duration::ZERO);
        }
        let cause = Cause::of(failure)?;
        self.judge(run, line, cause, None)
    }

    fn judge(
        &mut self,
        run: &mut Run,
        line: &Line<'_>,
        cause: Cause,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let request = &run.exchange.request;
        let has_key = || request.head.get_known(Known::IdempotencyKey).is_some_and(|key| !key.is_empty());
        let verdict = self.rules.judge(&Tried {
            cause,
            tries: self.tries,
            is_safe: request.method.is_idempotent() || has_key(),
            is_whole: run.upload.can_rewind(),
            retry_after,
            left: run.due.saturating_sub(line.worker.now()),
            random: line.worker.random(),
        });
        let stopped = match verdict {
            Verdict::Final => return None,
            Verdict::Stopped(stop) => stop,
            Verdict::Again { after } => {
                if self.may_cost(cause) {
                    self.service.series.retried(line.worker.index());
                    return Some(after);
                }
                self.service.series.over_budget(line.worker.index());
                Stop::Budget
            }
        };
        run.exchange.not_retried = Some(stopped.as_str());
        None
    }

    /// Whether the budget has room. What the service has not begun to process costs it nothing.
    fn may_cost(&mut self, cause: Cause) -> bool {
        if cause.is_unprocessed() || self.place.is_some() {
            return true;
        }
        self.place = self.service.state().enter_retry(&self.service.settings.budget);
        self.place.is_some()
    }

    /// The answer is good. Tells the client by which cookie it comes back to this instance.
    fn end(&mut self, run: &mut Run) {
        let Some(call) = &mut run.call else { return };
        call.retry = self.place.take();
        let Balance::Sticky(sticky) = &self.service.settings.balance else { return };
        if let Some(tag) = self.service.instances().tag_of(&call.instance, &self.wish) {
            let stored = run.response.head.append_raw(b"Set-Cookie", sticky.write(&tag).as_bytes());
            debug_assert!(stored.is_ok(), "name and attributes are checked where they are configured");
        }
    }

    /// When the present try must have brought a response's head.
    fn limit(&self, run: &Run) -> u64 {
        let per_try =
            self.rules.per_try.map_or(u64::MAX, |time| self.begun.saturating_add(time.as_nanos() as u64));
        run.due.min(per_try)
    }
}

/// Edits the head for the service, once, whatever becomes of the first try.
fn prepare(run: &mut Run, line: &Line<'_>, service: &Service, route: &Route) {
    let exchange = &mut run.exchange;
    if !run.is_prepared {
        run.is_prepared = true;
        forwarded::forward(line.plan.forwarded, exchange, line.peer, &mut run.scratch);
        let edited = match &route.edit {
            _ if run.has_own_path => exchange.request.set_path(&run.rewritten),
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

pub(crate) fn stripped<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// A new connection: TCP, then TLS where the service wants it, each within its own time and all within the deadline.
async fn open(
    run: &Run,
    line: &mut Line<'_>,
    trying: &Trying<'_>,
    calling: Calling,
    place: Place,
) -> Result<Result<Call, Failure>, Interrupt> {
    let service = trying.service;
    let times = trying.route.service_times.over(&service.settings.times);
    let (limit, deadline) = (trying.limit(run), run.due);
    let late = |due: u64, reason, text: &'static str| {
        let failure = match deadline <= due {
            true => Failure::new(core::DEADLINE, "no connection before the deadline"),
            false => Failure::new(reason, text),
        };
        Ok(Err(failure.unprocessed()))
    };
    let worker = line.worker;
    // A policy may have blocked since the clock was read: its time must not be the instance's.
    worker.refresh();
    let due = line.due(times.connect).min(limit);
    let mut opened = match line.wait_for(due, calling.connect(place, worker)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(failure)) => return Ok(Err(failure)),
        Err(Interrupt::TimedOut) => {
            return late(due, core::CONNECT_TIMEOUT, "no connection within `connect`");
        }
        Err(interrupt) => return Err(interrupt),
    };
    if let Some(tls) = &service.settings.tls {
        let tls = tls.load_full();
        let due = line.due(times.tls).min(limit);
        opened = match line.wait_for(due, Box::pin(opened.secure(&tls))).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(failure)) => return Ok(Err(failure)),
            Err(Interrupt::TimedOut) => return late(due, core::TLS_TIMEOUT, "no TLS handshake within `tls`"),
            Err(interrupt) => return Err(interrupt),
        };
    }
    let due = line.due(times.connect).min(limit);
    match line.wait_for(due, opened.begin(worker, &run.exchange.request)).await {
        Ok(begun) => Ok(begun),
        Err(Interrupt::TimedOut) => late(due, core::CONNECT_TIMEOUT, "no HTTP/2 connection within `connect`"),
        Err(interrupt) => Err(interrupt),
    }
}

/// A try in work: what becomes of it is told to the service, even if it is dropped.
struct Watched<'w> {
    service: &'w Arc<Service>,
    instance: Arc<Instance>,
    worker: &'w Rc<crate::Worker>,
    begun: u64,
    pass: Pass,
    outcome: Outcome,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.service.observe(&self.instance, &self.outcome, self.pass, self.worker.now());
    }
}

impl Watched<'_> {
    /// Notes the outcome: of a response, by its head.
    fn end(mut self, run: &mut Run, ended: &Result<Attempt, Failure>) {
        self.outcome = match ended {
            Ok(Attempt::Answered) => {
                let code = grpc::code_of_head(&run.response);
                let status = code.map_or(run.response.status, http_of_grpc);
                let took = run.exchange.timings.first_byte.saturating_sub(self.begun);
                let outcome = Outcome::Answered { status, took };
                // A trial of a circuit that is half open is not kept for as long as a stream may last.
                let is_open = code.is_none() && self.pass == Pass::Plain && grpc::is_grpc(&run.response.head);
                match run.call.as_mut().filter(|_| is_open) {
                    Some(call) => {
                        self.service.measure(&self.instance, &outcome, self.worker.now());
                        let unjudged = Unjudged::new(self.service, &self.instance, self.worker, outcome);
                        call.unjudged = Some(Box::new(unjudged));
                        Outcome::Abandoned
                    }
                    None => outcome,
                }
            }
            Ok(Attempt::Refused(_)) => Outcome::Abandoned,
            // The client's own deadline, which it may choose as short as it likes, says nothing about the service.
            Err(failure) if failure.reason == core::DEADLINE && run.is_clients_due() => Outcome::Abandoned,
            Err(failure) => Outcome::failed(failure.reason),
        };
    }
}

/// A try that is about to be sent.
pub struct Begun<'w> {
    calling: Calling,
    watched: Option<Watched<'w>>,
}

impl Begun<'_> {
    /// The id of the instance that was picked.
    pub fn instance(&self) -> u64 {
        self.calling.instance.id
    }
}

/// Picks an instance, where the service may be asked at all.
pub fn begin<'w>(run: &mut Run, line: &Line<'w>, trying: &mut Trying<'w>) -> Result<Begun<'w>, Failure> {
    let service = trying.service;
    run.response.clear();
    trying.tries += 1;
    trying.begun = line.worker.now();
    let calling = Calling::begin(service, line.worker, &trying.avoid, trying.wish)?;
    let calling = calling.on_behalf_of(&run.exchange.client);
    let worker = line.worker;
    let pass = match service.admit(trying.begun, || worker.random()) {
        Ok(pass) => pass,
        Err(after) => {
            let mut failure = Failure::new(core::CIRCUIT_OPEN, "the service's breaker lets nothing pass now");
            failure.retry_after = Some(after);
            return Err(failure);
        }
    };
    trying.avoid.push(calling.instance.id);
    let left = trying.limit(run).min(line.due(trying.route.times.deadline)).saturating_sub(trying.begun);
    deadline::hand_on(&mut run.exchange.request, left, service.settings.pass_deadline);
    run.exchange.instance = Some(calling.instance.address);
    let watched = service.is_observed().then(|| Watched {
        service,
        instance: Arc::clone(&calling.instance),
        worker,
        begun: trying.begun,
        pass,
        outcome: Outcome::Abandoned,
    });
    Ok(Begun { calling, watched })
}

/// Sends the request, and reads the head of the answer.
pub async fn carry_out(
    run: &mut Run,
    line: &mut Line<'_>,
    trying: &Trying<'_>,
    Begun { calling, watched }: Begun<'_>,
) -> Result<Result<Attempt, Failure>, Interrupt> {
    let (service, worker) = (trying.service, line.worker);
    let call = match calling.reuse(worker, &run.exchange.request) {
        Ok(call) => Ok(call),
        Err(calling) => Box::pin(connect(run, line, trying, calling)).await?,
    };
    let ended = match call {
        Ok(call) => {
            run.call = Some(call);
            run.exchange.timings.connected = worker.now();
            converse(run, line, service, trying.route, trying.limit(run)).await?
        }
        Err(failure) => Err(failure),
    };
    if !matches!(ended, Ok(Attempt::Answered)) {
        run.call = None;
    }
    if let Some(watched) = watched {
        watched.end(run, &ended);
    }
    Ok(ended)
}

async fn connect(
    run: &mut Run,
    line: &mut Line<'_>,
    trying: &Trying<'_>,
    calling: Calling,
) -> Result<Result<Call, Failure>, Interrupt> {
    let (calling, place) = match calling.place(line.worker) {
        Some(place) => (calling, place),
        None => match wait_for_place(run, line, trying, calling).await? {
            Ok(Freed::Place(calling, place)) => (calling, place),
            Ok(Freed::Connection(call)) => return Ok(Ok(call)),
            Err(failure) => return Ok(Err(failure)),
        },
    };
    open(run, line, trying, calling, place).await
}

/// What came free for a request that waited.
enum Freed {
    Connection(Call),
    Place(Calling, Place),
}

/// The service is at its maximum of connections: waits in its queue, which is bounded, and not for ever.
async fn wait_for_place(
    run: &mut Run,
    line: &mut Line<'_>,
    trying: &Trying<'_>,
    mut calling: Calling,
) -> Result<Result<Freed, Failure>, Interrupt> {
    let _pending = match calling.queue_up() {
        Ok(pending) => pending,
        Err(failure) => return Ok(Err(failure)),
    };
    let due = line.due(trying.service.settings.times.pending).min(trying.limit(run));
    let worker = line.worker;
    loop {
        match line.wait_for(due, calling.wait_for_place(worker)).await {
            Ok(()) => {}
            Err(Interrupt::TimedOut) if run.due <= due => {
                return Ok(Err(Failure::new(core::DEADLINE, "no connection came free before the deadline")));
            }
            Err(Interrupt::TimedOut) => {
                let detail = "max_connections is reached, and none came free within `timeouts.pending`";
                return Ok(Err(Failure::new(core::SERVICE_BUSY, detail).unprocessed()));
            }
            Err(interrupt) => return Err(interrupt),
        }
        calling = match calling.reuse(worker, &run.exchange.request) {
            Ok(call) => return Ok(Ok(Freed::Connection(call))),
            Err(calling) => calling,
        };
        if let Some(place) = calling.place(worker) {
            return Ok(Ok(Freed::Place(calling, place)));
        }
    }
}
