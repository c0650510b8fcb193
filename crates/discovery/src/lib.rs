//! Sources of a service's instances: one folder each. They run on the control runtime, never on a worker.

pub mod dns;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use thiserror::Error;

/// What a source has found out.
pub type Found = Result<Vec<IpAddr>, Trouble>;

/// Why a source has nothing new; what was known stays in force.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct Trouble(pub String);

/// A source of instances.
pub trait Discovery: Send {
    /// Waits until there is something to say: at once the first time, then whenever it may have changed.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Found> + Send + '_>>;
}
