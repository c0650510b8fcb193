//! Streaming: the response to the client, the rest of the request to the service, both at once; and reading a
//! request's body whole where a policy asked for that. Decides nothing about what is streamed.

use std::task::{Context, Poll};

use narthex_contract::{Body, Detail, Reason, Reply, core};
use narthex_net::{BodyBuffer, Fault, Fill, Inbound, Outbound};
use narthex_wire::ResponseHead;

use crate::answer::Answer;
use crate::exchange::{Interrupt, Line, Run};
use crate::pump::{Broken, OwnBody, Pump, WaitsFor};
use crate::routing::leaves_much_unread;
use crate::snapshot::DeadlineScope;

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
    loop {
        let due = line.due(line.plan.bounds.body);
        let filled = match line.wait(due, |cx, client| client.poll_fill(cx, &mut buffer)).await {
            Ok(filled) => filled,
            Err(Interrupt::TimedOut) => return Ok(Err(core::BODY_TIMEOUT.into())),
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

/// Step 6. The response's body goes to the client; what is left of the request's goes on to the service.
pub async fn stream(run: &mut Run, line: &mut Line<'_>, answer: Answer) -> Result<(), Interrupt> {
    let close =
        line.close || leaves_much_unread(line.client, &run.exchange.request, line.plan.bounds.drain_bytes);
    let (mut call, body) = match answer {
        Answer::Own(body) => (None, body),
        Answer::Service(call) => (Some(call), Body::Empty),
    };
    run.is_started = true;
    let has_body = line.client.start(&run.response, &run.exchange.request, close);
    let mut own = OwnBody::new(if has_body { body } else { Body::Empty });
    let write = line.plan.bounds.write;
    let idle = call.as_ref().map_or(write, |call| {
        let times = &call.service().settings.times;
        run.route.as_ref().map_or(times.idle, |route| route.service_times.over(times).idle)
    });
    let whole = run.route.as_ref().filter(|route| route.times.scope == DeadlineScope::Whole);
    let limit =
        whole.map_or(u64::MAX, |route| run.exchange.began.monotonic + route.times.deadline.as_nanos() as u64);
    let mut moved = 0;
    let mut due = line.due(idle).min(limit);
    let (upload, download, whole_body) = (&mut run.upload, &mut run.download, &mut run.whole_body);
    let ended = std::future::poll_fn(|cx| {
        if let Some(call) = &mut call
            && !upload.is_done()
        {
            // A request that breaks off now cannot change the answer: it only ends the connection.
            let _ = poll_upload(upload, whole_body, cx, line.client, &mut call.outbound);
        }
        let polled = match &mut call {
            Some(call) if has_body => download.poll(cx, &mut call.outbound, line.client),
            _ => download.poll(cx, &mut own, line.client),
        };
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(Ok(ended));
        }
        let now_moved = upload.carried + download.carried;
        if now_moved != moved {
            moved = now_moved;
            line.worker.refresh();
            due = line.due(if download.waits_for() == WaitsFor::Sink { write } else { idle }).min(limit);
        }
        line.poll_interrupt(cx, due).map(Err)
    })
    .await;
    run.exchange.bytes_in = run.exchange.bytes_in.max(run.upload.carried);
    run.exchange.bytes_out = run.download.carried;
    run.exchange.timings.service_done = line.worker.refresh();
    match ended {
        Ok(Ok(())) => {
            if let Some(call) = call {
                call.finish(line.worker);
            }
            Ok(())
        }
        Ok(Err(Broken::Sink)) | Err(Interrupt::ClientGone) => Err(Interrupt::ClientGone),
        Ok(Err(Broken::Source(fault))) => {
            cut(run, line, core::SERVICE_TRUNCATED, fault.to_string());
            Ok(())
        }
        Ok(Err(Broken::Refused(reply))) => {
            let reason = match reply {
                Reply::Problem { reason, .. } => reason,
                Reply::Response(_) => core::INTERNAL,
            };
            cut(run, line, reason, "a policy refused the response's body".into());
            Ok(())
        }
        Err(Interrupt::TimedOut) => {
            let whom = if run.download.waits_for() == WaitsFor::Sink { "the client" } else { "the service" };
            cut(run, line, core::DEADLINE, format!("the response's body stalled: waited for {whom}"));
            Ok(())
        }
    }
}

/// The head is out and the body is not: the client must see that.
fn cut(run: &mut Run, line: &mut Line<'_>, reason: Reason, detail: String) {
    run.exchange.answered = narthex_contract::Answered::Gateway(reason);
    run.exchange.operator_detail = Detail::operator(detail).operator;
    run.is_cut = true;
    line.client.cut();
}
