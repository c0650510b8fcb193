//! HTTP/2 connections of both sides, on the `h2` crate. The one place where `http::HeaderMap` is met.

mod client;
mod fields;
mod half;
mod server;

pub use client::{H2Client, H2ClientStream, connect_h2};
pub use server::{Accepted, H2Server, H2ServerStream, accept_h2};

/// The only protocol that a tunnel is opened for.
const WEBSOCKET: &str = "websocket";

/// Bounds of one HTTP/2 connection.
#[derive(Debug, Clone, Copy)]
pub struct H2Limits {
    /// Streams that a peer may have open at once.
    pub streams: u32,
    /// Bytes of a header list, decoded.
    pub head_bytes: u32,
    /// Streams that a peer may open and reset before they were looked at (rapid reset).
    pub pending_resets: usize,
    /// Flow-control window of one stream, in bytes.
    pub stream_window: u32,
    /// Flow-control window of the connection, in bytes.
    pub connection_window: u32,
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            streams: 100,
            head_bytes: 60 * 1024,
            pending_resets: 20,
            stream_window: 128 * 1024,
            connection_window: 1024 * 1024,
        }
    }
}

/// Whether the peer says that it has not begun to process the stream (RFC 9113 8.7).
pub fn is_unprocessed(error: &h2::Error) -> bool {
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (is_refused || error.is_go_away())
}
