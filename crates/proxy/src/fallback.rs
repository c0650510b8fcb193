//! What answers where the destination gave no answer, or one that the route does not want its clients to see: policies
//! first, then the rungs of the route's ladder, in order. Never after a byte of an answer went out.

use std::sync::Arc;

use narthex_contract::{Fault, Reply};

use crate::answer::Answer;
use crate::exchange::{Interrupt, Line, Run};
use crate::forward::forward;
use crate::snapshot::{FallbackStep, Route, Rung};

/// The name under which an answer of the ladder is known: in the header, the log and the metrics.
fn name_of(step: &FallbackStep) -> &'static str {
    match step {
        FallbackStep::Service(_) => "service",
        FallbackStep::Reply(_) => "reply",
    }
}

/// The service's answer, where the route has nothing to put in its place. `Err`: that is for `settle`.
pub fn accept(run: &mut Run, route: &Route, asked: Result<(), Reply>) -> Result<Answer, Result<(), Reply>> {
    match asked {
        Ok(()) if !route.fallback.iter().any(|rung| rung.on.contains(run.response.status)) => {
            run.upload.forget_replay();
            Ok(Answer::of_service(run))
        }
        asked => Err(asked),
    }
}

/// What stands in for the destination's answer, or for its failure.
pub async fn settle(
    run: &mut Run,
    line: &mut Line<'_>,
    route: &Arc<Route>,
    asked: Result<(), Reply>,
) -> Result<Answer, Interrupt> {
    let (reason, detail) = match asked {
        Ok(()) => return unless_unwanted(run, line, route).await,
        Err(Reply::Problem { reason, detail }) if reason.def().fault != Fault::Client => (reason, detail),
        Err(reply) => return Ok(Answer::of(run, reply)),
    };
    let due = line.due(route.times.deadline);
    let hooks = route.chain.on_failure(&mut run.exchange, reason, &detail);
    if let Some(reply) = line.wait_for(due, hooks).await? {
        return Ok(Answer::of(run, reply));
    }
    let answer = descend(run, line, route, |_| true).await?;
    Ok(answer.unwrap_or_else(|| Answer::of(run, Reply::Problem { reason, detail })))
}

/// The service's own answer, unless a rung for its status can answer.
async fn unless_unwanted(
    run: &mut Run,
    line: &mut Line<'_>,
    route: &Arc<Route>,
) -> Result<Answer, Interrupt> {
    let status = run.response.status;
    let was_sent = run.upload.is_done();
    let (head, call, ahead) = (std::mem::take(&mut run.response), run.call.take(), run.download.take_ahead());
    let (service, instance) = (run.exchange.service.clone(), run.exchange.instance);
    // Where the request is still on its way, only a rung that needs nothing of it may answer.
    let fits =
        |rung: &Rung| rung.on.contains(status) && (was_sent || matches!(rung.step, FallbackStep::Reply(_)));
    match descend(run, line, route, fits).await? {
        Some(answer) => {
            if let Some(call) = call {
                call.discard(line.worker);
            }
            Ok(answer)
        }
        None => {
            (run.response, run.call) = (head, call);
            run.download.restore_ahead(ahead);
            (run.exchange.service, run.exchange.instance) = (service, instance);
            run.exchange.answered = narthex_contract::Answered::Service;
            if was_sent {
                run.upload.finish();
            }
            run.upload.forget_replay();
            Ok(Answer::of_service(run))
        }
    }
}

/// The first rung that fits and answers.
async fn descend(
    run: &mut Run,
    line: &mut Line<'_>,
    route: &Arc<Route>,
    fits: impl Fn(&Rung) -> bool,
) -> Result<Option<Answer>, Interrupt> {
    for rung in route.fallback.iter().filter(|rung| fits(rung)) {
        let answer = match &rung.step {
            FallbackStep::Reply(make) => Answer::of(run, Reply::Response(Box::new(make()))),
            FallbackStep::Service(id) if run.upload.rewind().is_ok() => {
                let Ok(()) = forward(run, line, *id, route).await? else { continue };
                run.upload.forget_replay();
                Answer::of_service(run)
            }
            FallbackStep::Service(_) => continue,
        };
        let name = name_of(&rung.step);
        run.exchange.fallback = Some(name);
        route.series.fell_back(line.worker.index(), matches!(rung.step, FallbackStep::Service(_)));
        let field = narthex_wire::Name::parse("X-Narthex-Fallback").expect("it is a token");
        crate::problem::put(&mut run.response.head, &field, name.as_bytes());
        return Ok(Some(answer));
    }
    Ok(None)
}
