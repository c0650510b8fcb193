//! What a kind may ask for while it is compiled: diagnostics, variables, slots, services.

use narthex_document::{Diagnostic, Span};

use crate::{Slot, SlotType, Template, Variable, VariableError};

/// A service of the snapshot that is being compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// Where the policy or destination stands.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    Gateway(&'a str),
    /// `captures`: the names that the route's path captures.
    Route {
        gateway: &'a str,
        route: &'a str,
        captures: &'a [String],
    },
}

/// The compiler's side, implemented by `control` (and by the conformance test).
pub trait CompileHost {
    fn push(&mut self, diagnostic: Diagnostic);
    /// `None`: no such service; `known` is for a suggestion.
    fn service(&self, name: &str) -> Option<ServiceId>;
    fn service_names(&self) -> Vec<String>;
    /// The next free slot of this chain.
    fn next_slot(&mut self) -> u32;
}

/// Handed to `compile`.
pub struct CompileCx<'c> {
    host: &'c mut dyn CompileHost,
    place: Place<'c>,
    /// The name that the policy goes by here: its kind's name, or the one that the user gave.
    pub name: &'c str,
    /// The settings as a whole.
    pub span: Span,
    authenticated: bool,
}

impl<'c> CompileCx<'c> {
    /// `authenticated`: whether something before this finds out who the caller is.
    pub fn new(
        host: &'c mut dyn CompileHost,
        place: Place<'c>,
        name: &'c str,
        span: Span,
        authenticated: bool,
    ) -> Self {
        Self { host, place, name, span, authenticated }
    }

    pub fn place(&self) -> Place<'c> {
        self.place
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.host.push(diagnostic);
    }

    /// An error at `span`: the cause, and what to do.
    pub fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.host.push(Diagnostic::error(code, span, message).with_help(help));
    }

    /// A place for this policy's own state of a request.
    pub fn slot<T: SlotType>(&mut self) -> Slot<T> {
        Slot::new(self.host.next_slot())
    }

    /// A service by name; pushes an error with a suggestion where there is none.
    pub fn service(&mut self, name: &str, span: Span) -> Option<ServiceId> {
        if let Some(id) = self.host.service(name) {
            return Some(id);
        }
        let names = self.host.service_names();
        let help = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("services are: {}", names.join(", ")),
        };
        self.error("undefined_service", span, format!("there is no service `{name}`"), help);
        None
    }

    /// A variable (`client.ip`, `path.id`, `caller.id ?? client.ip`); pushes an error where it is unknown here.
    pub fn variable(&mut self, text: &str, span: Span) -> Option<Variable> {
        let parsed = Variable::parse(text, &self.place);
        self.resolved(parsed, span)
    }

    /// Text with `{variable}` placeholders (`{{` is a brace).
    pub fn template(&mut self, text: &str, span: Span) -> Option<Template> {
        let parsed = Template::parse(text, &self.place);
        self.resolved(parsed, span)
    }

    fn resolved<T: ReadsCaller>(&mut self, parsed: Result<T, VariableError>, span: Span) -> Option<T> {
        match parsed {
            Ok(value) if value.needs_caller() && !self.authenticated => {
                self.error(
                    "no_caller",
                    span,
                    "this reads the caller, and no policy here finds out who that is",
                    "add an authentication policy before it, or a fallback: `caller.id ?? client.ip`",
                );
                None
            }
            Ok(value) => Some(value),
            Err(error) => {
                self.error("unknown_variable", span, error.message, error.help);
                None
            }
        }
    }
}

/// Whether a value is empty without an authenticated caller.
pub(crate) trait ReadsCaller {
    fn needs_caller(&self) -> bool;
}

/// The nearest of `candidates`, where one is near enough to be meant.
pub(crate) fn nearest<'n>(text: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(text.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
