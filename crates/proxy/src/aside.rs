//! An exchange beside another one, for which no client waits: a copy for a mirror, a second try. It has no body but the one
//! that it is given whole, and is never logged or counted as a request of its own.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use narthex_net::{Deadline, Inbound, inner};

use crate::ListenerPlan;
use crate::exchange::{Line, Peer, Run};
use crate::worker::{Pinned, Worker};

/// Storage and way of its own. Dropping it cancels whatever it asked for.
pub struct Aside {
    run: Option<Box<Run>>,
    server: Inbound,
    deadline: Deadline,
    peer: Peer,
    listener: usize,
    plan: Arc<ListenerPlan>,
    snapshot: Rc<Pinned>,
    worker: Rc<Worker>,
}

impl Aside {
    /// Beside the exchange of `run`, under the same configuration. Its request is a copy of the head as it is now, edited as
    /// for the service.
    pub fn of(run: &Run, line: &Line<'_>) -> Self {
        let mut own = line.worker.take_run();
        own.is_prepared = true;
        let (exchange, of) = (&mut own.exchange, &run.exchange);
        exchange.request.clone_from(&of.request);
        exchange.request.expect_continue = false;
        exchange.path.push_str(&of.path);
        exchange.authority.push_str(&of.authority);
        exchange.host.push_str(&of.host);
        exchange.client = of.client;
        // It may outlive the client's connection: none to a service is kept for that on its behalf.
        exchange.client.connection = 0;
        exchange.captures.clone_from(&of.captures);
        exchange.caller.clone_from(&of.caller);
        exchange.began = of.began;
        Self {
            run: Some(own),
            server: Inbound::Inner(inner(Bytes::new()).0),
            deadline: Deadline::default(),
            peer: Peer { own: line.peer.own, ..Peer::new(line.peer.address, None) },
            listener: line.listener,
            plan: Arc::clone(&line.plan),
            snapshot: Rc::clone(&line.snapshot),
            worker: Rc::clone(line.worker),
        }
    }

    /// The body of its request.
    pub fn put_body(&mut self, body: Bytes) {
        self.server = Inbound::Inner(inner(body).0);
    }

    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub fn run(&mut self) -> &mut Run {
        self.run.as_deref_mut().expect("it is there until the drop")
    }

    /// Both halves, as any exchange has them.
    pub fn parts(&mut self) -> (&mut Run, Line<'_>) {
        let line = Line {
            client: &mut self.server,
            deadline: &mut self.deadline,
            peer: &self.peer,
            listener: self.listener,
            plan: Arc::clone(&self.plan),
            snapshot: Rc::clone(&self.snapshot),
            worker: &self.worker,
            close: false,
        };
        (self.run.as_deref_mut().expect("it is there until the drop"), line)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.worker.give_run(run);
        }
    }
}
