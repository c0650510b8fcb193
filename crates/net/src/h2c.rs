//! HTTP/2 connections of both sides, on the `h2` crate. The one place where `http::HeaderMap` is met.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, HeaderName, HeaderValue};
use narthex_wire::{Framing, Head, Known, Limits, Method, ParseError, RequestHead, ResponseHead, Version};

use crate::frames::FrameCounts;
use crate::lazy::Lazy;
use crate::{BodyBuffer, Chunk, Fault, Fill, HeadError, Stream};

/// The only protocol that a tunnel is opened for.
const WEBSOCKET: &str = "websocket";

/// Bounds of one HTTP/2 connection.
#[derive(Debug, Clone, Copy)]
pub struct H2Limits {
    /// Streams that a peer may have open at once.
    pub streams: u32,
    /// Bytes of a header list, decoded.
    pub head_bytes: u32,
    /// Streams that a peer may open and reset before they were looked at (rapid reset).
    pub pending_resets: usize,
    /// Flow-control window of one stream, in bytes.
    pub stream_window: u32,
    /// Flow-control window of the connection, in bytes.
    pub connection_window: u32,
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            streams: 100,
            head_bytes: 60 * 1024,
            pending_resets: 20,
            stream_window: 128 * 1024,
            connection_window: 1024 * 1024,
        }
    }
}

/// A client's HTTP/2 connection.
pub struct H2Server {
    connection: server::Connection<Lazy, Chunk>,
    io: Lazy,
}

/// Answers the preface. `first`: bytes that were read already.
pub async fn accept_h2(stream: Stream, first: Vec<u8>, limits: &H2Limits) -> Result<H2Server, h2::Error> {
    let io = Lazy::watched(stream, first);
    let connection = server::Builder::new()
        .max_concurrent_streams(limits.streams)
        // A list over the bound, but not by far, is read and refused with its reason (`within`); beyond, `h2` answers.
        .max_header_list_size(limits.head_bytes.saturating_mul(2))
        .max_pending_accept_reset_streams(limits.pending_resets)
        .max_concurrent_reset_streams(limits.pending_resets)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buffer_size(limits.stream_window as usize)
        .enable_connect_protocol()
        .handshake(io.clone())
        .await?;
    Ok(H2Server { connection, io })
}

/// A stream as `h2` accepts it.
pub type Accepted = (http::Request<RecvStream>, server::SendResponse<Chunk>);

impl H2Server {
    /// The next stream; drives all others meanwhile, and writes out what they have to say before it waits.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, h2::Error>>> {
        let accepted = self.connection.poll_accept(cx);
        if accepted.is_pending() {
            // A broken socket shows itself to `h2` when it reads.
            let _ = self.io.poll_write_out(cx);
            self.io.end_turn();
        }
        accepted
    }

    /// What the client has sent so far of what costs it nothing.
    pub fn frames(&self) -> FrameCounts {
        self.io.frames()
    }

    /// The number of the header block that the client has begun and not ended: nothing else comes until it has.
    pub fn open_block(&self) -> Option<u64> {
        self.io.open_block()
    }

    /// GOAWAY with ENHANCE_YOUR_CALM: `poll_accept` ends as soon as that is out.
    pub fn calm(&mut self) {
        self.connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
    }

    /// Which flood `h2` itself has ended the connection for: its error does not tell, the GOAWAY does.
    pub fn flood_of(&self, error: &h2::Error) -> Option<&'static str> {
        if !error.is_library() || error.reason() != Some(h2::Reason::ENHANCE_YOUR_CALM) {
            return None;
        }
        let kinds = [
            ("too_many_continuations", "continuation"),
            ("too_many_resets", "reset"),
            ("too_many_internal_resets", "made_reset"),
            ("too_many_data_frames", "empty"),
            ("header_list_way_too_large", "head"),
        ];
        Some(kinds.iter().find(|(words, _)| self.io.has_said(words)).map_or("other", |(_, kind)| kind))
    }

    /// Reads and drops what the client still sends after the end; `Ok(0)` when it has ended too.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.io.poll_discard(cx)
    }

    /// GOAWAY: no new streams; `poll_accept` ends when those that are open do.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }
}

/// One exchange's stream, the client's side.
///
/// Dropped when the response is over before its request was, it tells the client to stop sending (RFC 9113 8.1): `h2`
/// schedules that reset behind the response, where one that was sent by hand would destroy what is not out yet.
pub struct H2ServerStream {
    receiving: Receiving,
    respond: server::SendResponse<Chunk>,
    send: Option<SendStream<Chunk>>,
    ended: bool,
    /// The response's head until something follows it, or nothing does for now: so long it can be taken back.
    head: Option<http::Response<()>>,
}

