//! The data plane: what happens to a request. `request.rs` is the table of contents.
//!
//! It sees neither a configuration type nor a policy's name, and opens no socket but through `net`.

mod accept;
mod answer;
mod aside;
mod chain;
mod connection;
mod connection_h2;
mod converse;
mod deadline;
mod exchange;
mod fallback;
mod finish;
mod fleet;
mod flood;
mod forward;
mod forwarded;
mod grpc;
mod hedge;
mod mirror;
mod places;
mod problem;
mod proxied;
mod pump;
mod raw;
mod replay;
mod request;
mod routing;
mod secure;
mod service;
mod shedding;
mod snapshot;
mod stamps;
mod stream;
mod tunnel;
mod upgrade;
mod versioning;
mod within;
mod worker;

pub use chain::{Chain, Link, Reached};
pub use exchange::Run;
pub use fleet::{Fleet, FleetOptions};
pub use flood::FloodRules;
pub use forwarded::ForwardedRules;
pub use hedge::{HedgeAfter, HedgeRules};
pub use mirror::Mirror;
pub use places::Places;
pub use problem::problem_json;
pub use proxied::{Network, ProxiedRules};
pub use raw::{RawPlan, RawTo, ServerNames};
pub use request::handle;
pub use routing::RequestFacts;
pub use routing::host_without_port;
pub use secure::ListenerTls;
pub use service::{
    AdaptiveRules, Balance, BreakerRules, Budget, Call, Causes, CheckRules, Circuit, CookieRules, EjectCause,
    FailureShare, Health, HealthChange, HostRule, Instance, InstanceSet, Member, Outcome, OutlierRules,
    Protocol, Quantile, RetryRules, Rules, SameSite, Service, ServiceTimes, Settings, Slow, Spread, State,
    StatusSet, Sticky, StickyKey, Subset, SuccessRate, Tick, Whereabouts,
};
pub use shedding::{Excess, Shedding};
pub use snapshot::{
    BodyRate, DeadlineScope, FallbackStep, Gateway, ListenerBounds, ListenerPlan, PathEdit, Route,
    RouteTimes, Rung, Snapshot, TimesOverride, To, Upgrades,
};
pub use versioning::{ApiVersion, ApiVersions, Chosen};
pub use worker::{Phase, Worker};
