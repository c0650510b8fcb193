//! The first seam: one step that a request passes.

use std::future::Future;
use std::pin::Pin;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    BodyCx, BodyStep, CompileCx, EndCx, FailureCx, Hooks, Reason, Reply, RequestCx, ResponseCx, Stage,
};

/// A future on a worker: not `Send`, because a worker is one thread.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a policy is; called when configuration is compiled, never per request.
pub trait PolicyKind: 'static {
    /// The folder's name, the configuration's key, the metric's label, the documentation's page.
    const NAME: &'static str;
    /// One sentence for lists.
    const SUMMARY: &'static str;
    /// The first is the default; more than one where the user may choose.
    const STAGES: &'static [Stage];
    /// The reasons that it may answer with.
    const REASONS: &'static [Reason];
    /// The settings: unknown fields refused, field docs are the reference.
    type Config: DeserializeOwned + JsonSchema;
    type Runtime: Policy + 'static;

    /// Checks and compiles; pushes every problem it finds, with spans. `None` exactly when it pushed an error.
    fn compile(config: Self::Config, cx: &mut CompileCx<'_>) -> Option<Self::Runtime>;
}

/// What a policy does; shared by all workers, immutable.
pub trait Policy: Send + Sync {
    /// The hooks that it implements; the chain calls no others.
    fn hooks(&self) -> Hooks;

    /// The request's head is here; the body is not.
    fn on_request<'a>(&'a self, _: &'a mut RequestCx<'_>) -> Flow<'a> {
        Flow::Continue
    }

    /// The whole body (bounded by the route's `buffer`), before the head is sent on.
    fn on_request_body<'a>(&'a self, _: &'a mut RequestCx<'_>, _: &'a [u8]) -> Flow<'a> {
        Flow::Continue
    }

    /// The destination gave no answer: answer in its stead, or pass it on.
    fn on_failure<'a>(&'a self, _: &'a mut FailureCx<'_>) -> Flow<'a> {
        Flow::Continue
    }

    /// The response's head is here. Runs for the gateway's own answers too.
    fn on_response<'a>(&'a self, _: &'a mut ResponseCx<'_>) -> Flow<'a> {
        Flow::Continue
    }

    /// A streaming edit of either body, asked once per direction.
    fn body_step(&self, _: &BodyCx<'_>) -> Option<Box<dyn BodyStep>> {
        None
    }

    /// Always, synchronous, even when the client went away.
    fn on_end(&self, _: &EndCx<'_>) {}
}

/// What a hook decides.
pub enum Flow<'a> {
    Continue,
    Answer(Reply),
    /// Needs to wait: the one allocation. Up to here the hook has done nothing but edit the exchange: a combination of
    /// policies may drop the future unpolled, undo the edits and ask again.
    Suspend(LocalBoxFuture<'a, Verdict>),
}

/// What a suspended hook decides in the end.
#[derive(Debug)]
pub enum Verdict {
    Continue,
    Answer(Reply),
}