impl H2ServerStream {
    /// Takes a stream over and fills `request`, which must be clear.
    pub fn adopt(
        accepted: Accepted,
        request: &mut RequestHead,
        limits: &Limits,
    ) -> (Self, Result<(), HeadError>) {
        let (message, respond) = accepted;
        let (parts, body) = message.into_parts();
        let read = within(&parts, limits).and_then(|()| read_request(&parts, body.is_end_stream(), request));
        let is_held = request.upgrade().is_some();
        let receiving = Receiving { is_held, ..Receiving::request(body) };
        let stream = Self { receiving, respond, send: None, ended: false, head: None };
        (stream, read.map_err(HeadError::Malformed))
    }

    pub fn body_is_done(&self) -> bool {
        self.receiving.done || self.receiving.is_held
    }

    /// The stream's data are a tunnel's bytes from now on.
    pub fn become_tunnel(&mut self) {
        self.receiving.is_held = false;
    }

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> Poll<Result<Fill, Fault>> {
        self.receiving.poll_fill(cx, buffer)
    }

    pub fn take_trailers(&mut self) -> Option<Head> {
        self.receiving.trailers.take()
    }

    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(_) if self.ended => Poll::Pending,
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    pub fn interim(&mut self, head: &ResponseHead) {
        if let Some(message) = write_response(head) {
            // The stream was reset: `poll_gone` says so.
            let _ = self.respond.send_informational(message);
        }
    }

    pub fn start(&mut self, head: &ResponseHead, request: &RequestHead) -> bool {
        if head.status == 101 {
            return self.start_tunnel(head);
        }
        let bodiless = head.status < 200 || head.status == 204 || head.status == 304;
        let has_body = request.method != Method::Head && head.framing != Framing::None && !bodiless;
        self.head = write_response(head);
        self.ended = !has_body;
        if !has_body {
            self.send_head();
        }
        has_body
    }

    /// What fails here is seen by whoever sends the body: the stream was reset.
    fn send_head(&mut self) {
        if let Some(head) = self.head.take() {
            self.send = self.respond.send_response(head, self.ended).ok();
        }
    }

    /// Takes a head back that nothing has followed yet. `false`: it is on its way.
    pub fn take_back(&mut self) -> bool {
        self.head.take().is_some()
    }

    /// In place of 101 an extended CONNECT is answered with 200 (RFC 8441 5).
    fn start_tunnel(&mut self, head: &ResponseHead) -> bool {
        let mut message = http::Response::new(());
        *message.headers_mut() = write_fields(&head.head);
        message.headers_mut().remove(http::header::SEC_WEBSOCKET_ACCEPT);
        self.send = self.respond.send_response(message, false).ok();
        true
    }

    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BodyBuffer,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        self.send_head();
        let Some(send) = &mut self.send else {
            // After an interim response there is nothing to send yet; after `start`, the stream was reset.
            let is_before_start = !last && buffer.is_empty() && !self.ended;
            return Poll::Ready(if is_before_start { Ok(()) } else { Err(Fault::Closed) });
        };
        send_data(send, &mut self.ended, cx, buffer, last)
    }

    pub fn end(&mut self, trailers: Option<&Head>) {
        self.send_head();
        if let Some(send) = &mut self.send {
            end_stream(send, &mut self.ended, trailers);
        }
    }

    pub fn cut(&mut self) {
        match &mut self.send {
            Some(send) => send.send_reset(h2::Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(h2::Reason::INTERNAL_ERROR),
        }
    }
}

/// The receiving side of a stream.
struct Receiving {
    stream: RecvStream,
    left: Bytes,
    /// Of a response: bytes that are still to come, where it says how many there are.
    awaited: Option<u64>,
    is_response: bool,
    trailers: Option<Head>,
    done: bool,
    /// Data are a tunnel's, which has not begun: until then there is no body.
    is_held: bool,
}

impl Receiving {
    fn request(stream: RecvStream) -> Self {
        let done = stream.is_end_stream();
        let left = Bytes::new();
        Self { stream, left, awaited: None, is_response: false, trailers: None, done, is_held: false }
    }

