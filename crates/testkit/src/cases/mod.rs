//! `.case` files: a test as text. Configuration, what services answer, what the client sends, what each side must see.
//! The format is described in the README. Knows no gateway: whoever runs cases brings a [`Subject`].

mod expect;
mod parse;
mod run;

pub use run::run_case;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What cases are run against.
pub trait Subject {
    /// Starts a gateway with this configuration.
    ///
    /// # Errors
    /// The rendered diagnostics.
    fn start(&self, config: &str) -> Result<Box<dyn SubjectGateway>, String>;

    /// Checks a configuration.
    ///
    /// # Errors
    /// The rendered diagnostics.
    fn check(&self, config: &str) -> Result<(), String>;
}

/// A gateway that runs.
pub trait SubjectGateway {
    /// Where a listener is bound.
    fn address(&self, listener: &str) -> Option<SocketAddr>;

    /// Ends it.
    fn stop(self: Box<Self>);
}

/// A file of sections, read but not run.
#[derive(Debug, Clone)]
pub struct Case {
    pub path: PathBuf,
    sections: Vec<parse::Section>,
}

/// What is wrong with a case, or with what it tests: `path:line: …`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}:{line}: {what}", path.display())]
pub struct CaseError {
    pub path: PathBuf,
    pub line: usize,
    pub what: String,
}

/// Every `.case` file below a directory, sorted by path.
///
/// # Errors
/// The directory cannot be read.
pub fn find_cases(below: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "case") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
