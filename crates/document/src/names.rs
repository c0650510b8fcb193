//! Names and collections by name: every collection of a configuration is a map whose written order is kept.

use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::spanned::Spanned;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::OnceLock;

/// What a name looks like.
pub const NAME_PATTERN: &str = "^[a-z][a-z0-9_-]{0,62}$";

/// A checked name: a lower-case letter, then up to 62 lower-case letters, digits, `_` or `-`; never `on/off/yes/no`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is no name and what to write instead; `None` when it is one.
pub fn name_problem(text: &str) -> Option<(String, String)> {
    let shown = crate::node::clip(text);
    if matches!(text, "on" | "off" | "yes" | "no" | "true" | "false" | "null") {
        return Some((
            format!("`{text}` cannot be a name: other YAML readers take it for a value"),
            "choose another word".into(),
        ));
    }
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(ok) {
        return None;
    }
    let mut near: String =
        text.to_lowercase().chars().map(|c| if ok(c) { c } else { '_' }).take(63).collect();
    near = near.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('_').to_owned();
    let rule = "a lower-case letter, then at most 62 of a-z, 0-9, `_`, `-`";
    let help = if near.is_empty() { rule.to_owned() } else { format!("write `{near}`: {rule}") };
    Some((format!("`{shown}` is not a name"), help))
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks a text.
    pub fn new(text: &str) -> Result<Name, String> {
        match name_problem(text) {
            None => Ok(Name(text.into())),
            Some((message, help)) => Err(format!("{message}\nhelp: {help}")),
        }
    }

    /// The shared text.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                Name::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Read)
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": NAME_PATTERN })
    }
}

/// A map from keys of type `K` in the order as written.
#[derive(Debug, Clone)]
pub struct Table<K, T> {
    entries: Vec<(Spanned<K>, T)>,
    /// Where each key stands, made at the first look-up: tables of 100,000 names are asked for each of them.
    places: OnceLock<ahash::HashMap<String, usize>>,
}

/// A collection by name in the order as written.
pub type NameMap<T> = Table<Name, T>;

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Table { entries: Vec::new(), places: OnceLock::new() }
    }
}

impl<K: Borrow<str>, T> Table<K, T> {
    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.find(name).map(|(_, value)| value)
    }

    /// Where the name stands.
    pub fn span_of(&self, name: &str) -> Option<Span> {
        self.find(name).map(|(key, _)| key.span)
    }

    /// The place of the entry of that name, as for [`Table::at`].
    pub fn place(&self, name: &str) -> Option<usize> {
        let places = self.places.get_or_init(|| {
            let keys = self.entries.iter().enumerate();
            keys.map(|(at, (key, _))| (key.value.borrow().to_owned(), at)).collect()
        });
        places.get(name).copied()
    }

    fn find(&self, name: &str) -> Option<&(Spanned<K>, T)> {
        self.entries.get(self.place(name)?)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.value.borrow())
    }

    /// The error for a name that is not here, with the nearest one and the list of all.
    pub fn undefined(&self, what: &str, name: &str, span: Span) -> Diagnostic {
        Diagnostic::error("undefined", span, format!("there is no {what} `{}`", crate::node::clip(name)))
            .with_help(crate::diagnostic::suggestion(name, self.names()))
    }
}

impl<K: PartialEq, T: PartialEq> PartialEq for Table<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K, T> Table<K, T> {
    /// The entry at a place, counted from 0 in the order as written.
    pub fn at(&self, place: usize) -> Option<&(Spanned<K>, T)> {
        self.entries.get(place)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Spanned<K>, T)> {
        self.entries.iter()
    }

    /// The values, to be changed in place; names stay as they are.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'a, K, T> IntoIterator for &'a Table<K, T> {
    type Item = &'a (Spanned<K>, T);
    type IntoIter = std::slice::Iter<'a, (Spanned<K>, T)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl<K, T> IntoIterator for Table<K, T> {
    type Item = (Spanned<K>, T);
    type IntoIter = std::vec::IntoIter<(Spanned<K>, T)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'de, K: Deserialize<'de>, T: Deserialize<'de>> Deserialize<'de> for Table<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<K, T>(PhantomData<(K, T)>);
        impl<'de, K: Deserialize<'de>, T: Deserialize<'de>> Visitor<'de> for Read<K, T> {
            type Value = Table<K, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Table { entries, places: OnceLock::new() })
            }
        }
        deserializer.deserialize_map(Read(PhantomData))
    }
}

impl<K: JsonSchema, T: JsonSchema> JsonSchema for Table<K, T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        let key = generator.subschema_for::<K>();
        json_schema!({ "type": "object", "propertyNames": key, "additionalProperties": value })
    }
}
