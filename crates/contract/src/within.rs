//! Requests that a destination makes while it answers: what it asks, what it gets, and how it waits for several.
//!
//! Opens no socket: the data plane implements [`Reach`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use narthex_wire::{InvalidTarget, Method, RequestHead, ResponseHead};

use crate::{Body, Exchange, LocalBoxFuture, Reason, ServiceId};

/// A request inside an exchange. Nothing of the client's goes with it but what the destination puts in, the trace and
/// the request id.
#[derive(Debug, Clone, Default)]
pub struct SubRequest {
    /// Method, target, fields. Without an authority it is for the host that the client asked for.
    pub head: RequestHead,
    pub body: Bytes,
    /// Time until the response's head, where the exchange's own deadline is not nearer.
    pub within: Option<Duration>,
}

impl SubRequest {
    /// A request without fields and body.
    ///
    /// # Errors
    /// `path_and_query` is no path with an optional query.
    pub fn new(method: Method, path_and_query: &str) -> Result<Self, InvalidTarget> {
        let mut head = RequestHead::new();
        head.set_target(method, path_and_query)?;
        Ok(Self { head, ..Self::default() })
    }
}

/// What came of it.
#[derive(Debug)]
pub struct SubResponse {
    pub head: ResponseHead,
    /// Streamed as it comes, within bounds; dropping it cancels the request.
    pub body: Body,
    /// Why the gateway itself refused; then the body is the problem that a client would see.
    pub reason: Option<Reason>,
    /// What the operator should read about that.
    pub detail: Option<crate::OperatorText>,
}

/// The ways out of a destination, implemented by the data plane.
///
/// The futures do not borrow: several may wait side by side. They are polled inside the exchange's task, in no other, and
/// dropping one cancels its work.
pub trait Reach {
    fn call(
        &self,
        exchange: &Exchange,
        service: ServiceId,
        request: SubRequest,
    ) -> LocalBoxFuture<'static, SubResponse>;
    fn dispatch(&self, exchange: &Exchange, request: SubRequest) -> LocalBoxFuture<'static, SubResponse>;
}

/// Where there is no network: what is asked is never answered.
pub(crate) struct Nowhere;

impl Reach for Nowhere {
    fn call(&self, _: &Exchange, _: ServiceId, _: SubRequest) -> LocalBoxFuture<'static, SubResponse> {
        Box::pin(std::future::pending())
    }

    fn dispatch(&self, _: &Exchange, _: SubRequest) -> LocalBoxFuture<'static, SubResponse> {
        Box::pin(std::future::pending())
    }
}

/// Waits for all, side by side; the results stand in the order of the futures. Meant for a handful.
pub async fn join_all<T>(futures: Vec<LocalBoxFuture<'_, T>>) -> Vec<T> {
    Join { parts: futures.into_iter().map(Part::Waits).collect() }.await
}

enum Part<'a, T> {
    Waits(LocalBoxFuture<'a, T>),
    Is(Option<T>),
}

struct Join<'a, T> {
    parts: Vec<Part<'a, T>>,
}

// No part is pinned by `Join` itself: each is a box, or a value that is moved out.
impl<T> Unpin for Join<'_, T> {}

impl<T> Future for Join<'_, T> {
    type Output = Vec<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<T>> {
        let mut is_done = true;
        for part in &mut self.parts {
            if let Part::Waits(future) = part {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *part = Part::Is(Some(value)),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if !is_done {
            return Poll::Pending;
        }
        let values = self.parts.iter_mut().filter_map(|part| match part {
            Part::Is(value) => value.take(),
            Part::Waits(_) => None,
        });
        Poll::Ready(values.collect())
    }
}
