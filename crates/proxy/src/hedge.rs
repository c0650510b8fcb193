//! Hedging: a read that is slow is asked of another instance too, and the head that comes first is the answer. The other
//! try is dropped, which ends its connection or stream and counts against nobody. Requests that are not hedged never come here.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use narthex_net::Deadline;
use narthex_wire::{Framing, Method};
use smallvec::SmallVec;

use crate::aside::Aside;
use crate::converse::Attempt;
use crate::exchange::{Interrupt, Line, Run};
use crate::forward::{Begun, Trying, begin, carry_out};
use crate::service::{Balance, Circuit, Failure, Place, Quantile, Service};
use crate::worker::Worker;

/// A quantile of less would make every other request a second one.
const LEAST: Duration = Duration::from_millis(1);

/// When a request is sent a second time without having failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HedgeRules {
    pub after: HedgeAfter,
    /// Further tries of one request.
    pub max: u16,
}

/// How long the head of the answer may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HedgeAfter {
    Time(Duration),
    /// What most answers take.
    Quantile(Arc<Quantile>),
}

impl HedgeRules {
    /// `None`: not known yet.
    fn after(&self) -> Option<Duration> {
        match &self.after {
            HedgeAfter::Time(time) => Some(*time),
            HedgeAfter::Quantile(quantile) => quantile.value().map(|value| value.max(LEAST)),
        }
    }
}

/// Whether the request may be on its way twice at once.
pub fn is_apt(run: &Run, service: &Service) -> bool {
    let request = &run.exchange.request;
    // A cookie that binds a client to an instance would move it.
    let is_bound = matches!(service.settings.balance, Balance::Sticky(_));
    let is_read = matches!(request.method, Method::Get | Method::Head | Method::Options);
    is_read && request.framing == Framing::None && request.upgrade().is_none() && !is_bound
}

/// What the tries of one request share.
struct Race<'r> {
    service: &'r Arc<Service>,
    worker: &'r Rc<Worker>,
    rules: &'r HedgeRules,
    /// Instances that were asked.
    asked: RefCell<SmallVec<[u64; 4]>>,
    /// Further tries that were sent.
    sent: Cell<u16>,
}

/// A further try that answered.
struct Won {
    aside: Box<Aside>,
    place: Place,
}

type Further<'f> = Pin<Box<dyn Future<Output = Option<Won>> + 'f>>;

/// How the first phase ended, in which the first try is under way.
enum First {
    /// The first try has ended, or the client has left: nobody else is under way, or matters.
    Ended(Result<Result<Attempt, Failure>, Interrupt>),
    /// It has failed, and others are under way.
    Failed(Failure),
    Outrun(Won),
}

