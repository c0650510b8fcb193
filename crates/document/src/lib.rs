//! Text to spanned tree: sources and spans, the strict YAML reader, diagnostics, the spanned deserialiser, compact
//! scalars, and writing. A leaf: it knows no configuration key, and must never panic on any text.

mod de;
mod diagnostic;
mod fault;
mod format;
mod json;
mod kind;
mod names;
mod node;
mod one_or_many;
mod parse;
mod scalar;
mod size;
mod source;
mod spanned;
mod traps;
mod write;

pub use de::from_node;
pub use diagnostic::{Diagnostic, Severity, nearest, render_all, sort, suggestion};
pub use format::format;
pub use json::json_from_text;
pub use kind::Kind;
pub use names::{NAME_PATTERN, Name, NameMap, Table, name_problem};
pub use node::{Key, Node, Origin, Value};
pub use one_or_many::OneOrMany;
pub use parse::{Budget, MAX_BYTES, MAX_DEPTH, MAX_NODES, parse, parse_within, too_many_bytes};
pub use scalar::{Percent, Rate, ScalarError, Time};
pub use size::ByteSize;
pub use source::{Position, Source, SourceId, Sources, Span};
pub use spanned::{Spanned, located, read};
pub use write::{Shown, to_yaml};
