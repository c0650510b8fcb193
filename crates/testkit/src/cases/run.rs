//! Runs a case: starts its services and the gateway, then goes through the sections in order.

use super::expect::{Seen, Wrong, compare};
use super::parse::{Section, Title, message};
use super::{Case, CaseError, Subject, SubjectGateway};
use crate::service::{Conversation, FakeService, Next, Received, answer};
use crate::wire::{Fault, shown};
use crate::{Head, RawClient, Response};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a service may take to receive what the client's answer shows it has received.
const PATIENCE: Duration = Duration::from_secs(10);
/// Which listener requests go to, where none is named.
const LISTENER: &str = "main";

/// Runs a case to its end.
///
/// # Errors
/// The first expectation that does not hold.
pub fn run_case(case: &Case, subject: &dyn Subject) -> Result<(), CaseError> {
    let services = services(case)?;
    let config = config(case, &services)?;
    if let Some(section) = case.sections.iter().find(|section| section.title == Title::CheckFails) {
        return check_fails(case, section, subject, &config);
    }
    let started = subject.start(&config).map_err(|rendered| {
        let line =
            case.sections.iter().find(|section| section.title == Title::Config).map_or(1, |it| it.line);
        case.wrong(line, format!("the configuration is refused:\n{rendered}"))
    })?;
    let mut run = Run {
        gateway: &*started,
        services: &services,
        seen: BTreeMap::new(),
        client: None,
        method: String::new(),
    };
    let outcome = case.sections.iter().try_for_each(|section| {
        run.step(section).map_err(|wrong| case.wrong(section.line + wrong.at, wrong.what))
    });
    drop(run);
    started.stop();
    outcome
}

impl Case {
    fn wrong(&self, line: usize, what: String) -> CaseError {
        CaseError { path: self.path.clone(), line, what }
    }
}

fn check_fails(case: &Case, section: &Section, subject: &dyn Subject, config: &str) -> Result<(), CaseError> {
    let trimmed =
        |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned();
    let expected = trimmed(&section.lines.join("\n"));
    match subject.check(config) {
        Ok(()) => Err(case.wrong(section.line, "the check must fail, and does not".into())),
        Err(rendered) if trimmed(&rendered) == expected => Ok(()),
        Err(rendered) => {
            Err(case.wrong(section.line, format!("expected:\n{expected}\n\ngot:\n{}", trimmed(&rendered))))
        }
    }
}

/// One service per name; several sections of one name are its answers in order, the last one again and again.
fn services(case: &Case) -> Result<BTreeMap<String, FakeService>, CaseError> {
    let mut scripts: BTreeMap<String, Vec<Script>> = BTreeMap::new();
    for section in &case.sections {
        if let Title::Service(name) = &section.title {
            let script = Script::parse(&section.lines).map_err(|what| case.wrong(section.line, what))?;
            scripts.entry(name.clone()).or_default().push(script);
        }
    }
    let start = |scripts: Vec<Script>| {
        let asked = AtomicUsize::new(0);
        FakeService::start(move |conversation| {
            let at = asked.fetch_add(1, Ordering::AcqRel).min(scripts.len() - 1);
            scripts[at].play(conversation)
        })
    };
    Ok(scripts.into_iter().map(|(name, scripts)| (name, start(scripts))).collect())
}

fn config(case: &Case, services: &BTreeMap<String, FakeService>) -> Result<String, CaseError> {
    let section = case.sections.iter().find(|section| section.title == Title::Config);
    let section = section.ok_or_else(|| case.wrong(1, "a case has one `## config`".into()))?;
    let mut text = section.lines.join("\n") + "\n";
    for (name, service) in services {
        text = text.replace(&format!("{{service:{name}}}"), &service.address().to_string());
    }
    if let Some(at) = text.find("{service:") {
        let line = section.line + 1 + text[..at].matches('\n').count();
        return Err(case.wrong(line, "no `## service` of that name".into()));
    }
    Ok(text)
}

/// `## service NAME`: directives (`@…`), then the raw response.
struct Script {
    response: Vec<u8>,
    is_echo: bool,
    is_silent: bool,
    is_early: bool,
    next: Next,
}

impl Script {
    fn parse(lines: &[String]) -> Result<Self, String> {
        let mut script = Self {
            response: Vec::new(),
            is_echo: false,
            is_silent: false,
            is_early: false,
            next: Next::Keep,
        };
        let directives = lines.iter().take_while(|line| line.starts_with('@')).count();
        for directive in &lines[..directives] {
            match directive.trim() {
                "@echo" => script.is_echo = true,
                "@never" => script.is_silent = true,
                "@early" => script.is_early = true,
                "@close" => script.next = Next::Close,
                "@reset" => script.next = Next::Reset,
                other => {
                    return Err(format!(
                        "no such directive: {other}; there are @echo @never @early @close @reset"
                    ));
                }
            }
        }
        if directives < lines.len() {
            script.response = message(&lines[directives..])?;
        }
        let says_something = script.is_echo || script.is_silent || script.next != Next::Keep;
        if script.response.is_empty() && !says_something {
            return Err("a service needs a response or a directive".into());
        }
        Ok(script)
    }

    fn play(&self, conversation: &mut Conversation<'_>) -> Result<Next, Fault> {
        if self.is_silent {
            return answer::never()(conversation);
        }
        if self.is_echo {
            return answer::echo()(conversation).map(|_| self.next);
        }
        if !self.is_early {
            conversation.read_body()?;
        }
        conversation.send(&self.response)?;
        if self.is_early && self.next == Next::Keep {
            conversation.wait_for_close()?;
        }
        Ok(self.next)
    }
}

