//! State that outlives a reload: how it is named, and when two settings mean the same state.
//!
//! Nothing here holds state: the compiler of configurations does, weakly, so that it dies with the last snapshot.

use std::any::TypeId;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use narthex_document::{Node, Value};

/// A digest of settings, 128 bits: equal ones mean equal settings. Tells apart, protects nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u64; 2]);

impl Fingerprint {
    /// Of anything that can be hashed.
    pub fn of(value: &(impl Hash + ?Sized)) -> Self {
        Self::made(|hasher| value.hash(hasher))
    }

    /// Of a tree's values: spans and origins aside, the order of keys counts (as in [`Node::same`]).
    pub fn of_node(node: &Node) -> Self {
        Self::made(|hasher| write_node(node, hasher))
    }

    fn made(write: impl Fn(&mut DefaultHasher)) -> Self {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(seed);
            write(&mut hasher);
            hasher.finish()
        };
        Self([half(0), half(1)])
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

fn write_node(node: &Node, hasher: &mut DefaultHasher) {
    match &node.value {
        Value::Null => hasher.write_u8(0),
        Value::Bool(value) => (1u8, value).hash(hasher),
        Value::Number(text) => (2u8, text).hash(hasher),
        Value::Text(text) => (3u8, text).hash(hasher),
        Value::List(items) => {
            (4u8, items.len()).hash(hasher);
            items.iter().for_each(|item| write_node(item, hasher));
        }
        Value::Map(entries) => {
            (5u8, entries.len()).hash(hasher);
            for (key, value) in entries {
                key.text.hash(hasher);
                write_node(value, hasher);
            }
        }
    }
}

/// Whose state it is, and what settings it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeepKey {
    /// The kind's name: kinds never share state.
    pub kind: Box<str>,
    /// The name of the policy, route or service that owns it.
    pub name: Box<str>,
    pub fingerprint: Fingerprint,
    /// One key may stand for values of several types.
    pub(crate) holds: TypeId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use narthex_document::{Sources, parse};

    fn node(text: &str) -> Node {
        let mut sources = Sources::default();
        let id = sources.add("a.yaml", text);
        parse(text, id).0.unwrap()
    }

    #[test]
    fn places_do_not_count_and_everything_else_does() {
        let of = |text: &str| Fingerprint::of_node(&node(text));
        assert_eq!(of("{ a: 1, b: [x] }"), of("a:   1\nb:\n  - x\n"));
        let all =
            ["{ a: 1 }", "{ a: \"1\" }", "{ a: 1.0 }", "{ b: 1 }", "{ a: [1] }", "{ a: true }", "{ a: }"];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(of(one), of(other), "{one} {other}");
            }
        }
        assert_ne!(of("[[a], b]"), of("[[a, b]]"), "the shape counts");
    }
}
