//! What happens to a request, read top to bottom. `docs/life-of-a-request.md` has the same numbered steps.
//!
//! No protocol branches, no policy names: those live behind `Inbound`, `Outbound` and `Chain`.

use narthex_contract::{Body, DestinationCx, Detail, Hooks, Outcome, Reply, core};
use narthex_wire::Framing;

use crate::answer::{Answer, refusal, respond};
use crate::exchange::{Interrupt, Line, Run};
use crate::fallback::{accept, settle};
use crate::forward::forward;
use crate::pump::OwnBody;
use crate::routing::{identify, route, stamp};
use crate::snapshot::To;
use crate::stream::{Streamed, read_whole, stream};
use crate::within::Ways;

/// Answers one request whose head was read into `run`.
pub async fn handle(run: &mut Run, line: &mut Line<'_>) -> Result<(), Interrupt> {
    // 1. Pin the snapshot: what begins under one configuration ends under it.
    line.pin();
    identify(run, line);
    stamp(run, line);

    // 2. Normalise the path once; the gateway's own stages; find the route, or answer 404 or 405.
    let mut reply = route(run, line).await?;

    // 3. The chain: each policy lets the request pass, or answers it.
    if reply.is_none() {
        reply = pass_chain(run, line).await?;
    }

    // 4. The destination: a service, or something that answers by itself.
    let answer = match reply {
        Some(reply) => Answer::of(run, reply),
        None => ask_destination(run, line).await?,
    };

    // 5. The response side, in reverse from whoever answered.
    let answer = respond(run, line, answer).await?;

    // 6. Stream both bodies. A body that is invalid from its first byte still becomes a proper refusal.
    if let Streamed::Instead(answer) = stream(run, line, answer).await? {
        let answer = respond(run, line, answer).await?;
        stream(run, line, answer).await?;
    }

    // 7. Finish: log, count, give back what was taken. In `finish.rs`, from a drop guard.
    Ok(())
}

/// Step 3. `Some`: a policy answered.
pub(crate) async fn pass_chain(run: &mut Run, line: &mut Line<'_>) -> Result<Option<Reply>, Interrupt> {
    let Some(route) = run.route.clone() else { return Ok(Some(core::INTERNAL.into())) };
    let has_body = run.exchange.request.framing != Framing::None;
    let due = line.due(route.times.deadline).min(run.due);
    if !route.chain.is_silent(Hooks::REQUEST, &mut run.reached) {
        let hooks = route.chain.on_request(&mut run.exchange, has_body, &mut run.reached);
        if let Some(reply) = line.wait_for(due, hooks).await? {
            return Ok(Some(reply));
        }
    }
    let bound = line.plan.bounds.body_bytes;
    if matches!(run.exchange.request.framing, Framing::Length(length) if length > bound) {
        return Ok(Some(core::BODY_TOO_LARGE.into()));
    }
    run.upload.bound = Some(bound);
    if has_body && route.chain.has(Hooks::REQUEST_BODY) {
        let body = match read_whole(run, line, route.buffered_body).await? {
            Ok(body) => body,
            Err(reply) => return Ok(Some(reply)),
        };
        let hooks = route.chain.on_request_body(&mut run.exchange, &body);
        if let Some(reply) = line.wait_for(due, hooks).await? {
            return Ok(Some(reply));
        }
        run.exchange.request.framing = Framing::Length(body.len() as u64);
        run.exchange.request.expect_continue = false;
        run.whole_body = Some(OwnBody::new(Body::Bytes(body.into())));
    }
    if has_body && let Some(gateway) = run.gateway.clone() {
        let steps = run.upload.steps();
        gateway.before.body_steps(&run.exchange, None, run.before, steps);
        route.chain.body_steps(&run.exchange, None, run.reached, steps);
        if !steps.iter().all(|step| step.keeps_length()) {
            run.exchange.request.framing = Framing::Chunked;
        }
    }
    Ok(None)
}

/// Step 4.
pub(crate) async fn ask_destination(run: &mut Run, line: &mut Line<'_>) -> Result<Answer, Interrupt> {
    let Some(route) = run.route.clone() else { return Ok(refusal(run, core::INTERNAL, Detail::default())) };
    let service = match &route.to {
        To::Service(service) => Ok(*service),
        To::Kind(_) if let Some(unavailable) = route.refusal() => Err(unavailable),
        To::Kind(destination) => {
            let due = line.due(route.times.deadline).min(run.due);
            let ways = Ways::of(run, line, &route, due);
            let mut cx = DestinationCx::new(&mut run.exchange, line.worker.random(), &ways);
            let outcome = match destination.answer(&mut cx) {
                Outcome::Forward(service) => Ok(service),
                Outcome::Answer(reply) => Err(reply),
                Outcome::Suspend(waiting) => Err(line.wait_for(due, waiting).await?),
            };
            ways.note(&mut run.exchange);
            outcome
        }
    };
    let asked = match service {
        Err(reply) => return Ok(Answer::of(run, reply)),
        Ok(id) => forward(run, line, id, &route).await?,
    };
    match accept(run, &route, asked) {
        Ok(answer) => Ok(answer),
        Err(asked) => Box::pin(settle(run, line, &route, asked)).await,
    }
}
