//! Exchanges inside an exchange: what a destination asks of services and of other routes, through the same machinery as
//! any request. Each runs inside the task of the exchange that began it and ends with whoever holds it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use narthex_contract::{
    Body, BodySource, Detail, Exchange, Frame, LocalBoxFuture, OperatorText, Reach, Reason, Reply, ServiceId,
    SourceError, SubRequest, SubResponse, TraceContext, core,
};
use narthex_net::{Deadline, Inbound, Inner, InnerClient, inner};
use narthex_wire::{Framing, Known, ResponseHead};

use crate::answer::{Answer, respond};
use crate::exchange::{Interrupt, Line, Peer, Run};
use crate::finish::Finish;
use crate::forward::forward;
use crate::forwarded;
use crate::problem::{problem_json, put, put_known};
use crate::request::{ask_destination, pass_chain};
use crate::routing::{host_without_port, route, stamp};
use crate::secure::Secured;
use crate::snapshot::Route;
use crate::stream::{Streamed, stream};
use crate::worker::{Pinned, Worker};

/// The ways that a destination has, for the length of its answer.
pub struct Ways<'w> {
    worker: &'w Rc<Worker>,
    snapshot: Rc<Pinned>,
    listener: usize,
    /// The client's connection, where it is encrypted.
    secured: Option<&'w Secured>,
    route: &'w Arc<Route>,
    /// The exchange's deadline: monotonic nanoseconds.
    due: u64,
    /// The client's part in it.
    client_due: u64,
    depth: u8,
    /// When the first was asked; 0: none was.
    begun: Cell<u64>,
}

impl<'w> Ways<'w> {
    pub fn of(run: &Run, line: &Line<'w>, route: &'w Arc<Route>, due: u64) -> Self {
        Self {
            worker: line.worker,
            snapshot: Rc::clone(&line.snapshot),
            listener: line.listener,
            secured: line.peer.secured.as_ref(),
            route,
            due,
            client_due: run.client_due,
            depth: run.depth,
            begun: Cell::new(0),
        }
    }

    /// The time that services took is theirs, not the gateway's.
    pub fn note(&self, exchange: &mut Exchange) {
        if self.begun.get() > 0 {
            exchange.timings.service_begun = self.begun.get();
            exchange.timings.first_byte = self.worker.now();
        }
    }

    /// An exchange of its own, inside `parent`.
    fn begin(&self, parent: &Exchange, request: SubRequest) -> Option<Inside> {
        if self.begun.get() == 0 {
            self.begun.set(self.worker.now());
        }
        let plan = Arc::clone(self.snapshot.listener(self.listener)?);
        let SubRequest { head, body, within } = request;
        let (server, client) = inner(body.clone());
        let mut finish = Finish::new(self.worker);
        finish.depth = self.depth;
        let exchange = &mut finish.exchange;
        exchange.request = head;
        exchange.request.framing =
            if body.is_empty() { Framing::None } else { Framing::Length(body.len() as u64) };
        inherit(exchange, parent);
        exchange.began = self.worker.moment();
        exchange.locals.clone_from(self.snapshot.locals());
        let due = within.map_or(self.due, |within| self.worker.due(within).min(self.due));
        (finish.due, finish.client_due) = (due, self.client_due);
        Some(Inside {
            finish,
            server: Inbound::Inner(server),
            peer: Peer::new(parent.client.peer, self.secured.cloned()),
            listener: self.listener,
            plan,
            snapshot: Rc::clone(&self.snapshot),
            worker: Rc::clone(self.worker),
            told: Rc::default(),
            client,
            due,
        })
    }
}

/// What goes from an exchange to those inside it: who the client is, the trace, the request id, the host.
fn inherit(exchange: &mut Exchange, parent: &Exchange) {
    exchange.client = parent.client;
    exchange.tls.clone_from(&parent.tls);
    exchange.request_id.push_str(&parent.request_id);
    exchange.request_id_is_given = parent.request_id_is_given;
    exchange.trace = parent.trace;
    exchange.api_version.clone_from(&parent.api_version);
    if exchange.request.authority().is_empty() {
        let stored = exchange.request.set_authority(&parent.authority);
        debug_assert!(stored.is_ok(), "hosts are checked where they are parsed");
    }
    exchange.authority.push_str(exchange.request.authority());
    exchange.host.push_str(host_without_port(&exchange.authority));
    let state = parent.request.head.get_known(Known::Tracestate);
    if let Some(state) = state.filter(|_| exchange.request.head.get_known(Known::Tracestate).is_none()) {
        put_known(&mut exchange.request.head, Known::Tracestate, state);
    }
}

