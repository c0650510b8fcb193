//! Accepting connections on one worker, and giving one away where another worker is less loaded.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use narthex_net::Stream;
use narthex_net::runtime::{Accepting, sleep, spawn};

use crate::connection::serve;
use crate::worker::{Command, Worker};

/// How long accepting rests after an error of the system (no descriptors left).
const REST: Duration = Duration::from_millis(50);
/// A worker gives connections away when it has this many more than the least loaded one, and an eighth.
const UNEVEN: usize = 4;

/// Accepts until the listener is taken away; then what the kernel has queued, to the last one.
pub async fn accept_on(listener: Accepting, index: usize, worker: Rc<Worker>) {
    loop {
        let accepted = poll_fn(|cx| {
            worker.note_acceptor(index, cx.waker());
            match listener.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending if !worker.listens(index) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        match accepted {
            None => return accept_queued(&listener, index, &worker),
            Some(Ok((stream, peer))) => take(stream, peer, index, &worker),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(REST).await;
            }
        }
    }
}

/// The last look into the kernel's queue. Without the reactor: what it has not yet told of is there all the same, and
/// would be reset with the socket.
fn accept_queued(listener: &Accepting, index: usize, worker: &Rc<Worker>) {
    while let Ok(Some((stream, peer))) = listener.accept() {
        worker.metrics().accepted.add(1);
        adopt(stream, peer, index, worker);
    }
}

fn take(stream: OwnedFd, peer: SocketAddr, index: usize, worker: &Rc<Worker>) {
    worker.metrics().accepted.add(1);
    let bound = worker.snapshot().listener(index).map_or(0, |plan| plan.bounds.connections);
    if worker.all_connections() >= bound {
        // Closing at once costs the least while the bound holds.
        drop(stream);
        return;
    }
    let Some(other) = worker.less_loaded(UNEVEN) else {
        adopt(stream, peer, index, worker);
        return;
    };
    if let Err(stream) = worker.hand_over(other, Command::Connection { stream, peer, listener: index }) {
        adopt(stream, peer, index, worker);
    }
}

/// Serves a connection that this worker, or another one, accepted.
pub fn adopt(stream: OwnedFd, peer: SocketAddr, index: usize, worker: &Rc<Worker>) {
    match Stream::adopt(stream) {
        Ok(stream) => spawn(serve(stream, peer, index, Rc::clone(worker))),
        Err(error) => tracing::warn!(%error, "cannot watch a connection"),
    }
}
