//! Every destination that comes with the gateway, but for the plain service, which is built into the core.
//!
//! One folder and one line of the registry each. Nothing here opens a socket or spawns a task.

pub mod redirect;
pub mod reply;
pub mod split;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod testing;

use narthex_contract::{DestinationEntry, RegisteredDestination};

pub use reply::fixed_reply;

/// The registry, in alphabetical order.
pub static DESTINATIONS: &[&dyn RegisteredDestination] = &[
    &DestinationEntry::<redirect::Redirect>::NEW,
    &DestinationEntry::<reply::Reply>::NEW,
    &DestinationEntry::<split::Split>::NEW,
];

/// The destination kind of that name, as written in configuration.
pub fn destination(name: &str) -> Option<&'static dyn RegisteredDestination> {
    DESTINATIONS.iter().copied().find(|destination| destination.name() == name)
}
