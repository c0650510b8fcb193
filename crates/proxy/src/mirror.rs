//! Mirroring: a copy of a request goes to another service, whose answer nobody sees. The copy is made of what passes by and
//! sent by a task of its own: it never makes the original wait, fail or hold more than its bounds, and is never sent twice
//! on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use narthex_contract::{ServiceId, grpc};
use narthex_net::{BodyBuffer, Fill, runtime};
use narthex_telemetry::Mirrored;
use narthex_wire::{Framing, Name};

use crate::aside::Aside;
use crate::exchange::{Line, Run};
use crate::finish::call_status;
use crate::forward::forward;
use crate::problem::put;
use crate::snapshot::Route;

/// A route's mirror.
pub struct Mirror {
    pub service: ServiceId,
    /// Hundredths of a percent of the requests.
    pub share: u16,
    /// For a copy, from when it is sent to the end of its answer.
    pub timeout: Duration,
    /// Bytes of a request's body; a longer one is not copied.
    pub body_bytes: usize,
    /// Bytes of an answer's body that are read to keep the connection.
    pub answer_bytes: usize,
    /// Copies under way at once.
    pub requests: usize,
    /// What a copy is marked with.
    pub mark: Box<str>,
    /// The rules by which copies are sent: no policies, no retries, no mirror.
    pub route: Arc<Route>,
    pub under_way: AtomicUsize,
}

fn mark_name() -> Name {
    Name::parse("X-Narthex-Mirror").expect("it is a token")
}

/// One copy under way, in the books of its mirror until it is dropped.
struct Place(Arc<Mirror>);

impl Place {
    fn enter(mirror: &Arc<Mirror>) -> Option<Self> {
        let place = Self(Arc::clone(mirror));
        (mirror.under_way.fetch_add(1, Ordering::AcqRel) < mirror.requests).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Begins a copy of the request, where it gets one: its head is ready for the service, of its body nothing was read yet.
#[inline(never)]
pub fn begin(run: &mut Run, line: &Line<'_>, mirror: &Arc<Mirror>) {
    let (worker, request) = (line.worker, &run.exchange.request);
    let is_chosen = (worker.random() >> 32) % 10_000 < u64::from(mirror.share);
    let mark = mark_name();
    // A tunnel has no copy, and a copy none either: two gateways that mirror each other would never come to an end.
    if !is_chosen || request.upgrade().is_some() || request.head.get(&mark).is_some() {
        return;
    }
    let count = |end| mirror.route.series.mirrored(worker.index(), end);
    if matches!(request.framing, Framing::Length(length) if length > mirror.body_bytes as u64) {
        return count(Mirrored::TooLarge);
    }
    let Some(place) = Place::enter(mirror) else { return count(Mirrored::Busy) };
    let mut aside = Aside::of(run, line);
    put(&mut aside.run().exchange.request.head, &mark, mirror.mark.as_bytes());
    let copying = Copying { kept: Vec::new(), aside: Some((aside, place)) };
    if run.exchange.request.framing == Framing::None {
        copying.send(Framing::None);
    } else {
        run.upload.copy_to(Box::new(copying));
    }
}

/// A request whose body is being copied.
pub struct Copying {
    kept: Vec<u8>,
    /// `None`: it was sent, or given up.
    aside: Option<(Aside, Place)>,
}

impl Copying {
    /// These bytes pass by; `last`: nothing follows. `None`: there is nothing more to copy.
    pub fn note(mut self: Box<Self>, bytes: &[u8], last: bool) -> Option<Box<Self>> {
        let bound = self.aside.as_ref().map_or(0, |(_, place)| place.0.body_bytes);
        if self.kept.len() + bytes.len() > bound {
            self.give_up(Mirrored::TooLarge);
            return None;
        }
        self.kept.extend_from_slice(bytes);
        if !last {
            return Some(self);
        }
        let length = self.kept.len() as u64;
        self.send(Framing::Length(length));
        None
    }

    fn send(mut self, framing: Framing) {
        let Some((mut aside, place)) = self.aside.take() else { return };
        aside.run().exchange.request.framing = framing;
        aside.put_body(std::mem::take(&mut self.kept).into());
        runtime::spawn(async move {
            let end = ask(&mut aside, &place.0).await;
            place.0.route.series.mirrored(aside.worker().index(), end);
        });
    }

    fn give_up(&mut self, why: Mirrored) {
        if let Some((aside, place)) = self.aside.take() {
            place.0.route.series.mirrored(aside.worker().index(), why);
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.give_up(Mirrored::Incomplete);
    }
}

/// Sends the copy, and reads what is worth reading of its answer.
async fn ask(aside: &mut Aside, mirror: &Arc<Mirror>) -> Mirrored {
    let (run, mut line) = aside.parts();
    line.worker.refresh();
    run.due = line.due(mirror.timeout);
    match forward(run, &mut line, mirror.service, &mirror.route).await {
        Ok(Ok(())) => {
            read_rest(run, &mut line, mirror.answer_bytes).await;
            Mirrored::Answered
        }
        Ok(Err(_)) | Err(_) => Mirrored::Failed,
    }
}

/// An answer that is read to its end leaves a connection for the next copy; one that is long or late is cut.
async fn read_rest(run: &mut Run, line: &mut Line<'_>, bound: usize) {
    let Some(mut call) = run.call.take() else { return };
    let mut buffer = BodyBuffer::default();
    let mut left = bound;
    loop {
        let filled = line.wait(run.due, |cx, _| call.outbound.poll_fill(cx, &mut buffer)).await;
        let count = buffer.data().len();
        buffer.advance(usize::MAX);
        buffer.reset();
        match filled {
            Ok(Ok(Fill::End)) => {
                run.download.call_status = call.outbound.take_trailers().and_then(|said| grpc::status(&said));
                return call.end(call_status(run), line.worker);
            }
            Ok(Ok(Fill::Data)) if count <= left => left -= count,
            _ => return,
        }
    }
}
