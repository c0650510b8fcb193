//! HTTP/1.1 connections of both sides: the sans-IO codec of `wire`, driven over a socket by polling.
//!
//! No task, no channel: whoever drives the exchange polls both sides inline. No policy, no routing.

mod client;
mod half;
mod server;

use std::io;
use std::task::Poll;

use narthex_wire::ParseError;
use thiserror::Error;

pub use client::H1Client;
pub use server::H1Server;

/// Bytes asked for while a head is read: what follows the head in the same read fits in one buffer.
const HEAD_READ: usize = 8 * 1024;

/// What a body's source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// The buffer holds data; more may follow.
    Data,
    /// The body is over; the buffer may hold its last data.
    End,
}

/// Why a body or a write ended early.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("the connection ended")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(ParseError),
    #[error("{0}")]
    H2(h2::Error),
}

/// What filling a buffer from a body comes to.
pub type PollFill = Poll<Result<Fill, Fault>>;
/// What writing a body's bytes, or a message's end, comes to.
pub type PollSend = Poll<Result<(), Fault>>;

/// Why there is no head.
#[derive(Debug, Error)]
pub enum HeadError {
    /// The peer closed without sending a byte: the ordinary end of a kept connection.
    #[error("the connection ended between messages")]
    Idle,
    /// The peer closed in the middle of a head.
    #[error("the connection ended in the middle of a head")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Malformed(ParseError),
    #[error("{0}")]
    H2(h2::Error),
    /// The instance takes no tunnels on HTTP/2 (RFC 8441 3).
    #[error("the instance does not take extended CONNECT")]
    NoTunnel,
    /// The connection begins with HTTP/2's preface: these bytes belong to it.
    #[error("the connection speaks HTTP/2")]
    Preface,
}
