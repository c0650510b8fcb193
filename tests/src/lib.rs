//! What the tests of the whole gateway share: the gateway under test, in this process or in one of its own.

mod controlled;
mod gateway;
mod hand_made;
pub mod http2;
mod peers;
mod process;
mod random;
pub mod websocket;

pub use controlled::Controlled;
pub use gateway::{Gateway, Narthex};
pub use hand_made::{HandMade, link};
pub use peers::{node, python};
pub use process::{PATIENCE, Process, WATCH, binary, command, eventually, sibling, signal};
pub use random::Random;
