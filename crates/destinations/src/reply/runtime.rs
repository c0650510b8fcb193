//! The answer, compiled: what is fixed is made once and shared.

use bytes::Bytes;
use narthex_contract::{
    Body, CompileCx, Destination, DestinationCx, Exchange, Outcome, Reply as Answer, Response, Template,
};
use narthex_document::{Node, Spanned};
use narthex_wire::{Known, Name};

use super::Settings;
use super::json::Json;

const CONTENT_TYPE: Name = Name::known(Known::ContentType);

#[derive(Debug)]
pub struct Reply {
    status: u16,
    fields: Vec<(Name, Template)>,
    /// Where no field says it.
    content_type: Option<&'static str>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Fixed(Bytes),
    Text(Template),
    Json(Json),
}

impl Reply {
    /// Tells every problem before it gives up.
    pub fn compile(settings: &Settings, cx: &mut CompileCx<'_>) -> Option<Self> {
        let status = status(settings, cx);
        let fields: Vec<_> = settings.headers.iter().map(|(name, value)| field(name, value, cx)).collect();
        let content = content(settings, cx);
        let fields: Vec<_> = fields.into_iter().collect::<Option<_>>()?;
        let (content, content_type) = content?;
        let is_typed = fields.iter().any(|(name, _)| *name == CONTENT_TYPE);
        Some(Self { status: status?, fields, content_type: content_type.filter(|_| !is_typed), content })
    }

    /// Whether it is the same for every request.
    pub fn is_fixed(&self) -> bool {
        matches!(self.content, Content::Fixed(_))
            && self.fields.iter().all(|(_, value)| value.as_literal().is_some())
    }

    pub fn response(&self, exchange: &Exchange) -> Response {
        let mut response = Response::new(self.status, Bytes::new());
        let head = &mut response.head.head;
        if let Some(content_type) = self.content_type {
            let stored = head.append(&CONTENT_TYPE, content_type.as_bytes());
            debug_assert!(stored.is_ok(), "a fixed value is valid");
        }
        let mut value = Vec::new();
        for (name, template) in &self.fields {
            value.clear();
            template.render(exchange, &mut value);
            // A value with a control byte is refused by the head, and left out: it never splits a response.
            let _refused = head.append(name, &value);
        }
        response.body = self.body(exchange);
        response
    }

    fn body(&self, exchange: &Exchange) -> Body {
        let mut made = Vec::new();
        match &self.content {
            Content::Fixed(bytes) if bytes.is_empty() => return Body::Empty,
            Content::Fixed(bytes) => return Body::Bytes(bytes.clone()),
            Content::Text(template) => template.render(exchange, &mut made),
            Content::Json(json) => json.render(exchange, &mut made),
        }
        if made.is_empty() { Body::Empty } else { Body::Bytes(made.into()) }
    }
}

impl Destination for Reply {
    fn answer<'a>(&'a self, cx: &'a mut DestinationCx<'_>) -> Outcome<'a> {
        Outcome::Answer(Answer::Response(Box::new(self.response(cx.exchange))))
    }
}

fn status(settings: &Settings, cx: &mut CompileCx<'_>) -> Option<u16> {
    let status = settings.status.value;
    let span = if settings.status.span.is_none() { cx.span } else { settings.status.span };
    if !(200..=599).contains(&status) {
        cx.error(
            "invalid_status",
            span,
            format!("{status} is not a final status"),
            "write a number from 200 to 599",
        );
        return None;
    }
    let has_content = settings.body.as_ref().is_some_and(|body| !body.is_empty()) || settings.json.is_some();
    if has_content && matches!(status, 204 | 205 | 304) {
        let help = "leave `body` and `json` out, or choose another status";
        cx.error("invalid_status", span, format!("an answer with status {status} has no body"), help);
        return None;
    }
    Some(status)
}

fn field(
    name: &Spanned<String>,
    value: &Spanned<String>,
    cx: &mut CompileCx<'_>,
) -> Option<(Name, Template)> {
    let parsed = match Name::parse(name) {
        Ok(parsed) if !parsed.is_reserved() => Some(parsed),
        Ok(_) => {
            let help = "it describes framing or the connection, which the gateway derives from the answer: leave it out";
            cx.error("reserved_field", name.span, format!("`{name}` cannot be set"), help);
            None
        }
        Err(error) => {
            let message = format!("`{}` is not a header field's name", name.escape_debug());
            cx.error("invalid_field_name", name.span, message, error.to_string());
            None
        }
    };
    if let Some(found) = value.chars().find(|found| found.is_control() && *found != '\t') {
        let message = format!("the value holds the control character `{}`", found.escape_default());
        cx.error("invalid_field_value", value.span, message, "a field's value is one line of text");
        return None;
    }
    let template = cx.template(value, value.span)?;
    Some((parsed?, template))
}

fn content(settings: &Settings, cx: &mut CompileCx<'_>) -> Option<(Content, Option<&'static str>)> {
    match (&settings.body, &settings.json) {
        (None, None) => Some((Content::Fixed(Bytes::new()), None)),
        (Some(body), None) => Some((text(body, cx)?, Some("text/plain; charset=utf-8"))),
        (None, Some(json)) => Some((json_content(json, cx)?, Some("application/json"))),
        (Some(body), Some(_)) => {
            let help = "keep one of them";
            cx.error("two_bodies", body.span, "`body` and `json` are both the answer's body", help);
            None
        }
    }
}

fn text(body: &Spanned<String>, cx: &mut CompileCx<'_>) -> Option<Content> {
    let is_json_like = body.trim_start().starts_with(['{', '[']);
    if is_json_like
        && serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok()
        && Template::parse(body, &cx.place()).is_err()
    {
        cx.error(
            "json_in_body",
            body.span,
            "this is JSON, and in `body` a brace begins a variable",
            "write it as `json: { … }` instead, or double each brace",
        );
        return None;
    }
    let template = cx.template(body, body.span)?;
    Some(match template.as_literal() {
        Some(literal) => Content::Fixed(Bytes::copy_from_slice(literal.as_bytes())),
        None => Content::Text(template),
    })
}

fn json_content(node: &Node, cx: &mut CompileCx<'_>) -> Option<Content> {
    let json = Json::compile(node, cx)?;
    Some(match json.as_fixed() {
        Some(text) => Content::Fixed(Bytes::copy_from_slice(text.as_bytes())),
        None => Content::Json(json),
    })
}
