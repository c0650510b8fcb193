//! The instance on HTTP/1.1: a thread per connection.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use narthex_tests::Random;

use crate::{Asked, CLOSING, Plan, trouble};

pub fn serve(stream: TcpStream, log: &File, random: Random) -> io::Result<()> {
    Connection { stream, log, random }.serve()
}

struct Connection<'l> {
    stream: TcpStream,
    log: &'l File,
    random: Random,
}

enum Next {
    Keep,
    End,
}

impl Connection<'_> {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            if let Next::End = self.idle()? {
                return Ok(());
            }
            let Some(asked) = self.read()? else { return Ok(()) };
            if asked.is_check() {
                self.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            }
            if self.is_left()? {
                return Ok(());
            }
            asked.note_begin(self.log)?;
            if let Next::End = self.answer(&asked)? {
                return Ok(());
            }
        }
    }

    /// Waits for a request. In trouble: closes the idle connection after a while, or at the very moment when the first
    /// byte of a request is there.
    fn idle(&mut self) -> io::Result<Next> {
        loop {
            let patience = Duration::from_millis(1 + self.random.below(20) as u64);
            self.stream.set_read_timeout(Some(patience))?;
            let seen = self.stream.peek(&mut [0]);
            let is_closing = trouble() == CLOSING;
            match seen {
                Ok(0) => return Ok(Next::End),
                Ok(_) if is_closing && self.random.percent(30) => return Ok(Next::End),
                Ok(_) => return Ok(Next::Keep),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if is_closing && self.random.percent(50) {
                        return Ok(Next::End);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<Asked>> {
        self.stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut got = Vec::new();
        let mut piece = [0; 4096];
        loop {
            if let Some(asked) = parse(&got) {
                return Ok(Some(asked));
            }
            match self.stream.read(&mut piece)? {
                0 => return Ok(None),
                count => got.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Whether nobody waits for the answer any more: then no work is begun.
    fn is_left(&self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        match seen {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(_) => Ok(true),
        }
    }

    /// The work, then the answer: a body of its name again and again, in one of three framings.
    fn answer(&mut self, asked: &Asked) -> io::Result<Next> {
        let plan = Plan::draw(&mut self.random);
        std::thread::park_timeout(plan.work);
        if let Some(status) = plan.failure {
            let failed = format!("HTTP/1.1 {status} Failed\r\nContent-Length: 7\r\n\r\nfailed\n");
            self.stream.write_all(failed.as_bytes())?;
            return Ok(Next::Keep);
        }
        let body = asked.body();
        let framing = self.random.below(10);
        let (fields, body) = match framing {
            0 => ("Connection: close\r\n".to_owned(), body),
            1..4 => ("Transfer-Encoding: chunked\r\n".to_owned(), chunked(&body)),
            _ => (format!("Content-Length: {}\r\n", body.len()), body),
        };
        let whole = [format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), &body].concat();
        if plan.is_cut {
            return self.cut(asked, &whole, body.len(), framing == 0);
        }
        self.stream.write_all(&whole)?;
        Ok(if framing == 0 { Next::End } else { Next::Keep })
    }

    /// Sends the head and a part of the body, and ends: by a reset, or where that can be told from an end, by closing.
    fn cut(&mut self, asked: &Asked, whole: &[u8], body: usize, by_reset: bool) -> io::Result<Next> {
        asked.note_cut(self.log)?;
        let most = whole.len() - 1 - self.random.below(body);
        self.stream.write_all(&whole[..most])?;
        if self.random.percent(50) {
            // What was sent is on its way alone.
            std::thread::park_timeout(Duration::from_millis(self.random.below(10) as u64));
        }
        if by_reset || self.random.percent(50) {
            socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        }
        Ok(Next::End)
    }
}

/// `METHOD /NAME/LENGTH`, with a body of the length that it says.
fn parse(got: &[u8]) -> Option<Asked> {
    let end = got.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&got[..end]);
    let mut lines = text.lines();
    let (mut words, mut body, mut left) = (lines.next()?.split(' '), 0, None);
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body = value.parse().unwrap(),
            "x-request-timeout" => left = Some(value),
            _ => {}
        }
    }
    if got.len() < end + body {
        return None;
    }
    Asked::new(words.next()?, words.next()?, left)
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(1 + body.len() / 3) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
