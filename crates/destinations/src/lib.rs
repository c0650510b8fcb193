//! Every destination that comes with the gateway, but for the plain service, which is built into the core.
//!
//! One folder and one line of the registry each. Nothing here opens a socket or spawns a task.

use narthex_contract::RegisteredDestination;

/// The registry, in alphabetical order.
pub static DESTINATIONS: &[&dyn RegisteredDestination] = &[];

/// The destination kind of that name, as written in configuration.
pub fn destination(name: &str) -> Option<&'static dyn RegisteredDestination> {
    DESTINATIONS.iter().copied().find(|destination| destination.name() == name)
}
