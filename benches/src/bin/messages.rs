//! WebSocket load: on each connection a message of 1 KiB, and the next when its echo is back.
//! Usage: messages PORT PATH CONNECTIONS SECONDS. Prints how many echoes came; one that is not its message is an error.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use narthex_benches::events::Events;
use narthex_benches::websocket::{self, BINARY};
use narthex_benches::{argument, response};

const MESSAGE: usize = 1024;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The example of RFC 6455 section 1.3, and what answers it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// An echo that is not back by then will not come.
const LOST: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let (port, path): (u16, String) = (argument(1, "a port")?, argument(2, "a path")?);
    let (count, seconds): (u64, f64) =
        (argument(3, "a number of connections")?, argument(4, "a number of seconds")?);
    let payload: Vec<u8> = (0..MESSAGE).map(|at| b'a' + (at % 23) as u8).collect();
    let (mut message, mut echo) = (Vec::new(), Vec::new());
    websocket::append(BINARY, Some(MASK), &payload, MASK, &mut message);
    websocket::append(BINARY, None, &payload, [0; 4], &mut echo);
    let mut events = Events::new()?;
    let mut connections = Vec::new();
    for place in 0..count {
        let socket = open(port, &path)?;
        events.add(&socket, place)?;
        connections.push((socket, Vec::with_capacity(2 * echo.len())));
    }
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    connections.iter_mut().try_for_each(|(socket, _)| socket.write_all(&message))?;
    let (mut done, mut keys, mut buffer) = (0_u64, Vec::new(), vec![0; 65_536]);
    while Instant::now() < end {
        events.wait(Some(LOST), &mut keys)?;
        ensure!(!keys.is_empty() || Instant::now() < end + LOST, "no echo within {LOST:?}");
        for key in &keys {
            let (socket, input) = &mut connections[*key as usize];
            match socket.read(&mut buffer) {
                Ok(0) => bail!("a connection was closed"),
                Ok(read) => input.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("a connection broke"),
            }
            if input.len() >= echo.len() {
                ensure!(*input == echo, "an echo is not its message");
                input.clear();
                done += 1;
                socket.write_all(&message)?;
            }
        }
    }
    println!("{done}");
    Ok(())
}

/// A connection on which the handshake is over.
fn open(port: u16, path: &str) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(LOST))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: messages\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while response::length(&answer)?.is_none() {
        let read = socket.read(&mut buffer).context("no answer to the handshake")?;
        ensure!(read > 0, "closed in the handshake");
        answer.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&answer);
    ensure!(text.starts_with("HTTP/1.1 101 ") && text.contains(ACCEPT), "the handshake was refused: {text}");
    socket.set_nonblocking(true)?;
    Ok(socket)
}
