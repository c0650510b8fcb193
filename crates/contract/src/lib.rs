//! The seams: what a policy, a destination and the core agree on. Small, and it changes rarely.
//!
//! Nothing here opens a socket, spawns a task, or knows a policy by name. `proxy` drives these traits,
//! `policies` and `destinations` implement them, `control` compiles configuration into them.

mod attached;
mod body;
mod caller;
mod compile;
mod destination;
mod exchange;
mod feed;
pub mod grpc;
mod keep;
mod local;
mod policy;
mod reason;
mod registry;
mod reply;
mod slots;
mod stage;
mod tls;
mod trace;
mod variable;
mod within;

pub use attached::{Attached, Nested};
pub use body::{
    Body, BodyCx, BodyError, BodySource, BodyStep, Direction, Frame, Input, Output, SourceError, Step,
};
pub use caller::Caller;
pub use compile::{CompileCx, CompileHost, NestedIn, Place, ServiceId};
pub use destination::{Destination, DestinationCx, DestinationKind, Outcome};
pub use exchange::{
    Answered, Captures, Checkpoint, Client, EndCx, Exchange, FailureCx, Moment, RequestCx, ResponseCx,
    RouteLabel, Timings, TrailEntry, Verdicted,
};
pub use feed::{AnyFeed, Feed, FeedCore, FeedKey, FeedOutput, FeedTask};
pub use keep::{Fingerprint, KeepKey};
pub use local::{LocalSpec, Locals, PerCore};
pub use policy::{Flow, LocalBoxFuture, Policy, PolicyKind, Verdict};
pub use reason::{CORE_REASONS, Fault, Reason, ReasonDef, core};
pub use registry::{DestinationEntry, PolicyEntry, RegisteredDestination, RegisteredPolicy};
pub use reply::{ClientText, Detail, OperatorText, Reply, Response};
pub use slots::{Slot, SlotType, SlotValue, Slots};
pub use stage::{Hooks, Stage};
pub use tls::{ClientCertificate, Tls};
pub use trace::TraceContext;
pub use variable::{Template, VARIABLES, Variable, VariableDoc, VariableError};
pub use within::{Reach, SubRequest, SubResponse, join_all};