struct Run<'r> {
    gateway: &'r dyn SubjectGateway,
    services: &'r BTreeMap<String, FakeService>,
    /// How many requests of each service were looked at.
    seen: BTreeMap<&'r str, usize>,
    client: Option<RawClient>,
    /// Of the last request.
    method: String,
}

fn wrong(what: impl Into<String>) -> Wrong {
    Wrong { at: 0, what: what.into() }
}

impl<'r> Run<'r> {
    fn step(&mut self, section: &Section) -> Result<(), Wrong> {
        match &section.title {
            Title::Config | Title::Service(_) | Title::CheckFails => Ok(()),
            Title::Request(listener) => self.request(section, listener.as_deref()),
            Title::Connection => {
                self.client = None;
                Ok(())
            }
            Title::Response => self.response(section),
            Title::CutResponse => self.cut_response(section),
            Title::Closes => self
                .client()?
                .expect_close()
                .map_err(|fault| wrong(format!("the connection must close: {fault}"))),
            Title::Sees(name) => self.sees(section, name.as_deref()),
        }
    }

    fn client(&mut self) -> Result<&mut RawClient, Wrong> {
        self.client.as_mut().ok_or_else(|| wrong("there is no connection yet: a `## request` opens it"))
    }

    fn address(&self, listener: &str) -> Result<SocketAddr, Wrong> {
        self.gateway
            .address(listener)
            .ok_or_else(|| wrong(format!("the gateway has no listener `{listener}`")))
    }

    fn request(&mut self, section: &Section, listener: Option<&str>) -> Result<(), Wrong> {
        let bytes = message(&section.lines).map_err(wrong)?;
        self.method =
            section.lines.first().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        if self.client.is_none() {
            let address = self.address(listener.unwrap_or(LISTENER))?;
            let client = RawClient::connect(address).map_err(|fault| wrong(fault.to_string()))?;
            self.client = Some(client.with_patience(PATIENCE));
        }
        // A gateway that refuses early may close before all is sent; its answer tells.
        let _ = self.client()?.send(bytes);
        Ok(())
    }

    fn response(&mut self, section: &Section) -> Result<(), Wrong> {
        let method = self.method.clone();
        let response =
            self.client()?.read_next_to(&method).map_err(|fault| wrong(format!("no response: {fault}")))?;
        let Response { head, body, trailers, .. } = &response;
        let seen = Seen { head, body, trailers };
        compare(&section.lines, &seen).map_err(|it| place(it, &received(head, body)))
    }

    fn cut_response(&mut self, section: &Section) -> Result<(), Wrong> {
        let method = self.method.clone();
        match self.client()?.read_next_to(&method) {
            Err(Fault::Cut { head: Some(head), got }) if !section.lines.is_empty() => {
                let seen = Seen { head: &head, body: &got, trailers: &Vec::new() };
                compare(&section.lines, &seen).map_err(|it| place(it, &received(&head, &got)))
            }
            // Whether a cut shows as FIN or as RST, and how much of the answer an RST leaves, is up to the network.
            Err(Fault::Cut { .. } | Fault::Reset { .. }) if section.lines.is_empty() => Ok(()),
            Err(fault) => {
                Err(wrong(format!("expected a response with a head that breaks off in its body: {fault}")))
            }
            Ok(response) => {
                let all = received(&response.head, &response.body);
                Err(wrong(format!("expected a response that breaks off, got a whole one:\n{all}")))
            }
        }
    }

    fn sees(&mut self, section: &Section, name: Option<&str>) -> Result<(), Wrong> {
        let (name, service) = self.service(name)?;
        let from = self.seen.get(name).copied().unwrap_or(0);
        if section.lines == ["nothing"] {
            return match service.log().get(from) {
                None => Ok(()),
                Some(request) => {
                    Err(wrong(format!("the service must see nothing, and sees:\n{}", of_request(request))))
                }
            };
        }
        let is_there =
            |log: &[Received]| log.get(from).is_some_and(|it| it.progress != crate::Progress::Begun);
        let log = match service.wait_until(PATIENCE, is_there) {
            Ok(log) => log,
            Err(log) if log.len() > from => log,
            Err(_) => return Err(wrong("the service sees no such request")),
        };
        self.seen.insert(name, from + 1);
        let Some(Received { head, body, trailers, .. }) = log.get(from) else { return Ok(()) };
        compare(&section.lines, &Seen { head, body, trailers }).map_err(|it| place(it, &received(head, body)))
    }

    fn service(&self, name: Option<&str>) -> Result<(&'r str, &'r FakeService), Wrong> {
        let mut all = self.services.iter();
        let found = match name {
            Some(name) => all.find(|(other, _)| *other == name),
            None if all.len() == 1 => all.next(),
            None => return Err(wrong("which service? there are several: `## service NAME sees`")),
        };
        found
            .map(|(name, service)| (name.as_str(), service))
            .ok_or_else(|| wrong("no `## service` of that name"))
    }
}

/// The line of the section, with the whole message behind.
fn place(it: Wrong, message: &str) -> Wrong {
    Wrong { at: it.at + 1, what: format!("{}\n--- the whole message\n{message}", it.what) }
}

fn received(head: &Head, body: &[u8]) -> String {
    format!("{}{}", crate::message::latin1(&head.raw), shown(body))
}

fn of_request(request: &Received) -> String {
    received(&request.head, &request.body)
}