impl Reach for Ways<'_> {
    fn call(
        &self,
        parent: &Exchange,
        service: ServiceId,
        request: SubRequest,
    ) -> LocalBoxFuture<'static, SubResponse> {
        let Some(mut inside) = self.begin(parent, request) else {
            return refused(core::INTERNAL, Detail::default(), &parent.request_id);
        };
        // A part of its parent: counted with the service, and nowhere else.
        inside.finish.is_void = true;
        let route = Arc::clone(self.route);
        inside.run(move |run, line| Box::pin(call(run, line, service, route)))
    }

    fn dispatch(&self, parent: &Exchange, request: SubRequest) -> LocalBoxFuture<'static, SubResponse> {
        let bound = self.snapshot.listener(self.listener).map_or(0, |plan| plan.bounds.dispatch_depth);
        if self.depth >= bound {
            let detail = Detail::operator(format!("more than {bound} routes inside one another"));
            return refused(core::DISPATCH_TOO_DEEP, detail, &parent.request_id);
        }
        let Some(mut inside) = self.begin(parent, request) else {
            return refused(core::INTERNAL, Detail::default(), &parent.request_id);
        };
        let trace = parent.trace;
        let span_id = self.worker.random().max(1).to_be_bytes();
        inside.finish.exchange.trace = TraceContext { span_id, parent_id: Some(trace.span_id), ..trace };
        inside.finish.depth += 1;
        inside.run(|run, line| Box::pin(dispatch(run, line)))
    }
}

/// A service is asked: no route, no policies.
async fn call(
    run: &mut Run,
    line: &mut Line<'_>,
    service: ServiceId,
    route: Arc<Route>,
) -> Result<Answer, Interrupt> {
    stamp(run, line);
    // Its path is what the destination wrote: the route's `strip` and `rewrite` are not for it.
    run.is_prepared = true;
    let Run { exchange, scratch, .. } = &mut *run;
    forwarded::forward(line.plan.forwarded, exchange, line.peer, scratch);
    let asked = forward(run, line, service, &route).await?;
    run.route = Some(route);
    Ok(match asked {
        Ok(()) => Answer::Service,
        Err(reply) => Answer::of(run, reply),
    })
}

/// The steps 2 to 5 of a request's life: the snapshot is that of the exchange around it.
async fn dispatch(run: &mut Run, line: &mut Line<'_>) -> Result<Answer, Interrupt> {
    stamp(run, line);
    let mut reply = route(run, line).await?;
    if reply.is_none() {
        reply = pass_chain(run, line).await?;
    }
    let answer = match reply {
        Some(reply) => Answer::of(run, reply),
        None => ask_destination(run, line).await?,
    };
    respond(run, line, answer).await
}

/// What the response's reader is told beside its bytes.
type Told = Rc<RefCell<(Option<Reason>, Option<OperatorText>)>>;

/// An exchange that runs inside another one.
struct Inside {
    finish: Finish,
    server: Inbound,
    peer: Peer,
    listener: usize,
    plan: Arc<crate::ListenerPlan>,
    snapshot: Rc<Pinned>,
    worker: Rc<Worker>,
    told: Told,
    client: InnerClient,
    due: u64,
}

/// A future that borrows what it works on.
type Steps<'s> = LocalBoxFuture<'s, Result<Answer, Interrupt>>;

