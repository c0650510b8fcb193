//! The second seam: what answers a route. The plain service is built into the core and never boxed.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{CompileCx, Exchange, LocalBoxFuture, Reason, Reply, ResponseCx, ServiceId};

/// What a destination is; called when configuration is compiled.
pub trait DestinationKind: 'static {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const REASONS: &'static [Reason];
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
}

/// How a destination answers.
pub enum Outcome<'a> {
    /// Hand the request to this service, through the ordinary service machinery.
    Forward(ServiceId),
    Answer(Reply),
    /// Needs to wait: the one allocation.
    Suspend(LocalBoxFuture<'a, Reply>),
}
