//! What answers an exchange, and the response side of its policies.

use narthex_contract::{Answered, Body, Detail, Hooks, Reply, ResponseCx};
use narthex_wire::{Framing, ResponseHead};

use crate::chain::known_length;
use crate::exchange::{Interrupt, Line, Run};
use crate::problem::refuse;
use crate::snapshot::To;
use crate::{upgrade, versioning};

/// Where the response's body comes from; its head is in `Run::response`.
pub enum Answer {
    Own(Body),
    /// From `Run::call`.
    Service,
    /// The service has changed the protocol: raw bytes follow the head, both ways.
    Tunnel,
}

impl Answer {
    /// Makes a service's response, of which the head is there, the answer.
    pub fn of_service(run: &Run) -> Self {
        if run.response.status == 101 { Self::Tunnel } else { Self::Service }
    }

    /// Makes a policy's or a destination's reply the answer.
    pub fn of(run: &mut Run, reply: Reply) -> Self {
        match reply {
            Reply::Problem { reason, detail } => refusal(run, reason, *detail),
            Reply::Response(response) => {
                run.call = None;
                let narthex_contract::Response { head, body } = *response;
                run.response = head;
                run.response.framing = framing_of(&body, &run.response);
                run.exchange.answered = Answered::Configured;
                Self::Own(body)
            }
        }
    }

    fn length(&self, response: &ResponseHead) -> Option<u64> {
        match (self, response.framing) {
            (Self::Tunnel, _) => None,
            (Self::Own(body), _) => known_length(body),
            (_, Framing::None) => Some(0),
            (_, Framing::Length(length)) => Some(length),
            _ => None,
        }
    }
}

fn framing_of(body: &Body, head: &ResponseHead) -> Framing {
    match body {
        _ if head.status < 200 || head.status == 204 || head.status == 304 => Framing::None,
        Body::Source(_) => Framing::Chunked,
        Body::Empty => Framing::Length(0),
        Body::Bytes(bytes) => Framing::Length(bytes.len() as u64),
    }
}

/// Runs the response side in reverse, then adds what the core itself says.
pub async fn respond(run: &mut Run, line: &mut Line<'_>, mut answer: Answer) -> Result<Answer, Interrupt> {
    let Run { exchange, response, route, .. } = &mut *run;
    if let Some(To::Kind(destination)) = route.as_ref().map(|route| &route.to) {
        let length = answer.length(response);
        destination.on_response(&mut ResponseCx { exchange, response, length });
    }
    if has_hooks(run) {
        answer = Box::pin(ask_policies(run, line, answer)).await?;
    }
    if !matches!(answer, Answer::Tunnel) {
        edit_body(run);
    }
    if run.response.framing == Framing::UntilClose {
        // The end of a body that only a close marks is marked for our client by framing.
        run.response.framing = Framing::Chunked;
    }
    if let Some(refused) = upgrade::refuse_success(run, &answer) {
        answer = refused;
    }
    versioning::mark(run);
    stamp(run, line);
    Ok(answer)
}

/// Whether some policy wants to see the response's head.
fn has_hooks(run: &Run) -> bool {
    run.route.as_ref().is_some_and(|route| route.chain.has(Hooks::RESPONSE))
        || run.gateway.as_ref().is_some_and(|gateway| gateway.before.has(Hooks::RESPONSE))
}

/// The route's policies, then the gateway's. One that answers instead is followed by those before it.
async fn ask_policies(run: &mut Run, line: &mut Line<'_>, mut answer: Answer) -> Result<Answer, Interrupt> {
    let due = line.due(crate::RouteTimes::default().deadline);
    let (route, gateway) = (run.route.clone(), run.gateway.clone());
    let chains = [
        route.as_ref().map(|route| (&route.chain, run.reached)),
        gateway.as_ref().map(|gateway| (&gateway.before, run.before)),
    ];
    for (chain, reached) in chains.into_iter().flatten().filter(|(chain, _)| chain.has(Hooks::RESPONSE)) {
        let mut replaced = Some(reached);
        while let Some(reached) = replaced.take() {
            let length = answer.length(&run.response);
            let hooks = chain.on_response(&mut run.exchange, &mut run.response, length, reached);
            if let Some((reply, reached)) = line.wait_for(due, hooks).await? {
                answer = Answer::of(run, reply);
                replaced = Some(reached);
            }
        }
    }
    Ok(answer)
}

/// The streaming edits of the response's body.
fn edit_body(run: &mut Run) {
    let Some(gateway) = &run.gateway else { return };
    let steps = run.download.steps();
    if let Some(route) = &run.route {
        route.chain.body_steps(&run.exchange, Some(&run.response), run.reached, steps);
    }
    gateway.before.body_steps(&run.exchange, Some(&run.response), run.before, steps);
    if !steps.iter().all(|step| step.keeps_length()) {
        run.response.framing = Framing::Chunked;
    }
}

/// `Date` and the correlation id.
pub fn stamp(run: &mut Run, line: &Line<'_>) {
    let id = if run.exchange.request_id_is_handled { "" } else { run.exchange.request_id.as_str() };
    let second = line.worker.unix_ms() / 1_000;
    line.worker.stamps().stamp_response(&mut run.response.head, id.as_bytes(), second);
}

/// A refusal of the core's own.
pub fn refusal(run: &mut Run, reason: narthex_contract::Reason, detail: Detail) -> Answer {
    run.call = None;
    Answer::Own(refuse(&mut run.exchange, &mut run.response, reason, detail))
}
