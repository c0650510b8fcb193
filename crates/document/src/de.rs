//! A serde deserialiser over the tree. Every problem carries the place at fault, and one pass follows another with the
//! faulty entries skipped, so that all problems are told at once. Unknown keys of a struct are always errors.

use crate::diagnostic::{Diagnostic, nearest};
use crate::fault::{Fault, address, unknown_key};
use crate::node::{Key, Node, Origin, Value, is_number};
use crate::spanned;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use std::cell::RefCell;

/// After this many problems a value is given up.
const MAX_PROBLEMS: usize = 100;

/// Reads a `T` from a tree; `None` when there was any problem, and then every one that could be found is in `problems`.
///
/// Structs are maps whose unknown keys are errors; enums are a plain text (unit variants) or a map with exactly one key;
/// `Option` is `None` for null; [`crate::Spanned`] and [`Node`] keep their place. Texts that came from the environment
/// or from a file are read as numbers or booleans where those are wanted.
pub fn from_node<T: DeserializeOwned>(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<T> {
    let cx = Cx::default();
    let mut found = 0;
    let result = loop {
        match T::deserialize(NodeDe { node, cx: &cx }) {
            Ok(value) => break Some(value),
            Err(fault) => {
                let fault = fault.at(node);
                let consequence = cx.is_consequence(node, &fault);
                if let (Some(diagnostic), false) = (fault.diagnostic, consequence) {
                    cx.problems.borrow_mut().push(*diagnostic);
                    found += 1 + fault.more.len();
                    cx.problems.borrow_mut().extend(fault.more);
                }
                match fault.skip {
                    Some(entry) if found < MAX_PROBLEMS && cx.skipped.borrow_mut().insert(entry) => {}
                    _ => break None,
                }
            }
        }
    };
    let mut all = cx.problems.into_inner();
    let clean = all.is_empty();
    problems.append(&mut all);
    result.filter(|_| clean)
}

#[derive(Default)]
struct Cx {
    /// Addresses of entries that were faulty in an earlier pass.
    skipped: RefCell<ahash::HashSet<usize>>,
    problems: RefCell<Vec<Diagnostic>>,
}

impl Cx {
    fn skips(&self, node: &Node) -> bool {
        self.skipped.borrow().contains(&address(node))
    }

    /// Whether a problem only follows from entries that were skipped: the node it lies in, somewhere below `root`, lost
    /// a child; a missing key is one only if that very key, or a misspelling of it, was skipped.
    fn is_consequence(&self, root: &Node, fault: &Fault) -> bool {
        if self.skipped.borrow().is_empty() {
            return false;
        }
        let here = address(root) == fault.node;
        match &root.value {
            Value::List(items) if here => items.iter().any(|item| self.skips(item)),
            Value::List(items) => items.iter().any(|item| self.is_consequence(item, fault)),
            Value::Map(entries) if here => entries.iter().any(|(key, node)| {
                let same = |field| nearest(&key.text, [field]).is_some();
                self.skips(node) && fault.missing().is_none_or(same)
            }),
            Value::Map(entries) => entries.iter().any(|(_, node)| self.is_consequence(node, fault)),
            _ => false,
        }
    }
}

#[derive(Clone, Copy)]
struct NodeDe<'a> {
    node: &'a Node,
    cx: &'a Cx,
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

struct SeqDe<'a> {
    items: std::slice::Iter<'a, Node>,
    cx: &'a Cx,
    /// False for tuples, whose length is fixed.
    skippable: bool,
}

impl<'de> de::SeqAccess<'de> for SeqDe<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let cx = self.cx;
        let Some(node) = self.items.find(|node| !cx.skips(node)) else { return Ok(None) };
        let result = seed.deserialize(NodeDe { node, cx });
        result.map(Some).map_err(|fault| {
            let fault = fault.at(node);
            if self.skippable { fault.skip(node) } else { fault }
        })
    }

    fn size_hint(&self) -> Option<usize> {
        self.items.size_hint().1
    }
}

struct MapDe<'a> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    current: Option<&'a (Key, Node)>,
    cx: &'a Cx,
}

impl<'de> de::MapAccess<'de> for MapDe<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let cx = self.cx;
        self.current = self.entries.find(|(_, node)| !cx.skips(node));
        let Some((key, node)) = self.current else { return Ok(None) };
        seed.deserialize(KeyDe { key }).map(Some).map_err(|fault| fault.at_key(key).skip(node))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (key, node) = self.current.expect("serde asks for a value only after its key");
        let result = seed.deserialize(NodeDe { node, cx: self.cx });
        result.map_err(|fault| fault.at(node).owner(key, node).skip(node))
    }
}

struct EnumDe<'a> {
    word: &'a str,
    key: Option<&'a Key>,
    owner: &'a Node,
    content: Option<&'a Node>,
    cx: &'a Cx,
}

impl<'a, 'de> de::EnumAccess<'de> for EnumDe<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let word: de::value::StrDeserializer<'_, Fault> = self.word.into_deserializer();
        match seed.deserialize(word) {
            Ok(value) => Ok((value, self)),
            Err(fault) => Err(match self.key {
                Some(key) => fault.at_key(key),
                None => fault.at(self.owner),
            }),
        }
    }
}

impl<'a> EnumDe<'a> {
    fn content(&self) -> Result<NodeDe<'a>, Fault> {
        match self.content {
            Some(node) => Ok(NodeDe { node, cx: self.cx }),
            None => Err(Fault::wrong(format!("a map `{{ {}: … }}`", self.word)).at(self.owner)),
        }
    }
}

impl<'de> de::VariantAccess<'de> for EnumDe<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            Some(node) if !node.is_null() => Err(Fault::wrong("nothing").at(node)),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let content = self.content()?;
        let result = seed.deserialize(content);
        result.map_err(|fault| match self.key {
            Some(key) => fault.at(content.node).owner(key, content.node),
            None => fault,
        })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_tuple(self.content()?, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let content = self.content()?;
        let result = de::Deserializer::deserialize_struct(content, "", fields, visitor);
        result.map_err(|fault| match self.key {
            Some(key) => fault.owner(key, content.node),
            None => fault,
        })
    }
}

/// A key: text, or a number or boolean where the map's key type is one.
#[derive(Clone, Copy)]
struct KeyDe<'a> {
    key: &'a Key,
}

macro_rules! key_scalars {
    ($($method:ident $visit:ident $kind:ty, $words:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.key.text.parse::<$kind>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Fault::wrong($words).at_key(self.key)),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for KeyDe<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(&self.key.text)
    }

    key_scalars! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number";
        deserialize_u64 visit_u64 u64, "a whole number";
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == spanned::SPANNED {
            spanned::offer_span(self.key.span);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let word: de::value::StrDeserializer<'_, Fault> = self.key.text.as_str().into_deserializer();
        visitor.visit_enum(word)
    }

    serde::forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any i128 u128
    }
}
