//! An instance of a service for tests that kill it: `instance ADDRESS LOG`. It appends the target of each request to the
//! log when it begins it, before a byte of the answer, in one write that survives SIGKILL.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(log)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: instance ADDRESS LOG"));
    };
    // SO_REUSEADDR is set by std: the port is free again at once.
    let listener = TcpListener::bind(address)?;
    let log = Arc::new(OpenOptions::new().append(true).create(true).open(log)?);
    writeln!(io::stdout(), "listening")?;
    for stream in listener.incoming() {
        let (stream, log) = (stream?, Arc::clone(&log));
        // A client that breaks off ends its connection, nothing else.
        std::thread::spawn(move || serve(stream, &log));
    }
    Ok(())
}

fn serve(stream: TcpStream, log: &File) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(first) = lines.next().transpose()? {
        let (mut length, mut line) = (0, String::new());
        while let Some(next) = lines.next().transpose()?.filter(|next| !next.is_empty()) {
            line = next.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        drop(line);
        let target = first.split(' ').nth(1).unwrap_or_default();
        (&*log).write_all(format!("{target}\n").as_bytes())?;
        // Bodies of these tests end with a line break, one line each.
        if length > 0 {
            lines.next().transpose()?;
        }
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    }
    Ok(())
}
