//! Listening sockets: on TCP one per worker and address, sharing the port by SO_REUSEPORT; of a Unix socket one for all.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use narthex_wire::{Address, UnixPath};
use rustix::fs::Mode;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;

const BACKLOG: i32 = 4096;

/// Sockets for one address: one for each worker.
#[derive(Debug)]
pub struct Listener {
    pub address: Address,
    pub sockets: Vec<OwnedFd>,
    /// Of a Unix socket that was made here: its file.
    pub file: Option<SocketFile>,
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("{0} is in use by another process")]
    InUse(Address),
    #[error("no permission to listen on {0}: ports below 1024 need CAP_NET_BIND_SERVICE")]
    Denied(SocketAddr),
    #[error("no permission to make the socket {0}")]
    DeniedFile(Address),
    #[error("{0} is not an address of this machine")]
    NotHere(Address),
    #[error("the directory of {0} is not there")]
    NoDirectory(Address),
    #[error("{0} is a file that is no socket: it is left as it is")]
    NoSocket(Address),
    #[error("cannot listen on {0}: {1}")]
    Other(Address, io::Error),
}

impl Listener {
    /// Binds `count` sockets. With port 0 the kernel picks one port for all of them. `mode`: who may connect to a Unix
    /// socket, as permissions of its file.
    ///
    /// A socket for the address that a service manager has passed on is taken instead; the workers share it.
    pub fn bind(address: Address, count: usize, mode: u32) -> Result<Self, ListenError> {
        let bound = match crate::inherited::listening(address, count) {
            Some(inherited) => inherited.map(|(address, sockets)| Self { address, sockets, file: None }),
            None => match address {
                Address::Ip(address) => bind_tcp(address, count),
                Address::Unix(path) => return bind_unix(path, count, mode),
            },
        };
        bound.map_err(|error| explain(address, error))
    }
}

/// SO_REUSEPORT would let a second process share the port silently, so the address is first bound without it.
fn bind_tcp(address: SocketAddr, count: usize) -> io::Result<Listener> {
    let probe = bind_one(address, false)?;
    let address = probe.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
    drop(probe);
    let sockets = (0..count.max(1))
        .map(|_| {
            let socket = bind_one(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect::<io::Result<Vec<_>>>()?;
    Ok(Listener { address: Address::Ip(address), sockets, file: None })
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
    // What is accepted has it too.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Makes the socket's file. One that nobody listens on any more was left by a process that ended without notice: it is
/// replaced.
fn bind_unix(path: UnixPath, count: usize, mode: u32) -> Result<Listener, ListenError> {
    let address = Address::Unix(path);
    let file = Path::new(path.as_str());
    if let Ok(found) = fs::symlink_metadata(file) {
        if !found.file_type().is_socket() {
            return Err(ListenError::NoSocket(address));
        }
        match UnixStream::connect(file) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(file).map_err(|error| explain(address, error))?;
            }
            // It is gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Whoever may not connect cannot know that nobody listens.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ListenError::DeniedFile(address));
            }
            Ok(_) | Err(_) => return Err(ListenError::InUse(address)),
        }
    }
    let make = || -> io::Result<_> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let mode = Mode::from_raw_mode(mode);
        // The file begins with these permissions less the process's umask: at no time with more than are wanted.
        rustix::fs::fchmod(&socket, mode)?;
        socket.bind(&SockAddr::unix(file)?)?;
        let made = SocketFile::made(path)?;
        fs::set_permissions(file, fs::Permissions::from_mode(mode.as_raw_mode()))?;
        socket.listen(BACKLOG)?;
        let sockets = (0..count.max(1)).map(|_| Ok(socket.try_clone()?.into()));
        Ok((sockets.collect::<io::Result<_>>()?, made))
    };
    let (sockets, made) = make().map_err(|error| explain(address, error))?;
    Ok(Listener { address, sockets, file: Some(made) })
}

