//! What the tests of the whole gateway share: the gateway under test, in this process or in one of its own.

mod controlled;
mod gateway;
mod hand_made;
pub mod http2;
mod peers;
mod process;
mod program;
mod random;
pub mod websocket;

use std::io::Read;

pub use controlled::Controlled;
pub use gateway::{Gateway, Narthex};
pub use hand_made::{HandMade, link};
pub use peers::{node, python};
pub use process::{PATIENCE, Process, WATCH, binary, command, eventually, sibling, signal};
pub use program::Program;
pub use random::Random;

/// A head as its bytes come, up to its empty line; nothing of what follows is read.
///
/// # Panics
/// The stream ends before it does.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head comes in time");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("the heads of tests are text")
}
