//! A node as a serde deserialiser: what its kind of value gives to a visitor, and what is said when another is wanted.

use super::Cx;
use super::choice::EnumDe;
use super::collection::{MapDe, SeqDe};
use crate::fault::{Fault, address, unknown_key};
use crate::node::{Node, Origin, Value, is_number};
use crate::spanned;
use serde::de::{self, Visitor};

#[derive(Clone, Copy)]
pub(super) struct NodeDe<'a> {
    pub node: &'a Node,
    pub cx: &'a Cx,
}

impl<'a> NodeDe<'a> {
    fn located<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| fault.at(self.node))
    }

    fn wrong<T>(self, wanted: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::wrong(wanted).at(self.node))
    }

    fn number<'de, V: Visitor<'de>>(self, text: &str, visitor: V) -> Result<V::Value, Fault> {
        let result = match (text.parse::<u64>(), text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _, _) => visitor.visit_u64(number),
            (_, Ok(number), _) => visitor.visit_i64(number),
            (_, _, Ok(number)) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(Fault::wrong("a smaller number")),
        };
        self.located(result)
    }

    /// A number is wanted: numbers, and numeric texts from the environment or a file.
    fn numeric<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) if self.node.origin != Origin::Text && is_number(text.trim()) => {
                self.number(text.trim(), visitor)
            }
            _ => self.deserialize_here(visitor),
        }
    }

    fn deserialize_here<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => self.located(visitor.visit_unit()),
            Value::Bool(value) => self.located(visitor.visit_bool(*value)),
            Value::Number(text) => self.number(text, visitor),
            Value::Text(text) => self.located(visitor.visit_str(text)),
            Value::List(items) => {
                let seq = SeqDe { items: items.iter(), cx: self.cx, skippable: true };
                self.located(visitor.visit_seq(seq))
            }
            Value::Map(entries) => {
                let map = MapDe { entries: entries.iter(), current: None, cx: self.cx };
                self.located(visitor.visit_map(map))
            }
        }
    }
}

macro_rules! numeric {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.numeric(visitor)
        })*
    };
}

macro_rules! textual {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match &self.node.value {
                Value::Text(text) => self.located(visitor.visit_str(text)),
                _ => self.wrong("text"),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for NodeDe<'_> {
    type Error = Fault;

    numeric! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_f32 deserialize_f64 }

    textual! { deserialize_str deserialize_string deserialize_char deserialize_bytes deserialize_byte_buf
    deserialize_identifier }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_here(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) if self.node.origin != Origin::Text => match text.trim() {
                "true" => self.located(visitor.visit_bool(true)),
                "false" => self.located(visitor.visit_bool(false)),
                _ => self.wrong("true or false"),
            },
            _ => self.deserialize_here(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() {
            self.located(visitor.visit_none())
        } else {
            self.located(visitor.visit_some(self))
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { self.located(visitor.visit_unit()) } else { self.wrong("nothing") }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            spanned::SPANNED => spanned::offer_span(self.node.span),
            spanned::NODE => spanned::offer_node(self.node),
            _ => {}
        }
        self.located(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(_) => self.deserialize_here(visitor),
            _ => self.wrong("a list"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(items) if items.len() == len => {
                self.located(visitor.visit_seq(SeqDe { items: items.iter(), cx: self.cx, skippable: false }))
            }
            _ => self.wrong(format!("a list of {len}")),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(_) => self.deserialize_here(visitor),
            _ => self.wrong("a map"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Value::Map(entries) = &self.node.value else {
            return self.wrong(map_words(fields));
        };
        for (key, node) in entries {
            if !fields.contains(&key.text.as_str()) && self.cx.skipped.borrow_mut().insert(address(node)) {
                self.cx.problems.borrow_mut().push(unknown_key(&key.text, key.span, fields));
            }
        }
        self.deserialize_here(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) => {
                let content = EnumDe { word: text, key: None, owner: self.node, content: None, cx: self.cx };
                self.located(visitor.visit_enum(content))
            }
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => {
                    let content = EnumDe {
                        word: &key.text,
                        key: Some(key),
                        owner: self.node,
                        content: Some(node),
                        cx: self.cx,
                    };
                    self.located(visitor.visit_enum(content))
                }
                _ => self.wrong(format!("a map with exactly one key ({})", variants.join(", "))),
            },
            _ => self.wrong(format!("one of {}", variants.join(", "))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

fn map_words(fields: &[&str]) -> String {
    match fields {
        [] => "an empty map".into(),
        _ => format!("a map ({})", fields.iter().take(6).copied().collect::<Vec<_>>().join(", ")),
    }
}