impl Inside {
    fn run(
        self,
        steps: impl for<'s> FnOnce(&'s mut Run, &'s mut Line<'_>) -> Steps<'s> + 'static,
    ) -> LocalBoxFuture<'static, SubResponse> {
        let Self { finish, mut server, peer, listener, plan, snapshot, worker, told, client, due } = self;
        let request_id = finish.exchange.request_id.clone();
        let (telling, on) = (Rc::clone(&told), Rc::clone(&worker));
        let writing = Box::pin(async move {
            let mut finish = finish;
            let mut deadline = Deadline::default();
            let mut line = Line {
                client: &mut server,
                deadline: &mut deadline,
                peer: &peer,
                listener,
                plan,
                snapshot,
                worker: &on,
                close: false,
            };
            let answer = steps(&mut finish, &mut line).await;
            deliver(&mut finish, &mut line, answer, &telling).await;
            finish.is_client_gone = false;
            drop(finish);
        });
        let response = Response { writing: Some(writing), client };
        Box::pin(response.head(told, worker, due, request_id))
    }
}

/// Step 6: to the reader, as to any client.
async fn deliver(run: &mut Run, line: &mut Line<'_>, answer: Result<Answer, Interrupt>, told: &Told) {
    let mut answer = answer.unwrap_or_else(|interrupt| {
        debug_assert!(interrupt == Interrupt::TimedOut, "an inner client does not leave, it drops");
        Answer::of(run, Reply::problem(core::DEADLINE))
    });
    loop {
        *told.borrow_mut() = (run.exchange.reason(), run.exchange.operator_detail.clone());
        match stream(run, line, answer).await {
            Ok(Streamed::Over) => return,
            Ok(Streamed::Instead(other)) => answer = other,
            Err(_) => return line.client.cut(),
        }
    }
}

/// The reader's side: it drives the writer.
struct Response {
    /// `None`: it is done.
    writing: Option<Pin<Box<dyn Future<Output = ()>>>>,
    client: InnerClient,
}

impl Response {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(writing) = &mut self.writing
            && writing.as_mut().poll(cx).is_ready()
        {
            self.writing = None;
        }
    }

    async fn head(mut self, told: Told, worker: Rc<Worker>, due: u64, request_id: String) -> SubResponse {
        let mut deadline = Deadline::default();
        let head = poll_fn(|cx| {
            self.drive(cx);
            if let Some(head) = self.client.take_head() {
                return Poll::Ready(Ok(head));
            }
            if self.writing.is_none() {
                return Poll::Ready(Err(core::INTERNAL));
            }
            deadline.poll(cx, worker.clock(), due).map(|()| Err(core::DEADLINE))
        })
        .await;
        match head {
            Ok(head) => {
                let (reason, detail) = told.take();
                let body = if self.client.is_empty() { Body::Empty } else { Body::Source(Box::new(self)) };
                SubResponse { head, body, reason, detail }
            }
            Err(reason) => refusal(reason, Detail::operator("no response's head in time"), &request_id),
        }
    }
}

impl BodySource for Response {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, SourceError>>> {
        loop {
            match self.client.take() {
                Inner::Data(bytes) => return Poll::Ready(Some(Ok(Frame::Data(bytes)))),
                Inner::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::Trailers(trailers)))),
                Inner::End => {
                    // The connection goes back to its pool, the end is told.
                    self.drive(cx);
                    return Poll::Ready(None);
                }
                Inner::Cut => return Poll::Ready(Some(Err(SourceError::Closed))),
                Inner::Nothing if self.writing.is_none() => {
                    return Poll::Ready(Some(Err(SourceError::Closed)));
                }
                Inner::Nothing => {
                    self.drive(cx);
                    if self.writing.is_some() && self.client.is_waiting() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

fn refusal(reason: Reason, detail: Detail, request_id: &str) -> SubResponse {
    let json = problem_json(reason, &detail, request_id);
    let mut head = ResponseHead::new(reason.status());
    head.framing = Framing::Length(json.len() as u64);
    put_known(&mut head.head, Known::ContentType, b"application/problem+json");
    detail.fields.iter().for_each(|(name, value)| put(&mut head.head, name, value));
    SubResponse { head, body: Body::Bytes(json.into()), reason: Some(reason), detail: detail.operator }
}

fn refused(reason: Reason, detail: Detail, request_id: &str) -> LocalBoxFuture<'static, SubResponse> {
    Box::pin(std::future::ready(refusal(reason, detail, request_id)))
}
