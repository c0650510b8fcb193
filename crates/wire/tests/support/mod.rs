//! Runs the codec over bytes cut in any way and gives what it found in a form that can be compared.
#![allow(dead_code, reason = "each test binary uses its part")]

use narthex_wire::{
    BodyDecoder, Event, Framing, Head, Limits, Method, ParseError, Progress, RequestHead, RequestParser,
    ResponseHead, ResponseParser, Version,
};

pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything that a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub version: Version,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub raw: String,
    pub framing: Framing,
    pub keep_alive: bool,
    pub upgrade: Option<Vec<u8>>,
    pub expect_continue: bool,
    pub te_trailers: bool,
    pub fields: Fields,
    pub body: Body,
}

/// Everything that a response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub version: Version,
    pub reason: Vec<u8>,
    pub framing: Framing,
    pub declared_length: Option<u64>,
    pub keep_alive: bool,
    pub upgrade: Option<Vec<u8>>,
    pub fields: Fields,
    pub body: Body,
}

/// A body, its trailers, and the bytes behind it; `None` when the input ended inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub data: Vec<u8>,
    pub trailers: Fields,
    pub rest: Option<Vec<u8>>,
}

pub fn fields(head: &Head) -> Fields {
    head.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect()
}

/// `Ok(None)` when the input ends inside the head.
pub fn request(pieces: &[&[u8]], limits: &Limits) -> Result<Option<Request>, ParseError> {
    let mut head = RequestHead::new();
    let mut parser = RequestParser::default();
    let mut pieces = pieces.iter();
    loop {
        let Some(piece) = pieces.next() else { return Ok(None) };
        head.buffer_mut().extend_from_slice(piece);
        match parser.parse(&mut head, limits) {
            Ok(Progress::Complete) => break,
            Ok(Progress::Partial) => {}
            Err(fault) => {
                assert_eq!(parser.parse(&mut head, limits), Err(fault), "a fault is final");
                return Err(fault);
            }
        }
    }
    let mut body_pieces = vec![head.surplus().to_vec()];
    body_pieces.extend(pieces.map(|p| p.to_vec()));
    let body = body(head.framing, body_pieces, limits)?;
    Ok(Some(Request {
        method: head.method.clone(),
        version: head.version,
        authority: head.authority().into(),
        path: head.path().into(),
        query: head.query().map(Into::into),
        raw: head.raw_path().into(),
        framing: head.framing,
        keep_alive: head.keep_alive(),
        upgrade: head.upgrade().map(Into::into),
        expect_continue: head.expect_continue,
        te_trailers: head.te_trailers,
        fields: fields(&head.head),
        body,
    }))
}

/// `Ok(None)` when the input ends inside the head.
pub fn response(pieces: &[&[u8]], method: &Method, limits: &Limits) -> Result<Option<Response>, ParseError> {
    let mut head = ResponseHead::default();
    let mut parser = ResponseParser::default();
    let mut pieces = pieces.iter();
    loop {
        let Some(piece) = pieces.next() else { return Ok(None) };
        head.buffer_mut().extend_from_slice(piece);
        match parser.parse(&mut head, method, limits) {
            Ok(Progress::Complete) => break,
            Ok(Progress::Partial) => {}
            Err(fault) => {
                assert_eq!(parser.parse(&mut head, method, limits), Err(fault), "a fault is final");
                return Err(fault);
            }
        }
    }
    let mut body_pieces = vec![head.surplus().to_vec()];
    body_pieces.extend(pieces.map(|p| p.to_vec()));
    let body = body(head.framing, body_pieces, limits)?;
    Ok(Some(Response {
        status: head.status,
        version: head.version,
        reason: head.reason_phrase().into(),
        framing: head.framing,
        declared_length: head.declared_length,
        keep_alive: head.keep_alive(),
        upgrade: head.upgrade().map(Into::into),
        fields: fields(&head.head),
        body,
    }))
}

pub fn body(framing: Framing, pieces: Vec<Vec<u8>>, limits: &Limits) -> Result<Body, ParseError> {
    let mut decoder = BodyDecoder::new(framing, limits);
    let mut data = Vec::new();
    let mut rest = None;
    for piece in pieces {
        let mut input = &piece[..];
        loop {
            if decoder.is_done() && rest.is_none() {
                rest = Some(Vec::new());
            }
            if let Some(rest) = &mut rest {
                rest.extend_from_slice(input);
                break;
            }
            let step = match decoder.step(input) {
                Ok(step) => step,
                Err(fault) => {
                    assert_eq!(decoder.step(input), Err(fault), "a fault is final");
                    return Err(fault);
                }
            };
            match step.event.clone() {
                Event::Data(range) => {
                    assert!(!range.is_empty() && range.end <= step.consumed);
                    data.extend_from_slice(&input[range]);
                }
                Event::NeedInput => assert_eq!(step.consumed, input.len()),
                Event::End => assert!(decoder.is_done()),
            }
            input = &input[step.consumed..];
            if step.event == Event::NeedInput {
                break;
            }
        }
    }
    if framing == Framing::UntilClose {
        decoder.eof()?;
    }
    let trailers = decoder.take_trailers().map(|head| fields(&head)).unwrap_or_default();
    Ok(Body { data, trailers, rest })
}

/// The input one byte at a time.
pub fn bytes(input: &[u8]) -> Vec<&[u8]> {
    input.chunks(1).collect()
}

/// The input cut at these places, given in any order.
pub fn cut<'a>(input: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|p| p % (input.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for place in places {
        pieces.push(&input[from..place]);
        from = place;
    }
    pieces.push(&input[from..]);
    pieces
}
