//! What the bench programs share: a listener that several threads can open, one event loop, the loop of a service, answers
//! by length, WebSocket frames.
//! Nothing here may be clever about what it measures: the same bytes go to every gateway.

pub mod events;
pub mod response;
pub mod server;
pub mod websocket;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;
use socket2::{Domain, Socket, Type};

/// A loopback listener with SO_REUSEPORT, not blocking. `port` 0 is any free one.
pub fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
        .with_context(|| format!("port {port}"))?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// The argument at `index` (1 is the first), read as `T`.
pub fn argument<T: std::str::FromStr>(index: usize, what: &str) -> anyhow::Result<T> {
    let text = std::env::args().nth(index).with_context(|| format!("argument {index} is missing: {what}"))?;
    text.parse().ok().with_context(|| format!("`{text}` is not {what}"))
}

/// As many descriptors as the hard limit allows.
pub fn raise_descriptor_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
