//! The instance on HTTP/2 without TLS: a thread per connection, a task per stream.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::future::poll_fn;
use std::net::TcpStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use narthex_tests::{Random, http2};

use crate::{Asked, CLOSING, Plan, trouble};

pub fn serve(stream: TcpStream, log: &'static File, random: Random) {
    http2::run(tokio::task::LocalSet::new().run_until(async move {
        let shared = Shared {
            log,
            random: RefCell::new(random),
            is_ending: Cell::new(false),
            answered: RefCell::default(),
        };
        let shared = Rc::new(shared);
        // A client that breaks off ends its connection, nothing else.
        let _ = converse(stream, &shared).await;
    }));
}

/// So long after its end an answer is written for sure.
const WRITTEN_AFTER: Duration = Duration::from_millis(200);

/// What the streams of a connection share.
struct Shared {
    log: &'static File,
    random: RefCell<Random>,
    /// The connection ends: what is under way on it is cut.
    is_ending: Cell<bool>,
    /// Answered, and perhaps not all of it written yet.
    answered: RefCell<VecDeque<(Instant, Asked)>>,
}

impl Shared {
    fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    /// The connection is about to end.
    fn end(&self) {
        self.is_ending.set(true);
        let answered = self.answered.take().into_iter();
        for (_, asked) in answered.filter(|(at, _)| at.elapsed() < WRITTEN_AFTER) {
            asked.note_cut(self.log).unwrap();
        }
    }

    fn percent(&self, share: usize) -> bool {
        self.random.borrow_mut().percent(share)
    }
}

/// An answer that is not complete.
struct UnderWay {
    shared: Rc<Shared>,
    asked: Asked,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.shared.is_ending.get() {
            return self.asked.note_cut(self.shared.log).unwrap();
        }
        let mut answered = self.shared.answered.borrow_mut();
        answered.retain(|(at, _)| at.elapsed() < WRITTEN_AFTER);
        answered.push_back((Instant::now(), std::mem::take(&mut self.asked)));
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

async fn converse(stream: TcpStream, shared: &Rc<Shared>) -> Done {
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let mut connection = server::handshake(stream).await?;
    loop {
        let patience = Duration::from_millis(1 + shared.below(20) as u64);
        let accepted = tokio::time::timeout(patience, connection.accept()).await;
        let is_closing = trouble() == CLOSING;
        let (request, respond) = match accepted {
            Ok(None) => return Ok(()),
            Ok(Some(asked)) => asked?,
            Err(_) if is_closing && shared.percent(20) => {
                // Announced or not, be anything under way or not.
                if shared.percent(50) {
                    shared.end();
                    return Ok(());
                }
                connection.graceful_shutdown();
                continue;
            }
            Err(_) => continue,
        };
        // At the very moment when a request is there.
        if is_closing && shared.percent(15) {
            shared.end();
            return Ok(());
        }
        if is_closing && shared.percent(15) {
            shared.end();
            connection.abrupt_shutdown(Reason::NO_ERROR);
            continue;
        }
        let shared = Rc::clone(shared);
        // A stream that is reset is nobody's any more.
        tokio::task::spawn_local(async move { drop(answer(request, respond, &shared).await) });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, shared: &Rc<Shared>) -> Done {
    let left = request.headers().get("x-request-timeout").and_then(|left| left.to_str().ok());
    let asked = Asked::new(request.method().as_str(), request.uri().path(), left);
    let Some(asked) = asked else { return Ok(()) };
    http2::read_body(request.into_body()).await?;
    if asked.is_check() {
        respond.send_response(http2::head(200), true)?;
        return Ok(());
    }
    if trouble() == CLOSING && shared.percent(10) {
        respond.send_reset(Reason::REFUSED_STREAM);
        return Ok(());
    }
    // A reset may have come meanwhile, above all while the process was stopped: the socket is looked at first.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let is_left = poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await;
    if is_left {
        return Ok(());
    }
    asked.note_begin(shared.log)?;
    let under_way = UnderWay { shared: Rc::clone(shared), asked };
    let asked = &under_way.asked;
    let plan = Plan::draw(&mut shared.random.borrow_mut());
    tokio::time::sleep(plan.work).await;
    if let Some(status) = plan.failure {
        let mut out = respond.send_response(http2::head(status), false)?;
        return send(&mut out, Bytes::from_static(b"failed\n"), true).await;
    }
    let (mut head, body) = (http2::head(200), asked.body());
    if shared.percent(50) {
        head.headers_mut().insert("content-length", body.len().into());
    }
    let mut out = respond.send_response(head, false)?;
    if !plan.is_cut {
        return send(&mut out, body.into(), true).await;
    }
    asked.note_cut(shared.log)?;
    // Perhaps all of it: then it is its end alone that is missing.
    let most = shared.below(body.len() + 1);
    send(&mut out, Bytes::from(body).slice(..most), false).await?;
    let pause = shared.below(10) as u64;
    tokio::time::sleep(Duration::from_millis(pause)).await;
    out.send_reset(Reason::INTERNAL_ERROR);
    Ok(())
}

/// At the pace of the reader.
async fn send(out: &mut SendStream<Bytes>, mut data: Bytes, is_last: bool) -> Done {
    while !data.is_empty() {
        out.reserve_capacity(data.len());
        let capacity = poll_fn(|cx| out.poll_capacity(cx)).await;
        let capacity = capacity.ok_or("the stream is gone")??;
        out.send_data(data.split_to(capacity.min(data.len())), false)?;
    }
    if is_last {
        out.send_data(Bytes::new(), true)?;
    }
    Ok(())
}
