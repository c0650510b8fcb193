//! The items of a list and the entries of a map, without those that an earlier pass found faulty. Places the faults.

use super::Cx;
use super::key::KeyDe;
use super::value::NodeDe;
use crate::fault::Fault;
use crate::node::{Key, Node};
use serde::de::{self, DeserializeSeed};

pub(super) struct SeqDe<'a> {
    pub items: std::slice::Iter<'a, Node>,
    pub cx: &'a Cx,
    /// False for tuples, whose length is fixed.
    pub skippable: bool,
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

pub(super) struct MapDe<'a> {
    pub entries: std::slice::Iter<'a, (Key, Node)>,
    pub current: Option<&'a (Key, Node)>,
    pub cx: &'a Cx,
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
