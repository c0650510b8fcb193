//! `narthex test`: the configuration's own tests, against the real router and every policy that needs no network.

use std::sync::Arc;

use clap::Args;
use narthex_config::{Case, Stub};
use narthex_contract::Caller;
use narthex_control::{Asked, Compiled, End, Simulation, simulate};
use narthex_document::{Node, Value, json_from_text};
use narthex_wire::{Name, ResponseHead};

use super::{Failure, Input, Outcome, check, say};

#[derive(Debug, Args)]
pub struct Test {
    /// Run only the tests whose name holds this.
    filter: Option<String>,
    #[command(flatten)]
    input: Input,
}

impl Test {
    pub fn run(self) -> Outcome {
        let (checked, compiled) = check::checked(&self.input)?;
        let Some(file) = &checked.loaded.file else { return Ok(()) };
        let (mut passed, mut failures) = (0, Vec::new());
        for (name, case) in file.tests.iter() {
            if self.filter.as_ref().is_some_and(|part| !name.as_str().contains(part.as_str())) {
                continue;
            }
            match run_case(&compiled, case) {
                Ok(()) => {
                    passed += 1;
                    say(format_args!("ok      {}", name.as_str()))?;
                }
                Err(problems) => {
                    say(format_args!("FAILED  {}", name.as_str()))?;
                    let place = checked.loaded.sources.place(name.span).unwrap_or_default();
                    failures.push(format!("{} ({place})\n  {}", name.as_str(), problems.join("\n  ")));
                }
            }
        }
        say(format_args!("\n{passed} passed, {} failed", failures.len()))?;
        if failures.is_empty() { Ok(()) } else { Err(Failure::Tests(format!("\n{}", failures.join("\n")))) }
    }
}

/// `Err`: everything that is not as expected.
pub fn run_case(compiled: &Compiled, case: &Case) -> Result<(), Vec<String>> {
    let (method, url) = case.request.split_once(' ').unwrap_or(("GET", &case.request));
    let asked = Asked {
        method: method.to_owned(),
        url: url.trim().to_owned(),
        headers: case.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        unix_ms: super::unix_ms(),
        body: case.body.as_ref().map(bytes).unwrap_or_default(),
        caller: case.caller.as_ref().map(|stub| {
            Arc::new(Caller {
                id: stub.id.as_str().into(),
                kind: stub.kind.as_deref().unwrap_or("test").into(),
                tier: stub.tier.as_deref().map(Into::into),
                roles: stub.roles.iter().map(|role| role.as_str().into()).collect(),
                scopes: stub.scopes.iter().map(|scope| scope.as_str().into()).collect(),
                claims: stub.claims.iter().map(|(name, node)| (name.to_string(), node.to_json())).collect(),
            })
        }),
    };
    let answer = |service: &str| stub(case.answers.get(service));
    let simulation = simulate(compiled, &asked, &answer).map_err(|error| vec![error.0])?;
    let problems = compare(case, &simulation);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn stub(stub: Option<&Stub>) -> (ResponseHead, Vec<u8>) {
    let Some(stub) = stub else { return (ResponseHead::new(200), Vec::new()) };
    let mut head = ResponseHead::new(stub.status);
    for (name, value) in stub.headers.iter() {
        if let Ok(name) = Name::parse(name) {
            // A framing field of a stub has no meaning: the body says how long it is.
            let _ = head.head.append(&name, value.as_bytes());
        }
    }
    (head, stub.body.as_ref().map(bytes).unwrap_or_default())
}

/// Text as it is, anything else as JSON.
fn bytes(node: &Node) -> Vec<u8> {
    match &node.value {
        Value::Text(text) => text.clone().into_bytes(),
        _ => node.to_json_text().into_bytes(),
    }
}

fn compare(case: &Case, simulation: &Simulation) -> Vec<String> {
    let mut problems = Vec::new();
    let mut differ = |what: &str, wanted: String, got: String| {
        if wanted != got {
            problems.push(format!("{what}: expected {wanted}, got {got}"));
        }
    };
    let expect = &case.expect;
    let (status, reason, service) = match &simulation.end {
        End::Refused(code, status) => (Some(*status), Some(*code), None),
        End::Answered(status) => (Some(*status), None, None),
        End::Forwarded { service, .. } => {
            (simulation.response.as_ref().map(|head| head.status), None, Some(service.as_str()))
        }
        End::Unknown(why) => {
            differ("result", "an answer".into(), format!("unknown: {why}"));
            (None, None, None)
        }
    };
    let or_none = |text: Option<&str>| text.unwrap_or("none").to_owned();
    if let Some(wanted) = expect.status {
        differ("status", wanted.to_string(), or_none(status.map(|status| status.to_string()).as_deref()));
    }
    if let Some(wanted) = &expect.reason {
        differ("reason", wanted.clone(), or_none(reason));
    }
    if let Some(wanted) = &expect.route {
        differ("route", wanted.to_string(), or_none(simulation.route.as_deref()));
    }
    if let Some(wanted) = &expect.version {
        let got = simulation.version.as_ref().and_then(|(version, _)| version.as_deref());
        differ("version", wanted.to_string(), or_none(got));
    }
    if let Some(wanted) = &expect.service {
        differ("service", wanted.to_string(), or_none(service));
    }
    for (name, wanted) in expect.headers.iter() {
        let got = simulation.response.as_ref().and_then(|head| head.head.get_str(name));
        let got = got.map(|value| String::from_utf8_lossy(value).into_owned());
        differ(&format!("header {}", name.as_str()), or_none(wanted.as_deref()), or_none(got.as_deref()));
    }
    if let Some(wanted) = &expect.body {
        let (wanted, got) = (bytes(wanted), &simulation.body);
        let same = wanted == *got || json(got).is_some_and(|got| got == expect_json(case));
        if !same {
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            differ("body", show(&wanted), show(got));
        }
    }
    problems
}

fn json(body: &[u8]) -> Option<serde_json::Value> {
    json_from_text(std::str::from_utf8(body).ok()?).ok()
}

fn expect_json(case: &Case) -> serde_json::Value {
    case.expect.body.as_ref().map_or(serde_json::Value::Null, Node::to_json)
}
