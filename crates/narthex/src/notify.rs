//! Tells the service manager how the gateway stands (`sd_notify(3)`): ready, reloading, stopping, alive. Without a service
//! manager that wants to know, nothing happens. Never an error: whoever does not listen is not told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends `state`, lines of `NAME=value`, to `NOTIFY_SOCKET`.
pub fn notify(state: &str) {
    if let Some(place) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(place.as_bytes(), state)
    {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

/// A reload begins; `READY=1` ends it.
pub fn reloading() {
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", narthex_net::system::monotonic_micros()));
}

/// How often to send `WATCHDOG=1`: twice in the time after which the service manager takes the process for dead.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0)?;
    Some(Duration::from_micros((micros / 2).max(1_000)))
}

/// `@` in front: an abstract name.
fn send(place: &[u8], state: &str) -> std::io::Result<()> {
    let address = match place.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(place))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A queue that is full must not hold the gateway up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_by_path_and_by_abstract_name() {
        let name = format!("narthex-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        send(path.as_os_str().as_bytes(), "READY=1").unwrap();
        send(format!("@{name}").as_bytes(), "STOPPING=1").unwrap();
        for (socket, said) in [(by_path, "READY=1"), (by_name, "STOPPING=1")] {
            let mut bytes = [0; 64];
            let count = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], said.as_bytes());
        }
        std::fs::remove_file(path).unwrap();
        assert!(send(b"/nowhere/at/all", "READY=1").is_err());
    }
}
