//! The fields, made ready when configuration was compiled, set on each response.

use narthex_contract::{Exchange, Flow, Hooks, Policy, ResponseCx};
use narthex_wire::{Head, Name};

use crate::shared::value::FieldValue;

const HSTS: &str = "Strict-Transport-Security";

pub struct SecurityHeaders {
    /// On encrypted connections only.
    hsts: Option<(Name, FieldValue)>,
    fields: Vec<(Name, FieldValue)>,
    replace: bool,
}

impl SecurityHeaders {
    pub(super) fn new(
        hsts: Option<String>,
        fields: impl Iterator<Item = (&'static str, FieldValue)>,
        replace: bool,
    ) -> Self {
        let ready = |name: &str, value: FieldValue| {
            (Name::parse(name).expect("the names are written in this policy"), value)
        };
        Self {
            hsts: hsts.map(|value| ready(HSTS, FieldValue::Fixed(value.into_bytes().into()))),
            fields: fields.map(|(name, value)| ready(name, value)).collect(),
            replace,
        }
    }

    fn put(&self, exchange: &Exchange, head: &mut Head, (name, value): &(Name, FieldValue)) {
        if head.contains(name) {
            if !self.replace {
                return;
            }
            head.remove(name);
        }
        value.append(name, exchange, head);
    }
}

impl Policy for SecurityHeaders {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        let head = &mut cx.response.head;
        if let Some(hsts) = self.hsts.as_ref().filter(|_| cx.exchange.client.tls) {
            self.put(cx.exchange, head, hsts);
        }
        for field in &self.fields {
            self.put(cx.exchange, head, field);
        }
        Flow::Continue
    }
}