    fn response(stream: RecvStream, length: Option<u64>) -> Self {
        Self { awaited: length, is_response: true, ..Self::request(stream) }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> Poll<Result<Fill, Fault>> {
        if self.is_held {
            return Poll::Ready(Ok(Fill::End));
        }
        loop {
            if !self.left.is_empty() {
                let count = buffer.fill_from(&self.left);
                drop(self.left.split_to(count));
                // Fails only when the stream is gone, which the next read says.
                let _ = self.stream.flow_control().release_capacity(count);
                return Poll::Ready(Ok(self.filled()));
            }
            if self.done {
                return Poll::Ready(Ok(Fill::End));
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(Err(error)) if self.is_over(&error) => {
                    self.done = true;
                }
                Some(data) => {
                    self.left = data.map_err(Fault::H2)?;
                    let count = self.left.len() as u64;
                    self.awaited = self.awaited.map(|left| left.saturating_sub(count));
                }
                None => {
                    let trailers = ready!(self.stream.poll_trailers(cx)).map_err(Fault::H2)?;
                    self.trailers = trailers.as_ref().map(read_trailers);
                    self.done = true;
                }
            }
        }
    }

    /// A complete response whose server wants no more of the request (RFC 9113 8.1): `h2` reports the reset in place of
    /// the end of the stream that came before it.
    fn is_over(&self, error: &h2::Error) -> bool {
        let is_wanted_no_more =
            error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::NO_ERROR);
        self.is_response && is_wanted_no_more && self.awaited.is_none_or(|left| left == 0)
    }

    fn filled(&mut self) -> Fill {
        if self.left.is_empty() && self.stream.is_end_stream() {
            self.done = true;
            return Fill::End;
        }
        Fill::Data
    }
}

fn send_data(
    send: &mut SendStream<Chunk>,
    ended: &mut bool,
    cx: &mut Context<'_>,
    buffer: &mut BodyBuffer,
    last: bool,
) -> Poll<Result<(), Fault>> {
    while !buffer.is_empty() {
        send.reserve_capacity(buffer.data().len());
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(Fault::H2)?,
                None => return Poll::Ready(Err(Fault::Closed)),
            };
        }
        let chunk = buffer.take_chunk(send.capacity());
        *ended = last && buffer.is_empty();
        send.send_data(chunk, *ended).map_err(Fault::H2)?;
    }
    if last && !*ended {
        *ended = true;
        send.send_data(Chunk::empty(), true).map_err(Fault::H2)?;
    }
    Poll::Ready(Ok(()))
}

fn end_stream(send: &mut SendStream<Chunk>, ended: &mut bool, trailers: Option<&Head>) {
    if *ended {
        return;
    }
    *ended = true;
    // Either fails only when the stream was reset, which its reader learns.
    let _ = match trailers {
        Some(trailers) => send.send_trailers(write_fields(trailers)),
        None => send.send_data(Chunk::empty(), true),
    };
}

/// Streams on one connection to an instance before another is opened.
const STREAMS_PER_CONNECTION: usize = 100;

/// Whether the peer says that it has not begun to process the stream (RFC 9113 8.7).
pub fn is_unprocessed(error: &h2::Error) -> bool {
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (is_refused || error.is_go_away())
}

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
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BodyBuffer,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
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

    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BodyBuffer) -> Poll<Result<Fill, Fault>> {
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

/// The bounds that `h2` does not hold: it counts the bytes of a field list only.
fn within(parts: &http::request::Parts, limits: &Limits) -> Result<(), ParseError> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target {
        return Err(ParseError::TargetTooLong);
    }
    if parts.headers.len() > limits.fields {
        return Err(ParseError::TooManyFields);
    }
    // As RFC 9113 6.5.2 counts them.
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if bytes > limits.head_bytes { Err(ParseError::HeadTooLarge) } else { Ok(()) }
}

