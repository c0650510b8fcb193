//! For tests: compiles a YAML snippet as the gateway would, and runs hooks on an exchange made from a few words.

use narthex_contract::{
    BodyCx, BodyStep, CompileCx, CompileHost, Direction, Exchange, Flow, Input, Nested, NestedIn, Output,
    Place, Policy, RegisteredPolicy, Reply, RequestCx, ResponseCx, ServiceId, Step,
};
use narthex_document::{Diagnostic, Kind, Node, Sources, parse};
use narthex_wire::{Framing, Method, Name, ResponseHead};

/// Stands in for the compiler: every service exists, diagnostics are kept.
#[derive(Default)]
pub struct TestHost {
    pub diagnostics: Vec<Diagnostic>,
    pub slots: u32,
}

impl CompileHost for TestHost {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn service(&mut self, name: &str) -> Option<ServiceId> {
        (name != "missing").then_some(ServiceId(name.len() as u32))
    }

    fn service_names(&self) -> Vec<String> {
        vec!["catalog".into()]
    }

    fn next_slot(&mut self) -> u32 {
        self.slots += 1;
        self.slots - 1
    }

    /// Kinds in place, none of them with the keys that all policies share.
    fn nested(&mut self, list: &[Node], of: NestedIn<'_>) -> Option<Vec<Nested>> {
        let mut nested = Vec::new();
        for node in list {
            let Ok(Kind { kind, settings }) = Kind::from_node(node) else { return None };
            let registered = crate::policy(&kind)?;
            let mut cx = CompileCx::new(self, of.place, registered.name(), settings.span, of.authenticated);
            let policy = registered.compile(&settings, &mut cx)?;
            let (stage, attached) = (cx.stage(), cx.take_attached());
            nested.push(Nested {
                name: registered.name().into(),
                kind: registered.name(),
                stage: stage.unwrap_or(registered.stages()[0]),
                policy,
                span: node.span,
                attached,
            });
        }
        Some(nested)
    }
}

/// A policy and how many slots it asked for.
pub struct Compiled {
    pub policy: Box<dyn Policy>,
    pub slots: usize,
}

/// Reads YAML; panics where it is none.
pub fn yaml(text: &str) -> Node {
    let mut sources = Sources::default();
    let id = sources.add("test.yaml", text);
    let (node, problems) = parse(text, id);
    assert!(problems.is_empty(), "{problems:?}");
    node.unwrap()
}

/// Compiles settings; the error holds `code: message (help)` lines.
pub fn compile_node(kind: &dyn RegisteredPolicy, settings: &Node) -> Result<Compiled, String> {
    let mut host = TestHost::default();
    let captures = ["id".to_owned(), "rest".to_owned()];
    let place = Place::Route { gateway: "shop", route: "home", captures: &captures };
    let mut cx = CompileCx::new(&mut host, place, kind.name(), settings.span, true);
    let policy = kind.compile(settings, &mut cx);
    let told: Vec<String> = host
        .diagnostics
        .iter()
        .map(|problem| {
            format!("{}: {} ({})", problem.code, problem.message, problem.help.as_deref().unwrap_or(""))
        })
        .collect();
    assert_eq!(policy.is_none(), host.diagnostics.iter().any(Diagnostic::is_error), "{told:?}");
    policy.map(|policy| Compiled { policy, slots: host.slots as usize }).ok_or_else(|| told.join("\n"))
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

/// A request that a policy with ordinary settings lets pass.
pub fn plain_exchange() -> Exchange {
    let mut exchange = Exchange { path: "/a".into(), host: "shop.example".into(), ..Exchange::default() };
    exchange.request.set_target(Method::Get, "/a?b=c").unwrap();
    exchange.request.set_authority("shop.example").unwrap();
    exchange.client.ip = [10, 1, 2, 3].into();
    exchange.request_id = "0123456789abcdef0123456789abcdef".into();
    exchange.trace.trace_id = [7; 16];
    exchange.trace.span_id = [9; 8];
    exchange
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

/// All values of a field, joined by `|`.
pub fn field(head: &narthex_wire::Head, name: &str) -> String {
    let values: Vec<_> =
        head.all_str(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    values.join("|")
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
