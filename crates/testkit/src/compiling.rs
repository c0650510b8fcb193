//! Compiles YAML snippets of policies and destinations as the gateway would, and makes exchanges from a few words.
//! Knows no kind: the caller hands in what compiles.

use narthex_contract::{
    CompileCx, CompileHost, Exchange, Nested, NestedIn, Place, RegisteredPolicy, ServiceId,
};
use narthex_document::{Diagnostic, Kind, Node, Sources, parse};
use narthex_wire::{Head, Method};

/// Finds a kind of policy by its name.
pub type Registry = fn(&str) -> Option<&'static dyn RegisteredPolicy>;

/// Stands in for the compiler: every service exists but `missing`, diagnostics are kept, slots are counted.
struct Host {
    diagnostics: Vec<Diagnostic>,
    slots: u32,
    policies: Registry,
}

impl CompileHost for Host {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn service(&mut self, name: &str) -> Option<ServiceId> {
        (name != "missing").then(|| service_id(name))
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
            let registered = (self.policies)(&kind)?;
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

/// The number that a service has here.
pub fn service_id(name: &str) -> ServiceId {
    ServiceId(name.len() as u32)
}

/// Reads YAML.
///
/// # Panics
/// It has a problem.
pub fn yaml(text: &str) -> Node {
    let mut sources = Sources::default();
    let id = sources.add("test.yaml", text);
    let (node, problems) = parse(text, id);
    assert!(problems.is_empty(), "{problems:?}");
    node.expect("a text without problems has a tree")
}

/// Runs `work` with a compile context for `settings` of the kind `name`, at a route with the captures `id` and `rest`;
/// gives what it made and how many slots it asked for. `policies`: those that may stand inside.
///
/// # Errors
/// Nothing was made: `code: message (help)`, a line for each problem.
///
/// # Panics
/// Something was made in spite of an error, or nothing without one.
pub fn compiled<T>(
    name: &'static str,
    settings: &Node,
    policies: Registry,
    work: impl FnOnce(&mut CompileCx<'_>) -> Option<T>,
) -> Result<(T, usize), String> {
    let mut host = Host { diagnostics: Vec::new(), slots: 0, policies };
    let captures = ["id".to_owned(), "rest".to_owned()];
    let place = Place::Route { gateway: "shop", route: "home", captures: &captures };
    let made = work(&mut CompileCx::new(&mut host, place, name, settings.span, true));
    let told: Vec<String> = host
        .diagnostics
        .iter()
        .map(|problem| {
            format!("{}: {} ({})", problem.code, problem.message, problem.help.as_deref().unwrap_or(""))
        })
        .collect();
    assert_eq!(made.is_none(), host.diagnostics.iter().any(Diagnostic::is_error), "{told:?}");
    made.map(|made| (made, host.slots as usize)).ok_or_else(|| told.join("\n"))
}

/// `GET /a?b=c` of `shop.example` from 10.1.2.3: a request that a policy with ordinary settings lets pass.
pub fn plain_exchange() -> Exchange {
    let mut exchange = Exchange { path: "/a".into(), host: "shop.example".into(), ..Exchange::default() };
    exchange.request.set_target(Method::Get, "/a?b=c").expect("a good target");
    exchange.request.set_authority("shop.example").expect("a good authority");
    exchange.client.ip = [10, 1, 2, 3].into();
    exchange.request_id = "0123456789abcdef0123456789abcdef".into();
    exchange.trace.trace_id = [7; 16];
    exchange.trace.span_id = [9; 8];
    exchange
}

/// All values of a field, joined by `|`.
pub fn field(head: &Head, name: &str) -> String {
    let values: Vec<_> =
        head.all_str(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    values.join("|")
}
