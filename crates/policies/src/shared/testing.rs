//! For tests: compiles a YAML snippet as the gateway would, and runs hooks on an exchange made from a few words.

use narthex_contract::{
    BodyCx, BodyStep, Direction, Exchange, Flow, Input, Output, Policy, RegisteredPolicy, Reply, RequestCx,
    ResponseCx, Step,
};
use narthex_document::Node;
use narthex_testkit::compiling::compiled;
pub use narthex_testkit::compiling::{field, plain_exchange, yaml};
use narthex_wire::{Framing, Name, ResponseHead};

/// A policy and how many slots it asked for.
pub struct Compiled {
    pub policy: Box<dyn Policy>,
    pub slots: usize,
}

/// Compiles settings; the error holds `code: message (help)` lines.
pub fn compile_node(kind: &dyn RegisteredPolicy, settings: &Node) -> Result<Compiled, String> {
    let (policy, slots) = compiled(kind.name(), settings, crate::policy, |cx| kind.compile(settings, cx))?;
    Ok(Compiled { policy, slots })
}

/// Compiles the settings of one kind, written as YAML.
pub fn compile(kind: &str, settings: &str) -> Compiled {
    compile_node(crate::policy(kind).unwrap(), &yaml(settings))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems of settings that must be refused.
pub fn problems(kind: &str, settings: &str) -> String {
    match compile_node(crate::policy(kind).unwrap(), &yaml(settings)) {
        Ok(_) => panic!("`{settings}` compiles"),
        Err(problems) => problems,
    }
}

impl Compiled {
    /// `GET /a` from 10.1.2.3 with these fields.
    pub fn exchange(&self, fields: &[(&str, &str)]) -> Exchange {
        let mut exchange = plain_exchange();
        for (name, value) in fields {
            exchange.request.head.append(&Name::parse(name).unwrap(), value.as_bytes()).unwrap();
        }
        exchange.slots.reset(self.slots);
        exchange
    }

    /// Runs the request hook; `Some`: it answered.
    pub fn request(&self, exchange: &mut Exchange) -> Option<Reply> {
        let has_body = exchange.request.framing != Framing::None;
        answer(self.policy.on_request(&mut RequestCx { exchange, has_body }))
    }

    /// Runs the response hook; the length is what the framing says.
    pub fn response(&self, exchange: &mut Exchange, response: &mut ResponseHead) -> Option<Reply> {
        let length = match response.framing {
            Framing::None => Some(0),
            Framing::Length(length) => Some(length),
            _ => None,
        };
        answer(self.policy.on_response(&mut ResponseCx { exchange, response, length }))
    }

    pub fn step(&self, exchange: &Exchange, response: Option<&ResponseHead>) -> Option<Box<dyn BodyStep>> {
        let direction = if response.is_some() { Direction::Response } else { Direction::Request };
        self.policy.body_step(&BodyCx { exchange, direction, response })
    }
}

fn answer(flow: Flow<'_>) -> Option<Reply> {
    match flow {
        Flow::Continue => None,
        Flow::Answer(reply) => Some(reply),
        Flow::Suspend(_) => panic!("suspends, and nothing here can wait"),
    }
}

/// A response with these fields and this framing.
pub fn response(status: u16, framing: Framing, fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    head.framing = framing;
    for (name, value) in fields {
        head.head.append(&Name::parse(name).unwrap(), value.as_bytes()).unwrap();
    }
    head
}

/// Drives a step as the core does: pieces come in, `room` bytes at a time go out.
pub fn drive(step: &mut dyn BodyStep, pieces: &[&[u8]], room: usize) -> Result<Vec<u8>, Reply> {
    let mut all = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len();
        let (bytes, is_done) = drive_one(step, piece, last, false, room)?;
        all.extend_from_slice(&bytes);
        assert_eq!(is_done, last, "done exactly at the end");
    }
    Ok(all)
}

/// One piece through a step, until it wants more or is done.
pub fn drive_one(
    step: &mut dyn BodyStep,
    piece: &[u8],
    last: bool,
    flush: bool,
    room: usize,
) -> Result<(Vec<u8>, bool), Reply> {
    let mut all = Vec::new();
    let mut rest = piece;
    for _ in 0..1_000_000 {
        let mut buffer = Vec::new();
        let mut input = Input::new(rest, last, flush);
        let stopped = step.step(&mut input, &mut Output::new(&mut buffer, room));
        assert!(buffer.len() <= room);
        rest = &rest[input.consumed()..];
        all.extend_from_slice(&buffer);
        match stopped {
            Step::NeedInput => {
                assert!(rest.is_empty(), "wants more and left {} bytes", rest.len());
                assert!(!last, "wants more after the last byte");
                return Ok((all, false));
            }
            Step::OutputFull => {}
            Step::Done => {
                assert!(rest.is_empty() && last);
                return Ok((all, true));
            }
            Step::Fail(reply) => return Err(reply),
        }
    }
    panic!("the step makes no progress");
}
