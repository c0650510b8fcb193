//! What the tests of the whole gateway share: the gateway under test, and the tables of faults on the wire.

pub mod faults;
mod gateway;
pub mod http2;

pub use gateway::{Gateway, Narthex};
