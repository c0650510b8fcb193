//! A directory of a test's own, gone when the test is over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A temporary directory with the files that a test writes.
#[derive(Debug)]
pub struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    /// An empty directory.
    ///
    /// # Errors
    /// The system gives none.
    pub fn new() -> io::Result<Self> {
        Ok(Self { directory: tempfile::Builder::new().prefix("narthex-test-").tempdir()? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file in it, whether there or not.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, with the directories in between, all at once: a watcher sees the old or the new text, no half.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.file(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut fresh = tempfile::NamedTempFile::new_in(self.directory.path())?;
        io::Write::write_all(&mut fresh, text.as_bytes())?;
        fresh.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// It is not there, or not UTF-8.
    pub fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.file(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_gone_afterwards() {
        let workspace = Workspace::new().unwrap();
        let path = workspace.write("conf.d/a.yaml", "narthex: 1\n").unwrap();
        workspace.write("conf.d/a.yaml", "narthex: 2\n").unwrap();
        assert_eq!(workspace.read("conf.d/a.yaml").unwrap(), "narthex: 2\n");
        drop(workspace);
        assert!(!path.exists());
    }
}
