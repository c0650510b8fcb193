//! Ready-made scripts of a [`FakeService`](crate::FakeService): the ways in which a service answers well or badly.

use super::{Conversation, Next};
use crate::Gate;
use crate::wire::Fault;
use serde_json::json;
use std::time::Duration;

type Scripted = Result<Next, Fault>;

/// A whole response with a length.
pub fn response(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in fields {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    [out.as_bytes(), body].concat()
}

/// Reads the body, then answers with this status and body.
pub fn fixed(status: u16, body: &str) -> impl Fn(&mut Conversation<'_>) -> Scripted + use<> {
    raw(response(status, &[("Content-Type", "text/plain")], body))
}

/// Reads the body, then sends exactly these bytes and keeps the connection.
pub fn raw(bytes: impl Into<Vec<u8>>) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    let bytes = bytes.into();
    move |conversation| {
        conversation.read_body()?;
        conversation.send(&bytes)?;
        Ok(Next::Keep)
    }
}

/// Reads the body, then sends exactly these bytes and closes: an answer until close, or one that is cut.
pub fn raw_then_close(bytes: impl Into<Vec<u8>>) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    let inner = raw(bytes);
    move |conversation| inner(conversation).map(|_| Next::Close)
}

/// Reads the body, then sends exactly these bytes and resets the connection.
pub fn raw_then_reset(bytes: impl Into<Vec<u8>>) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    let inner = raw(bytes);
    move |conversation| inner(conversation).map(|_| Next::Reset)
}

/// Sends these bytes without reading the body, then reads on until the peer closes: an early answer.
pub fn early(bytes: impl Into<Vec<u8>>) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    let bytes = bytes.into();
    move |conversation| {
        conversation.send(&bytes)?;
        conversation.wait_for_close()?;
        Ok(Next::Close)
    }
}

/// Answers with the request as JSON: `{ method, target, headers: [[name, value]], body, trailers }`.
pub fn echo() -> impl Fn(&mut Conversation<'_>) -> Scripted {
    |conversation| {
        let body = String::from_utf8_lossy(conversation.read_body()?).into_owned();
        let head = conversation.head().clone();
        let mut words = head.line.split(' ');
        let said = json!({
            "method": words.next(),
            "target": words.next(),
            "headers": head.fields,
            "body": body,
            "trailers": conversation.trailers(),
        });
        let is_head = head.line.starts_with("HEAD ");
        let answer = response(200, &[("Content-Type", "application/json")], said.to_string());
        let most = if is_head {
            answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4)
        } else {
            answer.len()
        };
        conversation.send(&answer[..most])?;
        Ok(Next::Keep)
    }
}

/// Sends the first `at` bytes, waits for the gate, sends the rest: a slow head or a slow body, by where it is cut.
pub fn held(bytes: Vec<u8>, at: usize, gate: &Gate) -> impl Fn(&mut Conversation<'_>) -> Scripted + use<> {
    let gate = gate.clone();
    pieces([bytes[..at].to_vec(), bytes[at..].to_vec()], move |conversation| conversation.wait(&gate))
}

/// Sends one byte per pause.
pub fn dripping(bytes: impl Into<Vec<u8>>, pause: Duration) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    let single: Vec<Vec<u8>> = bytes.into().chunks(1).map(<[u8]>::to_vec).collect();
    pieces(single, move |conversation| conversation.pause(pause))
}

fn pieces(
    pieces: impl Into<Vec<Vec<u8>>>,
    between: impl Fn(&mut Conversation<'_>) -> Result<(), Fault>,
) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    let pieces = pieces.into();
    move |conversation| {
        conversation.read_body()?;
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                between(conversation)?;
            }
            conversation.send(piece)?;
        }
        Ok(Next::Keep)
    }
}

/// Never answers; waits until the peer gives up.
pub fn never() -> impl Fn(&mut Conversation<'_>) -> Scripted {
    |conversation| {
        conversation.wait_for_close()?;
        Ok(Next::Close)
    }
}

/// Reads the head and closes, before any byte of an answer.
pub fn close_at_once() -> impl Fn(&mut Conversation<'_>) -> Scripted {
    |_| Ok(Next::Close)
}

/// Answers 100 before it reads the body when the client expects it, then goes on with `inner`.
pub fn continued(
    inner: impl Fn(&mut Conversation<'_>) -> Scripted,
) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    move |conversation| {
        if conversation.head().field("expect").is_some() {
            conversation.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        inner(conversation)
    }
}

/// Goes on with `inner`, but closes each connection, unannounced, after `count` answers.
pub fn closing_after(
    count: usize,
    inner: impl Fn(&mut Conversation<'_>) -> Scripted,
) -> impl Fn(&mut Conversation<'_>) -> Scripted {
    move |conversation| {
        let is_last = conversation.number() + 1 >= count;
        let next = inner(conversation)?;
        Ok(if is_last { Next::Close } else { next })
    }
}

/// A chunked answer with trailers, one chunk per text.
pub fn chunked(chunks: &[&str], trailers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = String::from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in chunks {
        out.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    out.push_str("0\r\n");
    for (name, value) in trailers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    out.into_bytes()
}
