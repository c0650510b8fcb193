//! Listening sockets that a service manager has opened and passed on (`sd_listen_fds(3)`): descriptors from 3 on, for the
//! process that `LISTEN_PID` names. Found by the address that they are bound to; never closed, they belong to the manager.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use narthex_wire::Address;
use socket2::SockRef;

/// The first descriptor that is passed on.
const FIRST: RawFd = 3;
/// More than any service manager passes on.
const MOST: RawFd = 1_024;

/// The socket that was passed on for this address, once for each of `count` workers, who share its queue. `None`: there is
/// no such.
pub fn listening(address: Address, count: usize) -> Option<std::io::Result<(Address, Vec<OwnedFd>)>> {
    static ALL: OnceLock<Vec<(Address, OwnedFd)>> = OnceLock::new();
    let all = ALL.get_or_init(passed_on);
    let (bound, socket) = all.iter().find(|(bound, _)| is_same(*bound, address))?;
    Some(
        (0..count.max(1))
            .map(|_| socket.try_clone())
            .collect::<std::io::Result<_>>()
            .map(|all| (*bound, all)),
    )
}

/// Every address of the machine is the same place, in whichever family it is written.
fn is_same(bound: Address, wanted: Address) -> bool {
    let (Address::Ip(bound), Address::Ip(wanted)) = (bound, wanted) else { return bound == wanted };
    let is_any = bound.ip().is_unspecified() && wanted.ip().is_unspecified();
    bound.port() == wanted.port() && (is_any || bound.ip().to_canonical() == wanted.ip().to_canonical())
}

#[expect(unsafe_code, reason = "a descriptor that another process opened is known by its number alone")]
fn passed_on() -> Vec<(Address, OwnedFd)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<RawFd>().ok();
    if number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) != Some(std::process::id()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MOST);
    let mut all = Vec::new();
    for fd in FIRST..FIRST + count {
        // SAFETY: the service manager has opened it for this process, and nobody else in here knows of it: this runs once.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let known = SockRef::from(&socket);
        let address = known.local_addr().ok().and_then(|address| match address.as_socket() {
            Some(address) => Some(Address::Ip(address)),
            None => address.as_pathname()?.to_str().map(Address::unix),
        });
        // What is accepted has it too; a Unix socket knows nothing of it.
        let _ = known.set_tcp_nodelay(true);
        // Children are not to have it, and workers never block.
        let is_ready = known.set_cloexec(true).and_then(|()| known.set_nonblocking(true));
        match address {
            Some(address) if is_ready.is_ok() => all.push((address, socket)),
            _ => tracing::warn!(
                fd,
                "a descriptor that was passed on is no socket to listen on: it is not used"
            ),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_however_it_is_written() {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        let is = |bound: &str, wanted: &str| is_same(ip(bound), ip(wanted));
        assert!(is("0.0.0.0:80", "[::]:80") && is("[::]:80", "0.0.0.0:80"));
        assert!(is("[::ffff:192.0.2.1]:80", "192.0.2.1:80"));
        let unix = Address::unix;
        assert!(is_same(unix("/a"), unix("/a")) && !is_same(unix("/a"), unix("/b")));
        assert!(!is_same(ip("127.0.0.1:80"), Address::UNNAMED));
        assert!(!is("0.0.0.0:80", "192.0.2.1:80") && !is("[::]:80", "[::]:81"));
    }

    #[test]
    fn without_a_service_manager_nothing_is_passed_on() {
        assert!(listening(Address::Ip("127.0.0.1:1".parse().unwrap()), 1).is_none());
    }
}