/// A Unix socket's file, as it was made; removed on drop, unless another process has put its own in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: UnixPath,
    identity: Identity,
}

impl SocketFile {
    fn made(path: UnixPath) -> io::Result<Self> {
        Ok(Self { path, identity: identity(path)? })
    }

    /// Changes who may connect.
    pub fn allow(&self, mode: u32) {
        if let Err(error) = fs::set_permissions(self.path.as_str(), fs::Permissions::from_mode(mode)) {
            tracing::warn!(path = self.path.as_str(), %error, "cannot change the permissions of a socket's file");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(self.path).ok() == Some(self.identity)
            && let Err(error) = fs::remove_file(self.path.as_str())
        {
            tracing::warn!(path = self.path.as_str(), %error, "cannot remove a socket's file");
        }
    }
}

/// Device and inode, and when it was made: a number may be given again.
type Identity = (u64, u64, i64, i64);

fn identity(path: UnixPath) -> io::Result<Identity> {
    let found = fs::symlink_metadata(path.as_str())?;
    Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

fn explain(address: Address, error: io::Error) -> ListenError {
    match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, _) => ListenError::InUse(address),
        (io::ErrorKind::PermissionDenied, Address::Ip(address)) => ListenError::Denied(address),
        (io::ErrorKind::PermissionDenied, Address::Unix(_)) => ListenError::DeniedFile(address),
        (io::ErrorKind::NotFound, Address::Unix(_)) => ListenError::NoDirectory(address),
        (io::ErrorKind::AddrNotAvailable, _) => ListenError::NotHere(address),
        _ => ListenError::Other(address, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Address {
        Address::Ip(text.parse().unwrap())
    }

    #[test]
    fn all_workers_share_one_port_and_nobody_else_does() {
        let listener = Listener::bind(ip("127.0.0.1:0"), 3, 0).unwrap();
        assert_ne!(listener.address.socket().unwrap().port(), 0);
        assert_eq!(listener.sockets.len(), 3);
        assert!(matches!(Listener::bind(listener.address, 1, 0), Err(ListenError::InUse(_))));
    }

    #[test]
    fn says_what_is_wrong_with_an_address() {
        assert!(matches!(Listener::bind(ip("192.0.2.1:0"), 1, 0), Err(ListenError::NotHere(_))));
    }

    fn place(name: &str) -> (std::path::PathBuf, Address) {
        let directory = std::env::temp_dir().join(format!("narthex-listen-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.sock");
        let address = Address::unix(path.to_str().unwrap());
        (path, address)
    }

    #[test]
    fn a_unix_socket_has_the_wanted_mode_and_goes_with_its_listener() {
        let (path, address) = place("mode");
        for mode in [0o600, 0o666] {
            let listener = Listener::bind(address, 2, mode).unwrap();
            assert_eq!(listener.sockets.len(), 2);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
            assert!(UnixStream::connect(&path).is_ok());
            drop(listener);
            assert!(!path.exists());
        }
        fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_live_socket_is_refused_and_a_stale_one_replaced() {
        let (path, address) = place("stale");
        let live = Listener::bind(address, 1, 0o600).unwrap();
        assert!(matches!(Listener::bind(address, 1, 0o600), Err(ListenError::InUse(_))));
        let Listener { sockets, file, .. } = live;
        drop(sockets);
        assert!(path.exists(), "as a process leaves it that was killed");
        // The inode stays taken: a number that is given again within the clock's granularity is no matter here.
        fs::hard_link(&path, path.with_extension("old")).unwrap();
        let second = Listener::bind(address, 1, 0o600).unwrap();
        drop(file);
        assert!(path.exists(), "the file is the second one's");
        drop(second);
        fs::write(&path, "something else").unwrap();
        assert!(matches!(Listener::bind(address, 1, 0o600), Err(ListenError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"something else");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(matches!(Listener::bind(address, 1, 0o600), Err(ListenError::NoDirectory(_))));
    }
}
