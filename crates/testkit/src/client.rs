//! A client that sends exactly the bytes that it is given, and reads answers strictly.

use crate::message::{Response, read_response};
use crate::wire::{Fault, Fill, Wire};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One connection. Every call ends within its patience (default: 10 s).
#[derive(Debug)]
pub struct RawClient {
    wire: Wire,
    patience: Duration,
}

impl RawClient {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens, or not in time.
    pub fn connect(address: SocketAddr) -> Result<Self, Fault> {
        let patience = Duration::from_secs(10);
        Ok(Self { wire: Wire::connect(address, patience)?, patience })
    }

    /// How long each call may take at most.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The client's own address.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local_address(&self) -> Result<SocketAddr, Fault> {
        Ok(self.wire.stream.local_addr()?)
    }

    /// Sends these bytes as they are.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.wire.send(bytes.as_ref(), self.patience)
    }

    /// Sends these pieces, each with a write of its own and without delay, so that the peer mostly reads them one by one.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn send_pieces<'p>(&mut self, pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<(), Fault> {
        pieces.into_iter().try_for_each(|piece| self.send(piece))
    }

    /// Sends one byte after the other.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.send_pieces(bytes.as_ref().chunks(1))
    }

    /// Reads the final response to a request that was not a HEAD; the 1xx before it are in `interim`.
    ///
    /// # Errors
    /// None comes in time, it is malformed, or cut.
    pub fn read_response(&mut self) -> Result<Response, Fault> {
        self.read_response_to("GET")
    }

    /// Like [`RawClient::read_response`], for a request with this method.
    ///
    /// # Errors
    /// As there.
    pub fn read_response_to(&mut self, method: &str) -> Result<Response, Fault> {
        let due = self.due();
        let mut interim = Vec::new();
        loop {
            let response = read_response(&mut self.wire, method, due)?;
            if response.status >= 200 || response.status == 101 {
                return Ok(Response { interim, ..response });
            }
            interim.push(response.head);
        }
    }

    /// Reads the next response, be it a 1xx.
    ///
    /// # Errors
    /// As with [`RawClient::read_response`].
    pub fn read_next_to(&mut self, method: &str) -> Result<Response, Fault> {
        let due = self.due();
        read_response(&mut self.wire, method, due)
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// As with the two.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Result<Response, Fault> {
        let method = request.as_ref().split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
        self.send(request)?;
        self.read_response_to(&String::from_utf8_lossy(&method))
    }

    /// Everything that comes until the peer closes.
    ///
    /// # Errors
    /// It does not close in time, or resets.
    pub fn read_to_close(&mut self) -> Result<Vec<u8>, Fault> {
        let due = self.due();
        while self.wire.fill(Some(due))? == Fill::Data {}
        Ok(std::mem::take(&mut self.wire.buffer))
    }

    /// At least this many bytes, as they come; they are not kept for later reads.
    ///
    /// # Errors
    /// They do not come in time.
    pub fn read_at_least(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        let due = self.due();
        while self.wire.buffer.len() < count {
            if self.wire.fill(Some(due))? == Fill::End {
                let got = std::mem::take(&mut self.wire.buffer);
                return Err(Fault::Cut { head: None, got });
            }
        }
        Ok(std::mem::take(&mut self.wire.buffer))
    }

    /// The peer must close without another byte; a reset is a close too.
    ///
    /// # Errors
    /// It sends something, or stays.
    pub fn expect_close(&mut self) -> Result<(), Fault> {
        match self.read_to_close() {
            Ok(rest) if rest.is_empty() => Ok(()),
            Ok(rest) => Err(Fault::Unexpected(rest)),
            Err(Fault::Reset { got }) if got.is_empty() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Ends the sending side; answers can still be read.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn half_close(&mut self) -> Result<(), Fault> {
        self.wire.half_close()
    }

    /// Ends the connection with a reset.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn reset(self) -> Result<(), Fault> {
        self.wire.reset()
    }

    fn due(&self) -> Instant {
        Instant::now() + self.patience
    }
}
