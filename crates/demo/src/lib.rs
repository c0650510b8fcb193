//! Three small services to try the gateway on, the configuration of a gateway in front of them, and commands that show
//! what it does. All on the loopback, all in memory, gone with the value. Knows the gateway only by its configuration.

mod answer;
mod catalogue;
mod commands;
mod config;
mod orders;
mod server;
mod users;

pub use commands::{Command, Expect, commands};
pub use config::config;
pub use server::{Demo, start};
