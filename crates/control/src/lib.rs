//! From a configuration to a running gateway: compile, activate, reload, discover, administer.
//!
//! Everything here runs on the control runtime; the data plane sees only finished snapshots.

mod admin;
mod certificates;
mod compile;
mod control;
mod feeds;
mod health;
mod last_good;
mod listeners;
mod overload;
mod simulate;
mod watch;

pub use admin::serve_admin;
pub use certificates::CertificateStatus;
pub use compile::{Compiled, Keep, Kinds, RoutePlan, compile, compile_written};
pub use control::{Applied, Control, ControlOptions, Drain, Refused, Source, StartError, Status};
pub use feeds::Waiting;
pub use last_good::LastGood;
pub use simulate::{Asked, BadRequest, End, Simulation, simulate};
pub use watch::Watched;
