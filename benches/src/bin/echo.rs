//! The WebSocket service behind the gateways: each message comes back as it was. Usage: echo PORT

use anyhow::{Context, ensure};
use data_encoding::BASE64;
use memchr::memmem;
use narthex_benches::server::{Protocol, serve};
use narthex_benches::websocket::{self, CLOSE};
use narthex_benches::{argument, listen};

fn main() -> anyhow::Result<()> {
    serve(listen(argument(1, "a port")?)?, || Echo { open: false, closing: false })
}

struct Echo {
    /// The handshake is over.
    open: bool,
    closing: bool,
}

impl Protocol for Echo {
    fn answer(&mut self, input: &[u8], output: &mut Vec<u8>) -> anyhow::Result<usize> {
        let mut used = 0;
        if !self.open {
            let Some(end) = memmem::find(input, b"\r\n\r\n") else { return Ok(0) };
            used = end + 4;
            accept(&input[..used], output)?;
            self.open = true;
        }
        while let Some(frame) = websocket::read(&input[used..])? {
            self.closing |= frame.opcode == CLOSE;
            let mask = frame.mask.context("a client masks its frames")?;
            websocket::append(frame.opcode, None, frame.payload, mask, output);
            used += frame.length;
        }
        Ok(used)
    }

    fn closing(&self) -> bool {
        self.closing
    }
}

/// Answers the handshake (RFC 6455 section 4.2.2).
fn accept(head: &[u8], output: &mut Vec<u8>) -> anyhow::Result<()> {
    let head = std::str::from_utf8(head)?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let key = key.context("a handshake has a key")?;
    ensure!(head.starts_with("GET "), "a handshake is a GET");
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        BASE64.encode(&digest.bytes())
    );
    output.extend_from_slice(answer.as_bytes());
    Ok(())
}
