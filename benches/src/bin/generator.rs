//! Open-loop load at a constant rate: latency counts from the moment a request was due, not from when it could
//! be sent. Usage: generator PORT PATH CONNECTIONS RATE SECONDS. Prints one line: done failed p50 p90 p99 max (us).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use narthex_benches::events::Events;
use narthex_benches::{argument, response};

/// What is not counted at the start.
const WARM_UP: Duration = Duration::from_secs(1);

struct Asked {
    socket: TcpStream,
    due: Instant,
    input: Vec<u8>,
}

struct Load {
    asked: Vec<Asked>,
    idle: Vec<usize>,
    waiting: VecDeque<Instant>,
    latencies: Vec<u64>,
    done: u64,
    failed: u64,
    counted_from: Instant,
}

fn main() -> anyhow::Result<()> {
    let (port, path): (u16, String) = (argument(1, "a port")?, argument(2, "a path")?);
    let (count, rate): (usize, f64) = (argument(3, "a number of connections")?, argument(4, "a rate")?);
    let seconds: f64 = argument(5, "a number of seconds")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: generator\r\n\r\n");
    let mut events = Events::new()?;
    let start = Instant::now() + Duration::from_millis(10);
    let mut load = connect(port, count, start, &events)?;
    let total = (rate * seconds) as u64;
    let end = start + Duration::from_secs_f64(seconds) + Duration::from_secs(2);
    let due = |number: u64| start + Duration::from_secs_f64(number as f64 / rate);
    let (mut next, mut keys, mut buffer) = (0, Vec::new(), vec![0; 1 << 17]);
    while load.done + load.failed < total && Instant::now() < end {
        let now = Instant::now();
        while next < total && due(next) <= now {
            load.waiting.push_back(due(next));
            next += 1;
        }
        load.send(request.as_bytes())?;
        let pause = if next < total { due(next).saturating_duration_since(Instant::now()) } else { WARM_UP };
        events.wait(Some(pause.min(Duration::from_millis(500))), &mut keys)?;
        for key in &keys {
            load.receive(*key as usize, &mut buffer, &events)?;
        }
    }
    load.report();
    Ok(())
}

fn connect(port: u16, count: usize, start: Instant, events: &Events) -> anyhow::Result<Load> {
    let mut asked = Vec::new();
    for place in 0..count {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        events.add(&socket, place as u64)?;
        asked.push(Asked { socket, due: start, input: Vec::new() });
    }
    let idle = (0..count).collect();
    let (waiting, latencies) = (VecDeque::new(), Vec::new());
    Ok(Load { asked, idle, waiting, latencies, done: 0, failed: 0, counted_from: start + WARM_UP })
}

impl Load {
    fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        while !self.waiting.is_empty() && !self.idle.is_empty() {
            let (Some(due), Some(place)) = (self.waiting.pop_front(), self.idle.pop()) else { break };
            let asked = &mut self.asked[place];
            asked.due = due;
            asked.input.clear();
            asked.socket.write_all(request)?;
        }
        Ok(())
    }

    fn receive(&mut self, place: usize, buffer: &mut [u8], events: &Events) -> anyhow::Result<()> {
        let asked = &mut self.asked[place];
        match asked.socket.read(buffer) {
            Ok(read) if read > 0 => asked.input.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            _ => {
                self.failed += 1;
                return events.remove(&asked.socket);
            }
        }
        if response::length(&asked.input)?.is_none_or(|length| asked.input.len() < length) {
            return Ok(());
        }
        if !asked.input.starts_with(b"HTTP/1.1 200") {
            self.failed += 1;
        } else {
            self.done += 1;
        }
        if asked.due >= self.counted_from {
            self.latencies.push(asked.due.elapsed().as_micros() as u64);
        }
        self.idle.push(place);
        Ok(())
    }

    fn report(mut self) {
        self.latencies.sort_unstable();
        let quantile = |part: f64| match self.latencies.len() {
            0 => 0,
            count => self.latencies[((count - 1) as f64 * part) as usize],
        };
        let (p50, p90, p99, max) = (quantile(0.5), quantile(0.9), quantile(0.99), quantile(1.0));
        println!("{} {} {p50} {p90} {p99} {max}", self.done, self.failed);
    }
}
