//! One request and what a script does about it. Keeps the service's log up to date; never waits without an end.

use super::{Progress, Shared};
use crate::message::{BodyEnd, Head, ReadBody, body_end, read_body};
use crate::wire::{Fault, Fill, Wire};
use crate::{Fields, Gate};
use std::time::{Duration, Instant};

/// The longest that a script reads, writes or waits at one place.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next request is read, if this one's body was; otherwise it is closed.
    Keep,
    Close,
    /// RST instead of FIN.
    Reset,
}

/// What a script sees of one request, and answers with.
pub struct Conversation<'c> {
    wire: &'c mut Wire,
    shared: &'c Shared,
    at: usize,
    head: Head,
    connection: usize,
    number: usize,
    body: Option<ReadBody>,
}

impl<'c> Conversation<'c> {
    pub(super) fn new(
        wire: &'c mut Wire,
        shared: &'c Shared,
        at: usize,
        head: Head,
        connection: usize,
        number: usize,
    ) -> Self {
        Self { wire, shared, at, head, connection, number, body: None }
    }

    /// The request's head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Which connection of the service, from 0.
    pub fn connection(&self) -> usize {
        self.connection
    }

    /// Which request of its connection, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reads the body, once; it is empty where there is none.
    ///
    /// # Errors
    /// It breaks off or is malformed.
    pub fn read_body(&mut self) -> Result<&[u8], Fault> {
        if self.body.is_none() {
            let end = body_end(&self.head, BodyEnd::Nothing)?;
            let mut body = ReadBody::default();
            let read = read_body(self.wire, &self.head, end, Some(Instant::now() + PATIENCE), &mut body);
            self.shared.update(self.at, |received| {
                received.body.clone_from(&body.data);
                received.trailers.clone_from(&body.trailers);
                if read.is_ok() {
                    received.progress = Progress::Read;
                }
            });
            read?;
            self.body = Some(body);
        }
        Ok(self.body.as_ref().map(|body| body.data.as_slice()).unwrap_or_default())
    }

    /// The trailers, once the body was read.
    pub fn trailers(&self) -> Fields {
        self.body.as_ref().map(|body| body.trailers.clone()).unwrap_or_default()
    }

    /// Reads more of what comes, without decoding it; false at the end of the connection.
    ///
    /// # Errors
    /// The connection is reset, or nothing comes.
    pub fn read_some(&mut self) -> Result<bool, Fault> {
        let fill = self.wire.fill(Some(Instant::now() + PATIENCE))?;
        let raw = std::mem::take(&mut self.wire.buffer);
        self.shared.update(self.at, |received| received.body.extend_from_slice(&raw));
        Ok(fill == Fill::Data)
    }

    /// Sends these bytes as they are.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.wire.send(bytes.as_ref(), PATIENCE)
    }

    /// Waits for the test; the end of the service ends it too.
    ///
    /// # Errors
    /// Nobody opens the gate.
    pub fn wait(&self, gate: &Gate) -> Result<(), Fault> {
        let due = Instant::now() + PATIENCE;
        while !gate.wait(Duration::from_millis(50)) {
            if self.shared.is_over() || Instant::now() > due {
                return Err(Fault::TimedOut { got: Vec::new() });
            }
        }
        Ok(())
    }

    /// Is slow: the one place where time passes on purpose. Ends early with the service or with its connections.
    ///
    /// # Errors
    /// The service ended.
    pub fn pause(&self, pause: Duration) -> Result<(), Fault> {
        let due = Instant::now() + pause;
        while Instant::now() < due {
            if self.shared.is_over() {
                return Err(Fault::Closed);
            }
            let left = due.saturating_duration_since(Instant::now());
            std::thread::park_timeout(left.min(Duration::from_millis(20)));
        }
        Ok(())
    }

    /// Waits until the peer ends the connection.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_close(&mut self) -> Result<(), Fault> {
        match self.read_to_end() {
            Err(Fault::Reset { .. }) => Ok(()),
            other => other,
        }
    }

    fn read_to_end(&mut self) -> Result<(), Fault> {
        while self.read_some()? {}
        Ok(())
    }

    /// Whether the next byte is a new request's.
    pub(super) fn is_read(&self) -> bool {
        let end = body_end(&self.head, BodyEnd::Nothing);
        self.body.is_some() || matches!(end, Ok((BodyEnd::Nothing, _) | (BodyEnd::Length, 0)))
    }
}
