//! What is loaded may go live, or is refused with all that is wrong. Changes nothing that is live.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use narthex_config::{LoadOptions, Loaded, load, load_text};
use narthex_document::{Diagnostic, Severity, render_all, sort};
use narthex_telemetry::Metrics;
use thiserror::Error;

use crate::compile::{Compiled, Keep, compile_written};

/// A configuration that was not taken: the live one stays.
#[derive(Debug, Clone, Error)]
#[error("{rendered}")]
pub struct Refused {
    pub rendered: String,
    pub json: serde_json::Value,
}

/// A configuration that may go live, and what the operator should know all the same.
pub(super) struct Checked {
    pub compiled: Compiled,
    pub warnings: Vec<String>,
}

/// Compiles what was loaded, problems of both sorted.
///
/// # Errors
/// There is an error among them.
pub(super) fn check(loaded: &Loaded, keep: &mut Keep, metrics: &Metrics) -> Result<Checked, Refused> {
    let mut problems: Vec<Diagnostic> = loaded.diagnostics.clone();
    let node = loaded.node.as_ref();
    let compiled =
        loaded.file.as_ref().and_then(|file| compile_written(file, node, keep, metrics, &mut problems));
    sort(&mut problems);
    match compiled {
        Some(compiled) => {
            let warnings = problems.iter().filter(|problem| problem.severity == Severity::Warning);
            Ok(Checked {
                compiled,
                warnings: warnings.map(|problem| problem.render(&loaded.sources, false)).collect(),
            })
        }
        None => Err(Refused {
            rendered: render_all(&problems, &loaded.sources, false),
            json: problems.iter().map(|problem| problem.to_json(&loaded.sources)).collect(),
        }),
    }
}

/// Loads from the disk and keeps every text that was read.
pub(super) fn load_with_texts(main: &Path, overlays: &[PathBuf]) -> (Loaded, BTreeMap<PathBuf, String>) {
    noting(main, overlays, load)
}

/// As `load_with_texts`, with `text` in place of the main file.
pub(super) fn text_with_texts(
    main: &Path,
    overlays: &[PathBuf],
    text: &str,
) -> (Loaded, BTreeMap<PathBuf, String>) {
    noting(main, overlays, |options| load_text(options, text))
}

fn noting(
    main: &Path,
    overlays: &[PathBuf],
    load: impl FnOnce(&LoadOptions<'_>) -> Loaded,
) -> (Loaded, BTreeMap<PathBuf, String>) {
    let texts = std::cell::RefCell::new(BTreeMap::new());
    let system = LoadOptions::from_system(main, overlays);
    let read = |path: &Path| {
        let text = (system.read)(path)?;
        texts.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    };
    let loaded = load(&LoadOptions { read: &read, ..system });
    (loaded, texts.into_inner())
}
