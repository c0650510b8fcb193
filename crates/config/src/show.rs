//! `narthex config show`: the merged configuration with where each value came from, secrets as `***`.

use crate::load::Loaded;
use narthex_document::{Shown, to_yaml};

/// The merged tree as YAML with `# from file:line`; `None` when nothing could be read.
pub fn show(loaded: &Loaded) -> Option<String> {
    loaded.node.as_ref().map(|node| to_yaml(node, Shown::Origins(&loaded.sources)))
}
