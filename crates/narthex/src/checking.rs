//! Checking a configuration offline: the same code path as going live, with nothing started.

use std::path::{Path, PathBuf};

use narthex_config::{LoadOptions, Loaded, PolicySchema, load, load_text};
use narthex_control::{Compiled, Keep, compile};
use narthex_document::{Diagnostic, Severity, render_all, sort};
use narthex_telemetry::Metrics;

/// What a check found.
pub struct Checked {
    pub compiled: Option<Compiled>,
    pub diagnostics: Vec<Diagnostic>,
    pub loaded: Loaded,
}

impl Checked {
    /// All problems as text for people.
    pub fn render(&self, colour: bool) -> String {
        render_all(&self.diagnostics, &self.loaded.sources, colour)
    }

    pub fn warnings(&self) -> usize {
        self.diagnostics.iter().filter(|problem| problem.severity == Severity::Warning).count()
    }
}

/// Loads a configuration from the disk.
pub fn load_path(path: &Path, overlays: &[PathBuf]) -> Loaded {
    load(&LoadOptions::from_system(path, overlays))
}

/// Compiles what was loaded.
pub fn check_loaded(loaded: Loaded) -> Checked {
    let mut diagnostics = loaded.diagnostics.clone();
    let compiled = loaded
        .file
        .as_ref()
        .and_then(|file| compile(file, &mut Keep::default(), &Metrics::new(1), &mut diagnostics));
    sort(&mut diagnostics);
    Checked { compiled, diagnostics, loaded }
}

/// What `narthex check` says of a text that goes by `name`. `Err`: the problems, rendered.
pub fn check_text(text: &str, name: &str) -> Result<(), String> {
    let checked = check_loaded(load_text(&LoadOptions::from_system(Path::new(name), &[]), text));
    match &checked.compiled {
        Some(_) => Ok(()),
        None => Err(checked.render(false)),
    }
}

/// The JSON Schema of the whole configuration.
pub fn schema() -> serde_json::Value {
    let policies = narthex_policies::POLICIES.iter().map(|policy| PolicySchema {
        name: policy.name().to_owned(),
        schema: policy.schema(),
        stages: policy.stages().iter().map(|stage| stage.as_str().to_owned()).collect(),
    });
    let destinations =
        narthex_destinations::DESTINATIONS.iter().map(|kind| (kind.name().to_owned(), kind.schema()));
    narthex_config::schema(policies.collect(), destinations.collect())
}
