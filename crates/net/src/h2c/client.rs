//! A connection to an instance, shared by its streams, and each of them.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use h2::{SendStream, client};
use narthex_wire::{Framing, Head, ParseError, RequestHead, ResponseHead, Version};

use super::fields::{content_length, read_fields, write_request};
use super::half::{Receiving, end_stream, send_data};
use super::{H2Limits, WEBSOCKET};
use crate::lazy::Lazy;
use crate::{BodyBuffer, Chunk, Fault, Fill, HeadError, PollFill, PollSend, Stream};

/// Streams on one connection to an instance before another is opened.
const STREAMS_PER_CONNECTION: usize = 100;

/// A connection to an instance; clones share it, each opens streams of its own.
#[derive(Clone)]
pub struct H2Client {
    send: client::SendRequest<Chunk>,
    greeting: Rc<Greeting>,
}

/// Whether the instance has said what it can do. Only a tunnel has to know, and waits for it.
///
/// `h2` does not tell that SETTINGS came; they come before the answer to a PING.
#[derive(Default)]
struct Greeting {
    is_over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Greeting {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over.get() {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    fn end(&self) {
        self.is_over.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Sends the preface. The second value drives the connection and must be spawned.
pub async fn connect_h2(
    stream: Stream,
    limits: &H2Limits,
) -> Result<(H2Client, impl Future<Output = ()> + use<>), h2::Error> {
    let io = Lazy::new(stream, Vec::new());
    let (send, mut connection) = client::Builder::new()
        .max_header_list_size(limits.head_bytes)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_concurrent_reset_streams(limits.pending_resets)
        .max_send_buffer_size(limits.stream_window as usize)
        .enable_push(false)
        .handshake(io.clone())
        .await?;
    let greeting = Rc::new(Greeting::default());
    let greeted = Rc::clone(&greeting);
    let mut ping = connection.ping_pong();
    if let Some(ping) = &mut ping {
        // It fails only where the connection has failed, which its driver learns.
        let _ = ping.send_ping(h2::Ping::opaque());
    }
    let drive = std::future::poll_fn(move |cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        if !greeted.is_over.get()
            && (ended.is_ready() || ping.as_mut().is_none_or(|ping| ping.poll_pong(cx).is_ready()))
        {
            greeted.end();
        }
        if ended.is_pending() {
            let _ = io.poll_write_out(cx);
        }
        // An error reaches every stream that it concerns.
        ended.map(drop)
    });
    Ok((H2Client { send, greeting }, drive))
}

impl H2Client {
    /// Ready when a stream may be opened.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.send.poll_ready(cx)
    }

    /// Streams that the instance lets us have open at once.
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams().min(STREAMS_PER_CONNECTION)
    }

    pub fn open(&mut self, head: &RequestHead) -> Result<H2ClientStream, Fault> {
        let message = write_request(head).ok_or(Fault::Closed)?;
        if head.upgrade().is_some() {
            let tunnel = Some(Opening { client: self.clone(), message });
            return Ok(H2ClientStream { opening: tunnel, opened: None, receiving: None, ended: false });
        }
        let ended = head.framing == Framing::None;
        let opened = self.send.send_request(message, ended).map_err(Fault::H2)?;
        Ok(H2ClientStream { opening: None, opened: Some(opened), receiving: None, ended })
    }
}

/// One exchange's stream, the service's side.
pub struct H2ClientStream {
    /// A tunnel that waits for the instance to say that it takes such.
    opening: Option<Opening>,
    opened: Option<(client::ResponseFuture, SendStream<Chunk>)>,
    receiving: Option<Receiving>,
    ended: bool,
}

/// A stream that is to become a tunnel.
struct Opening {
    client: H2Client,
    message: http::Request<()>,
}

impl Opening {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HeadError>> {
        if !self.client.send.is_extended_connect_protocol_enabled() {
            ready!(self.client.greeting.poll(cx));
            // A client must not try without (RFC 8441 3).
            if !self.client.send.is_extended_connect_protocol_enabled() {
                return Poll::Ready(Err(HeadError::NoTunnel));
            }
        }
        self.client.send.poll_ready(cx).map_err(HeadError::H2)
    }
}

impl H2ClientStream {
    pub fn poll_send(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer, last: bool) -> PollSend {
        match &mut self.opened {
            Some((_, send)) => send_data(send, &mut self.ended, cx, buffer, last),
            // A request for a tunnel has no body: its end is not the stream's.
            None => Poll::Ready(Ok(())),
        }
    }

    pub fn end(&mut self, trailers: Option<&Head>) {
        if let Some((_, send)) = &mut self.opened {
            end_stream(send, &mut self.ended, trailers);
        }
    }

    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut ResponseHead,
    ) -> Poll<Result<(), HeadError>> {
        if let Some(opening) = &mut self.opening
            && self.opened.is_none()
        {
            ready!(opening.poll(cx))?;
            let message = std::mem::take(&mut opening.message);
            let opened = opening.client.send.send_request(message, false).map_err(HeadError::H2)?;
            self.opened = Some(opened);
        }
        let Some((answer, _)) = &mut self.opened else { return Poll::Ready(Err(HeadError::Closed)) };
        if let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
            let (parts, ()) = interim.map_err(HeadError::H2)?.into_parts();
            response.status = parts.status.as_u16();
            response.version = Version::Http2;
            return Poll::Ready(
                read_fields(&parts.headers, &mut response.head).map_err(HeadError::Malformed),
            );
        }
        let message = ready!(Pin::new(answer).poll(cx)).map_err(HeadError::H2)?;
        let (parts, body) = message.into_parts();
        let ended = body.is_end_stream();
        response.status = parts.status.as_u16();
        response.version = Version::Http2;
        let is_tunnel = self.opening.is_some() && parts.status.is_success();
        let length = content_length(&parts.headers).map_err(HeadError::Malformed)?.filter(|_| !is_tunnel);
        response.framing =
            if ended || is_tunnel { Framing::None } else { length.map_or(Framing::Chunked, Framing::Length) };
        if ended {
            response.declared_length = length;
        }
        self.receiving = Some(Receiving::response(body, length));
        read_fields(&parts.headers, &mut response.head).map_err(HeadError::Malformed)?;
        if is_tunnel {
            // As the same would be said in HTTP/1.1.
            response.status = 101;
            let upgraded = response.set_upgrade(Some(WEBSOCKET.as_bytes()));
            upgraded.map_err(|_| HeadError::Malformed(ParseError::InvalidValue))?;
        }
        Poll::Ready(Ok(()))
    }

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> PollFill {
        match &mut self.receiving {
            Some(receiving) => receiving.poll_fill(cx, buffer),
            None => Poll::Ready(Ok(Fill::End)),
        }
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        self.receiving.as_mut().and_then(|receiving| receiving.trailers.take())
    }
}

impl Drop for H2ClientStream {
    fn drop(&mut self) {
        let is_over = self.ended && self.receiving.as_ref().is_some_and(|receiving| receiving.done);
        if let Some((_, send)) = &mut self.opened
            && !is_over
        {
            send.send_reset(h2::Reason::CANCEL);
        }
    }
}