fn read_request(
    parts: &http::request::Parts,
    ended: bool,
    request: &mut RequestHead,
) -> Result<(), ParseError> {
    let method = Method::from_bytes(parts.method.as_str().as_bytes()).ok_or(ParseError::InvalidMethod)?;
    request.version = Version::Http2;
    let hosts: Vec<_> = parts.headers.get_all(http::header::HOST).iter().collect();
    let authority = match (parts.uri.authority(), hosts.as_slice()) {
        (Some(authority), []) => authority.as_str(),
        (Some(authority), [host]) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            authority.as_str()
        }
        (None, [host]) => host.to_str().map_err(|_| ParseError::InvalidHost)?,
        (None, []) => return Err(ParseError::MissingHost),
        _ => return Err(ParseError::ConflictingHost),
    };
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    if method == Method::Connect && protocol.is_none() {
        request.set_connect(authority).map_err(|_| ParseError::InvalidHost)?;
    } else {
        let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // An extended CONNECT asks for what GET with an upgrade asks for in HTTP/1.1 (RFC 8441 5).
        let method = if protocol.is_some() { Method::Get } else { method };
        request.set_target(method, target).map_err(|_| ParseError::InvalidTarget)?;
        request.set_authority(authority).map_err(|_| ParseError::InvalidHost)?;
    }
    let length = content_length(&parts.headers)?;
    request.framing = if ended { Framing::None } else { length.map_or(Framing::Chunked, Framing::Length) };
    if let Some(protocol) = protocol {
        request.framing = Framing::None;
        request.set_upgrade(Some(protocol.as_str().as_bytes())).map_err(|_| ParseError::InvalidValue)?;
    }
    request.te_trailers = parts.headers.get(http::header::TE).is_some_and(|te| te == "trailers");
    for expected in parts.headers.get_all(http::header::EXPECT) {
        if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(ParseError::UnknownExpectation);
        }
        request.expect_continue = true;
    }
    read_fields(&parts.headers, &mut request.head)
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ParseError> {
    let mut values = headers.get_all(http::header::CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let digits = value.as_bytes();
            let is_number = !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
            let text = value.to_str().ok().filter(|_| is_number);
            text.and_then(|text| text.parse().ok()).map(Some).ok_or(ParseError::InvalidContentLength)
        }
        _ => Err(ParseError::RepeatedContentLength),
    }
}

/// Every field that is not typed; cookie crumbs are joined (RFC 9113 8.2.3).
fn read_fields(headers: &HeaderMap, head: &mut Head) -> Result<(), ParseError> {
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in headers {
        if *name == http::header::COOKIE {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else if !is_typed(name) {
            head.append_raw(name.as_str().as_bytes(), value.as_bytes())
                .map_err(|_| ParseError::InvalidValue)?;
        }
    }
    if !cookies.is_empty() {
        head.append_raw(b"cookie", &cookies).map_err(|_| ParseError::InvalidValue)?;
    }
    Ok(())
}

fn read_trailers(headers: &HeaderMap) -> Head {
    let mut head = Head::new();
    for (name, value) in headers {
        // A field that may not stand in a trailer is dropped (RFC 9110 6.5.1).
        let _ = head.append_raw(name.as_str().as_bytes(), value.as_bytes());
    }
    head
}

fn is_typed(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-length" | "host" | "te" | "expect" | "trailer")
        || Known::lookup(name.as_str().as_bytes()).is_some_and(Known::is_reserved)
}

fn write_request(head: &RequestHead) -> Option<http::Request<()>> {
    let uri = if head.is_authority_form() {
        http::Uri::builder().authority(head.authority()).build().ok()?
    } else {
        let target = match head.query() {
            Some(query) => format!("{}?{query}", head.path()),
            None => head.path().to_owned(),
        };
        let target = if head.is_asterisk() { "*".to_owned() } else { target };
        http::Uri::builder()
            .scheme(head.scheme.as_str())
            .authority(head.authority())
            .path_and_query(target)
            .build()
            .ok()?
    };
    let mut message = http::Request::new(());
    *message.method_mut() = http::Method::from_bytes(head.method.as_str().as_bytes()).ok()?;
    *message.uri_mut() = uri;
    *message.version_mut() = http::Version::HTTP_2;
    *message.headers_mut() = write_fields(&head.head);
    if head.upgrade().is_some() {
        // RFC 8441 5: the stream does what the key and its answer prove in HTTP/1.1.
        *message.method_mut() = http::Method::CONNECT;
        message.extensions_mut().insert(h2::ext::Protocol::from_static(WEBSOCKET));
        message.headers_mut().remove(http::header::SEC_WEBSOCKET_KEY);
    }
    if let Framing::Length(length) = head.framing {
        message.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if head.te_trailers {
        message.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    if head.expect_continue {
        message.headers_mut().insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    Some(message)
}

fn write_response(head: &ResponseHead) -> Option<http::Response<()>> {
    let mut message = http::Response::new(());
    *message.status_mut() = http::StatusCode::from_u16(head.status).ok()?;
    *message.headers_mut() = write_fields(&head.head);
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        _ => head.declared_length,
    };
    if let Some(length) = length.filter(|_| head.status >= 200 && head.status != 204) {
        message.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(message)
}

fn write_fields(head: &Head) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(head.len() + 2);
    for field in head.iter() {
        // `Head` holds only valid names and values; a name that HTTP/2 forbids is typed, never an entry.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value))
        {
            headers.append(name, value);
        }
    }
    headers
}
