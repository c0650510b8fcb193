//! The service behind every gateway: a static responder, one event loop per thread. Usage: responder PORT THREADS
//! A path that ends in `64k` gets 64 KiB, a POST its own body, anything else 1 KiB. It must cost little and
//! the same whoever asks.

use memchr::memmem;
use narthex_benches::server::{Protocol, serve};
use narthex_benches::{argument, listen, raise_descriptor_limit, response};

fn main() -> anyhow::Result<()> {
    let (port, threads): (u16, usize) = (argument(1, "a port")?, argument(2, "a number of threads")?);
    raise_descriptor_limit()?;
    let listeners = (0..threads.max(1)).map(|_| listen(port)).collect::<anyhow::Result<Vec<_>>>()?;
    let answers = Answers { small: answer(1024), large: answer(65_536) };
    std::thread::scope(|scope| {
        let answers = &answers;
        let start = |listener| scope.spawn(move || serve(listener, || Static { answers, closing: false }));
        let threads: Vec<_> = listeners.into_iter().map(start).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a responder's thread does not panic"))
    })
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

struct Static<'a> {
    answers: &'a Answers,
    closing: bool,
}

impl Protocol for Static<'_> {
    fn answer(&mut self, input: &[u8], output: &mut Vec<u8>) -> anyhow::Result<usize> {
        let mut used = 0;
        while let Some(length) = response::length(&input[used..])? {
            let Some(message) = input.get(used..used + length) else { break };
            self.closing |= memmem::find(message, b"onnection: close\r\n").is_some();
            append(message, self.answers, output);
            used += length;
        }
        Ok(used)
    }

    fn closing(&self) -> bool {
        self.closing
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
