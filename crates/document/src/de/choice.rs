//! Enums: a plain text, or the one key of a map with what belongs to it.

use super::Cx;
use super::value::NodeDe;
use crate::fault::Fault;
use crate::node::{Key, Node};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

pub(super) struct EnumDe<'a> {
    pub word: &'a str,
    pub key: Option<&'a Key>,
    pub owner: &'a Node,
    pub content: Option<&'a Node>,
    pub cx: &'a Cx,
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
