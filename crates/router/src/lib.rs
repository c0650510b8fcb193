//! Which route answers a request: path normalisation, predicates, the route tree, the analysis of conflicts,
//! and one evaluator for live routing and for `explain`. Sans-IO: no socket, no clock, no task.
//! It must never know a configuration type, a policy or another crate of ours.

mod accept;
mod analyse;
mod client;
mod evaluate;
mod explain;
mod host;
mod matching;
mod method;
mod normalise;
mod problem;
mod rewrite;
mod router;
mod template;
mod tree;
mod value;
mod version;
mod witness;

pub use client::{ClientType, client_type};
pub use evaluate::{Facts, PredicateRef};
pub use explain::{Explain, Explanation, NoTrace, Trace, TryOutcome};
pub use host::{HostProblem, HostTable};
pub use matching::{Match, MatchError, RouteSpec, ValueTest};
pub use normalise::{
    EncodedSlashes, MAX_PATH, PathError, PathRules, decode_percent, normalise, normalise_text,
};
pub use problem::Problem;
pub use rewrite::Rewrite;
pub use router::{Captures, Found, Router};
pub use template::{PathPattern, Segment, Template, TemplateError};
pub use version::{
    FoundVersion, MAX_VERSIONS, VersionBy, VersionMiss, VersionPlace, VersionSet, Versions, path_after,
};
