//! What the tests of the whole gateway share: the gateway under test, and the tables of faults on the wire.

pub mod faults;
mod gateway;

pub use gateway::{Gateway, Narthex};
