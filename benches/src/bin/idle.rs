//! Idle keep-alive connections: each asks once and then stays. Usage: idle PORT PATH COUNT...
//! Prints `ready N` when so many are open, and goes on to the next count at each line on standard input; at its
//! end prints `closed N`, how many the gateway had closed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::ensure;
use narthex_benches::{argument, raise_descriptor_limit, response};

fn main() -> anyhow::Result<()> {
    let (port, path): (u16, String) = (argument(1, "a port")?, argument(2, "a path")?);
    raise_descriptor_limit()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let (mut open, mut line) = (Vec::new(), String::new());
    for index in 3..std::env::args().len() {
        let count: usize = argument(index, "a number of connections")?;
        while open.len() < count {
            let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            socket.write_all(request.as_bytes())?;
            read_answer(&mut socket)?;
            open.push(socket);
        }
        println!("ready {count}");
        std::io::stdin().read_line(&mut line)?;
    }
    let closed = open.iter().filter(|socket| is_closed(socket)).count();
    println!("closed {closed}");
    Ok(())
}

fn read_answer(socket: &mut TcpStream) -> anyhow::Result<()> {
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    while response::length(&input)?.is_none_or(|length| input.len() < length) {
        let read = socket.read(&mut buffer)?;
        ensure!(read > 0, "the gateway closed before it answered");
        input.extend_from_slice(&buffer[..read]);
    }
    ensure!(input.starts_with(b"HTTP/1.1 200"), "not answered with 200");
    Ok(())
}

fn is_closed(socket: &TcpStream) -> bool {
    let waiting = socket.set_nonblocking(true).and_then(|()| socket.peek(&mut [0]));
    !matches!(waiting, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
