//! A serde deserialiser over the tree. Every problem carries the place at fault, and one pass follows another with the
//! faulty entries skipped, so that all problems are told at once. Unknown keys of a struct are always errors.

mod choice;
mod collection;
mod key;
mod value;

use crate::diagnostic::{Diagnostic, nearest};
use crate::fault::{Fault, address};
use crate::node::{Node, Value};
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use value::NodeDe;

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
