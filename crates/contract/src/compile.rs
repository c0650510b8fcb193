//! What a kind may ask for while it is compiled: diagnostics, variables, slots, services.

use std::any::{Any, TypeId};
use std::future::Future;
use std::sync::Arc;

use narthex_document::{Diagnostic, Node, Span};

use crate::{
    AnyFeed, Attached, Feed, FeedKey, FeedOutput, Fingerprint, KeepKey, Nested, PerCore, Slot, SlotType,
    Stage, Template, Variable, VariableError,
};

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
    fn service(&mut self, name: &str) -> Option<ServiceId>;
    fn service_names(&self) -> Vec<String>;
    /// The next free slot of this chain.
    fn next_slot(&mut self) -> u32;

    /// What is kept under `key`, or what `make` makes. Held weakly.
    fn keep(
        &mut self,
        key: KeepKey,
        make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync> {
        drop(key);
        make()
    }

    /// The feed of this key, or what `make` makes. Held weakly; started when the configuration goes live.
    fn feed(&mut self, key: &FeedKey, make: &mut dyn FnMut() -> Arc<dyn AnyFeed>) -> Arc<dyn AnyFeed> {
        let _ = key;
        make()
    }

    /// Compiles policies inside the policy `of`; pushes every problem. `None` exactly when there was an error.
    fn nested(&mut self, list: &[Node], of: NestedIn<'_>) -> Option<Vec<Nested>>;
}

/// The policy that others are compiled inside of.
#[derive(Debug, Clone, Copy)]
pub struct NestedIn<'a> {
    pub place: Place<'a>,
    pub name: &'a str,
    /// As [`CompileCx::state_name`] of the outer one.
    pub state_name: &'a str,
    pub authenticated: bool,
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
    state_name: Option<String>,
    attached: Attached,
    stage: Option<Stage>,
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
        Self {
            host,
            place,
            name,
            span,
            authenticated,
            state_name: None,
            attached: Attached::default(),
            stage: None,
        }
    }

    /// The state of what is compiled goes by this name, not by its place.
    #[must_use]
    pub fn with_state_name(mut self, name: impl Into<String>) -> Self {
        self.state_name = Some(name.into());
        self
    }

    /// The name for [`CompileCx::keep`], unique among policies of one kind: that of the entry in `policies`, or
    /// `gateway/policy`, `gateway/route/policy` for one that is written in place.
    pub fn state_name(&self) -> String {
        if let Some(name) = &self.state_name {
            return name.clone();
        }
        match self.place {
            Place::Gateway(gateway) => format!("{gateway}/{}", self.name),
            Place::Route { gateway, route, .. } => format!("{gateway}/{route}/{}", self.name),
        }
    }

    /// State that outlives reloads, shared by all workers: the same as long as kind, name and fingerprint are, and any
    /// snapshot holds it. `kind` and `name` are usually the policy's NAME and [`CompileCx::state_name`]; the fingerprint is
    /// of those settings whose change is to begin anew.
    pub fn keep<T: Send + Sync + 'static>(
        &mut self,
        kind: &str,
        name: &str,
        fingerprint: Fingerprint,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let key = KeepKey { kind: kind.into(), name: name.into(), fingerprint, holds: TypeId::of::<T>() };
        let mut make = Some(make);
        let kept = self.host.keep(key, &mut || {
            let make = make.take().expect("the host makes at most one");
            Arc::new(make())
        });
        kept.downcast::<T>().expect("the key holds the type")
    }

    /// Data that a task of the control runtime renews. Equal keys share one task, whatever `start` says; a check starts
    /// none. While there is no value, the routes that depend on this answer 503 `policy_unavailable`. The key is what the
    /// operator reads: `keys of https://id.example/`.
    pub fn feed<T, F>(
        &mut self,
        key: impl Into<Box<str>>,
        start: impl FnOnce(FeedOutput<T>) -> F + Send + 'static,
    ) -> Feed<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let key = FeedKey::new::<T>(key);
        let mut start = Some(start);
        let erased = self.host.feed(&key, &mut || {
            let start = start.take().expect("the host makes at most one");
            Feed::new(key.clone(), start).erased()
        });
        self.attached.feeds.push(Arc::clone(&erased));
        Feed::of(erased).expect("the key holds the type")
    }

    /// A value that each worker makes for itself when it adopts the snapshot: read with [`PerCore::of`]. It lives as long
    /// as the policy is compiled anew by no reload.
    pub fn per_core<T: 'static>(&mut self, make: impl Fn() -> T + Send + Sync + 'static) -> PerCore<T> {
        let local = PerCore::new(make);
        self.attached.locals.push(Arc::clone(local.spec()));
        local
    }

    /// The policies of a list inside this policy: names of `policies`, or `{ kind: settings }`. They must all be of one
    /// stage, which becomes this policy's own. `None` exactly when an error was pushed.
    pub fn nested(&mut self, list: &[Node]) -> Option<Vec<Nested>> {
        let state_name = self.state_name();
        let of = NestedIn {
            place: self.place,
            name: self.name,
            state_name: &state_name,
            authenticated: self.authenticated,
        };
        let nested = self.host.nested(list, of)?;
        let Some(first) = nested.first() else {
            let help = "list policies: names of `policies`, or `{ kind: settings }`";
            self.error("empty_list", self.span, "there is no policy in this list", help);
            return None;
        };
        let stage = first.stage;
        if let Some(other) = nested.iter().find(|other| other.stage != stage) {
            let message = format!("`{}` runs at {}, `{}` at {stage}", other.name, other.stage, first.name);
            self.host.push(
                Diagnostic::error("mixed_stages", other.span, message)
                    .with_label(first.span, format!("this one decides: {stage}"))
                    .with_help("give all policies of this list one `stage`, or take this one out"),
            );
            return None;
        }
        self.stage = Some(stage);
        for one in &nested {
            if let Some(attached) = &one.attached {
                self.attached.nested.push((Arc::clone(&one.name), Attached::clone(attached)));
            }
        }
        Some(nested)
    }

    /// The stage that was found out while compiling, where the settings decide it.
    pub fn stage(&self) -> Option<Stage> {
        self.stage
    }

    /// What was attached on the way: the compiler keeps it beside the result.
    pub fn take_attached(&mut self) -> Option<Arc<Attached>> {
        std::mem::take(&mut self.attached).kept()
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
