//! The loop of the services behind the gateways: one thread, level-triggered, an answer per connection's protocol.
//! It reads once per event and never waits: what a service costs must be little and the same whoever asks.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::events::Events;

const LISTENER: u64 = u64::MAX;

/// What one connection speaks.
pub trait Protocol {
    /// Appends to `output` what `input` asks for; how many bytes of `input` are dealt with. An error ends the connection.
    fn answer(&mut self, input: &[u8], output: &mut Vec<u8>) -> anyhow::Result<usize>;

    /// Whether the connection ends when everything is written.
    fn closing(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Connection<P> {
    socket: TcpStream,
    protocol: P,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    watching: bool,
}

/// Serves each connection of `listener` by a protocol of its own. Returns with an error only.
pub fn serve<P: Protocol>(listener: TcpListener, mut new: impl FnMut() -> P) -> anyhow::Result<()> {
    let mut events = Events::new()?;
    events.add(&listener, LISTENER)?;
    let mut connections: Vec<Option<Connection<P>>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let (mut keys, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        events.wait(None, &mut keys)?;
        for &key in &keys {
            if key == LISTENER {
                accept(&listener, &events, &mut connections, &mut free, &mut new)?;
                continue;
            }
            let Some(slot) = connections.get_mut(key as usize) else { continue };
            let Some(connection) = slot else { continue };
            if connection.turn(&mut buffer).is_err() {
                *slot = None;
                free.push(key as usize);
            } else if connection.pending() != connection.watching {
                connection.watching = connection.pending();
                events.watch_writes(&connection.socket, key, connection.watching)?;
            }
        }
    }
}

fn accept<P>(
    listener: &TcpListener,
    events: &Events,
    connections: &mut Vec<Option<Connection<P>>>,
    free: &mut Vec<usize>,
    new: &mut impl FnMut() -> P,
) -> anyhow::Result<()> {
    while let Ok((socket, _)) = listener.accept() {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let place = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        events.add(&socket, place as u64)?;
        let (input, output) = (Vec::new(), Vec::new());
        connections[place] =
            Some(Connection { socket, protocol: new(), input, output, written: 0, watching: false });
    }
    Ok(())
}

impl<P: Protocol> Connection<P> {
    fn pending(&self) -> bool {
        self.written < self.output.len()
    }

    /// Reads once, answers what is complete, writes what fits. An error means that the connection is over.
    fn turn(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        match self.socket.read(buffer) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let used = self.protocol.answer(&self.input, &mut self.output)?;
        self.input.drain(..used);
        while self.pending() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.written = 0;
        anyhow::ensure!(!self.protocol.closing(), "the client asked to close");
        Ok(())
    }
}
