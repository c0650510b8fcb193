//! The gRPC service behind the gateways: HTTP/2 without TLS, each unary call is answered with a message of 1 KiB and
//! the trailers `grpc-status: 0`. Usage: unary PORT
//! It reads no field: a call is a stream that ends, and what it costs does not depend on how a gateway writes heads.

use std::collections::VecDeque;

use anyhow::{bail, ensure};
use narthex_benches::server::{Protocol, serve};
use narthex_benches::{argument, listen};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A gRPC message: five bytes of prefix and 1 KiB.
const MESSAGE: usize = 5 + 1024;
/// How much a gateway may send on a connection before it is told that it may send more.
const WINDOW: u32 = 1 << 30;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200`, `content-type: application/grpc` in HPACK, nothing kept in its table (RFC 7541 section 6).
const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
const DONE: &[u8] = b"\x00\x0bgrpc-status\x010";
/// What a call without a message gets: INVALID_ARGUMENT, and no message.
const REFUSED: &[u8] = b"\x88\x0f\x10\x10application/grpc\x00\x0bgrpc-status\x013";

fn main() -> anyhow::Result<()> {
    serve(listen(argument(1, "a port")?)?, || Unary {
        greeted: false,
        window: 65_535,
        received: 0,
        waiting: VecDeque::new(),
    })
}

struct Unary {
    greeted: bool,
    /// What may be sent on the connection.
    window: i64,
    /// What was received since the gateway was last told that it may send.
    received: u32,
    /// Calls that are to be answered when the window allows.
    waiting: VecDeque<u32>,
}

impl Protocol for Unary {
    fn answer(&mut self, input: &[u8], output: &mut Vec<u8>) -> anyhow::Result<usize> {
        let mut used = 0;
        if !self.greeted {
            ensure!(input.starts_with(&PREFACE[..input.len().min(PREFACE.len())]), "not HTTP/2");
            if input.len() < PREFACE.len() {
                return Ok(0);
            }
            // MAX_CONCURRENT_STREAMS 1000.
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0x03, 0xe8], output);
            frame(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes(), output);
            (self.greeted, used) = (true, PREFACE.len());
        }
        while let Some(head) = input.get(used..used + 9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some(payload) = input.get(used + 9..used + 9 + length) else { break };
            let stream = number(&head[5..]) & 0x7fff_ffff;
            self.frame(head[3], head[4], stream, payload, output)?;
            used += 9 + length;
        }
        if self.received >= WINDOW / 2 {
            frame(WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes(), output);
            self.received = 0;
        }
        while self.window >= MESSAGE as i64
            && let Some(stream) = self.waiting.pop_front()
        {
            self.window -= MESSAGE as i64;
            frame(HEADERS, END_HEADERS, stream, HEAD, output);
            frame(DATA, 0, stream, &ANSWER, output);
            frame(HEADERS, END_HEADERS | END_STREAM, stream, DONE, output);
        }
        Ok(used)
    }
}

impl Unary {
    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        match kind {
            DATA => {
                self.received += payload.len() as u32;
                if flags & END_STREAM != 0 {
                    self.waiting.push_back(stream);
                }
            }
            HEADERS if flags & END_STREAM != 0 => {
                frame(HEADERS, END_HEADERS | END_STREAM, stream, REFUSED, output);
            }
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let narrow = setting[..2] == [0, 4] && number(&setting[2..]) < MESSAGE as u32;
                    ensure!(!narrow, "a stream's window is smaller than a message");
                }
                frame(SETTINGS, ACK, 0, &[], output);
            }
            PING if flags & ACK == 0 => frame(PING, ACK, 0, payload, output),
            WINDOW_UPDATE if stream == 0 && payload.len() == 4 => {
                self.window += i64::from(number(payload) & 0x7fff_ffff);
            }
            GOAWAY => bail!("the gateway ends the connection"),
            _ => {}
        }
        Ok(())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}

/// Four bytes, big endian.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

static ANSWER: [u8; MESSAGE] = {
    let mut message = [b'm'; MESSAGE];
    // Not compressed, 1024 bytes.
    (message[0], message[1], message[2], message[3], message[4]) = (0, 0, 0, 4, 0);
    message
};
