//! The service behind every gateway: a static responder, one event loop per thread. Usage: responder PORT THREADS
//! A path that ends in `64k` gets 64 KiB, a POST its own body, anything else 1 KiB. It must cost little and
//! the same whoever asks.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use memchr::memmem;
use narthex_benches::events::Events;
use narthex_benches::{argument, listen, raise_descriptor_limit, response};

const LISTENER: u64 = u64::MAX;

fn main() -> anyhow::Result<()> {
    let (port, threads): (u16, usize) = (argument(1, "a port")?, argument(2, "a number of threads")?);
    raise_descriptor_limit()?;
    let listeners = (0..threads.max(1)).map(|_| listen(port)).collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = listeners.into_iter().map(|listener| scope.spawn(|| serve(listener))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a responder's thread does not panic"))
    })
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    closing: bool,
    watching: bool,
}

fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let answers = Answers { small: answer(1024), large: answer(65_536) };
    let mut events = Events::new()?;
    events.add(&listener, LISTENER)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let (mut keys, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        events.wait(None, &mut keys)?;
        for &key in &keys {
            if key == LISTENER {
                accept(&listener, &events, &mut connections, &mut free)?;
                continue;
            }
            let Some(slot) = connections.get_mut(key as usize) else { continue };
            let Some(connection) = slot else { continue };
            if connection.turn(&answers, &mut buffer).is_err() {
                *slot = None;
                free.push(key as usize);
            } else if connection.pending() != connection.watching {
                connection.watching = connection.pending();
                events.watch_writes(&connection.socket, key, connection.watching)?;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    events: &Events,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
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
            Some(Connection { socket, input, output, written: 0, closing: false, watching: false });
    }
    Ok(())
}

impl Connection {
    fn pending(&self) -> bool {
        self.written < self.output.len()
    }

    /// Reads once, answers what is complete, writes what fits. An error means that the connection is over.
    fn turn(&mut self, answers: &Answers, buffer: &mut [u8]) -> anyhow::Result<()> {
        match self.socket.read(buffer) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let mut used = 0;
        while let Some(length) = response::length(&self.input[used..])? {
            let Some(message) = self.input.get(used..used + length) else { break };
            self.closing |= memmem::find(message, b"onnection: close\r\n").is_some();
            append(message, answers, &mut self.output);
            used += length;
        }
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
        anyhow::ensure!(!self.closing, "the client asked to close");
        Ok(())
    }
}

fn append(message: &[u8], answers: &Answers, output: &mut Vec<u8>) {
    let line = &message[..memchr::memchr(b'\r', message).unwrap_or(message.len())];
    if message.starts_with(b"POST ") {
        let body = memmem::find(message, b"\r\n\r\n").map_or(message.len(), |end| end + 4);
        output.extend_from_slice(head(message.len() - body).as_bytes());
        output.extend_from_slice(&message[body..]);
    } else if line.ends_with(b"64k HTTP/1.1") {
        output.extend_from_slice(&answers.large);
    } else {
        output.extend_from_slice(&answers.small);
    }
}

fn head(length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nServer: responder\r\nContent-Type: text/plain\r\nCache-Control: max-age=60\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

fn answer(length: usize) -> Vec<u8> {
    let mut out = head(length).into_bytes();
    out.extend((0..length).map(|at| b'a' + (at % 23) as u8));
    out
}
