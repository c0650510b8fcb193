//! A socket with a buffer and a deadline: the ground that client and fake service stand on. Reads no HTTP itself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The most that one message may bring; beyond it a test is broken, and must not fill the memory.
pub(crate) const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What went wrong on a connection. `got` is what had come of the message.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("nobody listens at {0}")]
    Refused(SocketAddr),
    #[error("timed out; so far: {}", shown(got))]
    TimedOut { got: Vec<u8> },
    #[error("the connection was closed before any byte of a message")]
    Closed,
    #[error("the connection was reset; so far: {}", shown(got))]
    Reset { got: Vec<u8> },
    /// It ended inside of a message: in its head, or in its body (then `head` is what had come whole).
    #[error("the message was cut; so far: {}", shown(got))]
    Cut { head: Option<Box<crate::Head>>, got: Vec<u8> },
    #[error("malformed: {what}: {}", shown(got))]
    Malformed { what: String, got: Vec<u8> },
    #[error("more than {MOST_BYTES} bytes")]
    TooLarge,
    #[error("unexpected bytes: {}", shown(.0))]
    Unexpected(Vec<u8>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Fault {
    pub(crate) fn malformed(what: impl Into<String>, got: &[u8]) -> Self {
        Self::Malformed { what: what.into(), got: got.to_vec() }
    }
}

/// Bytes for people, with the line breaks visible, not more than 2,000 of them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let most = bytes.len().min(2000);
    let text = bytes[..most].escape_ascii().to_string();
    if most < bytes.len() {
        format!("\"{text}\" and {} bytes more", bytes.len() - most)
    } else {
        format!("\"{text}\"")
    }
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Data,
    End,
}

/// The connection and what was read ahead.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) fn connect(address: SocketAddr, patience: Duration) -> Result<Self, Fault> {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => Ok(Self::new(stream)?),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Fault::Refused(address)),
            Err(error) if is_timeout(&error) => Err(Fault::TimedOut { got: Vec::new() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads once into the buffer.
    pub(crate) fn fill(&mut self, due: Option<Instant>) -> Result<Fill, Fault> {
        if self.buffer.len() > MOST_BYTES {
            return Err(Fault::TooLarge);
        }
        let mut piece = [0u8; 16 * 1024];
        loop {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Fault::TimedOut { got: self.buffer.clone() });
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(Fill::End),
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(Fill::Data);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted || is_timeout(&error) => {}
                Err(error) if is_reset(&error) => return Err(Fault::Reset { got: self.buffer.clone() }),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes all of it within the time.
    pub(crate) fn send(&mut self, bytes: &[u8], patience: Duration) -> Result<(), Fault> {
        self.stream.set_write_timeout(Some(patience))?;
        match self.stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) if is_timeout(&error) => Err(Fault::TimedOut { got: Vec::new() }),
            Err(error) if is_reset(&error) => Err(Fault::Reset { got: Vec::new() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the sending side.
    pub(crate) fn half_close(&self) -> Result<(), Fault> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Makes the closing of the socket a reset.
    pub(crate) fn reset(self) -> Result<(), Fault> {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO))?;
        drop(self);
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected)
}
