//! A configured value as JSON text, with variables in its texts: what they give is escaped, so it stays inside its quotes.

use narthex_contract::{CompileCx, Exchange, Template};
use narthex_document::{Node, Value};

/// JSON in pieces: text that is there already, and templates within quotes.
#[derive(Debug, Default)]
pub struct Json {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Quoted(Template),
}

impl Json {
    /// Compiles a value. Keys are fixed; numbers keep their text.
    pub fn compile(node: &Node, cx: &mut CompileCx<'_>) -> Option<Self> {
        let mut json = Self::default();
        json.add(node, cx).then_some(json)
    }

    /// The text, where nothing in it depends on the request.
    pub fn as_fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub fn render(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Quoted(template) => {
                    let mut value = Vec::new();
                    template.render(exchange, &mut value);
                    quote(&String::from_utf8_lossy(&value), out);
                }
            }
        }
    }

    /// `false`: a problem was pushed.
    fn add(&mut self, node: &Node, cx: &mut CompileCx<'_>) -> bool {
        match &node.value {
            Value::Null => self.text("null"),
            Value::Bool(true) => self.text("true"),
            Value::Bool(false) => self.text("false"),
            Value::Number(text) => self.text(text),
            Value::Text(text) => {
                let Some(template) = cx.template(text, node.span) else { return false };
                match template.as_literal() {
                    Some(literal) => self.quoted(literal),
                    None => self.parts.push(Part::Quoted(template)),
                }
            }
            Value::List(items) => {
                let mut is_valid = true;
                self.text("[");
                for (at, item) in items.iter().enumerate() {
                    self.text(if at > 0 { "," } else { "" });
                    is_valid &= self.add(item, cx);
                }
                self.text("]");
                return is_valid;
            }
            Value::Map(entries) => {
                let mut is_valid = true;
                self.text("{");
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.text(if at > 0 { "," } else { "" });
                    self.quoted(&key.text);
                    self.text(":");
                    is_valid &= self.add(value, cx);
                }
                self.text("}");
                return is_valid;
            }
        }
        true
    }

    fn text(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(all)) => all.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    fn quoted(&mut self, text: &str) {
        let mut out = Vec::new();
        quote(text, &mut out);
        self.text(&String::from_utf8_lossy(&out));
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text is always JSON, and a Vec takes every byte");
}
