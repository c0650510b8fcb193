//! The second seam: what answers a route. The plain service is built into the core and never boxed.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::within::Nowhere;
use crate::{
    CompileCx, Exchange, LocalBoxFuture, Reach, Reason, Reply, ResponseCx, ServiceId, SubRequest, SubResponse,
};

/// What a destination is; called when configuration is compiled.
pub trait DestinationKind: 'static {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const REASONS: &'static [Reason];
    /// It may hand the request on to a service ([`Outcome::Forward`]): what a route does on the way there has a meaning.
    const FORWARDS: bool = false;
    type Config: DeserializeOwned + JsonSchema;
    type Runtime: Destination + 'static;

    /// As [`crate::PolicyKind::compile`].
    fn compile(config: Self::Config, cx: &mut CompileCx<'_>) -> Option<Self::Runtime>;
}

/// What a destination does; shared by all workers, immutable.
pub trait Destination: Send + Sync {
    fn answer<'a>(&'a self, cx: &'a mut DestinationCx<'_>) -> Outcome<'a>;

    /// The response side, before any policy's: a sticky cookie, for example.
    fn on_response(&self, _: &mut ResponseCx<'_>) {}
}

/// A destination's view of the exchange.
pub struct DestinationCx<'x> {
    pub exchange: &'x mut Exchange,
    /// Random bits, from the worker's generator.
    pub random: u64,
    reach: &'x dyn Reach,
}

impl<'x> DestinationCx<'x> {
    pub fn new(exchange: &'x mut Exchange, random: u64, reach: &'x dyn Reach) -> Self {
        Self { exchange, random, reach }
    }

    /// Without a network: what is asked is never answered. For tests, and for explaining.
    pub fn alone(exchange: &'x mut Exchange, random: u64) -> Self {
        Self::new(exchange, random, &Nowhere)
    }

    /// Asks a service through the ordinary machinery: balancing, connections, time-outs, safe replay, `X-Forwarded-*`,
    /// `Via`. The route's deadline holds for it too; when the future is dropped, so is the request. Several may wait side
    /// by side (see [`crate::join_all`]), but only inside this exchange's own task.
    pub fn call(&self, service: ServiceId, request: SubRequest) -> LocalBoxFuture<'static, SubResponse> {
        self.reach.call(self.exchange, service, request)
    }

    /// Asks another route of this listener, with all its policies, as if a client had: the host chooses the gateway, the
    /// router the route. Credentials are what the request carries. Bounded in depth: beyond, `dispatch_too_deep`.
    pub fn dispatch(&self, request: SubRequest) -> LocalBoxFuture<'static, SubResponse> {
        self.reach.dispatch(self.exchange, request)
    }
}

/// How a destination answers.
pub enum Outcome<'a> {
    /// Hand the request to this service, through the ordinary service machinery.
    Forward(ServiceId),
    Answer(Reply),
    /// Needs to wait: the one allocation.
    Suspend(LocalBoxFuture<'a, Reply>),
}
