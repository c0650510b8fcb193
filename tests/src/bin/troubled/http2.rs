//! The instance on HTTP/2 without TLS: a thread per connection, a task per stream.

use std::cell::RefCell;
use std::fs::File;
use std::future::poll_fn;
use std::net::TcpStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use narthex_tests::{Random, http2};

use crate::{Asked, CLOSING, Plan, trouble};

pub fn serve(stream: TcpStream, log: &'static File, random: Random) {
    http2::run(tokio::task::LocalSet::new().run_until(async move {
        // A client that breaks off ends its connection, nothing else.
        let _ = converse(stream, log, Rc::new(RefCell::new(random))).await;
    }));
}

type Shared = Rc<RefCell<Random>>;
type Done = Result<(), Box<dyn std::error::Error>>;

async fn converse(stream: TcpStream, log: &'static File, random: Shared) -> Done {
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let mut connection = server::handshake(stream).await?;
    loop {
        let patience = Duration::from_millis(1 + random.borrow_mut().below(20) as u64);
        let accepted = tokio::time::timeout(patience, connection.accept()).await;
        let is_closing = trouble() == CLOSING;
        let (request, respond) = match accepted {
            Ok(None) => return Ok(()),
            Ok(Some(asked)) => asked?,
            Err(_) if is_closing && random.borrow_mut().percent(20) => {
                // Announced or not, be anything under way or not.
                if random.borrow_mut().percent(50) {
                    return Ok(());
                }
                connection.graceful_shutdown();
                continue;
            }
            Err(_) => continue,
        };
        // At the very moment when a request is there.
        if is_closing && random.borrow_mut().percent(15) {
            return Ok(());
        }
        if is_closing && random.borrow_mut().percent(15) {
            connection.abrupt_shutdown(Reason::NO_ERROR);
            continue;
        }
        let random = Rc::clone(&random);
        // A stream that is reset is nobody's any more.
        tokio::task::spawn_local(async move { drop(answer(request, respond, log, random).await) });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    log: &File,
    random: Shared,
) -> Done {
    let left = request.headers().get("x-request-timeout").and_then(|left| left.to_str().ok());
    let asked = Asked::new(request.method().as_str(), request.uri().path(), left);
    let Some(asked) = asked else { return Ok(()) };
    http2::read_body(request.into_body()).await?;
    if asked.is_check() {
        respond.send_response(http2::head(200), true)?;
        return Ok(());
    }
    if trouble() == CLOSING && random.borrow_mut().percent(10) {
        respond.send_reset(Reason::REFUSED_STREAM);
        return Ok(());
    }
    // What came before may hold a reset: it is read first.
    tokio::task::yield_now().await;
    let is_left = poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await;
    if is_left {
        return Ok(());
    }
    asked.note_begin(log)?;
    let plan = Plan::draw(&mut random.borrow_mut());
    tokio::time::sleep(plan.work).await;
    if let Some(status) = plan.failure {
        let mut out = respond.send_response(http2::head(status), false)?;
        return send(&mut out, Bytes::from_static(b"failed\n"), true).await;
    }
    let (mut head, body) = (http2::head(200), asked.body());
    if random.borrow_mut().percent(50) {
        head.headers_mut().insert("content-length", body.len().into());
    }
    let mut out = respond.send_response(head, false)?;
    if !plan.is_cut {
        return send(&mut out, body.into(), true).await;
    }
    asked.note_cut(log)?;
    let most = random.borrow_mut().below(body.len());
    send(&mut out, Bytes::from(body).slice(..most), false).await?;
    let pause = random.borrow_mut().below(10) as u64;
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
