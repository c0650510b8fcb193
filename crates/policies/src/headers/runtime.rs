//! The edits, compiled; run in the order remove, set, add.

use narthex_contract::{CompileCx, Flow, Hooks, Policy, RequestCx, ResponseCx};
use narthex_document::Spanned;
use narthex_wire::{Head, Name};

use super::Edits as Config;
use crate::shared::value::{FieldValue, field_name};

pub struct Headers {
    pub(super) request: Edits,
    pub(super) response: Edits,
}

/// One head's edits.
#[derive(Debug, Default)]
pub struct Edits {
    remove: Vec<Removal>,
    set: Vec<(Name, FieldValue)>,
    add: Vec<(Name, FieldValue)>,
}

#[derive(Debug)]
enum Removal {
    One(Name),
    Prefix(Box<str>),
}

impl Policy for Headers {
    fn hooks(&self) -> Hooks {
        let request = if self.request.is_empty() { Hooks::NONE } else { Hooks::REQUEST };
        let response = if self.response.is_empty() { Hooks::NONE } else { Hooks::RESPONSE };
        request.and(response)
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let edits = &self.request;
        edits.remove(&mut cx.exchange.request.head);
        for (name, value) in &edits.set {
            cx.exchange.request.head.remove(name);
            value.append_to_request(name, cx.exchange);
        }
        for (name, value) in &edits.add {
            value.append_to_request(name, cx.exchange);
        }
        Flow::Continue
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        let edits = &self.response;
        let head = &mut cx.response.head;
        edits.remove(head);
        for (name, value) in &edits.set {
            head.remove(name);
            value.append(name, cx.exchange, head);
        }
        for (name, value) in &edits.add {
            value.append(name, cx.exchange, head);
        }
        Flow::Continue
    }
}

impl Edits {
    /// Tells every problem before it gives up.
    pub(super) fn compile(config: &Config, cx: &mut CompileCx<'_>) -> Option<Self> {
        let remove: Vec<_> = config.remove.iter().map(|name| Removal::compile(name, cx)).collect();
        let mut field = |name: &Spanned<String>, value: &Spanned<String>| {
            let name = field_name(name, name.span, cx);
            let value = FieldValue::compile(value, cx);
            Some((name?, value?))
        };
        let set: Vec<_> = config.set.iter().map(|(name, value)| field(name, value)).collect();
        let each =
            config.add.iter().flat_map(|(name, values)| values.0.iter().map(move |value| (name, value)));
        let add: Vec<_> = each.map(|(name, value)| field(name, value)).collect();
        Some(Self {
            remove: remove.into_iter().collect::<Option<_>>()?,
            set: set.into_iter().collect::<Option<_>>()?,
            add: add.into_iter().collect::<Option<_>>()?,
        })
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    fn remove(&self, head: &mut Head) {
        for removal in &self.remove {
            match removal {
                Removal::One(name) => head.remove(name),
                Removal::Prefix(prefix) => head.remove_prefix(prefix),
            };
        }
    }
}

impl Removal {
    fn compile(text: &Spanned<String>, cx: &mut CompileCx<'_>) -> Option<Self> {
        let Some(prefix) = text.strip_suffix('*') else {
            return field_name(text, text.span, cx).map(Self::One);
        };
        if prefix.is_empty() {
            cx.error(
                "invalid_field_name",
                text.span,
                "`*` would remove every field",
                "write the beginning of the names that are meant, as in `X-Internal-*`",
            );
            return None;
        }
        if Name::parse(prefix).is_err() {
            return field_name(text, text.span, cx).map(Self::One);
        }
        Some(Self::Prefix(prefix.into()))
    }
}
