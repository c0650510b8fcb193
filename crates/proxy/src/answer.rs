//! What answers an exchange, and the response side of its policies.

use narthex_contract::{Answered, Body, Detail, Hooks, Reply, ResponseCx};
use narthex_wire::{Framing, Known, ResponseHead};

use crate::chain::known_length;
use crate::exchange::{Interrupt, Line, Run};
use crate::problem::{put_known, refuse};
use crate::service::Call;
use crate::snapshot::{Gateway, To};
use crate::{upgrade, versioning};

/// Where the response's body comes from; its head is in `Run::response`.
pub enum Answer {
    Own(Body),
    Service(Call),
    /// The service has changed the protocol: raw bytes follow the head, both ways.
    Tunnel(Call),
}

impl Answer {
    /// Makes a service's response, of which the head is there, the answer.
    pub fn of_service(run: &Run, call: Call) -> Self {
        if run.response.status == 101 { Self::Tunnel(call) } else { Self::Service(call) }
    }

    /// Makes a policy's or a destination's reply the answer.
    pub fn of(run: &mut Run, reply: Reply) -> Self {
        match reply {
            Reply::Problem { reason, detail } => {
                Self::Own(refuse(&mut run.exchange, &mut run.response, reason, *detail))
            }
            Reply::Response(response) => {
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
            (Self::Tunnel(_), _) => None,
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
    let due = line.due(crate::RouteTimes::default().deadline);
    let length = answer.length(&run.response);
    let route = run.route.clone();
    if let Some(route) = &route {
        if let To::Kind(destination) = &route.to {
            destination.on_response(&mut ResponseCx {
                exchange: &mut run.exchange,
                response: &mut run.response,
                length,
            });
        }
        if route.chain.has(Hooks::RESPONSE) {
            let mut replaced = Some(run.reached);
            while let Some(reached) = replaced.take() {
                let length = answer.length(&run.response);
                let hooks = route.chain.on_response(&mut run.exchange, &mut run.response, length, reached);
                if let Some((reply, reached)) = line.wait_for(due, hooks).await? {
                    answer = Answer::of(run, reply);
                    replaced = Some(reached);
                }
            }
        }
    }
    if let Some(gateway) = run.gateway.clone() {
        if gateway.before.has(Hooks::RESPONSE) {
            let mut replaced = Some(run.before);
            while let Some(before) = replaced.take() {
                let length = answer.length(&run.response);
                let hooks = gateway.before.on_response(&mut run.exchange, &mut run.response, length, before);
                if let Some((reply, before)) = line.wait_for(due, hooks).await? {
                    answer = Answer::of(run, reply);
                    replaced = Some(before);
                }
            }
        }
        if !matches!(answer, Answer::Tunnel(_)) {
            edit_body(run, &gateway);
        }
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

/// The streaming edits of the response's body.
fn edit_body(run: &mut Run, gateway: &Gateway) {
    let steps = run.download.steps();
    if let Some(route) = &run.route {
        route.chain.body_steps(&run.exchange, Some(&run.response), run.reached, steps);
    }
    gateway.before.body_steps(&run.exchange, Some(&run.response), run.before, steps);
    if !steps.iter().all(|step| step.keeps_length()) {
        run.response.framing = Framing::Chunked;
    }
}

/// `Date` (RFC 9110 6.6.1) and the correlation id.
pub fn stamp(run: &mut Run, line: &Line<'_>) {
    let head = &mut run.response.head;
    if head.get_known(Known::Date).is_none() {
        line.worker.put_date(head);
    }
    if !run.exchange.request_id_is_handled && !run.exchange.request_id.is_empty() {
        put_known(head, Known::XRequestId, run.exchange.request_id.as_bytes());
    }
}

/// A refusal of the core's own.
pub fn refusal(run: &mut Run, reason: narthex_contract::Reason, detail: Detail) -> Answer {
    Answer::Own(refuse(&mut run.exchange, &mut run.response, reason, detail))
}
