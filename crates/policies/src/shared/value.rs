//! Names and values of header fields as configured: checked at compile, rendered per request.

use narthex_contract::{CompileCx, Exchange, Template};
use narthex_document::{Span, Spanned};
use narthex_wire::{Head, Name};

use super::scratch::with_scratch;

/// Checks a field's name; framing and hop-by-hop names are refused, because a policy that could edit them could smuggle.
pub fn field_name(text: &str, span: Span, cx: &mut CompileCx<'_>) -> Option<Name> {
    let Ok(name) = Name::parse(text) else {
        cx.error(
            "invalid_field_name",
            span,
            format!("`{}` is not a header field's name", text.escape_debug()),
            "a name is one or more letters, digits or !#$%&'*+-.^_`|~, as in X-Request-Id",
        );
        return None;
    };
    if name.is_reserved() {
        let help = match text.to_ascii_lowercase().as_str() {
            "host" => "the host that a service sees is a setting of the service",
            _ => {
                "it describes framing or the connection, which the gateway derives from the message itself: leave it out"
            }
        };
        cx.error("reserved_field", span, format!("`{text}` cannot be edited"), help);
        return None;
    }
    Some(name)
}

/// A field's value: fixed, or with variables.
#[derive(Debug)]
pub enum FieldValue {
    Fixed(Box<[u8]>),
    Rendered(Template),
}

impl FieldValue {
    /// Compiles a value and refuses fixed text that could not be sent.
    pub fn compile(text: &Spanned<String>, cx: &mut CompileCx<'_>) -> Option<Self> {
        if let Some(found) = text.chars().find(|found| found.is_control() && *found != '\t') {
            cx.error(
                "invalid_field_value",
                text.span,
                format!("the value holds the control character `{}`", found.escape_default()),
                "a field's value is one line of text",
            );
            return None;
        }
        let template = cx.template(text, text.span)?;
        Some(match template.as_literal() {
            Some(literal) => Self::Fixed(literal.as_bytes().into()),
            None => Self::Rendered(template),
        })
    }

    /// Adds the field. A rendered value that is empty or holds a control byte is left out: it never splits a head.
    pub fn append(&self, name: &Name, exchange: &Exchange, head: &mut Head) {
        match self {
            Self::Fixed(value) => append_checked(head, name, value),
            Self::Rendered(template) => with_scratch(|value| {
                template.render(exchange, value);
                if !value.trim_ascii().is_empty() {
                    append_checked(head, name, value);
                }
            }),
        }
    }

    /// As [`FieldValue::append`], for the head of the exchange's own request.
    pub fn append_to_request(&self, name: &Name, exchange: &mut Exchange) {
        match self {
            Self::Fixed(value) => append_checked(&mut exchange.request.head, name, value),
            Self::Rendered(template) => with_scratch(|value| {
                template.render(exchange, value);
                if !value.trim_ascii().is_empty() {
                    append_checked(&mut exchange.request.head, name, value);
                }
            }),
        }
    }
}

/// `Head` refuses control bytes by itself; then the field is left out.
fn append_checked(head: &mut Head, name: &Name, value: &[u8]) {
    let _refused = head.append(name, value);
}