/// As `carry_out`, with further tries where the first is slow.
pub async fn race(
    run: &mut Run,
    line: &mut Line<'_>,
    trying: &mut Trying<'_>,
    begun: Begun<'_>,
    rules: &HedgeRules,
) -> Result<Result<Attempt, Failure>, Interrupt> {
    let Some(after) = rules.after() else {
        let ended = carry_out(run, line, trying, begun).await?;
        learn(run, line, trying, rules, ended.is_ok());
        return Ok(ended);
    };
    let race = Race {
        service: trying.service,
        worker: line.worker,
        rules,
        asked: RefCell::new(trying.avoid.clone()),
        sent: Cell::new(0),
    };
    let mut template = spare(run, line);
    let due = run.due;
    let mut further: SmallVec<[Further<'_>; 1]> = SmallVec::new();
    let first = {
        let next = trying.begun.saturating_add(after.as_nanos() as u64);
        let first = pin!(carry_out(run, line, trying, begun));
        race.run(first, &mut further, &mut template, trying, (after, next)).await
    };
    let ended = match first {
        First::Ended(ended) => ended?,
        First::Outrun(won) => Ok(take(run, trying, won, &race)),
        First::Failed(failure) => {
            match line.wait_for(due, poll_fn(|cx| poll_further(cx, &mut further))).await {
                Ok(Some(won)) => Ok(take(run, trying, won, &race)),
                Ok(None) | Err(Interrupt::TimedOut) => Err(failure),
                Err(interrupt) => return Err(interrupt),
            }
        }
    };
    run.exchange.attempts += race.sent.get();
    drop(further);
    trying.avoid = race.asked.into_inner();
    learn(run, line, trying, rules, ended.is_ok());
    Ok(ended)
}

impl<'r> Race<'r> {
    /// `next`: how far apart tries are, and when the second is due.
    async fn run<'f>(
        &'f self,
        mut first: Pin<&mut impl Future<Output = Result<Result<Attempt, Failure>, Interrupt>>>,
        further: &mut SmallVec<[Further<'f>; 1]>,
        template: &mut Aside,
        trying: &Trying<'f>,
        (after, mut next): (Duration, u64),
    ) -> First {
        let mut deadline = Deadline::default();
        let (mut is_over, mut begun) = (false, 0);
        poll_fn(|cx| {
            if let Poll::Ready(ended) = first.as_mut().poll(cx) {
                return Poll::Ready(match ended {
                    Ok(Err(failure)) if !further.is_empty() => First::Failed(failure),
                    ended => First::Ended(ended),
                });
            }
            loop {
                if !further.is_empty()
                    && let Poll::Ready(Some(won)) = poll_further(cx, further)
                {
                    return Poll::Ready(First::Outrun(won));
                }
                if is_over || deadline.poll(cx, self.worker.clock(), next).is_pending() {
                    return Poll::Pending;
                }
                let now = self.worker.refresh();
                match self.enter() {
                    Some(place) => further.push(Box::pin(self.ask(place, again(template), trying.copy()))),
                    None => is_over = true,
                }
                next = now.saturating_add(after.as_nanos() as u64);
                begun += 1;
                is_over |= begun >= self.rules.max;
            }
        })
        .await
    }

    /// Whether one more may be sent: never to a service that does badly, nor over its budget.
    fn enter(&self) -> Option<Place> {
        if self.service.circuit().is_some_and(|circuit| circuit != Circuit::Closed) {
            return None;
        }
        let place = self.service.state().enter_retry(&self.service.settings.budget);
        if place.is_none() {
            self.service.series.over_budget(self.worker.index());
        }
        place
    }

    /// A further try: `None` where it does not answer, or there is no other instance.
    async fn ask(&self, place: Place, mut aside: Box<Aside>, mut trying: Trying<'_>) -> Option<Won> {
        trying.avoid.clone_from(&self.asked.borrow());
        {
            let (run, mut line) = aside.parts();
            let begun = begin(run, &line, &mut trying).ok()?;
            let instance = begun.instance();
            if self.asked.borrow().contains(&instance) {
                return None;
            }
            self.asked.borrow_mut().push(instance);
            self.sent.set(self.sent.get() + 1);
            self.service.series.hedged(self.worker.index());
            let ended = carry_out(run, &mut line, &trying, begun).await;
            if !matches!(ended, Ok(Ok(Attempt::Answered))) {
                return None;
            }
        }
        Some(Won { aside, place })
    }
}

/// Ready with the first that answers, or with nothing when none is left.
fn poll_further(cx: &mut Context<'_>, further: &mut SmallVec<[Further<'_>; 1]>) -> Poll<Option<Won>> {
    let mut won = None;
    further.retain(|one| {
        if won.is_some() {
            return true;
        }
        match one.as_mut().poll(cx) {
            Poll::Ready(ended) => {
                won = ended;
                false
            }
            Poll::Pending => true,
        }
    });
    if won.is_some() || further.is_empty() { Poll::Ready(won) } else { Poll::Pending }
}

/// The same request with a way of its own. It has no body: its head is all that is sent.
fn spare(run: &Run, line: &Line<'_>) -> Box<Aside> {
    let mut aside = Box::new(Aside::of(run, line));
    let own = aside.run();
    own.upload.skip();
    (own.due, own.client_due, own.has_deadline) = (run.due, run.client_due, true);
    aside
}

fn again(template: &mut Aside) -> Box<Aside> {
    let (run, line) = template.parts();
    spare(run, &line)
}

/// The further try's answer becomes the request's. What the first had is dropped.
fn take(run: &mut Run, trying: &mut Trying<'_>, won: Won, race: &Race<'_>) -> Attempt {
    let Won { mut aside, place } = won;
    let own = aside.run();
    std::mem::swap(&mut run.response, &mut own.response);
    run.call = own.call.take();
    run.exchange.instance = own.exchange.instance;
    run.exchange.timings.connected = own.exchange.timings.connected;
    run.exchange.timings.first_byte = own.exchange.timings.first_byte;
    run.upload.finish();
    trying.place.get_or_insert(place);
    race.service.series.hedge_won(race.worker.index());
    Attempt::Answered
}

/// How long the head took, whoever brought it: one that was outrun took longer still.
fn learn(run: &Run, line: &Line<'_>, trying: &Trying<'_>, rules: &HedgeRules, is_answered: bool) {
    if let (HedgeAfter::Quantile(quantile), true) = (&rules.after, is_answered) {
        let first_byte = run.exchange.timings.first_byte;
        quantile.note(first_byte.saturating_sub(trying.begun), line.worker.now());
    }
}
