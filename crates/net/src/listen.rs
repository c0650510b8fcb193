//! Listening sockets: one per worker and address, sharing the port by SO_REUSEPORT.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

const BACKLOG: i32 = 4096;

/// Sockets for one address: one for each worker.
#[derive(Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub sockets: Vec<std::net::TcpListener>,
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("{0} is in use by another process")]
    InUse(SocketAddr),
    #[error("no permission to listen on {0}: ports below 1024 need CAP_NET_BIND_SERVICE")]
    Denied(SocketAddr),
    #[error("{0} is not an address of this machine")]
    NotHere(SocketAddr),
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
}

impl Listener {
    /// Binds `count` sockets. With port 0 the kernel picks one port for all of them.
    ///
    /// SO_REUSEPORT would let a second process share the port silently, so the address is first bound without it.
    /// A socket for the address that a service manager has passed on is taken instead; the workers share it.
    pub fn bind(address: SocketAddr, count: usize) -> Result<Self, ListenError> {
        if let Some(inherited) = crate::inherited::listening(address, count) {
            let (address, sockets) = inherited.map_err(|error| explain(address, error))?;
            return Ok(Self { address, sockets });
        }
        let probe = bind_one(address, false).map_err(|error| explain(address, error))?;
        let address = local_address(&probe).map_err(|error| explain(address, error))?;
        drop(probe);
        let sockets = (0..count.max(1))
            .map(|_| {
                let socket = bind_one(address, true)?;
                socket.listen(BACKLOG)?;
                Ok(socket.into())
            })
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| explain(address, error))?;
        Ok(Self { address, sockets })
    }
}

fn bind_one(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))
}

fn explain(address: SocketAddr, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NotHere(address),
        _ => ListenError::Other(address, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_port_and_nobody_else_does() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(listener.address.port(), 0);
        assert_eq!(listener.sockets.len(), 3);
        assert!(matches!(Listener::bind(listener.address, 1), Err(ListenError::InUse(_))));
    }

    #[test]
    fn says_what_is_wrong_with_an_address() {
        assert!(matches!(Listener::bind("192.0.2.1:0".parse().unwrap(), 1), Err(ListenError::NotHere(_))));
    }
}
